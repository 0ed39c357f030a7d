package rules

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// wholePack is an engine with all of our rules, also those that are off by default.
func wholePack(t testing.TB) (*Set, *compiled) {
	t.Helper()
	set, languages := loadPack(t)
	for _, r := range set.Rules {
		r.Enabled = true
	}
	e := NewEngine(EngineOptions{})
	if err := e.Compile(languages, set, Default); err != nil {
		t.Fatal(err)
	}
	return set, e.loaded.Load()
}

// TestDispatchFindsWhatTryingEachRuleDoes compares them on the examples of our rules, changed at random.
func TestDispatchFindsWhatTryingEachRuleDoes(t *testing.T) {
	t.Parallel()
	const seed, rounds = 7, 60000
	random := rand.New(rand.NewPCG(seed, seed))
	set, c := wholePack(t)
	examples, pool, words := examplesOf(t, set.Rules), constantsOf(set.Rules), wordsOf(set.Rules)
	record, can := NewRecord(nil, ""), newCandidates()
	matched, tried, all := 0, 0, 0
	for range rounds {
		ev := examples[random.IntN(len(examples))].Clone()
		mutate(random, ev, pool)
		mutateProcess(random, ev, words)
		mutateChange(random, ev, words)
		d := c.byType[ev.Type]
		if d == nil {
			continue
		}
		record.Reset(ev)
		var want, got []string
		for _, m := range d.matchers {
			if m.test(record) {
				want = append(want, m.rule.Name)
			}
		}
		d.eval(can, record, func(m *matcher) bool { got = append(got, m.rule.Name); return true })
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %s: %q, want %q", seed, ev.AppendRecord(nil, nil), got, want)
		}
		matched, all = matched+len(want), all+len(d.matchers)
		if d.words == 0 {
			tried += len(d.matchers)
			continue
		}
		for i := range d.matchers {
			if can.alive[i/64]&(1<<(i%64)) != 0 {
				tried++
			}
		}
	}
	t.Logf("%d matches; of %d rules %d were tried", matched, all, tried)
	if matched < rounds/20 || tried > all/10 {
		t.Errorf("%d matches, and of %d rules %d were tried: the test proves too little, or the index does", matched, all, tried)
	}
}

// wordsOf are the constants that rules compare with.
func wordsOf(rules []*Rule) []string {
	seen := map[string]bool{}
	for _, r := range rules {
		expr.Walk(r.Condition, func(c *expr.Check) {
			for _, v := range constants(c) {
				seen[v] = true
			}
		})
	}
	all := make([]string, 0, len(seen))
	for v := range seen {
		all = append(all, v)
	}
	slices.Sort(all)
	return all
}

// mutateChange gives a change of a file another path, or says something else of it.
func mutateChange(r *rand.Rand, ev *event.Event, words []string) {
	if ev.Change == nil {
		return
	}
	c := *ev.Change
	ev.Change = &c
	word := func() string { return words[r.IntN(len(words))] }
	switch r.IntN(8) {
	case 0:
		c.Path = word()
	case 1:
		c.Path += word()
	case 2:
		c.Kinds = []string{event.ChangeKinds[r.IntN(len(event.ChangeKinds))], "created"}
	case 3:
		c.Watches = []string{word(), "binaries", "web"}
	case 4:
		c.Before, c.After = c.After, c.Before
	case 5:
		c.After = &event.FileState{Type: word(), Mode: r.Uint32N(0o10000), Immutable: true, Capabilities: r.Uint64N(4)}
	case 6:
		c.Container = word()
	case 7:
		ev.Process = nil
	}
}

// mutateProcess gives the process or its parent another name or path, or changes its arguments.
func mutateProcess(r *rand.Rand, ev *event.Event, words []string) {
	if ev.Process == nil {
		return
	}
	p := *ev.Process
	ev.Process = &p
	word := func() string { return words[r.IntN(len(words))] }
	switch r.IntN(7) {
	case 0:
		setComm(&p, word())
	case 1:
		if p.Parent != nil {
			parent := *p.Parent
			setComm(&parent, word())
			p.Parent = &parent
		}
	case 2:
		p.Args = append(slices.Clone(p.Args), word())
	case 3:
		if len(p.Args) > 1 {
			p.Args = slices.Clone(p.Args)
			p.Args[1+r.IntN(len(p.Args)-1)] += strings.ToUpper(word())
		}
	case 4:
		p.Path = "/" + strings.TrimPrefix(word(), "/")
	case 5:
		p.Args = []string{word(), word()}
	}
}

func setComm(p *event.Process, name string) {
	p.Comm = [16]byte{}
	copy(p.Comm[:15], name)
}

// TestTextsAreFound compares the index of texts with what strings does, on texts that have much in common.
func TestTextsAreFound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 3))
	some := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab/A"[random.IntN(4)]
		}
		return string(b)
	}
	for range 300 {
		var ix texts
		type entry struct {
			way  way
			text string
		}
		var all []entry
		for i := range 64 {
			x := entry{way(random.IntN(int(inside) + 1)), some(1 + random.IntN(6))}
			if x.way == inside {
				x.text = some(partBytes + random.IntN(4))
			}
			all = append(all, x)
			ix.add(x.way, x.text, []uint64{1 << i})
		}
		ix.ready()
		for range 100 {
			text, set := some(random.IntN(12)), []uint64{0}
			ix.find(text, set)
			for i, x := range all {
				var want bool
				switch x.way {
				case whole:
					want = text == x.text
				case prefix:
					want = strings.HasPrefix(text, x.text)
				case suffix:
					want = strings.HasSuffix(text, x.text)
				case inside:
					want = strings.Contains(strings.ToLower(text), strings.ToLower(x.text))
				}
				if got := set[0]&(1<<i) != 0; got != want {
					t.Fatalf("%q in %q by way %d: %v, want %v", x.text, text, x.way, got, want)
				}
			}
		}
	}
}

func TestClausesAreWhatMustBeTrue(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]string{
		"proc.name = a and proc.args contains xyzw":      "proc.name 0 a; proc.args 3 xyzw",
		"proc.name = a or proc.exepath endswith /b":      "proc.name 0 a, proc.exepath 2 /b",
		"proc.name = a or proc.tty > 0":                  "",
		"not proc.name = a":                              "",
		"not (proc.name != a or not proc.pname in (b))":  "proc.pname 0 b",
		"proc.args contains -w":                          "",
		"proc.name startswith ab and proc.name in ()":    "proc.name 1 ab",
		"fd.name pmatch (/etc/*/x)":                      "fd.name 1 /etc",
		"fd.name glob *x":                                "",
		"yagura.path.basename = x":                       "yagura.path.resolved 2 /x, yagura.path.resolved 0 x",
		"fd.filename endswith x":                         "",
		"proc.name = val(proc.pname)":                    "",
		"(proc.name = a and proc.pname = b) or fd.num=3": "proc.name 0 a, fd.num 0 3",
	} {
		n, err := expr.Parse(condition)
		if err != nil {
			t.Fatalf("%q: %v", condition, err)
		}
		var all []string
		for _, c := range clausesOf(n, false) {
			var atoms []string
			for _, a := range c {
				atoms = append(atoms, a.key())
			}
			all = append(all, strings.Join(atoms, ", "))
		}
		if got := strings.Join(all, "; "); got != want {
			t.Errorf("clauses of %q: %q, want %q", condition, got, want)
		}
	}
}

func TestEveryCostIsOfAField(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, source := range sources {
		for _, f := range Fields(source) {
			names[f.Name] = true
		}
	}
	for _, c := range costs {
		for name := range strings.FieldsSeq(c.fields) {
			if !names[name] {
				t.Errorf("cost %d of %s: no such field", c.cost, name)
			}
		}
	}
}
