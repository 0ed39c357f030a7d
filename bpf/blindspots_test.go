package bpf

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write BLINDSPOTS.md anew")

func TestBlindSpotsAreCurrent(t *testing.T) {
	kernels, err := os.ReadFile("KERNELS.md")
	if err != nil {
		t.Skipf("needs the table of kernels: %v", err)
	}
	want := blindSpotsText(string(kernels))
	if *update {
		if err := os.WriteFile("BLINDSPOTS.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("BLINDSPOTS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("BLINDSPOTS.md is not what blindspots_table_test.go and KERNELS.md make of it: go test ./bpf -run BlindSpots -update")
	}
}

// A blind spot that depends on the kernel names a row that the truth tests fill.
func TestBlindSpotsNameRowsOfTheTable(t *testing.T) {
	kernels, err := os.ReadFile("KERNELS.md")
	if err != nil {
		t.Skipf("needs the table of kernels: %v", err)
	}
	for _, s := range blindSpots {
		if s.feature != "" && !strings.Contains(string(kernels), "| `"+s.feature+"` |") {
			t.Errorf("%q depends on %s, of which KERNELS.md has no row", s.what, s.feature)
		}
	}
}

func TestKernelsWithoutAFeature(t *testing.T) {
	const table = "| feature | 5.10 | 6.1 | 7.2 |\n|---|---|---|---|\n| `a` | – | yes, mostly | |\n| `b` | yes | yes | yes |\n"
	for feature, want := range map[string]string{"": "all", "a": "5.10, 7.2", "b": ""} {
		if got := kernelsWithout(table, feature); got != want {
			t.Errorf("kernelsWithout(%q) = %q, want %q", feature, got, want)
		}
	}
}
