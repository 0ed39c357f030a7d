package host

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// run judges RUN.
func (j *dockerJudge) run(in *dockerInstruction, f event.Fact) {
	r := &runJudge{stage: j.stage, mounts: j.mounts(in), text: in.text()}
	r.all = j.runCommands(in)
	everyCommand(r.all, r.look)
	r.settle()
	f.Set("programs", r.programs).Set("sudo", r.sudo).Set("fetch_pipe", fetchPipe(r.all)).Set("fetch_plain", r.plain).Set("fetch_unverified", r.unverified)
	f.Set("fetchers", r.fetchers()).Set("pipe_unsafe", pipeUnsafe(r.all, j.stage.pipefail || strings.HasPrefix(r.shebang(in), "#!") && strings.Contains(r.shebang(in), "pipefail")))
	f.Set("update_alone", r.updates && !r.installs).Set("apt_recommends", r.recommends && !j.stage.recommends).Set("apt_lists", r.aptLists)
	f.Set("apt_asks", r.aptAsks).Set("apt_command", r.aptCommand).Set("packages_unverified", r.untrusted).Set("package_cache", r.cache).Set("packages_asks", r.asks)
	f.Set("unpinned", joined(r.unpinned)).Set("unpinned_system", joined(r.unpinnedSystem)).Set("ssh_server", r.sshServer)
	f.Set("changes_directory", r.changesDirectory()).Set("useless", joined(r.useless)).Set("sets_password", r.password).Set("sticky_user", r.stickyUser)
	f.Set("open_mode", r.open).Set("setuid", r.setID).Set("docker_socket", strings.Contains(r.text, "docker.sock"))
	security, _ := in.flag("security")
	network, _ := in.flag("network")
	f.Set("elevated", security == "insecure" || network == "host")
	f.Set("secrets", joined(append(r.secrets, secretKinds(r.text)...)))
	j.mountsFrom(r.mounts, f)
	if r.recommendsOff {
		j.stage.recommends = true
	}
	for _, name := range r.fetches {
		if !has(j.stage.fetched, name) {
			j.stage.fetched = append(j.stage.fetched, name)
		}
	}
	j.stage.compiles = (j.stage.compiles || r.compilers) && !r.removes
}

// runCommands are the commands of a RUN: of its arguments, and of here-documents that a shell reads.
func (j *dockerJudge) runCommands(in *dockerInstruction) []runCommand {
	if in.json {
		c := runCommand{words: in.list}
		if script, ok := c.script(); ok {
			c.nested = parseRun(script)
		}
		return []runCommand{c}
	}
	if j.stage.other {
		return nil
	}
	all := parseRun(in.args)
	reader := "" // which program reads the here-document
	if len(all) > 0 && !heredocMark.MatchString(all[0].first()) {
		reader, _ = all[0].program()
	}
	for _, h := range in.heredocs {
		if reader != "" && !slices.Contains(shells, reader) {
			continue
		}
		first, _, _ := strings.Cut(h.body, "\n")
		if words := strings.Fields(strings.TrimPrefix(first, "#!")); strings.HasPrefix(first, "#!") && len(words) > 0 {
			c := runCommand{words: append(words, "-c", "true")}
			if _, shell := c.script(); !shell {
				continue
			}
		}
		all = append(all, parseRun(h.body)...)
	}
	return all
}

func (c *runCommand) first() string {
	if len(c.words) == 0 {
		return ""
	}
	return c.words[0]
}

// A runMount is a --mount of a RUN.
type runMount map[string]string

func (j *dockerJudge) mounts(in *dockerInstruction) (all []runMount) {
	for _, flag := range in.flags {
		text, ok := strings.CutPrefix(flag, "--mount=")
		if !ok {
			continue
		}
		m := runMount{"type": "bind"}
		for part := range strings.SplitSeq(strings.Trim(text, `"'`), ",") {
			key, value, _ := strings.Cut(part, "=")
			switch key {
			case "dst", "destination":
				key = "target"
			case "src":
				key = "source"
			}
			m[key] = value
		}
		all = append(all, m)
	}
	return all
}

func (j *dockerJudge) mountsFrom(all []runMount, f event.Fact) {
	for _, m := range all {
		if m["from"] != "" {
			j.copiesFrom(f, m["from"], true)
			if f.Values["from_known"] == false {
				return
			}
		}
	}
}

// A runJudge collects what the commands of a RUN do.
type runJudge struct {
	stage  *dockerStage
	mounts []runMount
	text   string
	all    []runCommand

	programs, fetches, useless, unpinned, unpinnedSystem, secrets []string

	sudo, plain, unverified, sshServer, password, stickyUser, open, setID        bool
	updates, installs, recommends, recommendsOff, aptAsks, aptCommand, untrusted bool
	asks, aptUpdates, aptLists, cache, compilers, removes                        bool

	cached []packageUse // uses that may leave a cache
}

// Programs that make no sense while an image is built.
var uselessPrograms = []string{"shutdown", "reboot", "halt", "poweroff", "init", "telinit", "service", "systemctl", "ps", "top", "htop", "free", "mount", "umount", "ifconfig", "vim", "vi", "nano", "ssh"}

var compilers = []string{"build-essential", "gcc", "g++", "make", "cmake", "build-base", "golang", "golang-go", "go", "cargo", "rust", "rustc", "maven", "gradle", "clang", "gcc-c++", "base-devel"}

// look takes one command into account.
func (r *runJudge) look(c *runCommand) {
	name, args := c.program()
	if name != "" && !slices.Contains(r.programs, name) && len(r.programs) < 100 {
		r.programs = append(r.programs, name)
	}
	r.sudo = r.sudo || usesSudo(c)
	r.plain, r.unverified = r.plain || fetchPlain(c), r.unverified || fetchUnverified(c)
	if (name == "curl" || name == "wget") && !has(r.fetches, name) {
		r.fetches = append(r.fetches, name)
	}
	if slices.Contains(uselessPrograms, name) && !(name == "systemctl" && has(args, "enable", "disable", "mask", "unmask", "set-default")) {
		r.useless = append(r.useless, name)
	}
	for _, mode := range chmodModes(c) {
		r.open, r.setID = r.open || name == "chmod" && openMode(mode), r.setID || name != "mkdir" && setIDMode(mode)
	}
	r.users(name, args)
	r.sshServer = r.sshServer || name == "sshd"
	r.secrets = append(r.secrets, commandSecrets(c)...)
	if use, ok := packagesOf(c); ok {
		r.packages(use, name)
	}
}

func usesSudo(c *runCommand) bool {
	for _, w := range c.words[:min(len(c.words), 4)] {
		if name := strings.TrimPrefix(w, "/usr/bin/"); name == "sudo" || name == "doas" {
			return true
		}
		if _, wraps := wrappers[w]; !wraps && !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") {
			return w == "su" || w == "/bin/su"
		}
	}
	return false
}

// users notes passwords, and users whose number makes the log of logins huge.
func (r *runJudge) users(name string, args []string) {
	switch name {
	case "chpasswd":
		r.password = true
	case "passwd":
		r.password = r.password || !has(args, "-l", "--lock", "-d", "--delete", "-S")
		r.password = r.password || has(args, "-d", "--delete")
	case "useradd", "usermod":
		if p, ok := optionValue(args, "-p", "--password"); ok && p != "" && !strings.HasPrefix(p, "!") && p != "*" {
			r.password = true
		}
		number, _ := optionValue(args, "-u", "--uid")
		uid, err := strconv.Atoi(number)
		r.stickyUser = r.stickyUser || name == "useradd" && err == nil && uid > 1_000_000 && !has(args, "--no-log-init") && !letters(args, 'l', "bcdDefgGkKpRsuZ")
	}
}

// packages takes the use of a package manager into account.
func (r *runJudge) packages(use packageUse, program string) {
	system := slices.Contains(systemManagers, use.manager)
	r.aptCommand = r.aptCommand || program == "apt"
	r.untrusted = r.untrusted || use.unverified()
	if use.manager == "apt" {
		r.aptAsks = r.aptAsks || use.asks()
		r.aptUpdates = r.aptUpdates || use.action == "update"
		quiet := has(use.args, "--no-install-recommends") || slices.ContainsFunc(use.args, recommendsOff)
		r.recommends = r.recommends || use.action == "install" && len(use.names) > 0 && !quiet
	} else {
		r.asks = r.asks || use.asks()
	}
	switch use.action {
	case "update":
		r.updates = r.updates || system
	case "install":
		r.installs = r.installs || system
		r.sshServer = r.sshServer || system && (has(use.names, "openssh-server", "dropbear", "dropbear-bin") || use.manager == "apk" && has(use.names, "openssh"))
		r.compilers = r.compilers || system && has(use.names, compilers...)
		r.cached = append(r.cached, use)
	case "upgrade":
		r.installs = r.installs || system
		r.cached = append(r.cached, use)
	case "remove":
		r.removes = r.removes || system
	}
	if system {
		r.unpinnedSystem = append(r.unpinnedSystem, use.unpinned()...)
	} else {
		r.unpinned = append(r.unpinned, use.unpinned()...)
	}
}

var recommendsPattern = regexp.MustCompile(`(?i)apt::install-recommends["'\s:=]*"?(?:0|false|no)`)

func recommendsOff(arg string) bool { return recommendsPattern.MatchString(arg) }

// settle decides what needs the whole RUN: what is cleaned up in the end, or lies in a cache that is not part of the image.
func (r *runJudge) settle() {
	r.recommendsOff = recommendsPattern.MatchString(r.text)
	r.recommends = r.recommends && !r.recommendsOff
	r.aptLists = r.aptUpdates && !r.cleans("/var/lib/apt")
	for _, use := range r.cached {
		r.cache = r.cache || r.leavesCache(&use)
	}
}

// cleans says whether the RUN removes what is in one of some directories, or has them from elsewhere.
func (r *runJudge) cleans(dirs ...string) bool {
	for _, m := range r.mounts {
		if (m["type"] == "cache" || m["type"] == "tmpfs") && hasPrefixed(dirs, strings.TrimSuffix(m["target"], "/")) || m["type"] == "cache" && hasPrefixed([]string{m["target"]}, dirs...) {
			return true
		}
	}
	found := false
	everyCommand(r.all, func(c *runCommand) {
		if name, args := c.program(); name == "rm" || name == "find" || name == "truncate" {
			found = found || hasPrefixed(args, dirs...)
		}
	})
	return found
}

// runs says whether the RUN has a command with these words, in their order.
func (r *runJudge) runs(program string, words ...string) bool {
	found := false
	everyCommand(r.all, func(c *runCommand) {
		name, args := c.program()
		found = found || name == program && slices.Equal(withoutOptions(args)[:min(len(words), len(withoutOptions(args)))], words)
	})
	return found
}

func withoutOptions(args []string) (plain []string) {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			plain = append(plain, a)
		}
	}
	return plain
}

func (r *runJudge) leavesCache(use *packageUse) bool {
	switch use.manager {
	case "apk":
		return !has(use.args, "--no-cache") && !r.cleans("/var/cache/apk", "/etc/apk/cache", "/lib/apk/db/none")
	case "dnf":
		cleaned := false
		for _, program := range []string{"dnf", "yum", "microdnf", "dnf5", "tdnf"} {
			cleaned = cleaned || r.runs(program, "clean", "all")
		}
		return !cleaned && !r.cleans("/var/cache/yum", "/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/tdnf")
	case "zypper":
		return !r.runs("zypper", "clean") && !r.runs("zypper", "cc") && !r.cleans("/var/cache/zypp")
	case "pip":
		off := r.stage.pipCacheOff || has(use.args, "--no-cache-dir", "--no-cache") || strings.Contains(r.text, "PIP_NO_CACHE_DIR=")
		return !off && !r.runs("pip", "cache", "purge") && !r.runs("pip3", "cache", "purge") && !r.cleans("/root/.cache", "~/.cache", "$HOME/.cache")
	case "npm":
		return !r.runs("npm", "cache", "clean") && !r.cleans("/root/.npm", "~/.npm", "$HOME/.npm") && !hasPrefixed(use.args, "--cache")
	case "yarn":
		return !r.runs("yarn", "cache", "clean") && !r.cleans("/usr/local/share/.cache", "/root/.yarn", "~/.yarn", "~/.cache", "/root/.cache")
	}
	return false
}

// fetchers says whether this is the RUN with which the stage uses both curl and wget.
func (r *runJudge) fetchers() bool {
	before := has(r.stage.fetched, "curl") && has(r.stage.fetched, "wget")
	now := append(slices.Clone(r.stage.fetched), r.fetches...)
	return !before && has(now, "curl") && has(now, "wget")
}

// changesDirectory says whether the script begins with cd to an absolute directory, and does more than that.
func (r *runJudge) changesDirectory() bool {
	if len(r.all) == 0 {
		return false
	}
	name, args := r.all[0].program()
	return name == "cd" && len(args) > 0 && strings.HasPrefix(args[0], "/")
}

func (r *runJudge) shebang(in *dockerInstruction) string {
	if len(in.heredocs) == 0 {
		return ""
	}
	first, _, _ := strings.Cut(in.heredocs[0].body, "\n")
	return first
}

// pipeUnsafe says whether a pipe comes before pipefail is set.
func pipeUnsafe(all []runCommand, safe bool) bool {
	for i := range all {
		c := &all[i]
		if name, args := c.program(); name == "set" && has(args, "pipefail") || slices.Contains(shells, name) && has(args, "pipefail") {
			safe = true
		}
		if c.piped && !safe {
			return true
		}
		if script, ok := c.script(); ok && pipeUnsafe(parseRun(script), safe) {
			return true
		}
	}
	return false
}

// commandSecrets names the words of a command in which a secret stands. What a variable puts in does not stand there.
func commandSecrets(c *runCommand) (names []string) {
	for _, a := range c.assigned {
		if name, value, _ := strings.Cut(a, "="); secretName(name) && value != "" && !strings.ContainsAny(value, "$`") && !strings.HasPrefix(value, "/") {
			names = append(names, name)
		}
	}
	program, _ := c.program()
	for i, hidden := range Redact(c.words) {
		word := c.words[i]
		if hidden == word || strings.ContainsAny(word, "$`<") || strings.HasPrefix(word, "/run/secrets/") || onlyDigest(word) {
			continue
		}
		name, _, assigns := strings.Cut(word, "=")
		if !assigns || !anyName.MatchString(name) {
			name = "an argument of " + program
		}
		names = append(names, cutText(name, 60))
	}
	return names
}

// onlyDigest says whether what could be a key is the checksum of a file.
func onlyDigest(word string) bool {
	rest := digestShape.ReplaceAllString(word, "")
	return rest != word && RedactText(rest) == rest
}

var digestShape = regexp.MustCompile(`\b[0-9a-fA-F]{40,128}\b`)

func cutText(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "?")
}

var (
	addressPassword = regexp.MustCompile(`://[^/\s:@'"$]+:([^@/\s'"]+)@`)
	placeholder     = regexp.MustCompile(`^[$<{*x]`)
)

// secretKinds says what kinds of secrets stand in a text, by their form.
func secretKinds(text string) (kinds []string) {
	for _, m := range keyShapes.FindAllString(text, 20) {
		switch {
		case strings.HasPrefix(m, "pass:"):
			if !strings.ContainsAny(m, "$`") {
				kinds = append(kinds, "a password of openssl")
			}
		case strings.HasPrefix(m, "-----BEGIN"):
			kinds = append(kinds, "a private key")
		default:
			kinds = append(kinds, "a key of a known form")
		}
	}
	for _, m := range addressPassword.FindAllStringSubmatch(text, 20) {
		if !placeholder.MatchString(m[1]) {
			kinds = append(kinds, "a password in an address")
		}
	}
	return kinds
}
