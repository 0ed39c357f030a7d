package fim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func setsWith(t testing.TB, watches ...WatchConfig) *Sets {
	t.Helper()
	sets, err := NewSets(Config{Watches: watches, Scan: DefaultConfig.Scan}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sets
}

func TestInterestIsInEveryCallThatMayChangeAFile(t *testing.T) {
	i := InterestIn(setsWith(t, WatchConfig{Name: "a", Paths: []string{"/etc", "/srv/*/conf", "/usr/local"}}, WatchConfig{Name: "b", Of: "containers", Paths: []string{"/app"}}))
	const success = event.Zero | event.Positive
	paths := &event.PathSet{Prefixes: []string{"/app", "/etc", "/srv", "/usr/local"}, Exact: []string{"/usr"}}
	term := func(call string) event.Term {
		kind, ok := event.TypeNamed(call)
		if !ok || len(i.Terms[kind]) != 1 {
			t.Fatalf("%s has terms %v, want one", call, i.Terms[kind])
		}
		return i.Terms[kind][0]
	}
	for call, want := range map[string]struct {
		paths    *event.PathSet
		opens    uint16
		families uint8
	}{
		"openat":            {paths, 0xffcc, event.AnyFamily}, // for writing, and those that have made the file
		"open_by_handle_at": {nil, 0xffcc, event.AnyFamily},
		"fchmod":            {paths, event.AnyOpen, event.AnyFamily},
		"ioctl":             {paths, event.AnyOpen, 1 << event.FamilyOther},
		"bind":              {nil, event.AnyOpen, 1 << event.FamilyUnix},
		"unlink":            {paths, event.AnyOpen, event.AnyFamily},
		"renameat2":         {paths, event.AnyOpen, event.AnyFamily},
		"linkat":            {nil, event.AnyOpen, event.AnyFamily},
		"umount2":           {nil, event.AnyOpen, event.AnyFamily},
	} {
		got := term(call)
		if got.Resolved != (want.paths != nil) {
			t.Errorf("%s: resolved %v, want what has paths", call, got.Resolved)
		}
		if got.Results != success || got.Opens != want.opens || got.Families != want.families || fmt.Sprint(got.Paths) != fmt.Sprint(want.paths) {
			t.Errorf("%s: %+v with paths %v, want results %d, opens %x, families %x, paths %v", call, got, got.Paths, success, want.opens, want.families, want.paths)
		}
	}
	for _, call := range []string{"read", "write", "mmap", "stat", "utimensat", "execve"} {
		if kind, _ := event.TypeNamed(call); i.Wants(kind) {
			t.Errorf("%s is wanted, and changes no file that nobody had opened", call)
		}
	}
	for _, e := range effects {
		term(e.call)
	}
}

func TestNothingIsWantedWithoutWatches(t *testing.T) {
	if i := InterestIn(setsWith(t)); len(i.Terms) != 0 {
		t.Errorf("%d types are wanted, want none", len(i.Terms))
	}
}

func TestPathsBelowAreNeverFewerAndNeverTooMany(t *testing.T) {
	if got := pathsBelow([]string{"/etc", "/"}); got != nil {
		t.Errorf("below the root: %v, want any path", got)
	}
	if got := pathsBelow([]string{"/usr/lib", "/etc/passwd", "/usr/lib64", "/etc/passwd-"}).Prefixes; !slices.Equal(got, []string{"/etc/passwd", "/usr/lib"}) {
		t.Errorf("prefixes %v, want /etc/passwd and /usr/lib", got)
	}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		var roots []string
		for range 1 + r.IntN(2000) {
			var b strings.Builder
			for range 1 + r.IntN(5) {
				fmt.Fprintf(&b, "/%c%d", 'a'+rune(r.IntN(3)), r.IntN(1+r.IntN(30)))
			}
			roots = append(roots, b.String())
		}
		paths := pathsBelow(slices.Clone(roots))
		if paths == nil {
			continue
		}
		if len(paths.Prefixes) > maxPrefixes {
			t.Fatalf("seed %d: %d prefixes, want at most %d", seed, len(paths.Prefixes), maxPrefixes)
		}
		for _, root := range roots {
			if !slices.ContainsFunc(paths.Prefixes, func(p string) bool { return strings.HasPrefix(root, p) }) {
				t.Fatalf("seed %d: %s is below none of %v", seed, root, paths.Prefixes)
			}
		}
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("/%04d", i))
	}
	if got := pathsBelow(many); got != nil {
		t.Errorf("of a thousand directories of the root %d prefixes are left, want any path", len(got.Prefixes))
	}
}

func TestShippedSetsLeaveRoomForRules(t *testing.T) {
	sets, err := NewSets(DefaultConfig, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	counted := map[*event.PathSet]bool{nil: true} // the kernel keeps the same paths of several types once; rules add to those of opens
	for _, terms := range InterestIn(sets).Terms {
		for _, term := range terms {
			if !counted[term.Paths] {
				counted[term.Paths] = true
				keys += len(term.Paths.Prefixes) + len(term.Paths.Exact)
			}
		}
	}
	keys *= 1 + 4
	const room, rules = 8192, 2500 // of the kernel's map; the shipped rules have 1949
	if keys == 0 || keys > room-rules {
		t.Errorf("%d prefixes, want at least one and at most %d", keys, room-rules)
	}
	t.Logf("%d prefixes", keys)
}

// What a call may have done is worth little without the file that it was done to.
func TestEffectsAreOnFilesThatCallsTell(t *testing.T) {
	t.Parallel()
	for _, e := range effects {
		kind, ok := event.TypeNamed(e.call)
		if !ok {
			t.Errorf("%s is no call", e.call)
			continue
		}
		tells := func(is func(p *event.Param) bool) bool {
			return slices.ContainsFunc(kind.Info().Params, func(p event.Param) bool { return is(&p) })
		}
		for i, what := range e.names {
			if what != 0 && !tells(func(p *event.Param) bool {
				return (p.Kind == event.Path || p.Kind == event.String) && p.Arg >= 0 && int(p.Index) == i || p.Kind == event.Sock
			}) {
				t.Errorf("%s does not tell its name %d", e.call, i)
			}
		}
		if e.file != 0 && !tells(func(p *event.Param) bool { return p.Kind == event.FD }) {
			t.Errorf("%s does not tell its file", e.call)
		}
	}
}
