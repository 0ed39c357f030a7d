package expr

// A glob is a pattern as fnmatch(3) knows it without flags: * and ? match any characters, also slashes; […] one of a
// class; a backslash takes what follows literally.
type glob struct {
	pattern string
	fold    bool // regardless of the case of ASCII letters
}

func parseGlob(pattern string, fold bool) glob { return glob{pattern, fold} }

// match compares without backtracking further than to the last star, so in time of at most pattern times text.
func (g glob) match(s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		if p < len(g.pattern) && g.pattern[p] == '*' {
			star, mark = p, i
			p++
			continue
		}
		if next, ok := g.one(p, s[i]); ok {
			p, i = next, i+1
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(g.pattern) && g.pattern[p] == '*' {
		p++
	}
	return p == len(g.pattern)
}

// one compares the pattern's element at p with one byte, and returns where the next element is.
func (g glob) one(p int, c byte) (int, bool) {
	if p >= len(g.pattern) {
		return p, false
	}
	switch g.pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		if next, ok, class := g.class(p, c); class {
			return next, ok
		}
	case '\\':
		if p+1 < len(g.pattern) {
			return p + 2, g.same(g.pattern[p+1], c)
		}
	}
	return p + 1, g.same(g.pattern[p], c)
}

func (g glob) same(a, b byte) bool {
	if g.fold {
		return lower(a) == lower(b)
	}
	return a == b
}

// class compares with […], and says whether it is one: without its end the bracket stands for itself.
func (g glob) class(p int, c byte) (next int, ok, class bool) {
	i := p + 1
	negate := i < len(g.pattern) && (g.pattern[i] == '!' || g.pattern[i] == '^')
	if negate {
		i++
	}
	for first := true; i < len(g.pattern) && (g.pattern[i] != ']' || first); first = false {
		low := g.element(&i)
		high := low
		if i+1 < len(g.pattern) && g.pattern[i] == '-' && g.pattern[i+1] != ']' {
			i++
			high = g.element(&i)
		}
		if low <= c && c <= high || g.fold && (low <= lower(c) && lower(c) <= high || low <= upper(c) && upper(c) <= high) {
			ok = true
		}
	}
	if i >= len(g.pattern) {
		return 0, false, false
	}
	return i + 1, ok != negate, true
}

func (g glob) element(i *int) byte {
	if g.pattern[*i] == '\\' && *i+1 < len(g.pattern) {
		*i++
	}
	c := g.pattern[*i]
	*i++
	return c
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}
