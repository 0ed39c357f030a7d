package host

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// An sshServer is what was read of the server of a machine.
type sshServer struct {
	program string // empty if there is none
	version string
	number  int64
	config  *sshdConfig
}

// sshServer reads the server's version, options and configuration.
func (s *Surveys) sshServer() (server sshServer, err error) {
	if server.program, err = s.firstOf(sshdPrograms...); err != nil || server.program == "" {
		return server, err
	}
	if server.version, server.number, err = s.sshdVersion(server.program); err != nil {
		return server, err
	}
	options, file, err := s.sshdOptions()
	if err != nil {
		return server, err
	}
	if file == "" {
		if file, err = s.firstOf("/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"); err != nil {
			return server, err
		}
	}
	if file == "" {
		file = "/etc/ssh/sshd_config" // an error: the server does not start without
	}
	server.config = s.readSSHD(file, options)
	return server, nil
}

// sshdOptions are the options that services give the server: -o, each as a line of a file would say it, and -f, another file. Red Hat's
// before 9 also give what the cryptographic policy of the machine says, if nobody has emptied it.
func (s *Surveys) sshdOptions() (lines []string, file string, err error) {
	given := map[string]string{}
	for _, source := range []string{"/etc/crypto-policies/back-ends/opensshserver.config", "/etc/default/ssh", "/etc/sysconfig/sshd", "/etc/conf.d/sshd"} {
		text, err := s.readIfAny(source)
		if err != nil {
			return nil, "", err
		}
		for _, c := range shellCommands(source, text) {
			words, _, _ := c.assignments()
			for _, word := range words {
				if name, value, ok := strings.Cut(word, "="); ok {
					given[name] = value
				}
			}
		}
	}
	for _, name := range []string{"SSHD_OPTS", "OPTIONS", "command_args", "CRYPTO_POLICY"} {
		arguments := strings.Fields(given[name])
		for i := 0; i < len(arguments); i++ {
			flag, value := arguments[i], ""
			if len(flag) < 2 || flag[0] != '-' || flag[1] != 'o' && flag[1] != 'f' {
				continue
			}
			if value = flag[2:]; value == "" && i+1 < len(arguments) {
				i++
				value = arguments[i]
			}
			if flag[1] == 'f' {
				file = value
			} else {
				lines = append(lines, strings.Replace(value, "=", " ", 1))
			}
		}
	}
	return lines, file, nil
}

// SSHServer reports the effective configuration of the SSH server, and its keys.
func (s *Surveys) SSHServer(_ context.Context, report func(event.Fact)) error {
	report = bounded(report)
	server, err := s.sshServer()
	if err != nil || server.program == "" {
		return err
	}
	c := server.config
	for _, err := range c.errs {
		report(event.SSHServer.New(c.file, c.file).Fail(err))
	}
	for _, e := range c.wrong {
		report(e.fact(event.SSHServer))
	}
	if len(c.files) == 0 || slices.Contains(c.files, c.file) && len(c.errs) > 0 && len(c.files) == 1 {
		return nil // the first file could not be read: nothing is known
	}
	report(s.sshdFact(server, nil))
	for _, block := range c.blocks {
		report(s.sshdFact(server, block))
	}
	return s.hostKeys(c.effective(nil, server.number)["hostkey"], report)
}

// sshdTexts are the fields that are a keyword's one word.
var sshdTexts = strings.Fields(`permitrootlogin passwordauthentication kbdinteractiveauthentication pubkeyauthentication hostbasedauthentication
	gssapiauthentication kerberosauthentication permitemptypasswords permituserenvironment permituserrc ignorerhosts ignoreuserknownhosts usepam strictmodes
	usedns x11forwarding x11uselocalhost allowtcpforwarding allowagentforwarding allowstreamlocalforwarding disableforwarding gatewayports permittunnel
	compression tcpkeepalive printlastlog exposeauthinfo loglevel syslogfacility banner authorizedkeyscommanduser trustedusercakeys chrootdirectory`)

// sshdNumbers are the fields that are a keyword's number.
var sshdNumbers = strings.Fields("logingracetime maxauthtries maxsessions clientaliveinterval clientalivecountmax requiredrsasize")

// sshdLists are the fields that are a keyword's words.
var sshdLists = strings.Fields(`authenticationmethods listenaddress ciphers macs kexalgorithms hostkeyalgorithms pubkeyacceptedalgorithms
	hostbasedacceptedalgorithms casignaturealgorithms allowusers allowgroups denyusers denygroups acceptenv authorizedkeysfile`)

func (s *Surveys) sshdFact(server sshServer, block *sshdBlock) event.Fact {
	c := server.config
	f := event.SSHServer.New(c.file, c.file).Set("match", "")
	if block != nil {
		f = event.SSHServer.New("Match "+block.criteria, place(block.file, block.line)).Set("match", block.criteria)
	}
	set := c.effective(block, server.number)
	if server.number > 0 {
		f.Set("version", server.version).Set("version_number", server.number)
	}
	for _, name := range sshdTexts {
		if value := set[name]; len(value) > 0 {
			f.Set(name, value[0])
		}
	}
	for _, name := range sshdNumbers {
		if value := set[name]; len(value) > 0 {
			f.Set(name, numberOr(value[0], 0))
		}
	}
	for _, name := range sshdLists {
		if value := set[name]; len(value) > 0 {
			f.Set(name, value)
		}
	}
	for i, name := range []string{"maxstartups_start", "maxstartups_rate", "maxstartups_full"} {
		f.Set(name, numberOr(set["maxstartups"][i], 0))
	}
	f.Set("ports", set["port"]).Set("hostkeys", set["hostkey"]).Set("rekeylimit", strings.Join(set["rekeylimit"], " ")).Set("files", c.files)
	f.Set("authorizedkeyscommand", isSet(set["authorizedkeyscommand"])).Set("forcecommand", isSet(set["forcecommand"]))
	return s.withBanner(set.derive(f), set["banner"])
}

func isSet(value []string) bool { return len(value) > 0 && !strings.EqualFold(value[0], "none") }

func (set sshdSettings) is(name, value string) bool {
	return len(set[name]) > 0 && set[name][0] == value
}

// derive sets what follows from several keywords.
func (set sshdSettings) derive(f event.Fact) event.Fact {
	limited := len(set["allowusers"])+len(set["allowgroups"])+len(set["denyusers"])+len(set["denygroups"]) > 0
	forwarding := set.is("disableforwarding", "no") && !(set.is("allowtcpforwarding", "no") && set.is("allowstreamlocalforwarding", "no") &&
		set.is("x11forwarding", "no") && set.is("allowagentforwarding", "no") && set.is("permittunnel", "no"))
	forwarding = forwarding || !set.is("permittunnel", "no") && !set.is("disableforwarding", "yes")
	var subsystems []string
	for _, text := range set["subsystem"] {
		name, _, _ := strings.Cut(text, " ")
		subsystems = append(subsystems, name)
	}
	risky := slices.ContainsFunc(set["acceptenv"], riskyVariable)
	f.Set("access_limited", limited).Set("forwarding", forwarding).Set("subsystems", subsystems).Set("acceptenv_risky", risky)
	return f.Set("passwords", set.passwords())
}

// passwords says whether a password alone gets in.
func (set sshdSettings) passwords() bool {
	password := set.is("passwordauthentication", "yes")
	keyboard := set.is("kbdinteractiveauthentication", "yes") && set.is("usepam", "yes")
	methods := set["authenticationmethods"]
	if len(methods) == 0 || methods[0] == "any" {
		return password || keyboard
	}
	return slices.ContainsFunc(methods, func(list string) bool {
		return !slices.ContainsFunc(strings.Split(list, ","), func(method string) bool {
			method, _, _ = strings.Cut(method, ":")
			return !(method == "password" && password || method == "keyboard-interactive" && keyboard)
		})
	})
}

// withBanner says what a login sees first.
func (s *Surveys) withBanner(f event.Fact, value []string) event.Fact {
	if !isSet(value) {
		return f.Set("banner", "none")
	}
	text, err := s.readIfAny(value[0])
	if err != nil {
		return f.Fail(err)
	}
	names, err := s.systemNames()
	if err != nil {
		return f.Fail(err)
	}
	_, leaks := bannerWords(text, names)
	return f.Set("banner_exists", strings.TrimSpace(text) != "").Set("banner_leaks", leaks)
}

// hostKeys reports the keys that the server uses, and those that lie beside them.
func (s *Surveys) hostKeys(used []string, report func(event.Fact)) error {
	files := slices.Clone(used)
	beside, err := s.glob("/etc/ssh/ssh_host_*_key")
	if err != nil {
		return err
	}
	for _, file := range beside {
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	for _, file := range files {
		if !path.IsAbs(file) {
			continue // none
		}
		for _, private := range []bool{true, false} {
			f := s.hostKey(file, private, slices.Contains(used, file))
			if f.Err() != "" || f.Values["exists"] == true {
				report(f)
			}
		}
	}
	return nil
}

func (s *Surveys) hostKey(file string, private, used bool) event.Fact {
	half := file
	if !private {
		half += ".pub"
	}
	f := event.SSHHostKey.New(half, half).Set("private", private).Set("used", used)
	st, err := s.stat(half)
	if Absent(err) {
		return f.Set("exists", false)
	}
	if err != nil {
		return f.Fail(err)
	}
	owner, _, err := s.UserName(st.Uid)
	if err != nil {
		return f.Fail(err)
	}
	group, _, err := s.GroupName(st.Gid)
	if err != nil {
		return f.Fail(err)
	}
	mode := int64(st.Mode & 0o7777)
	guarded := st.Uid == 0 && mode&0o133 == 0
	if private {
		guarded = st.Uid == 0 && (mode&0o177 == 0 || mode&0o137 == 0 && (group == "ssh_keys" || group == "_ssh" || st.Gid == 0))
	}
	f.Set("exists", true).Set("owner", owner).Set("group", group).Set("mode", mode).Set("mode_octal", fmt.Sprintf("%04o", mode)).Set("guarded", guarded)
	return s.withPublicHalf(f, file+".pub")
}

func (s *Surveys) withPublicHalf(f event.Fact, file string) event.Fact {
	text, err := s.readIfAny(file)
	if err != nil {
		return f.Fail(err)
	}
	if key, ok := parseSSHKey(text); ok {
		f.Set("type", key.kind).Set("weak", key.weak())
		if key.bits > 0 {
			f.Set("bits", key.bits)
		}
	}
	return f
}

// SSHAuthorizedKeys reports the keys that let users in.
func (s *Surveys) SSHAuthorizedKeys(ctx context.Context, report func(event.Fact)) error {
	report = bounded(report)
	server, err := s.sshServer()
	if err != nil || server.program == "" {
		return err
	}
	accounts, _, err := s.accounts()
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	patterns := server.config.effective(nil, server.number)["authorizedkeysfile"]
	var all []event.Fact
	silent := 0
	for _, a := range accounts {
		if !a.canLogin() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		found := make(chan []event.Fact, 1)
		if silent < maxSilent && answers(ctx, func() { found <- s.keysOf(a, patterns) }) {
			all = append(all, <-found...)
			continue
		}
		silent++
		all = append(all, event.SSHAuthorizedKey.New(a.home, a.home).Fail(fmt.Errorf("%s: %w", a.home, errSilent)))
	}
	users := map[string]map[string]bool{}
	for _, f := range all {
		if print, ok := f.Values["fingerprint"].(string); ok {
			if users[print] == nil {
				users[print] = map[string]bool{}
			}
			users[print][f.Values["user"].(string)] = true
		}
	}
	for _, f := range all {
		if print, ok := f.Values["fingerprint"].(string); ok {
			f.Set("duplicate", len(users[print]) > 1)
		}
		report(f)
	}
	return nil
}

// keysOf are the facts of the keys that let a user in.
func (s *Surveys) keysOf(a account, patterns []string) (all []event.Fact) {
	for _, pattern := range patterns {
		if pattern == "none" {
			continue
		}
		file := strings.NewReplacer("%%", "%", "%h", a.home, "%u", a.name, "%U", fmt.Sprint(a.uid)).Replace(pattern)
		if !path.IsAbs(file) {
			file = path.Join(a.home, file)
		}
		st, err := s.stat(file)
		if Absent(err) || err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		text, err := s.readIfAny(file)
		if err != nil {
			all = append(all, event.SSHAuthorizedKey.New(file, file).Fail(err))
			continue
		}
		_, foreign, err := s.foreignWrite(file, a.uid)
		if err != nil {
			all = append(all, event.SSHAuthorizedKey.New(file, file).Fail(err))
			continue
		}
		all = append(all, authorizedKeys(file, text, a, foreign)...)
	}
	return all
}

func authorizedKeys(file, text string, a account, foreign bool) (all []event.Fact) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if len(all) > maxAccessFacts {
			break // and bounded says so
		}
		key, ok := parseSSHKey(line)
		if !ok {
			all = append(all, lineError{file, n, "want options, a type and a key"}.fact(event.SSHAuthorizedKey))
			continue
		}
		f := event.SSHAuthorizedKey.New(place(file, n), place(file, n)).Set("user", a.name).Set("uid", a.uid).Set("root", a.uid == 0)
		f.Set("type", key.kind).Set("weak", key.weak()).Set("fingerprint", key.fingerprint).Set("options", key.options).Set("foreign_write", foreign)
		f.Set("certificate_authority", slices.Contains(key.options, "cert-authority"))
		f.Set("limited", slices.ContainsFunc(key.options, func(o string) bool { return o == "from" || o == "command" || o == "restrict" }))
		if key.bits > 0 {
			f.Set("bits", key.bits)
		}
		all = append(all, f)
	}
	return all
}
