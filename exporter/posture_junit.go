package exporter

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// The parts of JUnit's XML that we write: a suite for each framework, a case for each of its checks.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		junitCounts
		Suites []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string `xml:"name,attr"`
		Host      string `xml:"hostname,attr"`
		Timestamp string `xml:"timestamp,attr"`
		junitCounts
		Cases []junitCase `xml:"testcase"`
	}
	junitCounts struct {
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitOutcome `xml:"failure"`
		Error   *junitOutcome `xml:"error"`
		Skipped *junitOutcome `xml:"skipped"`
	}
	junitOutcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

func (c *junitCounts) add(status event.Status) {
	c.Tests++
	switch status {
	case event.Fail:
		c.Failures++
	case event.Erroneous:
		c.Errors++
	case event.Manual, event.NotApplicable:
		c.Skipped++
	}
}

func (r *postureReport) junit(w io.Writer) error {
	const none = "0.000" // the checks share one run
	all := junitSuites{Name: "yagura posture of " + r.subject}
	all.Time = fmt.Sprintf("%.3f", r.Took.Seconds())
	for _, row := range r.rows() {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != dash(row.Framework) {
			all.Suites = append(all.Suites, junitSuite{Name: dash(row.Framework), Host: r.subject, Timestamp: r.Time.UTC().Format("2006-01-02T15:04:05"),
				junitCounts: junitCounts{Time: none}})
		}
		suite := &all.Suites[len(all.Suites)-1]
		suite.add(row.Status)
		all.add(row.Status)
		suite.Cases = append(suite.Cases, junitCaseOf(row, none))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitCaseOf(row reportRow, took string) junitCase {
	c := junitCase{Class: "posture." + dash(row.Framework), Time: took,
		Name: strings.TrimSpace(strings.Join(row.Controls, " ") + " " + row.Check.ID + ": " + row.Check.Title)}
	switch row.Status {
	case event.Fail:
		var text strings.Builder
		for _, o := range row.Objects {
			fmt.Fprintln(&text, describeObject(&o))
		}
		if more := row.Failing - len(row.Objects); more > 0 {
			fmt.Fprintf(&text, "and %d more\n", more)
		}
		fmt.Fprintf(&text, "\n%s\n\nTo remedy:\n%s\n", row.Check.Risk, row.Check.Remediation)
		c.Failure = &junitOutcome{fmt.Sprintf("%d objects fail", row.Failing), row.Check.Severity.String(), text.String()}
	case event.Erroneous:
		c.Error = &junitOutcome{Message: printable(row.Reason), Type: "unreadable"}
	case event.Manual:
		c.Skipped = &junitOutcome{Message: "a person must look: " + row.Check.Remediation}
	case event.NotApplicable:
		c.Skipped = &junitOutcome{Message: "not applicable: " + printable(row.Reason)}
	}
	return c
}
