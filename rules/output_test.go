package rules

import (
	"errors"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

func TestFormats(t *testing.T) {
	t.Parallel()
	r := recordOf(t, `{"type": "openat", "args": {"name": "/a\tb", "flags": "O_RDONLY"}, "process": {"name": "cat", "pid": 7, "parents": ["bash", "sshd"]}}`)
	for _, row := range []struct{ text, want string }{
		{"", ""},
		{"nothing to fill", "nothing to fill"},
		{"a %proc.name.", "a cat."},
		{"%proc.names%proc.pid", "cats7"},
		{"(%proc.aname[2]) %proc.aname[9]", "(sshd) <NA>"},
		{"%evt.arg[flags] %evt.arg.flags", "O_RDONLY O_RDONLY"},
		{"%5proc.name|%2proc.name|%3fd.ip|", "cat  |ca|<NA|"},
		{"%toupper(proc.name) %join(\"-\", (a, b))", "CAT a-b"},
		{"%fd.name", `/a\tb`},
		{"%fd.types", "(file)"},
		{"*%proc.name", "cat"},   // the star asks for what is done anyway
		{"**%proc.name", "*cat"}, // and is one
		{"a*%proc.name", "a*cat"},
	} {
		f, err := NewFormat(language, row.text)
		if err != nil {
			t.Errorf("NewFormat(%q): %v", row.text, err)
			continue
		}
		if got := string(f.Append(nil, r)); got != row.want {
			t.Errorf("%q is filled as %q, want %q", row.text, got, row.want)
		}
	}
}

func TestFormatsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text    string
		at      int
		message string
	}{
		{"a %", 2, "invalid formatting syntax: formatting cannot end with a %"},
		{"%7", 0, "invalid formatting syntax: formatting cannot end with a %"},
		{"100%% sure", 3, "invalid formatting token %"},
		{"*a %nope", 3, "invalid formatting token nope"},
		{"%proc.nmae b", 0, `invalid formatting token proc.nmae: unknown field "proc.nmae" (proc.name?)`},
		{"%evt.arg", 0, "field evt.arg wants an argument: evt.arg[…]"},
	} {
		_, err := NewFormat(language, row.text)
		var check *expr.CheckError
		if !errors.As(err, &check) || check.Message != row.message || check.Offset != row.at {
			t.Errorf("NewFormat(%q): %v, want %q at %d", row.text, err, row.message, row.at)
		}
	}
}

func TestOutputsWarnOfDeprecatedFields(t *testing.T) {
	t.Parallel()
	o := loadOptions()
	o.CheckOutput = func(r *Rule) ([]expr.Warning, error) {
		return Default.checkOutput(Languages{event.SyscallSource: language}, r)
	}
	for output, want := range map[string]string{
		"o %evt.latency":            "LOAD_DEPRECATED_ITEM a.yaml:4:13 field evt.latency is deprecated",
		"o %proc.name":              "",
		"o %":                       "LOAD_ERR_COMPILE_OUTPUT a.yaml:4:13 output: invalid formatting syntax: formatting cannot end with a %",
		"o %evt.dir %evt.latency.s": "LOAD_DEPRECATED_ITEM a.yaml:4:13 field evt.dir is deprecated\nLOAD_DEPRECATED_ITEM a.yaml:4:22 field evt.latency.s is deprecated",
	} {
		_, results := loadText(o, strings.Replace(anyRule, "output: o", "output: "+output, 1))
		if got := strings.Join(told(results), "\n"); got != want {
			t.Errorf("output %q: told %q, want %q", output, got, want)
		}
	}
}
