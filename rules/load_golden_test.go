package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// What is said of each file of testdata/load, as text and as JSON: every caret is under the right character.
func TestLoadGolden(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/load/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no files: %v", err)
	}
	var text bytes.Buffer
	var all []Result
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, results := Load([]File{{Name: filepath.Base(name), Text: raw}}, loadOptions())
		results[0].WriteText(&text, true)
		fmt.Fprintln(&text)
		all = append(all, results...)
	}
	checkLoadGolden(t, "testdata/load/want.txt", text.Bytes())
	raw, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	checkLoadGolden(t, "testdata/load/want.json", append(raw, '\n'))
}

func checkLoadGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; with -update it is written anew:\n%s", path, got)
	}
}
