package fim

import (
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// The words of rules are those of configuration, series and logs.
func TestRulesHaveTheWordsOfChanges(t *testing.T) {
	t.Parallel()
	if !slices.Equal(event.ChangeKinds, Kinds[:]) {
		t.Errorf("kinds of rules are %q, want %q", event.ChangeKinds, Kinds)
	}
	if !slices.Equal(event.ChangeActors, ActorKinds) {
		t.Errorf("actors of rules are %q, want %q", event.ChangeActors, ActorKinds)
	}
	if !slices.Equal(event.ChangeConfidences, Confidences[:]) {
		t.Errorf("confidences of rules are %q, want %q", event.ChangeConfidences, Confidences)
	}
	for mode, want := range map[fs.FileMode]string{0: "file", fs.ModeDir: "directory", fs.ModeSymlink: "symlink", fs.ModeDevice: "device",
		fs.ModeDevice | fs.ModeCharDevice: "device", fs.ModeNamedPipe: "fifo", fs.ModeSocket: "socket"} {
		if got := (&Record{Mode: mode}).state().Type; got != want || !slices.Contains(event.FileTypes, got) {
			t.Errorf("type of %v is %s, want %s, which rules know", mode, got, want)
		}
	}
}

func twoSets(t *testing.T) *Sets {
	t.Helper()
	s, err := NewSets(Config{Watches: []WatchConfig{{Name: "one", Paths: []string{"/a"}}, {Name: "two", Paths: []string{"/b"}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEventOfAChange(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := &Change{ID: "1-2", Time: now.Add(-3 * time.Second), Path: Path{Name: "/a/x"}, From: "/a/y", Kinds: 1<<Renamed | 1<<ContentChanged, Watches: 0b11,
		Severity: event.Critical, Confidence: ByInode, By: ByUser, Why: "no package accounts for it", Diff: "-a\n+b",
		Before: &Record{Mode: fs.ModeSymlink | 0o777, Target: "/z"},
		After: &Record{Mode: fs.ModeSetuid | 0o755, UID: 5, GID: 6, Size: 7, Sum: [32]byte{0xab, 31: 0xcd}, Summed: true, Flags: 0x30 | Fresh,
			Attributes: map[string]string{"user.x": "y", "security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		Actor: &Actor{PID: 50, Start: 9, Exe: "/usr/bin/mv", Comm: "mv", Args: []string{"mv", "/a/y", "/a/x"}, UID: 1000, EUID: 0, LoginUID: 1000,
			Workload: event.Workload{Unit: "ssh.service"}, Ancestors: []Ancestor{{PID: 40, Start: 8, Exe: "/bin/bash", Comm: "bash", UID: 1000}, {PID: 1, Comm: "systemd"}}}}
	wall, boot := clocks()
	ev := c.Event(twoSets(t))
	want := &event.FileChange{ID: "1-2", Path: "/a/x", From: "/a/y", Kinds: []string{"renamed", "content"}, Watches: []string{"one", "two"},
		Severity: event.Critical, Actor: "user", Why: "no package accounts for it", Confidence: "inode", Diff: "-a\n+b",
		Before: &event.FileState{Type: "symlink", Mode: 0o777, Target: "/z"},
		After: &event.FileState{Type: "file", Mode: 0o4755, UID: 5, GID: 6, Size: 7, SHA256: "ab" + strings.Repeat("00", 30) + "cd", Immutable: true,
			AppendOnly: true, Capabilities: 1 << 13, Xattrs: []string{"security.capability", "user.x"}}}
	if !reflect.DeepEqual(ev.Change, want) {
		t.Errorf("the change is %+v, %+v, %+v\nwant %+v, %+v, %+v", ev.Change, ev.Change.Before, ev.Change.After, want, want.Before, want.After)
	}
	if ev.Kind != event.Change || ev.Type.String() != "filechange" || ev.Time != c.Time.UnixNano() || ev.PID != 50 || ev.UID != 1000 || ev.Unit != "ssh.service" ||
		ev.Container != nil || ev.Start != 9 {
		t.Errorf("the event is %+v", ev)
	}
	if off := time.Duration(boot-ev.Boot) - wall.Sub(c.Time); off.Abs() > time.Second {
		t.Errorf("by the kernel's clock it was %v off", off)
	}
	if w := ev.Caller; w.UID != 1000 || w.EUID != 0 || w.LoginUID != 1000 || w.EGID != 1<<32-1 {
		t.Errorf("the caller is %+v", w)
	}
	p := ev.Process
	if p.Name() != "mv" || p.Path != "/usr/bin/mv" || len(p.Args) != 3 || p.PPID != 40 || p.Parent.Name() != "bash" || p.Parent.PPID != 1 ||
		p.Parent.Parent.Name() != "systemd" || p.Parent.Parent.Parent != nil {
		t.Errorf("the process is %+v below %+v", p, p.Parent)
	}
	if back, err := event.Decode(ev.AppendRecord(nil, nil)); err != nil || !reflect.DeepEqual(back.Change, ev.Change) {
		t.Errorf("read back it is %+v, %v", back, err)
	}
}

func TestEventOfAChangeByNobody(t *testing.T) {
	t.Parallel()
	sets := twoSets(t)
	ev := (&Change{Time: time.Unix(5, 0), Path: Path{Name: "/a"}, Kinds: 1 << Deleted, Watches: 1, By: ByUnknown, Before: &Record{}}).Event(sets)
	if ev.HasActor() || ev.Process != nil || ev.Container != nil || ev.Boot != 0 || ev.Change.After != nil || ev.Change.Confidence != "none" || ev.Change.Before.SHA256 != "" {
		t.Errorf("the event is %+v of %+v", ev, ev.Change)
	}
	ev = (&Change{Path: Path{Container: "c1", Name: "/a"}}).Event(sets)
	if ev.HasActor() || ev.Container == nil || ev.Container.ID != "c1" || ev.Change.Container != "c1" {
		t.Errorf("the event is %+v in %+v", ev, ev.Container)
	}
	ev = (&Change{Path: Path{Container: "c1", Name: "/a"}, Actor: &Actor{PID: 3, Comm: "a name of many letters"}}).Event(sets)
	if !ev.HasActor() || ev.Container != nil || ev.Process.Name() != "a name of many " {
		t.Errorf("of an actor of the host: %+v", ev)
	}
	ev = (&Change{Actor: &Actor{PID: 3, Container: "c2", Workload: event.Workload{Pod: "p"}}}).Event(sets)
	if ev.Container == nil || ev.Container.ID != "c2" || ev.Workload().Pod != "p" || ev.Unit != "" {
		t.Errorf("of an actor in a container: %+v in %+v", ev, ev.Container)
	}
}

// Values as setcap and the kernel write them: linux/capability.h, struct vfs_cap_data and vfs_ns_cap_data.
func TestCapabilitiesOfFiles(t *testing.T) {
	t.Parallel()
	word := func(n uint32) string { return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}) }
	for _, test := range []struct {
		name, value string
		want        uint64
	}{
		{"none", "", 0},
		{"cap_net_raw=ep", word(0x02000001) + word(1<<13) + word(0) + word(0) + word(0), 1 << 13},
		{"inheritable only", word(0x02000000) + word(0) + word(1<<21) + word(0) + word(0), 1 << 21},
		{"above the 32nd", word(0x02000001) + word(0) + word(0) + word(1<<7) + word(0), 1 << 39},
		{"in a user name space", word(0x03000001) + word(1) + word(0) + word(1<<8) + word(0) + word(100000), 1 | 1<<40},
		{"of the first version", word(0x01000001) + word(1<<13) + word(2) + word(1) + word(1), 1<<13 | 2},
		{"cut", word(0x02000001) + word(1<<13), 0},
		{"cut in the second half", word(0x02000001) + word(1<<13) + word(0) + word(1), 1 << 13},
	} {
		if got := capabilitiesOf(test.value); got != test.want {
			t.Errorf("%s: %x, want %x", test.name, got, test.want)
		}
	}
}

// The changes that our rules are tested with are such as the shipped sets are told of, and their conditions name such sets.
func TestRulesKnowTheShippedSets(t *testing.T) {
	t.Parallel()
	sets, err := NewSets(Config{Defaults: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := rules.Pack()
	if err != nil {
		t.Fatal(err)
	}
	loaded, _ := rules.Load(files, rules.LoadOptions{Languages: rules.NewLanguages(rules.LanguageOptions{})})
	n := 0
	for _, r := range loaded.Rules {
		if r.Source != event.ChangeSource {
			continue
		}
		expr.Walk(r.Condition, func(c *expr.Check) {
			f, ok := c.Left.(*expr.FieldRef)
			list, _ := c.Right.(*expr.List)
			if !ok || f.Name != "fim.watches" {
				return
			}
			for _, item := range list.Items {
				if name := item.(*expr.Literal).Text; !slices.ContainsFunc(Shipped(), func(w WatchConfig) bool { return w.Name == name }) {
					t.Errorf("%s:%d: no shipped set is called %s", r.File, r.Line, name)
				}
			}
		})
		for _, x := range slices.Concat(r.Examples.Match, r.Examples.Miss) {
			ev, err := event.Decode(x.JSON)
			if err != nil {
				t.Fatal(err)
			}
			n++
			var names []string
			for i := range sets.Match(ev.Change.Container != "", ev.Change.Path).All() {
				set := sets.Set(i)
				names = append(names, set.Name)
				for _, kind := range ev.Change.Kinds {
					if !set.Kinds.Has(Kind(slices.Index(Kinds[:], kind))) {
						t.Errorf("%s:%d: %s does not count for %s", r.File, x.Line, kind, set.Name)
					}
				}
			}
			if !slices.Equal(names, ev.Change.Watches) {
				t.Errorf("%s:%d: %s is watched by %q, not by %q", r.File, x.Line, ev.Change.Path, names, ev.Change.Watches)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d changes, want at least 50", n)
	}
}
