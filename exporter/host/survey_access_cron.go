package host

import (
	"context"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A cronTable is a file of planned commands.
type cronTable struct {
	file    string
	user    string // whose it is; empty if its lines name users
	root    bool   // it is root's or the machine's own
	anacron bool
}

// userTables are where users' tables are, by distribution.
var userTables = []string{"/var/spool/cron/crontabs/*", "/var/spool/cron/*", "/etc/crontabs/*"}

// cronTables are the files of planned commands: of the machine, and of users.
func (s *Surveys) cronTables() (all []cronTable, err error) {
	for _, pattern := range []string{"/etc/crontab", "/etc/cron.d/*"} {
		files, err := s.cronFiles(pattern)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			all = append(all, cronTable{file: file, root: true})
		}
	}
	if found, err := s.firstOf("/etc/anacrontab"); err != nil {
		return nil, err
	} else if found != "" {
		all = append(all, cronTable{file: found, user: "root", root: true, anacron: true})
	}
	for _, pattern := range userTables {
		files, err := s.cronFiles(pattern)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			user := path.Base(file)
			all = append(all, cronTable{file: file, user: user, root: user == "root"})
		}
	}
	return all, nil
}

// cronFiles are the regular files of a pattern, without what editors leave behind. Names with a dot some crons take and others do not.
func (s *Surveys) cronFiles(pattern string) ([]string, error) {
	files, err := s.glob(pattern)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(file string) bool {
		st, err := s.stat(file)
		return strings.ContainsAny(path.Base(file), "~") || err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG
	}), nil
}

// A planned is a command that cron runs.
type planned struct {
	user, command string
	line          int
}

// parseCron takes a table apart: five times or one with @, a user where the table is of several, and a command.
func parseCron(table cronTable, text string) (all []planned, wrong []lineError) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || isAssignment(line) {
			continue
		}
		times := 5
		if line[0] == '@' {
			times = 1
		}
		if table.anacron {
			times = 3 // days, delay, name
		}
		rest, ok := skipWords(line, times)
		p := planned{user: table.user, line: n}
		if ok && p.user == "" {
			p.user, _, _ = strings.Cut(strings.ReplaceAll(rest, "\t", " "), " ")
			rest, ok = skipWords(rest, 1)
		}
		if !ok {
			wrong = append(wrong, lineError{table.file, n, "want times, a user in tables of the machine, and a command"})
			continue
		}
		p.command = rest
		all = append(all, p)
	}
	return all, wrong
}

func isAssignment(line string) bool {
	name, _, ok := strings.Cut(line, "=")
	return ok && isShellName(unquote(strings.TrimSpace(name)))
}

// skipWords leaves so many words out; false if nothing is behind them.
func skipWords(line string, n int) (string, bool) {
	for ; n > 0; n-- {
		end := strings.IndexAny(line, " \t")
		if end < 0 {
			return "", false
		}
		line = strings.TrimLeft(line[end:], " \t")
	}
	return line, line != ""
}

// Cron reports who may plan commands, and the commands that are planned.
func (s *Surveys) Cron(ctx context.Context, report func(event.Fact)) error {
	report = bounded(report)
	if err := s.schedulers(ctx, report); err != nil {
		return err
	}
	tables, err := s.cronTables()
	if err != nil {
		return err
	}
	who, err := s.userNumbers()
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := s.readIfAny(table.file)
		if err != nil {
			report(event.CronJob.New(table.file, table.file).Fail(err))
			continue
		}
		jobs, wrong := parseCron(table, text)
		for _, e := range wrong {
			report(e.fact(event.CronJob))
		}
		for _, job := range jobs {
			report(s.cronJob(table, job, who))
		}
	}
	return s.cronScripts(report)
}

func (s *Surveys) userNumbers() (map[string]int64, error) {
	accounts, _, err := s.accounts()
	if err != nil && !Absent(err) {
		return nil, err
	}
	who := map[string]int64{"root": 0}
	for _, a := range accounts {
		if _, twice := who[a.name]; !twice {
			who[a.name] = a.uid
		}
	}
	return who, nil
}

func (s *Surveys) cronJob(table cronTable, job planned, who map[string]int64) event.Fact {
	at := place(table.file, job.line)
	f := event.CronJob.New(at, at).Set("user", job.user)
	uid, known := who[job.user]
	if !known {
		uid = -1
	}
	f.Set("root", known && uid == 0)
	return s.withPrograms(f, append(s.programs(job.command), table.file), uid)
}

// withPrograms says which files others can change, the last being the one that plans the command.
func (s *Surveys) withPrograms(f event.Fact, files []string, uid int64) event.Fact {
	var writable []string
	for _, file := range files {
		_, foreign, err := s.foreignWrite(file, uid)
		if err != nil {
			return f.Fail(err)
		}
		if foreign && !slices.Contains(writable, file) {
			writable = append(writable, file)
		}
	}
	return f.Set("programs", files[:len(files)-1]).Set("writable", writable).Set("foreign_write", len(writable) > 0)
}

// programs are the files that a command names by their paths and that can be executed, or are scripts that a shell is given.
func (s *Surveys) programs(command string) (all []string) {
	for _, c := range shellCommands("", command) {
		for _, word := range c.words {
			if !path.IsAbs(word) || slices.Contains(all, word) || len(all) == 100 {
				continue
			}
			st, err := s.stat(word)
			if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
				continue
			}
			if st.Mode&0o111 != 0 || strings.HasSuffix(word, ".sh") || strings.HasSuffix(word, ".py") || strings.HasSuffix(word, ".pl") {
				all = append(all, word)
			}
		}
	}
	return all
}

// cronScripts reports the files that are run every hour, day, week and month as root.
func (s *Surveys) cronScripts(report func(event.Fact)) error {
	for _, pattern := range []string{
		"/etc/cron.hourly/*", "/etc/cron.daily/*", "/etc/cron.weekly/*", "/etc/cron.monthly/*", "/etc/cron.yearly/*", "/etc/periodic/*/*",
	} {
		files, err := s.cronFiles(pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			f := event.CronJob.New(file, file).Set("user", "root").Set("root", true)
			report(s.withPrograms(f, []string{file, path.Dir(file)}, 0))
		}
	}
	return nil
}

// schedulers reports who may use cron and at, where they are.
func (s *Surveys) schedulers(ctx context.Context, report func(event.Fact)) error {
	for _, k := range []struct {
		name, allow, deny        string
		programs, daemons, units []string
	}{
		{"cron", "/etc/cron.allow", "/etc/cron.deny", []string{"/usr/bin/crontab", "/usr/sbin/cron", "/usr/sbin/crond", "/usr/sbin/fcron"},
			[]string{"cron", "crond", "fcron"}, []string{"cron.service", "crond.service", "fcron.service", "cron.target"}},
		{"at", "/etc/at.allow", "/etc/at.deny", []string{"/usr/bin/at", "/usr/sbin/atd"}, []string{"atd"}, []string{"atd.service"}},
	} {
		program, err := s.firstOf(k.programs...)
		if err != nil {
			return err
		}
		if program == "" {
			continue
		}
		f := s.scheduler(k.name, k.allow, k.deny)
		if err := s.setDaemon(ctx, f, k.daemons, k.units); err != nil {
			f.Fail(err)
		}
		report(f)
	}
	return nil
}

// setDaemon says whether the daemon of a scheduler is started at boot, and whether it runs.
func (s *Surveys) setDaemon(ctx context.Context, f event.Fact, daemons, units []string) error {
	enabled, err := s.bootStarts(units)
	if err != nil {
		return err
	}
	f.Set("enabled", enabled)
	processes, err := s.running(ctx)
	if err != nil || !s.Live() {
		return err
	}
	f.Set("running", slices.ContainsFunc(processes, func(p ranProgram) bool {
		return slices.Contains(daemons, p.name) && (p.is(daemons...) || p.is("busybox"))
	}))
	return nil
}

// bootStarts says whether one of some units of systemd is wanted at boot, or without systemd a script of the same name.
func (s *Surveys) bootStarts(units []string) (bool, error) {
	systemd, err := s.firstOf("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
	if err != nil {
		return false, err
	}
	if systemd != "" {
		return s.wantedUnit(units...)
	}
	for _, unit := range units {
		script := strings.TrimSuffix(unit, path.Ext(unit))
		for _, pattern := range []string{"/etc/runlevels/*/" + script, "/etc/rc[2-5].d/S[0-9][0-9]" + script} {
			found, err := s.glob(pattern)
			if err != nil || len(found) > 0 {
				return err == nil, err
			}
		}
	}
	return false, nil
}

func (s *Surveys) scheduler(name, allow, deny string) event.Fact {
	f := event.Scheduler.New(name, allow)
	guarded, lists := true, 0
	for _, list := range []struct{ file, prefix string }{{allow, "allow"}, {deny, "deny"}} {
		st, err := s.stat(list.file)
		if Absent(err) {
			f.Set(list.prefix+"_exists", false)
			continue
		}
		if err != nil {
			return f.Fail(err)
		}
		text, err := s.readIfAny(list.file)
		if err != nil {
			return f.Fail(err)
		}
		lists++
		guarded = guarded && st.Uid == 0 && st.Mode&0o137 == 0
		f.Set(list.prefix+"_exists", true).Set(list.prefix+"_users", strings.Fields(text))
	}
	return f.Set("limited", f.Values["allow_exists"] == true || lists == 0 && name == "at").Set("guarded", guarded)
}
