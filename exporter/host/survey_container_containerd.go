package host

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// containerdFiles are where containerd's configuration is: its own, and those of distributions of Kubernetes that bring it.
var containerdFiles = []string{
	"/etc/containerd/config.toml",
	"/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
	"/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
	"/etc/k0s/containerd.toml",
	"/var/snap/microk8s/current/args/containerd.toml",
}

// A containerdSetup is how one containerd is set up.
type containerdSetup struct {
	process *daemonProcess // nil if it does not run
	file    string
	exists  bool
	flags   map[string][]string
	config  tomlTable
	wrong   error // why the configuration cannot be read
}

// Containerd reports every containerd that is installed: one for each configuration.
func (s *Surveys) Containerd(ctx context.Context, report func(event.Fact)) error {
	all, err := s.containerdSetups(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		f := event.Containerd.New(c.file, c.file)
		if s.Live() {
			f.Set("running", c.process != nil)
		}
		f.Set("config_exists", c.exists)
		if c.wrong != nil {
			report(f.Fail(c.wrong))
			continue
		}
		c.serves(f)
		if c.cri() {
			c.runs(f)
			c.images(f)
		}
		verifier, err := s.verifies(&c)
		if f.Set("verifier", verifier); err != nil {
			f.Fail(err)
		}
		report(f)
	}
	return nil
}

// containerdSetups finds every containerd: those that run, those whose configuration is there, or else the one that is installed.
func (s *Surveys) containerdSetups(ctx context.Context) (all []containerdSetup, err error) {
	processes, err := s.daemons(ctx, "containerd")
	if err != nil {
		return nil, err
	}
	for i, p := range processes {
		flags := parseFlags(p.args[1:], nil, map[byte]string{'c': "config", 'a': "address", 'l': "log-level"})
		file := containerdFiles[0]
		if named := flags["config"]; len(named) > 0 {
			file = s.absolute(&p, named[len(named)-1])
		}
		if p.host && file != "" && !hasSetup(all, file) {
			all = append(all, containerdSetup{process: &processes[i], file: file, flags: flags})
		}
	}
	for _, file := range containerdFiles {
		there, err := s.there(file)
		if err != nil {
			return nil, err
		}
		if there && !hasSetup(all, file) {
			all = append(all, containerdSetup{file: file})
		}
	}
	if len(all) == 0 {
		program, err := s.program("containerd")
		if err != nil {
			return nil, err
		}
		if there, err := s.there(program); !there || err != nil {
			return nil, err
		}
		all = append(all, containerdSetup{file: containerdFiles[0]})
	}
	for i := range all {
		all[i].config, all[i].exists, all[i].wrong = s.containerdConfig(all[i].file)
	}
	return all, nil
}

func hasSetup(all []containerdSetup, file string) bool {
	return slices.ContainsFunc(all, func(c containerdSetup) bool { return c.file == file })
}

// maxImported bounds how many files a configuration imports.
const maxImported = 200

// containerdConfig reads a configuration and all that it imports, which counts over it. What is imported may import more.
func (s *Surveys) containerdConfig(file string) (config tomlTable, exists bool, err error) {
	config, exists, err = s.toml(file)
	if err != nil {
		return nil, exists, err
	}
	imports, seen := importsOf(file, config), map[string]bool{file: true}
	for len(imports) > 0 {
		found, err := s.glob(imports[0])
		if err != nil {
			return nil, exists, err
		}
		imports = imports[1:]
		for _, name := range found {
			if seen[name] {
				continue
			}
			if seen[name] = true; len(seen) > maxImported {
				return nil, exists, fmt.Errorf("%s: more than %d files are imported", file, maxImported)
			}
			more, _, err := s.toml(name)
			if err != nil {
				return nil, exists, err
			}
			imports = append(imports, importsOf(name, more)...)
			overlay(config, more, config.number(1, "version") < 3)
		}
	}
	return config, exists, nil
}

// importsOf are the patterns of the files that a configuration imports.
func importsOf(file string, config tomlTable) (patterns []string) {
	for _, pattern := range config.texts("imports") {
		if !path.IsAbs(pattern) {
			pattern = path.Join(path.Dir(file), pattern)
		}
		patterns = append(patterns, pattern)
	}
	return patterns
}

// overlay puts what an imported file says over what is there: lists grow, tables are joined. What it says of a plugin replaces all that
// was said of that one before the third version of the format: https://github.com/containerd/containerd/issues/5837.
func overlay(under, over map[string]any, whole bool) {
	for key, value := range over {
		table, isTable := value.(map[string]any)
		below, was := under[key].(map[string]any)
		list, isList := value.([]any)
		before, wasList := under[key].([]any)
		switch {
		case isTable && was && key == "plugins" && whole:
			maps.Copy(below, table)
		case isTable && was:
			overlay(below, table, false)
		case isList && wasList:
			under[key] = append(before, list...)
		default:
			under[key] = value
		}
	}
}

func (c *containerdSetup) flag(name, def string) string {
	if all := c.flags[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return def
}

func (c *containerdSetup) address() string {
	return c.flag("address", c.config.text("/run/containerd/containerd.sock", "grpc", "address"))
}
func (c *containerdSetup) root() string {
	return path.Clean(c.flag("root", c.config.text("/var/lib/containerd", "root")))
}
func (c *containerdSetup) state() string {
	return path.Clean(c.flag("state", c.config.text("/run/containerd", "state")))
}

// serves sets where the daemon listens and what it keeps.
func (c *containerdSetup) serves(f event.Fact) {
	t := c.config
	tcp, debug, metrics := t.text("", "grpc", "tcp_address"), t.text("", "debug", "address"), t.text("", "metrics", "address")
	f.Set("version", t.number(1, "version")).Set("address", c.address())
	f.Set("uid", t.number(0, "grpc", "uid")).Set("gid", t.number(0, "grpc", "gid"))
	if f.Set("tcp", tcp); tcp != "" {
		f.Set("tcp_tls", t.text("", "grpc", "tcp_tls_cert") != "")
	}
	f.Set("debug", debug).Set("debug_open", debug != "" && !path.IsAbs(debug) && !loopback(debug))
	f.Set("metrics", metrics).Set("metrics_open", metrics != "" && !loopback(metrics))
	f.Set("log_level", c.flag("log-level", t.text("info", "debug", "level")))
	f.Set("root", c.root()).Set("state", c.state()).Set("cri", c.cri())
}

// cri says whether the part that serves the kubelet is on.
func (c *containerdSetup) cri() bool {
	disabled := c.config.texts("disabled_plugins")
	return !slices.Contains(disabled, "cri") && !slices.Contains(disabled, "io.containerd.grpc.v1.cri") && !slices.Contains(disabled, "io.containerd.cri.v1.runtime")
}

// Names of the plugin's parts, the first of formats 3 and later, the others of 2 and 1.
var (
	criRuntime = []string{"io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"}
	criImages  = []string{"io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri", "cri"}
	criServer  = []string{"io.containerd.grpc.v1.cri", "cri"}
)

// plugin is the table of the first of some plugins that has a key.
func (c *containerdSetup) plugin(names []string, key string) tomlTable {
	for _, name := range names {
		if table := c.config.table("plugins", name); table[key] != nil {
			return table
		}
	}
	return nil
}

func (c *containerdSetup) pluginText(names []string, key, def string) string {
	return c.plugin(names, key).text(def, key)
}
func (c *containerdSetup) pluginTruth(names []string, key string, def bool) bool {
	return c.plugin(names, key).truth(def, key)
}

// runs sets what containers of the kubelet are given.
func (c *containerdSetup) runs(f event.Fact) {
	modern := c.config.number(1, "version") >= 3
	stream := c.pluginText(criServer, "stream_server_address", "127.0.0.1")
	f.Set("apparmor", !c.pluginTruth(criRuntime, "disable_apparmor", false)).Set("selinux", c.pluginTruth(criRuntime, "enable_selinux", false))
	f.Set("seccomp_unset", c.pluginText(criRuntime, "unset_seccomp_profile", ""))
	f.Set("stream_open", !loopback(stream)).Set("stream_tls", c.pluginTruth(criServer, "enable_tls_streaming", false))
	f.Set("unprivileged_ports", c.pluginTruth(criRuntime, "enable_unprivileged_ports", modern))
	f.Set("unprivileged_icmp", c.pluginTruth(criRuntime, "enable_unprivileged_icmp", modern))
	f.Set("device_ownership", c.pluginTruth(criRuntime, "device_ownership_from_security_context", false))

	settings := c.plugin(criRuntime, "containerd").table("containerd")
	name := settings.text("runc", "default_runtime_name")
	chosen := settings.table("runtimes", name)
	f.Set("default_runtime", name).Set("privileged_without_devices", chosen.truth(false, "privileged_without_host_devices"))
	f.Set("systemd_cgroup", chosen.truth(c.pluginTruth(criRuntime, "systemd_cgroup", false), "options", "SystemdCgroup"))
	var outdated []string
	for name := range settings.table("runtimes") {
		if kind := settings.text("", "runtimes", name, "runtime_type"); kind == "io.containerd.runtime.v1.linux" || kind == "io.containerd.runc.v1" {
			outdated = append(outdated, name)
		}
	}
	f.Set("outdated_runtimes", joined(outdated))
}

// images sets how the kubelet's images are fetched.
func (c *containerdSetup) images(f event.Fact) {
	sandbox := c.plugin(criImages, "pinned_images").text("", "pinned_images", "sandbox")
	if sandbox == "" {
		sandbox = c.pluginText(criImages, "sandbox_image", "")
	}
	registry := c.registry()
	credentials := len(registry.table("auths")) > 0
	for host := range registry.table("configs") {
		auth := registry.table("configs", host, "auth")
		credentials = credentials || auth["password"] != nil || auth["auth"] != nil || auth["identitytoken"] != nil
	}
	f.Set("sandbox_image", sandbox).Set("credentials", credentials).Set("config_path", registry.text("", "config_path"))
}

func (c *containerdSetup) registry() tomlTable {
	return c.plugin(criImages, "registry").table("registry")
}

// verifies says whether there is a program that may refuse images.
func (s *Surveys) verifies(c *containerdSetup) (bool, error) {
	const plugin = "io.containerd.image-verifier.v1.bindir"
	if slices.Contains(c.config.texts("disabled_plugins"), plugin) {
		return false, nil
	}
	names, err := s.readDir(c.config.text("/opt/containerd/image-verifier/bin", "plugins", plugin, "bin_dir"))
	if Absent(err) {
		return false, nil
	}
	return len(names) > 0, err
}

// files are those of a containerd.
func (c *containerdSetup) files() []containerFile {
	files := []containerFile{{"containerd_config", c.file}, {"containerd_root", c.root()}, {"containerd_state", c.state()}}
	for purpose, file := range map[string]string{"containerd_sock": c.address(), "containerd_debug_sock": c.config.text("", "debug", "address")} {
		if path.IsAbs(file) {
			files = append(files, containerFile{purpose, path.Clean(file)})
		}
	}
	for _, key := range []string{"tcp_tls_key", "tcp_tls_cert"} {
		if file := c.config.text("", "grpc", key); path.IsAbs(file) {
			files = append(files, containerFile{"containerd_" + strings.TrimPrefix(key, "tcp_"), path.Clean(file)})
		}
	}
	slices.SortFunc(files, func(a, b containerFile) int { return strings.Compare(a.purpose, b.purpose) })
	return files
}

// registryFacts are the registries that a containerd's configuration names, and those of its hosts.toml files.
func (s *Surveys) containerdRegistries(c *containerdSetup, report func(event.Fact)) error {
	if c.wrong != nil {
		return c.wrong
	}
	registry := c.registry()
	for _, host := range slices.Sorted(maps.Keys(registry.table("mirrors"))) {
		for _, endpoint := range registry.texts("mirrors", host, "endpoint") {
			name := strings.TrimPrefix(strings.TrimPrefix(endpoint, "http://"), "https://")
			tls := registry.table("configs", strings.TrimSuffix(name, "/"), "tls")
			report(registryFact("containerd", c.file, endpoint, tls.truth(false, "insecure_skip_verify"), false))
		}
	}
	for _, host := range slices.Sorted(maps.Keys(registry.table("configs"))) {
		skip := registry.truth(false, "configs", host, "tls", "insecure_skip_verify")
		report(registryFact("containerd", c.file, host, skip, len(registry.table("configs", host, "auth")) > 0))
	}
	for dir := range strings.SplitSeq(registry.text("/etc/containerd/certs.d", "config_path"), ":") {
		if err := s.hostsFiles(dir, report); err != nil {
			return err
		}
	}
	return nil
}

// hostsFiles reads DIR/HOST/hosts.toml: by which addresses a registry is reached.
func (s *Surveys) hostsFiles(dir string, report func(event.Fact)) error {
	if !path.IsAbs(dir) {
		return nil
	}
	files, err := s.glob(path.Join(dir, "*/hosts.toml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		t, _, err := s.toml(file)
		if err != nil {
			report(event.Registry.New(path.Base(path.Dir(file)), file).Fail(err))
			continue
		}
		if server := t.text("", "server"); server != "" {
			report(registryFact("containerd", file, server, t.truth(false, "skip_verify"), false))
		}
		for _, host := range slices.Sorted(maps.Keys(t.table("host"))) {
			credentials := t.at("host", host, "header", "Authorization") != nil || t.at("host", host, "header", "authorization") != nil
			report(registryFact("containerd", file, host, t.truth(false, "host", host, "skip_verify"), credentials))
		}
	}
	return nil
}
