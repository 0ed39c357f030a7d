package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const stream = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"run","Package":"p","Test":"TestParent"}
{"Action":"run","Package":"p","Test":"TestParent/a"}
{"Action":"output","Package":"p","Test":"TestParent/a","Output":"    x_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestParent/a"}
{"Action":"fail","Package":"p","Test":"TestParent"}
{"Action":"run","Package":"p","Test":"TestOld"}
{"Action":"output","Package":"p","Test":"TestOld","Output":"    x_test.go:2: needs 6.3: sock_send_length\n"}
{"Action":"output","Package":"p","Test":"TestOld","Output":"--- SKIP: TestOld (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestOld"}
{"Action":"fail","Package":"p","Elapsed":1.5}
{"Action":"skip","Package":"without tests"}
`

func summary(t *testing.T, skips string, streams ...string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	list := filepath.Join(dir, "skips.txt")
	write(t, list, skips)
	var paths []string
	for i, s := range streams {
		path := filepath.Join(dir, string(rune('a'+i))+".json")
		write(t, path, s)
		paths = append(paths, path)
	}
	var out strings.Builder
	ok, err := summarize(&out, list, paths)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), ok
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestSummaryCounts(t *testing.T) {
	crash := `{"Action":"run","Package":"q","Test":"TestDies"}` + "\n" + `{"Action":"fail","Package":"q"}` + "\n"
	broken := `{"ImportPath":"r [r.test]","Action":"build-output","Output":"x.go:1: undefined\n"}
{"Action":"fail","Package":"r","FailedBuild":"r [r.test]"}
`
	guest := strings.ReplaceAll(stream, `"p"`, `"kernel 5.10"`)
	good := `{"Action":"pass","Package":"p","Test":"TestGood"}` + "\n"
	for _, test := range []struct {
		name, skips, stream, want string
		ok                        bool
	}{
		{"an unexpected skip is a failure", "", stream, "1 passed, 2 failed, 1 skipped", false},
		{"an expected one is not", "^p TestOld: needs 6.3 # too old", stream, "1 passed, 1 failed, 1 skipped", false},
		{"a guest may need what it lacks", "", guest, "1 passed, 1 failed, 1 skipped", false},
		{"a test that never ends has failed", "", crash, "0 passed, 1 failed, 0 skipped", false},
		{"so has a package that does not build", "", broken, "0 passed, 1 failed, 0 skipped", false},
		{"all good", "", good, "1 passed, 0 failed, 0 skipped", true},
		{"nothing ran", "", "", "0 passed, 1 failed, 0 skipped", false},
	} {
		out, ok := summary(t, test.skips, test.stream)
		if got := lastLine(out); got != test.want || ok != test.ok {
			t.Errorf("%s: %q, %v; want %q, %v\n%s", test.name, got, ok, test.want, test.ok, out)
		}
	}
}

func TestSummaryShowsWhy(t *testing.T) {
	out, _ := summary(t, "^p TestOld: needs 6.3 # too old", stream)
	for _, want := range []string{"FAIL p TestParent/a\n    x_test.go:1: wrong\n", "needs 6.3: sock_send_length (too old): p TestOld\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestSameTestOfTwoRunsCountsTwice(t *testing.T) {
	good := `{"Action":"pass","Package":"p","Test":"TestGood"}` + "\n"
	if out, _ := summary(t, "", good, good); lastLine(out) != "2 passed, 0 failed, 0 skipped" {
		t.Error(out)
	}
}

func TestSkipListPoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skips.txt")
	write(t, path, "# fine\n^p TestOld\n")
	_, err := readExpected(path)
	if want := path + ":2: no reason: write PATTERN # WHY"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
