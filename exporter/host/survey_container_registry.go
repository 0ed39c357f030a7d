package host

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// registryFact is a fact of a registry by its address, with or without a scheme.
func registryFact(runtime, file, address string, unverified, credentials bool) event.Fact {
	bare := strings.TrimPrefix(strings.TrimPrefix(address, "http://"), "https://")
	plain := strings.HasPrefix(address, "http://")
	if i := strings.LastIndexByte(bare, '@'); i >= 0 {
		credentials = credentials || strings.Contains(bare[:i], ":")
		bare = bare[i+1:]
	}
	host, _, _ := strings.Cut(bare, "/")
	local := loopback(host)
	f := event.Registry.New(bare, file)
	return f.Set("runtime", runtime).Set("local", local).Set("plain", plain).Set("unverified", unverified).
		Set("insecure", !local && (plain || unverified)).Set("credentials", credentials)
}

// Registries reports the registries that configurations name.
func (s *Surveys) Registries(ctx context.Context, report func(event.Fact)) error {
	docker, err := s.dockerSetup(ctx)
	if err != nil {
		return err
	}
	if docker.installed {
		for _, r := range docker.list("insecure-registry", "insecure-registries") {
			f := registryFact("docker", docker.configFile, r, true, false)
			report(f.Set("plain", true)) // it is tried if TLS fails
		}
		for _, m := range docker.list("registry-mirror", "registry-mirrors") {
			report(registryFact("docker", docker.configFile, m, false, false))
		}
		if len(docker.wrong) > 0 {
			report(event.Registry.New(docker.configFile, docker.configFile).Fail(docker.wrong[0]))
		}
	}
	daemons, err := s.containerdSetups(ctx)
	if err != nil {
		return err
	}
	for _, c := range daemons {
		if err := s.containerdRegistries(&c, report); err != nil {
			report(event.Registry.New(c.file, c.file).Fail(err))
		}
	}
	return s.commonRegistries(report)
}

// commonRegistries reads registries.conf, which Podman, CRI-O and their kin share.
func (s *Surveys) commonRegistries(report func(event.Fact)) error {
	files, err := s.dropIns([]string{"/etc/containers/registries.conf.d"}, ".conf")
	if err != nil {
		return err
	}
	for _, file := range append([]string{"/etc/containers/registries.conf"}, files...) {
		t, _, err := s.toml(file)
		if err != nil {
			report(event.Registry.New(file, file).Fail(err))
			continue
		}
		for _, host := range t.texts("registries", "insecure", "registries") { // the older form
			report(registryFact("containers", file, host, true, false))
		}
		for _, one := range t.tables("registry") {
			address := one.text(one.text("", "prefix"), "location")
			report(registryFact("containers", file, address, one.truth(false, "insecure"), false))
			for _, mirror := range one.tables("mirror") {
				report(registryFact("containers", file, mirror.text("", "location"), mirror.truth(false, "insecure"), false))
			}
		}
	}
	return nil
}

// A loginFile is what clients of registries keep to log in, as far as it is read. What stands in it never leaves this file.
type loginFile struct {
	Auths map[string]struct {
		Auth, IdentityToken, Password string
	}
	CredsStore  string
	CredHelpers map[string]string
}

// maxHomes is how many users' homes are looked into for logins.
const maxHomes = 1000

// RegistryLogins reports the files in which root and users keep how to log in to registries.
func (s *Surveys) RegistryLogins(ctx context.Context, report func(event.Fact)) error {
	accounts, _, err := s.accounts()
	if err != nil && !Absent(err) {
		return err
	}
	seen := map[string]bool{}
	look := func(user string, files ...string) {
		for _, file := range files {
			if f, ok := s.registryLogin(user, file); ok && !seen[file] {
				seen[file] = true
				report(f)
			}
		}
	}
	look("root", "/root/.docker/config.json", "/root/.config/containers/auth.json", "/root/.dockercfg")
	look("", "/var/lib/kubelet/config.json", "/var/lib/kubelet/.dockercfg", "/etc/containers/auth.json")
	homes := 0
	for _, a := range accounts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if a.nis || !path.IsAbs(a.home) || path.Clean(a.home) == "/" || homes >= maxHomes {
			continue
		}
		homes++
		look(a.name, path.Join(a.home, ".docker/config.json"), path.Join(a.home, ".config/containers/auth.json"), path.Join(a.home, ".dockercfg"))
	}
	return nil
}

func (s *Surveys) registryLogin(user, file string) (f event.Fact, ok bool) {
	st, err := s.stat(file)
	if Absent(err) {
		return f, false
	}
	f = event.RegistryLogin.New(file, file).Set("user", user)
	if err != nil {
		return f.Fail(err), true
	}
	f.Set("readable", st.Mode&0o077 != 0)
	data, err := s.read(file, maxConfigText)
	if err != nil {
		return f.Fail(err), true
	}
	var login loginFile
	into := any(&login)
	if path.Base(file) == ".dockercfg" { // the oldest form: registries alone
		into = &login.Auths
	}
	if err := json.Unmarshal(data, into); err != nil {
		return f.Fail(fmt.Errorf("%s: %w", place(file, jsonLine(string(data), err)), err)), true
	}
	stored := int64(0)
	for _, a := range login.Auths {
		if a.Auth != "" || a.IdentityToken != "" || a.Password != "" {
			stored++
		}
	}
	return f.Set("stored", stored).Set("helper", login.CredsStore != "" || len(login.CredHelpers) > 0), true
}

// ImagePolicies reports which images Podman and CRI-O accept.
func (s *Surveys) ImagePolicies(_ context.Context, report func(event.Fact)) error {
	const file = "/etc/containers/policy.json"
	text, exists, err := s.configText(file)
	if err != nil || !exists {
		return err
	}
	type requirement struct{ Type string }
	var policy struct {
		Default    []requirement
		Transports map[string]map[string][]requirement
	}
	f := event.ImagePolicy.New(file, file)
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		report(f.Fail(fmt.Errorf("%s: %w", place(file, jsonLine(text, err)), err)))
		return nil
	}
	kind := ""
	if len(policy.Default) > 0 {
		kind = policy.Default[0].Type
	}
	var accepting []string
	for _, transport := range slices.Sorted(maps.Keys(policy.Transports)) {
		if transport == "docker-daemon" || transport == "dir" || transport == "oci" || transport == "containers-storage" {
			continue // what is on this machine already
		}
		for scope, requirements := range policy.Transports[transport] {
			if len(requirements) > 0 && requirements[0].Type == "insecureAcceptAnything" {
				accepting = append(accepting, strings.TrimSuffix(transport+" "+scope, " "))
			}
		}
	}
	verified := kind == "reject" || kind == "signedBy" || kind == "sigstoreSigned"
	report(f.Set("default", kind).Set("verified", verified).Set("accepting", joined(accepting)))
	return nil
}
