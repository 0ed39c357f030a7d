package fim

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/rules/event"
)

func setsOf(t testing.TB, watches ...WatchConfig) *Sets {
	t.Helper()
	s, err := NewSets(Config{Watches: watches}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// names are those of the sets that a path is of.
func (s *Sets) namesOf(container bool, path string) string {
	var names []string
	for i := range s.Match(container, path).All() {
		names = append(names, s.Set(i).Name)
	}
	return strings.Join(names, " ")
}

func TestMatch(t *testing.T) {
	t.Parallel()
	flat := false
	s := setsOf(t,
		WatchConfig{Name: "etc", Paths: []string{"/etc"}, Exclude: []string{"*.swp", ".git", "/etc/mtab", "/etc/lvm/*/cache", "/etc/**/tmp"}},
		WatchConfig{Name: "ssh", Paths: []string{"/home/*/.ssh", "/root/.ssh/"}, Include: []string{"authorized_keys*", "/root/.ssh/keys"}},
		WatchConfig{Name: "flat", Paths: []string{"/opt", "/opt/x/**", "/srv/*.d"}, Recursive: &flat},
		WatchConfig{Name: "deep", Paths: []string{"/srv/**/conf", "**/core"}, Of: "containers"},
		WatchConfig{Name: "odd", Paths: []string{`/a\*`, "/new\nline", "/\xff\xfe", "/sp ace/[!a-y]"}, Of: "both"},
	)
	for _, row := range []struct {
		container bool
		path      string
		want      string
	}{
		{false, "/etc", "etc"},
		{false, "/etc/passwd", "etc"},
		{false, "/etc/a/b/c/d", "etc"},
		{false, "/etcetera", ""},
		{false, "/usr/etc", ""},
		{false, "/", ""},
		{false, "", ""},
		{false, "etc/passwd", ""},
		{true, "/etc/passwd", ""},
		{false, "/etc/.passwd.swp", ""},
		{false, "/etc/x.swp/y", ""},
		{false, "/etc/x.swpx", "etc"},
		{false, "/etc/.git/objects/00/1", ""},
		{false, "/etc/x/.git", ""},
		{false, "/etc/mtab", ""},
		{false, "/etc/mtab.old", "etc"},
		{false, "/etc/x/mtab", "etc"},
		{false, "/etc/lvm/a/cache/x", ""},
		{false, "/etc/lvm/cache", "etc"},
		{false, "/etc/lvm/a/b/cache", "etc"},
		{false, "/etc/tmp", ""},
		{false, "/etc/a/b/tmp/c", ""},
		{false, "/home/me/.ssh/authorized_keys", "ssh"},
		{false, "/home/me/.ssh/authorized_keys2", "ssh"},
		{false, "/home/me/.ssh/x/authorized_keys", "ssh"},
		{false, "/home/me/.ssh/config", ""},
		{false, "/home/me/.ssh", ""},
		{false, "/home/.ssh/authorized_keys", ""},
		{false, "/home/a/b/.ssh/authorized_keys", ""},
		{false, "/root/.ssh/keys", "ssh"},
		{false, "/root/.ssh/keys/x", "ssh"},
		{false, "/root/.ssh/other", ""},
		{false, "/opt", "flat"},
		{false, "/opt/a", "flat"},
		{false, "/opt/a/b", ""},
		{false, "/opt/x/y/z", "flat"},
		{false, "/srv/a.d", "flat"},
		{false, "/srv/a.d/b", "flat"},
		{false, "/srv/a.d/b/c", ""},
		{true, "/srv/conf", "deep"},
		{true, "/srv/a/b/conf/x/y", "deep"},
		{true, "/srv/a/b/config", ""},
		{true, "/core", "deep"},
		{true, "/a/b/core/x", "deep"},
		{true, "/srv/a/core", "deep"},
		{false, "/srv/conf", ""},
		{false, "/a*", "odd"},
		{false, "/ab", ""},
		{true, "/new\nline/x", "odd"},
		{false, "/\xff\xfe/\xfd", "odd"},
		{false, "/sp ace/z", "odd"},
		{false, "/sp ace/b", ""},
		{false, "/sp ace/\xe9/x", "odd"},
	} {
		if got := s.namesOf(row.container, row.path); got != row.want {
			t.Errorf("Match(%v, %q) = %q, want %q", row.container, row.path, got, row.want)
		}
	}
}

func TestExcludedNamesAreOnlyThoseBelowTheSet(t *testing.T) {
	t.Parallel()
	s := setsOf(t, WatchConfig{Name: "site", Paths: []string{"/srv/cache/site"}, Exclude: []string{"cache"}})
	for path, want := range map[string]string{"/srv/cache/site/a": "site", "/srv/cache/site/cache/a": "", "/srv/cache/site": "site"} {
		if got := s.namesOf(false, path); got != want {
			t.Errorf("%q is of %q, want %q", path, got, want)
		}
	}
}

func TestRestIsWhatNoOtherSetHasOrExcludes(t *testing.T) {
	t.Parallel()
	s := setsOf(t,
		WatchConfig{Name: "rest", Paths: []string{"/etc"}, Rest: true},
		WatchConfig{Name: "ssh", Paths: []string{"/etc/ssh"}, Exclude: []string{"*~"}},
		WatchConfig{Name: "keys", Paths: []string{"/etc/ssh", "/etc/pki"}, Include: []string{"*.key"}},
	)
	for path, want := range map[string]string{
		"/etc/hosts": "rest", "/etc/ssh/config": "ssh", "/etc/ssh/config~": "", "/etc/ssh/a.key": "ssh keys",
		"/etc/pki/a.key": "keys", "/etc/pki/a.pem": "rest",
	} {
		if got := s.namesOf(false, path); got != want {
			t.Errorf("%q is of %q, want %q", path, got, want)
		}
	}
}

func TestRootsAreWhereWalksBegin(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		paths, want []string
	}{
		{[]string{"/etc/ssh", "/etc", "/etc/passwd", "/etcetera"}, []string{"/etc", "/etcetera"}},
		{[]string{"/home/*/.ssh", "/root/.ssh/"}, []string{"/home", "/root/.ssh"}},
		{[]string{"/usr/lib/[a-z]*/x", "/usr/lib/**/y", `/usr/li\b/x`}, []string{"/usr/lib"}},
		{[]string{"/srv/a-b", "/srv/a", "/srv/a/b"}, []string{"/srv/a", "/srv/a-b"}},
		{[]string{"/etc", "**/core"}, []string{"/"}},
		{[]string{"/"}, []string{"/"}},
		{[]string{"/x/**"}, []string{"/x"}},
	} {
		s := setsOf(t, WatchConfig{Name: "a", Paths: row.paths})
		if diff := cmp.Diff(row.want, s.Roots(false)); diff != "" {
			t.Errorf("roots of %q (-want +got):\n%s", row.paths, diff)
		}
		if roots := s.Roots(true); len(roots) != 0 {
			t.Errorf("roots of %q in containers: %q", row.paths, roots)
		}
	}
}

func TestWalksEnterOnlyWhatMayMatch(t *testing.T) {
	t.Parallel()
	flat := false
	s := setsOf(t,
		WatchConfig{Name: "ssh", Paths: []string{"/home/*/.ssh"}, Exclude: []string{"sockets", "/home/guest"}},
		WatchConfig{Name: "flat", Paths: []string{"/opt"}, Recursive: &flat},
		WatchConfig{Name: "deep", Paths: []string{"/srv/**/conf"}, Exclude: []string{"/srv/cache"}},
		WatchConfig{Name: "file", Paths: []string{"/etc/a/b"}},
	)
	for dir, want := range map[string]bool{
		"/": true, "/home": true, "/home/me": true, "/home/me/.ssh": true, "/home/me/.ssh/x": true, "/home/me/src": false,
		"/home/me/.ssh/sockets": false, "/home/me/.ssh/x/sockets/y": false, "/home/guest": false, "/home/guest/.ssh": false,
		"/opt": true, "/opt/x": false, "/srv": true, "/srv/a/b": true, "/srv/cache": false, "/srv/cache/x": false, "/srv/conf/x": true,
		"/etc": true, "/etc/a": true, "/etc/b": false, "/etc/a/b/c": true, "/usr": false,
	} {
		if got := s.MayContain(false, dir); got != want {
			t.Errorf("MayContain(%q) = %v, want %v", dir, got, want)
		}
	}
}

func TestSetHasWhatItsConfigurationSays(t *testing.T) {
	t.Parallel()
	s := setsOf(t,
		WatchConfig{Name: "all", Paths: []string{"/a"}},
		WatchConfig{Name: "some", Doc: "Some.", Paths: []string{"/b"}, Of: "both", Kinds: []string{"deleted", "mode", "content"},
			Attributes: []string{"content", "mode"}, Severity: "critical", Diff: true, MaxSize: 1 << 20, Content: "shorter"},
	)
	want := []Watch{
		{Name: "all", Host: true, Kinds: 1<<len(Kinds) - 1, Attributes: Everything, Severity: event.Warning},
		{Name: "some", Doc: "Some.", Host: true, Containers: true, Kinds: 1<<Deleted | 1<<ModeChanged | 1<<ContentChanged,
			Attributes: Content | Mode, Severity: event.Critical, Diff: true, MaxSize: 1 << 20, content: shorterContent},
	}
	if s.Len() != len(want) {
		t.Fatalf("%d sets, want %d", s.Len(), len(want))
	}
	for i := range want {
		if diff := cmp.Diff(&want[i], s.Set(i), cmp.AllowUnexported(Watch{})); diff != "" {
			t.Errorf("set %d (-want +got):\n%s", i, diff)
		}
	}
	if !s.Set(1).Kinds.Has(ModeChanged) || s.Set(1).Kinds.Has(Created) {
		t.Errorf("kinds of %s are %b", s.Set(1).Name, s.Set(1).Kinds)
	}
	s, err := NewSets(Config{Watches: []WatchConfig{{Name: "a", Paths: []string{"/a"}}}, Scan: ScanConfig{MaxFileSize: 7}}, nil)
	if err != nil || s.Set(0).MaxSize != 7 {
		t.Errorf("a set without max_size has %d (%v), want scan.max_file_size", s.Set(0).MaxSize, err)
	}
}

func TestContentThatCounts(t *testing.T) {
	t.Parallel()
	file := func(size int64) *Record { return &Record{Size: size} }
	link := &Record{Mode: fs.ModeSymlink | 0o777, Size: 9, Target: "/dev/null"}
	for _, row := range []struct {
		content       string
		before, after *Record
		want          bool
	}{
		{"", file(5), file(5), true}, {"any", file(5), file(9), true},
		{"shorter", file(5), file(9), false}, {"shorter", file(5), file(5), false}, {"shorter", file(5), file(4), true}, {"shorter", file(5), link, true},
		{"emptied", file(5), file(4), false}, {"emptied", file(5), file(0), true}, {"emptied", file(0), file(0), false}, {"emptied", file(5), link, true},
	} {
		w := setsOf(t, WatchConfig{Name: "a", Paths: []string{"/a"}, Content: row.content}).Set(0)
		if got := w.ContentCounts(row.before, row.after); got != row.want {
			t.Errorf("content %q: from %d to %d bytes counts: %v, want %v", row.content, row.before.Size, row.after.Size, got, row.want)
		}
		if got, want := w.ReadsContent(), row.content == "" || row.content == "any"; got != want {
			t.Errorf("content %q is read: %v, want %v", row.content, got, want)
		}
	}
	w := setsOf(t, WatchConfig{Name: "a", Paths: []string{"/a"}, Attributes: []string{"mode"}}).Set(0)
	if w.ReadsContent() || w.ContentCounts(file(1), file(2)) {
		t.Error("content counts that is not looked at")
	}
}

func TestAllYieldsIndicesInOrder(t *testing.T) {
	t.Parallel()
	if got := slices.Collect(Watches(1<<63 | 1<<5 | 1).All()); !slices.Equal(got, []int{0, 5, 63}) {
		t.Errorf("indices are %v", got)
	}
	for range Watches(math.MaxUint64).All() {
		break
	}
}

func TestConfiguredSetsReplaceShippedOnes(t *testing.T) {
	t.Parallel()
	s, err := NewSets(Config{Defaults: true, Without: []string{"web"}, Watches: []WatchConfig{
		{Name: "cron", Paths: []string{"/my/cron"}}, {Name: "mine", Paths: []string{"/srv/mine"}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/my/cron/x": "cron", "/var/spool/cron/root": "", "/srv/mine": "mine", "/var/www/x.php": "", "/etc/passwd": "accounts"} {
		if got := s.namesOf(false, path); got != want {
			t.Errorf("%q is of %q, want %q", path, got, want)
		}
	}
	if want := len(Shipped()); s.Len() != want {
		t.Errorf("%d sets, want %d", s.Len(), want)
	}
}

func TestLinksOfTheHostAreFollowed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{"usr/lib/modules", "run", "data/www", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"lib": "usr/lib", "var": "/data", "etc/localtime": "/usr/lib/zone", "up": "../../../..", "loop": "loop", "etc/run": "/run"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	resolve := Resolver(root)
	if resolve("/lib") == "/lib" {
		t.Skip("needs 5.6: openat2")
	}
	for path, want := range map[string]string{
		"/": "/", "/etc": "/etc", "/lib": "/usr/lib", "/lib/modules": "/usr/lib/modules", "/lib/none/x": "/usr/lib/none/x", "/var/www": "/data/www",
		"/etc/localtime": "/etc/localtime", "/up": "/", "/loop/x": "/loop/x", "/none": "/none", "/etc/run/x": "/run/x",
	} {
		if got := resolve(path); got != want {
			t.Errorf("%s leads to %s, want %s", path, got, want)
		}
	}
	c := Config{Watches: []WatchConfig{{Name: "a", Of: "both", Paths: []string{"/lib/modules/*/x", "/var/www", "/up/top", "/up/**/deep"}, Exclude: []string{"/var/www/cache"}}},
		Actors: []ActorConfig{{Name: "me", Exe: []string{"/lib/me"}}}}
	s, err := NewSets(c, resolve)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/lib/modules/6/x": "a", "/usr/lib/modules/6/x": "a", "/data/www/x": "a", "/data/www/cache/x": "", "/top": "a", "/q/deep": "a"} {
		if got := s.namesOf(false, path); got != want {
			t.Errorf("%q is of %q, want %q", path, got, want)
		}
	}
	if got := s.namesOf(true, "/usr/lib/modules/6/x"); got != "" {
		t.Errorf("links of the host are followed in containers: %q", got)
	}
	if _, ok := s.Actor(Doer{Exe: "/usr/lib/me"}, 0); !ok {
		t.Error("an actor's program is not followed")
	}
	if got := Resolver(filepath.Join(root, "none"))("/lib"); got != "/lib" {
		t.Errorf("without a root /lib leads to %s", got)
	}
}

func TestMaintenanceKeepsToTheClockOnTheWall(t *testing.T) {
	t.Parallel()
	windows := []MaintenanceConfig{
		{Name: "night", From: "22:00", To: "04:00", Days: []string{"sat"}, Timezone: "Europe/Berlin", Watches: []string{"a"}},
		{Name: "gap", From: "02:00", To: "03:00", Days: []string{"sun"}, Timezone: "Europe/Berlin", Watches: []string{"b"}},
		{Name: "all-day", From: "00:00", To: "24:00", Days: []string{"wed"}, Watches: []string{"a"}},
		{Name: "midnight", From: "00:00", To: "00:30", Days: []string{"sun"}, Timezone: "America/Sao_Paulo", Watches: []string{"c"}},
		{Name: "half", From: "02:10", To: "02:40", Timezone: "Australia/Lord_Howe", Watches: []string{"d"}},
		{Name: "daily", From: "12:00", To: "12:01", Watches: []string{"e"}},
	}
	c := Config{Maintenance: windows}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		c.Watches = append(c.Watches, WatchConfig{Name: name, Paths: []string{"/" + name}})
	}
	s, err := NewSets(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		utc, watch, want string
	}{
		// Saturday night in Berlin, in winter an hour before UTC and in summer two.
		{"2026-01-10 20:59", "a", ""}, {"2026-01-10 21:00", "a", "night"}, {"2026-01-11 02:59", "a", "night"}, {"2026-01-11 03:00", "a", ""},
		{"2026-07-11 19:59", "a", ""}, {"2026-07-11 20:00", "a", "night"}, {"2026-07-12 01:59", "a", "night"}, {"2026-07-12 02:00", "a", ""},
		{"2026-01-09 22:00", "a", ""}, {"2026-01-11 22:00", "a", ""}, {"2026-01-10 01:00", "a", ""},
		// On 29 March 02:00 is left out; on 25 October it comes twice.
		{"2026-03-28 21:00", "a", "night"}, {"2026-03-29 01:59", "a", "night"}, {"2026-03-29 02:00", "a", ""},
		{"2026-10-24 20:00", "a", "night"}, {"2026-10-25 02:59", "a", "night"}, {"2026-10-25 03:00", "a", ""},
		{"2026-03-22 00:59", "b", ""}, {"2026-03-22 01:00", "b", "gap"}, {"2026-03-22 02:00", "b", ""},
		{"2026-03-29 00:59", "b", ""}, {"2026-03-29 01:00", "b", "gap"}, {"2026-03-29 01:59", "b", "gap"}, {"2026-03-29 02:00", "b", ""},
		{"2026-10-24 23:59", "b", ""}, {"2026-10-25 00:00", "b", "gap"}, {"2026-10-25 01:59", "b", "gap"}, {"2026-10-25 02:00", "b", ""},
		{"2026-01-14 00:00", "a", "all-day"}, {"2026-01-14 23:59", "a", "all-day"}, {"2026-01-15 00:00", "a", ""}, {"2026-01-13 23:59", "a", ""},
		{"2026-01-14 12:00", "b", ""},
		// In São Paulo 4 November 2018 began at 01:00.
		{"2018-11-11 02:00", "c", "midnight"}, {"2018-11-11 02:30", "c", ""}, {"2018-11-04 02:59", "c", ""}, {"2018-11-04 03:00", "c", "midnight"},
		{"2018-11-04 03:29", "c", "midnight"}, {"2018-11-04 03:30", "c", ""},
		// On Lord Howe half an hour is left out: 4 October 2026 goes from 02:00 on to 02:30.
		{"2026-10-03 15:29", "d", ""}, {"2026-10-03 15:30", "d", "half"}, {"2026-10-03 15:59", "d", "half"}, {"2026-10-03 16:00", "d", ""},
		{"2026-10-04 15:09", "d", ""}, {"2026-10-04 15:10", "d", "half"}, {"2026-10-04 15:40", "d", ""},
		{"2026-01-14 12:00", "e", "daily"}, {"2026-01-15 12:00", "e", "daily"}, {"2026-01-15 12:01", "e", ""},
	} {
		at, err := time.Parse("2006-01-02 15:04", row.utc)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.watches, func(w Watch) bool { return w.Name == row.watch })
		if got, ok := s.InMaintenance(at, i); got != row.want || ok != (row.want != "") {
			t.Errorf("at %s a change of %s is in window %q, want %q", row.utc, row.watch, got, row.want)
		}
	}
}

func TestAWindowOfAnHourLeftOutComesAfterIt(t *testing.T) {
	t.Parallel()
	w, err := MaintenanceConfig{Name: "gap", From: "02:15", To: "02:45", Days: []string{"sun"}, Timezone: "Europe/Berlin"}.window()
	if err != nil {
		t.Fatal(err)
	}
	for utc, want := range map[string]bool{
		"2026-03-22 01:15": true, "2026-03-22 01:45": false,
		"2026-03-29 00:59": false, "2026-03-29 01:00": true, "2026-03-29 01:29": true, "2026-03-29 01:30": false,
		"2026-10-25 00:15": true, "2026-10-25 00:45": false, "2026-10-25 01:15": true, "2026-10-25 01:45": false,
	} {
		at, err := time.Parse("2006-01-02 15:04", utc)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.contains(at); got != want {
			t.Errorf("at %s: %v, want %v", utc, got, want)
		}
	}
}

func TestActor(t *testing.T) {
	t.Parallel()
	c := Config{
		Watches: []WatchConfig{{Name: "a", Paths: []string{"/a"}}, {Name: "b", Paths: []string{"/b"}}},
		Actors: []ActorConfig{
			{Name: "puppet", Exe: []string{"/opt/puppet/bin/*", "/opt/agents/**"}, Users: []string{"root"}, Watches: []string{"a"}},
			{Name: "deploy", Users: []string{"deploy", "1001"}},
			{Name: "entrypoint", Exe: []string{"/entrypoint.sh"}, Of: "containers"},
		},
	}
	s, err := NewSets(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		doer  Doer
		watch int
		want  string
	}{
		{Doer{Exe: "/opt/puppet/bin/agent", User: "root"}, 0, "puppet"},
		{Doer{Exe: "/opt/agents/1/bin/x", User: "root"}, 0, "puppet"},
		{Doer{Exe: "/opt/puppet/bin/agent", User: "root"}, 1, ""},
		{Doer{Exe: "/opt/puppet/bin/agent", User: "me"}, 0, ""},
		{Doer{Exe: "/opt/puppet/bin/agent/x", User: "root"}, 0, ""},
		{Doer{Exe: "/opt/puppet/bin", User: "root"}, 0, ""},
		{Doer{Exe: "/opt/puppet/bin/agent", User: "root", Container: true}, 0, ""},
		{Doer{Exe: "/bin/sh", User: "deploy", UID: 7}, 1, "deploy"},
		{Doer{Exe: "/bin/sh", UID: 1001}, 0, "deploy"},
		{Doer{Exe: "", UID: 1002}, 0, ""},
		{Doer{Exe: "/entrypoint.sh", Container: true}, 0, "entrypoint"},
		{Doer{Exe: "/entrypoint.sh"}, 0, ""},
	} {
		if got, ok := s.Actor(row.doer, row.watch); got != row.want || ok != (row.want != "") {
			t.Errorf("Actor(%+v, %d) = %q, %v, want %q", row.doer, row.watch, got, ok, row.want)
		}
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig.Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	watch := func(change func(w *WatchConfig)) func(*Config) {
		return func(c *Config) {
			w := WatchConfig{Name: "etc", Paths: []string{"/etc"}}
			change(&w)
			c.Watches = append(c.Watches, w)
		}
	}
	window := func(change func(m *MaintenanceConfig)) func(*Config) {
		return func(c *Config) {
			m := MaintenanceConfig{Name: "night", From: "22:00", To: "04:00"}
			change(&m)
			c.Maintenance = append(c.Maintenance, m)
		}
	}
	actor := func(change func(a *ActorConfig)) func(*Config) {
		return func(c *Config) {
			a := ActorConfig{Name: "me", Exe: []string{"/bin/me"}}
			change(&a)
			c.Actors = append(c.Actors, a)
		}
	}
	for _, row := range []struct {
		want   string
		change func(*Config)
	}{
		{`fim.store: "fim.db": want an absolute path`, func(c *Config) { c.Store = "fim.db" }},
		{"fim.scan.interval: 1s: want 0s, or 1m0s and more", func(c *Config) { c.Scan.Interval = time.Second }},
		{"fim.scan.interval: -1h0m0s: want", func(c *Config) { c.Scan.Interval = -time.Hour }},
		{"fim.scan.rate_files: -1: want 0 to 1000000", func(c *Config) { c.Scan.RateFiles = -1 }},
		{"fim.scan.rate_bytes: -1B: want 0B or more", func(c *Config) { c.Scan.RateBytes = -1 }},
		{"fim.scan.max_file_size: 0B: want more than 0B", func(c *Config) { c.Scan.MaxFileSize = 0 }},
		{`fim.without: "wbe": want the name of a shipped set`, func(c *Config) { c.Without = []string{"wbe"} }},
		{`fim.without: "web": want the name of a shipped set`, func(c *Config) { c.Defaults, c.Without = false, []string{"web"} }},
		{`fim.watches: entry 1: name: "": want 1 to 64 letters`, watch(func(w *WatchConfig) { w.Name = "" })},
		{`fim.watches: entry 1: name: "a b": want`, watch(func(w *WatchConfig) { w.Name = "a b" })},
		{"fim.watches.etc: there are two of this name", func(c *Config) { watch(func(*WatchConfig) {})(c); watch(func(*WatchConfig) {})(c) }},
		{fmt.Sprintf("fim.watches: 65 sets, %d of them shipped: want at most 64", len(Shipped())), func(c *Config) {
			for i := range 65 - len(Shipped()) {
				watch(func(w *WatchConfig) { w.Name = fmt.Sprint("etc", i) })(c)
			}
		}},
		{"fim.watches.etc.paths: none given: want at least one", watch(func(w *WatchConfig) { w.Paths = nil })},
		{`fim.watches.etc.paths: "etc": want a path that begins with /`, watch(func(w *WatchConfig) { w.Paths[0] = "etc" })},
		{`fim.watches.etc.paths: "": want a path`, watch(func(w *WatchConfig) { w.Paths[0] = "" })},
		{`fim.watches.etc.exclude: "": want a path`, watch(func(w *WatchConfig) { w.Exclude = []string{""} })},
		{`fim.watches.etc.exclude: "a/b": want a path`, watch(func(w *WatchConfig) { w.Exclude = []string{"a/b"} })},
		{`fim.watches.etc.exclude: "[a": [ without its ]`, watch(func(w *WatchConfig) { w.Exclude = []string{"[a"} })},
		{`fim.watches.etc.include: "**": want ** to be all between two slashes`, watch(func(w *WatchConfig) { w.Include = []string{"**"} })},
		{"fim.watches.etc.include: 1001 given: want at most 1000", watch(func(w *WatchConfig) { w.Include = slices.Repeat([]string{"a"}, 1001) })},
		{`fim.watches.etc.exclude: "/etc" of paths is excluded as a whole`, watch(func(w *WatchConfig) { w.Exclude = []string{"/**/e*"} })},
		{`fim.watches.etc.exclude: "/etc" of paths is excluded as a whole`, watch(func(w *WatchConfig) { w.Of, w.Exclude = "containers", []string{"etc"} })},
		{`fim.watches.etc.of: "hosts": want host, containers or both`, watch(func(w *WatchConfig) { w.Of = "hosts" })},
		{`fim.watches.etc.kinds: "chmod": want created, deleted, renamed, content, `, watch(func(w *WatchConfig) { w.Kinds = []string{"chmod"} })},
		{`fim.watches.etc.attributes: "size": want content, mode, `, watch(func(w *WatchConfig) { w.Attributes = []string{"size"} })},
		{`fim.watches.etc.kinds: "mode": want it among attributes, too`, watch(func(w *WatchConfig) { w.Kinds, w.Attributes = []string{"mode"}, []string{"owner"} })},
		{`fim.watches.etc.content: "less": want any, shorter or emptied`, watch(func(w *WatchConfig) { w.Content = "less" })},
		{`fim.watches.etc.severity: "high": want one of emergency, alert, critical`, watch(func(w *WatchConfig) { w.Severity = "high" })},
		{"fim.watches.etc.max_size: -1B: want 0B or more", watch(func(w *WatchConfig) { w.MaxSize = -1 })},
		{`fim.maintenance: entry 1: name: "": want`, window(func(m *MaintenanceConfig) { m.Name = "" })},
		{`fim.maintenance.night.days: "monday": want sun, mon, `, window(func(m *MaintenanceConfig) { m.Days = []string{"monday"} })},
		{`fim.maintenance.night.from: "24:00": want a time such as "22:00"`, window(func(m *MaintenanceConfig) { m.From = "24:00" })},
		{`fim.maintenance.night.from: "2:00": want`, window(func(m *MaintenanceConfig) { m.From = "2:00" })},
		{`fim.maintenance.night.to: "": want a time`, window(func(m *MaintenanceConfig) { m.To = "" })},
		{`fim.maintenance.night.to: "22:60": want a time`, window(func(m *MaintenanceConfig) { m.To = "22:60" })},
		{`fim.maintenance.night.to: "22:00": want another time than from`, window(func(m *MaintenanceConfig) { m.To = "22:00" })},
		{`fim.maintenance.night.timezone: "Mars/Olympus": want a name of the time zone database`, window(func(m *MaintenanceConfig) { m.Timezone = "Mars/Olympus" })},
		{`fim.maintenance.night.watches: "etc": want the name of a watch set`, window(func(m *MaintenanceConfig) { m.Watches = []string{"etc"} })},
		{"fim.maintenance: 101 windows: want at most 100", func(c *Config) { c.Maintenance = make([]MaintenanceConfig, 101) }},
		{`fim.actors: entry 1: name: "-": want`, actor(func(a *ActorConfig) { a.Name = "-" })},
		{"fim.actors.me.exe: none given: want exe or users", actor(func(a *ActorConfig) { a.Exe = nil })},
		{`fim.actors.me.exe: "me": want a path that begins with /`, actor(func(a *ActorConfig) { a.Exe[0] = "me" })},
		{`fim.actors.me.users: "": want a name or a number`, actor(func(a *ActorConfig) { a.Users = []string{""} })},
		{`fim.actors.me.of: "all": want host`, actor(func(a *ActorConfig) { a.Of = "all" })},
		{`fim.actors.me.watches: "etc": want the name of a watch set`, actor(func(a *ActorConfig) { a.Watches = []string{"etc"} })},
		{"fim.actors: 68 actors: want at most 64", func(c *Config) { c.Actors = make([]ActorConfig, 64) }},
	} {
		c := DefaultConfig
		row.change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("error %v, want %q", err, row.want)
		}
	}
}

// Paths as they come, watched and not.
var paths = []string{"/tmp/go-build123/b001/exe/a.out", "/proc/1234/status", "/var/lib/docker/overlay2/0123456789abcdef/diff/usr/bin/env", "/usr/bin/env",
	"/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "/etc/passwd", "/etc/nginx/sites-enabled/default", "/home/somebody/src/project/internal/file.go",
	"/home/somebody/.ssh/authorized_keys", "/var/www/html/wp-content/uploads/2026/11/shell.php", "/var/log/journal/0123456789abcdef/system.journal"}

func TestMatchDoesNotAllocate(t *testing.T) {
	s, err := NewSets(DefaultConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, "/", "relative", "/"+strings.Repeat("a/", 2000)+"a") {
		if n := testing.AllocsPerRun(100, func() { s.Match(false, path); s.Match(true, path); s.MayContain(false, path) }); n != 0 {
			t.Errorf("%.40q costs %v allocations", path, n)
		}
	}
	all := 0
	if n := testing.AllocsPerRun(100, func() {
		for i := range s.Match(false, "/etc/passwd").All() {
			all += i
		}
	}); n != 0 {
		t.Errorf("indices cost %v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	s, err := NewSets(DefaultConfig, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range paths {
		b.Run(strings.ReplaceAll(path, "/", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Match(false, path)
			}
		})
	}
}
