package library

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestShippedQueriesLoad(t *testing.T) {
	all, err := load(files)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 80 {
		t.Errorf("%d queries, want 80 or more", len(all))
	}
	written := map[string]string{}
	for _, q := range all {
		text := strings.Join(strings.Fields(q.Expr), " ")
		if other, twice := written[text]; twice {
			t.Errorf("%s and %s are the same expression", other, q.Name)
		}
		written[text] = q.Name
		if last := q.Doc[len(q.Doc)-1]; last != '.' {
			t.Errorf("%s: doc is no sentence: %q", q.Name, q.Doc)
		}
	}
}

func TestAllIsByGroupAndName(t *testing.T) {
	all := All()
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if a.Group > b.Group || a.Group == b.Group && a.Name >= b.Name {
			t.Errorf("%s (%s) is before %s (%s)", a.Name, a.Group, b.Name, b.Group)
		}
	}
	all[0].Name = "changed"
	if _, ok := Find("changed"); ok {
		t.Error("who changes what All returns changes the library")
	}
}

func TestHandlerServesAll(t *testing.T) {
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/yagura/library", nil))
	var got struct {
		Data []Query
		Next *string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d, %v", w.Code, err)
	}
	if len(got.Data) != len(All()) || got.Next == nil || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d queries, next %v, %s", len(got.Data), got.Next, w.Header())
	}
	for _, q := range got.Data {
		if q.Name == "node_cpu_busy" && (q.Unit != "ratio" || q.Variables["window"].Default != "5m" || !strings.Contains(q.Expr, "$window")) {
			t.Errorf("%+v", q)
		}
	}
	w = httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest("POST", "/api/yagura/library", nil))
	if w.Code != 405 || w.Header().Get("Allow") == "" {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestLoadPointsAtMistakes(t *testing.T) {
	const good = "- {name: a_b, group: G?, title: T, doc: D., unit: count, expr: up}\n"
	one := func(change, to string) string { return strings.Replace(good, change, to, 1) }
	for text, want := range map[string]string{
		good + good:                                                    `x.yaml:2:3: name "a_b" is taken: x.yaml:1:3`,
		one("a_b", "up"):                                               `x.yaml:1:3: name "up": want two or more words in snake_case`,
		one("a_b", "A-b"):                                              `snake_case`,
		one("doc: D., ", ""):                                           `x.yaml:1:3: a_b: want group, title, doc and expr`,
		one("unit: count", "unit: furlongs"):                           `a_b: unit "furlongs": want one of bytes, `,
		one("unit: count, ", ""):                                       `a_b: unit ""`,
		one("expr: up", "type: matrix, expr: up"):                      `a_b: type "matrix": want vector or scalar`,
		one("expr: up", "expr: up > $nope"):                            `a_b: $nope is not declared`,
		one("expr: up", "variables: {x: {doc: d}}, expr: up"):          `a_b: variable "x" is not in the expression`,
		one("expr: up", "variables: {x: {default: 5}}, expr: up > $x"): `a_b: variable "x" has no doc`,
		one("expr: up", "variables: {x: {doc: d}}, expr: up > $x"):     `want a number, or a duration`,
		one("title: T", "titel: T"):                                    `x.yaml:1:`,
		"a: b\n":                                                       `want a list of queries`,
		"- [\n":                                                        `x.yaml:`,
		"- 5\n":                                                        `x.yaml:1:`,
	} {
		_, err := load(fstest.MapFS{"x.yaml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  got  %v\n  want %s", text, err, want)
		}
	}
	if all, err := load(fstest.MapFS{"x.yaml": {Data: []byte("# nothing yet\n")}, "y.yaml": {Data: []byte(good)}}); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestExpandPutsValuesInPlace(t *testing.T) {
	q := Query{Name: "q", Expr: `sum(rate(a{x=~"$x",y="${x}_$y^a$",z='\'$y'}[$window])) > ${n} # $y's`, Variables: map[string]Variable{
		"x": {Default: ".*"}, "y": {Default: "1"}, "window": {Default: "5m"}, "n": {Default: "2"}}}
	for _, c := range []struct {
		values map[string]string
		want   string // an error if it begins with !
	}{
		{nil, `sum(rate(a{x=~".*",y=".*_1^a$",z='\'1'}[5m])) > 2 # $y's`},
		{map[string]string{"x": "web|$y", "window": "1h30m", "n": "-0.5"}, `sum(rate(a{x=~"web|$y",y="web|$y_1^a$",z='\'1'}[1h30m])) > -0.5 # $y's`},
		{map[string]string{"x": ""}, `sum(rate(a{x=~"",y="_1^a$",z='\'1'}[5m])) > 2 # $y's`},
		{map[string]string{"nope": "1"}, `!q: no variable "nope": it has n, window, x, y`},
		{map[string]string{"x": `a"} or up{b="`}, `!q: variable x: "a\"} or up{b=\"": want no quote`},
		{map[string]string{"y": `it's`}, `!want no quote`},
		{map[string]string{"y": "a`"}, `!want no quote`},
		{map[string]string{"y": `a\`}, `!want no quote, backslash`},
		{map[string]string{"y": "a\nb"}, `!want no quote, backslash or line break`},
		{map[string]string{"window": "5m]) or vector(1"}, `!q: variable window: "5m]) or vector(1": want a number, or a duration such as 5m`},
		{map[string]string{"window": "$__rate_interval"}, `!want a number`},
		{map[string]string{"window": ""}, `!want a number`},
		{map[string]string{"n": "1 or up"}, `!want a number`},
	} {
		got, err := q.Expand(c.values)
		if want, fails := strings.CutPrefix(c.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %q, %v; want %s", c.values, got, err, want)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%v:\n  got  %q, %v\n  want %q", c.values, got, err, c.want)
		}
	}
}

func TestExprTakesVariablesOfGrafana(t *testing.T) {
	got := Expr("node_cpu_busy", map[string]string{"window": "$__rate_interval", "instance": "$instance"})
	if !strings.Contains(got, "[$__rate_interval]") || !strings.Contains(got, `instance=~"$instance"`) || !strings.Contains(got, `job=~".*"`) {
		t.Error(got)
	}
	for name, values := range map[string]map[string]string{
		"no_such_query":     nil,
		"node_cpu_busy":     {"window": "$__rate_interval]"},
		"node_load_per_cpu": {"nope": "1"},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s with %v: no panic", name, values)
				}
			}()
			Expr(name, values)
		}()
	}
}

func FuzzExpand(f *testing.F) {
	f.Add(`a{x="$x"}[$x]`, "5m")
	f.Add("a{x='\\'$x`#", "`")
	f.Fuzz(func(t *testing.T, expr, value string) {
		q := Query{Name: "q", Expr: expr, Variables: map[string]Variable{"x": {}}}
		got, err := q.Expand(map[string]string{"x": value})
		if err != nil {
			return
		}
		harmless, err := q.Expand(map[string]string{"x": "1"})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := openString(got), openString(harmless); a != b {
			t.Errorf("%q with %q ends in another string (%q) than with 1 (%q)", expr, value, a, b)
		}
	})
}

// openString is the quote of the string or the # of the comment in which an expression ends, 0 if in none.
func openString(expr string) (quote rune) {
	escaped := false
	for _, c := range expr {
		switch {
		case escaped:
			escaped = false
		case quote == '#':
			if c == '\n' {
				quote = 0
			}
		case quote != 0 && quote != '`' && c == '\\':
			escaped = true
		case quote == 0 && strings.ContainsRune("\"'`#", c):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	return quote
}
