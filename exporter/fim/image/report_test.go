package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/alecthomas/kingpin/v2"
)

var sample = Report{Schema: Schema, Target: "cart.tar", Kind: "image", Files: 1,
	Image: &Image{Reference: "cart:1", Platform: "linux/amd64", Manifest: "sha256:aa", Config: "sha256:bb", Layers: []Layer{{"sha256:cc", "sha256:dd", "COPY . /"}}},
	Bytes: 12, Ignored: 2, Omitted: []Omitted{{"setuid", High, 3}}, Skipped: []Skipped{{"/proc", "another file system is mounted there"}}, Unread: []Skipped{},
	Findings: []Finding{
		{Check: "secret/github-pat", Severity: High, Path: "/app/x", Line: 3, Layer: "sha256:cc", CreatedBy: "COPY . /", Removed: true, Found: "what the rule github-pat takes for a secret", Expected: "no secret", Fingerprint: "a1b2c3"},
		{Check: "no-shell", Severity: Low, Path: "/bin/sh", Found: "nothing", Expected: "it to be there"},
	}}

func TestTheReportAsText(t *testing.T) {
	var got strings.Builder
	if err := sample.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	want := `high     secret/github-pat  /app/x:3
         found what the rule github-pat takes for a secret; want no secret
         layer sha256:cc by COPY . / (a later layer hides it)
low      no-shell  /bin/sh
         found nothing; want it to be there
high     setuid
         3 findings more are not shown
skipped  /proc: another file system is mounted there
5 findings (4 high, 1 low), 2 ignored in 1 file of 1 layer for linux/amd64: cart.tar
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTheReportAsJSON is the schema: whoever changes a line of it breaks somebody's pipeline.
func TestTheReportAsJSON(t *testing.T) {
	var got bytes.Buffer
	if err := sample.WriteJSON(&got); err != nil {
		t.Fatal(err)
	}
	want := `{
  "schema": 1,
  "target": "cart.tar",
  "kind": "image",
  "image": {
    "reference": "cart:1",
    "platform": "linux/amd64",
    "manifest": "sha256:aa",
    "config": "sha256:bb",
    "layers": [
      {
        "digest": "sha256:cc",
        "diff_id": "sha256:dd",
        "created_by": "COPY . /"
      }
    ]
  },
  "files": 1,
  "bytes": 12,
  "findings": [
    {
      "check": "secret/github-pat",
      "severity": "high",
      "path": "/app/x",
      "line": 3,
      "layer": "sha256:cc",
      "created_by": "COPY . /",
      "removed": true,
      "found": "what the rule github-pat takes for a secret",
      "expected": "no secret",
      "fingerprint": "a1b2c3"
    },
    {
      "check": "no-shell",
      "severity": "low",
      "path": "/bin/sh",
      "found": "nothing",
      "expected": "it to be there"
    }
  ],
  "omitted": [
    {
      "check": "setuid",
      "severity": "high",
      "count": 3
    }
  ],
  "ignored": 2,
  "skipped": [
    {
      "path": "/proc",
      "why": "another file system is mounted there"
    }
  ],
  "unread": []
}
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var back Report
	if err := json.Unmarshal(got.Bytes(), &back); err != nil || !cmp.Equal(back, sample) {
		t.Errorf("read back: %v\n%s", err, cmp.Diff(sample, back))
	}
	// Nothing found is written as empty lists.
	got.Reset()
	clean := checked(t, t.TempDir(), Checks{}, Options{})
	if err := clean.WriteJSON(&got); err != nil || strings.Contains(got.String(), "null") {
		t.Errorf("%v\n%s", err, got.String())
	}
}

func TestExitStatus(t *testing.T) {
	for _, test := range []struct {
		name   string
		r      Report
		failOn Severity
		want   int
	}{
		{"nothing", Report{}, Info, Clean},
		{"below", Report{Findings: []Finding{{Severity: Low}, {Severity: Medium}}}, High, Clean},
		{"at", Report{Findings: []Finding{{Severity: Low}, {Severity: High}}}, High, Found},
		{"above", Report{Findings: []Finding{{Severity: Critical}}}, High, Found},
		{"never", Report{Findings: []Finding{{Severity: Critical}}}, never, Clean},
		{"omitted", Report{Findings: []Finding{{Severity: Low}}, Omitted: []Omitted{{"x", High, 1}}}, High, Found},
		{"unread", Report{Findings: []Finding{{Severity: Critical}}, Unread: []Skipped{{"/x", "permission denied"}}}, High, Failure},
	} {
		if got := test.r.ExitStatus(test.failOn); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestSeverities(t *testing.T) {
	for i, name := range Severities {
		var s Severity
		if err := s.UnmarshalText([]byte(name)); err != nil || int(s) != i || s.String() != name {
			t.Errorf("%s is %d (%v), want %d", name, s, err, i)
		}
	}
	var s Severity
	if err := s.UnmarshalText([]byte("bad")); err == nil || err.Error() != `"bad" is no severity: want one of info, low, medium, high, critical` {
		t.Errorf("%v", err)
	}
}

func TestNamesCannotMoveACursor(t *testing.T) {
	for in, want := range map[string]string{"/a b/ä": "/a b/ä", "/\x1b[2J": `/\x1b[2J`, "/\xff\n": `/\xff\x0a`, `/a\b`: `/a\\b`, "/\u202e": `/\xe2\x80\xae`, "/\ufffd": `/\xef\xbf\xbd`} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
	r := checked(t, written(t, pack(t, file("tmp/\x1b]0;x\a\xff", "#!", 0o755))), Checks{}, Options{})
	if len(r.Findings) != 1 || r.Findings[0].Path != `/tmp/\x1b]0;x\x07\xff` {
		t.Errorf("%q", lines(r))
	}
}

func TestSizes(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB", 1 << 40: "1.1 TB"} {
		if got := size(bytes); got != want {
			t.Errorf("size(%d) = %s, want %s", bytes, got, want)
		}
	}
}

func TestTheCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	image := write("image.tar", ociLayout(t, leaky(t), gzipped).archive(t))
	good := write("good.tar", pack(t, file("a", "x", 0o644)))
	strict := write("strict.yml", []byte("defaults: false\nchecks:\n- {id: mine, severity: low, paths: /a, absent: true}\n"))
	wrong := write("wrong.yml", []byte("checks:\n- {id: mine, severity: low, paths: /a, abscent: true}\n"))
	for _, test := range []struct {
		name           string
		arguments      []string
		status         int
		stdout, stderr string // what they contain; nothing if empty
	}{
		{"clean", []string{good}, Clean, "0 findings in 1 file: ", ""},
		{"findings", []string{image}, Found, "high     ssh-host-key  /etc/ssh/ssh_host_rsa_key", ""},
		{"findings below", []string{image, "--fail-on", "critical"}, Clean, "high     ssh-host-key  /etc/ssh/ssh_host_rsa_key", ""},
		{"findings, never", []string{image, "--fail-on=never"}, Clean, "5 findings (4 high, 1 medium) in 11 files of 3 layers for linux/amd64", ""},
		{"findings as JSON", []string{image, "--format", "json"}, Found, `"check": "ssh-host-key"`, ""},
		{"checks of one's own", []string{good, "--checks", strict}, Clean, "low      mine  /a\n         found a file of 1 byte; want nothing there", ""},
		{"and a severity", []string{good, "--checks", strict, "--fail-on", "low"}, Found, "low      mine  /a", ""},
		{"a platform", []string{image, "--platform", "linux/amd64"}, Found, "linux/amd64", ""},
		{"no platform", []string{image, "--platform", "linux/s390x"}, Failure, "", "yagura: " + image + ": no image for linux/s390x: want one of linux/amd64"},
		{"no reference", []string{image, "--reference", "x"}, Failure, "", `no image "x": want one of ""`},
		{"checks that are wrong", []string{good, "--checks", wrong}, Failure, "", wrong + `:2:40: unknown key "abscent"`},
		{"no checks", []string{good, "--checks", dir + "/none"}, Failure, "", "yagura: read the checks: open "},
		{"no target", []string{dir + "/none"}, Failure, "", "yagura: " + dir + "/none: no such file or directory"},
		{"too much", []string{image, "--max-bytes", "1000"}, Failure, "", "more than is allowed: 1000 bytes decompressed"},
		{"too many", []string{image, "--max-files", "2"}, Failure, "", "more than is allowed: names"},
		{"no arguments", nil, Failure, "", "yagura: required argument 'target' not provided"},
		{"an unknown flag", []string{good, "--check", strict}, Failure, "", "yagura: unknown long flag '--check'"},
		{"an unknown severity", []string{good, "--fail-on", "bad"}, Failure, "", "yagura: enum value must be one of info,low,medium,high,critical,never, got 'bad'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(context.Background(), test.arguments, &stdout, &stderr)
			if status != test.status || !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("status %d, want %d\nstdout %s\nstderr %s", status, test.status, stdout.String(), stderr.String())
			}
			if (test.stdout == "") != (stdout.Len() == 0) || (test.stderr == "") != (stderr.Len() == 0) {
				t.Errorf("stdout %q, stderr %q; want nothing where nothing is wanted", stdout.String(), stderr.String())
			}
		})
	}
	var stdout bytes.Buffer
	if run(context.Background(), []string{image, "--format=json"}, &stdout, os.Stderr); !json.Valid(stdout.Bytes()) {
		t.Errorf("no JSON: %s", stdout.String())
	}
	var stderr bytes.Buffer
	if status := run(context.Background(), []string{good}, brokenPipe{}, &stderr); status != Failure || !strings.Contains(stderr.String(), "write the report: broken pipe") {
		t.Errorf("a broken pipe: status %d, %s", status, stderr.String())
	}
}

// run is `image` as a program of its own: it returns the exit status for arguments that begin behind the name.
func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	app := kingpin.New("yagura fim", "File integrity.").Terminate(nil).UsageWriter(stdout).ErrorWriter(stderr)
	c := &Command{Stdout: stdout, Stderr: stderr}
	var outcome error
	c.Add(app).Action(func(*kingpin.ParseContext) error {
		outcome = c.Run(ctx)
		return nil
	})
	if _, err := app.Parse(append([]string{"image"}, arguments...)); err != nil {
		outcome = &ExitError{Failure, err}
	}
	exit, failed := outcome.(*ExitError)
	if !failed {
		return Clean
	}
	if exit.Err != nil {
		fmt.Fprintln(stderr, "yagura:", exit.Err)
	}
	return exit.Status
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestProgressIsShownOnTerminalsOnceItTakesLong(t *testing.T) {
	var out bytes.Buffer
	p := &Meter{to: &out, begun: time.Now()}
	bytesRead(p)(1 << 30)
	if p.Clear(); out.Len() != 0 {
		t.Errorf("%q at once, want nothing", out.String())
	}
	p.begun = p.begun.Add(-2 * quietFor)
	bytesRead(p)(1 << 30)
	p.Clear()
	if want := "\r1.1 GB read\x1b[K\r\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if NewMeter(&out).to != nil {
		t.Errorf("a buffer is taken for a terminal")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if NewMeter(f).to != nil {
		t.Errorf("%s is taken for a terminal", os.DevNull)
	}
}

func TestExitErrorsSayWhy(t *testing.T) {
	if e := (&ExitError{Status: 1}); e.Error() != "exit status 1" || errors.Unwrap(e) != nil {
		t.Errorf("%v", e)
	}
	if e := (&ExitError{2, ErrTooMuch}); e.Error() != ErrTooMuch.Error() || !errors.Is(e, ErrTooMuch) {
		t.Errorf("%v", e)
	}
}
