package fim

import (
	"bytes"
	"encoding/hex"
	"errors"
	goflag "flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var update = goflag.Bool("update", false, "write WAYS.md anew")

// TestWaysBesideAIDEAndAuditd goes all ways while auditd listens, between two looks of AIDE: what they tell stands beside what we
// do, in WAYS.md.
func TestWaysBesideAIDEAndAuditd(t *testing.T) {
	k := newTour(t)
	aide := newAIDE(k)
	aide.run("--init")
	k.watch(true)
	audit := startAuditd(k)
	k.goAll()
	records := audit.stop()
	for s, found := range k.rescan() {
		s.found = found
	}
	entries := aide.check()

	compareWays(t, aide.version()+", "+audit.version(), k.rows(entries, records, audit.why))
}

// A wayRow is a line of WAYS.md.
type wayRow struct{ name, told, blamed, sure, aide, audit, who string }

const none = "–"

func (k *tour) rows(entries map[string]bool, records []auditRecord, noAudit string) (rows []wayRow) {
	for _, s := range k.legs {
		row := wayRow{s.name, "needs " + s.needs, none, none, none, none, none}
		if s.needs == "" {
			row.told, row.blamed, row.sure = s.account()
			row.aide = s.inAIDE(entries)
			if noAudit == "" {
				row.audit, row.who = s.inAudit(records)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// account is what was told, whether it was blamed on who did it, and how surely.
func (s *leg) account() (told, blamed, sure string) {
	changes := slices.Concat(s.told, s.found)
	told, blamed = strings.Join(s.texts(changes), "; "), "right"
	switch {
	case s.late != "":
		return told + ", by a scan: " + s.late, none, none
	case len(changes) == 0:
		return "nothing", none, none
	}
	var all []string
	for _, c := range changes {
		if c.Actor == nil || !s.isBy(c.Actor) {
			blamed = "wrong"
		}
		all = append(all, c.Confidence.String())
	}
	slices.Sort(all)
	return told, blamed, strings.Join(slices.Compact(all), ", ")
}

// inAIDE says whether AIDE lists what has changed.
func (s *leg) inAIDE(entries map[string]bool) string {
	listed := 0
	for _, name := range s.changed() {
		if s.container {
			name = s.out("root") + name // through which the entries are found
			if real, err := filepath.EvalSymlinks(s.out("root")); err == nil {
				name = real + strings.TrimPrefix(name, s.out("root"))
			}
		}
		if entries[name] {
			listed++
		}
	}
	switch listed {
	case 0:
		return "no"
	case len(s.changed()):
		return "yes"
	}
	return fmt.Sprintf("%d of %d", listed, len(s.changed()))
}

// changed are the paths that are not what they were; f, where that is none.
func (s *leg) changed() []string {
	names := map[string]bool{}
	for _, text := range s.want {
		words := strings.Split(text, " ")
		for _, name := range words[:len(words)-1] {
			if name != ">" {
				names[s.in(name)] = true
			}
		}
	}
	if len(names) == 0 {
		names[s.in("f")] = true
	}
	return slices.Collect(maps.Keys(names))
}

// inAudit says whether auditd has recorded something that the process did, and if it has that process and program.
func (s *leg) inAudit(records []auditRecord) (told, who string) {
	told, who = "no", none
	for _, r := range records {
		exe := strings.TrimSuffix(r.exe, " (deleted)")
		isProgram := exe == s.program || s.exe == inMemory && strings.Contains(exe, inMemory)
		own := r.pid == s.pid || r.parent == s.pid
		if !own && !slices.ContainsFunc(r.paths, func(name string) bool { return strings.HasPrefix(name, s.watched+"/") }) {
			continue
		}
		told = "yes"
		if isProgram && (own || s.tool != "") {
			return told, "right"
		}
		who = "wrong"
	}
	return told, who
}

// ---- AIDE ----

type aide struct {
	k    *tour
	conf string
}

// newAIDE has AIDE look at all that it can, of the host's tree and of the container's.
func newAIDE(k *tour) *aide {
	if _, err := lookProgram("aide"); err != nil {
		k.t.Skip(err)
	}
	a := &aide{k, filepath.Join(k.dir, "store/aide.conf")}
	db := filepath.Join(k.dir, "store/aide.db")
	noError(k.t, put(a.conf, fmt.Sprintf("database_in=file:%[1]s\ndatabase_out=file:%[1]s\nreport_url=stdout\nreport_level=list_entries\n"+
		"All=p+i+n+u+g+s+m+c+acl+xattrs+sha256+ftype+e2fsattrs+l\n%[2]s All\n%[3]s All\n", db, k.in("watched"), k.in("root")+k.in("watched"))))
	return a
}

// run returns what it says. Its status tells of changes by bits up to 4.
func (a *aide) run(what string) string {
	a.k.t.Helper()
	out, err := exec.Command("aide", "--config="+a.conf, what).CombinedOutput()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() < 8 {
		err = nil
	}
	if err != nil {
		a.k.t.Fatalf("aide %s: %v\n%s", what, err, out)
	}
	return string(out)
}

func (a *aide) version() string {
	out, _ := exec.Command("aide", "--version").CombinedOutput()
	version, _, _ := strings.Cut(string(out), "\n")
	return version
}

var aideEntry = regexp.MustCompile(`(?m)^[^ \n].{17}: (/.*)$`)

// check lists all that is not as it was.
func (a *aide) check() map[string]bool {
	listed := map[string]bool{}
	for _, m := range aideEntry.FindAllStringSubmatch(a.run("--check"), -1) {
		listed[m[1]] = true
	}
	if len(listed) == 0 {
		a.k.t.Error("aide lists nothing at all")
	}
	return listed
}

// ---- auditd ----

const auditKey = "yagura-ways"

// An audit is auditd with rules of ours. If there is none, why says why.
type audit struct {
	k      *tour
	daemon *exec.Cmd
	log    string
	limit  string // of the backlog, as it was
	on     string // whether it was enabled
	why    string
}

// startAuditd has auditd record what the manual advises for a tree: all writing and all changes of attributes, and beside that all
// mounting, and the requests of ioctl that set flags, as they name no path.
func startAuditd(k *tour) *audit {
	a := &audit{k: k, log: filepath.Join(k.dir, "store/audit.log")}
	status, err := exec.Command("auditctl", "-s").CombinedOutput()
	is := map[string]string{}
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			is[name] = value
		}
	}
	rules, _ := exec.Command("auditctl", "-l").CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		a.why = "needs the program auditctl"
	case err != nil:
		a.why = "needs an audit that may be had here: " + string(bytes.TrimSpace(status))
	case is["pid"] != "0" || is["enabled"] == "2" || !strings.Contains(string(rules), "No rules"):
		a.why = "needs an audit that nobody else has: " + strings.Join(strings.Fields(string(status)+string(rules)), " ")
	}
	if a.why != "" {
		k.t.Log("auditd: " + a.why)
		return a
	}
	a.limit, a.on = is["backlog_limit"], is["enabled"]
	a.begin()
	return a
}

func (a *audit) begin() {
	t, dir := a.k.t, filepath.Join(a.k.dir, "store")
	noError(t, put(filepath.Join(dir, "auditd.conf"), "log_file = "+a.log+`
log_format = RAW
flush = NONE
freq = 0
num_logs = 0
max_log_file = 100
max_log_file_action = IGNORE
space_left = 2
space_left_action = IGNORE
admin_space_left = 1
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
`))
	noError(t, os.Chmod(filepath.Join(dir, "auditd.conf"), 0o640))
	a.daemon = exec.Command("auditd", "-n", "-s", "enable", "-c", dir)
	noError(t, a.daemon.Start())
	t.Cleanup(func() { a.end() })
	a.k.await("auditd", func() bool { text, _ := os.ReadFile(a.log); return bytes.Contains(text, []byte("type=DAEMON_START")) })
	a.ctl("-b", "16384")
	a.ctl("-w", a.k.in("watched"), "-p", "wa", "-k", auditKey)
	a.ctl("-w", a.k.in("root")+a.k.in("watched"), "-p", "wa", "-k", auditKey)
	a.ctl("-a", "always,exit", "-F", "arch=b64", "-S", "mount", "-S", "umount2", "-S", "move_mount", "-k", auditKey)
	for _, request := range []string{"0x40086602", "0x401c5820"} { // FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR
		a.ctl("-a", "always,exit", "-F", "arch=b64", "-S", "ioctl", "-F", "a1="+request, "-k", auditKey)
	}
}

func (a *audit) ctl(args ...string) {
	a.k.t.Helper()
	if out, err := exec.Command("auditctl", args...).CombinedOutput(); err != nil {
		a.k.t.Errorf("auditctl %v: %v: %s", args, err, out)
	}
}

// end leaves the kernel as it was.
func (a *audit) end() {
	if a.daemon == nil {
		return
	}
	a.ctl("-D", "-k", auditKey)
	a.ctl("-b", a.limit)
	a.ctl("-e", a.on)
	a.daemon.Process.Signal(unix.SIGTERM)
	if err := a.daemon.Wait(); err != nil {
		a.k.t.Errorf("auditd: %v", err)
	}
	a.daemon = nil
}

func (a *audit) version() string {
	if a.why != "" {
		return "no auditd, which " + a.why
	}
	out, _ := exec.Command("auditctl", "-v").CombinedOutput()
	return "auditd" + strings.TrimPrefix(strings.TrimSpace(string(out)), "auditctl version")
}

// An auditRecord is a call that has succeeded.
type auditRecord struct {
	pid, parent uint32
	exe         string
	paths       []string
}

var (
	auditLine  = regexp.MustCompile(`^type=(\w+) msg=audit\([0-9.]+:(\d+)\): (.*)`)
	auditField = regexp.MustCompile(`(\w+)=("[^"]*"|\S+)`)
)

// stop returns what was recorded for the rules' sake. A record has several lines of one number.
func (a *audit) stop() []auditRecord {
	if a.why != "" {
		return nil
	}
	last := a.k.post() // which is recorded last
	a.k.await("its record", func() bool { text, _ := os.ReadFile(a.log); return bytes.Contains(text, []byte(last)) })
	a.end()
	text, err := os.ReadFile(a.log)
	noError(a.k.t, err)
	return parseAudit(string(text))
}

// parseAudit reads the lines of a log.
func parseAudit(text string) (all []auditRecord) {
	records := map[string]*auditRecord{}
	directories := map[string]string{}
	for line := range strings.Lines(text) {
		m := auditLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		fields := map[string]string{}
		for _, f := range auditField.FindAllStringSubmatch(m[3], -1) {
			fields[f[1]] = f[2]
		}
		switch r := records[m[2]]; {
		case m[1] == "SYSCALL" && auditText(fields["key"]) == auditKey && fields["success"] == "yes":
			pid, _ := strconv.ParseUint(fields["pid"], 10, 32)
			parent, _ := strconv.ParseUint(fields["ppid"], 10, 32)
			records[m[2]] = &auditRecord{pid: uint32(pid), parent: uint32(parent), exe: auditText(fields["exe"])}
		case r == nil:
		case m[1] == "CWD":
			directories[m[2]] = auditText(fields["cwd"])
		case m[1] == "PATH":
			name := auditText(fields["name"])
			if !filepath.IsAbs(name) {
				name = filepath.Join(directories[m[2]], name)
			}
			r.paths = append(r.paths, name)
		}
	}
	for _, r := range records {
		all = append(all, *r)
	}
	return all
}

// auditText is a value: in quotation marks, or if it has something in it that cannot be, its bytes in hexadecimal.
func auditText(value string) string {
	if text, ok := strings.CutPrefix(value, `"`); ok {
		return strings.TrimSuffix(text, `"`)
	}
	if text, err := hex.DecodeString(value); err == nil {
		return string(text)
	}
	return value
}

// ---- WAYS.md ----

const waysHead = `# Ways to change a file, and what is told of them

Written by ` + "`go test ./exporter/fim -run TestWaysBesideAIDEAndAuditd -update`" + ` on %s; do not edit.

One process walks the list; each way is gone by a process of its own, in a directory of its own. *Told* is what the Watcher tells:
paths below that directory, and what has happened to them. *Blamed* is right if it names the very process, by pid and program;
*by* says how it knows: an act on the path, on the inode, on a directory above, or what fanotify says of the pid. *AIDE* has a
database from before, with p+i+n+u+g+s+m+c+acl+xattrs+sha256+ftype+e2fsattrs+l, and is asked once at the end whether it lists all of
these paths: it never knows who, nor before it is run. *auditd* has a watch of the tree for writing and attributes, and rules for
mount, umount2, move_mount, and for the requests of ioctl that set flags: whether it has recorded a call of that process, or on such
a path, and whether pid and program are right. Its auditctl knows no filter for io_uring.

What other kernels make of it is a row of [KERNELS.md](../../bpf/KERNELS.md), fim_changes.

%s

| way | told | blamed | by | AIDE | auditd | its who |
|---|---|---|---|---|---|---|
`

// compareWays holds the table against WAYS.md, or writes it. Where kernel and programs are others than those that it was written
// with, only the list must be the same; how surely somebody was blamed may differ by who was quicker.
func compareWays(t *testing.T, beside string, rows []wayRow) {
	t.Helper()
	major, minor := kernelRelease()/100, kernelRelease()%100
	text := fmt.Sprintf(waysHead, fmt.Sprintf("Linux %d.%d, beside %s", major, minor, beside), sumOf(rows))
	for _, r := range rows {
		text += "| " + strings.Join([]string{r.name, r.told, r.blamed, r.sure, r.aide, r.audit, r.who}, " | ") + " |\n"
	}
	const name = "WAYS.md"
	if *update {
		noError(t, os.WriteFile(name, []byte(text), 0o644))
		return
	}
	committed, err := os.ReadFile(name)
	noError(t, err)
	columns := []int{1, 2, 3, 5, 6, 7}
	if third := func(s string) string { return strings.Split(s, "\n")[2] }; third(string(committed)) != third(text) {
		columns = columns[:1]
	}
	if diff := cmp.Diff(cellsOf(string(committed), columns), cellsOf(text, columns)); diff != "" {
		t.Errorf("%s (-want +got; write it anew with -update):\n%s", name, diff)
	}
}

// sumOf counts what was told, and by whom.
func sumOf(rows []wayRow) string {
	var all, told, right, aide, audited, who int
	for _, r := range rows {
		if r.told == "nothing" || strings.HasPrefix(r.told, "needs ") {
			continue
		}
		all++
		told += flag(!strings.Contains(r.told, "by a scan"))
		right += flag(r.blamed == "right")
		aide += flag(r.aide == "yes")
		audited += flag(r.audit == "yes")
		who += flag(r.who == "right")
	}
	return fmt.Sprintf("Of %d ways that leave a difference or a trace, %d are told at once and %d blamed rightly, the rest is found by a scan; "+
		"AIDE lists %d; auditd has a record of %d, with the right process for %d.", all, told, right, aide, audited, who)
}

func cellsOf(text string, columns []int) (rows []string) {
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) < 8 {
			continue
		}
		var kept []string
		for _, n := range columns {
			kept = append(kept, strings.TrimSpace(cells[n]))
		}
		rows = append(rows, strings.Join(kept, " | "))
	}
	return rows
}
