package host

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of what is looked at below /var/log.
const (
	maxLogFiles = 50_000
	maxLogDepth = 10
)

// What keeps logs, and what sends them elsewhere.
var (
	journalService = knownService{"journald", nil, []string{"systemd-journald.service", "systemd-journald.socket"}, nil, nil, []string{"systemd-journald"}}
	rsyslogService = knownService{"rsyslog", []string{"rsyslog"}, []string{"rsyslog.service", "rsyslogd.service"}, []string{"rsyslog"}, nil, []string{"rsyslogd"}}
	uploadService  = knownService{"journal-upload", nil, []string{"systemd-journal-upload.service"}, nil, nil, []string{"systemd-journal-upload"}}

	otherLoggers = []knownService{
		{"syslog-ng", []string{"syslog-ng-core", "syslog-ng"}, []string{"syslog-ng.service", "syslog-ng@*.service"}, []string{"syslog-ng"}, nil, []string{"syslog-ng"}},
		{"sysklogd", []string{"sysklogd", "inetutils-syslogd"}, []string{"sysklogd.service", "syslogd.service"}, []string{"sysklogd", "inetutils-syslogd"}, nil, []string{"syslogd"}},
		{"busybox", []string{"busybox-syslogd"}, []string{"busybox-syslogd.service"}, []string{"syslog", "busybox-syslogd"}, nil, nil},
	}

	logShippers = []knownService{
		{"alloy", []string{"alloy"}, []string{"alloy.service"}, []string{"alloy"}, nil, []string{"alloy"}},
		{"cloudwatch-agent", []string{"amazon-cloudwatch-agent"}, []string{"amazon-cloudwatch-agent.service"}, nil, nil, []string{"amazon-cloudwatch-agent"}},
		{"datadog-agent", []string{"datadog-agent"}, []string{"datadog-agent.service"}, nil, nil, nil},
		{"filebeat", []string{"filebeat"}, []string{"filebeat.service", "elastic-agent.service"}, nil, nil, []string{"filebeat", "elastic-agent"}},
		{"fluent-bit", []string{"fluent-bit", "td-agent-bit"}, []string{"fluent-bit.service", "td-agent-bit.service", "google-cloud-ops-agent-fluent-bit.service"}, []string{"fluent-bit"}, nil, []string{"fluent-bit", "td-agent-bit"}},
		{"fluentd", []string{"fluent-package", "td-agent", "google-fluentd"}, []string{"fluentd.service", "td-agent.service", "google-fluentd.service"}, nil, nil, nil},
		{"nxlog", []string{"nxlog", "nxlog-ce"}, []string{"nxlog.service"}, nil, nil, []string{"nxlog"}},
		{"otelcol", []string{"otelcol", "otelcol-contrib"}, []string{"otelcol.service", "otelcol-contrib.service"}, nil, nil, []string{"otelcol", "otelcol-contrib"}},
		{"promtail", []string{"promtail"}, []string{"promtail.service"}, nil, nil, []string{"promtail"}},
		{"splunk", []string{"splunkforwarder"}, []string{"SplunkForwarder.service", "splunk.service"}, nil, nil, []string{"splunkd"}},
		{"vector", []string{"vector"}, []string{"vector.service"}, nil, nil, []string{"vector"}},
		{"wazuh", []string{"wazuh-agent"}, []string{"wazuh-agent.service"}, nil, nil, []string{"wazuh-logcollector"}},
	}
)

// atWork says whether a service is enabled, and runs if its machine does.
func (s *Surveys) atWork(v serviceState) bool { return v.enabled && (v.running || !s.Live()) }

// logging reports what keeps the machine's log, and where that goes.
func (s *Surveys) logging(_ context.Context, in *installed, report func(event.Fact)) error {
	l := &loggingState{s: s, in: in, journal: in.state(&journalService), rsyslog: in.state(&rsyslogService), upload: in.state(&uploadService)}
	l.journal.exists = l.journal.exists || len(in.paths([]string{"systemd-journald"})) > 0
	if err := l.read(); err != nil {
		report(event.Logger.New("machine", "").Fail(err))
	} else {
		report(l.logger())
	}
	if l.journal.exists {
		report(l.journald())
		report(l.journalUpload())
	}
	if l.rsyslog.exists {
		report(l.rsyslogd())
	}
	f, err := s.logrotate(in)
	if err != nil {
		f.Fail(err)
	}
	report(f)
	return nil
}

// A loggingState is what surveys of logging know of each other.
type loggingState struct {
	s                        *Surveys
	in                       *installed
	journal, rsyslog, upload serviceState

	conf       iniFile
	confErr    error
	uploadConf iniFile
	uploadErr  error
	syslog     *rsyslogConf
	syslogErr  error
	daemons    []string // of syslog, that are in use
	shippers   []string
	persistent bool
}

func (l *loggingState) read() error {
	l.conf, l.confErr = l.s.systemdConfig("journald.conf")
	l.uploadConf, l.uploadErr = l.s.systemdConfig("journal-upload.conf")
	if l.syslog = (&rsyslogConf{}); l.rsyslog.exists {
		l.syslog, l.syslogErr = l.s.rsyslogConf()
	}
	if l.rsyslog.inUse() {
		l.daemons = append(l.daemons, "rsyslog")
		if len(l.syslog.forwards) > 0 {
			l.shippers = append(l.shippers, "rsyslog")
		}
	}
	var err error
	for i := range otherLoggers {
		if l.in.state(&otherLoggers[i]).inUse() {
			l.daemons = append(l.daemons, otherLoggers[i].name)
			sends, e := l.s.sends(otherLoggers[i].name)
			if err = cmp.Or(err, e); sends {
				l.shippers = append(l.shippers, otherLoggers[i].name)
			}
		}
	}
	for i := range logShippers {
		if l.in.state(&logShippers[i]).inUse() {
			l.shippers = append(l.shippers, logShippers[i].name)
		}
	}
	if url, _ := l.uploadConf.get("Upload", "URL"); l.upload.inUse() && url.text != "" {
		l.shippers = append(l.shippers, "journal-upload")
	}
	there, e := l.s.there("/var/log/journal")
	storage := l.storage()
	l.persistent = storage == "persistent" || storage == "auto" && there
	return cmp.Or(cmp.Or(err, e), cmp.Or(l.confErr, cmp.Or(l.uploadErr, l.syslogErr)))
}

// sends says whether another syslog daemon sends to other machines.
func (s *Surveys) sends(name string) (bool, error) {
	switch name {
	case "syslog-ng":
		text, _, err := s.configText("/etc/syslog-ng/syslog-ng.conf")
		found := false
		joinedLines(text, "#", func(_ int, line string) {
			for _, driver := range []string{"network(", "tcp(", "udp(", "syslog(", "tcp6(", "udp6("} {
				found = found || strings.Contains(line, "destination") && strings.Contains(line, driver)
			}
		})
		return found, err
	case "busybox":
		values, err := s.shellFile("/etc/conf.d/syslog")
		return slices.Contains(strings.Fields(values["SYSLOGD_OPTS"].text), "-R"), err
	}
	text, _, err := s.configText("/etc/syslog.conf")
	return strings.Contains(text, "@"), err
}

func (l *loggingState) logger() event.Fact {
	systems := append([]string{}, l.daemons...)
	primary := ""
	if l.journal.exists && l.journal.inUse() {
		systems, primary = append(systems, "journald"), "journald"
	}
	if len(l.daemons) > 0 {
		primary = l.daemons[0]
	}
	f := event.Logger.New("machine", "").Set("systems", systems).Set("daemons", int64(len(l.daemons)))
	if primary != "" {
		f.Set("primary", primary)
	}
	f.Set("persistent", len(l.daemons) > 0 || primary != "" && l.persistent)
	return f.Set("shippers", append([]string{}, l.shippers...)).Set("remote", len(l.shippers) > 0)
}

func (l *loggingState) storage() string {
	value, _ := l.conf.get("Journal", "Storage")
	return cmp.Or(strings.ToLower(value.text), "auto")
}

func (l *loggingState) journalOn(key string, otherwise bool) bool {
	value, ok := l.conf.get("Journal", key)
	if !ok || value.text == "" {
		return otherwise
	}
	return on(value.text) || strings.Trim(value.text, "0123456789KMG") == "" && value.text != "0" // Compress may be a size
}

// forwards says whether the journal is passed on to syslog. If nobody has set that, what is compiled in counts, which the file that the
// package brings shows as a comment.
func (l *loggingState) forwards() bool {
	shown := false
	for _, dir := range systemdDirs {
		text, exists, err := l.s.configText(path.Join(dir, "journald.conf"))
		if err == nil && exists {
			shown = strings.Contains(text, "#ForwardToSyslog=yes")
			break
		}
	}
	return l.journalOn("ForwardToSyslog", shown)
}

// journalLimits are the settings of how large and how old a journal may become.
var journalLimits = []string{"SystemMaxUse", "SystemKeepFree", "SystemMaxFileSize", "SystemMaxFiles", "RuntimeMaxUse", "RuntimeKeepFree", "RuntimeMaxFileSize", "MaxRetentionSec", "MaxFileSec"}

func (l *loggingState) journald() event.Fact {
	f := event.Journald.New("machine", "").Set("enabled", l.journal.enabled).Set("works", l.s.atWork(l.journal))
	if l.s.Live() {
		f.Set("running", l.journal.running)
	}
	f.Set("storage", l.storage()).Set("persistent", l.persistent).Set("compress", l.journalOn("Compress", true))
	f.Set("forward_to_syslog", l.forwards()).Set("syslog", len(l.daemons) > 0).Set("seal", l.journalOn("Seal", true))
	rotation := []string{}
	for _, key := range journalLimits {
		if value, ok := l.conf.get("Journal", key); ok && value.text != "" {
			rotation = append(rotation, key+"="+value.text)
		}
	}
	f.Set("rotation", rotation).Set("limited", len(rotation) > 0)
	if l.confErr != nil {
		f.Fail(l.confErr)
	}
	return f
}

func (l *loggingState) journalUpload() event.Fact {
	f := event.JournalUpload.New("machine", "").Set("exists", l.upload.exists).Set("enabled", l.upload.enabled).Set("works", l.s.atWork(l.upload))
	if l.s.Live() {
		f.Set("running", l.upload.running)
	}
	url, _ := l.uploadConf.get("Upload", "URL")
	set := func(key string) bool { value, _ := l.uploadConf.get("Upload", key); return value.text != "" }
	f.Set("url", url.text).Set("needed", len(l.daemons) == 0)
	f.Set("encrypted", url.text != "" && !strings.HasPrefix(url.text, "http://"))
	f.Set("authenticated", set("ServerKeyFile") && set("ServerCertificateFile") && set("TrustedCertificateFile"))
	if l.uploadErr != nil {
		f.Fail(l.uploadErr)
	}
	return f
}

func (l *loggingState) rsyslogd() event.Fact {
	c := l.syslog
	f := event.Rsyslog.New("machine", "/etc/rsyslog.conf").Set("enabled", l.rsyslog.enabled).Set("works", l.s.atWork(l.rsyslog))
	if l.s.Live() {
		f.Set("running", l.rsyslog.running)
	}
	most := c.most()
	f.Set("fed", c.journal || l.forwards() || !l.journal.exists).Set("mode_octal", fmt.Sprintf("%04o", most)).Set("private", most&^0o640 == 0)
	f.Set("selectors", int64(c.selectors)).Set("auth", c.auth)
	f.Set("forwards", append([]string{}, c.forwards...)).Set("receives", append([]string{}, c.receives...)).Set("receiving", len(c.receives) > 0)
	if len(c.forwards) > 0 {
		f.Set("forwards_tls", !c.plain)
	}
	if l.syslogErr != nil {
		f.Fail(l.syslogErr)
	}
	return f
}

// logrotate reads how old log files are put aside.
func (s *Surveys) logrotate(in *installed) (event.Fact, error) {
	exists := len(in.has([]string{"logrotate"}))+len(in.paths([]string{"logrotate"})) > 0
	f := event.Logrotate.New("machine", "/etc/logrotate.conf").Set("exists", exists)
	scheduled := in.units.started("logrotate.timer")
	for _, dir := range []string{"/etc/cron.hourly/logrotate", "/etc/cron.daily/logrotate", "/etc/periodic/daily/logrotate", "/etc/periodic/hourly/logrotate"} {
		there, err := s.there(dir)
		if err != nil {
			return f, err
		}
		scheduled = scheduled || there && !in.systemd || there && len(in.units.matching("logrotate.timer")) == 0
	}
	f.Set("scheduled", scheduled)
	var r rotation
	files, err := s.glob("/etc/logrotate.d/*")
	if err != nil {
		return f, err
	}
	if err := s.eachText(append([]string{"/etc/logrotate.conf"}, files...), func(_, text string) { r.add(text) }); err != nil {
		return f, err
	}
	f.Set("rotate", r.rotate)
	if r.frequency != "" {
		f.Set("frequency", r.frequency)
	}
	return f.Set("files", int64(r.patterns)).Set("compress", r.compress), nil
}

// A rotation is what the configuration of logrotate says outside of blocks.
type rotation struct {
	patterns  int
	rotate    int64
	frequency string
	compress  bool
}

func (r *rotation) add(text string) {
	inside, script := false, false
	joinedLines(text, "#", func(_ int, line string) {
		words := strings.Fields(line)
		switch {
		case script:
			script = words[0] != "endscript"
		case slices.Contains([]string{"postrotate", "prerotate", "firstaction", "lastaction", "preremove"}, words[0]):
			script = true
		case strings.HasSuffix(line, "{"):
			if inside = true; line != "{" {
				r.patterns += len(words) - 1
			}
		case strings.HasPrefix(line, "}"):
			inside = false
		case inside:
		case strings.HasPrefix(words[0], "/") || strings.HasPrefix(words[0], `"/`):
			r.patterns += len(words)
		case words[0] == "rotate" && len(words) > 1:
			if n, err := strconv.ParseInt(words[1], 10, 32); err == nil && n >= 0 {
				r.rotate = n
			}
		case words[0] == "compress":
			r.compress = true
		case words[0] == "nocompress":
			r.compress = false
		case slices.Contains([]string{"hourly", "daily", "weekly", "monthly", "yearly"}, words[0]):
			r.frequency = words[0]
		}
	})
}

// A logKind is how files of a name below /var/log may be.
type logKind struct {
	patterns      []string // of path.Match, of the name
	most          uint32
	owners        []string
	groups        []string
	systemOwners  bool // any account of the system, too: services have logs of their own
	withinSubdirs []string
}

// logKinds are asked in their order; the last one is for all that are left.
var logKinds = []logKind{
	{patterns: []string{"lastlog*", "wtmp*", "btmp*"}, most: 0o664, owners: []string{"root"}, groups: []string{"root", "utmp"}},
	{patterns: []string{"*.journal", "*.journal~"}, most: 0o640, owners: []string{"root"}, groups: []string{"root", "systemd-journal"}},
	{patterns: []string{"secure*", "auth.log*", "syslog*", "messages*"}, most: 0o640, owners: []string{"root", "syslog"}, groups: []string{"root", "adm"}},
	{patterns: []string{"cloud-init.log*", "cloud-init-output.log*", "localmessages*", "waagent.log*"}, most: 0o644, owners: []string{"root", "syslog"}, groups: []string{"root", "adm"}},
	{withinSubdirs: []string{"apt"}, patterns: []string{"*"}, most: 0o644, owners: []string{"root"}, groups: []string{"root", "adm"}},
	{withinSubdirs: []string{"sssd", "gdm", "gdm3"}, patterns: []string{"*"}, most: 0o660, owners: []string{"root", "sssd", "gdm", "Debian-gdm"}, groups: []string{"root", "sssd", "gdm", "Debian-gdm"}},
	{patterns: []string{"*"}, most: 0o640, owners: []string{"root", "syslog"}, groups: []string{"root", "adm"}, systemOwners: true},
}

func logKindOf(file string) *logKind {
	name, dir := path.Base(file), path.Base(path.Dir(file))
	for i := range logKinds {
		k := &logKinds[i]
		if k.withinSubdirs != nil && !slices.Contains(k.withinSubdirs, dir) {
			continue
		}
		if slices.ContainsFunc(k.patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok }) {
			return k
		}
	}
	return &logKinds[len(logKinds)-1]
}

// LogFiles reports the files below /var/log.
func (s *Surveys) LogFiles(ctx context.Context, report func(event.Fact)) error {
	left := maxLogFiles
	return s.logFiles(ctx, "/var/log", 0, &left, report)
}

func (s *Surveys) logFiles(ctx context.Context, dir string, depth int, left *int, report func(event.Fact)) error {
	names, err := s.readDir(dir)
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if *left--; *left < 0 || depth > maxLogDepth {
			return fmt.Errorf("%s: more than %d files, or directories more than %d deep", dir, maxLogFiles, maxLogDepth)
		}
		file := path.Join(dir, n.Name)
		switch n.Type {
		case "directory":
			err = s.logFiles(ctx, file, depth+1, left, report)
		case "file":
			st, e := s.lstat(file)
			if err = ignoreAbsent(e); e == nil {
				report(s.logFileFact(file, &st))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// firstUser is the number from which users are people, unless a machine says otherwise.
const firstUser = 1000

func (s *Surveys) logFileFact(file string, st *unix.Stat_t) event.Fact {
	k, mode := logKindOf(file), st.Mode&0o7777
	f := event.LogFile.New(file, file).Set("mode_octal", fmt.Sprintf("%04o", mode)).Set("most", fmt.Sprintf("%04o", k.most))
	owner, ownerKnown, err := s.UserName(st.Uid)
	if err != nil {
		return f.Fail(err)
	}
	group, groupKnown, err := s.GroupName(st.Gid)
	if err != nil {
		return f.Fail(err)
	}
	if ownerKnown {
		f.Set("owner", owner)
	}
	if groupKnown {
		f.Set("group", group)
	}
	mayOwn := ownerKnown && (slices.Contains(k.owners, owner) || k.systemOwners && st.Uid < firstUser)
	mayRead := groupKnown && (slices.Contains(k.groups, group) || k.systemOwners && st.Gid < firstUser && group != "users")
	wrong := []string{}
	if mode&^k.most != 0 {
		wrong = append(wrong, "mode")
	}
	if !mayOwn {
		wrong = append(wrong, "owner")
	}
	if !mayRead {
		wrong = append(wrong, "group")
	}
	return f.Set("wrong", wrong).Set("proper", len(wrong) == 0)
}
