package fim

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// operated is an operator for a tree of its own, whose paths are as if the tree were all there is.
type operated struct {
	*operator
	tree       string
	out, notes bytes.Buffer
}

func operate(t *testing.T, watches ...WatchConfig) *operated {
	t.Helper()
	o := &operated{tree: t.TempDir()}
	if len(watches) == 0 {
		watches = []WatchConfig{{Name: "etc", Paths: []string{"/etc"}}}
	}
	config := Config{Scan: DefaultConfig.Scan, Watches: watches}
	sets, err := NewSets(config, Resolver(o.tree))
	must(t, err)
	o.operator = newOperator(newStore(t), config, sets, o.tree)
	o.operator.out, o.operator.notes = &o.out, &o.notes
	return o
}

func (o *operated) file(t *testing.T, name, content string) {
	t.Helper()
	write(t, filepath.Join(o.tree, name), content)
}

// does a job, and returns what is written by it.
func (o *operated) does(t *testing.T, j job) (out, notes string, err error) {
	t.Helper()
	o.out.Reset()
	o.notes.Reset()
	err = o.do(t.Context(), &j)
	return o.out.String(), o.notes.String(), err
}

// heads are the first lines of what diff writes.
func heads(out string) (all []string) {
	for line := range strings.Lines(out) {
		if line != "\n" && line[0] != ' ' {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func TestPlacesAreWherePathsReallyAre(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.file(t, "usr/bin/tool", "")
	must(t, os.Symlink("usr/bin", filepath.Join(o.tree, "bin")))
	must(t, os.Symlink("tool", filepath.Join(o.tree, "usr/bin/link")))
	must(t, o.store.Put([]Entry{settled("c1", "/x", 1)}))
	for _, test := range []struct {
		name string
		j    job
		want []Path
	}{
		{"everything", job{}, []Path{{"", "/"}, {"c1", "/"}}},
		{"a container", job{Container: "c1"}, []Path{{"c1", "/"}}},
		{"through a link", job{Paths: []octets{"/bin/tool"}}, []Path{{"", "/usr/bin/tool"}}},
		{"a link itself", job{Paths: []octets{"/bin/link"}}, []Path{{"", "/usr/bin/link"}}},
		{"what is not there", job{Paths: []octets{"/bin/a/b"}}, []Path{{"", "/usr/bin/a/b"}}},
		{"one within another, and twice", job{Paths: []octets{"/etc/a", "/etc", "/bin/tool", "/usr/bin/tool"}}, []Path{{"", "/etc"}, {"", "/usr/bin/tool"}}},
		{"links of a container, which are not to be followed", job{Container: "c1", Paths: []octets{"/bin/tool"}}, []Path{{"c1", "/bin/tool"}}},
		{"the root", job{Paths: []octets{"/", "/etc"}}, []Path{{"", "/"}}},
	} {
		if got, err := o.places(&test.j); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v: want %v", test.name, got, err, test.want)
		}
	}
}

func TestDiffOfContainersIsWhatWasLastSeen(t *testing.T) {
	t.Parallel()
	o := operate(t, WatchConfig{Name: "etc", Paths: []string{"/etc"}, Of: "both"})
	o.file(t, "etc/a", "")
	_, _, err := o.does(t, job{Do: "init"})
	must(t, err)
	must(t, o.store.Put([]Entry{{Path{"c1", "/etc/a"}, record(1), record(2)}, settled("c2", "/etc/a", 1), settled("c3", "/etc/a", 1)}))
	for _, id := range []string{"c1", "c2"} {
		must(t, o.store.SetMeta(id, func(m *Meta) { m.Completed = m.Created }))
	}
	out, notes, err := o.does(t, job{Do: "diff"})
	if got := heads(out); !slices.Equal(got, []string{"changed /etc/a of container c1"}) || err == nil || err.Error() != "exit status 1" {
		t.Errorf("diff says %q, %v", got, err)
	}
	if !strings.HasPrefix(notes, `container "c3": the baseline is not complete`) {
		t.Errorf("of a container without a whole baseline it says %q", notes)
	}
	if _, _, err := o.does(t, job{Do: "diff", Container: "c3"}); !errors.Is(err, ErrIncomplete) {
		t.Errorf("diff of that container: %v", err)
	}
	if out, _, err := o.does(t, job{Do: "accept", Container: "c1", Paths: []octets{"/etc"}}); err != nil || !strings.HasPrefix(out, "accepted /etc/a of container c1: content") {
		t.Errorf("accept says %q, %v", out, err)
	}
	if out, _, err := o.does(t, job{Do: "diff"}); err != nil || out != "" {
		t.Errorf("diff then says %q, %v", out, err)
	}
}

// What cannot be read of a file is said, and keeps nothing from being accepted.
func TestWhatCannotBeReadIsNotKnown(t *testing.T) {
	o := operate(t)
	for _, dir := range []string{o.tree, filepath.Dir(o.tree)} {
		must(t, os.Chmod(dir, 0o755))
	}
	o.file(t, "etc/a", "1")
	o.file(t, "etc/closed", "1")
	must(t, os.Chmod(filepath.Join(o.tree, "etc/closed"), 0o600))
	const unread = `1 files and directories cannot be read: "/etc/closed": permission denied`
	asNobody(t, func() {
		if _, notes, err := o.does(t, job{Do: "init"}); err != nil || !strings.Contains(notes, "not read: 1 files and directories\n  \"/etc/closed\": permission denied\n") {
			t.Errorf("init says %q, %v", notes, err)
		}
		if out, _, err := o.does(t, job{Do: "diff"}); err == nil || err.Error() != "nothing differs, but "+unread {
			t.Errorf("diff says %q, %v", out, err)
		}
	})
	o.file(t, "etc/a", "2")
	asNobody(t, func() {
		if out, notes, err := o.does(t, job{Do: "accept", All: true}); err != nil || !strings.HasPrefix(out, "accepted /etc/a: content") || notes != unread+"\n" {
			t.Errorf("accept says %q, %q, %v", out, notes, err)
		}
	})
}

// TestAcceptOfAllLooksAgainAtWhatHasDrifted and at nothing else, where a daemon looks.
func TestAcceptOfAllLooksAgainAtWhatHasDrifted(t *testing.T) {
	t.Parallel()
	o := operate(t)
	for _, name := range []string{"etc/a", "etc/b", "etc/c", "etc/dir/x"} {
		o.file(t, name, "1")
	}
	_, _, err := o.does(t, job{Do: "init"})
	must(t, err)
	o.scans = false
	o.file(t, "etc/a", "2")
	must(t, os.Remove(filepath.Join(o.tree, "etc/b")))
	must(t, os.Chmod(filepath.Join(o.tree, "etc/dir"), 0o700))
	_, err = Scan(t.Context(), func() ScanOptions {
		scan := o.scan([]string{"/etc"}, make([]uint64, 1))
		scan.Tell = func(d Difference) error { return o.learn(t.Context(), &d) }
		return scan
	}())
	must(t, err)
	o.file(t, "etc/a", "3")     // it has drifted, and again since
	o.file(t, "etc/b", "1")     // it is back
	o.file(t, "etc/c", "2")     // nobody has seen this yet
	o.file(t, "etc/dir/x", "2") // nor this
	out, _, err := o.does(t, job{Do: "accept", All: true})
	if got := heads(out); err != nil || len(got) != 2 || !strings.HasPrefix(got[0], "accepted /etc/a: content, sha256 4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce") ||
		got[1] != "accepted /etc/dir: mode" {
		t.Errorf("accept says %q, %v", got, err)
	}
	scan := true
	out, _, _ = o.does(t, job{Do: "diff", Scan: &scan})
	if got := heads(out); !slices.Equal(got, []string{"changed /etc/c", "changed /etc/dir/x"}) {
		t.Errorf("what still differs: %q", got)
	}
}

// TestWhatIsAcceptedIsWhatWasShown though something else is seen between the two.
func TestWhatIsAcceptedIsWhatWasShown(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := Path{"", "/a"}
	must(t, s.Put([]Entry{{p, record(1), record(3)}}))
	must(t, acceptSeen(s, []Entry{{p, record(1), record(2)}}))
	e, err := s.Get(p)
	must(t, err)
	if !e.Drifted() || !sameRecord(e.Base, record(2)) || !sameRecord(e.Now, record(3)) {
		t.Errorf("after it: %+v, %+v", e.Base, e.Now)
	}
	must(t, acceptSeen(s, []Entry{{p, record(2), record(3)}}))
	if e, err = s.Get(p); err != nil || e.Drifted() || !sameRecord(e.Base, record(3)) {
		t.Errorf("after what is there is accepted: %+v, %v", e, err)
	}
	must(t, s.Verify(t.Context()))
}

// TestInitThatGoesOnTellsOfWhatHasChangedMeanwhile rather than take it.
func TestInitThatGoesOnTellsOfWhatHasChangedMeanwhile(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.file(t, "etc/a", "1")
	_, _, err := o.does(t, job{Do: "init"})
	must(t, err)
	must(t, o.store.SetMeta("", func(m *Meta) { *m = Meta{Created: m.Created} })) // as if it had been killed before its end
	o.file(t, "etc/a", "2")
	o.file(t, "etc/b", "1")
	out, notes, err := o.does(t, job{Do: "init"})
	if err != nil || !strings.HasPrefix(out, "the baseline is complete: 3 files") || !strings.HasPrefix(notes, "differing: 1 files") {
		t.Errorf("init says %q, %q, %v", out, notes, err)
	}
	out, _, _ = o.does(t, job{Do: "diff"})
	if got := heads(out); !slices.Equal(got, []string{"changed /etc/a"}) {
		t.Errorf("diff says %q", got)
	}
}

// watchedAs is what Meta.Sets says of sets, if it says which.
func watchedAs(t *testing.T, watches ...WatchConfig) string {
	t.Helper()
	type words struct {
		Name, Of                            string
		Paths, Include, Exclude, Attributes []string
		Recursive                           *bool
		Rest                                bool
	}
	var all []words
	for _, w := range watches {
		all = append(all, words{w.Name, w.Of, w.Paths, w.Include, w.Exclude, w.Attributes, w.Recursive, w.Rest})
	}
	text, err := json.Marshal(all)
	must(t, err)
	return string(text)
}

// TestWhatIsWatchedForTheFirstTimeIsNoCreation while what was created where it would have been seen is one.
func TestWhatIsWatchedForTheFirstTimeIsNoCreation(t *testing.T) {
	t.Parallel()
	o := operate(t, WatchConfig{Name: "etc", Paths: []string{"/etc"}}, WatchConfig{Name: "opt", Paths: []string{"/opt"}})
	before := watchedAs(t, WatchConfig{Name: "etc", Paths: []string{"/etc"}, Exclude: []string{"*.d"}})
	o.file(t, "etc/a", "1")
	_, _, err := o.does(t, job{Do: "init"})
	must(t, err)
	must(t, o.store.SetMeta("", func(m *Meta) { m.Sets = before }))
	o.file(t, "etc/evil", "1")
	o.file(t, "etc/x.d/b", "1")
	o.file(t, "opt/c", "1")
	out, notes, err := o.does(t, job{Do: "diff"})
	if got := heads(out); !slices.Equal(got, []string{"created /etc/evil"}) || err == nil || notes != "4 paths are watched that were not when the baseline was built: `yagura fim init` adds them\n" {
		t.Errorf("diff says %q, %q, %v", got, notes, err)
	}
	if out, _, err := o.does(t, job{Do: "init"}); err != nil || !strings.HasPrefix(out, "the baseline is complete: 6 files") {
		t.Errorf("init says %q, %v", out, err)
	}
	out, notes, _ = o.does(t, job{Do: "diff"})
	if got := heads(out); !slices.Equal(got, []string{"created /etc/evil"}) || notes != "" {
		t.Errorf("diff then says %q, %q", got, notes)
	}
	if _, _, err := o.does(t, job{Do: "init"}); err == nil {
		t.Error("init of a complete baseline: want an error")
	}
}

// TestWhatWasWatchedAndIsNotKnownIsShown where Meta.Sets does not say what that was.
func TestWhatWasWatchedAndIsNotKnownIsShown(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.file(t, "etc/a", "1")
	_, _, err := o.does(t, job{Do: "init"})
	must(t, err)
	for _, words := range []string{"another", "[", `[{"Name":"x","Paths":["no path"]}]`, `[{"Unknown":1}]`} {
		must(t, o.store.SetMeta("", func(m *Meta) { m.Sets = words }))
		o.file(t, "etc/b", "1")
		out, notes, _ := o.does(t, job{Do: "diff"})
		if got := heads(out); !slices.Equal(got, []string{"created /etc/b"}) || !strings.HasPrefix(notes, "other paths are watched") {
			t.Errorf("after %q: diff says %q, %q", words, got, notes)
		}
		if _, _, err := o.does(t, job{Do: "init"}); err == nil {
			t.Errorf("after %q: init takes what nobody has looked at", words)
		}
	}
}

func TestDiffSaysWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	needRoot(t)
	o := operate(t)
	o.file(t, "etc/dir/a", "1")
	must(t, os.Chmod(o.tree, 0o755))
	must(t, os.Chmod(filepath.Dir(o.tree), 0o755))
	_, _, err := o.does(t, job{Do: "init"})
	must(t, err)
	must(t, os.Chmod(filepath.Join(o.tree, "etc/dir"), 0o000))
	asNobody(t, func() { _, _, err = o.does(t, job{Do: "diff", Paths: []octets{"/etc/dir/a"}}) })
	if err == nil || !strings.Contains(err.Error(), "nothing differs, but 1 files and directories cannot be read") {
		t.Errorf("a file that cannot be reached: %v", err)
	}
	asNobody(t, func() { _, _, err = o.does(t, job{Do: "accept", Paths: []octets{"/etc"}}) })
	if err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("accept of it: %v", err)
	}
}
