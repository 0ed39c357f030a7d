package rules

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// wanted says by the words of event.Interest whether an event leaves the kernel. It is written from those words alone,
// and shares nothing with what makes an Interest.
func wanted(i event.Interest, ev *event.Event) bool {
	if ev.Kind != event.Syscall {
		return true
	}
	for _, term := range i.Terms[ev.Type] {
		if satisfied(term, ev) {
			return true
		}
	}
	return false
}

func satisfied(t event.Term, ev *event.Event) bool {
	sign := event.Zero
	switch {
	case ev.Call.Result < 0:
		sign = event.Failed
	case ev.Call.Result > 0:
		sign = event.Positive
	}
	if t.Results&sign == 0 {
		return false
	}
	if ev.Type.Opens() && t.Opens&(1<<event.How(ev)) == 0 {
		return false
	}
	family := event.FamilyOther
	switch ev.FD.Type {
	case event.UnixSocket:
		family = event.FamilyUnix
	case event.IPv4Socket:
		family = event.FamilyInet
	case event.IPv6Socket:
		family = event.FamilyInet6
	}
	isSocket := family != event.FamilyOther || ev.FD.Type == event.Netlink || ev.FD.Type == event.PacketSocket
	if isSocket && t.Families&(1<<family) == 0 {
		return false
	}
	return t.Paths == nil || !kernelKnowsPath(ev.Type) || anyPath(t.Paths, ev)
}

// kernelKnowsPath is of calls that end in a descriptor of what they name, or name nothing.
func kernelKnowsPath(t event.Type) bool {
	if t.Opens() {
		return true
	}
	for _, p := range t.Info().Params {
		if (p.Kind == event.Path || p.Kind == event.String) && p.Arg >= 0 {
			return false
		}
	}
	return true
}

func anyPath(s *event.PathSet, ev *event.Event) bool {
	any := false
	for i := range ev.Call.Text {
		t := &ev.Call.Text[i]
		raw := string(t.Raw)
		if t.Fault || t.Truncated {
			return true
		}
		if raw == "" {
			continue
		}
		any = true
		if raw[0] != '/' || path.Clean(raw) != raw || inPaths(s, raw) {
			return true
		}
		if r := string(t.Resolved); r != "" && inPaths(s, r) {
			return true
		}
	}
	if name := string(ev.FD.Name); name != "" && ev.FD.Type != event.UnixSocket {
		any = true
		if inPaths(s, name) {
			return true
		}
	}
	return !any
}

func inPaths(s *event.PathSet, p string) bool {
	for _, e := range s.Exact {
		if e == p {
			return true
		}
	}
	for _, e := range s.Prefixes {
		if strings.HasPrefix(p, e) {
			return true
		}
	}
	for _, e := range s.Names {
		if path.Base(p) == e {
			return true
		}
	}
	return false
}

// randomPaths are made of parts of the rules' own constants, so that many events nearly match.
func randomPath(r *rand.Rand, pool []string) string {
	p := pool[r.IntN(len(pool))]
	switch r.IntN(8) {
	case 0:
		return p + "x"
	case 1:
		return path.Dir(p)
	case 2:
		return p + "/" + path.Base(pool[r.IntN(len(pool))])
	case 3:
		return strings.TrimPrefix(p, "/")
	case 4:
		return path.Dir(p) + "/../" + path.Base(p)
	}
	return p
}

// constantsOf are the paths and names that rules compare with.
func constantsOf(rules []*Rule) []string {
	seen := map[string]bool{"/etc/passwd": true, "/tmp/x": true}
	for _, r := range rules {
		expr.Walk(r.Condition, func(c *expr.Check) {
			for _, v := range constants(c) {
				v = strings.Trim(v, "*")
				if len(v) > 1 && !strings.ContainsAny(v, " []?") {
					seen["/"+strings.TrimPrefix(v, "/")] = true
				}
			}
		})
	}
	all := make([]string, 0, len(seen))
	for v := range seen {
		all = append(all, v)
	}
	return all
}

// mutate changes what the filter looks at, and a little else.
func mutate(r *rand.Rand, ev *event.Event, pool []string) {
	for range 1 + r.IntN(3) {
		switch r.IntN(7) {
		case 0:
			ev.Call.Result = []int64{-2, -13, -115, 0, 1, 3}[r.IntN(6)]
		case 1:
			ev.Call.Arg[1+r.IntN(3)] = []uint64{0, 1, 2, 0o100, 0o101, 0o1101, 0o644, 0o755}[r.IntN(8)]
		case 2:
			if !names(ev.Type) {
				continue
			}
			ev.Call.Text[0].Raw = []byte(randomPath(r, pool))
			ev.Call.Text[0].Dir = []byte("/work")
		case 3:
			if !names(ev.Type) {
				continue
			}
			ev.Call.Text[0].Resolved = []byte(path.Clean("/" + randomPath(r, pool)))
		case 4:
			ev.FD.Name = []byte(path.Clean("/" + randomPath(r, pool)))
		case 5:
			ev.FD.Type = []event.DescriptorType{event.RegularFile, event.IPv4Socket, event.IPv6Socket, event.UnixSocket, event.Pipe}[r.IntN(5)]
		case 6:
			ev.FD.Created = !ev.FD.Created
		}
	}
	if ev.Type.Opens() { // as the kernel has it: one file, however it was reached
		if ev.Call.Result < 0 {
			ev.FD = event.Descriptor{Num: -1}
			ev.Call.Text[0].Resolved = nil
		} else if len(ev.Call.Text[0].Resolved) > 0 {
			ev.FD.Name = ev.Call.Text[0].Resolved
		} else {
			ev.Call.Text[0].Resolved = ev.FD.Name
		}
	}
}

// names says whether calls of a type pass a path.
func names(t event.Type) bool {
	return slices.ContainsFunc(t.Info().Params, func(p event.Param) bool {
		return p.Arg >= 0 && p.Index == 0 && (p.Kind == event.Path || p.Kind == event.String)
	})
}

func loadPack(t testing.TB, files ...File) (*Set, Languages) {
	t.Helper()
	languages := NewLanguages(LanguageOptions{})
	if files == nil {
		var err error
		if files, err = Pack(); err != nil {
			t.Fatal(err)
		}
	}
	set, results := Load(files, LoadOptions{Languages: languages})
	for i := range results {
		if !results[i].Successful {
			var b strings.Builder
			results[i].WriteText(&b, true)
			t.Fatal(b.String())
		}
	}
	return set, languages
}

// examples are the events that the rules carry.
func examplesOf(t testing.TB, rules []*Rule) (all []*event.Event) {
	t.Helper()
	for _, r := range rules {
		for _, x := range append(r.Examples.Match, r.Examples.Miss...) {
			ev, err := event.Decode(x.JSON)
			if err != nil {
				t.Fatalf("%s:%d: %v", x.File, x.Line, err)
			}
			all = append(all, ev)
		}
	}
	return all
}

// TestFilterNeverKeepsWhatARuleMatches runs events, made of the examples of our rules by random changes, through every
// rule: what one matches must be in the interest that was made of them all.
func TestFilterNeverKeepsWhatARuleMatches(t *testing.T) {
	t.Parallel()
	set, languages := loadPack(t)
	set.Rules = slices.DeleteFunc(set.Rules, func(r *Rule) bool { return r.Source != event.SyscallSource })
	for _, r := range set.Rules {
		r.Enabled = true
	}
	interest := interestOf(set.Rules, Config{})
	pool, examples := constantsOf(set.Rules), examplesOf(t, set.Rules)
	tests := map[event.Type][]func(*Record) bool{}
	called := map[event.Type][]string{}
	for _, r := range set.Rules {
		test, err := languages[r.Source].Compile(r.Condition)
		if err != nil {
			t.Fatal(err)
		}
		for name := range r.Types {
			kind, _ := event.TypeNamed(name)
			tests[kind] = append(tests[kind], test)
			called[kind] = append(called[kind], r.Name)
		}
	}
	const seed, rounds = 4, 200000
	random := rand.New(rand.NewPCG(seed, seed))
	record := NewRecord(nil, "")
	matched, kept, passed := 0, 0, 0
	for range rounds {
		ev := examples[random.IntN(len(examples))].Clone()
		mutate(random, ev, pool)
		record.Reset(ev)
		in := wanted(interest, ev)
		if in {
			passed++
		} else {
			kept++
		}
		for i, test := range tests[ev.Type] {
			if !test(record) {
				continue
			}
			matched++
			if !in {
				t.Fatalf("seed %d: %q matches %s, which is not wanted: %+v", seed, called[ev.Type][i], ev.Type, ev.Call)
			}
		}
	}
	t.Logf("of %d events %d matched rules, %d passed the filter, %d were kept by it", rounds, matched, passed, kept)
	if matched < rounds/50 || kept < rounds/50 {
		t.Errorf("%d matches and %d kept of %d: the test proves too little", matched, kept, rounds)
	}
}

func TestTermsOfConditions(t *testing.T) {
	t.Parallel()
	open, _ := event.TypeNamed("openat")
	connect, _ := event.TypeNamed("connect")
	const read = 0xaaaa // every how with the bit of reading
	for _, test := range []struct {
		text string
		kind event.Type
		want []event.Term
	}{
		{"proc.name = a", open, []event.Term{event.AnyTerm}},
		{"evt.rawres >= 0", open, []event.Term{{Results: event.Zero | event.Positive, Opens: event.AnyOpen, Families: event.AnyFamily}}},
		{"not evt.rawres >= 0", open, []event.Term{{Results: event.Failed, Opens: event.AnyOpen, Families: event.AnyFamily}}},
		{"evt.res = SUCCESS and evt.failed = true", open, nil},
		{"evt.is_open_read = true and fd.name startswith /etc", open, []event.Term{{Results: event.AnyResult, Opens: read, Families: event.AnyFamily,
			Paths: &event.PathSet{Prefixes: []string{"/etc"}}}}},
		{"fd.name in (/a, /b) or fd.filename = c", open, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: event.AnyFamily,
			Paths: &event.PathSet{Exact: []string{"/a", "/b"}, Names: []string{"c"}}}}},
		{"fd.name = /a or proc.name = x", open, []event.Term{event.AnyTerm}},
		{"not fd.name = /a", open, []event.Term{event.AnyTerm}},
		{"fd.name contains a", open, []event.Term{event.AnyTerm}},
		{"fd.name endswith /.ssh/id_rsa", open, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: event.AnyFamily,
			Paths: &event.PathSet{Names: []string{"id_rsa"}}}}},
		{"fd.directory = /etc", open, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: event.AnyFamily,
			Paths: &event.PathSet{Prefixes: []string{"/etc/"}, Exact: []string{"/etc"}}}}},
		{"basename(fd.directory) = etc", open, []event.Term{event.AnyTerm}},
		{"fd.directory endswith /bin", open, []event.Term{event.AnyTerm}},
		{"fd.directory glob /opt/*/bin", open, []event.Term{event.AnyTerm}},
		{"fd.directory pmatch (/opt/*/bin)", open, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: event.AnyFamily,
			Paths: &event.PathSet{Prefixes: []string{"/opt"}}}}},
		{"fd.typechar = 4", connect, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: inet | inet6}}},
		{"fd.typechar != 4", connect, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: others | unixes | inet6}}},
		{"fd.typechar != 6", connect, []event.Term{event.AnyTerm}},
		{"not fd.type in (unix, file)", connect, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: others | inet | inet6}}},
		{"fd.sport = 443", connect, []event.Term{{Results: event.AnyResult, Opens: event.AnyOpen, Families: 1<<event.FamilyInet | 1<<event.FamilyInet6}}},
		{"not fd.sport = 443", connect, []event.Term{event.AnyTerm}},
	} {
		n, err := expr.Parse(test.text)
		if err != nil {
			t.Fatal(err)
		}
		got := simplify(termsOf(n, test.kind, false))
		if len(got) != len(test.want) {
			t.Errorf("%q: %+v, want %+v", test.text, got, test.want)
			continue
		}
		for i := range got {
			if !sameButPaths(got[i], test.want[i]) || !samePaths(got[i].Paths, test.want[i].Paths) {
				t.Errorf("%q: %+v %+v, want %+v", test.text, got[i], got[i].Paths, test.want[i])
			}
		}
	}
}

func samePaths(a, b *event.PathSet) bool {
	if a == nil || b == nil {
		return a == b
	}
	join := func(s *event.PathSet) string {
		return strings.Join(s.Exact, " ") + "|" + strings.Join(s.Prefixes, " ") + "|" + strings.Join(s.Names, " ")
	}
	return join(a) == join(b)
}

func TestOnlyWhatRulesReadIsRecorded(t *testing.T) {
	t.Parallel()
	const rule = "- rule: r\n  desc: d\n  condition: evt.type in (openat, unlink) and %s\n  output: \"%s\"\n  priority: INFO\n"
	for _, test := range []struct {
		condition, output string
		env, entry, moves bool
	}{
		{"proc.name = a", "%proc.name", false, false, false},
		{"proc.cwd = /tmp/", "%proc.name", false, false, true},
		{"proc.env contains LD_PRELOAD", "%proc.name", true, false, false},
		{"proc.name = a", "%proc.aenv[2]", true, false, false},
		{"yagura.arg.unstable = true", "%proc.name", false, true, false},
	} {
		set, _ := loadPack(t, File{Name: "a.yaml", Text: fmt.Appendf(nil, rule, test.condition, test.output)})
		i := interestOf(set.Rules, Config{})
		open, _ := event.TypeNamed("openat")
		connect, _ := event.TypeNamed("connect")
		chdir, _ := event.TypeNamed("chdir")
		if i.Env != test.env || i.Entry[open] != test.entry || i.Entry[connect] || i.Wants(chdir) != test.moves {
			t.Errorf("%q and %q: environment %v, at entry %v, want %v and %v", test.condition, test.output, i.Env, i.Entry, test.env, test.entry)
		}
	}
}

func TestWhatTheConfigurationShowsIsRecorded(t *testing.T) {
	t.Parallel()
	set, _ := loadPack(t, File{Name: "a.yaml", Text: []byte("- rule: r\n  desc: d\n  condition: evt.type = openat\n  output: opened\n  priority: INFO\n")})
	for _, a := range []AppendOutput{{ExtraOutput: "env=%proc.env"}, {ExtraFields: []any{"proc.env"}}, {ExtraFields: []any{map[string]any{"e": "%proc.env[PATH]"}}}} {
		if i := interestOf(set.Rules, Config{AppendOutput: []AppendOutput{a}}); !i.Env {
			t.Errorf("%+v: the environment is not recorded", a)
		}
	}
	if interestOf(set.Rules, Config{}).Env {
		t.Error("the environment is recorded though nothing shows it")
	}
}
