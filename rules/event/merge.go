package event

import (
	count "math/bits"
	"slices"
)

// Merge is what either of two interests allows, and may be more: of more terms of one type than the kernel keeps apart, those
// that are most alike become one which allows what each did. It shares no memory that it changes with either.
func (i Interest) Merge(o Interest) Interest {
	sum := Interest{Terms: map[Type][]Term{}, Env: i.Env || o.Env, Entry: map[Type]bool{}}
	for _, one := range []Interest{i, o} {
		for t, terms := range one.Terms {
			sum.Terms[t] = append(sum.Terms[t], terms...)
		}
		for t, asked := range one.Entry {
			sum.Entry[t] = sum.Entry[t] || asked
		}
	}
	for t, terms := range sum.Terms {
		if terms = mergeTerms(terms); len(terms) == 0 {
			delete(sum.Terms, t)
			continue
		}
		sum.Terms[t] = terms
	}
	return sum
}

// mergeTerms leaves out what is said twice. While there are too many terms it goes on with those that are most alike.
func mergeTerms(terms []Term) []Term {
	terms = withoutRepetition(terms)
	for len(terms) > MaxTerms {
		one, other := mostAlike(terms)
		terms[one] = terms[one].or(terms[other])
		terms = withoutRepetition(slices.Delete(terms, other, other+1))
	}
	return terms
}

// withoutRepetition leaves out terms that nothing satisfies or that others contain, and puts together those that differ in
// their paths only, which allows no more.
func withoutRepetition(terms []Term) []Term {
	var apart []Term
	for _, t := range terms {
		if t.Results == 0 || t.Opens == 0 || t.Families == 0 {
			continue
		}
		if same := slices.IndexFunc(apart, func(o Term) bool { return o.differences(t) == 0 }); same >= 0 {
			apart[same] = apart[same].or(t)
			continue
		}
		apart = append(apart, t)
	}
	var kept []Term
	for _, t := range apart {
		if !slices.ContainsFunc(apart, func(o Term) bool { return o.differences(t) > 0 && o.contains(t) }) {
			kept = append(kept, t)
		}
	}
	return kept
}

// or allows what either does, and what has the results of one and the opens of the other, and so on. Terms that ask for where
// paths lead and for how they are spelled have none in common.
func (t Term) or(o Term) Term {
	both := Term{Results: t.Results | o.Results, Opens: t.Opens | o.Opens, Families: t.Families | o.Families}
	if t.Resolved == o.Resolved {
		both.Paths, both.Resolved = t.Paths.or(o.Paths), t.Resolved
	}
	return both
}

func (s *PathSet) or(o *PathSet) *PathSet {
	if s == nil || o == nil {
		return nil
	}
	return &PathSet{Exact: sortedUnion(s.Exact, o.Exact), Prefixes: sortedUnion(s.Prefixes, o.Prefixes), Names: sortedUnion(s.Names, o.Names)}
}

func sortedUnion(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// differences is how many signs, ways to open and families only one of two terms allows, and whether only one asks for where
// paths lead.
func (t Term) differences(o Term) int {
	differ := 0
	if t.Resolved != o.Resolved {
		differ = 1
	}
	return differ + count.OnesCount8(uint8(t.Results^o.Results)) + count.OnesCount16(t.Opens^o.Opens) + count.OnesCount8(t.Families^o.Families)
}

// contains says that whatever satisfies o satisfies t.
func (t Term) contains(o Term) bool {
	return t.Paths == nil && o.Results&^t.Results == 0 && o.Opens&^t.Opens == 0 && o.Families&^t.Families == 0
}

// mostAlike are the two terms whose union allows least more. Paths that are given up weigh more than all else.
func mostAlike(terms []Term) (one, other int) {
	least := -1
	for i, a := range terms {
		for j := i + 1; j < len(terms); j++ {
			b := terms[j]
			more := a.differences(b)
			if (a.Paths == nil) != (b.Paths == nil) || a.Resolved != b.Resolved {
				more += 100
			}
			if least < 0 || more < least {
				least, one, other = more, i, j
			}
		}
	}
	return one, other
}
