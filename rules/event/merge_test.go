package event

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func below(paths ...string) *PathSet { return &PathSet{Prefixes: paths} }

func TestMergeIsTheUnion(t *testing.T) {
	const openat, unlink = Type(2), Type(34)
	success := Term{Results: Zero | Positive, Opens: AnyOpen, Families: AnyFamily}
	at := func(t Term, paths *PathSet) Term { t.Paths = paths; return t }
	failure := Term{Results: Failed, Opens: AnyOpen, Families: AnyFamily}
	for _, c := range []struct {
		name   string
		a, b   []Term
		merged []Term
	}{
		{"one only", []Term{success}, nil, []Term{success}},
		{"the same", []Term{success}, []Term{success}, []Term{success}},
		{"paths of one kind of call", []Term{at(success, below("/etc/"))}, []Term{at(success, below("/bin/", "/etc/"))}, []Term{at(success, below("/bin/", "/etc/"))}},
		{"any path and some", []Term{at(success, below("/etc/"))}, []Term{success}, []Term{success}},
		{"one within another", []Term{at(failure, below("/etc/"))}, []Term{AnyTerm}, []Term{AnyTerm}},
		{"neither within another", []Term{failure}, []Term{at(success, below("/etc/"))}, []Term{failure, at(success, below("/etc/"))}},
		{"nothing satisfies it", []Term{{}}, []Term{{Results: Failed}}, nil},
	} {
		a := Interest{Terms: map[Type][]Term{openat: c.a}, Env: true}
		b := Interest{Terms: map[Type][]Term{openat: c.b, unlink: {AnyTerm}}, Entry: map[Type]bool{unlink: true}}
		for _, got := range []Interest{a.Merge(b), b.Merge(a)} {
			if len(got.Terms[openat]) != len(c.merged) || len(c.merged) == 1 && !reflect.DeepEqual(got.Terms[openat], c.merged) {
				t.Errorf("%s: %s, want %s", c.name, texts(got.Terms[openat]), texts(c.merged))
			}
			if !got.Env || !got.Entry[unlink] || !got.Wants(unlink) || got.Wants(openat) != (len(c.merged) > 0) {
				t.Errorf("%s: merged to %+v, want both, with the environment and the entry of unlink", c.name, got)
			}
		}
	}
}

// A small world of calls: all that a term can tell apart, with one path each, which leads somewhere; empty if nobody knows where.
type smallCall struct {
	result       Results
	open, family int
	path, leads  string
}

func (t Term) allows(c smallCall) bool {
	return t.Results&c.result != 0 && t.Opens&(1<<c.open) != 0 && t.Families&(1<<c.family) != 0 &&
		(t.Paths == nil || t.Paths.has(c.leads) || t.Resolved && c.leads == "" || !t.Resolved && t.Paths.has(c.path))
}

func (s *PathSet) has(path string) bool {
	return path != "" && (slices.Contains(s.Exact, path) || slices.ContainsFunc(s.Prefixes, func(p string) bool { return strings.HasPrefix(path, p) }) ||
		slices.Contains(s.Names, path[strings.LastIndexByte(path, '/')+1:]))
}

var smallPaths = []string{"/a", "/a/b", "/c", "/c/b", "/d"}

func smallWorld(yield func(smallCall)) {
	for _, result := range []Results{Failed, Zero, Positive} {
		for open := range 16 {
			for family := range 4 {
				for _, path := range smallPaths {
					for _, leads := range []string{path, "", "/a/b"} {
						yield(smallCall{result, open, family, path, leads})
					}
				}
			}
		}
	}
}

func randomTerms(r *rand.Rand, most int) (terms []Term) {
	for range r.IntN(most + 1) {
		t := Term{Results: Results(r.IntN(8)), Opens: uint16(r.Uint32()), Families: uint8(r.IntN(16)), Resolved: r.IntN(2) == 0}
		path := smallPaths[r.IntN(len(smallPaths))]
		switch r.IntN(4) {
		case 0:
			t.Paths = &PathSet{Exact: []string{path}}
		case 1:
			t.Paths = &PathSet{Prefixes: []string{path}}
		case 2:
			t.Paths = &PathSet{Names: []string{path[strings.LastIndexByte(path, '/')+1:]}}
		}
		terms = append(terms, t)
	}
	return terms
}

func TestMergeIsNeverNarrowerNorTooLong(t *testing.T) {
	const some = Type(1)
	wider := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		a, b := randomTerms(r, MaxTerms), randomTerms(r, MaxTerms)
		before := fmt.Sprint(texts(a), texts(b))
		got := Interest{Terms: map[Type][]Term{some: a}}.Merge(Interest{Terms: map[Type][]Term{some: b}}).Terms[some]
		if len(got) > MaxTerms {
			t.Fatalf("seed %d: %d terms, want at most %d", seed, len(got), MaxTerms)
		}
		if after := fmt.Sprint(texts(a), texts(b)); after != before {
			t.Fatalf("seed %d: what was merged has changed from %s to %s", seed, before, after)
		}
		allows := func(terms []Term, c smallCall) bool {
			return slices.ContainsFunc(terms, func(t Term) bool { return t.allows(c) })
		}
		smallWorld(func(c smallCall) {
			was, is := allows(a, c) || allows(b, c), allows(got, c)
			if was && !is {
				t.Errorf("seed %d: %+v was allowed and is not", seed, c)
			}
			if is && !was {
				wider++
				if len(a)+len(b) <= MaxTerms {
					t.Errorf("seed %d: %+v was not allowed and is, of %d terms", seed, c, len(a)+len(b))
				}
			}
		})
	}
	t.Logf("%d calls are allowed that were not", wider)
}

func texts(terms []Term) string {
	var b strings.Builder
	for _, t := range terms {
		fmt.Fprintf(&b, "{%d %x %x", t.Results, t.Opens, t.Families)
		if t.Paths != nil {
			fmt.Fprintf(&b, " %v %v", *t.Paths, t.Resolved)
		}
		b.WriteString("}")
	}
	return b.String()
}
