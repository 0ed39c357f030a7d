package fim

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// asItIs is a redactor that finds no secrets.
func asItIs(text string) string { return text }

// unifiedDiff compares two texts that are both there, as Diff does with what is kept.
func unifiedDiff(before, after string, redact func(string) string) string {
	return (&Texts{redact: redact}).compare([]byte(before), []byte(after), true, true)
}

// numberedLines are so many lines, each with its number.
func numberedLines(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("line %d\n", i+1))
	}
	return lines
}

func TestDiffShowsWhatHasChanged(t *testing.T) {
	f := func(name, before, after string, want ...string) {
		t.Helper()
		if got := unifiedDiff(before, after, asItIs); got != "--- before\n+++ after\n"+strings.Join(want, "\n")+"\n" {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	ten := strings.Join(numberedLines(10), "")
	f("one line", ten, strings.Replace(ten, "5", "five", 1),
		"@@ -2,7 +2,7 @@", " line 2", " line 3", " line 4", "-line 5", "+line five", " line 6", " line 7", " line 8")
	f("at the beginning", "a\nb\n", "new\na\nb\n", "@@ -1,2 +1,3 @@", "+new", " a", " b")
	f("at the end", "a\nb\n", "a\nb\nnew\n", "@@ -1,2 +1,3 @@", " a", " b", "+new")
	f("line feed taken away", "a\nb\n", "a\nb", "@@ -1,2 +1,2 @@", " a", "-b", "+b", `\ No newline at end of file`)
	f("line feed added", "a\nb", "a\nb\n", "@@ -1,2 +1,2 @@", " a", "-b", `\ No newline at end of file`, "+b")
	f("no line feed in both", "a\nb", "c\nb", "@@ -1,2 +1,2 @@", "-a", "+c", " b", `\ No newline at end of file`)
	f("emptied", "a\nb\n", "", "@@ -1,2 +0,0 @@", "-a", "-b")
	f("filled", "", "a", "@@ -0,0 +1,1 @@", "+a", `\ No newline at end of file`)
	f("carriage returns", "a\nb\n", "a\nb\r\n", "@@ -1,2 +1,2 @@", " a", "-b", `+b\r`)
	f("carriage returns all over", "a\r\nb\r\n", "a\r\nc\r\n", "@@ -1,2 +1,2 @@", ` a\r`, `-b\r`, `+c\r`)
	f("what terminals obey", "a\n", "\x1b[2Ja\rb\x7f\u009b\u202e\u200b\ufeff\n", "@@ -1,1 +1,1 @@", "-a", `+\x1b[2Ja\rb\x7f\u009b\u202e\u200b\ufeff`)
	f("tabs and other scripts", "a\n", "\tgröße 大 🗻\n", "@@ -1,1 +1,1 @@", "-a", "+\tgröße 大 🗻")
	f("a line like a header", "a\n", "@@ -1 +1 @@\n--- x\n\\ x\n", "@@ -1,1 +1,3 @@", "-a", "+@@ -1 +1 @@", "+--- x", `+\ x`)
	f("a blank line", "a\n", "a\n\n", "@@ -1,1 +1,2 @@", " a", "+")
}

// diff(1) does not say how many lines there are if it is one.
var oneLine = regexp.MustCompile(`(?m)^(@@ -\d+(?:,\d+)? \+\d+),1 @@$`)
var oneOldLine = regexp.MustCompile(`(?m)^(@@ -\d+),1 (\+)`)

// TestDiffSaysWhatDiffDoes holds it against diff(1), where there is only one shortest way to tell a change.
func TestDiffSaysWhatDiffDoes(t *testing.T) {
	needTool(t, "diff")
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		old := numberedLines(1 + random.IntN(40))
		new := slices.Clone(old)
		for range 1 + random.IntN(3) {
			switch i := random.IntN(len(new)); random.IntN(3) {
			case 0:
				new[i] = fmt.Sprintf("another %d\n", n)
			case 1:
				new = slices.Insert(new, i, fmt.Sprintf("new %d\n", random.Int()))
			default:
				if len(new) > 1 {
					new = slices.Delete(new, i, i+1)
				}
			}
		}
		before, after := strings.Join(old, ""), strings.Join(new, "")
		if random.IntN(3) == 0 {
			before = strings.TrimSuffix(before, "\n")
		}
		if random.IntN(3) == 0 {
			after = strings.TrimSuffix(after, "\n")
		}
		if before == after {
			continue
		}
		dir := t.TempDir()
		write(t, filepath.Join(dir, "before"), before)
		write(t, filepath.Join(dir, "after"), after)
		want, err := exec.Command("diff", "-U3", "--label", "before", "--label", "after", filepath.Join(dir, "before"), filepath.Join(dir, "after")).Output()
		if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() != 1) {
			t.Fatal(err)
		}
		got := unifiedDiff(before, after, asItIs)
		if isSplit(got) {
			continue // at six lines between two changes, where diff has one hunk
		}
		if got = oneOldLine.ReplaceAllString(oneLine.ReplaceAllString(got, "$1 @@"), "$1 $2"); got != string(want) {
			t.Errorf("%q to %q:\n%s\ndiff says\n%s", before, after, got, want)
		}
	}
}

// isSplit says whether a hunk begins right behind another.
func isSplit(diff string) bool {
	end := 0
	for line := range strings.Lines(diff) {
		var x, xs, y, ys int
		if n, _ := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &x, &xs, &y, &ys); n < 4 {
			continue
		}
		if x == end {
			return true
		}
		end = x + xs
	}
	return false
}

// TestDiffCanBeApplied has patch(1) make one text of the other.
func TestDiffCanBeApplied(t *testing.T) {
	needTool(t, "patch")
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		text := func() string {
			var b strings.Builder
			for range random.IntN(30) {
				fmt.Fprintf(&b, "%c\n", 'a'+random.IntN(5))
			}
			return b.String() + []string{"", "end"}[random.IntN(2)]
		}
		before, after := text(), text()
		if before == after || before == "" || after == "" {
			continue
		}
		dir := t.TempDir()
		write(t, filepath.Join(dir, "text"), before)
		write(t, filepath.Join(dir, "diff"), unifiedDiff(before, after, asItIs))
		run(t, "patch", "-s", filepath.Join(dir, "text"), filepath.Join(dir, "diff"))
		if got, err := os.ReadFile(filepath.Join(dir, "text")); err != nil || string(got) != after {
			t.Errorf("%q to %q: %q, %v", before, after, got, err)
		}
	}
}

func TestDiffIsOfWhatTheRecordsSay(t *testing.T) {
	texts := newTexts(t)
	p := Path{"c1", "/etc/motd"}
	keepText(t, texts, p, "welcome\n")
	welcome, goodbye := recordFor([]byte("welcome\n")), recordFor([]byte("goodbye\n"))
	link, unknown, large := &Record{Mode: fs.ModeSymlink}, &Record{Mode: 0o644, Size: 8}, recordFor([]byte("goodbye\n"))
	large.Size = MaxText + 1
	const changed = "--- before\n+++ after\n@@ -1,1 +1,1 @@\n-welcome\n+goodbye\n"
	const created = "--- /dev/null\n+++ after\n@@ -0,0 +1,1 @@\n+goodbye\n"
	const deleted = "--- before\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-welcome\n"
	for _, row := range []struct {
		name          string
		path          Path
		before, after *Record
		now           string
		want          string
	}{
		{"changed", p, welcome, goodbye, "goodbye\n", changed},
		{"created", p, nil, goodbye, "goodbye\n", created},
		{"was a link", p, link, goodbye, "goodbye\n", created},
		{"created where nothing was kept", Path{"", "/new"}, nil, goodbye, "goodbye\n", created},
		{"deleted", p, welcome, nil, "", deleted},
		{"is a link", p, welcome, link, "", deleted},
		{"is a link, with something to read", p, welcome, link, "goodbye\n", deleted},
		{"other attributes", p, welcome, welcome, "welcome\n", ""},
		{"neither", p, nil, nil, "", ""},
		{"created, empty", p, nil, recordFor(nil), "", ""},
		{"changed meanwhile", p, welcome, goodbye, "something else\n", ""},
		{"kept of an older one", p, recordFor([]byte("hello\n")), goodbye, "goodbye\n", ""},
		{"deleted, kept of an older one", p, recordFor([]byte("hello\n")), nil, "", ""},
		{"of another container", Path{"", "/etc/motd"}, welcome, goodbye, "goodbye\n", ""},
		{"not summed before", p, unknown, goodbye, "goodbye\n", ""},
		{"not summed now", p, welcome, unknown, "goodbye\n", ""},
		{"too large now", p, welcome, large, "goodbye\n", ""},
		{"binary now", p, welcome, recordFor([]byte("good\x00bye\n")), "good\x00bye\n", ""},
		{"nothing but secrets", Path{"", "/etc/shadow"}, nil, goodbye, "goodbye\n", ""},
	} {
		got, ok := texts.Diff(row.path, row.before, row.after, []byte(row.now))
		if got != row.want || ok != (row.want != "") {
			t.Errorf("%s: %v\n%s", row.name, ok, got)
		}
	}
	if !hasText(texts, p, "welcome\n") {
		t.Error("Diff has forgotten what is kept")
	}
}

func TestDiffHoldsWhatIsKeptAgainstItsSum(t *testing.T) {
	texts := newTexts(t)
	p := Path{"", "/etc/motd"}
	welcome, goodbye := recordFor([]byte("welcome\n")), recordFor([]byte("goodbye\n"))
	for name, value := range map[string][]byte{
		"another text":   texts.pack(welcome.Sum, []byte("forged\n")),
		"a long text":    texts.pack(welcome.Sum, make([]byte, 100<<20)),
		"not compressed": append(texts.pack(welcome.Sum, nil)[:valueText], "welcome\n"...),
		"nothing":        {},
		"a piece":        texts.pack(welcome.Sum, []byte("welcome\n"))[:valueText-1],
		"a newer one":    append([]byte{textVersion + 1}, texts.pack(welcome.Sum, []byte("welcome\n"))[1:]...),
	} {
		texts.waiting[textKey(p)] = value
		if got, ok := texts.Diff(p, welcome, goodbye, []byte("goodbye\n")); ok {
			t.Errorf("%s: %s", name, got)
		}
	}
	clear(texts.waiting)
}

func linesOf(diff string) []string { return strings.Split(strings.TrimSuffix(diff, "\n"), "\n") }

func TestDiffHasABound(t *testing.T) {
	f := func(name, before, after string, lines int, last string) {
		t.Helper()
		diff := unifiedDiff(before, after, asItIs)
		got := linesOf(diff)
		if len(got) != lines || got[len(got)-1] != last || len(diff) > 8<<10 || len(diff) > 0 && !strings.HasSuffix(diff, "\n") {
			t.Errorf("%s: %d lines, the last %q, %d bytes; want %d lines, the last %q", name, len(got), got[len(got)-1], len(diff), lines, last)
		}
	}
	many := numberedLines(5000)
	text := func(n int) string { return strings.Join(many[:n], "") }
	f("as many lines as there may be", "", text(97), 100, "+line 97")
	f("one more", "", text(98), 100, `\ 2 more lines`) // where the last one stood, and one
	f("many more", "", text(5000), 100, `\ 4904 more lines`)
	f("all others", text(3000), strings.ReplaceAll(text(3000), "line", "row"), 100, `\ 5904 more lines`)
	f("none with a line feed at the end", "", text(97)+"end", 100, `\ 3 more lines`) // end, and that it has none, are two

	wide := strings.Repeat("x", 990) + "\n"
	f("bytes", "", strings.Repeat(wide, 20), 12, `\ 12 more lines`)
	f("all of MaxText in lines of nothing", "", strings.Repeat("\n", MaxText), 100, `\ 65440 more lines`)
	f("a carriage return in each", strings.Repeat("\r\n", MaxText/2), "", 100, `\ 32672 more lines`)
}

func TestDiffCutsLongLines(t *testing.T) {
	f := func(name, before, after string, want ...string) {
		t.Helper()
		got := linesOf(unifiedDiff(before, after, asItIs))[3:]
		for i := range want {
			if i >= len(got) || !strings.HasSuffix(got[i], want[i]) || len(got[i]) > 1+maxDiffLine+40 || !utf8.ValidString(got[i]) {
				t.Errorf("%s: line %d is %q, want it to end with %q", name, i, got[min(i, len(got)-1)], want[i])
			}
		}
	}
	f("all of MaxText in one line", strings.Repeat("x", MaxText), strings.Repeat("x", MaxText-1)+"y",
		"… 64521 more bytes", `\ No newline at end of file`, "… 64521 more bytes")
	f("just not", strings.Repeat("x", maxDiffLine)+"\n", "", "xxx")
	f("between runes", strings.Repeat("大", MaxText/3), "", "大… 64518 more bytes")
	f("spelled out", strings.Repeat("\x1b", 1000)+"\n", "", `\x1b… 746 more bytes`)
}

// applyDiff makes one text of another, both by their lines as they are shown, by a diff that was not cut.
func applyDiff(t *testing.T, before []string, diff []string) (after []string) {
	t.Helper()
	at := 0
	for i := 0; i < len(diff); i++ {
		var x, xs, y, ys int
		if _, err := fmt.Sscanf(diff[i], "@@ -%d,%d +%d,%d @@", &x, &xs, &y, &ys); err != nil {
			t.Fatalf("line %q: want the header of a hunk: %v", diff[i], err)
		}
		for start := x - min(1, xs); at < start; at++ {
			after = append(after, before[at])
		}
		if len(after) != y-min(1, ys) {
			t.Fatalf("%q begins at line %d", diff[i], len(after)+1)
		}
		for xs > 0 || ys > 0 {
			i++
			line := diff[i][1:]
			if i+1 < len(diff) && strings.HasPrefix(diff[i+1], `\ No`) {
				i++
				line += "\x00"
			}
			switch {
			case diff[i-strings.Count(line, "\x00")][0] == '+':
				after, ys = append(after, line), ys-1
				continue
			case before[at] != line:
				t.Fatalf("line %q is %q in the diff", before[at], line)
			case diff[i-strings.Count(line, "\x00")][0] == ' ':
				after, ys = append(after, line), ys-1
			}
			at, xs = at+1, xs-1
		}
	}
	return append(after, before[at:]...)
}

// shownLines are the lines of a text as a diff shows them; one without a line feed has a NUL in its place.
func shownLines(text string) (lines []string) {
	for _, line := range splitLines([]byte(text)) {
		shown := printable(strings.TrimSuffix(line, "\n"))
		if !strings.HasSuffix(line, "\n") {
			shown += "\x00"
		}
		lines = append(lines, shown)
	}
	return lines
}

var moreLines = regexp.MustCompile(`^\\ [1-9][0-9]* more lines$`)

func FuzzDiff(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\nd")
	f.Add("", "x")
	f.Add("a\r\n\x1b[2J\n", "a\n\u202e")
	f.Add(strings.Repeat("a\n", 1000), strings.Repeat("b\na\n", 1000))
	f.Add("-----BEGIN PRIVATE KEY-----\nabc\n", "abc\n-----END PRIVATE KEY-----\n")
	f.Add("password: |\n  x\n\n y\nz: 1\n", "password: |\n  x\n\n  y\nz: 2\n")
	f.Add("a\n", "admin:$1$abcdefgh$ijklmnopqrstuvwxyz0123: more\n")
	f.Add(strings.Repeat("long ", 10_000), "@@ -1,1 +1,1 @@\n\\ 3 more lines\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		if !isText([]byte(before)) || !isText([]byte(after)) {
			return
		}
		diff := unifiedDiff(before, after, asItIs)
		if (diff == "") != (before == after) {
			t.Fatalf("%q", diff)
		}
		if diff == "" {
			return
		}
		lines := linesOf(diff)
		if len(lines) > 100 || len(diff) > 8<<10 || !utf8.ValidString(diff) || strings.ContainsAny(diff, "\x00\x1b\r\u202e") {
			t.Fatalf("%d lines, %d bytes", len(lines), len(diff))
		}
		known := map[string]bool{redactedText: true}
		for _, line := range slices.Concat(shownLines(before), shownLines(after)) {
			known[strings.TrimSuffix(line, "\x00")] = true
		}
		isKnown := func(line string) bool {
			begin, end := strings.Index(line, redactedText), strings.LastIndex(line, redactedText)
			if begin < 0 || known[line] {
				return known[line]
			}
			for whole := range known { // but for secrets that can be told by their form alone
				if strings.HasPrefix(whole, line[:begin]) && (strings.HasSuffix(whole, line[end+len(redactedText):]) || strings.HasSuffix(line, " more bytes")) {
					return true
				}
			}
			return false
		}
		cut := moreLines.MatchString(lines[len(lines)-1])
		for _, line := range lines[2:] {
			if line[0] != '@' && line[0] != '\\' && !isKnown(line[1:]) {
				t.Fatalf("%q is in neither text", line)
			}
		}
		if cut || strings.Contains(diff, redactedText) {
			return
		}
		if got := applyDiff(t, shownLines(before), lines[2:]); !slices.Equal(got, shownLines(after)) {
			t.Fatalf("applied it makes %q of %q", got, before)
		}
	})
}

func BenchmarkDiff(b *testing.B) {
	all := configurations(b, 2)
	half := strings.Repeat("some words of a line\n", 1500)
	for name, texts := range map[string][2]string{
		"configuration": {string(all[0]), strings.Replace(string(all[0]), "tcp", "udp", 3)},
		"equal lines":   {half, half + half},
		"line feeds":    {strings.Repeat("\n", MaxText), strings.Repeat("\n", MaxText-1)},
		"one line":      {strings.Repeat("x", MaxText), strings.Repeat("y", MaxText)},
	} {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			kept := newTexts(b)
			p, before, after := Path{"", "/a"}, recordFor([]byte(texts[0])), recordFor([]byte(texts[1]))
			must(b, kept.Keep(p, before, []byte(texts[0])))
			must(b, kept.write())
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := kept.Diff(p, before, after, []byte(texts[1])); !ok {
					b.Fatal("no diff")
				}
			}
		})
	}
}
