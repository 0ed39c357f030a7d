package expr

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// written is a normal form as a text: conjunctions by lines.
func written(form [][]Term) string {
	var lines []string
	for _, terms := range form {
		var line []string
		for _, term := range terms {
			text := Print(term.Check)
			if term.Negated {
				text = "not " + text
			}
			line = append(line, text)
		}
		lines = append(lines, strings.Join(line, " & "))
	}
	return strings.Join(lines, " | ")
}

func TestNormalForm(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ condition, want string }{
		{"a.a exists", "a.a exists"},
		{"not a.a exists", "not a.a exists"},
		{"not not a.a exists", "a.a exists"},
		{"a.a exists and a.b exists", "a.a exists & a.b exists"},
		{"a.a exists or a.b exists", "a.a exists | a.b exists"},
		{"not (a.a exists or a.b exists)", "not a.a exists & not a.b exists"},
		{"not (a.a exists and a.b exists)", "not a.a exists | not a.b exists"},
		{"a.a exists and (a.b exists or a.c exists)", "a.a exists & a.b exists | a.a exists & a.c exists"},
		{"(a.a exists or a.b exists) and (a.c exists or a.d exists)", "a.a exists & a.c exists | a.a exists & a.d exists | a.b exists & a.c exists | a.b exists & a.d exists"},
		{"a.a exists and not (a.b exists and (a.c exists or a.d exists))", "a.a exists & not a.b exists | a.a exists & not a.c exists & not a.d exists"},
		{"a.a exists or (a.b exists and not (a.c exists or not a.d exists))", "a.a exists | a.b exists & not a.c exists & a.d exists"},
	} {
		form, ok := DNF(mustParse(t, row.condition), 10)
		if got := written(form); !ok || got != row.want {
			t.Errorf("%s is %s, %v, want %s", row.condition, got, ok, row.want)
		}
	}
}

func TestNormalFormHasALimit(t *testing.T) {
	t.Parallel()
	n := mustParse(t, "(a.a exists or a.b exists) and (a.c exists or a.d exists)")
	if _, ok := DNF(n, 4); !ok {
		t.Error("four conjunctions are within a limit of 4")
	}
	if form, ok := DNF(n, 3); ok {
		t.Errorf("%s is beyond a limit of 3", written(form))
	}
	pairs := make([]string, 40)
	for i := range pairs {
		pairs[i] = "(a.a = " + strings.Repeat("x", i) + "y or a.b exists)"
	}
	if _, ok := DNF(mustParse(t, strings.Join(pairs, " and ")), 1000); ok {
		t.Error("2^40 conjunctions are beyond a limit of 1000")
	}
	for _, text := range []string{"macro", "a.a exists and not macro", "a.a exists or macro"} {
		if _, ok := DNF(mustParse(t, text), 1000); ok {
			t.Errorf("%s: a reference has no normal form", text)
		}
	}
}

// TestNormalFormLeavesOutWhatCannotBe for checks that a macro puts into a condition twice.
func TestNormalFormLeavesOutWhatCannotBe(t *testing.T) {
	t.Parallel()
	a, b := mustParse(t, "a.a exists"), mustParse(t, "a.b exists")
	for want, n := range map[string]Node{
		"a.a exists":              &And{Items: []Node{a, a}},
		"":                        &And{Items: []Node{a, &Not{Item: a}}},
		"a.a exists & a.b exists": &And{Items: []Node{a, &Or{Items: []Node{b, &Not{Item: a}}}}},
	} {
		if form, ok := DNF(n, 10); !ok || written(form) != want {
			t.Errorf("%s is %s, want %s", Print(n), written(form), want)
		}
	}
}

func TestNormalFormIsEquivalent(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(5, 5))}
	seen := 0
	for range 2000 {
		n := g.node(4)
		form, ok := DNF(n, 60)
		if !ok {
			continue
		}
		seen++
		for range 3 {
			r := g.record()
			got := false
			for _, terms := range form {
				all := true
				for _, term := range terms {
					all = all && refEval(term.Check, r) != term.Negated
				}
				got = got || all
			}
			if want := refEval(n, r); got != want {
				t.Fatalf("%s is %v in its normal form, want %v", Print(n), got, want)
			}
		}
	}
	if seen < 700 {
		t.Errorf("only %d of 2000 have a normal form of that size", seen)
	}
}
