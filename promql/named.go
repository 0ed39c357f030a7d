package promql

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	questions "github.com/yagura-io/yagura/promql/library"
)

// lineWidth is where texts for people are broken.
const lineWidth = 100

// named returns the query of the library that a word is the name of. No name is the name of a metric, so whoever asks for a metric
// gets it.
func named(text string) (questions.Query, bool) { return questions.Find(strings.TrimSpace(text)) }

// expand puts the query of the library in the place of its name. Anything else is PromQL as it is, and has no variables to set.
func expand(text string, values map[string]string) (expr, title string, err error) {
	q, ok := named(text)
	if ok {
		expr, err = q.Expand(values)
		return expr, fmt.Sprintf("%s (%s)", q.Title, unitText(q.Unit)), err
	}
	if len(values) > 0 {
		return "", "", fmt.Errorf("--var belongs to a query of the library: %w", unknown(text))
	}
	return text, "", nil
}

// unknown says that the library has no such query, and which have a name like it.
func unknown(name string) error {
	name = strings.TrimSpace(name)
	var like []string
	for _, q := range questions.All() {
		if near(name, q.Name) {
			like = append(like, q.Name)
		}
	}
	if len(like) == 0 {
		return fmt.Errorf("the library has no query %q: yagura query --list shows all", name)
	}
	slices.Sort(like)
	return fmt.Errorf("the library has no query %q: did you mean %s?", name, strings.Join(like[:min(len(like), 5)], ", "))
}

// near says whether one name is part of the other, or differs in one word.
func near(a, b string) bool {
	if a == "" {
		return false
	}
	if strings.Contains(a, b) || strings.Contains(b, a) {
		return true
	}
	as, bs := strings.Split(a, "_"), strings.Split(b, "_")
	same := 0
	for _, word := range as {
		if slices.Contains(bs, word) {
			same++
		}
	}
	return same > 0 && same >= max(len(as), len(bs))-1
}

// unitText is a unit as people read it.
func unitText(name string) string { return strings.ReplaceAll(name, "_", " ") }

// writeList lists queries by the question that they answer: those in whose name or texts the pattern is found.
func writeList(w io.Writer, all []questions.Query, pattern string) error {
	if _, err := regexp.Compile(pattern); err != nil {
		return fmt.Errorf("--list: %w", err)
	}
	wanted := regexp.MustCompile("(?im)" + pattern)
	group, found := "", false
	for _, q := range all {
		if !wanted.MatchString(strings.Join([]string{q.Name, q.Group, q.Title, q.Doc}, "\n")) {
			continue
		}
		if q.Group != group {
			fmt.Fprintf(w, "%s%s\n", map[bool]string{true: "\n"}[found], q.Group)
		}
		group, found = q.Group, true
		fmt.Fprintf(w, "  %s\n%s\n", q.Name, wrap(fmt.Sprintf("%s (%s). %s", q.Title, unitText(q.Unit), q.Doc), "      "))
	}
	if !found {
		return fmt.Errorf("--list %s: the library has nothing like it", pattern)
	}
	return nil
}

// writeExplanation prints what a query of the library is about, and what can be set.
func writeExplanation(w io.Writer, q questions.Query, values map[string]string) error {
	expanded, err := q.Expand(values)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %s\n%s\n\n%s\n\nunit: %s\n", q.Name, q.Title, q.Group, wrap(q.Doc, ""), unitText(q.Unit))
	if len(q.Variables) > 0 {
		fmt.Fprintln(w, "\nvariables, as --var NAME=VALUE:")
		tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, name := range q.VariableNames() {
			v := q.Variables[name]
			value := v.Default
			if set, ok := values[name]; ok {
				value = set
			}
			fmt.Fprintf(tab, "  %s\t%s\t%s\n", name, cmp.Or(value, `""`), v.Doc)
		}
		if err := tab.Flush(); err != nil {
			return err
		}
	}
	expr := q.Expr
	if len(values) > 0 {
		expr = expanded
	}
	_, err = fmt.Fprintf(w, "\nexpression:\n  %s\n", strings.ReplaceAll(expr, "\n", "\n  "))
	return err
}

// wrap breaks a text into lines, each after a margin.
func wrap(text, margin string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
			b.WriteString(margin)
			column = len(margin)
		case column+1+len(word) > lineWidth:
			b.WriteString("\n" + margin)
			column = len(margin)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// libraryNames are what shells complete.
func libraryNames() []string {
	var names []string
	for _, q := range questions.All() {
		names = append(names, q.Name)
	}
	return names
}
