package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Severity says how bad a finding is. In text it is one of Severities.
type Severity uint8

// The severities, from what is only worth to know upwards.
const (
	Info Severity = iota
	Low
	Medium
	High
	Critical
	never // above all of them
)

// Severities names them as checks, flags and reports do.
var Severities = [...]string{"info", "low", "medium", "high", "critical"}

func (s Severity) String() string {
	if int(s) < len(Severities) {
		return Severities[s]
	}
	return "never"
}

// MarshalText writes the name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(Severities[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is no severity: want one of %s", text, strings.Join(Severities[:], ", "))
	}
	*s = Severity(i)
	return nil
}

// Schema is the version of a Report in JSON. Fields are only added while it stays the same.
const Schema = 1

// A Report is what the checks have found in one image. In JSON its fields are as here; lists are never null.
type Report struct {
	Schema   int       `json:"schema"`
	Target   string    `json:"target"`          // as it was given
	Kind     string    `json:"kind"`            // directory, tar or image
	Image    *Image    `json:"image,omitempty"` // of an image
	Files    int       `json:"files"`           // names in the file system that a container would see
	Bytes    int64     `json:"bytes"`           // that were read, decompressed
	Findings []Finding `json:"findings"`        // by severity, the highest first, then by path
	Omitted  []Omitted `json:"omitted"`         // findings beyond a bound
	Ignored  int       `json:"ignored"`         // findings that the checks file says to ignore
	Skipped  []Skipped `json:"skipped"`         // what was left out on purpose
	Unread   []Skipped `json:"unread"`          // what could not be read, so that nothing is known of it
}

// An Image is what was looked at of an image: one platform of it.
type Image struct {
	Reference string  `json:"reference"` // its name, if it has one
	Platform  string  `json:"platform"`  // os/architecture[/variant], if it says so
	Manifest  string  `json:"manifest"`  // digest; empty in what docker save has written before it knew OCI
	Config    string  `json:"config"`    // digest
	Layers    []Layer `json:"layers"`    // from the lowest up
}

// A Layer is one of an image.
type Layer struct {
	Digest    string `json:"digest"`     // as the manifest has it, or its diff id
	DiffID    string `json:"diff_id"`    // digest of what it is decompressed
	CreatedBy string `json:"created_by"` // the history's word on it, shortened and redacted
}

// A Finding is something that is not as a check expects it.
type Finding struct {
	Check       string   `json:"check"`
	Severity    Severity `json:"severity"`
	Path        string   `json:"path"`                  // absolute; or of the image's configuration, such as config:env:NAME. Bytes that are no text are \x and two digits
	Line        int      `json:"line,omitempty"`        // of a secret, from 1
	Layer       string   `json:"layer,omitempty"`       // digest of the one that brought it
	CreatedBy   string   `json:"created_by,omitempty"`  // what made that layer
	Removed     bool     `json:"removed,omitempty"`     // a later layer hides it, but whoever has the image has it
	Found       string   `json:"found"`                 // never a secret
	Expected    string   `json:"expected"`              //
	Fingerprint string   `json:"fingerprint,omitempty"` // of a secret: the same for the same one
}

// Omitted says how many findings of a check were left out because there were too many.
type Omitted struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Count    int      `json:"count"`
}

// Skipped is a path that was not looked at, and why.
type Skipped struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Exit statuses of `yagura fim image`.
const (
	Clean   = 0
	Found   = 1 // at least one finding as severe as asked for
	Failure = 2 // the image or the checks could not be read
)

// ExitStatus returns Found if there is a finding at or above failOn. Failure comes before it: an image that was read in
// part may hold worse than what was found.
func (r *Report) ExitStatus(failOn Severity) int {
	switch {
	case len(r.Unread) > 0:
		return Failure
	case slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity >= failOn }),
		slices.ContainsFunc(r.Omitted, func(o Omitted) bool { return o.Severity >= failOn }):
		return Found
	}
	return Clean
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for i := range r.Findings {
		r.Findings[i].writeText(&b)
	}
	for _, o := range r.Omitted {
		fmt.Fprintf(&b, "%-8s %s\n         %s more are not shown\n", o.Severity, o.Check, count(o.Count, "finding"))
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "skipped  %s: %s\n", s.Path, s.Why)
	}
	for _, s := range r.Unread {
		fmt.Fprintf(&b, "unread   %s: %s\n", s.Path, s.Why)
	}
	r.writeSummary(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (f *Finding) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "%-8s %s  %s", f.Severity, f.Check, f.Path)
	if f.Line > 0 {
		fmt.Fprintf(b, ":%d", f.Line)
	}
	fmt.Fprintf(b, "\n         found %s; want %s\n", f.Found, f.Expected)
	if f.Layer == "" {
		return
	}
	fmt.Fprintf(b, "         layer %s", f.Layer)
	if f.CreatedBy != "" {
		fmt.Fprintf(b, " by %s", f.CreatedBy)
	}
	if f.Removed {
		b.WriteString(" (a later layer hides it)")
	}
	b.WriteByte('\n')
}

func (r *Report) writeSummary(b *strings.Builder) {
	var counts [len(Severities)]int
	total := 0
	add := func(s Severity, n int) { counts[s] += n; total += n }
	for _, f := range r.Findings {
		add(f.Severity, 1)
	}
	for _, o := range r.Omitted {
		add(o.Severity, o.Count)
	}
	var parts []string
	for i, n := range slices.Backward(counts[:]) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, Severities[i]))
		}
	}
	fmt.Fprint(b, count(total, "finding"))
	if len(parts) > 0 {
		fmt.Fprintf(b, " (%s)", strings.Join(parts, ", "))
	}
	if r.Ignored > 0 {
		fmt.Fprintf(b, ", %d ignored", r.Ignored)
	}
	if len(r.Unread) > 0 {
		fmt.Fprintf(b, ", %s not read", count(len(r.Unread), "path"))
	}
	fmt.Fprintf(b, " in %s", count(r.Files, "file"))
	if r.Image != nil {
		fmt.Fprintf(b, " of %s", count(len(r.Image.Layers), "layer"))
		if r.Image.Platform != "" {
			fmt.Fprintf(b, " for %s", r.Image.Platform)
		}
	}
	fmt.Fprintf(b, ": %s\n", r.Target)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// printable writes what is no text as \x and two digits, and a backslash twice, so that a name cannot pass for another
// one nor move a terminal's cursor.
func printable(s string) string {
	plain := func(r rune) bool { return r != utf8.RuneError && r != '\\' && unicode.IsPrint(r) }
	if !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case plain(r):
			b.WriteString(s[:size])
		case r == '\\':
			b.WriteString(`\\`)
		default:
			for _, c := range []byte(s[:size]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
		s = s[size:]
	}
	return b.String()
}

// ErrTooMuch is in the error of an image that is larger than the options allow.
var ErrTooMuch = errors.New("more than is allowed")
