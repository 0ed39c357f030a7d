package image

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/viper"
	gitleaks "github.com/zricethezav/gitleaks/v8/config"
)

// Bounds of what is looked at around a keyword, in bytes.
const (
	maxReach  = 16 << 10 // of what has no longest match, such as private keys
	minReach  = 1 << 10  // of the same to begin with
	wordReach = 4        // more on both sides, so that word boundaries are real ones
)

// A secretRule is one of gitleaks' rules, and how to find where it is worth a try.
type secretRule struct {
	gitleaks.Rule
	kind    ruleKind
	before  int            // bytes of a match before its keyword, at most
	reach   int            // bytes from there to its end, at most or to begin with
	first   *byteSets      // of a match that begins with its keyword
	behind  *regexp.Regexp // the expression behind any one letter, where one may begin with its keyword; else nil
	atStart *regexp.Regexp // the same where there is no letter before
}

type ruleKind uint8

const (
	beginsWithKeyword ruleKind = iota
	hasKeyword
	nearKeyword // the keyword is not in the match
	onlyPath    // the name of the file says it
)

// A ruleSet is all rules, and the automaton that finds their keywords. It does not change.
type ruleSet struct {
	rules    []*secretRule
	byWord   [][]int // rules by keyword
	keywords keywordFinder
	allowed  []*gitleaks.Allowlist // for all rules
}

// secretRules reads the rules that come with gitleaks, once: that takes some 40 ms.
var secretRules = sync.OnceValues(func() (*ruleSet, error) {
	reader := viper.New() // gitleaks' own way of reading them
	reader.SetConfigType("toml")
	if err := reader.ReadConfig(strings.NewReader(gitleaks.DefaultConfig)); err != nil {
		return nil, fmt.Errorf("read gitleaks' rules: %w", err)
	}
	var raw gitleaks.ViperConfig
	if err := reader.Unmarshal(&raw); err != nil {
		return nil, fmt.Errorf("read gitleaks' rules: %w", err)
	}
	config, err := raw.Translate()
	if err != nil {
		return nil, fmt.Errorf("read gitleaks' rules: %w", err)
	}
	return newRuleSet(config)
})

func newRuleSet(c gitleaks.Config) (*ruleSet, error) {
	s := &ruleSet{allowed: c.Allowlists}
	words := map[string]int{}
	var spelled []string
	for _, id := range slices.Sorted(slices.Values(c.OrderedRules)) {
		r, err := newSecretRule(c.Rules[id])
		if err != nil {
			return nil, fmt.Errorf("gitleaks' rule %s: %w", id, err)
		}
		s.rules = append(s.rules, r)
		for _, word := range r.Keywords {
			word = strings.ToLower(word)
			w, known := words[word]
			if !known {
				w = len(spelled)
				words[word] = w
				spelled = append(spelled, word)
				s.byWord = append(s.byWord, nil)
			}
			s.byWord[w] = append(s.byWord[w], len(s.rules)-1)
		}
	}
	var err error
	s.keywords, err = newKeywordFinder(spelled)
	return s, err
}

func newSecretRule(rule gitleaks.Rule) (*secretRule, error) {
	r := &secretRule{Rule: rule, kind: onlyPath}
	if rule.Regex == nil {
		return r, nil
	}
	if len(rule.Keywords) == 0 {
		return nil, errors.New("no keywords: want at least one")
	}
	parsed, err := syntax.Parse(rule.Regex.String(), syntax.Perl)
	if err != nil {
		return nil, err
	}
	where := locate(parsed, rule.Keywords)
	r.before, r.reach = where.before.max+wordReach, where.total.max+wordReach
	switch {
	case !where.known || where.before.max > maxReach/2:
		r.kind = nearKeyword
		return r, nil
	case where.before == span{}:
		r.kind, r.reach = beginsWithKeyword, min(r.reach, maxReach)
	case where.total.max > maxReach:
		r.kind, r.reach = hasKeyword, minReach
	default:
		r.kind = hasKeyword
	}
	if where.before.min == 0 {
		r.behind, r.atStart = regexp.MustCompile(`\A(?s:.)(?:`+rule.Regex.String()+")"), regexp.MustCompile(`\A(?:`+rule.Regex.String()+")")
		r.first, err = firstBytes(parsed)
	}
	return r, err
}

// A keywordFinder finds words in any case of ASCII: the automaton of Aho and Corasick, with all its edges filled in. Every
// byte of every file goes through it, so a step is one look at a table and one comparison.
type keywordFinder struct {
	class  [256]uint8 // of bytes that the words tell apart; 0 for all others
	next   []uint16   // state << classBits | class
	found  [][]uint16 // words that end in a state
	ending uint16     // states from here on have some
	length []int      // of words
}

const classBits = 6

func newKeywordFinder(words []string) (keywordFinder, error) {
	var f keywordFinder
	classes := 1
	for _, word := range words {
		f.length = append(f.length, len(word))
		for _, b := range []byte(word) {
			if f.class[b] == 0 {
				f.class[b] = uint8(classes)
				classes++
			}
		}
	}
	if classes > 1<<classBits {
		return f, fmt.Errorf("keywords of %d letters: want at most %d", classes, 1<<classBits)
	}
	for b := byte('A'); b <= 'Z'; b++ {
		f.class[b] = f.class[b+'a'-'A']
	}
	f.addState()
	for w, word := range words {
		state := 0
		for _, b := range []byte(word) {
			edge := state<<classBits | int(f.class[b])
			if f.next[edge] == 0 {
				next := f.addState()
				f.next[edge] = uint16(next)
			}
			state = int(f.next[edge])
		}
		f.found[state] = append(f.found[state], uint16(w))
	}
	if len(f.found) > math.MaxUint16 {
		return f, fmt.Errorf("keywords with %d states: want at most %d", len(f.found), math.MaxUint16)
	}
	f.fill()
	f.sort()
	return f, nil
}

func (f *keywordFinder) addState() int {
	f.next = append(f.next, make([]uint16, 1<<classBits)...)
	f.found = append(f.found, nil)
	return len(f.found) - 1
}

// fill leads every edge that is missing to where the longest word goes on that what was read may begin.
func (f *keywordFinder) fill() {
	shorter := make([]int, len(f.found))
	for todo := []int{0}; len(todo) > 0; todo = todo[1:] {
		state := todo[0]
		for c := range 1 << classBits {
			edge := &f.next[state<<classBits|c]
			otherwise := 0
			if state > 0 {
				otherwise = int(f.next[shorter[state]<<classBits|c])
			}
			if *edge == 0 {
				*edge = uint16(otherwise)
				continue
			}
			to := int(*edge)
			shorter[to] = otherwise
			f.found[to] = append(f.found[to], f.found[otherwise]...)
			todo = append(todo, to)
		}
	}
}

// sort gives the states in which words end the highest numbers. The first state keeps its own.
func (f *keywordFinder) sort() {
	order := make([]int, 0, len(f.found)) // old numbers
	for _, ends := range []bool{false, true} {
		if ends {
			f.ending = uint16(len(order))
		}
		for state, words := range f.found {
			if (len(words) > 0) == ends {
				order = append(order, state)
			}
		}
	}
	number := make([]uint16, len(order))
	for is, was := range order {
		number[was] = uint16(is)
	}
	next, found := make([]uint16, len(f.next)), make([][]uint16, len(f.found))
	for is, was := range order {
		found[is] = f.found[was]
		for c := range 1 << classBits {
			next[is<<classBits|c] = number[f.next[was<<classBits|c]]
		}
	}
	f.next, f.found = next, found
}

// find calls found for every word that ends in text, with where it begins; before text was what led to state. It returns
// the state behind text.
func (f *keywordFinder) find(state uint16, text []byte, found func(word uint16, at int)) uint16 {
	next, ending := f.next, f.ending
	for i, b := range text {
		state = next[int(state)<<classBits|int(f.class[b])]
		if state < ending {
			continue
		}
		for _, w := range f.found[state] {
			found(w, i+1-f.length[w])
		}
	}
	return state
}
