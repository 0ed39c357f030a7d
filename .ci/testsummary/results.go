package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/.ci/testjson"
)

// A test is a test or subtest, or with an empty test name a package.
type test struct {
	run, pkg, test string
	outcome        string // "" while it runs
	lines          []string
	parent         bool // of other tests, so that it counts only for a failure of its own
	childFailed    bool
	elapsed        time.Duration
}

type results struct {
	byName map[string]*test
	order  []*test
}

func newResults() *results { return &results{byName: map[string]*test{}} }

// readFile adds one stream of events. A line that is no event is what a broken build or a dying process printed.
func (r *results) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	run := strings.TrimSuffix(filepath.Base(path), ".json")
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		e := testjson.Event{}
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			e = testjson.Event{Action: "output", Package: run, Output: s.Text() + "\n"}
		}
		r.add(run, e)
	}
	return s.Err()
}

func (r *results) add(run string, e testjson.Event) {
	t := r.get(run, cmp.Or(e.Package, e.ImportPath), e.Test)
	switch e.Action {
	case "output", "build-output":
		t.lines = append(t.lines, e.Output)
	case "pass", "fail", "skip":
		t.outcome, t.elapsed = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		if e.FailedBuild != "" {
			t.lines = append(t.lines, r.get(run, e.FailedBuild, "").lines...)
		}
	}
}

func (r *results) get(run, pkg, name string) *test {
	key := run + "\x00" + pkg + "\x00" + name
	t := r.byName[key]
	if t == nil {
		t = &test{run: run, pkg: pkg, test: name}
		r.byName[key] = t
		r.order = append(r.order, t)
	}
	return t
}

// tests settles every outcome and returns what counts: leaves, parents that failed by themselves,
// and packages that failed without a failing test.
func (r *results) tests() []*test {
	for _, t := range r.order {
		if t.test != "" && t.outcome == "" {
			t.outcome = "fail"
			t.lines = append(t.lines, "    did not finish\n")
		}
	}
	for _, t := range r.order {
		r.markAncestors(t)
	}
	var counted []*test
	for _, t := range r.order {
		isPackage := t.test == ""
		if t.outcome == "fail" && !t.childFailed || !isPackage && !t.parent && t.outcome != "fail" {
			counted = append(counted, t)
		}
	}
	return counted
}

func (r *results) markAncestors(t *test) {
	name := t.test
	for name != "" {
		name = name[:max(0, strings.LastIndexByte(name, '/'))]
		p := r.get(t.run, t.pkg, name)
		p.parent = true
		p.childFailed = p.childFailed || t.outcome == "fail"
	}
}

func (t *test) name() string {
	if t.test == "" {
		return t.pkg
	}
	return t.pkg + " " + t.test
}

const shown = 200

// output is the end of what a test printed, since that is where a failure says why.
func (t *test) output() string {
	lines := t.lines
	if len(lines) > shown {
		lines = append([]string{fmt.Sprintf("    … %d lines left out\n", len(lines)-shown)}, lines[len(lines)-shown:]...)
	}
	return strings.Join(lines, "")
}

func (r *results) slowest(n int) []slow {
	var all []slow
	for _, t := range r.order {
		if t.test == "" && t.elapsed > 0 {
			all = append(all, slow{t.pkg, t.elapsed})
		}
	}
	slices.SortStableFunc(all, func(a, b slow) int { return cmp.Compare(b.elapsed, a.elapsed) })
	return all[:min(n, len(all))]
}

type slow struct {
	name    string
	elapsed time.Duration
}
