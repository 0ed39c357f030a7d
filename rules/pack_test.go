package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// leastRules is how many rules our pack must have.
const leastRules = 200

func TestPackDoesWhatItsExamplesSay(t *testing.T) {
	t.Parallel()
	set, languages := loadPack(t)
	if len(set.Rules) < leastRules {
		t.Errorf("%d rules, want at least %d", len(set.Rules), leastRules)
	}
	examples := 0
	for _, r := range set.Rules {
		n, failures := r.TestExamples(languages)
		examples += n
		for _, f := range failures {
			t.Error(f)
		}
		if len(r.Examples.Match) == 0 || len(r.Examples.Miss) == 0 {
			t.Errorf("%s:%d: rule %q: want an example that matches and one that does not", r.File, r.Line, r.Name)
		}
	}
	t.Logf("%d rules, %d examples", len(set.Rules), examples)
}

func TestPackLoadsWithoutWarnings(t *testing.T) {
	t.Parallel()
	files, err := Pack()
	if err != nil {
		t.Fatal(err)
	}
	_, results := Load(files, LoadOptions{Languages: NewLanguages(LanguageOptions{})})
	for _, r := range results {
		for _, w := range r.Warnings {
			t.Errorf("%s: %s: %s\n%s", r.Name, w.Code, w.Message, w.Context.Snippet)
		}
	}
}

func TestPackTagsEveryRule(t *testing.T) {
	t.Parallel()
	set, _ := loadPack(t)
	names := map[string]bool{}
	for _, r := range set.Rules {
		has := func(prefixes ...string) bool {
			return slices.ContainsFunc(r.Tags, func(tag string) bool {
				return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(tag, p) })
			})
		}
		if len(r.Tags) == 0 || !slices.Contains([]string{"maturity_stable", "maturity_incubating", "maturity_sandbox"}, r.Tags[0]) {
			t.Errorf("%s:%d: rule %q: want its maturity as the first tag, not %q", r.File, r.Line, r.Name, r.Tags)
		}
		if !has("mitre_") || !has("T1", "T0") || !has("host", "container") {
			t.Errorf("%s:%d: rule %q: tags %q lack a tactic, a technique, or host or container", r.File, r.Line, r.Name, r.Tags)
		}
		if slices.Contains(r.Tags, "maturity_sandbox") == r.Enabled {
			t.Errorf("%s:%d: rule %q: enabled is %v; sandbox rules are off, the others on", r.File, r.Line, r.Name, r.Enabled)
		}
		if ours := strings.Contains(expr.Print(r.Condition)+r.Output, "yagura."); ours && !r.SkipIfUnknown {
			t.Errorf("%s:%d: rule %q: uses fields of our own without skip-if-unknown-filter", r.File, r.Line, r.Name)
		}
		if strings.Count(r.Desc, " ") < 12 || !strings.Contains(r.Output, "%proc.") {
			t.Errorf("%s:%d: rule %q: want a description of some sentences, and the process in the output", r.File, r.Line, r.Name)
		}
		if names[r.Name] {
			t.Errorf("%s:%d: rule %q: the name is given twice", r.File, r.Line, r.Name)
		}
		names[r.Name] = true
	}
}

// TestPackHasNoIdeaTwice compares conditions with all constants left out.
func TestPackHasNoIdeaTwice(t *testing.T) {
	t.Parallel()
	set, _ := loadPack(t)
	shapes := map[string]string{}
	for _, r := range set.Rules {
		shape := expr.Print(withoutConstants(r.Condition))
		if other := shapes[shape]; other != "" {
			t.Errorf("%s:%d: rule %q has the shape of %q: %s", r.File, r.Line, r.Name, other, shape)
		}
		shapes[shape] = r.Name
	}
}

func withoutConstants(n expr.Node) expr.Node {
	all := func(items []expr.Node) []expr.Node {
		out := make([]expr.Node, len(items))
		for i, item := range items {
			out[i] = withoutConstants(item)
		}
		return out
	}
	switch n := n.(type) {
	case *expr.And:
		return &expr.And{Items: all(n.Items)}
	case *expr.Or:
		return &expr.Or{Items: all(n.Items)}
	case *expr.Not:
		return &expr.Not{Item: withoutConstants(n.Item)}
	case *expr.Check:
		c := *n
		if c.Right != nil {
			c.Right = &expr.Literal{Text: "?"}
		}
		return &c
	}
	return n
}

// onlyExecutables are the opens that make a file which is executable, and these are few.
const onlyExecutables = 0xf0f0

// TestPackAsksForNoBusyCallWhole says which event types our rules leave to the kernel unfiltered, of those that busy programs
// call all the time.
func TestPackAsksForNoBusyCallWhole(t *testing.T) {
	t.Parallel()
	set, _ := loadPack(t)
	interest := interestOf(set.Rules, Config{})
	for _, name := range []string{"read", "write", "close", "fstat", "newfstatat", "mmap", "futex", "epoll_wait", "recvfrom", "sendto", "readv", "writev", "recvmsg", "sendmsg", "stat", "lstat", "access", "fcntl", "lseek", "munmap", "brk", "nanosleep", "poll"} {
		kind, ok := event.TypeNamed(name)
		if !ok {
			t.Errorf("no event type %s", name)
		}
		for _, term := range interest.Terms[kind] {
			if term.Paths == nil && term.Results == event.AnyResult && term.Families == event.AnyFamily {
				t.Errorf("every %s leaves the kernel", name)
			}
		}
	}
	for _, name := range []string{"open", "openat", "openat2"} {
		kind, _ := event.TypeNamed(name)
		for _, term := range interest.Terms[kind] {
			if term.Paths == nil && term.Opens&^onlyExecutables != 0 {
				t.Errorf("%s leaves the kernel whatever its path: %+v", name, term)
			}
		}
	}
}

// TestPackIsQuietOnExpectedChanges takes each change that a rule of ours tells of, and has somebody account for it, as a package
// manager does in an upgrade.
func TestPackIsQuietOnExpectedChanges(t *testing.T) {
	t.Parallel()
	set, languages := loadPack(t)
	record, n := NewRecord(nil, ""), 0
	for _, r := range set.Rules {
		if r.Source != event.ChangeSource {
			continue
		}
		test, err := languages[r.Source].Compile(r.Condition)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.Examples.Match {
			ev := decode(t, string(x.JSON))
			ev.Change.Expected, ev.Change.Actor = true, "package"
			n++
			if record.Reset(ev); test(record) {
				t.Errorf("%s:%d: rule %q tells of it even if it is expected", r.File, x.Line, r.Name)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d changes, want at least 20", n)
	}
}
