package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yagura-io/yagura/rules/expr"
)

// FuzzLoad: whatever a file holds, loading it ends, says where each problem is, and what it loads can be compiled.
func FuzzLoad(f *testing.F) {
	names, err := filepath.Glob("testdata/load/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("- a: &a [x, \"y\\n\\u00e9\"]\n- list: l\n  items: *a\n- rule: r\n  desc: |+\n   d\n\n  condition: proc.name in (l)\n  output: >2-\n     o\n  priority: INFO\n"))
	f.Add([]byte(anyRule + "  exceptions: [{name: a, fields: proc.name, values: [b c, 'val(x.y)']}]\n  tags: [a]\n  examples: {match: [{type: open}]}\n"))
	o := loadOptions()
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, results := loadText(o, string(raw), "- rule: r\n  condition: or evt.type = open\n  override: {condition: append}\n")
		for _, r := range results {
			checkResult(t, r)
		}
		if set == nil {
			return
		}
		for _, r := range set.Rules {
			if _, err := o.Languages[r.Source].Compile(r.Condition); err != nil {
				t.Errorf("rule %q was loaded and cannot be compiled: %v", r.Name, err)
			}
			expr.Walk(r.Condition, func(c *expr.Check) {
				if file, line, column := set.Where(c.Pos()); file == "" || line < 1 || column < 1 {
					t.Errorf("a part of %q is at %s:%d:%d", r.Name, file, line, column)
				}
			})
			for _, x := range r.Examples.Match {
				if !json.Valid(x.JSON) {
					t.Errorf("example is no JSON: %s", x.JSON)
				}
			}
		}
	})
}

func checkResult(t *testing.T, r Result) {
	t.Helper()
	for _, p := range append(r.Errors, r.Warnings...) {
		if codes[p.Code] == "" || p.CodeDesc == "" || p.Message == "" || len(p.Context.Locations) == 0 {
			t.Errorf("problem is not complete: %+v", p)
		}
		lines := strings.Split(p.Context.Snippet, "\n")
		if len(lines) == 3 && utf8.RuneCountInString(lines[1]) > utf8.RuneCountInString(lines[0])+1 {
			t.Errorf("caret is behind its line: %q", p.Context.Snippet)
		}
	}
	if raw, err := json.Marshal(r); err != nil || !json.Valid(raw) {
		t.Errorf("result cannot be written: %v", err)
	}
	r.WriteText(&bytes.Buffer{}, true)
}

// manyRules is a file of n rules, with a list and a macro for each ten.
func manyRules(n int) string {
	var b strings.Builder
	for i := range n {
		if i%10 == 0 {
			fmt.Fprintf(&b, "- list: programs_%d\n  items: [bash, sh, ksh, zsh, fish, python3, perl, ruby, lua, node, program_%d]\n\n", i/10, i)
			fmt.Fprintf(&b, "- macro: writes_%d\n  condition: (evt.type in (open, openat) and fd.name startswith /etc/%d and proc.name in (programs_%d))\n\n", i/10, i, i/10)
		}
		fmt.Fprintf(&b, `- rule: Rule number %d
  desc: Something that is told in a few words, as rules do
  condition: >
    writes_%d and not proc.pname in (programs_%d)
    and not proc.cmdline contains "--quiet %d" and container.id != host
    and (proc.aname[2] in (programs_%d) or user.name = root)
  output: A file was written (file=%%fd.name process=%%proc.name command=%%proc.cmdline)
  priority: WARNING
  tags: [host, container, filesystem, T1000]
  exceptions:
    - name: known
      fields: [proc.name, fd.name]
      comps: [=, startswith]
      values:
        - [known_%d, /etc/%d]

`, i, i/10, i/10, i, i/10, i, i)
	}
	return b.String()
}

func BenchmarkLoad300Rules(b *testing.B) {
	files := []File{{Name: "a.yaml", Text: []byte(manyRules(300))}}
	o := loadOptions()
	if set, results := Load(files, o); set == nil || len(set.Rules) != 300 {
		b.Fatal(told(results))
	}
	b.SetBytes(int64(len(files[0].Text)))
	b.ReportAllocs()
	for b.Loop() {
		Load(files, o)
	}
}
