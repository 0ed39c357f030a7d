package image

import (
	"regexp/syntax"
	"strings"
	"testing"
)

func TestWhereKeywordsStand(t *testing.T) {
	for _, test := range []struct {
		expression, keywords string
		want                 location
	}{
		{`abc`, "abc", location{true, span{0, 0}, span{3, 3}}},
		{`xabc`, "abc", location{true, span{1, 1}, span{4, 4}}},
		{`(?i)xABC`, "abc", location{true, span{1, 1}, span{4, 4}}},
		{`\bABC[0-9]{4,8}\b`, "abc", location{true, span{0, 0}, span{7, 11}}},
		{`[a-z]{0,5}?(?:abc|abd)`, "abc abd", location{true, span{0, 5}, span{3, 8}}},
		{`[a-z]{0,5}?(?:abc|abd)`, "abc", location{false, span{}, span{3, 8}}},
		{`(?:xabc|abc)z`, "abc", location{true, span{0, 1}, span{4, 5}}},
		{`[Aa]pi`, "api", location{true, span{0, 0}, span{3, 3}}},
		{`passw(?:or)?d`, "passwd password", location{true, span{0, 0}, span{6, 8}}},
		{`a(?:b)?c`, "abc", location{false, span{}, span{2, 3}}},
		{`a.c`, "abc", location{false, span{}, span{3, 6}}},
		{`(?:abc)*x`, "abc", location{false, span{}, span{1, unbounded}}},
		{`(?:abc)+x`, "abc", location{true, span{0, 0}, span{4, unbounded}}},
		{`(?:abc){2,3}`, "abc", location{true, span{0, 0}, span{6, 9}}},
		{`.{2}(abc)`, "abc", location{true, span{2, 8}, span{5, 11}}},
		{`[^a]*abc`, "abc", location{true, span{0, unbounded}, span{3, unbounded}}},
		{`(?i)sk`, "sk", location{true, span{0, 0}, span{2, 5}}}, // ſ and the Kelvin sign are longer
		{`x|abc`, "abc", location{false, span{}, span{1, 3}}},
		{``, "abc", location{false, span{}, span{0, 0}}},
	} {
		parsed, err := syntax.Parse(test.expression, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		got := locate(parsed, strings.Fields(test.keywords))
		if !got.known {
			got.before = span{}
		}
		if got != test.want {
			t.Errorf("%s with %q: %+v, want %+v", test.expression, test.keywords, got, test.want)
		}
	}
}

func TestFirstBytes(t *testing.T) {
	for _, test := range []struct{ expression, yes, no string }{
		{`ab[0-9]{3}`, "ab123 ab12 ab ab999x", "xb123 ab1a ac"},
		{`\b(?i)sk[a-f]{4}`, "skabcd SKABCD sK", "skabcg sa"},
		{`(?:ab|cd)+x`, "abx cdabx ab cdcdcdcd", "ba bb"},
		{`a.c`, "abc aéc axyz", "b"},
		{`a[^b]c`, "axc aéc", "abc b"},
		{`a{30}`, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaab"},
		{`a?`, "b zzz", ""},
	} {
		parsed, err := syntax.Parse(test.expression, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		sets, err := firstBytes(parsed)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range strings.Fields(test.yes) {
			if !sets.match([]byte(text)) {
				t.Errorf("%s: %q cannot be the beginning of a match, want that it can", test.expression, text)
			}
		}
		for _, text := range strings.Fields(test.no) {
			if sets.match([]byte(text)) {
				t.Errorf("%s: %q can be the beginning of a match, want that it cannot", test.expression, text)
			}
		}
	}
}

// TestRulesAreFoundByTheirKeywords notices if a new version of gitleaks brings rules that would make a scan slow.
func TestRulesAreFoundByTheirKeywords(t *testing.T) {
	rules, err := secretRules()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[ruleKind]int{}
	for _, r := range rules.rules {
		kinds[r.kind]++
	}
	if kinds[beginsWithKeyword] < 90 || kinds[hasKeyword] < 90 || kinds[nearKeyword] > 20 || kinds[onlyPath] > 5 {
		t.Errorf("%d rules begin with a keyword, %d have one, %d are tried on all that is near one, %d know paths only", kinds[beginsWithKeyword], kinds[hasKeyword], kinds[nearKeyword], kinds[onlyPath])
	}
	t.Logf("%d, %d, %d, %d", kinds[beginsWithKeyword], kinds[hasKeyword], kinds[nearKeyword], kinds[onlyPath])
}

func TestKeywords(t *testing.T) {
	f, err := newKeywordFinder([]string{"he", "she", "his", "hers", "a-1"})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	text := []byte("usHERS, ahishers A-1")
	words := []string{"he", "she", "his", "hers", "a-1"}
	state := uint16(0)
	for i := range text { // byte by byte, as a word may be in two pieces
		state = f.find(state, text[i:i+1], func(word uint16, at int) {
			if got := strings.ToLower(string(text[i+at : i+1])); got != words[word] {
				t.Errorf("%q was found as %q", got, words[word])
			}
			found = append(found, words[word])
		})
	}
	if got, want := strings.Join(found, " "), "she he hers his she he hers a-1"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}
