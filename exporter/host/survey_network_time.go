package host

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// maxIncludes bounds how many files a configuration includes.
const maxIncludes = 200

// A timeDaemon is a daemon that keeps time.
type timeDaemon struct {
	knownService
	configure func(s *Surveys, t *timeSettings) error
}

var timeDaemons = []timeDaemon{
	{knownService{"chrony", []string{"chrony"}, []string{"chrony.service", "chronyd.service"}, []string{"chrony", "chronyd"}, nil, []string{"chronyd"}}, (*Surveys).chrony},
	{knownService{"timesyncd", []string{"systemd-timesyncd"}, []string{"systemd-timesyncd.service"}, nil, nil, []string{"systemd-timesyncd"}}, (*Surveys).timesyncd},
	{knownService{"ntpd", []string{"ntp", "ntpsec", "ntpd-rs"}, []string{"ntp.service", "ntpd.service", "ntpsec.service", "ntpd-rs.service"}, []string{"ntp", "ntpd-ntpsec", "ntpsec"}, nil, []string{"ntpd", "ntp-daemon"}}, (*Surveys).ntpd},
	{knownService{"openntpd", []string{"openntpd"}, []string{"openntpd.service"}, []string{"openntpd"}, nil, []string{"openntpd"}}, (*Surveys).openntpd},
	{knownService{"busybox", nil, nil, []string{"ntpd"}, nil, nil}, (*Surveys).busyboxNTPD},
}

// timeSettings are what the configuration of a daemon says.
type timeSettings struct {
	source         string
	servers        []string
	open           bool // one of them is asked without proof of who answers
	user           string
	restricted     bool
	knowsRestricts bool
}

func (t *timeSettings) server(name string, authenticated bool) {
	t.servers = append(t.servers, name)
	t.open = t.open || !authenticated
}

// timeSync reports the daemons that keep time, and how the machine does.
func (s *Surveys) timeSync(_ context.Context, in *installed, report func(event.Fact)) error {
	inUse := []string{}
	for i := range timeDaemons {
		d := &timeDaemons[i]
		state := in.state(&d.knownService)
		if d.name == "timesyncd" && !state.running && !slices.ContainsFunc(state.units, func(u string) bool { return u == "systemd-timesyncd.service" }) {
			continue
		}
		if d.name == "busybox" {
			state.exists = s.onBusybox("ntpd", in)
			state.enabled = state.exists && len(in.scripts["ntpd"]) > 0
			state.running = state.exists && slices.ContainsFunc(in.ran, func(p ranProgram) bool { return p.name == "ntpd" && path.Base(p.exe) == "busybox" })
		}
		if state.exists {
			report(s.ntpFact(d, state, in))
		}
		if state.exists && state.inUse() {
			inUse = append(inUse, d.name)
		}
	}
	report(event.Clock.New("machine", "").Set("daemons", inUse).Set("count", int64(len(inUse))))
	if s.Live() {
		report(kernelClock())
	}
	return nil
}

// onBusybox says whether a program is one of busybox's.
func (s *Surveys) onBusybox(name string, in *installed) bool {
	target, err := s.Files().Readlink(in.programs[name])
	return err == nil && path.Base(target) == "busybox"
}

// kernelClock asks the kernel about its clock, and changes nothing by that.
func kernelClock() event.Fact {
	f := event.KernelClock.New("machine", "")
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return f.Fail(fmt.Errorf("adjtimex: %w: a filter of system calls may keep it away, such as ProtectClock= of systemd", err))
	}
	return f.Set("synchronized", t.Status&unix.STA_UNSYNC == 0).Set("max_error", int64(t.Maxerror))
}

func (s *Surveys) ntpFact(d *timeDaemon, state serviceState, in *installed) event.Fact {
	t := &timeSettings{servers: []string{}}
	err := d.configure(s, t)
	f := event.NTP.New(d.name, t.source).Set("enabled", state.enabled).Set("in_use", state.inUse()).Set("works", s.atWork(state)).Set("servers", t.servers).Set("count", int64(len(t.servers)))
	f.Set("authenticated", len(t.servers) > 0 && !t.open)
	if t.knowsRestricts {
		f.Set("restricted", t.restricted)
	}
	if s.Live() {
		f.Set("running", state.running)
	}
	if user := s.runsAs(in.ran, t.user, d.programs...); user != "" {
		f.Set("user", user)
	}
	if err != nil {
		f.Fail(err)
	}
	return f
}

// runsAs is whose a running program is, and of one that does not run what its configuration says. Daemons that keep time may have a
// process of root's beside the one that talks to others: that one counts.
func (s *Surveys) runsAs(ran []ranProgram, configured string, programs ...string) (user string) {
	for _, p := range ran {
		if !p.is(programs...) {
			continue
		}
		status, err := readStatus(s.Procfs, uint32(p.pid))
		if err != nil {
			continue
		}
		uid := status.UID[1]
		name, known, err := s.UserName(uid)
		if err != nil || !known {
			name = fmt.Sprint(uid)
		}
		if user == "" || user == "root" {
			user = name
		}
	}
	return cmp.Or(user, configured)
}

// chrony reads chrony.conf and what it includes.
func (s *Surveys) chrony(t *timeSettings) (err error) {
	t.source, err = s.firstThere("/etc/chrony/chrony.conf", "/etc/chrony.conf")
	if err != nil || t.source == "" {
		return err
	}
	debian, err := s.there("/etc/debian_version")
	if t.user = "chrony"; debian {
		t.user = "_chrony"
	}
	if err != nil {
		return err
	}
	files, seen := []string{t.source}, map[string]bool{}
	for len(files) > 0 && len(seen) < maxIncludes {
		file := files[0]
		files = files[1:]
		if seen[file] {
			continue
		}
		seen[file] = true
		text, _, err := s.configText(file)
		if err != nil {
			return err
		}
		more, err := s.chronyLines(text, t)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	return nil
}

// chronyLines takes in the lines of a file, and returns which others it includes.
func (s *Surveys) chronyLines(text string, t *timeSettings) (more []string, err error) {
	joinedLines(text, "#!;%", func(_ int, line string) {
		words := strings.Fields(line)
		value := ""
		if len(words) > 1 {
			value = words[1]
		}
		var found []string
		switch strings.ToLower(words[0]) {
		case "server", "pool", "peer":
			t.server(value, slices.Contains(words, "nts") || slices.Contains(words, "key"))
		case "refclock":
			t.server(strings.Join(words[:min(3, len(words))], " "), true)
		case "user":
			t.user = value
		case "include":
			found, err = s.globOr(value, err)
		case "confdir", "sourcedir": // of one name only that of the first directory counts
			suffix := map[string]string{"confdir": ".conf", "sourcedir": ".sources"}[strings.ToLower(words[0])]
			var wrong error
			found, wrong = s.dropIns(words[1:], suffix)
			err = cmp.Or(err, wrong)
		}
		more = append(more, found...)
	})
	return more, err
}

// globOr keeps the first error.
func (s *Surveys) globOr(pattern string, before error) ([]string, error) {
	files, err := s.glob(pattern)
	return files, cmp.Or(before, err)
}

// timesyncd reads timesyncd.conf and its drop-ins. Servers that nobody has set are compiled in, or come from the network.
func (s *Surveys) timesyncd(t *timeSettings) error {
	t.user = "systemd-timesync"
	conf, err := s.systemdConfig("timesyncd.conf")
	for _, key := range []string{"NTP", "FallbackNTP"} {
		value, ok := conf.get("Time", key)
		if !ok {
			continue
		}
		t.source = cmp.Or(t.source, value.at)
		for _, name := range strings.Fields(value.text) {
			t.server(name, false)
		}
	}
	return err
}

// ntpd reads ntp.conf, of ntp and of ntpsec.
func (s *Surveys) ntpd(t *timeSettings) (err error) {
	t.source, err = s.firstThere("/etc/ntpsec/ntp.conf", "/etc/ntp.conf", "/etc/ntp/ntp.conf")
	if err != nil || t.source == "" {
		return err
	}
	text, _, err := s.configText(t.source)
	if err != nil {
		return err
	}
	var v4, v6 []string
	joinedLines(text, "#", func(_ int, line string) {
		words := strings.Fields(line)
		switch {
		case len(words) < 2:
		case words[0] == "server" || words[0] == "pool" || words[0] == "peer":
			t.server(words[1], slices.Contains(words, "nts") || slices.Contains(words, "key") || strings.HasPrefix(words[1], "127.127."))
		case words[0] == "refclock":
			t.server(strings.Join(words[:2], " "), true)
		case words[0] == "restrict" && words[1] == "default":
			v4, v6 = words[2:], words[2:]
		case words[0] == "restrict" && words[1] == "-4" && len(words) > 2 && words[2] == "default":
			v4 = words[3:]
		case words[0] == "restrict" && words[1] == "-6" && len(words) > 2 && words[2] == "default":
			v6 = words[3:]
		}
	})
	t.knowsRestricts, t.restricted = true, ntpRestricts(v4) && ntpRestricts(v6)
	return s.ntpUser(t)
}

// ntpRestricts says whether flags keep strangers from all but the time.
func ntpRestricts(flags []string) bool {
	if slices.Contains(flags, "ignore") {
		return true
	}
	for _, flag := range []string{"nomodify", "nopeer", "noquery"} {
		if !slices.Contains(flags, flag) {
			return false
		}
	}
	return true
}

// ntpUser finds whose ntpd is by its start: RUNASUSER of /etc/default, or -u of its options.
func (s *Surveys) ntpUser(t *timeSettings) error {
	for _, file := range []string{"/etc/default/ntpsec", "/etc/default/ntp", "/etc/sysconfig/ntpd", "/etc/init.d/ntp"} {
		values, err := s.shellFile(file)
		if err != nil {
			return err
		}
		if user, ok := values["RUNASUSER"]; ok {
			t.user = user.text
		}
		for _, name := range []string{"OPTIONS", "NTPD_OPTS"} {
			words := strings.Fields(values[name].text)
			if i := slices.Index(words, "-u"); i >= 0 && i+1 < len(words) {
				t.user, _, _ = strings.Cut(words[i+1], ":")
			}
		}
	}
	return nil
}

// openntpd reads ntpd.conf of OpenNTPD.
func (s *Surveys) openntpd(t *timeSettings) (err error) {
	t.source, err = s.firstThere("/etc/openntpd/ntpd.conf", "/etc/ntpd.conf")
	if err != nil || t.source == "" {
		return err
	}
	text, _, err := s.configText(t.source)
	joinedLines(text, "#", func(_ int, line string) {
		if words := strings.Fields(line); len(words) > 1 && (words[0] == "server" || words[0] == "servers" || words[0] == "sensor") {
			t.server(words[1], words[0] == "sensor")
		}
	})
	return err
}

// busyboxNTPD reads the options that Alpine starts busybox's ntpd with.
func (s *Surveys) busyboxNTPD(t *timeSettings) error {
	t.source, t.user = "/etc/conf.d/ntpd", "root"
	values, err := s.shellFile(t.source)
	words := strings.Fields(values["NTPD_OPTS"].text)
	for i, word := range words {
		if word == "-p" && i+1 < len(words) {
			t.server(words[i+1], false)
		}
	}
	return err
}
