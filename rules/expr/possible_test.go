package expr

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPossibleTypes(t *testing.T) {
	t.Parallel()
	names := []string{"open", "openat", "close", "execve"}
	universe := map[string]bool{"gone": false}
	for _, name := range names {
		universe[name] = true
	}
	for _, row := range []struct{ condition, want string }{
		{"evt.type = open", "open"},
		{"evt.type == open", "open"},
		{"evt.type != open", "openat close execve"},
		{"not evt.type = open", "openat close execve"},
		{"not (evt.type = open)", "openat close execve"},
		{"not evt.type != open", "open"},
		{"not not evt.type = open", "open"},
		{"not (not evt.type = open)", "open"},
		{"evt.type in (open, close)", "open close"},
		{"evt.type intersects (open, close)", "open close"},
		{"not evt.type in (open, close)", "openat execve"},
		{"evt.type in ()", ""},
		{"not evt.type in ()", "open openat close execve"},
		{"evt.type in (nosuch, gone)", ""},
		{"evt.type in open", "open"},
		{"evt.type = anyof (open, close)", "open close"},
		{"evt.type = oneof ()", ""},
		{"evt.type = allof (open, close)", ""},
		{"evt.type = allof (open, open)", "open"},
		{"evt.type != allof (open, close)", "openat execve"},
		{"evt.type != anyof (open, close)", "open openat close execve"},
		{"evt.type != anyof (open)", "openat close execve"},
		{"not evt.type != allof (open, close)", "open close"},
		// Everything else may be true or false for each.
		{"evt.type exists", "open openat close execve"},
		{"not evt.type exists", "open openat close execve"},
		{"evt.type startswith open", "open openat close execve"},
		{"not evt.type startswith open", "open openat close execve"},
		{"evt.type glob open*", "open openat close execve"},
		{"evt.type contains anyof (open)", "open openat close execve"},
		{"evt.type = val(proc.name)", "open openat close execve"},
		{"evt.type in val(fd.types)", "open openat close execve"},
		{"tolower(evt.type) = open", "open openat close execve"},
		{"proc.name = open", "open openat close execve"},
		{"not proc.name = open", "open openat close execve"},
		{"evt.type.is[open] = 1", "open openat close execve"},
		{"evt.type.is.open = 1", "open openat close execve"},
		{"macro", "open openat close execve"},
		{"not macro", "open openat close execve"},
		// And, or, not.
		{"evt.type = open and proc.name = a", "open"},
		{"proc.name = a and evt.type = open and user.uid = 0", "open"},
		{"evt.type = open and evt.type = close", ""},
		{"evt.type in (open, close) and evt.type in (close, execve)", "close"},
		{"evt.type in (open, close) and not evt.type = open", "close"},
		{"evt.type in (open, close) and evt.type != open", "close"},
		{"evt.type != open and evt.type != close", "openat execve"},
		{"evt.type != open or evt.type != close", "open openat close execve"},
		{"evt.type = open or evt.type = close", "open close"},
		{"evt.type = open or proc.name = a", "open openat close execve"},
		{"proc.name = a or evt.type = open", "open openat close execve"},
		{"(evt.type = open and proc.name = a) or (evt.type = close and proc.name = b)", "open close"},
		{"(evt.type = open or evt.type = close) and (evt.type = close or evt.type = execve)", "close"},
		{"not (evt.type = open or evt.type = close)", "openat execve"},
		{"not (evt.type = open or proc.name = a)", "openat close execve"},
		{"not (evt.type = open and proc.name = a)", "open openat close execve"},
		{"not (evt.type != open and evt.type != close)", "open close"},
		{"not (not evt.type = open and not evt.type = close)", "open close"},
		{"not (evt.type = open and evt.type = close)", "open openat close execve"},
		{"evt.type = open and (proc.name = a or evt.type = close)", "open"},
		{"evt.type = open and (proc.name = a and evt.type = close)", ""},
		// The idioms of never_true and always_true.
		{"evt.num = 0", ""},
		{"evt.num == 0", ""},
		{"evt.num in (0)", ""},
		{"evt.num <= 0", ""},
		{"evt.num < 0", ""},
		{"evt.num > 0", "open openat close execve"},
		{"evt.num >= 0", "open openat close execve"},
		{"evt.num != 0", "open openat close execve"},
		{"not evt.num = 0", "open openat close execve"},
		{"not evt.num > 0", ""},
		{"not evt.num >= 0", ""},
		{"evt.num = 5", "open openat close execve"},
		{"not evt.num = 5", "open openat close execve"},
		{"evt.num > 5", "open openat close execve"},
		{"evt.num in (0, 1)", "open openat close execve"},
		{"evt.num = 0 or evt.type = open", "open"},
		{"evt.num = 0 and evt.type = open", ""},
		{"evt.num > 0 and evt.type = open", "open"},
		{"evt.num > 0 or evt.type = open", "open openat close execve"},
		{"evt.type = open and not (evt.num = 0)", "open"},
		{"evt.type = open and not (evt.num = 0 or evt.num = 0)", "open"},
		{"evt.type = open or (evt.type = close and evt.num > 0)", "open close"},
	} {
		var got []string
		set := Possible(mustParse(t, row.condition), "evt.type", universe)
		for _, name := range names {
			if set[name] {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != row.want || set["gone"] || set["nosuch"] {
			t.Errorf("%s can be true of %q, want %q", row.condition, got, row.want)
		}
	}
}

func TestPossibleIsNeverTooSmall(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(3, 3))}
	universe := map[string]bool{}
	for _, word := range words {
		universe[word] = true
	}
	small := 0
	for range 2000 {
		n := g.node(3)
		if g.chance(70) { // most conditions say of which type they are
			n = &And{Items: []Node{g.compare("text", &FieldRef{Name: "evt.type"}), n}}
		}
		set := Possible(n, "evt.type", universe)
		if len(set) < len(universe) {
			small++
		}
		for range 5 {
			r := g.record()
			(*r)["evt.num"] = values(uint64(1 + g.IntN(3))) // which an event always has
			(*r)["evt.type"] = values(pick(g, words...))
			if name := (*r)["evt.type"][0].(string); !set[name] && refEval(n, r) {
				t.Fatalf("%s is true of %q, which is not in %v", Print(n), name, set)
			}
		}
	}
	if small < 300 {
		t.Errorf("only %d of 2000 sets leave something out", small)
	}
}

func TestPossibleDoesNotGiveItsUniverseAway(t *testing.T) {
	t.Parallel()
	universe := map[string]bool{"open": true}
	Possible(mustParse(t, "proc.name = a"), "evt.type", universe)["close"] = true
	if len(universe) != 1 {
		t.Error("the caller's map was changed")
	}
}
