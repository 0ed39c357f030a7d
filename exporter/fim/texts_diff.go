package fim

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/rogpeppe/go-internal/diff"
)

// Bounds of what is shown.
const (
	maxDiffLines = 100
	maxDiffBytes = 8 << 10
	maxDiffLine  = 1 << 10 // bytes of a line of a text
)

// Diff shows what has changed in a text, as a unified diff with three lines around each change, and no names: what was kept of
// the file must be what before says, and now what after says. What was created or deleted is held against nothing; then before
// or after is nil, or not a regular file's. It is not ok if either text is not known, or nothing differs.
//
// A diff has at most 100 lines and 8 KiB. One that had more ends with a line that begins with a backslash and says how many
// there were; a line of more than 1 KiB ends with how much there was. Secrets are taken out, and what is not printable is
// shown as Go spells it: \r, \x1b, \u202e.
func (t *Texts) Diff(p Path, before, after *Record, now []byte) (text string, ok bool) {
	was, is := isFile(before), isFile(after)
	switch {
	case was && !before.Summed || is && !after.Summed || was && is && before.Sum == after.Sum || isSecretFile(p.Name):
		return "", false
	case is && refusal(p, after, now) != "":
		return "", false
	}
	var old []byte
	if was {
		if old, ok = t.text(p, before.Sum); !ok {
			return "", false
		}
	}
	if !is {
		now = nil
	}
	text = t.compare(old, now, was, is)
	return text, text != ""
}

func isFile(r *Record) bool { return r != nil && r.Mode.IsRegular() }

// compare writes the diff of two texts, of which one may not be there. It has the lines compared as numbers, the same for the
// same: lines that only differ in a secret differ, and where a line is, tells what may be shown of it.
func (t *Texts) compare(before, after []byte, was, is bool) string {
	old, new := splitLines(before), splitLines(after)
	numbers := map[string]int{}
	lines := diff.Diff("", numbered(old, numbers), "", numbered(new, numbers))
	if lines == nil {
		return ""
	}
	shownOld, shownNew := conceal(old, new, t.redact)
	var out clipped
	out.add("", "--- "+side("before", was))
	out.add("", "+++ "+side("after", is))
	hunks := string(lines)
	hunks = hunks[strings.Index(hunks, "@@ "):]
	var x, y int // the next lines of old and new
	for line := range strings.Lines(hunks) {
		switch line[0] {
		case '@':
			x, y = startOf(line)
			out.add("", strings.TrimSuffix(line, "\n"))
		case '-':
			out.addLine("-", shownOld[x], old[x])
			x++
		case '+':
			out.addLine("+", shownNew[y], new[y])
			y++
		default:
			shown := shownNew[y]
			if shownOld[x].hidden {
				shown = shownOld[x]
			}
			out.addLine(" ", shown, new[y])
			x, y = x+1, y+1
		}
	}
	return out.String()
}

func side(name string, there bool) string {
	if there {
		return name
	}
	return "/dev/null"
}

// splitLines are the lines of a text, with the line feed that ends each but perhaps the last.
func splitLines(text []byte) []string {
	lines := strings.SplitAfter(string(text), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		return lines[:last]
	}
	return lines
}

// numbered has a number in place of each line.
func numbered(lines []string, numbers map[string]int) []byte {
	var b []byte
	for _, line := range lines {
		n, ok := numbers[line]
		if !ok {
			n = len(numbers)
			numbers[line] = n
		}
		b = append(strconv.AppendInt(b, int64(n), 10), '\n')
	}
	return b
}

// startOf says which lines a hunk begins with, counted from 0. Of a side without lines there is none.
func startOf(header string) (x, y int) {
	var xs, ys int
	fmt.Sscanf(header, "@@ -%d,%d +%d,%d @@", &x, &xs, &y, &ys)
	return x - min(xs, 1), y - min(ys, 1)
}

// A clipped text ends where its bounds are reached.
type clipped struct {
	text []byte
	ends []int // of lines
	all  int   // lines, with those that had no room
}

func (c *clipped) addLine(prefix string, shown shownLine, line string) {
	c.add(prefix, shown.text)
	if !strings.HasSuffix(line, "\n") {
		c.add("", `\ No newline at end of file`)
	}
}

func (c *clipped) add(prefix, line string) {
	if c.all++; len(c.ends) < c.all-1 {
		return
	}
	line = prefix + printable(line)
	if len(c.ends) == maxDiffLines || len(c.text)+len(line) >= maxDiffBytes {
		return
	}
	c.text = append(append(c.text, line...), '\n')
	c.ends = append(c.ends, len(c.text))
}

// String makes room for the line that says how many there were, if there were more.
func (c *clipped) String() string {
	for n := len(c.ends); n < c.all; n-- {
		last := fmt.Sprintf("\\ %d more lines\n", c.all-n)
		if n < maxDiffLines && c.end(n)+len(last) <= maxDiffBytes {
			return string(c.text[:c.end(n)]) + last
		}
	}
	return string(c.text)
}

// end is where the first n lines end.
func (c *clipped) end(n int) int {
	if n == 0 {
		return 0
	}
	return c.ends[n-1]
}

// printable spells out what could mislead whoever reads it on a terminal, and cuts what is long.
func printable(line string) string {
	if len(line) <= maxDiffLine && !strings.ContainsFunc(line, isHidden) {
		return line
	}
	var b strings.Builder
	for i, r := range line {
		if b.Len() > maxDiffLine-len(`\U00000000`) {
			fmt.Fprintf(&b, "… %d more bytes", len(line)-i)
			break
		}
		if !isHidden(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func isHidden(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }
