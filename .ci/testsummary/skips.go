package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// An expectation is one line of skips.txt.
type expectation struct {
	pattern *regexp.Regexp
	why     string
}

func readExpected(path string) ([]expectation, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []expectation
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, why, ok := strings.Cut(line, " # ")
		if !ok {
			return nil, fmt.Errorf("%s:%d: no reason: write PATTERN # WHY", path, n)
		}
		re, err := regexp.Compile(strings.TrimSpace(pattern))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		all = append(all, expectation{re, strings.TrimSpace(why)})
	}
	return all, s.Err()
}

// A skip is one reason and the tests that gave it.
type skip struct {
	reason   string
	tests    []string
	expected bool
}

func (s *skip) String() string {
	mark := ""
	if !s.expected {
		mark = "UNEXPECTED "
	}
	return fmt.Sprintf("%s%s: %s", mark, s.reason, strings.Join(s.tests, ", "))
}

// skips groups by reason, since one missing feature may skip many tests.
func (r *results) skips(expected []expectation) []*skip {
	var all []*skip
	byReason := map[string]*skip{}
	for _, t := range r.tests() {
		if t.outcome != "skip" {
			continue
		}
		reason, ok := judge(expected, t)
		s := byReason[reason]
		if s == nil {
			s = &skip{reason: reason, expected: ok}
			byReason[reason] = s
			all = append(all, s)
		}
		s.tests = append(s.tests, t.name())
		s.expected = s.expected && ok
	}
	return all
}

// judge matches "PACKAGE TEST: REASON" with the list. What a kernel under test lacks is for the table of kernels
// to judge, so there "needs …" is always an answer.
func judge(expected []expectation, t *test) (reason string, ok bool) {
	reason = t.skipReason()
	if strings.HasPrefix(t.pkg, "kernel ") && strings.HasPrefix(reason, "needs ") {
		return reason, true
	}
	line := t.name() + ": " + reason
	for _, e := range expected {
		if e.pattern.MatchString(line) {
			return reason + " (" + e.why + ")", true
		}
	}
	return reason, false
}

var logLine = regexp.MustCompile(`^\s+[\w.-]+(?:\.go:\d+)?: (.*)$`)

// skipReason is the last thing that a test logged.
func (t *test) skipReason() string {
	for i := len(t.lines) - 1; i >= 0; i-- {
		if m := logLine.FindStringSubmatch(strings.TrimRight(t.lines[i], "\n")); m != nil {
			return m[1]
		}
	}
	return "no reason given"
}
