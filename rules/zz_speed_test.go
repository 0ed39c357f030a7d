package rules

import (
	"fmt"
	"sort"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

func TestZZDump(t *testing.T) {
	set, _ := loadPack(t)
	counts := map[string]int{}
	for _, r := range set.Rules {
		if !r.Enabled {
			continue
		}
		for i := 1; i < len(event.Types); i++ {
			name := event.Types[i].Name
			if !r.Types[name] {
				continue
			}
			n, truth := expr.Fix(r.Condition, "evt.type", name)
			if truth == expr.Never {
				continue
			}
			counts[name]++
			if name == "execve" || name == "openat" || name == "connect" || name == "renameat2" {
				s := "always"
				if n != nil {
					s = expr.Print(n)
				}
				fmt.Printf("%s | %s | %s\n", name, r.Name, s)
			}
		}
	}
	names := []string{}
	for n := range counts {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool { return counts[names[i]] > counts[names[j]] })
	for _, n := range names {
		fmt.Println("COUNT", n, counts[n])
	}
}

func TestZZTerms(t *testing.T) {
	set, _ := loadPack(t)
	in := interestOf(set.Rules)
	for k, terms := range in.Terms {
		for _, x := range terms {
			fmt.Printf("%s results=%x opens=%04x fam=%x", k, x.Results, x.Opens, x.Families)
			if x.Paths != nil {
				fmt.Printf(" exact=%d prefixes=%d names=%d", len(x.Paths.Exact), len(x.Paths.Prefixes), len(x.Paths.Names))
				if k.String() == "openat" {
					fmt.Printf(" %q %q %q", x.Paths.Exact, x.Paths.Prefixes, x.Paths.Names)
				}
			}
			fmt.Println()
		}
	}
}

func TestZZDispatch(t *testing.T) {
	set, language := loadPack(t)
	e := NewEngine(EngineOptions{})
	if err := e.Compile(language, set, Default); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`{"type": "openat", "args": {"name": "/srv/data/file.txt", "flags": "O_RDWR|O_CREAT"}, "process": {"name": "app", "args": ["app", "-x"], "parents": ["sh", "systemd"]}}`,
		`{"type": "execve", "process": {"name": "true", "path": "/usr/bin/true", "args": ["true", "-x"], "parents": ["make", "bash", "systemd"]}}`,
		`{"type": "connect", "peer": "10.1.2.3:8080", "process": {"name": "app", "parents": ["systemd"]}, "container": "app"}`,
		`{"type": "renameat2", "args": {"oldpath": "/srv/a", "newpath": "/srv/b"}, "process": {"name": "app", "parents": ["systemd"]}}`,
	} {
		ev := decode(t, text)
		d := e.loaded.Load().byType[ev.Type]
		c := newCandidates()
		r := NewRecord(nil, "")
		r.Reset(ev)
		alive := c.of(d, r)
		fmt.Println(ev.Type, len(d.matchers), "gates", len(d.gates))
		for i := range d.indexes {
			x := &d.indexes[i]
			n := 0
			for j := range d.matchers {
				if x.users[j/64]&(1<<(j%64)) != 0 {
					n++
				}
			}
			fmt.Println("   index", x.name, "users", n, "cost", x.price(), x.texts.parts != nil, x.texts.back != nil)
		}
		for i, m := range d.matchers {
			if alive[i/64]&(1<<(i%64)) != 0 {
				fmt.Println("   alive", m.rule.Name)
			}
		}
		for i, m := range d.matchers {
			if d.open[i/64]&(1<<(i%64)) != 0 {
				fmt.Println("   open", m.rule.Name)
			}
		}
	}
}
