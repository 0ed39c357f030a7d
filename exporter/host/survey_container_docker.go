package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// A dockerSetup is how the Docker daemon is set up: the flags that it has, or would get from its unit, and its configuration file.
type dockerSetup struct {
	installed       bool
	process         *daemonProcess // nil if it does not run
	service, socket systemdUnit
	env             map[string]string
	flags           map[string][]string
	flagsFrom       string
	configFile      string
	configExists    bool
	config          map[string]json.RawMessage
	wrong           []error // what in the file is not as it should be
}

// Docker reports the Docker daemon.
func (s *Surveys) Docker(ctx context.Context, report func(event.Fact)) error {
	d, err := s.dockerSetup(ctx)
	if err != nil || !d.installed {
		return err
	}
	f := event.Docker.New(d.configFile, d.configFile)
	if s.Live() {
		f.Set("running", d.process != nil)
	}
	if d.process != nil {
		f.Set("rootless", d.process.uid != 0)
	}
	f.Set("config_exists", d.configExists).Set("flags_from", d.flagsFrom).Set("conflicts", joined(d.conflicts()))
	d.listening(f)
	d.network(f)
	d.registries(f)
	d.logging(f)
	d.privileges(f)
	if mode := d.text("default-cgroupns-mode", s.defaultCgroupNamespace()); mode != "" {
		f.Set("cgroupns_mode", mode)
	}
	err = errors.Join(s.dockerData(d, f), s.dockerUsers(d, f), errors.Join(d.wrong...))
	if err != nil {
		f.Fail(err)
	}
	report(f)
	return nil
}

// defaultCgroupNamespace is what containers get unless somebody sets it: their own on version 2 of control groups. Where no kernel runs
// that is not known.
func (s *Surveys) defaultCgroupNamespace() string {
	if !s.Live() {
		return ""
	}
	if _, err := s.Sys().Stat("fs/cgroup/cgroup.controllers"); err == nil {
		return "private"
	}
	return "host"
}

// dockerSetup finds the daemon. A malformed configuration is not an error of it, but among what is wrong.
func (s *Surveys) dockerSetup(ctx context.Context) (d *dockerSetup, err error) {
	d = &dockerSetup{flagsFrom: "none"}
	processes, err := s.daemons(ctx, "dockerd")
	if err != nil {
		return nil, err
	}
	// One that runs as root and sees other files is in a container itself; a rootless daemon sees other files always.
	if i := slices.IndexFunc(processes, func(p daemonProcess) bool { return p.host || p.uid != 0 }); i >= 0 {
		d.process = &processes[i]
	}
	var failed error
	if d.service, failed = s.systemdUnit("docker.service"); failed == nil {
		d.socket, failed = s.systemdUnit("docker.socket")
	}
	if failed == nil {
		d.env, failed = s.unitEnvironment(&d.service)
	}
	args, argsErr := s.dockerArgs(d)
	if failed = errors.Join(failed, argsErr); failed != nil {
		return nil, failed
	}
	d.flags = parseFlags(args, dockerSwitches, dockerShort)
	d.configFile = s.dockerConfigFile(d)
	text, exists, err := s.configText(d.configFile)
	if err != nil {
		return nil, err
	}
	if d.configExists = exists; exists {
		d.parse(text)
	}
	d.installed, err = s.dockerInstalled(d)
	return d, err
}

func (s *Surveys) dockerInstalled(d *dockerSetup) (bool, error) {
	if d.process != nil || d.service.file != "" || d.configExists {
		return true, nil
	}
	program, err := s.program("dockerd")
	if err != nil {
		return false, err
	}
	return s.there(program)
}

// dockerArgs are the flags of the daemon that runs, or of its unit, or of its init script.
func (s *Surveys) dockerArgs(d *dockerSetup) ([]string, error) {
	if d.process != nil {
		d.flagsFrom = "process"
		return d.process.args[1:], nil
	}
	if d.service.file != "" {
		args, _ := d.service.command(d.env)
		if len(args) < 2 {
			return nil, nil
		}
		d.flagsFrom = "unit"
		return args[1:], nil
	}
	for _, from := range []struct{ file, name string }{{"/etc/conf.d/docker", "DOCKER_OPTS"}, {"/etc/default/docker", "DOCKER_OPTS"}, {"/etc/sysconfig/docker", "OPTIONS"}} {
		text, exists, err := s.configText(from.file)
		if err != nil {
			return nil, err
		}
		if v := shellValues(from.file, text)[from.name]; exists && v.text != "" {
			d.flagsFrom = "unit"
			return shellWords(v.text), nil
		}
	}
	return nil, nil
}

func (s *Surveys) dockerConfigFile(d *dockerSetup) string {
	if named, ok := d.flag("config-file"); ok && path.IsAbs(named) {
		return path.Clean(named)
	} else if ok && d.process != nil {
		return s.absolute(d.process, named)
	}
	if d.process == nil || d.process.uid == 0 {
		return "/etc/docker/daemon.json"
	}
	accounts, _, _ := s.accounts()
	for _, a := range accounts {
		if a.uid == int64(d.process.uid) && path.IsAbs(a.home) {
			return path.Join(a.home, ".config/docker/daemon.json")
		}
	}
	return "/etc/docker/daemon.json"
}

// parse reads daemon.json. What the daemon would refuse is noted as wrong.
func (d *dockerSetup) parse(text string) {
	if strings.TrimSpace(text) == "" {
		return // the daemon takes an empty file for an empty configuration
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&d.config); err != nil {
		d.wrong = append(d.wrong, fmt.Errorf("%s: %w", place(d.configFile, jsonLine(text, err)), err))
		return
	}
	if decoder.More() {
		d.wrong = append(d.wrong, fmt.Errorf("%s: want one JSON object and nothing after it", d.configFile))
	}
}

// jsonLine is the line of an error of encoding/json.
func jsonLine(text string, err error) int {
	at := int64(len(text))
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &kind):
		at = kind.Offset
	}
	return 1 + bytes.Count([]byte(text)[:min(max(int(at)-1, 0), len(text))], []byte("\n"))
}

// dockerSwitches are flags of dockerd that stand for themselves, dockerShort what their short forms mean.
var (
	dockerSwitches = []string{"debug", "experimental", "help", "icc", "init", "ip-forward", "ip-masq", "iptables", "ip6tables", "ipv6", "live-restore",
		"no-new-privileges", "no-proxy-loopback", "raw-logs", "selinux-enabled", "tls", "tlsverify", "userland-proxy", "validate", "version",
		"disable-legacy-registry", "rootless", "allow-direct-routing", "bridge-accept-fwmark"}
	dockerShort = map[byte]string{'b': "bridge", 'D': "debug", 'G': "group", 'g': "data-root", 'H': "host", 'l': "log-level", 'p': "pidfile", 's': "storage-driver", 'v': "version"}
)

// parseFlags reads flags as Go programs with long names have them: --name=value, --name value, --switch, -x value, -xvalue.
func parseFlags(args, switches []string, short map[byte]string) map[string][]string {
	flags := map[string][]string{}
	for i := 0; i < len(args); i++ {
		name, value, given := "", "", false
		switch arg := args[i]; {
		case arg == "--":
			return flags
		case strings.HasPrefix(arg, "--"):
			name, value, given = strings.Cut(arg[2:], "=")
		case len(arg) > 1 && arg[0] == '-' && short[arg[1]] != "":
			name, value = short[arg[1]], strings.TrimPrefix(arg[2:], "=")
			given = value != ""
		default:
			continue
		}
		if !given && slices.Contains(switches, name) {
			value, given = "true", true
		}
		if !given && i+1 < len(args) {
			i++
			value = args[i]
		}
		flags[name] = append(flags[name], value)
	}
	return flags
}

// flag is the last value of a flag.
func (d *dockerSetup) flag(name string) (string, bool) {
	all := d.flags[name]
	if len(all) == 0 {
		return "", false
	}
	return all[len(all)-1], true
}

// value reads a key of the configuration, and notes it as wrong if it is of another type.
func (d *dockerSetup) value(key string, to any) bool {
	raw, ok := d.config[key]
	if !ok || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, to); err != nil {
		d.wrong = append(d.wrong, fmt.Errorf("%s: %s: %w", d.configFile, key, err))
		return false
	}
	return true
}

// text is a setting: the flag, or the key of the file, or the default.
func (d *dockerSetup) text(name, def string) string {
	if v, ok := d.flag(name); ok {
		return v
	}
	d.value(name, &def)
	return def
}

func (d *dockerSetup) truth(name string, def bool) bool {
	if v, ok := d.flag(name); ok {
		return on(v)
	}
	d.value(name, &def)
	return def
}

// list is a setting with several values, whose flag has another name than its key.
func (d *dockerSetup) list(flag, key string) []string {
	all := slices.Clone(d.flags[flag])
	var more []string
	d.value(key, &more)
	return append(all, more...)
}

// pairs are settings of the form NAME=VALUE.
func (d *dockerSetup) pairs(flag, key string) map[string]string {
	all := map[string]string{}
	d.value(key, &all)
	for _, text := range d.flags[flag] {
		name, value, _ := strings.Cut(text, "=")
		all[name] = value
	}
	return all
}

// dockerPlural are settings whose key in the file is another than their flag.
var dockerPlural = map[string]string{"host": "hosts", "insecure-registry": "insecure-registries", "registry-mirror": "registry-mirrors", "storage-opt": "storage-opts",
	"log-opt": "log-opts", "exec-opt": "exec-opts", "label": "labels", "default-ulimit": "default-ulimits", "authorization-plugin": "authorization-plugins", "add-runtime": "runtimes"}

// conflicts are settings that are given both as flags and in the file.
func (d *dockerSetup) conflicts() (all []string) {
	for name := range d.flags {
		key := name
		if plural := dockerPlural[name]; plural != "" {
			key = plural
		}
		if _, ok := d.config[key]; ok {
			all = append(all, key)
		}
	}
	return all
}

// hosts is where the daemon listens. fd:// is what systemd listens on for it.
func (d *dockerSetup) hosts() []string {
	hosts := d.list("host", "hosts")
	if len(hosts) == 0 {
		return []string{"unix:///run/docker.sock"}
	}
	var all []string
	for _, h := range hosts {
		if !strings.HasPrefix(h, "fd://") {
			all = append(all, h)
			continue
		}
		for _, listen := range d.socket.values["Socket.ListenStream"] {
			if address := strings.Replace(listen.text, "%t", "/run", 1); path.IsAbs(address) {
				all = append(all, "unix://"+address)
			} else {
				all = append(all, "tcp://"+address)
			}
		}
	}
	return all
}

// unixSocket is the first socket that it listens on.
func (d *dockerSetup) unixSocket() string {
	for _, h := range d.hosts() {
		if file, ok := strings.CutPrefix(h, "unix://"); ok && path.IsAbs(file) {
			return path.Clean(strings.Replace(file, "/var/run/", "/run/", 1))
		}
	}
	return ""
}

func (d *dockerSetup) listening(f event.Fact) {
	hosts := d.hosts()
	tcp, everybody := false, false
	for _, h := range hosts {
		address, ok := strings.CutPrefix(h, "tcp://")
		if !ok && !strings.Contains(h, "://") {
			address, ok = h, true
		}
		if strings.Trim(address, "0123456789") == "" { // of ListenStream: a port alone
			address = ":" + address
		}
		tcp, everybody = tcp || ok, everybody || ok && everywhere(address)
	}
	verify := d.truth("tlsverify", false)
	tls := verify || d.truth("tls", false)
	f.Set("hosts", strings.Join(hosts, ", ")).Set("tcp", tcp).Set("tcp_any", everybody)
	f.Set("tls", tls).Set("tls_verify", verify).Set("remote_safe", !tcp || verify)
	for _, name := range []string{"ca", "cert", "key"} {
		f.Set("tls_"+name, d.tlsFile(name, tls))
	}
}

// tlsFile is a file of TLS; empty if TLS is not spoken.
func (d *dockerSetup) tlsFile(name string, tls bool) string {
	if !tls {
		return ""
	}
	dir := d.env["DOCKER_CERT_PATH"]
	if dir == "" {
		dir = "/root/.docker"
	}
	return d.text("tls"+map[string]string{"ca": "cacert", "cert": "cert", "key": "key"}[name], path.Join(dir, name+".pem"))
}

func (d *dockerSetup) network(f event.Fact) {
	f.Set("icc", d.truth("icc", true)).Set("iptables", d.truth("iptables", true)).Set("ip6tables", d.truth("ip6tables", true))
	f.Set("userland_proxy", d.truth("userland-proxy", true)).Set("ip", d.text("ip", "0.0.0.0"))
	bridge := d.text("bridge", "docker0")
	if bridge == "" {
		bridge = "docker0"
	}
	metrics := d.text("metrics-addr", "")
	f.Set("bridge", bridge).Set("metrics", metrics).Set("metrics_open", metrics != "" && !loopback(metrics))
}

func (d *dockerSetup) registries(f event.Fact) {
	var insecure, mirrors []string
	for _, r := range d.list("insecure-registry", "insecure-registries") {
		if !loopback(r) {
			insecure = append(insecure, r)
		}
	}
	for _, m := range d.list("registry-mirror", "registry-mirrors") {
		if plain, ok := strings.CutPrefix(m, "http://"); ok && !loopback(strings.TrimSuffix(plain, "/")) {
			mirrors = append(mirrors, withoutPassword(m))
		}
	}
	f.Set("insecure_registries", joined(insecure)).Set("insecure_mirrors", joined(mirrors)).Set("proxy_credentials", d.proxyCredentials())
}

func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	u.User = nil
	return u.String()
}

// proxyCredentials says whether a proxy's address has a password in it, in the file, a flag or the unit's environment.
func (d *dockerSetup) proxyCredentials() bool {
	addresses := []string{d.text("http-proxy", ""), d.text("https-proxy", "")}
	var proxies map[string]string
	if d.value("proxies", &proxies) {
		addresses = append(addresses, proxies["http-proxy"], proxies["https-proxy"])
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		addresses = append(addresses, d.env[name])
	}
	return slices.ContainsFunc(addresses, func(a string) bool {
		u, err := url.Parse(a)
		if err != nil || u.User == nil {
			return false
		}
		_, has := u.User.Password()
		return has
	})
}

// Log drivers: those that send output to a collector or another machine, and those that keep it bounded by themselves.
var (
	remoteLogs  = []string{"syslog", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs", "logentries"}
	boundedLogs = []string{"local", "journald", "none"}
)

func (d *dockerSetup) logging(f event.Fact) {
	driver := d.text("log-driver", "json-file")
	remote := slices.Contains(remoteLogs, driver) || strings.ContainsAny(driver, "/:") // a plugin's name
	options := d.pairs("log-opt", "log-opts")
	size := options["max-size"]
	bounded := remote || slices.Contains(boundedLogs, driver) || size != "" && size != "-1"
	debug := d.truth("debug", false)
	f.Set("log_driver", driver).Set("log_remote", remote).Set("log_bounded", bounded)
	f.Set("log_level", d.text("log-level", "info")).Set("debug", debug)
}

func (d *dockerSetup) privileges(f event.Fact) {
	userns := d.text("userns-remap", "")
	rootless := d.process != nil && d.process.uid != 0
	seccomp := d.text("seccomp-profile", "")
	if seccomp == "" || seccomp == "builtin" {
		seccomp = "default"
	}
	var ulimits []string
	for name, value := range d.pairsOf("default-ulimits") {
		ulimits = append(ulimits, name+"="+value)
	}
	f.Set("userns", userns).Set("userns_remapped", userns != "" || rootless)
	f.Set("cgroup_parent", d.text("cgroup-parent", "")).Set("seccomp_profile", seccomp)
	f.Set("authorization", joined(d.list("authorization-plugin", "authorization-plugins")))
	f.Set("no_new_privileges", d.truth("no-new-privileges", false)).Set("live_restore", d.truth("live-restore", false))
	f.Set("experimental", d.truth("experimental", false)).Set("selinux", d.truth("selinux-enabled", false))
	f.Set("ipc_mode", d.text("default-ipc-mode", "private"))
	f.Set("ulimits", joined(append(ulimits, d.flags["default-ulimit"]...)))
}

// pairsOf are the default limits of the file: {"nofile": {"Name": "nofile", "Hard": 2048, "Soft": 1024}}.
func (d *dockerSetup) pairsOf(key string) map[string]string {
	var limits map[string]struct{ Hard, Soft int64 }
	d.value(key, &limits)
	all := map[string]string{}
	for name, l := range limits {
		all[name] = fmt.Sprintf("%d:%d", l.Soft, l.Hard)
	}
	return all
}

func (d *dockerSetup) dataRoot() string {
	def := "/var/lib/docker"
	d.value("graph", &def)
	root := path.Clean(d.text("data-root", def))
	if root == "." || !path.IsAbs(root) {
		return "/var/lib/docker"
	}
	return root
}

var outdatedStorage = []string{"aufs", "devicemapper", "overlay", "vfs"}

// dockerData sets what is known of where Docker keeps its data.
func (s *Surveys) dockerData(d *dockerSetup, f event.Fact) error {
	root := d.dataRoot()
	driver := d.text("storage-driver", "")
	if driver == "" {
		names, err := s.readDir(path.Join(root, "image"))
		if err != nil && !Absent(err) {
			return err
		}
		if len(names) == 1 { // of several nobody knows which one is in use
			driver = names[0].Name
		}
	}
	base := ""
	for _, option := range d.list("storage-opt", "storage-opts") {
		if value, ok := strings.CutPrefix(option, "dm.basesize="); ok {
			base = value
		}
	}
	if driver != "" {
		f.Set("storage_driver", driver)
	}
	f.Set("storage_outdated", slices.Contains(outdatedStorage, driver)).Set("base_size", base).Set("data_root", root)
	separate, err := s.ownFileSystem(root)
	if err == nil {
		f.Set("data_separate", separate)
	}
	return err
}

// dockerUsers sets who may use the daemon.
func (s *Surveys) dockerUsers(d *dockerSetup, f event.Fact) error {
	group := d.text("group", "docker")
	if named := d.socket.last("Socket.SocketGroup"); named != "" && strings.Contains(strings.Join(d.list("host", "hosts"), " "), "fd://") {
		group = named
	}
	members, err := s.membersOf(group)
	if err != nil {
		return err
	}
	trusted, err := s.contentTrust(d)
	f.Set("group", group).Set("group_members", joined(members)).Set("content_trust", trusted)
	return err
}

// membersOf are the users of a group other than root, also those whose own group it is.
func (s *Surveys) membersOf(group string) (members []string, err error) {
	groups, _, err := s.groupLines()
	if err != nil && !Absent(err) {
		return nil, err
	}
	accounts, _, err := s.accounts()
	if err != nil && !Absent(err) {
		return nil, err
	}
	for _, g := range groups {
		if g.nis || g.name != group {
			continue
		}
		members = append(members, g.members...)
		for _, a := range accounts {
			if !a.nis && a.gid == g.gid && g.gid != 0 {
				members = append(members, a.name)
			}
		}
	}
	return slices.DeleteFunc(members, func(name string) bool { return name == "root" }), nil
}

// contentTrust says whether everybody's sessions begin with DOCKER_CONTENT_TRUST=1.
func (s *Surveys) contentTrust(d *dockerSetup) (bool, error) {
	const name = "DOCKER_CONTENT_TRUST"
	text, _, err := s.configText("/etc/environment")
	if err != nil {
		return false, err
	}
	value := shellValues("/etc/environment", text)[name].text
	commands, err := s.loginCommands()
	for _, c := range commands {
		set, _, _ := c.assignments()
		for _, word := range set {
			if v, ok := strings.CutPrefix(word, name+"="); ok {
				value = v
			}
		}
	}
	return value == "1", err
}

// dockerFiles are the files of a Docker that is installed.
func (s *Surveys) dockerFiles(d *dockerSetup) (files []containerFile, err error) {
	for _, f := range []containerFile{
		{"docker_service", d.service.file}, {"docker_socket_unit", d.socket.file}, {"docker_etc", "/etc/docker"}, {"docker_daemon_json", d.configFile},
		{"docker_default", "/etc/default/docker"}, {"docker_sysconfig", "/etc/sysconfig/docker"}, {"docker_sock", d.unixSocket()}, {"docker_data", d.dataRoot()},
		{"docker_swarm_key", path.Join(d.dataRoot(), "swarm/certificates/swarm-node.key")},
	} {
		if f.path != "" {
			files = append(files, f)
		}
	}
	for _, file := range append(slices.Clone(d.service.dropIns), d.socket.dropIns...) {
		files = append(files, containerFile{"docker_drop_in", file})
	}
	if tls := d.truth("tlsverify", false) || d.truth("tls", false); tls {
		for _, name := range []string{"ca", "cert", "key"} {
			if file := d.tlsFile(name, tls); path.IsAbs(file) {
				files = append(files, containerFile{"docker_tls_" + name, path.Clean(file)})
			}
		}
	}
	if profile := d.text("seccomp-profile", ""); path.IsAbs(profile) {
		files = append(files, containerFile{"docker_seccomp_profile", path.Clean(profile)})
	}
	for pattern, purpose := range map[string]string{"*.crt": "docker_registry_cert", "*.cert": "docker_registry_cert", "*.key": "docker_registry_key"} {
		found, err := s.glob("/etc/docker/certs.d/*/" + pattern)
		if err != nil {
			return nil, err
		}
		slices.Sort(found)
		for _, file := range found[:min(len(found), 1000)] {
			files = append(files, containerFile{purpose, file})
		}
	}
	slices.SortStableFunc(files, func(a, b containerFile) int { return strings.Compare(a.purpose, b.purpose) })
	return files, nil
}
