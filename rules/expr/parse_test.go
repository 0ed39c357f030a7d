package expr

import (
	"strings"
	"testing"
)

// accepted are conditions that can be read, and what they print as.
var accepted = []struct{ text, printed string }{
	// Blanks and parentheses.
	{"a", "a"},
	{"  a  ", "a"},
	{"\ta\n", "a"},
	{"\b\r\na \b\t\r\n", "a"},
	{"(a)", "a"},
	{"( a )", "a"},
	{" ( ( a ) ) ", "a"},
	{"((((((((a))))))))", "a"},
	{"a_1B", "a_1B"},
	// Words that join need a blank or a parenthesis after them, not before.
	{"a and b", "(a and b)"},
	{"a\nand\nb", "(a and b)"},
	{"a and(b)", "(a and b)"},
	{"(a)and(b)", "(a and b)"},
	{"(a)and b", "(a and b)"},
	{"(a)or(b)or(c)", "(a or b or c)"},
	{"a or(b)", "(a or b)"},
	{"a or ( b )", "(a or b)"},
	{"a.b exists and(c)", "(a.b exists and c)"},
	{"a.b=c or(d)", "(a.b = c or d)"},
	{"a.b in (c)and d", "(a.b in (c) and d)"},
	{"a.b=\"c\"and d", "(a.b = c and d)"},
	// Precedence: not, and, or.
	{"a or b and c", "(a or (b and c))"},
	{"a and b or c", "((a and b) or c)"},
	{"a and b or c and d or e", "((a and b) or (c and d) or e)"},
	{"a and (b or c) and d", "(a and (b or c) and d)"},
	{"a and b and c and d", "(a and b and c and d)"},
	{"a and (b and c)", "(a and (b and c))"},
	{"not a and b", "(not a and b)"},
	{"not a or not b", "(not a or not b)"},
	{"not (a or b)", "not (a or b)"},
	{"not(a)", "not a"},
	{"not(a and b)or c", "(not (a and b) or c)"},
	{"not not a", "a"}, // one takes the other back
	{"not not(a)", "a"},
	{"not not not a", "not a"},
	{"not (not a)", "not not a"}, // the tree is as it was written
	{"not not (not a and b)", "(not a and b)"},
	{"not(not(not a))", "not not not a"},
	{"not\ta", "not a"},
	{"not\n( a )", "not a"},
	{"a and not b", "(a and not b)"},
	{"a and not(b)", "(a and not b)"},
	{"a or not not b", "(a or b)"},
	{"not a.b = c", "not a.b = c"},
	{"not a.b exists", "not a.b exists"},
	// Words that only begin like a keyword are names of macros.
	{"nota", "nota"},
	{"not_a and andy or order", "((not_a and andy) or order)"},
	{"android", "android"},
	{"existsx", "existsx"},
	{"tolower", "tolower"},
	{"len and val", "(len and val)"},
	{"in or contains", "(in or contains)"},
	// Operators, with and without blanks.
	{"a.b exists", "a.b exists"},
	{"a.b=c", "a.b = c"},
	{"a.b =c", "a.b = c"},
	{"a.b= c", "a.b = c"},
	{"a.b  =  c", "a.b = c"},
	{"a.b==c", "a.b == c"},
	{"a.b!=c", "a.b != c"},
	{"a.b<1", "a.b < 1"},
	{"a.b<=1", "a.b <= 1"},
	{"a.b>1", "a.b > 1"},
	{"a.b>=1", "a.b >= 1"},
	{"a.b>= -1", "a.b >= -1"},
	{"a.b glob c*", "a.b glob c*"},
	{"a.b iglob c?[d]", "a.b iglob c?[d]"},
	{"a.b contains c", "a.b contains c"},
	{"a.b contains\tc", "a.b contains c"},
	{"a.b icontains c", "a.b icontains c"},
	{"a.b bcontains c0", "a.b bcontains c0"},
	{"a.b startswith c", "a.b startswith c"},
	{"a.b bstartswith c0", "a.b bstartswith c0"},
	{"a.b endswith c", "a.b endswith c"},
	{"a.b regex c.*", "a.b regex c.*"},
	{"a.b in (c)", "a.b in (c)"},
	{"a.b in(c)", "a.b in (c)"},
	{"a.b intersects(c,d)", "a.b intersects (c, d)"},
	{"a.b pmatch(/c)", "a.b pmatch (/c)"},
	{"a.b in\n(c)", "a.b in (c)"},
	// Modifiers.
	{"a.b = anyof (c, d)", "a.b = anyof (c, d)"},
	{"a.b=oneof(c)", "a.b = oneof (c)"},
	{"a.b != allof ()", "a.b != allof ()"},
	{"a.b startswith oneof (/c, /d)", "a.b startswith oneof (/c, /d)"},
	{"a.b contains anyof some_list", "a.b contains anyof some_list"},
	{"a.b = oneofx", "a.b = oneofx"},
	{`a.b = "oneof"`, `a.b = "oneof"`},
	{`a.b in (oneof, "anyof")`, "a.b in (oneof, anyof)"},
	{"a.b = oneof oneof", "a.b = oneof oneof"},
	{"a.b = oneof val(c.d)", "a.b = oneof val(c.d)"},
	// Lists.
	{"a.b in ()", "a.b in ()"},
	{"a.b in (  )", "a.b in ()"},
	{"a.b in ( c , d )", "a.b in (c, d)"},
	{"a.b in (c,d,e)", "a.b in (c, d, e)"},
	{`a.b in ("c d", 'e,f', g)`, `a.b in ("c d", "e,f", g)`},
	{`a.b in ("")`, `a.b in ("")`},
	{"a.b in (/c/*, d:e, [f], <NA>, !g, 1.5)", "a.b in (/c/*, d:e, [f], <NA>, !g, 1.5)"},
	{"a.b in some_list", "a.b in some_list"},
	{"a.b pmatch some_list and c", "(a.b pmatch some_list and c)"},
	{"a.b in val(c.d)", "a.b in val(c.d)"},
	{"a.b in tolower(c.d)", "a.b in tolower(c.d)"},
	// Values: anything but blanks, parentheses, commas, = and quotes.
	{"a.b = /c/d", "a.b = /c/d"},
	{"a.b = c:d", "a.b = c:d"},
	{"a.b = [c]", "a.b = [c]"},
	{"a.b = {c}", "a.b = {c}"},
	{"a.b = *c?", "a.b = *c?"},
	{"a.b = <NA>", "a.b = <NA>"},
	{"a.b = c.d", "a.b = c.d"},
	{"a.b = c!d", "a.b = c!d"},
	{`a.b = c\d`, `a.b = c\d`},
	{"a.b = 1", "a.b = 1"},
	{"a.b = -1", "a.b = -1"},
	{"a.b = 0x1F", "a.b = 0x1F"},
	{"a.b = ;|&$%#@~`^+-_", "a.b = ;|&$%#@~`^+-_"},
	{"a.b = exists", "a.b = exists"},
	{"a.b = and and c", "(a.b = and and c)"},
	{"a.b = not", "a.b = not"},
	{"a.b = é", "a.b = é"},
	{"a.b = c\u00a0d", "a.b = c\u00a0d"}, // a no-break space is not a blank
	{"a.b = val", "a.b = val"},
	{"a.b = len and (c or d)", "(a.b = len and (c or d))"},
	{"a.b startswith !", "a.b startswith !"},
	{"a.b = !c", "a.b = !c"},
	// Quoted strings and their escapes.
	{`a.b = "c"`, "a.b = c"},
	{`a.b = 'c'`, "a.b = c"},
	{`a.b="c"`, "a.b = c"},
	{`a.b = ""`, `a.b = ""`},
	{`a.b = ''`, `a.b = ""`},
	{`a.b = "c d"`, `a.b = "c d"`},
	{`a.b = 'c "d"'`, `a.b = "c \"d\""`},
	{`a.b = "c 'd'"`, `a.b = "c 'd'"`},
	{`a.b = "c \"d\""`, `a.b = "c \"d\""`},
	{`a.b = 'c\'d'`, `a.b = "c'd"`},
	{`a.b = "\b\f\n\r\t"`, `a.b = "\b\f\n\r\t"`},
	{`a.b = "\\"`, `a.b = \`},
	{`a.b = "\ "`, `a.b = \`},
	{`a.b = "c\\ d"`, `a.b = "c\\ d"`},
	{`a.b = "\/c"`, "a.b = /c"},
	{`a.b = "\x41\x7a"`, "a.b = Az"},
	{`a.b = "\x01\xfF"`, `a.b = "\x01\xff"`},
	{"a.b = \"c\nd\"", `a.b = "c\nd"`},
	{`a.b = "é"`, "a.b = é"},
	{`a.b = "(c)"`, `a.b = "(c)"`},
	{`a.b = "c=d,e"`, `a.b = "c=d,e"`},
	// Numbers.
	{"a.b > 0", "a.b > 0"},
	{"a.b > +1", "a.b > +1"},
	{"a.b > -12", "a.b > -12"},
	{"a.b > 1.5", "a.b > 1.5"},
	{"a.b > 1.", "a.b > 1."},
	{"a.b > 1e3", "a.b > 1e3"},
	{"a.b > -1.5E-3", "a.b > -1.5E-3"},
	{"a.b > 0xFFff", "a.b > 0xFFff"},
	{"a.b > 0Xa", "a.b > 0Xa"},
	{"a.b > val(c.d)", "a.b > val(c.d)"},
	{"a.b <= len(c.d)", "a.b <= len(c.d)"},
	{"(a.b>1)", "a.b > 1"},
	// Fields and their arguments.
	{"a.b.c.d exists", "a.b.c.d exists"},
	{"A1_.b2_.c exists", "A1_.b2_.c exists"},
	{"a.b[c] exists", "a.b[c] exists"},
	{"a.b[0] = c", "a.b[0] = c"},
	{"a.b[c]=d", "a.b[c] = d"},
	{`a.b["c d"] = e`, `a.b["c d"] = e`},
	{`a.b['c'] = e`, "a.b[c] = e"},
	{`a.b[""] = e`, `a.b[""] = e`},
	{`a.b["]"] = e`, `a.b["]"] = e`},
	{`a.b["\""] = e`, `a.b["\""] = e`},
	{"a.b[/c/0/d] = e", "a.b[/c/0/d] = e"},
	{"a.b[(c,d=e)] = f", "a.b[(c,d=e)] = f"},
	{"a.b[/proc*] in (c)", "a.b[/proc*] in (c)"},
	{`a.b[c\d] exists`, `a.b[c\d] exists`},
	{"a.b[c.d] exists", "a.b[c.d] exists"},
	// Transformers and val.
	{"tolower(a.b) = c", "tolower(a.b) = c"},
	{"tolower (a.b) = c", "tolower(a.b) = c"},
	{"tolower( a.b )=c", "tolower(a.b) = c"},
	{"tolower(toupper(a.b[1])) = c", "tolower(toupper(a.b[1])) = c"},
	{"not len(a.b)>1", "not len(a.b) > 1"},
	{"concat(a.b,c,\"d e\") = f", `concat(a.b, c, "d e") = f`},
	{`concat("a.b", c.d) = f`, `concat("a.b", c.d) = f`},
	{"concat(/a.b, .c, 1.d) = f", "concat(/a.b, .c, 1.d) = f"},
	{"join(\",\", (a, b)) = c", `join(",", (a, b)) = c`},
	{"getopt(a.b, \"c:d\")[c] exists", "getopt(a.b, c:d)[c] exists"},
	{"getopt(a.b, c)['d'] in (e)", "getopt(a.b, c)[d] in (e)"},
	{"tolower(val(a.b)) = c", "tolower(val(a.b)) = c"},
	{"a.b = val(c.d)", "a.b = val(c.d)"},
	{"a.b = val( c.d[1] )", "a.b = val(c.d[1])"},
	{"a.b=val(c.d)and e", "(a.b = val(c.d) and e)"},
	{"a.b = toupper(c.d) or e", "(a.b = toupper(c.d) or e)"},
	{"a.b = tolower/c", "a.b = tolower/c"},
	{"b64(a.b) contains c", "b64(a.b) contains c"},
	{"a.b startswith basename(c.d)", "a.b startswith basename(c.d)"},
	{"len((a,b)) = 2", "len((a, b)) = 2"},
}

func TestConditionsThatAreAccepted(t *testing.T) {
	t.Parallel()
	for _, row := range accepted {
		n, err := Parse(row.text)
		if err != nil {
			t.Errorf("Parse(%q): %v at %d", row.text, err, offset(err))
			continue
		}
		if got := Print(n); got != row.printed {
			t.Errorf("Print(Parse(%q)) = %s, want %s", row.text, got, row.printed)
		}
		if again, err := Parse(row.printed); err != nil || Print(again) != withoutTwoNots(row.printed) {
			t.Errorf("%s cannot be read back: %v", row.printed, err)
		}
	}
}

// withoutTwoNots is what a printed condition prints as when it was read back: there a 'not' takes back one before it.
func withoutTwoNots(printed string) string { return strings.ReplaceAll(printed, "not not ", "") }

func TestConditionsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "()", "( )", "(", ")", "(a", "a)", "((a)", "(a))", ")a(", "a b", "a (b)", "(a)(b)", "(a) b", ",", "a,b",
		"and", "or", "not", "and a", "or a", "a and", "a or", "a and and b", "a or or b", "a and or b", "a not b", "not", "not()", "not ()",
		"a andb", "a orb", "(a)andb", "a and(b", "a and ()", "a && b", "a || b", "!a", "not!a", "not-a", "a-b", "_a", "1a", "a.b", "a.b and c", "(a.b)",
		"a = b", "a=b", "a in (b)", "a exists", "a contains b", "a < 1",
		"a.b = ", "a.b =", "a.b !", "a.b =! c", "a.b === c", "a.b = =c", "a.b <> 1", "a.b => 1", "a.b << 1", "a.b ~ c",
		"a.b Exists", "a.b EXISTS", "a.b IN (c)", "a.b AND c", "a.b = c AND d", "a.b = c Or d", "NOT a.b exists",
		"a.b exists c", "a.b exists = c", "a.b exists(c)", "a.b existsand c", "a.b exist",
		"a.b containsc", "a.b contains(c)", "a.b contains\"c\"", "a.b startswithc", "a.b globc", "a.b regexc", "a.b starts with c", "a.b contains", "a.b glob ",
		"a.b < c", "a.b < \"1\"", "a.b < 1x", "a.b < 0x", "a.b < -0x1", "a.b < .5", "a.b < 1e", "a.b < 1e+", "a.b < --1", "a.b < +", "a.b < 1,2", "a.b < (1)", "a.b <", "a.b < 1 2",
		"a.b in", "a.b in c, d", "a.b in (c", "a.b in (c,", "a.b in (c,)", "a.b in (,c)", "a.b in (,)", "a.b in (c d)", "a.b in (c;)(", "a.b in ((c))",
		"a.b in (c, (d))", "a.b in \"c\"", "a.b in /c", "a.b in c.d", "a.b in 1", "a.b in (\"c)", "a.b in (c\"d\")", "a.b inx", "a.b in=c", "a.b pmatch", "a.b in )",
		"a.b = (c)", "a.b = c,d", "a.b = c d", "a.b = c(d)", "a.b = c)", "a.b = c\"d\"", "a.b = \"c\"d", "a.b = \"c\" \"d\"", "a.b = c=d", "a.b = ,", "a.b contains (c, d)",
		"a.b = \"c", "a.b = 'c", "a.b = \"c'", "a.b = \"", "a.b = \"c\\\"", "a.b = \"c\\", `a.b = "\q"`, `a.b = "\u0041"`, `a.b = "\x"`, `a.b = "\x4"`, `a.b = "\xg0"`, `a.b = "\x00"`, `a.b = "\0"`, `a.b = "\é"`,
		"a.b = \"c\x00\"", "a.b = c\x00d", "a\x00", "a.b[c\x00] exists",
		"a. exists", ".a exists", "a..b exists", "a.b. exists", "a.1 exists", "a.b.1 exists", "a._b exists", "1.a exists", "a.b-c exists", "a.b c.d",
		"a.b[ exists", "a.b[] exists", "a.b[c exists", "a.b[c d] exists", "a.b[[c]] exists", "a.b[c]] exists", "a.b[c][d] exists", "a.b [c] exists", "a.b[ c ] exists", "a.b[\"c] exists", "a.b[c\"d\"] exists", "a[b] exists", "a.b]c exists",
		"a.b = oneof", "a.b = oneof c d", "a.b = oneof \"c\"", "a.b = anyof oneof (c)", "a.b in oneof (c)", "a.b exists oneof (c)", "a.b < anyof (1)", "a.b oneof (c)",
		"tolower(a.b)", "tolower(a.b", "tolower()", "tolower(,) = a", "tolower(a.b,) = c", "tolower a.b = c", "tolower(a.b)[c] = d", "foo(a.b) = c", "tolower((a.b) = c", "tolower(a.b)) = c",
		"val(a.b) = c", "val(a.b)", "a.b = val(c)", "a.b = val()", "a.b = val(c.d", "a.b = val(c.d, e.f)", "a.b = val(tolower(c.d))", "a.b = val(\"c.d\")", "a.b = tolower(c.d", "a.b = val(val(c.d))",
		"getopt(a.b, c)[] exists", "getopt(a.b, c)[d e] exists", "getopt(a.b, c)[d exists", "a.b = c # d", "a.b = c; d", "é exists",
	} {
		n, err := Parse(text)
		if err == nil {
			t.Errorf("Parse(%q) = %s, want an error", text, Print(n))
			continue
		}
		if at := offset(err); at < 0 || at > len(text) {
			t.Errorf("Parse(%q): %v at %d", text, err, at)
		}
	}
}

func TestDepthIsLimited(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ before, middle, after string }{{"(", "a", ")"}, {"not(", "a", ")"}, {"tolower(", "a.b", ")"}} {
		nested := func(n int) string {
			text := strings.Repeat(row.before, n) + row.middle + strings.Repeat(row.after, n)
			if row.middle == "a.b" {
				text += " = c"
			}
			return text
		}
		if n, err := Parse(nested(MaxDepth/2 - 1)); err != nil {
			t.Errorf("%s %d times: %v", row.before, MaxDepth/2-1, err)
		} else if again, err := Parse(Print(n)); err != nil || Print(again) != withoutTwoNots(Print(n)) {
			t.Errorf("%s: cannot be read back: %v", row.before, err)
		}
		_, err := Parse(nested(MaxDepth + 1))
		if err == nil || !strings.HasPrefix(err.Error(), "exceeded max depth") {
			t.Errorf("%s %d times: %v", row.before, MaxDepth+1, err)
		}
	}
	if _, err := Parse(strings.Repeat("(", 999) + "a" + strings.Repeat(")", 999)); err != nil {
		t.Errorf("999 parentheses: %v", err)
	}
	for _, word := range []string{"a and ", "not "} {
		if _, err := Parse(strings.Repeat(word, 100_000) + "a"); err != nil {
			t.Errorf("a long condition that is not deep: %v", err)
		}
	}
}

func TestIsOperator(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text     string
		ok, list bool
	}{
		{"=", true, false}, {"==", true, false}, {"!=", true, false}, {"<", true, false}, {">=", true, false}, {"exists", true, false},
		{"startswith", true, false}, {"bcontains", true, false}, {"iglob", true, false}, {"regex", true, false},
		{"in", true, true}, {"intersects", true, true}, {"pmatch", true, true},
		{"startswith oneof", true, true}, {"=  anyof", true, true}, {"!= allof", true, true},
		{"", false, false}, {"oneof", false, false}, {"in oneof", false, false}, {"< oneof", false, false}, {"exists oneof", false, false},
		{"= someof", false, false}, {"IN", false, false}, {"= oneof oneof", false, false}, {"=oneof", false, false},
	} {
		if ok, list := IsOperator(row.text); ok != row.ok || list != row.list {
			t.Errorf("IsOperator(%q) = %v, %v, want %v, %v", row.text, ok, list, row.ok, row.list)
		}
	}
}

func TestIsIdentifier(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"a": true, "a1_": true, "Z": true, "": false, "_a": false, "1a": false, "a-b": false, "a b": false, "a.b": false, "é": false} {
		if got := IsIdentifier(text); got != want {
			t.Errorf("IsIdentifier(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestParseOperand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"a.b": "a.b", " a.b[1] ": "a.b[1]", "tolower( a.b )": "tolower(a.b)", "join(\",\", a.b)": `join(",", a.b)`} {
		if o, err := ParseOperand(text); err != nil || PrintOperand(o) != want {
			t.Errorf("ParseOperand(%q): %v, want %s", text, err, want)
		}
	}
	for text, at := range map[string]int{"": 0, "a": 0, "a.b c": 4, "a.b = c": 4, "tolower(a.b": 11, "(a.b)": 0, "a.b[": 4, "\"a\"": 0} {
		if _, err := ParseOperand(text); offset(err) != at {
			t.Errorf("ParseOperand(%q): %v at %d, want it at %d", text, err, offset(err), at)
		}
	}
}
