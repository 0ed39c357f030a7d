package fim

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A deviation is how a path is not as its baseline says, as far as that counts for a watch set. Of paths that none watches any
// more, all counts.
type deviation struct {
	Entry
	From     string // what it was called before, if that was found just now
	Kinds    KindSet
	Watches  Watches
	Severity event.Priority // the most severe of the watch sets'
}

// deviationOf says whether there is one.
func deviationOf(sets *Sets, e *Entry, from string) (d deviation, ok bool) {
	d = deviation{Entry: *e, From: from, Severity: event.Debug}
	if e.Base == nil && e.Now == nil {
		return d, false
	}
	of := sets.Match(e.Path.Container != "", e.Path.Name)
	if of == 0 {
		d.Kinds = kindsOf(&Difference{Old: e.Base, New: e.Now, Changed: Compare(e.Base, e.Now, Everything)})
		return d, d.Kinds != 0
	}
	for i := range of.All() {
		set := sets.Set(i)
		kinds := kindsOf(&Difference{Old: e.Base, New: e.Now, Changed: Compare(e.Base, e.Now, set.asked(e.Base, e.Now))}) & set.Kinds
		if kinds == 0 {
			continue
		}
		d.Kinds |= kinds
		d.Watches |= 1 << i
		d.Severity = min(d.Severity, set.Severity) // emergencies are 0
	}
	return d, d.Watches != 0
}

// A deviationWriter writes deviations for people, or a line of JSON for each.
type deviationWriter struct {
	out  *bufio.Writer
	json bool // one object a line
	sets *Sets
	n    uint64 // that were written
}

func newDeviationWriter(out io.Writer, asJSON bool, sets *Sets) *deviationWriter {
	return &deviationWriter{out: bufio.NewWriter(out), json: asJSON, sets: sets}
}

func (w *deviationWriter) write(d *deviation) error {
	w.n++
	if w.json {
		return writeLine(w.out, w.line(d))
	}
	return w.block(d)
}

// A deviationLine is a deviation in JSON. Records are as those of a bundle.
type deviationLine struct {
	Path      octets      `json:"path"`
	Container string      `json:"container,omitempty"`
	From      octets      `json:"renamed_from,omitempty"`
	Kinds     []string    `json:"kinds"`
	Watches   []string    `json:"watches"`
	Severity  string      `json:"severity,omitempty"`
	Was       *recordLine `json:"was,omitempty"` // absent of what is not in the baseline
	Is        *recordLine `json:"is,omitempty"`  // absent of what is gone
}

// A recordLine is a line of a bundle without its path.
type recordLine struct {
	bundleLine
	Path *struct{} `json:"path,omitempty"` // in place of the bundle's, and never there
}

func recordLineOf(r *Record) *recordLine {
	if r == nil {
		return nil
	}
	return &recordLine{bundleLine: bundleLineOf(&Entry{Base: r})}
}

func (w *deviationWriter) line(d *deviation) deviationLine {
	l := deviationLine{Path: octets(d.Path.Name), Container: d.Path.Container, From: octets(d.From), Kinds: d.Kinds.Names(), Watches: w.sets.Names(d.Watches),
		Was: recordLineOf(d.Base), Is: recordLineOf(d.Now)}
	if d.Watches != 0 {
		l.Severity = d.Severity.String()
	}
	return l
}

// block writes a line that begins with what has happened and the path, and below it what differs.
func (w *deviationWriter) block(d *deviation) error {
	fmt.Fprintf(w.out, "%s %s\n", d.verb(), shownPath(d.Path))
	if d.From != "" {
		w.fact("from", shown(d.From))
	}
	if d.Watches == 0 {
		w.fact("watch", "none any more")
	} else {
		w.fact("watch", strings.Join(w.sets.Names(d.Watches), ", ")+", "+d.Severity.String())
	}
	switch {
	case d.Base == nil:
		w.whole("is", d.Now)
	case d.Now == nil:
		w.whole("was", d.Base)
	default:
		w.compare(d.Base, d.Now)
	}
	return w.out.WriteByte('\n')
}

// verb is what has happened, in a word.
func (d *deviation) verb() string {
	switch {
	case d.From != "":
		return "renamed"
	case d.Base == nil:
		return "created"
	case d.Now == nil:
		return "deleted"
	}
	return "changed"
}

func (w *deviationWriter) fact(name, value string) {
	fmt.Fprintf(w.out, "  %-9s %s\n", name, value)
}

func (w *deviationWriter) whole(name string, r *Record) {
	w.fact(name, fmt.Sprintf("%s %s %s", r.TypeName(), r.Octal(), ownerOf(r)))
	for _, of := range facetsOf(r) {
		w.fact(of.name, of.value)
	}
}

// compare writes what differs, whether or not a watch set asks for it: who reads it wants to know all.
func (w *deviationWriter) compare(was, is *Record) {
	w.differs("type", was.TypeName(), is.TypeName())
	w.differs("mode", was.Octal(), is.Octal())
	w.differs("owner", ownerOf(was), ownerOf(is))
	before, after := facetsOf(was), facetsOf(is)
	for _, of := range before {
		w.differs(of.name, of.value, facetNamed(after, of.name))
	}
	for _, of := range after {
		if !slices.ContainsFunc(before, func(f facet) bool { return f.name == of.name }) {
			w.differs(of.name, noValue, of.value)
		}
	}
}

func (w *deviationWriter) differs(name, was, is string) {
	switch {
	case was == is:
	case len(was)+len(is) > 60: // one below the other
		w.fact(name, was)
		w.fact("", "-> "+is)
	default:
		w.fact(name, was+" -> "+is)
	}
}

// noValue is the value of a facet that is not there.
const noValue = "none"

// A facet is one thing about a file, in words.
type facet struct{ name, value string }

func facetNamed(all []facet, name string) string {
	if i := slices.IndexFunc(all, func(f facet) bool { return f.name == name }); i >= 0 {
		return all[i].value
	}
	return noValue
}

// facetsOf are those beside type, mode and owner.
func facetsOf(r *Record) []facet {
	var all []facet
	if r.Mode.IsRegular() {
		all = append(all, facet{"size", strconv.FormatInt(r.Size, 10) + " bytes"})
	}
	if r.Summed {
		all = append(all, facet{"sha256", hex.EncodeToString(r.Sum[:])})
	}
	if r.Target != "" {
		all = append(all, facet{"target", shown(r.Target)})
	}
	if !r.Mode.IsDir() {
		all = append(all, facet{"links", strconv.FormatUint(uint64(r.Links), 10)},
			facet{"modified", time.Unix(0, r.Modified).UTC().Format(time.RFC3339Nano)})
	}
	if flags := flagsOf(r); flags != "" {
		all = append(all, facet{"flags", flags})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Attributes)) {
		all = append(all, facet{"xattr " + shown(name), shownValue(r.Attributes[name])})
	}
	if r.Unreadable != "" {
		all = append(all, facet{"unread", shown(r.Unreadable)})
	}
	return all
}

func ownerOf(r *Record) string { return fmt.Sprintf("%d:%d", r.UID, r.GID) }

// flagsOf names those that Looker reads. Fresh is none of the file's.
func flagsOf(r *Record) string {
	var all []string
	if r.Flags&unix.STATX_ATTR_IMMUTABLE != 0 { // as in FS_IOC_GETFLAGS
		all = append(all, "immutable")
	}
	if r.Flags&unix.STATX_ATTR_APPEND != 0 {
		all = append(all, "append-only")
	}
	return strings.Join(all, ", ")
}

// maxShownValue is how many bytes of an extended attribute are shown.
const maxShownValue = 256

// shownValue is the value of an extended attribute: text in quotes, or hexadecimal digits.
func shownValue(value string) string {
	if sum, ok := strings.CutPrefix(value, summedValue); ok && len(sum) == 32 {
		return summedValue + hex.EncodeToString([]byte(sum))
	}
	short, rest := value, ""
	if len(value) > maxShownValue {
		short, rest = value[:maxShownValue], fmt.Sprintf(" and so on, %d bytes", len(value))
	}
	if utf8.ValidString(value) && strings.IndexFunc(short, isUnprintable) < 0 {
		return strconv.Quote(short) + rest
	}
	return "0x" + hex.EncodeToString([]byte(short)) + rest
}

// shown is a name as people can read it, and no terminal takes for a command: as it is if that is plain, else quoted as in Go.
func shown(name string) string {
	isPlain := name != "" && strings.TrimSpace(name) == name && !strings.ContainsAny(name, "\"\\")
	if isPlain && utf8.ValidString(name) && strings.IndexFunc(name, isUnprintable) < 0 {
		return name
	}
	return strconv.Quote(name)
}

func isUnprintable(r rune) bool { return !unicode.IsPrint(r) }

func shownPath(p Path) string {
	if p.Container == "" {
		return shown(p.Name)
	}
	return shown(p.Name) + " of container " + shown(p.Container)
}
