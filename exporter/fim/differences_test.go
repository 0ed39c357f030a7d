package fim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func TestShown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, want string }{
		{"/etc/motd", "/etc/motd"},
		{"/a b", "/a b"},
		{"/é", "/é"},
		{"/a ", `"/a "`},
		{"/a\nb", `"/a\nb"`},
		{"/a\xffb", `"/a\xffb"`},
		{"/a\x1b[31mb", `"/a\x1b[31mb"`},
		{"/a\u202eb", `"/a\u202eb"`}, // which has what follows read from right to left
		{`/"a"`, `"/\"a\""`},
		{`/a\nb`, `"/a\\nb"`},
		{"", `""`},
	} {
		if got := shown(test.name); got != test.want {
			t.Errorf("shown(%q) = %s: want %s", test.name, got, test.want)
		}
	}
}

// FuzzShown has every name be one line that means that name alone.
func FuzzShown(f *testing.F) {
	f.Add("/etc/motd")
	f.Add("/a\xff\n\u202e")
	f.Fuzz(func(t *testing.T, name string) {
		got := shown(name)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
			t.Errorf("shown(%q) = %q: want one line that can be printed", name, got)
		}
		if back, err := strconv.Unquote(got); got != name && (err != nil || back != name) {
			t.Errorf("shown(%q) = %q, which means %q, %v", name, got, back, err)
		}
	})
}

func TestShownValue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, want string }{
		{"text", "so it is", `"so it is"`},
		{"bytes", "\x01\x00\x00\x02", "0x01000002"},
		{"a sum", summedValue + strings.Repeat("\xab", 32), "sha256:" + strings.Repeat("ab", 32)},
		{"long", strings.Repeat("x", 300), `"` + strings.Repeat("x", 256) + `" and so on, 300 bytes`},
		{"empty", "", `""`},
	} {
		if got := shownValue(test.value); got != test.want {
			t.Errorf("%s: %s: want %s", test.name, got, test.want)
		}
	}
}

func changedSets(t *testing.T) *Sets {
	t.Helper()
	sets, err := NewSets(Config{Scan: DefaultConfig.Scan, Watches: []WatchConfig{
		{Name: "all", Paths: []string{"/all"}, Severity: "critical", Of: "both"},
		{Name: "log", Paths: []string{"/log"}, Content: "emptied", Severity: "notice"},
		{Name: "kept", Paths: []string{"/kept", "/all/kept"}, Kinds: []string{"deleted"}, Severity: "alert"},
	}}, nil)
	must(t, err)
	return sets
}

func TestDeviationOf(t *testing.T) {
	t.Parallel()
	sets := changedSets(t)
	with := func(change func(r *Record)) *Record {
		r := *record(1)
		change(&r)
		return &r
	}
	longer, emptied := with(func(r *Record) { r.Size, r.Sum = 100, [32]byte{9} }), with(func(r *Record) { r.Size, r.Sum = 0, [32]byte{8} })
	for _, test := range []struct {
		name    string
		e       Entry
		kinds   string
		watches string
	}{
		{"the same", Entry{Path{"", "/all/a"}, record(1), record(1)}, "", ""},
		{"nothing", Entry{Path{"", "/all/a"}, nil, nil}, "", ""},
		{"content", Entry{Path{"", "/all/a"}, record(1), record(2)}, "content", "all"},
		{"content of a container", Entry{Path{"c", "/all/a"}, record(1), record(2)}, "content", "all"},
		{"made", Entry{Path{"", "/all/a"}, nil, record(2)}, "created", "all"},
		{"gone", Entry{Path{"", "/all/a"}, record(2), nil}, "deleted", "all"},
		{"gone, to two sets", Entry{Path{"", "/all/kept"}, record(2), nil}, "deleted", "all kept"},
		{"content, to one of two", Entry{Path{"", "/all/kept"}, record(1), record(2)}, "content", "all"},
		{"another owner and mode", Entry{Path{"", "/all/a"}, record(1), with(func(r *Record) { r.UID, r.Mode = 5, 0o600 })}, "mode owner", "all"},
		{"times alone", Entry{Path{"", "/all/a"}, record(1), with(func(r *Record) { r.Modified, r.Changed, r.Inode = 1, 1, 1 })}, "", ""},
		{"fresh alone", Entry{Path{"", "/all/a"}, record(1), with(func(r *Record) { r.Flags |= Fresh })}, "", ""},
		{"a log that grows", Entry{Path{"", "/log/a"}, record(1), longer}, "", ""},
		{"a log that is emptied", Entry{Path{"", "/log/a"}, record(1), emptied}, "content", "log"},
		{"what counts only if it goes, changed", Entry{Path{"", "/kept"}, record(1), record(2)}, "", ""},
		{"what counts only if it goes, gone", Entry{Path{"", "/kept"}, record(1), nil}, "deleted", "kept"},
		{"what nobody watches any more", Entry{Path{"", "/other"}, record(1), record(2)}, "content", ""},
	} {
		d, ok := deviationOf(sets, &test.e, "")
		w := newDeviationWriter(nil, false, sets)
		if kinds, watches := strings.Join(d.Kinds.Names(), " "), strings.Join(w.sets.Names(d.Watches), " "); kinds != test.kinds || watches != test.watches || ok != (kinds != "") {
			t.Errorf("%s: %q of %q, %v: want %q of %q", test.name, kinds, watches, ok, test.kinds, test.watches)
		}
	}
}

func TestDeviationsAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	sets := changedSets(t)
	was, is := *record(1), *record(2)
	was.Attributes = map[string]string{"security.capability": "\x01\x00\x00\x02", "user.same": "x", "user.gone": "y"}
	is.Attributes = map[string]string{"security.capability": "\x01\x00\x00\x03", "user.same": "x", "user.new\n": "z"}
	is.Mode, is.UID, is.Flags, is.Modified, is.Links = 0o755|fs.ModeSetuid, 1000, unix.STATX_ATTR_IMMUTABLE|Fresh, was.Modified, 2
	is.Summed, is.Unreadable = false, "permission denied"
	var out bytes.Buffer
	w := newDeviationWriter(&out, false, sets)
	for _, e := range []Entry{
		{Path{"", "/all/a"}, &was, &is},
		{Path{"c1", "/all/dir"}, &Record{Mode: fs.ModeDir | 0o755, Flags: Fresh}, nil},
		{Path{"", "/all/d"}, &Record{Mode: fs.ModeDevice | 0o600, Target: "8:1", Links: 1, Modified: 1e9}, &Record{Mode: fs.ModeSymlink | 0o777, Target: "\x1b", Links: 1, Modified: 1e9}},
		{Path{"", "/other"}, nil, &Record{Mode: fs.ModeNamedPipe | 0o600, Links: 1, Modified: 1e9}},
	} {
		d, ok := deviationOf(sets, &e, "")
		if !ok {
			t.Errorf("%v: want a deviation", e.Path)
		}
		must(t, w.write(&d))
	}
	must(t, w.out.Flush())
	const want = `changed /all/a
  watch     all, Critical
  mode      0644 -> 4755
  owner     0:0 -> 1000:0
  size      1 bytes -> 2 bytes
  sha256    0100000000000000000000000000000000000000000000000000000000000000
            -> none
  links     1 -> 2
  xattr security.capability 0x01000002 -> 0x01000003
  xattr user.gone "y" -> none
  flags     none -> immutable
  xattr "user.new\n" none -> "z"
  unread    none -> permission denied

deleted /all/dir of container c1
  watch     all, Critical
  was       directory 0755 0:0

changed /all/d
  watch     all, Critical
  type      device -> symlink
  mode      0600 -> 0777
  target    8:1 -> "\x1b"

created /other
  watch     none any more
  is        fifo 0600 0:0
  links     1
  modified  1970-01-01T00:00:01Z

`
	if out.String() != want {
		t.Errorf("written:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestDeviationsAreWrittenAsJSON that can be read back, of paths of any bytes.
func TestDeviationsAreWrittenAsJSON(t *testing.T) {
	t.Parallel()
	sets := changedSets(t)
	was := *record(1)
	was.Flags |= Fresh
	var out bytes.Buffer
	w := newDeviationWriter(&out, true, sets)
	for _, e := range []Entry{{Path{"", "/all/a"}, &was, record(2)}, {Path{"c1", "/all/\xff"}, nil, record(2)}, {Path{"", "/gone"}, &was, nil}} {
		d, _ := deviationOf(sets, &e, "")
		must(t, w.write(&d))
	}
	must(t, w.out.Flush())
	type part struct {
		Mode, SHA256 string
		Size         int64
		Flags        *uint32
		Path         any
	}
	type row struct {
		Path      any
		Container string
		Kinds     []string
		Watches   []string
		Severity  string
		Was, Is   *part
	}
	var rows []row
	for d := json.NewDecoder(&out); d.More(); {
		var r row
		must(t, d.Decode(&r))
		rows = append(rows, r)
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows: want 3", len(rows))
	}
	if r := rows[0]; r.Path != "/all/a" || r.Severity != "Critical" || r.Was.Size != 1 || r.Is.Size != 2 || r.Was.Flags != nil || r.Was.Path != nil ||
		r.Is.SHA256 != "02"+strings.Repeat("00", 31) {
		t.Errorf("a change: %+v, %+v, %+v", r, r.Was, r.Is)
	}
	if r := rows[1]; r.Path.(map[string]any)["base64"] != base64.StdEncoding.EncodeToString([]byte("/all/\xff")) || r.Container != "c1" || r.Was != nil || r.Is == nil {
		t.Errorf("a creation: %+v", r)
	}
	if r := rows[2]; r.Severity != "" || len(r.Watches) != 0 || r.Is != nil || r.Kinds[0] != "deleted" {
		t.Errorf("what nobody watches: %+v", r)
	}
}

func TestStatusIsWrittenOfEachBaseline(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	s := statusLine{Path: "/fim.db", Size: 100, Baselines: []baselineLine{
		{Meta: Meta{Created: at, Completed: at, Scanned: at, Origin: "/ of h\x1b"}, Files: 3, Differs: 1},
		{Container: "c1", Meta: Meta{Created: at}, Files: 2}}}
	var out bytes.Buffer
	must(t, s.write(&out, false))
	const want = `/fim.db: 100 bytes
the host: 3 files, 1 differ
  created   2026-01-02T03:04:05Z
  completed 2026-01-02T03:04:05Z
  scanned   2026-01-02T03:04:05Z
  import of "/ of h\x1b"
container "c1": 2 files, 0 differ
  created   2026-01-02T03:04:05Z
  completed not yet
  scanned   not yet
`
	if out.String() != want {
		t.Errorf("written:\n%s\nwant:\n%s", out.String(), want)
	}
	out.Reset()
	s.Path = "/\xff"
	must(t, s.write(&out, true))
	if !strings.HasPrefix(out.String(), `{"path":{"base64":"L/8="},"size":100,`) {
		t.Errorf("of a store whose path is no UTF-8: %s", out.String())
	}
}
