package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"
)

// A fimSite is a directory that the real program watches, and one beside it that it does not.
type fimSite struct {
	*server
	dir, watched, outside, store string
	config                       string // the file
	seen                         int    // marks that were made
	attr                         *syscall.SysProcAttr
}

// fimConfig is of a set `files` of all that is in the watched directory, and a set `marks` that tells how far Yagura has come.
// DIR is the site's directory; more sets, and more of fim, can be added.
const fimConfig = `
fim:
  defaults: false
  store: DIR/fim.db
  watches:
    - {name: files, paths: [DIR/watched], exclude: ["*~", "4913", ".*.sw*"], severity: error}
    - {name: marks, paths: [DIR/marks]}
`

// newFIMSite makes the directories. What is put into them before start is in the baseline.
func newFIMSite(t *testing.T, config string) *fimSite {
	t.Helper()
	needsKernel(t)
	s := &fimSite{dir: public(t)}
	s.watched, s.outside, s.store = s.dir+"/watched", s.dir+"/outside", s.dir+"/fim.db"
	for _, dir := range []string{s.watched, s.outside, s.dir + "/marks"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.config = write(t, s.dir+"/fim.yml", strings.ReplaceAll(config, "DIR", s.dir))
	return s
}

// start has the program watch, and waits until its baseline is complete and its first look is done.
func (s *fimSite) start(t *testing.T) *fimSite {
	t.Helper()
	s.begin(t)
	eventually(t, "the files were looked at", func() bool {
		return len(s.scrape(t, "/metrics").matching("yagura_fim_last_scan_timestamp_seconds")) == 1 && s.looks()
	})
	return s
}

// looks says that a scan of this run has ended.
func (s *fimSite) looks() bool { return strings.Contains(s.log.String(), "files were looked at") }

// begin has the program start, and waits for nothing but its answers.
func (s *fimSite) begin(t *testing.T) {
	t.Helper()
	s.server = (&server{attr: s.attr}).launch(t, binary(t), commandLine("--no-collector.rules", "--config.file="+s.config)...).await(t).ready(t)
}

// restart ends the program and starts it again.
func (s *fimSite) restart(t *testing.T, with syscall.Signal) {
	t.Helper()
	s.end(t, with)
	s.start(t)
}

// A fileState is what was so of a file before or after a change.
type fileState struct {
	Type, Mode, Target, SHA256 string
	UID, GID                   uint32
	Size                       int64
	Inode                      uint64
	Unreadable                 string
}

// A fimChange is a row of /api/yagura/fim.
type fimChange struct {
	ID, Path, From, Severity, Actor, Why, Confidence, Diff string
	Container                                              string `json:"path_container"`
	Time                                                   time.Time
	Kinds, Watches                                         []string
	Expected                                               bool
	Workload                                               map[string]string
	Process                                                *struct {
		PID       uint32
		Exe, Name string
		Command   []string
		UID, EUID uint32
		LoginUID  *uint32 `json:"login_uid"`
		Ancestors []string
	}
	Before, After *fileState
}

func (c *fimChange) String() string {
	by := "nobody"
	if p := c.Process; p != nil {
		by = fmt.Sprintf("%s (%d, uid %d, euid %d) %q", p.Exe, p.PID, p.UID, p.EUID, p.Command)
	}
	from := ""
	if c.From != "" {
		from = fmt.Sprintf(" from %q", c.From)
	}
	if c.Container != "" {
		from += " in " + c.Container
	}
	return fmt.Sprintf("%s %q%s %s: %v %s, by %s, %s", c.Time.Format("15:04:05.000"), c.Path, from, strings.Join(c.Kinds, "+"), c.Expected, c.Why, by, c.Confidence)
}

// changes are those that were told, in the order in which they were, but for marks. A query is as of a URL.
func (s *fimSite) changes(t *testing.T, query string) (all []fimChange) {
	t.Helper()
	code, body := s.status(t, "GET", "/api/yagura/fim?limit=1000&"+query)
	var answer struct {
		Data []fimChange
		Next string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 200 || answer.Next != "" {
		t.Fatalf("%s: %d, next %q, %v: %.300s", query, code, answer.Next, err, body)
	}
	for _, c := range slices.Backward(answer.Data) {
		if !slices.Contains(c.Watches, "marks") {
			all = append(all, c)
		}
	}
	return all
}

// settle returns once all that has been done by now was told: what was done later than that was told as well.
func (s *fimSite) settle(t *testing.T) {
	t.Helper()
	for range 2 { // what is found in directories that were found just now waits once more
		s.mark(t)
	}
}

func (s *fimSite) mark(t *testing.T) {
	t.Helper()
	s.seen++
	mark := write(t, fmt.Sprintf("%s/marks/%d", s.dir, s.seen), "")
	for _, do := range []func() error{nil, func() error { return os.Remove(mark) }} {
		kind := "created"
		if do != nil {
			kind = "deleted"
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "it is told that a mark was "+kind, func() bool {
			_, body := s.status(t, "GET", "/api/yagura/fim?watch=marks&kind="+kind+"&path="+url.QueryEscape(mark))
			return strings.Contains(body, `"id"`)
		})
	}
	eventually(t, "nothing waits to be told", func() bool {
		p := s.scrape(t, "/metrics")
		return p.sum("yagura_fim_waiting_paths") == 0 && p.sum("yagura_fim_held_changes") == 0
	})
}

// changesOf are those of one path, by the name of the file now or before.
func changesOf(all []fimChange, path string) (of []fimChange) {
	for _, c := range all {
		if c.Path == path || c.From == path {
			of = append(of, c)
		}
	}
	return of
}

func list(all []fimChange) string {
	const most = 20
	var text strings.Builder
	for i := range all[:min(len(all), most)] {
		fmt.Fprintf(&text, "\n  %v", &all[i])
	}
	if len(all) > most {
		fmt.Fprintf(&text, "\n  and %d more", len(all)-most)
	}
	return text.String()
}

// exactly fails the test unless these changes were told, each once, in any order: a path below the watched directory, and kinds.
func (s *fimSite) exactly(t *testing.T, all []fimChange, want ...string) {
	t.Helper()
	var got []string
	for i := range all {
		c := &all[i]
		line := strings.TrimPrefix(c.Path, s.watched+"/") + " " + strings.Join(c.Kinds, "+")
		if c.From != "" {
			line += " " + strings.TrimPrefix(c.From, s.watched+"/")
		}
		got = append(got, line)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d changes were told, %q, want %d: %q%s", len(got), got, len(want), want, list(all))
	}
}

// shell runs a script in which $W is the watched directory and $O the one beside it.
func (s *fimSite) shell(t *testing.T, script string) {
	t.Helper()
	cmd := bounded(t, "/bin/sh", "-ec", script)
	cmd.Env = append(os.Environ(), "W="+s.watched, "O="+s.outside, "D="+s.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// exeOf is the file that a name on the command line comes to.
func exeOf(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFIMSeriesAreThereFromTheStart(t *testing.T) {
	s := newFIMSite(t, fimConfig+`
    - {name: modes, paths: [DIR/modes], kinds: [mode, deleted], attributes: [mode]}
`)
	write(t, s.watched+"/a", "as it was\n")
	write(t, s.watched+"/b", "as it was\n")
	s.start(t)
	kinds := []string{"created", "deleted", "renamed", "content", "mode", "owner", "xattrs", "acl", "links", "flags", "mounted", "unmounted"}
	p := s.scrape(t, "/metrics")
	for watch, want := range map[string][]string{"files": kinds, "marks": kinds, "modes": {"mode", "deleted"}} {
		if n := len(p.matching("yagura_fim_changes_total", "watch", watch)); n != 2*len(want) {
			t.Errorf("%d series of %s, want %d", n, watch, 2*len(want))
		}
		for _, kind := range want {
			for _, expected := range []string{"true", "false"} {
				if m := p.matching("yagura_fim_changes_total", "watch", watch, "kind", kind, "expected", expected); len(m) != 1 || m[0].GetCounter().GetValue() != 0 {
					t.Errorf("%s %s %s: %v, want one series at 0", watch, kind, expected, m)
				}
			}
		}
		if m := p.matching("yagura_fim_drifted_files", "watch", watch); len(m) != 1 || m[0].GetGauge().GetValue() != 0 {
			t.Errorf("drifted files of %s: %v, want one series at 0", watch, m)
		}
	}
	if n := p.sum("yagura_fim_files", "watch", "files"); n != 3 {
		t.Errorf("%v files, want 2 and their directory", n)
	}
	now := float64(time.Now().UnixMilli()) / 1e3
	for name, most := range map[string]float64{"yagura_fim_baseline_age_seconds": 60, "yagura_fim_scan_duration_seconds": 60,
		"yagura_fim_unreconciled_events": 0, "yagura_fim_unread_files": 0, "yagura_fim_held_changes": 0, "yagura_fim_overflows_total": 0} {
		if m := p.matching(name); len(m) != 1 || p.sum(name) > most || p.sum(name) < 0 {
			t.Errorf("%s: %v, want one series of at most %v", name, m, most)
		}
	}
	if at := p.sum("yagura_fim_last_scan_timestamp_seconds"); at > now || at < now-60 {
		t.Errorf("the last scan was at %v, and now it is %v", at, now)
	}
	if p.sum("yagura_fim_baseline_intact") != 1 {
		t.Error("the baseline is not intact")
	}

	s.shell(t, `echo more >>$W/a; chmod 600 $W/b; echo new >$W/c`)
	s.settle(t)
	all := s.changes(t, "")
	s.exactly(t, all, "a content", "b mode", "c created")
	p = s.scrape(t, "/metrics")
	for _, kind := range []string{"content", "mode", "created"} {
		if n := p.sum("yagura_fim_changes_total", "watch", "files", "kind", kind, "expected", "false"); n != 1 {
			t.Errorf("%s: %v changes, want 1", kind, n)
		}
		if n := p.sum("yagura_workload_fim_changes_total", "watch", "files", "kind", kind, "actor", "user"); n != 1 {
			t.Errorf("%s: %v changes by a workload, want 1", kind, n)
		}
	}
	if n := p.sum("yagura_fim_files", "watch", "files"); n != 4 {
		t.Errorf("%v files after one was made, want 4", n)
	}
	eventually(t, "three files have drifted", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_drifted_files", "watch", "files") == 3 })
	s.testExemplar(t, changesOf(all, s.watched+"/a")[0].ID)
	s.testFilters(t)
	for name, family := range p {
		for _, m := range family.Metric {
			for _, l := range m.Label {
				if strings.HasPrefix(name, "yagura_fim") || strings.HasPrefix(name, "yagura_workload_fim") {
					if strings.Contains(l.GetValue(), "/") {
						t.Errorf("%s has a path for a label: %v", name, m.Label)
					}
				}
			}
		}
	}
	s.testText(t, changesOf(all, s.watched+"/a")[0])
}

// testExemplar looks for a change by the id that its series have.
func (s *fimSite) testExemplar(t *testing.T, id string) {
	t.Helper()
	_, text := s.status(t, "GET", "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	for _, series := range []string{`yagura_fim_changes_total{expected="false",kind="content",watch="files"}`, `yagura_workload_fim_changes_total{actor="user"`} {
		found := false
		for line := range strings.Lines(text) {
			found = found || strings.HasPrefix(line, series) && strings.Contains(line, `# {event_id="`+id+`"}`)
		}
		if !found {
			t.Errorf("%s has no exemplar %s", series, id)
		}
	}
	if all := s.changes(t, "id="+id); len(all) != 1 || all[0].ID != id {
		t.Errorf("changes of the id %s: %s", id, list(all))
	}
}

func (s *fimSite) testFilters(t *testing.T) {
	t.Helper()
	for query, want := range map[string]int{
		"watch=files": 3, "watch=modes": 0, "kind=mode": 1, "kind=content": 1, "kind=owner": 0, "actor=user": 3, "actor=package": 0, "actor=unknown": 0,
		"expected=false": 3, "expected=true": 0, "container=": 3, "container=web": 0, "id=none": 0, "since=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339): 0,
		"path=" + url.QueryEscape(s.watched+"/a"): 1, "path=" + url.QueryEscape(s.watched): 0, "watch=files&kind=created": 1,
	} {
		if all := s.changes(t, query); len(all) != want {
			t.Errorf("%s: %d changes, want %d%s", query, len(all), want, list(all))
		}
	}
	for _, query := range []string{"color=red", "since=yesterday", "limit=0", "watch=a&watch=b"} {
		if code, body := s.status(t, "GET", "/api/yagura/fim?"+query); code != 400 || !strings.Contains(body, "error") {
			t.Errorf("%s: %d %s, want 400 and why", query, code, body)
		}
	}
	if code, _ := s.status(t, "POST", "/api/yagura/fim"); code != 405 {
		t.Errorf("POST: %d, want 405", code)
	}
}

// testText looks for a change, and for what was so before and after it, in the row and in the log.
func (s *fimSite) testText(t *testing.T, c fimChange) {
	t.Helper()
	if !strings.EqualFold(c.Severity, "error") {
		t.Errorf("severity %q, want that of the set", c.Severity)
	}
	if c.Before == nil || c.After == nil || c.Before.Size != 10 || c.After.Size != 15 || c.Before.Mode != "0644" || c.Before.Type != "file" || c.Before.Inode != c.After.Inode {
		t.Errorf("before %+v, after %+v, want a file of 10 bytes and of 15", c.Before, c.After)
	}
	if want := strings.TrimPrefix(digest([]byte("as it was\n")), "sha256:"); c.Before.SHA256 != want {
		t.Errorf("the sum before is %s, want %s", c.Before.SHA256, want)
	}
	if want := strings.TrimPrefix(digest([]byte("as it was\nmore\n")), "sha256:"); c.After.SHA256 != want {
		t.Errorf("the sum after is %s, want %s", c.After.SHA256, want)
	}
	line := regexp.MustCompile(`level=WARN .*msg="a watched file has changed".* id=` + c.ID + ` .*path=` + regexp.QuoteMeta(c.Path) + ` kinds=content watches=files .*exe=` + regexp.QuoteMeta(exeOf(t, "sh")))
	if !line.MatchString(s.log.String()) {
		t.Errorf("the log has nothing like %v", line)
	}
}

// A fimAct is something that a program does in a directory of its own, which has a file f.
type fimAct struct {
	name    string
	prepare string // by a shell, before anybody watches: $A is the directory, $O another one that nobody watches
	do      string // by a shell, in the directory
	want    string // what is told: a name and kinds, and what it was called before; one after the other
	exe     string // who is blamed: a program, or a path; empty for one of several
	above   string // who is above it, besides us
	uid     uint32 // who it runs as
	euid    uint32
	login   uint32 // who has logged in; 0 for nobody
	needs   string // programs
	by      string // the confidence, if it is neither path nor inode
	undo    string
}

const logged = 4242

var fimActs = []fimAct{
	{name: "a shell appends", do: "echo more >>f", want: "f content", exe: "sh"},
	{name: "a shell makes a file", do: ": >g", want: "g created", exe: "sh"},
	{name: "a shell in a shell", do: `sh -c "sh -c 'echo more >>f; :'; :"`, want: "f content", exe: "sh", above: "sh"},
	{name: "touch", do: "touch f"},
	{name: "the same bytes", prepare: "cp f $O/f", do: "cp $O/f f"},
	{name: "cp", do: "cp /etc/hostname f", want: "f content", exe: "cp"},
	{name: "cp of a setuid program", do: "cp -p /bin/su su", want: "su created", exe: "cp"},
	{name: "cp by a process that ends at once", do: "(exec cp /etc/hostname f) &", want: "f content", exe: "cp"},
	{name: "mv", do: "mv f g", want: "g renamed f", exe: "mv"},
	{name: "mv over it", prepare: "echo other >$O/g", do: "mv $O/g f", want: "f content", exe: "mv"},
	{name: "mv to somewhere else", do: "mv f $O/g", want: "f deleted", exe: "mv"},
	{name: "mv of a directory", prepare: "mkdir d; echo x >d/x", do: "mv d e", want: "e renamed d, e/x renamed d/x", exe: "mv", by: "directory"},
	{name: "mv of a directory into it", prepare: "mkdir -p $O/d/e; echo x >$O/d/e/x", do: "mv $O/d .", want: "d created, d/e created, d/e/x created", exe: "mv", by: "directory"},
	{name: "rm", do: "rm f", want: "f deleted", exe: "rm"},
	{name: "rm of a directory", prepare: "mkdir -p d/e; echo x >d/e/x", do: "rm -r d", want: "d deleted, d/e deleted, d/e/x deleted", exe: "rm"},
	{name: "a file that comes and goes", do: "cp f g; rm g", want: "g created+deleted"},
	{name: "mkdir, and what is made in it at once", do: "mkdir -p a/b/c && cp f a/b/c/f", want: "a created, a/b created, a/b/c created, a/b/c/f created"},
	{name: "mkfifo", do: "mkfifo p", want: "p created", exe: "mkfifo"},
	{name: "mknod", do: "mknod n c 1 3", want: "n created", exe: "mknod"},
	{name: "ln", do: "ln f g", want: "f links, g created", exe: "ln"},
	{name: "ln -s", do: "ln -s /etc/passwd g", want: "g created", exe: "ln"},
	{name: "ln -sf", prepare: "ln -s f g", do: "ln -sf /etc/passwd g", want: "g content", exe: "ln"},
	{name: "a directory that becomes a link", prepare: "mkdir d; echo x >d/x; mkdir $O/d", do: "rm -r d && ln -s $O/d d", want: "d content+mode, d/x deleted"},
	{name: "sed -i", do: "sed -i s/was/is/ f", want: "f content", exe: "sed"},
	{name: "ed", do: "printf '%s\n' ,s/was/is/ w q | ed -s f", want: "f content", exe: "ed", needs: "ed"},
	{name: "vim", do: "vim -u NONE -es -c %s/was/is/ -c wq f", want: "f content", exe: "vim", needs: "vim"},
	{name: "tee -a", do: "echo more | tee -a f", want: "f content", exe: "tee"},
	{name: "truncate", do: "truncate -s 3 f", want: "f content", exe: "truncate"},
	{name: "fallocate", do: "fallocate -l 1000 f", want: "f content", exe: "fallocate"},
	{name: "dd", do: "printf AS | dd of=f conv=notrunc status=none", want: "f content", exe: "dd"},
	{name: "a mapping", do: `/usr/bin/python3 -c "import mmap; f = open('f', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[0:2] = b'AS'"`, want: "f content",
		exe: "/usr/bin/python3", needs: "/usr/bin/python3"},
	{name: "install", do: "install -m 750 /etc/hostname f", want: "f content+mode", exe: "install"},
	{name: "rsync", prepare: "echo other >$O/f", do: "rsync $O/f f", want: "f content", exe: "rsync", needs: "rsync"},
	{name: "tar", prepare: "mkdir -p $O/d; echo x >$O/d/x; tar cf $O/x.tar -C $O d", do: "tar xf $O/x.tar", want: "d created, d/x created", exe: "tar"},
	{name: "logrotate", prepare: `printf '"%s/f" {\n create\n rotate 2\n}\n' $A >$O/conf; chmod 644 $O/conf`, do: "logrotate -f -s $O/state $O/conf",
		want: "f content, f.1 created", exe: "logrotate", needs: "logrotate"},
	{name: "logrotate, copying", prepare: `printf '"%s/f" {\n copytruncate\n rotate 2\n}\n' $A >$O/conf; chmod 644 $O/conf`, do: "logrotate -f -s $O/state $O/conf",
		want: "f content, f.1 created", exe: "logrotate", needs: "logrotate"},
	{name: "chmod", do: "chmod 4755 f", want: "f mode", exe: "chmod"},
	{name: "chown", do: "chown nobody f", want: "f owner", exe: "chown"},
	{name: "setfattr", do: "setfattr -n user.yagura -v 1 f", want: "f xattrs", exe: "setfattr", needs: "setfattr"},
	{name: "setcap", do: "setcap cap_net_raw+ep f", want: "f xattrs", exe: "setcap", needs: "setcap"},
	{name: "setfacl", do: "setfacl -m u:nobody:r f", want: "f acl", exe: "setfacl", needs: "setfacl"},
	{name: "chattr", do: "chattr +a f", want: "f flags", exe: "chattr", needs: "chattr", undo: "chattr -a f"},
	{name: "another name outside", prepare: "ln f $O/g", do: "echo more >>$O/g", want: "f content", exe: "sh", by: "pid"},
	{name: "a linked directory", prepare: "ln -s $A $O/d", do: "chmod 600 $O/d/f", want: "f mode", exe: "chmod"},
	{name: "a link", prepare: "ln -s $A/f $O/g", do: "truncate -s 0 $O/g", want: "f content", exe: "truncate"},
	{name: "/proc/self/root", do: "cp /etc/hostname /proc/self/root$A/f", want: "f content", exe: "cp"},
	{name: "a bind mount", prepare: "mkdir $O/d", do: "mount --bind . $O/d; sed -i s/was/is/ $O/d/f; umount $O/d", want: "f content", exe: "sed"},
	{name: "a bind mount that nobody else sees", do: "unshare -m sh -c 'mount --bind . /mnt; cp /etc/hostname /mnt/f; :'", want: "f content", exe: "cp", above: "sh", by: "pid"},
	{name: "a setuid program", prepare: "cp /bin/cp $O/cp; chmod 4755 $O/cp", do: "setpriv --reuid=65534 --clear-groups $O/cp /etc/hostname f", want: "f content",
		exe: "$O/cp", uid: nobody, needs: "setpriv"},
	{name: "su", prepare: "chown nobody f", do: "su -s /bin/sh nobody -c 'echo more >>f; :'", want: "f content", exe: "sh", above: "su", uid: nobody, euid: nobody},
	{name: "somebody who has logged in", do: fmt.Sprint("echo ", logged, " >/proc/self/loginuid; cp /etc/hostname f"), want: "f content", exe: "cp", login: logged},
	{name: "a file that nobody watches", prepare: "echo x >$O/x", do: "echo more >>$O/x; chmod 600 $O/x; mv $O/x $O/y; rm $O/y"},
	{name: "what editors leave beside a file", do: "cp f f~; cp f .f.swp; cp f 4913; rm 4913"},
}

func TestFIMTellsWhoChangedWhat(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	t.Cleanup(func() { _ = exec.Command("chattr", "-R", "-ia", s.watched).Run() })
	dir := func(i int) string { return fmt.Sprintf("%s/%d", s.watched, i) }
	play := func(t *testing.T, i int, script string) ([]byte, error) {
		cmd := bounded(t, "/bin/sh", "-ec", script)
		cmd.Dir = dir(i)
		cmd.Env = append(os.Environ(), "A="+dir(i), fmt.Sprintf("O=%s/%d", s.outside, i))
		return cmd.CombinedOutput()
	}
	for i, a := range fimActs {
		for _, at := range []string{dir(i), fmt.Sprintf("%s/%d", s.outside, i)} {
			if err := os.Mkdir(at, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(t, dir(i)+"/f", "as it was\n")
		if out, err := play(t, i, a.prepare); err != nil {
			t.Fatalf("%s: %s: %v\n%s", a.name, a.prepare, err, out)
		}
	}
	s.start(t)
	skipped := map[int]string{}
	for i, a := range fimActs {
		for _, name := range strings.Fields(a.needs) {
			if _, err := exec.LookPath(name); err != nil {
				skipped[i] = "needs " + name
			}
		}
		if skipped[i] != "" {
			continue
		}
		if out, err := play(t, i, a.do); err != nil {
			skipped[i] = fmt.Sprintf("needs to be done here: %s: %v: %s", a.do, err, out)
		}
	}
	s.settle(t)
	all := s.changes(t, "")
	for i, a := range fimActs {
		t.Run(a.name, func(t *testing.T) {
			if skipped[i] != "" {
				t.Skip(skipped[i])
			}
			var ours []fimChange
			for _, c := range all {
				if strings.HasPrefix(c.Path+"/", dir(i)+"/") || strings.HasPrefix(c.From, dir(i)+"/") {
					ours = append(ours, c)
				}
			}
			a.check(t, ours, dir(i), fmt.Sprintf("%s/%d", s.outside, i))
		})
		if a.undo != "" && skipped[i] == "" {
			if out, err := play(t, i, a.undo); err != nil {
				t.Errorf("%s: %v\n%s", a.undo, err, out)
			}
		}
	}
	for _, c := range all {
		if !strings.HasPrefix(c.Path, s.watched+"/") {
			t.Errorf("a change of what nobody watches: %v", &c)
		}
	}
}

func (a *fimAct) check(t *testing.T, all []fimChange, dir, outside string) {
	t.Helper()
	var want, got []string
	for one := range strings.SplitSeq(a.want, ", ") {
		if one != "" {
			want = append(want, one)
		}
	}
	exe := strings.ReplaceAll(a.exe, "$O", outside)
	if exe != "" {
		exe = exeOf(t, exe)
	}
	us, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		c := &all[i]
		got = append(got, strings.TrimSpace(strings.TrimPrefix(c.Path, dir+"/")+" "+strings.Join(c.Kinds, "+")+" "+strings.TrimPrefix(c.From, dir+"/")))
		p := c.Process
		if p == nil {
			t.Errorf("nobody is blamed: %v", c)
			continue
		}
		if exe != "" && p.Exe != exe {
			t.Errorf("%s is blamed, want %s: %v", p.Exe, exe, c)
		}
		if p.UID != a.uid || p.EUID != a.euid || (p.LoginUID == nil) != (a.login == 0) || p.LoginUID != nil && *p.LoginUID != a.login {
			t.Errorf("uid %d, euid %d, login uid %v, want %d, %d, %d: %v", p.UID, p.EUID, p.LoginUID, a.uid, a.euid, a.login, c)
		}
		if !slices.Contains(p.Ancestors, us) || a.above != "" && !slices.Contains(p.Ancestors, exeOf(t, a.above)) {
			t.Errorf("ancestors %q, want %s and %s: %v", p.Ancestors, a.above, us, c)
		}
		if !(c.Confidence == "path" || c.Confidence == "inode" || c.Confidence == "pid" || c.Confidence == a.by) {
			t.Errorf("confidence %s, want path, inode, pid or %q: %v", c.Confidence, a.by, c)
		}
		if c.Actor != "user" || c.Expected {
			t.Errorf("actor %s, expected %v: %v", c.Actor, c.Expected, c)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told were %q, want %q%s", got, want, list(all))
	}
}

// A debian package is made for a test.
type debian struct {
	name, version string
	files         map[string]string // by path; those of DEBIAN among them
	modes         map[string]os.FileMode
	links         map[string]string
	dirs          []string
	maintained    string // more lines of the control file
}

func (d *debian) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(t, at("DEBIAN/control"), fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n%s"+
		"Description: what a test of Yagura installs\n", d.name, d.version, d.maintained))
	for name, text := range d.files {
		write(t, at(name), text)
	}
	for name, to := range d.links {
		if err := os.Symlink(to, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range d.dirs {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range d.modes {
		if err := os.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(public(t), d.name+"_"+d.version+".deb")
	if out, err := bounded(t, "dpkg-deb", "--root-owner-group", "--build", dir, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	return deb
}

// packaged runs dpkg or apt-get, once nobody else does.
func packaged(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := tryPackaged(t, name, args...); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func tryPackaged(t *testing.T, name string, args ...string) (out []byte, err error) {
	t.Helper()
	if name == "apt-get" {
		args = append([]string{"-q", "-y", "-o", "DPkg::Lock::Timeout=60", "-o", "Acquire::http::Timeout=10"}, args...)
	}
	eventually(t, "nobody else installs anything", func() bool {
		cmd := bounded(t, name, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		out, err = cmd.CombinedOutput()
		return err == nil || !strings.Contains(string(out), "locked by another process")
	})
	return out, err
}

// fimPackage is what the test installs: all that a package can bring.
func fimPackage(version string) *debian {
	d := &debian{name: fimPackageName, version: version, files: map[string]string{}, modes: map[string]os.FileMode{}, links: map[string]string{}}
	root := fimPackageRoot[1:]
	for i := range 50 {
		d.files[fmt.Sprintf("%s/share/%d", root, i)] = fmt.Sprintf("%d of version %s\n", i, version)
	}
	d.files[root+"/bin/tool"] = "#!/bin/sh\necho " + version + "\n"
	d.files[root+"/bin/setuid"] = "version " + version + "\n"
	d.files[root+"/bin/same"] = "is so in all versions\n"
	d.files[root+"/etc/tool.conf"] = "version = " + version + "\n"
	d.files[root+"/etc/changed.conf"] = "version = " + version + "\n"
	d.files["DEBIAN/conffiles"] = fimPackageRoot + "/etc/tool.conf\n" + fimPackageRoot + "/etc/changed.conf\n"
	d.files["DEBIAN/postinst"] = fmt.Sprintf("#!/bin/sh\nset -e\nmkdir -p %[1]s/cache\necho %[2]s >%[1]s/cache/made\nln -sf bin/tool %[1]s/alias\n", fimPackageRoot, version)
	d.files["DEBIAN/postrm"] = fmt.Sprintf("#!/bin/sh\nset -e\n[ $1 != remove ] || rm -r %[1]s/cache %[1]s/alias\n[ $1 != purge ] || rm -rf %[1]s\n", fimPackageRoot)
	for _, name := range []string{"DEBIAN/postinst", "DEBIAN/postrm", root + "/bin/tool", root + "/bin/same"} {
		d.modes[name] = 0o755
	}
	d.modes[root+"/bin/setuid"] = 0o755 | os.ModeSetuid
	d.links[root+"/lib/current"] = "tool-" + version
	d.dirs = []string{root + "/empty"}
	if version == "1" {
		d.files[root+"/bin/old"] = "will be dropped\n"
		d.files[root+"/old/x"] = "will be dropped\n"
	} else {
		d.files[root+"/bin/new"] = "has come\n"
	}
	return d
}

const fimPackageName = "yagura-test-fim"

var fimPackageRoot = fmt.Sprintf("/opt/%s-%d", fimPackageName, os.Getpid())

// TestFIMExpectedByPackage installs, upgrades and removes packages with the real managers, and does by hand what they do.
func TestFIMExpectedByPackage(t *testing.T) {
	needsKernel(t)
	needsProgram(t, "dpkg", "dpkg-deb")
	s := newFIMSite(t, fimConfig+"    - {name: package, paths: ["+fimPackageRoot+"]}\n")
	t.Cleanup(func() {
		_, _ = tryPackaged(t, "dpkg", "--purge", fimPackageName)
		os.RemoveAll(fimPackageRoot)
	})
	one, two := fimPackage("1").build(t), fimPackage("2").build(t)
	s.start(t)
	since := 0
	for _, act := range []struct {
		name  string
		least int // changes
		do    func(t *testing.T)
	}{
		{"install", 60, func(t *testing.T) { packaged(t, "dpkg", "-i", one) }},
		{"upgrade", 56, func(t *testing.T) { packaged(t, "dpkg", "-i", two) }},
		{"install again", 0, func(t *testing.T) { packaged(t, "dpkg", "-i", two) }},
		{"downgrade by apt", 56, func(t *testing.T) {
			needsProgram(t, "apt-get")
			packaged(t, "apt-get", "install", "--allow-downgrades", one)
		}},
		{"remove", 50, func(t *testing.T) { packaged(t, "dpkg", "--remove", fimPackageName) }},
		{"install what was removed", 50, func(t *testing.T) { packaged(t, "dpkg", "-i", two) }},
	} {
		t.Run(act.name, func(t *testing.T) {
			act.do(t)
			since += s.packaged(t, since, act.least)
			eventually(t, "nothing has drifted", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_drifted_files", "watch", "package") == 0 })
		})
	}
	t.Run("by hand", func(t *testing.T) { s.testByHand(t, since) })
	t.Run("beside a transaction", func(t *testing.T) { s.testBesideTransaction(t) })
	t.Run("purge", func(t *testing.T) {
		since := len(s.changes(t, "watch=package"))
		packaged(t, "dpkg", "--purge", fimPackageName)
		s.packaged(t, since, 60)
	})
}

// packaged waits for some changes since the first few, and fails the test unless all were expected, by a package.
func (s *fimSite) packaged(t *testing.T, since, least int) int {
	t.Helper()
	eventually(t, fmt.Sprint("so many changes were told: ", least), func() bool { return len(s.changes(t, "watch=package"))-since >= least })
	s.settle(t)
	all := s.changes(t, "watch=package")[since:]
	for i := range all {
		if c := &all[i]; !c.Expected || c.Actor != "package" {
			t.Errorf("not expected: %v", c)
		}
	}
	return len(all)
}

// testByHand does by hand what a package manager does, to the byte.
func (s *fimSite) testByHand(t *testing.T, since int) {
	tool := fimPackageRoot + "/bin/tool"
	s.shell(t, "cp -p "+tool+" $O/tool; touch "+tool)
	for _, script := range []string{"echo '#!/bin/sh' >" + tool, "cp $O/tool " + tool} {
		s.shell(t, script)
		s.settle(t)
	}
	all := s.changes(t, "watch=package")[since:]
	if len(all) != 2 {
		t.Errorf("%d changes were told, want 2%s", len(all), list(all))
	}
	for i := range all {
		if c := &all[i]; c.Expected || c.Actor != "user" || c.Path != tool || !slices.Equal(c.Kinds, []string{"content"}) {
			t.Errorf("expected, or another change: %v", c)
		}
	}
	eventually(t, "nothing has drifted", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_drifted_files", "watch", "package") == 0 })
}

// testBesideTransaction installs a package whose script does what none should, and does something by hand meanwhile.
func (s *fimSite) testBesideTransaction(t *testing.T) {
	since := len(s.changes(t, "watch=package"))
	three := fimPackage("3")
	three.files["DEBIAN/postinst"] += fmt.Sprintf("cp /bin/true %[1]s/bin/backdoor\necho evil >>%[1]s/bin/same\necho data >%[1]s/cache/more\n", fimPackageRoot)
	goOn := installSlowly(t, three, s.dir+"/go")
	s.shell(t, fmt.Sprintf("cp $O/tool %[1]s/bin/new; echo hidden >%[1]s/cache/hidden; cp /bin/cp $O/dpkg; $O/dpkg $O/tool %[1]s/share/0", fimPackageRoot))
	goOn()
	s.settle(t)
	unexpected := map[string]bool{"bin/backdoor": true, "bin/same": true, "bin/new": true, "cache/hidden": true, "share/0": true}
	all := s.changes(t, "watch=package")[since:]
	seen := map[string]bool{}
	for i := range all {
		c := &all[i]
		name := strings.TrimPrefix(c.Path, fimPackageRoot+"/")
		if !c.Expected {
			seen[name] = true
		}
		if c.Expected == unexpected[name] {
			t.Errorf("expected %v, want the opposite: %v", c.Expected, c)
		}
	}
	for name := range unexpected {
		if !seen[name] {
			t.Errorf("no unexpected change of %s was told%s", name, list(all))
		}
	}
}

// installSlowly returns when the script at the end of a package's installation runs; goOn has it end.
func installSlowly(t *testing.T, d *debian, fifo string) (goOn func()) {
	t.Helper()
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	d.files["DEBIAN/postinst"] += "cat " + fifo + "\n"
	deb, done := d.build(t), make(chan error, 1)
	go func() {
		out, err := tryPackaged(t, "dpkg", "-i", deb)
		if err != nil {
			err = fmt.Errorf("dpkg: %w\n%s", err, out)
			if r, openErr := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0); openErr == nil {
				defer r.Close()
			}
		}
		done <- err
	}()
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // once somebody reads it
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		w.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestFIMExpectedByDebian upgrades, installs and removes packages of Debian's, under the sets that Yagura ships.
func TestFIMExpectedByDebian(t *testing.T) {
	needsKernel(t)
	needsProgram(t, "apt-get", "dpkg-deb")
	if out, err := tryPackaged(t, "apt-get", "update", "--error-on=any"); err != nil {
		t.Skipf("needs a mirror: %v\n%s", err, out)
	}
	old := olderHello(t)
	purge := func() { _, _ = tryPackaged(t, "apt-get", "purge", "hello", "figlet") }
	purge()
	t.Cleanup(purge)
	s := newFIMSite(t, `
fim:
  store: DIR/fim.db
  without: [libraries, kernel_modules, boot]
  scan: {rate_files: 0, rate_bytes: 0B}
  watches: [{name: marks, paths: [DIR/marks]}]
`)
	s.start(t)
	since := 0
	for _, act := range []struct {
		name, path string // of a file that must be told of
		kinds      string // one of them; where dpkg is slow, what it unpacked beside the file is seen to be renamed
		args       []string
	}{
		{"install of an older version", "/usr/bin/hello", "created renamed", []string{"install", old}},
		{"upgrade", "/usr/bin/hello", "content renamed", []string{"install", "hello"}},
		{"install with an alternative", "/etc/alternatives/figlet", "created renamed", []string{"install", "--no-install-recommends", "figlet"}},
		{"install anew", "", "", []string{"install", "--reinstall", "sudo", "passwd", "hello"}},
		{"removal", "/usr/bin/hello", "deleted", []string{"remove", "hello"}},
		{"purge", "/etc/alternatives/figlet", "deleted", []string{"purge", "hello", "figlet"}},
	} {
		t.Run(act.name, func(t *testing.T) {
			packaged(t, "apt-get", act.args...)
			s.settle(t)
			all := s.changes(t, "")[since:]
			since += len(all)
			found := act.path == ""
			for i := range all {
				c := &all[i]
				if !ours(t, c) {
					continue
				}
				found = found || c.Path == act.path && slices.Contains(strings.Fields(act.kinds), c.Kinds[0])
				if !c.Expected || c.Actor != "package" {
					t.Errorf("not expected: %v", c)
				}
			}
			if !found {
				t.Errorf("it was not told that %s was %s%s", act.path, act.kinds, list(all))
			}
		})
	}
}

// ours says whether a change was made by a process that this test has started, or by nobody: others may change this machine, too.
func ours(t *testing.T, c *fimChange) bool {
	t.Helper()
	us, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return c.Process == nil || slices.Contains(c.Process.Ancestors, us)
}

// olderHello is Debian's package hello with another program, and as an older version.
func olderHello(t *testing.T) string {
	t.Helper()
	dir := public(t)
	for _, script := range []string{
		"apt-get download hello",
		"dpkg-deb -R hello_*.deb old",
		"sed -i 's/^Version: .*/Version: 2.0/' old/DEBIAN/control",
		"echo older >>old/usr/bin/hello",
		"cd old && find usr -type f -exec md5sum {} + >DEBIAN/md5sums",
		"dpkg-deb --root-owner-group -b old hello.deb",
	} {
		cmd := bounded(t, "/bin/sh", "-ec", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	return dir + "/hello.deb"
}

// mount mounts something for the time of the test.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s on %s: %v", source, target, err)
	}
	t.Cleanup(func() { unmount(target) })
}

func unmount(target string) {
	for unix.Unmount(target, unix.MNT_DETACH) == nil {
	}
}

// works fails the test unless the program answers as if nothing were wrong.
func (s *fimSite) works(t *testing.T) page {
	t.Helper()
	if code, _ := s.status(t, "GET", "/-/ready"); code != 200 {
		t.Errorf("ready: %d", code)
	}
	p := s.scrape(t, "/metrics")
	if p["yagura_process_table_entries"] == nil || p.sum("yagura_scrape_collector_success", "collector", "fim") != 1 {
		t.Error("the rest does not work")
	}
	return p
}

func TestFIMHostileNames(t *testing.T) {
	t.Run("names", testHostileNames)
	t.Run("deep paths", testDeepPaths)
	t.Run("files that are none", testFilesThatAreNone)
	t.Run("huge files", testHugeFiles)
	t.Run("vanishing files", testVanishingFiles)
	t.Run("links that lead nowhere", testLinksThatLeadNowhere)
	t.Run("directories of two names", testDirectoriesOfTwoNames)
}

func testHostileNames(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	for _, name := range hostileNames {
		for _, dir := range []string{"changed", "deleted"} {
			if err := os.MkdirAll(s.watched+"/"+dir, 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, s.watched+"/"+dir+"/"+name, "as it was\n")
		}
	}
	s.start(t)
	if n := s.scrape(t, "/metrics").sum("yagura_fim_files", "watch", "files"); n != float64(2*len(hostileNames)+3) {
		t.Errorf("%v files, want %d", n, 2*len(hostileNames)+3)
	}
	want := map[string]string{}
	for _, name := range hostileNames {
		write(t, s.watched+"/changed/"+name, "changed\n")
		remove(t, s.watched+"/deleted/"+name)
		if err := errors.Join(os.Mkdir(s.watched+"/"+name, 0o755), os.WriteFile(s.watched+"/"+name+"/"+name, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		for path, kind := range map[string]string{"changed/" + name: "content", "deleted/" + name: "deleted", name: "created", name + "/" + name: "created"} {
			want[path] = kind
		}
	}
	s.settle(t)
	all := s.changes(t, "")
	if len(all) != len(want) {
		t.Errorf("%d changes were told, want %d", len(all), len(want))
	}
	for name, kind := range want {
		told := s.changes(t, "path="+url.QueryEscape(s.watched+"/"+name))
		if len(told) != 1 || strings.Join(told[0].Kinds, "+") != kind || told[0].Process == nil || told[0].Process.Exe == "" || told[0].Confidence != "path" {
			t.Errorf("%q: want %s once, and by whom%s", name, kind, list(told))
		}
		if utf8.ValidString(name) && len(told) == 1 && told[0].Path != s.watched+"/"+name {
			t.Errorf("%q is shown as %q", name, told[0].Path)
		}
	}
	if log := s.log.String(); strings.Contains(log, "\nlevel=INFO") || strings.Contains(log, "\x1b") {
		t.Error("a name has made a line of the log, or an escape sequence in it")
	}
}

// testDeepPaths has files at paths that no call can name, as they are longer than the kernel takes.
func testDeepPaths(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	deep := func(levels int) (path string) { return strings.Repeat("/"+strings.Repeat("d", 200), levels) }
	const most = 4095
	levels := (most - len(s.watched) - len("/f")) / 201
	make := func(levels int, do func(dir int) error) {
		t.Helper()
		at, err := unix.Open(s.watched, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range levels {
			if err := unix.Mkdirat(at, deep(1)[1:], 0o755); err != nil && err != unix.EEXIST {
				t.Fatal(err)
			}
			next, err := unix.Openat(at, deep(1)[1:], unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(at)
			at = next
		}
		defer unix.Close(at)
		if err := do(at); err != nil {
			t.Fatal(err)
		}
	}
	file := func(text string) func(dir int) error {
		return func(dir int) error {
			fd, err := unix.Openat(dir, "f", unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			_, err = unix.Write(fd, []byte(text))
			return err
		}
	}
	for _, l := range []int{5, levels, levels + 1, 2 * levels} {
		make(l, file("as it was\n"))
	}
	s.start(t)
	if n := s.works(t).sum("yagura_fim_files", "watch", "files"); n != float64(1+2*levels+4) {
		t.Errorf("%v files, want 4, and %d directories", n, 1+2*levels)
	}
	for _, l := range []int{5, levels, levels + 1, 2 * levels} {
		make(l, file("changed\n"))
	}
	s.settle(t)
	for _, l := range []int{5, levels} {
		if told := changesOf(s.changes(t, ""), s.watched+deep(l)+"/f"); len(told) != 1 || strings.Join(told[0].Kinds, "+") != "content" {
			t.Errorf("%d levels: want one change of content%s", l, list(told))
		}
	}
	found := map[int]int{}
	beyondCalls := []int{levels + 1, 2 * levels}
	for _, l := range beyondCalls {
		found[l] = len(changesOf(s.changes(t, ""), s.watched+deep(l)+"/f"))
	}
	if log := s.log.String(); found[2*levels] == 0 && !strings.Contains(log, "some directories are not marked") {
		t.Error("the log does not say that changes are found by scans only")
	}
	s.restart(t, syscall.SIGTERM)
	s.settle(t)
	for _, l := range beyondCalls {
		told := changesOf(s.changes(t, ""), s.watched+deep(l)+"/f")
		if found[l]+len(told) != 1 {
			t.Errorf("%d levels: %d changes were told before a scan, and %d after, want one%s", l, found[l], len(told), list(told))
		}
	}
}

func testFilesThatAreNone(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	listen := func(path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	s.shell(t, "cd $W; mkfifo fifo; mknod null c 1 3; mknod disk b 7 7; mkfifo gone")
	listen(s.watched + "/socket")
	s.start(t)
	if p := s.works(t); p.sum("yagura_fim_files", "watch", "files") != 6 || p.sum("yagura_fim_unread_files") != 0 {
		t.Errorf("%v files, %v unread, want 6 and 0", p.sum("yagura_fim_files", "watch", "files"), p.sum("yagura_fim_unread_files"))
	}
	s.shell(t, "cd $W; chmod 600 fifo; chmod 622 null; rm disk; mknod disk b 7 6; rm gone; echo a file >gone; chown nobody socket; mknod zero c 1 5")
	listen(s.watched + "/listens")
	s.settle(t)
	all := s.changes(t, "")
	s.exactly(t, all, "fifo mode", "null mode", "disk content", "gone content+mode", "socket owner", "zero created", "listens created")
	for path, kind := range map[string]string{"fifo": "fifo", "null": "device", "disk": "device", "gone": "file", "socket": "socket", "zero": "device", "listens": "socket"} {
		if told := changesOf(all, s.watched+"/"+path); len(told) == 1 && told[0].After.Type != kind {
			t.Errorf("%s is a %s, want a %s", path, told[0].After.Type, kind)
		}
	}
}

func testHugeFiles(t *testing.T) {
	s := newFIMSite(t, fimConfig+"  scan: {max_file_size: 1MiB}\n")
	s.shell(t, "cd $W; truncate -s 1T sparse; truncate -s 8T grows; truncate -s 1048576 small; truncate -s 1048577 large; touch becomes")
	s.start(t)
	s.shell(t, `cd $W; printf x | dd of=sparse bs=1 seek=500000000000 conv=notrunc status=none; truncate -s +1 grows; printf x | dd of=small bs=1 seek=1000 conv=notrunc status=none
		chmod 600 large; truncate -s 2T becomes; truncate -s 3T made`)
	s.settle(t)
	all := s.changes(t, "")
	s.exactly(t, all, "sparse content", "grows content", "small content", "large mode", "becomes content", "made created")
	for _, c := range all {
		isSmall := c.After.Size <= 1<<20
		if isSmall == (c.After.SHA256 == "") || isSmall != (c.After.Unreadable == "") {
			t.Errorf("%v: of %d bytes the sum is %q, %q", &c, c.After.Size, c.After.SHA256, c.After.Unreadable)
		}
	}
}

// testVanishingFiles has files come and go while they are scanned.
func testVanishingFiles(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	s.shell(t, "mkdir $W/busy; for i in $(seq 500); do echo $i >$W/$i; done")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			dir := fmt.Sprintf("%s/busy/%d", s.watched, i%7)
			_ = os.Mkdir(dir, 0o755)
			_ = os.WriteFile(fmt.Sprintf("%s/%d", dir, i%11), []byte("x"), 0o644)
			if i%3 == 0 {
				_ = os.Rename(dir, fmt.Sprintf("%s/busy/%d", s.watched, (i+1)%7))
			}
			_ = os.RemoveAll(fmt.Sprintf("%s/busy/%d", s.watched, i%5))
		}
	}()
	s.start(t)
	eventually(t, "a hundred changes were told", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_changes_total", "watch", "files") > 100 })
	close(stop)
	<-stopped
	if err := os.RemoveAll(s.watched + "/busy"); err != nil {
		t.Fatal(err)
	}
	s.settle(t)
	s.works(t)
	if strings.Contains(s.log.String(), "level=ERROR") || strings.Contains(s.log.String(), "not everything could be read") {
		t.Error("the log has errors, or files that vanished count as such that could not be read")
	}
	eventually(t, "what is gone has drifted, and no more", func() bool {
		n := s.scrape(t, "/metrics").sum("yagura_fim_drifted_files", "watch", "files")
		return n > 0 && n < 8*12
	})
	s.restart(t, syscall.SIGTERM)
	s.settle(t)
	s.exactly(t, s.changes(t, ""))
	if n := s.scrape(t, "/metrics").sum("yagura_fim_files", "watch", "files"); n != 501 {
		t.Errorf("%v files, want 501", n)
	}
}

func testLinksThatLeadNowhere(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	s.shell(t, `cd $W; ln -s . dot; ln -s .. up; ln -s loop loop; ln -s b a; ln -s a b; ln -s /nowhere dangling; ln -s $O out; mkdir -p d/e swapped; ln -s .. d/e/up; echo x >d/e/x; echo x >swapped/x
		mkdir $O/swapped; echo other >$O/swapped/x; echo x >$O/x`)
	s.start(t)
	if n := s.works(t).sum("yagura_fim_files", "watch", "files"); n != 1+7+3+3 {
		t.Errorf("%v files, want %d: links are not followed", n, 1+7+3+3)
	}
	s.shell(t, "cd $W; echo more >>$O/x; rm -r swapped; ln -s $O/swapped swapped; ln -sfn d loop; rm dangling; echo more >>dot/d/e/up/e/x; echo other >>swapped/x")
	s.settle(t)
	s.exactly(t, s.changes(t, ""), "swapped content+mode", "swapped/x deleted", "loop content", "dangling deleted", "d/e/x content")
}

// testDirectoriesOfTwoNames has sets as the shipped ones are for systems on which /bin leads to /usr/bin: what happens is told once,
// of where it really was, whatever it was called.
func testDirectoriesOfTwoNames(t *testing.T) {
	s := newFIMSite(t, fimConfig+"    - {name: bin, paths: [DIR/bin, DIR/usr/bin]}\n")
	s.shell(t, "cd $D; mkdir -p usr/bin; ln -s usr/bin bin; for i in 1 2 3 4 5; do echo $i >usr/bin/$i; done")
	s.start(t)
	s.shell(t, "cd $D; cp /bin/true bin/new; echo more >>bin/1; chmod 700 bin/2; mv bin/3 bin/6; rm bin/4; cd bin; cp new relative; ln -s 5 link; mkdir dir; echo x >$D/bin/dir/x")
	s.settle(t)
	all := s.changes(t, "watch=bin")
	in := s.dir + "/usr/bin/"
	s.exactly(t, all, in+"new created", in+"1 content", in+"2 mode", in+"6 renamed "+in+"3", in+"4 deleted", in+"relative created", in+"link created", in+"dir created", in+"dir/x created")
	for i := range all {
		if c := &all[i]; c.Process == nil || c.Confidence != "path" && c.Confidence != "inode" && c.Confidence != "pid" {
			t.Errorf("it is not known who it was: %v", c)
		}
	}
}

// TestFIMMountOverAWatchedPath hides watched files, and shows them again.
func TestFIMMountOverAWatchedPath(t *testing.T) {
	s := newFIMSite(t, fimConfig)
	t.Cleanup(func() {
		for _, at := range []string{"/d", "/f", ""} {
			unmount(s.watched + at)
		}
	})
	s.shell(t, "cd $W; mkdir -m 755 d; for i in 1 2 3; do echo $i >d/$i; done; echo f >f; cd $O; mkdir -m 755 d; echo 1 >d/1; echo other >d/2; echo 4 >d/4; echo other >f")
	s.start(t)
	shown := []string{"d unmounted", "d/1 created", "d/2 created", "d/3 created"}
	hidden := []string{"d mounted", "d/1 deleted", "d/2 deleted", "d/3 deleted"}
	since := 0
	for _, act := range []struct {
		name, do, needs string
		want            []string
		exe             string // of who has mounted it
	}{
		{"a tmpfs", "mount -t tmpfs -o mode=755 none $W/d", "", hidden, "mount"},
		{"what is made in it", "echo 5 >$W/d/5", "", []string{"d/5 created"}, "sh"},
		{"unmounted", "umount $W/d", "", append([]string{"d/5 deleted"}, shown...), "umount"},
		{"a bind mount", "mount --bind $O/d $W/d", "", []string{"d mounted", "d/2 content", "d/3 deleted", "d/4 created"}, "mount"},
		{"remounted", "mount -o remount,bind,ro $W/d", "", nil, ""},
		{"unmounted again", "umount $W/d", "", []string{"d unmounted", "d/2 content", "d/3 created", "d/4 deleted"}, "umount"},
		{"a mount over a file", "mount --bind $O/f $W/f", "", []string{"f mounted", "f content"}, "mount"},
		{"unmounted from a file", "umount $W/f", "", []string{"f unmounted", "f content"}, "umount"},
		// A mount is busy for the moment in which somebody looks at it.
		{"the same once more", "mount --bind $W/d $W/d; for i in 1 2 3 4 5 6 7 8 9; do umount $W/d && break; sleep .1; done", "", []string{"d mounted", "d unmounted"}, ""},
		{"a loop mount", "truncate -s 4M $O/image; mkfs.ext4 -q -E root_owner=0:0 $O/image; mount -o loop $O/image $W/d", "mkfs.ext4",
			append([]string{"d/lost+found created"}, hidden...), "mount"},
		{"what is made in the image", "echo 6 >$W/d/6; rmdir $W/d/lost+found", "mkfs.ext4", []string{"d/6 created", "d/lost+found deleted"}, ""},
		{"the image unmounted", "umount $W/d", "mkfs.ext4", append([]string{"d/6 deleted"}, shown...), "umount"},
		{"in a namespace of its own", "unshare -m sh -c 'mount -t tmpfs none $W/d; echo x >$W/d/x; umount $W/d'", "", nil, ""},
		{"over all that is watched", "mount -t tmpfs -o mode=755 none $W", "", []string{s.watched + " mounted", "d deleted", "d/1 deleted", "d/2 deleted", "d/3 deleted", "f deleted"}, "mount"},
		{"and unmounted", "umount $W", "", []string{s.watched + " unmounted", "d created", "d/1 created", "d/2 created", "d/3 created", "f created"}, "umount"},
	} {
		t.Run(act.name, func(t *testing.T) {
			if act.needs != "" {
				needsProgram(t, act.needs)
			}
			s.shell(t, act.do)
			eventually(t, "it is told", func() bool { return len(s.changes(t, ""))-since >= len(act.want) })
			s.settle(t)
			all := s.changes(t, "")[since:]
			since += len(all)
			s.exactly(t, all, act.want...)
			for i := range all {
				if c := &all[i]; act.exe != "" && (c.Process == nil || c.Process.Exe != exeOf(t, act.exe)) {
					t.Errorf("want it to be by %s: %v", act.exe, c)
				}
			}
		})
	}
	eventually(t, "nothing has drifted", func() bool { return s.scrape(t, "/metrics").sum("yagura_fim_drifted_files", "watch", "files") == 0 })
}

// TestFIMMaintenanceAndActors has changes expected because of when they are made, and by whom.
func TestFIMMaintenanceAndActors(t *testing.T) {
	clock := func(d time.Duration) string { return time.Now().UTC().Add(d).Format("15:04") }
	s := newFIMSite(t, fimConfig+fmt.Sprintf(`
    - {name: now, paths: [DIR/now]}
    - {name: later, paths: [DIR/later]}
  maintenance:
    - {name: open, from: %q, to: %q, watches: [now]}
    - {name: closed, from: %q, to: %q}
  actors:
    - {name: deployer, exe: [DIR/outside/deploy], watches: [files]}
    - {name: by-number, users: ["12345"], watches: [files]}
    - {name: by-name, users: [nobody], watches: [files]}
    - {name: both, exe: [DIR/outside/both], users: ["12346"]}
`, clock(-time.Hour), clock(time.Hour), clock(2*time.Hour), clock(3*time.Hour)))
	needsProgram(t, "setpriv")
	s.shell(t, `mkdir -m 777 $D/now $D/later; chmod 777 $W; cp /bin/cp $O/deploy; cp /bin/cp $O/both; cp /bin/cp $O/other
		cp /bin/sh $O/sh; for f in $W/1 $W/2 $W/3 $W/4 $W/5 $W/6 $W/7 $W/8 $D/now/1 $D/later/1 $D/later/2; do echo as it was >$f; chmod 666 $f; done`)
	s.start(t)
	as := func(uid int) string { return fmt.Sprintf("setpriv --reuid=%d --clear-groups ", uid) }
	for _, act := range []struct{ path, do, why string }{
		{"/now/1", "echo more >>$D/now/1", "maintenance open"},
		{"/later/1", "echo more >>$D/later/1", ""},
		{"/watched/1", "$O/deploy /etc/hostname $W/1", "actor deployer"},
		{"/watched/2", "$O/other /etc/hostname $W/2", ""},
		{"/watched/3", as(12345) + "cp /etc/hostname $W/3", "actor by-number"},
		{"/watched/4", as(nobody) + "cp /etc/hostname $W/4", "actor by-name"},
		{"/watched/5", as(12346) + "$O/both /etc/hostname $W/5", "actor both"},
		{"/watched/6", "$O/both /etc/hostname $W/6", ""},
		{"/watched/7", as(12346) + "cp /etc/hostname $W/7", ""},
		{"/later/2", "$O/deploy /etc/hostname $D/later/2", ""}, // of another set
		{"/watched/8", as(12345) + "sh -c 'sudo -n true 2>/dev/null; cp /etc/hostname $W/8; :'", "actor by-number"},
	} {
		s.shell(t, act.do)
		var told []fimChange
		eventually(t, "the change of "+act.path+" is told", func() bool { told = changesOf(s.changes(t, ""), s.dir+act.path); return len(told) > 0 })
		c := &told[0]
		if act.why == "" && (c.Expected || c.Actor != "user") || act.why != "" && (!c.Expected || c.Actor != "maintenance" || c.Why != act.why) || len(told) != 1 {
			t.Errorf("%s: want %q%s", act.do, act.why, list(told))
		}
	}
	s.settle(t)
	p := s.scrape(t, "/metrics")
	for _, test := range []struct {
		watch, expected string
		want            float64
	}{{"now", "true", 1}, {"now", "false", 0}, {"later", "true", 0}, {"later", "false", 2}, {"files", "true", 5}, {"files", "false", 3}} {
		if n := p.sum("yagura_fim_changes_total", "watch", test.watch, "kind", "content", "expected", test.expected); n != test.want {
			t.Errorf("%s, expected %s: %v changes, want %v", test.watch, test.expected, n, test.want)
		}
	}
	if n := p.sum("yagura_workload_fim_changes_total", "actor", "maintenance"); n != 6 {
		t.Errorf("%v changes by maintenance, want 6", n)
	}
	eventually(t, "what was expected has not drifted, and the rest has", func() bool {
		p := s.scrape(t, "/metrics")
		return p.sum("yagura_fim_drifted_files", "watch", "now") == 0 && p.sum("yagura_fim_drifted_files", "watch", "later") == 2 && p.sum("yagura_fim_drifted_files", "watch", "files") == 3
	})
}

// TestFIMTellsNothingElse does much that is none of a watch set's business.
func TestFIMTellsNothingElse(t *testing.T) {
	s := newFIMSite(t, strings.Replace(fimConfig, `exclude: ["*~", "4913", ".*.sw*"]`, `exclude: ["*.tmp", DIR/watched/cache]`, 1)+`
    - {name: modes, paths: [DIR/modes], kinds: [mode], attributes: [mode]}
    - {name: programs, paths: [DIR/programs], include: ["*.sh"]}
    - {name: flat, paths: [DIR/flat], recursive: false}
    - {name: inside, paths: [DIR/inside], of: containers}
    - {name: log, paths: [DIR/log], content: shorter, attributes: [content]}
`)
	s.shell(t, "cd $D; mkdir watched/cache modes programs flat flat/sub inside log watched-not; for d in watched watched/cache modes programs flat flat/sub inside log watched-not; do echo x >$d/f; done; ln watched/f $O/hard; ln -s $W $O/link")
	s.start(t)
	s.shell(t, `cd $D
		cat watched/f >/dev/null; ls -lR watched >/dev/null; touch watched/f; touch -d yesterday watched/f; cp -p watched/f $O/copy; cat $O/copy >watched/f; chmod 644 watched/f; chown 0:0 watched/f
		echo x >watched-not/g; rm watched-not/f; mv watched-not/g watched-not/h; mkdir watched-not/d; rmdir watched-not/d; ln -s $W/f watched-not/link; rm watched-not/link
		echo x >watched/x.tmp; rm watched/x.tmp; echo x >watched/cache/g; rm watched/cache/f; mkdir -p watched/cache/a/b; echo x >watched/cache/a/b/c
		echo x >>modes/f; echo x >modes/g; rm modes/g; echo x >>programs/f; echo x >programs/g; mkdir flat/sub/sub; echo x >>flat/sub/f; echo x >flat/sub/g
		echo x >>inside/f; rm inside/f; for i in 1 2 3; do echo x >>log/f; done; chmod 600 $O/copy; rm $O/link; mount --bind $O watched-not; umount watched-not
		echo x >$O/secret; cp $O/secret $O/secret2; python3 -c 1 2>/dev/null || :`)
	s.settle(t)
	// Of a file with two names, neither of which went; and of directories whose names went and came: nothing but links.
	s.exactly(t, s.changes(t, ""))
	p := s.scrape(t, "/metrics")
	for _, name := range []string{"yagura_fim_changes_total", "yagura_workload_fim_changes_total"} {
		for _, m := range p.matching(name) {
			if n := m.GetCounter().GetValue(); n != 0 && !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == "marks" }) {
				t.Errorf("%s%v = %v, want 0", name, m.Label, n)
			}
		}
	}
	if n := p.sum("yagura_fim_drifted_files", "watch", "files"); n != 0 {
		t.Errorf("%v files have drifted, want none", n)
	}
}

// hostileNames are what a file may be called.
var hostileNames = []string{
	"two\nlines", "kinds=none\nlevel=INFO msg=nothing", "\"quoted\" 'names' `of` $(files)", "\xff\xfe", "\xff\xfd", "caf\xe9", "café", "cafe\u0301", "\u202egnp.exe", "\x1b[2J\a\t\r", " ",
	"-rf", "*?[a-z]{b}", "back\\slash", "%s%n%d", "\u2028", "\uFFFD", "<b>&amp;", "..x", "...", strings.Repeat("n", 255), strings.Repeat("\n", 255), strings.Repeat("é", 127),
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
