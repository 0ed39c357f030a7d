package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewestComparesNumbers(t *testing.T) {
	names := []string{"linux-image-5.10.0-9-cloud-amd64", "linux-image-5.10.0-46-cloud-amd64", "linux-image-5.10.0-46-cloud-amd64-dbg", "linux-image-6.1.0-50-cloud-amd64"}
	re := regexp.MustCompile(`^linux-image-5\.10\.0-[0-9]+-cloud-amd64$`)
	if got, want := newest(names, re), "linux-image-5.10.0-46-cloud-amd64"; got != want {
		t.Errorf("newest = %s, want %s", got, want)
	}
	if got := newest(nil, re); got != "" {
		t.Errorf("newest of nothing = %s", got)
	}
}

func TestListIsReadable(t *testing.T) {
	kernels, err := readList("kernels.txt")
	if err != nil {
		t.Fatal(err)
	}
	var boots []string
	for _, b := range plan(kernels) {
		boots = append(boots, b.column())
	}
	if diff := cmp.Diff([]string{"5.10", "6.1", "6.1 cgroup v1", "6.12", "7.2"}, boots); diff != "" {
		t.Error(diff)
	}
}

func TestReportOfAGuest(t *testing.T) {
	text := "YAGURA_GUEST 6.1.0-50\nYAGURA_BEGIN 0\n=== RUN TestTruth\nYAGURA_CELL exec yes\nYAGURA_END 0 exit=1 seconds=2.5\nYAGURA_BEGIN 1\npanic:"
	release, frames := parseReport([]byte(text))
	if release != "6.1.0-50" || len(frames) != 2 {
		t.Fatalf("release %q, %d frames", release, len(frames))
	}
	if f := frames[0]; !f.ended || f.exit != 1 || f.output != "=== RUN TestTruth\nYAGURA_CELL exec yes\n" {
		t.Errorf("first frame %+v", f)
	}
	if f := frames[1]; f.ended || f.output != "panic:" {
		t.Errorf("second frame %+v", f)
	}
}

func TestGuestThatDiesIsAFailure(t *testing.T) {
	good := frame{ended: true, output: "PASS\n"}
	for _, test := range []struct {
		name   string
		frames []frame
		bad    bool
	}{
		{"all well", []frame{good}, false},
		{"failing tests are the summary's business", []frame{{ended: true, exit: 1, output: "--- FAIL: TestTruth\n"}}, false},
		{"died in a test", []frame{{output: "=== RUN"}}, true},
		{"tests never started", nil, true},
		{"crashed without a failing test", []frame{{ended: true, exit: 2, output: "panic"}}, true},
	} {
		b := &boot{kernel: &kernel{name: "6.1"}, frames: test.frames}
		if err := b.complete(1, []byte("console")); (err != nil) != test.bad {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func cells(pairs ...string) *table {
	t := newTable()
	for i := 0; i < len(pairs); i += 2 {
		t.addText(pairs[i], "    x_test.go:1: YAGURA_CELL "+pairs[i+1]+"\n")
	}
	return t
}

func TestTableRendersByVersion(t *testing.T) {
	got := string(cells("6.12", "exec yes", "5.10", "exec no needs 6.1: task storage", "6.1", "exec yes tp_btf").render())
	for _, want := range []string{
		"| feature | 5.10 | 6.1 | 6.12 |\n|---|---|---|---|\n| `exec` | – | yes, tp_btf | yes |\n",
		"\n## Why not\n\n- `exec` on 5.10: needs 6.1: task storage\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestTableReadsWhatItWrites(t *testing.T) {
	written := cells("5.10", "exec no because", "6.1", "exec yes by tp_btf", "6.1", "io_uring yes")
	read := parseTable(written.render())
	if wrong := written.compare(read); len(wrong) > 0 {
		t.Error(wrong)
	}
	if diff := cmp.Diff(written.features(), read.features()); diff != "" {
		t.Error(diff)
	}
}

func TestTableComparison(t *testing.T) {
	committed := parseTable(cells("5.10", "exec no", "6.1", "exec yes", "7.2", "exec yes").render())
	for _, test := range []struct {
		name string
		now  *table
		want []string
	}{
		{"the same", cells("5.10", "exec no", "6.1", "exec yes", "7.2", "exec yes"), nil},
		{"a kernel did not boot", cells("6.1", "exec yes"), nil},
		{"a new kernel", cells("6.1", "exec yes", "7.3", "exec no"), nil},
		{"better", cells("5.10", "exec yes"), nil},
		{"worse", cells("6.1", "exec no EPERM"), []string{"exec on 6.1 was yes, and is now EPERM"}},
		{"silent", cells("6.1", "fork yes"), []string{"exec on 6.1 was yes, and is now gone", "no row for fork"}},
	} {
		if diff := cmp.Diff(test.want, test.now.compare(committed)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	unpacked := t.TempDir()
	for name, needs := range map[string]string{"veth": "", "sch-netem": "veth,built_in"} {
		path := filepath.Join(unpacked, name+".ko")
		if err := os.WriteFile(path, elfModule("name="+name+"\x00depends="+needs+"\x00"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "modules")
	if err := installModules(t.Context(), unpacked, dir, []string{"sch_netem", "veth", "absent"}); err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*"))
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	if diff := cmp.Diff([]string{"01-veth.ko", "02-sch_netem.ko"}, found); diff != "" {
		t.Error(diff)
	}
}
