package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ours = "github.com/yagura-io/yagura/"

func TestArrowsOfTheDesign(t *testing.T) {
	rules, err := readRules("../golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dir, imports string
		broken       int
	}{
		{".", ours + "promql", 0},
		{".", "github.com/cilium/ebpf", 1},
		{"bpf", "github.com/cilium/ebpf/link", 0},
		{"bpf", ours + "rules/event", 0},
		{"bpf", ours + "exporter", 1},
		{"bpf", "github.com/prometheus/client_golang/prometheus", 1},
		{"rules/event", "net/netip", 0},
		{"rules/event", "github.com/google/go-cmp/cmp", 1},
		{"rules", ours + "rules/expr", 0},
		{"rules", ours + "bpf", 1},
		{"exporter", ours + "exporter/host", 0},
		{"exporter", ours + "promql", 1},
		{"exporter", "github.com/prometheus/prometheus/model/labels", 2},
		{"exporter/host", "github.com/prometheus/procfs", 0},
		{"exporter/host", ours + "exporter", 1},
		{"exporter/host", ours + "bpf", 1},
		{"exporter/fim", ours + "exporter/host", 0},
		{"integrations/containers", ours + "exporter/host", 0},
		{"integrations/containers", ours + "exporter/fim", 1},
		{"integrations/kubernetes", ours + "integrations/containers", 1},
		{"promql", "github.com/prometheus/prometheus/tsdb", 0},
		{"promql", ours + "rules/event", 1},
		{"promql/library", "embed", 0},
		{"promql/library", "github.com/prometheus/prometheus/promql/parser", 1},
		{"dashboards", ours + "promql/library", 0},
		{"dashboards", ours + "promql", 1},
	} {
		p := pkg{Dir: "/repo/" + test.dir, GoFiles: []string{"x.go"}, Imports: []string{test.imports}}
		p.Module.Dir = "/repo"
		if broken := check(rules, []pkg{p}); len(broken) != test.broken {
			t.Errorf("%s imports %s: %d broken, want %d: %s", test.dir, test.imports, len(broken), test.broken, cmp.Diff(nil, broken))
		}
	}
}
