package rules

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Every character of a scalar that is no blank stands in the file where offset says, however the scalar is written.
func TestOffsetsOfScalars(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"plain", "- a: evt.type = open", "evt.type = open"},
		{"plain over lines", "- a: evt.type = open\n    and\n\n    x\n  b: c", "evt.type = open and\nx"},
		{"plain with characters of several bytes", "- é: {ü: 1, a: größe = ß and x}", "größe = ß and x"},
		{"on the next line", "- a:\n    b c\n    d", "b c d"},
		{"folded", "- a: >\n    evt.type = open\n    and x\n  b: c", "evt.type = open and x\n"},
		{"folded, with more indentation", "- a: >\n    b\n      c\n    d\n", "b\n  c\nd\n"},
		{"folded, with paragraphs", "- a: >-\n\n    b\n\n    c\n", "\nb\nc"},
		{"literal", "- a: |\n    evt.type = open\n      and x\n", "evt.type = open\n  and x\n"},
		{"literal with a comment behind its sign", "- a: | # no > x\n    b\n    c\n", "b\nc\n"},
		{"literal with CR LF", "- a: |\r\n    b\r\n    c\r\n", "b\nc\n"},
		{"single quotes", "- a: 'it''s\n    ''a'''", "it's 'a'"},
		{"double quotes", `- a: "x \"y\" \\ z\t\x41\u00e9b\U0001F600c d"`, "x \"y\" \\ z\tAéb😀c d"},
		{"double quotes over lines", "- a: \"x\n    y \\\n    z\"", "x y z"},
		{"number", "- a: 007", "007"},
		{"tag", "- a: !!str   c d", "c d"},
		{"tag and anchor before a block", "- a: &x !!str >-\n    c\n    d", "c d"},
		{"tabs", "- a: evt.type\t=\topen\n  b: c", "evt.type\t=\topen"},
		{"alias", "- b: &x c d\n- a: *x", "c d"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newRulesFile("a.yaml", test.text, &Result{})
			documents, err := parseYAML(f)
			if err != nil {
				t.Fatal(err)
			}
			n := documents[0].items[len(documents[0].items)-1].get("a")
			if n == nil {
				n = documents[0].items[0].keys[0].value.get("a")
			}
			if n.text != test.want {
				t.Fatalf("value is %q, want %q", n.text, test.want)
			}
			last := -1
			for i, r := range n.text {
				at := n.offset(i)
				if isYAMLBlank(n.text[i]) {
					continue
				}
				if at <= last {
					t.Errorf("%q at %d is at %d, not behind the one before, at %d", r, i, at, last)
				}
				last = at
				if got, _ := utf8.DecodeRuneInString(f.text[at:]); got != r && !strings.HasPrefix(f.text[at:], `\`) {
					t.Errorf("%q at %d is at %d, which is %q", r, i, at, got)
				}
			}
			if end := n.offset(len(n.text)); end <= last || end > len(f.text) {
				t.Errorf("the end is at %d, want behind %d", end, last)
			}
		})
	}
}

func TestPassagesKnowTheirOrigin(t *testing.T) {
	t.Parallel()
	f := newRulesFile("a.yaml", "- [first, >\n  second\n, third]", &Result{})
	f = newRulesFile("a.yaml", "- first\n- >\n  second one\n- third\n", f.result)
	documents, err := parseYAML(f)
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := documents[0].items[0], documents[0].items[1], documents[0].items[2]
	p := passageOf(first).then(passageOf(second)).then(passageOf(third))
	if want := "first second one\n third"; p.text != want {
		t.Fatalf("text is %q, want %q", p.text, want)
	}
	var b passageBuilder
	b.copy(&p, 2, len(p.text)-2)
	b.write("(whole)", second)
	cut := b.passage()
	if want := "rst second one\n thi(whole)"; cut.text != want {
		t.Fatalf("text is %q, want %q", cut.text, want)
	}
	for _, test := range []struct{ part, stands string }{
		{"rst", "rst"}, {"st ", "st"}, {"second", "second"}, {"one", "one"}, {"thi", "third"}, {"i(", "ird"}, {"(whole)", ">"}, {"le)", ">"},
	} {
		if o := cut.origin(strings.Index(cut.text, test.part)); !strings.HasPrefix(f.text[o.at:], test.stands) {
			t.Errorf("%q stands at %.8q, want %q", test.part, f.text[o.at:], test.stands)
		}
	}
}

func TestSnippets(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 200) + "X" + strings.Repeat("b", 200)
	f := newRulesFile("a.yaml", "\tä: x\r\n"+long+"\n", &Result{})
	for _, test := range []struct {
		at   string
		want string
	}{
		{"x", "\tä: x\n\t   ^\n"},
		{"X", "..." + strings.Repeat("a", 80) + "X" + strings.Repeat("b", 76) + "...\n" + strings.Repeat(" ", 83) + "^\n"},
	} {
		if got := f.snippet(strings.Index(f.text, test.at)); got != test.want {
			t.Errorf("snippet of %s is\n%s\nwant\n%s", test.at, got, test.want)
		}
	}
	if got, want := f.snippet(len(f.text)), "\n^\n"; got != want {
		t.Errorf("snippet of the end is %q, want %q", got, want)
	}
	if got := newRulesFile("a.yaml", "", nil).snippet(0); got != "<No context available>\n" {
		t.Errorf("snippet of an empty file is %q", got)
	}
}
