package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// DockerfileSurvey reads Dockerfiles, by paths of this process's own: they are no part of a machine, and are judged where they lie.
func DockerfileSurvey(paths ...string) NamedSurvey {
	survey := func(ctx context.Context, report func(event.Fact)) error {
		for _, file := range paths {
			if err := ctx.Err(); err != nil {
				return err
			}
			text, err := readDockerfile(file)
			if err != nil {
				report(event.Dockerfile.New(file, file).Fail(err))
				continue
			}
			judgeDockerfile(file, text, dockerIgnore(file), time.Now(), report)
		}
		return nil
	}
	return NamedSurvey{Name: "dockerfile", Kinds: []*event.FactKind{event.Dockerfile, event.DockerfileStage, event.DockerfileInstruction}, Survey: survey}
}

// readDockerfile reads a regular file within bounds. A pipe is not waited for.
func readDockerfile(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read %s: it is no regular file", file)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDockerfile+1))
	if err == nil && len(data) > maxDockerfile {
		err = fmt.Errorf("read %s: it has more than %d bytes", file, maxDockerfile)
	}
	return string(data), err
}

// dockerIgnore reads the list of what is not sent to the build, nil if there is none.
func dockerIgnore(file string) []string {
	for _, name := range []string{file + ".dockerignore", filepath.Join(filepath.Dir(file), ".dockerignore")} {
		text, err := readDockerfile(name)
		if err != nil {
			continue
		}
		patterns := []string{}
		joinedLines(text, "#", func(_ int, line string) { patterns = append(patterns, line) })
		return patterns
	}
	return nil
}

// ignores says whether patterns keep a name at the top of the build's files out.
func ignores(patterns []string, name string) (out bool) {
	for _, p := range patterns {
		p, again := strings.CutPrefix(p, "!")
		p = strings.Trim(strings.TrimPrefix(path.Clean("/"+p), "/"), "/")
		p = strings.TrimPrefix(p, "**/")
		if p == "**" {
			p = "*"
		}
		if ok, _ := path.Match(p, name); ok {
			out = !again
		}
	}
	return out
}

// A dockerStage is a stage of a Dockerfile as far as it has been read.
type dockerStage struct {
	index              int
	name               string
	line               int
	from               imageName
	base               string // as written, expanded
	resolved, external bool
	platform           string
	parent             *dockerStage // the stage that it builds on
	duplicate          bool
	kept               bool // it is the last, or the last builds on it
	used               bool

	user        string
	root        bool
	rootUnknown bool // who that is depends on an argument that has no value here
	workdir     bool
	health      bool
	starts      bool
	other       bool // its shell is none of POSIX
	pipefail    bool
	recommends  bool // apt was told not to install what is only recommended
	pipCacheOff bool
	compiles    bool
	fetched     []string // curl, wget
	values      map[string]string
	args        map[string]bool // names that have no value yet
	exposed     []string
	labels      []string

	commands, entrypoints, healthchecks, row, rows int
}

// id is how the stage is called.
func (s *dockerStage) id() string {
	if s.name != "" {
		return s.name
	}
	return strconv.Itoa(s.index)
}

// A dockerJudge goes through a Dockerfile and reports what it sees.
type dockerJudge struct {
	*dockerDocument
	file   string
	now    time.Time
	stages []*dockerStage
	stage  *dockerStage
	global map[string]string
	whole  bool // the build's own files are copied as a whole
	report func(event.Fact)
}

// judgeDockerfile reports the facts of a Dockerfile.
func judgeDockerfile(file, text string, ignore []string, now time.Time, report func(event.Fact)) {
	doc := parseDockerfile(text)
	j := &dockerJudge{dockerDocument: doc, file: file, now: now, global: map[string]string{}, report: report}
	kept := j.keptStages()
	for i := range doc.instructions {
		j.instruction(&doc.instructions[i], kept)
	}
	for _, wrong := range doc.wrong {
		at := place(file, wrong.line)
		report(event.DockerfileInstruction.New(at, at).Set("file", file).Set("line", int64(wrong.line)).Fail(fmt.Errorf("%s: %s", at, wrong.text)))
	}
	for i, s := range j.stages {
		report(j.stageFact(s, i == len(j.stages)-1))
	}
	report(j.fileFact(ignore))
}

// keptStages says by their number which stages the image is made of: the last, and those that it builds on.
func (j *dockerJudge) keptStages() map[int]bool {
	bases, names := []string{}, map[string]int{}
	for i := range j.instructions {
		in := &j.instructions[i]
		if in.keyword != "FROM" || in.onbuild {
			continue
		}
		words := splitQuoted(in.args, j.escape)
		bases = append(bases, strings.ToLower(words[0]))
		if len(words) > 2 && strings.EqualFold(words[1], "as") {
			names[strings.ToLower(words[2])] = len(bases) - 1
		}
	}
	kept := map[int]bool{}
	for i := len(bases) - 1; i >= 0 && !kept[i]; {
		kept[i] = true
		above, ok := names[bases[i]]
		if !ok || above >= i {
			break
		}
		i = above
	}
	return kept
}

func (j *dockerJudge) instruction(in *dockerInstruction, kept map[int]bool) {
	at := place(j.file, in.line)
	f := event.DockerfileInstruction.New(at, at)
	f.Set("file", j.file).Set("line", int64(in.line)).Set("instruction", in.keyword).Set("onbuild", in.onbuild).Set("upper", in.upper)
	f.Set("json", in.json).Set("heredoc", len(in.heredocs) > 0)
	if in.keyword == "FROM" && !in.onbuild {
		j.begin(in, kept)
	}
	if j.stage == nil && in.keyword != "ARG" {
		j.report(f.Fail(fmt.Errorf("%s: %s stands before the first FROM", at, in.keyword)))
		return
	}
	stage := ""
	if j.stage != nil {
		stage = j.stage.id()
		if j.stage.row++; in.keyword != "RUN" || len(in.flags) > 0 || len(in.heredocs) > 0 {
			j.stage.row = 0
		}
		j.stage.rows = max(j.stage.rows, j.stage.row)
	}
	f.Set("stage", stage).Set("final", j.stage != nil && j.stage.kept)
	judge := map[string]func(*dockerInstruction, event.Fact){
		"RUN": j.run, "ADD": j.copies, "COPY": j.copies, "ENV": j.env, "ARG": j.arg, "LABEL": j.label, "USER": j.user, "WORKDIR": j.workdir,
		"EXPOSE": j.expose, "VOLUME": j.volume, "HEALTHCHECK": j.healthcheck, "CMD": j.start, "ENTRYPOINT": j.start, "SHELL": j.shell,
	}[in.keyword]
	if judge != nil {
		judge(in, f)
	}
	if f.Values["secrets"] == nil {
		f.Set("secrets", joined(secretKinds(in.text())))
	}
	j.report(f)
}

// value is what a variable has in the stage, or before the first one.
func (j *dockerJudge) value(name string) (string, bool) {
	values := j.global
	if j.stage != nil {
		values = j.stage.values
	}
	v, ok := values[name]
	return v, ok
}

func (j *dockerJudge) expand(text string) (string, bool) {
	return expandDocker(unquoteDockerKeep(text), j.escape, j.value)
}

// unquoteDockerKeep takes quotes off, and leaves escaped dollars escaped.
func unquoteDockerKeep(text string) string {
	return strings.NewReplacer(`"`, "", "'", "").Replace(text)
}

// begin begins a stage.
func (j *dockerJudge) begin(in *dockerInstruction, kept map[int]bool) {
	words := splitQuoted(in.args, j.escape)
	base, resolved := j.baseFor(words[0], automaticArchs[0])
	s := &dockerStage{index: len(j.stages), line: in.line, base: base, resolved: resolved, values: map[string]string{}, args: map[string]bool{}}
	s.kept = kept[s.index]
	if len(words) > 2 && strings.EqualFold(words[1], "as") {
		s.name = words[2]
	}
	s.duplicate = s.name != "" && j.named(s.name) != nil
	if platform, given := in.flag("platform"); given && !strings.Contains(platform, "$") {
		s.platform = platform
	}
	s.parent = j.named(base)
	s.external = s.parent == nil && !strings.EqualFold(base, "scratch")
	s.root = true
	if s.parent != nil {
		s.inherit()
	}
	for _, arch := range automaticArchs[1:] { // FROM build-$TARGETARCH is one of several stages
		if other, _ := j.baseFor(words[0], arch); other != base && j.named(other) != nil {
			j.named(other).used = true
		}
	}
	if s.external && resolved {
		s.from = parseImage(base)
		s.root = !s.from.rootless()
		s.values = s.from.environment()
		s.compiles = slices.Contains(compilerImages, path.Base(s.from.repository))
	}
	j.stages, j.stage = append(j.stages, s), s
}

// automaticArchs are some of the architectures that images are built for; the first stands for the one that is built.
var automaticArchs = []string{"amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64"}

// baseFor is what a stage builds on: with arguments before the first stage, and those that BuildKit sets by itself.
func (j *dockerJudge) baseFor(word, arch string) (base string, resolved bool) {
	return expandDocker(unquoteDockerKeep(word), j.escape, func(name string) (string, bool) {
		if v, ok := j.global[name]; ok {
			return v, true
		}
		kind, target := strings.CutPrefix(name, "TARGET")
		if !target {
			kind, target = strings.CutPrefix(name, "BUILD")
		}
		v, ok := map[string]string{"ARCH": arch, "OS": "linux", "PLATFORM": "linux/" + arch, "VARIANT": ""}[kind]
		return v, ok && target
	})
}

// inherit takes over what the stage that it builds on has left.
func (s *dockerStage) inherit() {
	p := s.parent
	p.used = true
	s.user, s.root, s.rootUnknown, s.workdir, s.health, s.starts = p.user, p.root, p.rootUnknown, p.workdir, p.health, p.starts
	s.other, s.pipefail, s.recommends, s.pipCacheOff, s.compiles = p.other, p.pipefail, p.recommends, p.pipCacheOff, p.compiles
	s.fetched, s.exposed, s.labels = slices.Clone(p.fetched), slices.Clone(p.exposed), slices.Clone(p.labels)
	for name, value := range p.values {
		if !p.args[name] {
			s.values[name] = value
		}
	}
}

// named is a stage before by its name, the last of that name, or nil.
func (j *dockerJudge) named(name string) *dockerStage {
	for _, s := range slices.Backward(j.stages) {
		if s.name != "" && strings.EqualFold(s.name, name) {
			return s
		}
	}
	return nil
}

// numbered is a stage before by its name or number.
func (j *dockerJudge) numbered(name string) *dockerStage {
	if s := j.named(name); s != nil {
		return s
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(j.stages) && j.stages[n] != j.stage {
		return j.stages[n]
	}
	return nil
}

// env judges ENV.
func (j *dockerJudge) env(in *dockerInstruction, f event.Fact) {
	pairs, modern := j.pairs(in)
	var secrets []string
	for _, p := range pairs {
		value, resolved := expandDocker(p.value, j.escape, j.value)
		if resolved {
			j.stage.values[p.key] = value
			delete(j.stage.args, p.key)
		}
		if secretName(p.key) && p.value != "" && !strings.HasPrefix(p.value, "/run/secrets/") {
			secrets = append(secrets, p.key)
		}
		if unverifying(p.key + "=" + value) {
			f.Set("fetch_unverified", true)
		}
		if p.key == "PIP_NO_CACHE_DIR" && value != "" {
			j.stage.pipCacheOff = true
		}
	}
	f.Set("pairs", modern).Set("secrets", joined(append(secrets, secretKinds(in.args)...)))
	if f.Values["fetch_unverified"] == nil {
		f.Set("fetch_unverified", false)
	}
}

// arg judges ARG: a secret's name is enough, since what it is given at the build is kept in the image's history.
func (j *dockerJudge) arg(in *dockerInstruction, f event.Fact) {
	pairs, _ := j.pairs(in)
	var secrets []string
	for _, p := range pairs {
		if secretName(p.key) {
			secrets = append(secrets, p.key)
		}
		value, resolved := expandDocker(p.value, j.escape, j.value)
		switch {
		case j.stage == nil && p.given && resolved:
			j.global[p.key] = value
		case j.stage == nil:
		case p.given && resolved:
			j.stage.values[p.key], j.stage.args[p.key] = value, true
		case j.global[p.key] != "":
			j.stage.values[p.key], j.stage.args[p.key] = j.global[p.key], true
		}
	}
	f.Set("secrets", joined(append(secrets, secretKinds(in.args)...)))
}

var (
	labelKey       = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)
	reservedLabels = []string{"com.docker.", "io.docker.", "org.dockerproject."}
)

func (j *dockerJudge) label(in *dockerInstruction, f event.Fact) {
	pairs, modern := j.pairs(in)
	var secrets []string
	fine := true
	for _, p := range pairs {
		j.stage.labels = append(j.stage.labels, p.key)
		fine = fine && (labelKey.MatchString(p.key) || strings.Contains(p.key, "$")) && !hasPrefixed([]string{p.key}, reservedLabels...)
		if secretName(p.key) && p.value != "" {
			secrets = append(secrets, p.key)
		}
	}
	f.Set("pairs", modern).Set("keys_ok", fine).Set("secrets", joined(append(secrets, secretKinds(in.args)...)))
}

func (j *dockerJudge) user(in *dockerInstruction, f event.Fact) {
	user, resolved := j.expand(in.args)
	name, _, _ := strings.Cut(strings.TrimSpace(user), ":")
	if !resolved {
		user = in.args
	}
	root := resolved && (name == "root" || name != "" && strings.Trim(name, "0") == "")
	j.stage.user, j.stage.root, j.stage.rootUnknown = user, root, !resolved
	f.Set("user", user).Set("user_numeric", !resolved || name != "" && strings.Trim(name, "0123456789") == "")
	if resolved {
		f.Set("user_root", root)
	}
}

func (j *dockerJudge) workdir(in *dockerInstruction, f event.Fact) {
	dir, resolved := j.expand(in.args)
	windows := len(dir) > 2 && dir[1] == ':'
	j.stage.workdir = true
	f.Set("absolute", path.IsAbs(dir) || windows || !resolved && strings.HasPrefix(in.args, "$"))
}

func (j *dockerJudge) expose(in *dockerInstruction, f event.Fact) {
	valid, ssh := true, false
	for _, word := range j.words(in) {
		port, resolved := j.expand(word)
		if !resolved {
			continue
		}
		j.stage.exposed = append(j.stage.exposed, port)
		from, to, ok := portRange(port)
		valid = valid && ok
		ssh = ssh || ok && from <= 22 && 22 <= to
	}
	f.Set("port_ok", valid).Set("ssh_port", ssh)
}

// portRange reads 80, 80/tcp or 8000-8010/udp.
func portRange(text string) (from, to int, ok bool) {
	numbers, protocol, given := strings.Cut(text, "/")
	if given && !slices.Contains([]string{"tcp", "udp", "sctp"}, strings.ToLower(protocol)) {
		return 0, 0, false
	}
	first, last, isRange := strings.Cut(numbers, "-")
	if !isRange {
		last = first
	}
	from, err := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	return from, to, errors.Join(err, err2) == nil && 0 < from && from <= to && to <= 65535
}

var systemDirs = []string{"/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/usr/bin", "/usr/lib", "/var"}

func (j *dockerJudge) volume(in *dockerInstruction, f event.Fact) {
	var system []string
	for _, word := range j.words(in) {
		dir, _ := j.expand(word)
		if dir = path.Clean(dir); slices.Contains(systemDirs, dir) {
			system = append(system, dir)
		}
	}
	f.Set("volumes", joined(system)).Set("docker_socket", strings.Contains(in.args, "docker.sock"))
}

func (j *dockerJudge) healthcheck(in *dockerInstruction, f event.Fact) {
	none := strings.EqualFold(in.args, "none")
	if !in.onbuild {
		j.stage.healthchecks++
		j.stage.health = !none
	}
	f.Set("none", none)
}

func (j *dockerJudge) start(in *dockerInstruction, f event.Fact) {
	if !in.onbuild {
		j.stage.starts = true
		if in.keyword == "CMD" {
			j.stage.commands++
		} else {
			j.stage.entrypoints++
		}
	}
	f.Set("shell_form", !in.json)
}

// shell judges SHELL: what a RUN is started by from now on.
func (j *dockerJudge) shell(in *dockerInstruction, _ event.Fact) {
	words := j.words(in)
	if len(words) == 0 {
		return
	}
	name := strings.TrimSuffix(path.Base(strings.ReplaceAll(words[0], `\`, "/")), ".exe")
	j.stage.other = !slices.Contains(shells, name)
	j.stage.pipefail = has(words, "pipefail")
}

// sensitiveNames are files that hold secrets, or a repository's history.
var sensitiveNames = []string{".git", ".env", ".env.*", "*.env", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore",
	"*.kdbx", ".npmrc", ".pypirc", ".netrc", "_netrc", ".dockercfg", ".docker", ".dockerconfigjson", ".aws", ".ssh", ".gnupg", ".kube", "kubeconfig", ".htpasswd",
	".git-credentials", ".pgpass", ".my.cnf", "terraform.tfstate", "*.tfvars", "credentials", "credentials.json", "secrets.y*ml", "*-key.pem", "*_key.pem", "key.pem", "privkey.pem", "service-account*.json"}

var harmlessEnv = []string{".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env"}

func sensitiveFile(name string) bool {
	base := strings.ToLower(path.Base(path.Clean(name)))
	if slices.Contains(harmlessEnv, base) {
		return false
	}
	return slices.ContainsFunc(sensitiveNames, func(p string) bool { ok, _ := path.Match(p, base); return ok })
}

var (
	remoteSource = regexp.MustCompile(`^(?:https?|ftp|git|ssh)://|^git@[\w.-]+:`)
	commitMark   = regexp.MustCompile(`#[0-9a-f]{40}(?:[0-9a-f]{24})?(?::|$)|[?&]checksum=[0-9a-f]{40}`)
	archiveName  = regexp.MustCompile(`\.(?:tar|tar\.(?:gz|bz2|xz|zst|lzma|Z)|tgz|tbz2?|txz|tlz)$`)
)

// copies judges ADD and COPY.
func (j *dockerJudge) copies(in *dockerInstruction, f event.Fact) {
	words := j.words(in)
	sources, destination := words[:len(words)-1], words[len(words)-1]
	from, given := in.flag("from")
	var sensitive []string
	remote, checked, archive, local, whole, plain := false, true, false, false, false, false
	for _, word := range sources {
		source, _ := j.expand(word)
		_, sum := in.flag("checksum")
		switch {
		case heredocMark.MatchString(word):
		case in.keyword == "ADD" && remoteSource.MatchString(source):
			remote, checked = true, checked && (sum || commitMark.MatchString(source))
			plain = plain || plainAddress.MatchString(source)
		case given:
		default:
			local = true
			archive = archive || in.keyword == "ADD" && archiveName.MatchString(source)
			clean := path.Clean("/" + source)
			whole = whole || clean == "/" || clean == "/*"
			if sensitiveFile(source) {
				sensitive = append(sensitive, path.Base(path.Clean(source)))
			}
		}
	}
	j.whole = j.whole || whole
	f.Set("local", local).Set("whole", whole).Set("sensitive", joined(sensitive))
	if in.keyword == "ADD" {
		f.Set("remote", remote).Set("archive", archive).Set("fetch_plain", plain)
		if remote {
			f.Set("checked", checked)
		}
	}
	if in.keyword == "COPY" {
		j.copiesFrom(f, from, given)
	}
	target, resolved := j.expand(destination)
	absolute := path.IsAbs(target) || !resolved || j.stage.workdir || len(target) > 2 && target[1] == ':'
	f.Set("destination_ok", absolute && (len(sources) < 2 || strings.HasSuffix(target, "/") || target == "." || !resolved))
	mode, _ := in.flag("chmod")
	f.Set("mode", mode).Set("open_mode", mode != "" && openMode(mode)).Set("setuid", mode != "" && setIDMode(mode))
}

// copiesFrom sets what is copied from, and notes that a stage is used.
func (j *dockerJudge) copiesFrom(f event.Fact, from string, given bool) {
	if !given {
		f.Set("from", "")
		return
	}
	from, resolved := j.expand(from)
	stage := j.numbered(from)
	if stage != nil {
		stage.used = true
	}
	image := parseImage(from)
	f.Set("from", from).Set("from_known", !resolved || stage != nil || image.digest != "" || image.tag != "" && image.tag != "latest")
}

// stageFact is what is known of a stage.
func (j *dockerJudge) stageFact(s *dockerStage, final bool) event.Fact {
	f := event.DockerfileStage.New(j.file+":"+s.id(), place(j.file, s.line))
	f.Set("file", j.file).Set("name", s.name).Set("final", final).Set("used", final || s.used).Set("external", s.external)
	f.Set("base", s.base).Set("resolved", s.resolved).Set("platform", s.platform).Set("duplicate", s.duplicate)
	f.Set("commands", int64(s.commands)).Set("entrypoints", int64(s.entrypoints)).Set("healthchecks", int64(s.healthchecks)).Set("runs_in_row", int64(s.rows))
	if s.external && s.resolved {
		tag := s.from.tag
		f.Set("tag", tag).Set("tagged", tag != "" || s.from.digest != "").Set("latest", tag == "latest" && s.from.digest == "")
		f.Set("pinned", s.from.digest != "").Set("registry", s.from.registry).Set("outdated", s.from.outdated(j.now))
	}
	return f
}

// fileFact is what is known of the whole: what its last stage leaves.
func (j *dockerJudge) fileFact(ignore []string) event.Fact {
	f := event.Dockerfile.New(j.file, j.file)
	syntax := j.directives["syntax"]
	front := parseImage(syntax)
	f.Set("stages", int64(len(j.stages))).Set("instructions", int64(len(j.instructions))).Set("syntax", syntax)
	f.Set("syntax_pinned", syntax == "" || front.digest != "" || front.tag != "" && front.tag != "latest")
	f.Set("ignore_file", ignore != nil).Set("ignores_secrets", !j.whole || ignores(ignore, ".git") && ignores(ignore, ".env"))
	if len(j.stages) == 0 {
		return f.Fail(fmt.Errorf("%s: want a FROM: there is no stage", j.file))
	}
	last := j.stages[len(j.stages)-1]
	described := slices.ContainsFunc(last.labels, func(key string) bool {
		return slices.Contains([]string{"org.opencontainers.image.source", "org.opencontainers.image.url", "org.opencontainers.image.documentation",
			"org.opencontainers.image.authors", "org.opencontainers.image.vendor", "maintainer"}, key)
	})
	if !last.rootUnknown {
		f.Set("root", last.root)
	}
	f.Set("user", last.user).Set("healthcheck", last.health).Set("starts", last.starts).Set("workdir", last.workdir)
	f.Set("exposed", joined(last.exposed)).Set("labels", joined(last.labels)).Set("described", described).Set("compiles", last.compiles)
	if len(j.wrong) > 0 {
		return f.Fail(fmt.Errorf("%s: %s", place(j.file, j.wrong[0].line), j.wrong[0].text))
	}
	return f
}
