package exporter

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
)

// fileConfig is joined from the parts that this package may import, as the program joins all.
type fileConfig struct {
	Config    `yaml:",inline"`
	Kernel    bpf.Config  `yaml:"kernel"`
	Processes host.Config `yaml:"processes"`
}

var fileDefaults = fileConfig{Default, bpf.Default, host.Default}

func (c fileConfig) Validate() error { return cmp.Or(c.Config.Validate(), c.Kernel.Validate()) }

func TestReadConfig(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"only a comment", "# nothing yet\n", ""},
		{"a key without a value", "limits:\nkernel:\n  # workloads: 64\n  ring_buffer:\nprocesses: {linger: ~}\n", ""},
		{"an unknown key without a value", "kernel:\n  worklods:\n", `c.yml:2:3: unknown field "worklods"`},
		{"good", "limits:\n  node: 30000\nkernel:\n  workloads: 64\nprocesses:\n  linger: 5s\n", ""},
		{"unknown key", "kernel:\n  worklods: 64\n", `c.yml:2:3: unknown field "worklods"`},
		{"unknown part", "kernal: {}\n", `c.yml:1:1: unknown field "kernal"`},
		{"wrong type", "kernel:\n  workloads: many\n", "c.yml:2:14: want int, not string"},
		{"no unit", "processes:\n  linger: 5\n", "c.yml:2:11: want time.Duration, not uint64"},
		{"bad duration", "processes:\n  linger: soon\n", `c.yml: time: invalid duration "soon"`},
		{"out of range", "kernel:\n  workloads: 1\n", "c.yml: kernel.workloads: 1: want 16 to 8192"},
		{"not YAML", "kernel: [\n", "c.yml:1:9: sequence end token ']' not found"},
		{"two documents", "limits: {}\n---\nkernel: {}\n", "c.yml: more than one document"},
		{"too long", "#" + strings.Repeat("x", maxConfig), "c.yml: 1048577 bytes: want at most 1048576"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := readText(t, test.text); got != test.want {
				t.Errorf("ReadConfig(%.40q) = %q, want %q", test.text, got, test.want)
			}
		})
	}
}

// FuzzConfig shows that no file makes us panic, and that what is wrong with one is told in one line that names it.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"", "kernel:\n  workloads: 64\n", "limits: {node: 1e9}\n", "processes:\n  linger: 5s\n", "a: &a [*a]\n", "kernel:\n\tx: 1\n",
		"limits: null\n", "kernel: [\n", "? {a: b}\n: c\n", "<<: {limits: {node: 3}}\n", "---\n...\n---\n", "%YAML 9\n", "limits: !!map x\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := readText(t, text); got != "" && (!strings.HasPrefix(got, "c.yml:") || strings.Contains(got, "\n")) {
			t.Errorf("ReadConfig(%q) = %q, want one line that begins with the file's name", text, got)
		}
	})
}

// readText returns the error, with the file's name alone for its path, and checks that a failure leaves the defaults.
func readText(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(path, fileDefaults)
	if err == nil {
		return ""
	}
	if c != fileDefaults {
		t.Errorf("ReadConfig(%q) = %+v with an error, want the defaults", text, c)
	}
	return strings.ReplaceAll(err.Error(), dir+"/", "")
}
