package event

import (
	"fmt"
	"slices"
	"strings"
)

// Decode reads an event from its JSON form, in which recordings and the examples of rules are written. The form is
// strict: a key, a parameter or a name that does not exist is a *FormError, which says where it is. What is not given has
// the default of its row in the tables of this package's decode_*.go; evt.num is 1.
func Decode(raw []byte) (*Event, error) { return decode(raw, 1) }

func decode(raw []byte, num uint64) (*Event, error) {
	v, err := parse(raw)
	if err != nil {
		return nil, err
	}
	f := &form{ev: &Event{Num: num}, whole: v}
	if err := readKeys(v, f, eventKeys); err != nil {
		return nil, err
	}
	f.finish()
	return f.ev, nil
}

// finish gives an exec's event what its process has.
func (f *form) finish() {
	ev, p := f.ev, f.ev.Process
	if ev.Kind != Exec || p == nil {
		return
	}
	ev.Task, ev.Path, ev.Cwd = p.Task, []byte(p.Path), []byte(p.Cwd)
	ev.Args, ev.Env = joinWords(p.Args), joinWords(p.Env)
}

// joinWords ends each word by a NUL.
func joinWords(words []string) (joined []byte) {
	for _, w := range words {
		joined = append(append(joined, w...), 0)
	}
	return joined
}

// A FormError is what is wrong with an event's JSON form.
type FormError struct {
	Path string // of keys to what is wrong, such as process.parents[1].uid; empty for the whole
	At   int    // byte of the text, from 0
	Text string // what was expected, and what is there
}

func (e *FormError) Error() string {
	if e.Path == "" {
		return e.Text
	}
	return e.Path + ": " + e.Text
}

// A form is an event while it is read or written.
type form struct {
	ev     *Event
	whole  *value
	redact func([]string) []string
}

// A key is one row of an object of the form: how its value is read into a T and written from one. Rows are read in their
// order, whatever the order of the text.
type key[T any] struct {
	name  string
	read  func(*T, *value) error
	write func(*T, []byte) []byte // appends nothing for what reading takes for granted; nil if another row writes it
	after func(*T) error          // what follows if the key is not there; nil for nothing
}

// readKeys reads an object by its rows.
func readKeys[T any](v *value, to *T, keys []key[T]) error {
	if v.kind != isObject {
		return v.wrong("an object")
	}
	for _, m := range v.members {
		if !slices.ContainsFunc(keys, func(k key[T]) bool { return k.name == m.key }) {
			return m.fault("unknown key%s", choices(m.key, namesOf(keys)))
		}
	}
	for i := range keys {
		k := &keys[i]
		var err error
		if m := v.member(k.name); m != nil {
			err = k.read(to, m)
		} else if k.after != nil {
			err = k.after(to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func namesOf[T any](keys []key[T]) (names []string) {
	for _, k := range keys {
		names = append(names, k.name)
	}
	return names
}

// choices says which name was perhaps meant, or which there are if they are few.
func choices(name string, all []string) string {
	if near := nearest(name, all); near != "" {
		return fmt.Sprintf(" (%s?)", near)
	}
	if len(all) <= 12 {
		return ", want one of " + strings.Join(all, ", ")
	}
	return ""
}

// nearest is the name that another one was perhaps meant for, empty if none is near.
func nearest(name string, all []string) string {
	best, least := "", 3
	for _, known := range all {
		a, b := strings.ToLower(name), strings.ToLower(known)
		d := distance(a, b)
		if _, bare, ok := strings.Cut(b, "_"); ok {
			d = min(d, distance(a, bare))
		}
		if d < least && d < len(name) {
			best, least = known, d
		}
	}
	return best
}

// distance counts the letters to change, add or leave out to make one name of another, up to 3.
func distance(a, b string) int {
	if len(a) > 64 || len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
