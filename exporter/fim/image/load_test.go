package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func loaded(t testing.TB, text string) (Checks, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "c.yml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(name)
	if err != nil {
		err = &pathless{strings.ReplaceAll(err.Error(), filepath.Dir(name)+"/", "")}
	}
	return c, err
}

type pathless struct{ text string }

func (p *pathless) Error() string { return p.text }

func TestAChecksFile(t *testing.T) {
	no, yes, mode, atMost := false, true, uint16(0o644), uint16(0o755)
	sum := strings.Repeat("0f", 32)
	got, err := loaded(t, `
defaults: false
disable: [package-cache, secret/jwt]
severity: {env-file: low, secret: critical, mine: info}
secrets: {off: true, everywhere: true}
ignore:
  - {check: secret/private-key, paths: [/usr/share/doc/**], fingerprint: 3f9a01, reason: an example}
  - paths: config:env:*
checks:
  - id: mine
    description: What it is for.
    severity: high
    paths: [/bin/sh, "**/x"]
    except: /bin/busybox
    names: ['^sh$']
    types: [file, symlink]
    layers: any
    absent: true
  - id: other
    paths: /etc/passwd
    present: true
    sha256: [`+sum+`, "sha256:`+strings.ToUpper(sum)+`"]
    mode: 0644
    max_mode: "755"
    owner: root
    group: 0
    executable: false
    setuid: true
  - id: third
    names: [x]
    mode: 0o644
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Checks{
		WithoutDefaults: true,
		Disabled:        []string{"package-cache", "secret/jwt"},
		Severities:      map[string]Severity{"env-file": Low, "secret": Critical, "mine": Info},
		Secrets:         Secrets{Off: true, Everywhere: true},
		Ignored:         []Ignored{{"secret/private-key", []string{"/usr/share/doc/**"}, "3f9a01", "an example"}, {Paths: []string{"config:env:*"}}},
		Own: []Expectation{
			{ID: "mine", Description: "What it is for.", Severity: High, Paths: []string{"/bin/sh", "**/x"}, Except: []string{"/bin/busybox"}, Names: []string{"^sh$"}, Types: []string{"file", "symlink"}, EveryLayer: true, Absent: true},
			{ID: "other", Severity: Medium, Paths: []string{"/etc/passwd"}, Present: true, SHA256: []string{sum, "sha256:" + strings.ToUpper(sum)}, Mode: &mode, MaxMode: &atMost, Owner: "root", Group: "0", Executable: &no, Setuid: &yes},
			{ID: "third", Severity: Medium, Names: []string{"x"}, Mode: &mode},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, text := range []string{"", "# nothing yet\n", "---\n", "checks:\nignore: ~\n"} {
		if got, err := loaded(t, text); err != nil || !cmp.Equal(got, Checks{}) {
			t.Errorf("%q: %+v, %v; want no checks of one's own", text, got, err)
		}
	}
}

func TestErrorsOfAChecksFileSayWhere(t *testing.T) {
	const all = "absent, description, except, executable, group, id, layers, max_mode, mode, names, owner, paths, present, setuid, severity, sha256, types"
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "chekcs: []\n", `c.yml:1:1: unknown key "chekcs": want one of checks, defaults, disable, ignore, secrets, severity`},
		{"unknown key of a check", "checks:\n  - id: a\n    path: /x\n", `c.yml:3:5: unknown key "path": want one of ` + all},
		{"unknown key without a value", "checks:\n  - id: a\n    path:\n", `c.yml:3:5: unknown key "path": want one of ` + all},
		{"unknown key of secrets", "secrets: {of: true}\n", `c.yml:1:11: unknown key "of": want one of everywhere, off`},
		{"unknown key of ignore", "ignore:\n- {id: x}\n", `c.yml:2:4: unknown key "id": want one of check, fingerprint, paths, reason`},
		{"a key twice", "defaults: true\ndefaults: false\n", `c.yml:2:1: defaults: given twice`},
		{"a list in a key's place", "[a]\n", `c.yml:1:1: want a mapping of checks, defaults, disable, ignore, secrets, severity`},
		{"a text in a list's place", "checks: x\n", `c.yml:1:9: want a list`},
		{"a list in a text's place", "checks:\n- id: [a]\n", `c.yml:2:7: want a text`},
		{"no boolean", "defaults: maybe\n", `c.yml:1:11: want true or false`},
		{"not YAML", "checks: [\n", `c.yml:2:1: did not find expected node content while parsing a flow node`},
		{"tabs", "checks:\n\t- id: a\n", `c.yml:2:1: found character that cannot start any token while scanning for the next token`},
		{"two documents", "defaults: true\n---\ndefaults: true\n", `c.yml:2:1: a second document: want one`},
		{"an alias", "ignore: &a [*a]\n", `c.yml:1:13: want a mapping of check, fingerprint, paths, reason`},
		{"a check that nobody has", "disable: [ssh-hostkey]\n", `c.yml:1:11: no check "ssh-hostkey": want one of ssh-host-key, `},
		{"a rule that gitleaks has not", "disable: [secret/nothing]\n", `c.yml:1:11: gitleaks has no rule "nothing"`},
		{"a severity that is none", "severity: {env-file: severe}\n", `c.yml:1:22: severity: "severe": want one of info, low, medium, high, critical`},
		{"a severity of nothing", "severity:\n  nothing: low\n", `c.yml:2:3: no check "nothing"`},
		{"a severity twice", "severity: {env-file: low, env-file: high}\n", `c.yml:1:27: env-file: given twice`},
		{"everything is ignored", "ignore:\n- reason: none\n", `c.yml:2:3: everything would be ignored: want check, paths or fingerprint`},
		{"ignored paths", "ignore:\n- paths: [x]\n", `c.yml:2:3: paths: "x": want a path that begins with / or **/`},
		{"no id", "checks:\n- paths: /x\n  absent: true\n", `c.yml:2:3: id: "": want at most 64 of a-z, 0-9, '.', '_', '/' and '-'`},
		{"an id with blanks", "checks:\n- id: No Shell\n  paths: /x\n  absent: true\n", `c.yml:2:7: id: "No Shell": want at most 64 of`},
		{"a default's id", "checks:\n- id: env-file\n  paths: /x\n  absent: true\n", `c.yml:2:7: id: "env-file": another check has it`},
		{"an id of secrets", "checks:\n- id: secret/mine\n  paths: /x\n  absent: true\n", `c.yml:2:7: id: "secret/mine": another check has it`},
		{"an id twice", "checks:\n- {id: a, paths: /x, absent: true}\n- {id: a, paths: /y, absent: true}\n", `c.yml:3:8: id: "a": another check has it`},
		{"no paths", "checks:\n- id: a\n  absent: true\n", `c.yml:2:3: paths: want at least one, or names`},
		{"a relative path", "checks:\n- id: a\n  paths: [/x, etc/passwd]\n  absent: true\n", `c.yml:3:10: paths: "etc/passwd": want a path that begins with / or **/`},
		{"nothing expected", "checks:\n- id: a\n  paths: /x\n", `c.yml:2:3: nothing expected: want one of present, absent, sha256, mode, max_mode, owner, group, executable, setuid`},
		{"absent and present", "checks:\n- id: a\n  paths: /x\n  present: true\n  absent: true\n", `c.yml:5:11: absent: what is not there can have nothing else: want it alone`},
		{"absent and a mode", "checks:\n- id: a\n  paths: /x\n  mode: 0644\n  absent: true\n", `c.yml:5:11: absent: what is not there can have nothing else: want it alone`},
		{"absent: false", "checks:\n- id: a\n  paths: /x\n  absent: false\n", `c.yml:4:11: want true, or no such key`},
		{"present without paths", "checks:\n- id: a\n  names: x\n  present: true\n", `c.yml:4:12: present: want paths with it`},
		{"present in any layer", "checks:\n- id: a\n  paths: /x\n  present: true\n  layers: any\n", `c.yml:5:11: layers: any: want final with present`},
		{"layers", "checks:\n- id: a\n  paths: /x\n  present: true\n  layers: all\n", `c.yml:5:11: layers: "all": want final or any`},
		{"a mode of decimals", "checks:\n- id: a\n  paths: /x\n  mode: 0888\n", `c.yml:4:9: mode: "0888": want an octal number such as 0644, at most 07777`},
		{"a mode that is too large", "checks:\n- id: a\n  paths: /x\n  max_mode: 10000\n", `c.yml:4:13: mode: "10000": want an octal number such as 0644, at most 07777`},
		{"a mode in letters", "checks:\n- id: a\n  paths: /x\n  mode: u+x\n", `c.yml:4:9: mode: "u+x": want an octal number such as 0644, at most 07777`},
		{"a sum that is none", "checks:\n- id: a\n  paths: /x\n  sha256: abc\n", `c.yml:4:11: sha256: "abc": want 64 hexadecimal digits`},
		{"a regular expression that is none", "checks:\n- id: a\n  names: ['(']\n  absent: true\n", `c.yml:3:10: names: "(": want a regular expression (RE2) of at most 1000 bytes`},
		{"one with a look behind", "checks:\n- id: a\n  names: ['(?<=a)b']\n  absent: true\n", `c.yml:3:10: names: "(?<=a)b": want a regular expression (RE2) of at most 1000 bytes`},
		{"a type that is none", "checks:\n- id: a\n  paths: /x\n  types: [socket]\n  absent: true\n", `c.yml:4:10: types: "socket": want one of file, directory, symlink, device, fifo`},
		{"an owner and a group in one", "checks:\n- id: a\n  paths: /x\n  owner: root:root\n", `c.yml:4:10: owner: "root:root": want one name or number`},
		{"an owner's name in any layer", "checks:\n- id: a\n  paths: /x\n  owner: root\n  layers: any\n", `c.yml:4:10: owner: "root": want a number with layers: any`},
		{"a number that is no owner", "checks:\n- id: a\n  paths: /x\n  group: 4294967296\n", `c.yml:4:10: group: 4294967296: want a number below 4294967296`},
		{"too long", "#" + strings.Repeat("x", maxChecksFile), `c.yml: more than 1048576 bytes`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := loaded(t, test.text)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%v\nwant %s", err, test.want)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil || !strings.HasPrefix(err.Error(), "read the checks: open ") {
		t.Errorf("no file: %v", err)
	}
}
