// Command testsummary closes a test run: it reads what go test -json and the kernel runner wrote, shows what failed
// and why, lists what was skipped, and counts. A skip that .ci/skips.txt does not expect fails the run.
//
//	testsummary [-skips FILE] RESULTS.json…
//	testsummary -step NAME -out RESULTS.json COMMAND…     runs a command as one more test
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	skips := flag.String("skips", ".ci/skips.txt", "which skips are expected")
	step := flag.String("step", "", "run a command as the test of this name")
	out := flag.String("out", "", "where the result of a step goes")
	flag.Parse()
	if *step != "" {
		os.Exit(runStep(*step, *out, flag.Args()))
	}
	ok, err := summarize(os.Stdout, *skips, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func summarize(w io.Writer, skipsPath string, paths []string) (bool, error) {
	expected, err := readExpected(skipsPath)
	if err != nil {
		return false, err
	}
	r := newResults()
	for _, path := range paths {
		if err := r.readFile(path); err != nil {
			return false, err
		}
	}
	return r.print(w, expected), nil
}

// print ends with a line that says nothing but the counts, which is what CI looks for.
func (r *results) print(w io.Writer, expected []expectation) bool {
	r.printSlowest(w)
	count := map[string]int{}
	for _, t := range r.tests() {
		count[t.outcome]++
		if t.outcome == "fail" {
			fmt.Fprintf(w, "\nFAIL %s\n%s", t.name(), t.output())
		}
	}
	failed := count["fail"] + printSkips(w, r.skips(expected))
	if len(count) == 0 {
		fmt.Fprintln(w, "\nNo test ran.")
		failed++
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", count["pass"], failed, count["skip"])
	return failed == 0
}

// printSkips returns how many reasons nobody expected.
func printSkips(w io.Writer, skips []*skip) (unexpected int) {
	fmt.Fprintln(w, "\nSkipped, and why:")
	for _, s := range skips {
		fmt.Fprintln(w, "  ", s)
		if !s.expected {
			unexpected++
		}
	}
	if len(skips) == 0 {
		fmt.Fprintln(w, "   nothing")
	}
	if unexpected > 0 {
		fmt.Fprintln(w, "\nEach UNEXPECTED reason counts as a failure: make the tests run, or say in .ci/skips.txt why they cannot.")
	}
	return unexpected
}

func (r *results) printSlowest(w io.Writer) {
	fmt.Fprintln(w, "\nSlowest packages:")
	for _, p := range r.slowest(8) {
		fmt.Fprintf(w, "   %6.1f s  %s\n", p.elapsed.Round(time.Second/10).Seconds(), p.name)
	}
}
