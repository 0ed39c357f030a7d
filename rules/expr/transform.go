package expr

import (
	"encoding/base64"
	"strings"
)

// transform makes a transformer ready. What it makes is computed when it is read; a transformer of an absent value is
// absent.
func (l *Language[T]) transform(t *Transformer) (*value[T], error) {
	args := make([]*value[T], len(t.Args))
	for i, a := range t.Args {
		var err error
		if args[i], err = l.operand(a); err != nil {
			return nil, err
		}
		if args[i].flags&(NoTransformer|Resolved) != 0 {
			return nil, wrong(a, "field %s cannot be transformed", args[i].name)
		}
	}
	switch t.Name {
	case "tolower":
		return mapText(t, args, toLower)
	case "toupper":
		return mapText(t, args, toUpper)
	case "basename":
		return mapText(t, args, baseName)
	case "b64":
		return decode64(t, args)
	case "len":
		return length(t, args)
	case "join":
		return joined(t, args)
	case "concat":
		return concatenated(t, args)
	case "getopt":
		return option(t, args)
	}
	return nil, wrong(t, "unknown transformer %q", t.Name)
}

func wantArgs[T any](t *Transformer, args []*value[T], n int) error {
	plural := "s"
	if n == 1 {
		plural = ""
	}
	at := t.At
	switch {
	case len(args) == n:
		return nil
	case len(args) > n:
		at = t.Args[n].Pos()
	}
	return wrongAt(at, "%s wants %d argument%s, not %d", t.Name, n, plural, len(args))
}

// baseName is what follows the last slash: of /a/b it is b, of /a/ nothing.
func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func isText[T any](v *value[T]) bool { return v.kind.class() == texts }

// mapText changes a text, or each text of a list.
func mapText[T any](t *Transformer, args []*value[T], f func(string) string) (*value[T], error) {
	if err := wantArgs(t, args, 1); err != nil {
		return nil, err
	}
	v := args[0]
	if !isText(v) {
		return nil, wrong(t.Args[0], "%s wants a string, and %s is of type %s", t.Name, v.name, v.kind)
	}
	out := &value[T]{name: t.Name + "()", kind: v.kind, many: v.many, flags: v.flags & (ListValued | AnyOf), present: v.present}
	if v.many {
		out.eachText = func(t *T, yield func(string) bool) bool {
			return v.eachText(t, func(s string) bool { return yield(f(s)) })
		}
		return out, nil
	}
	out.text = func(t *T) (string, bool) {
		s, ok := v.text(t)
		if !ok {
			return "", false
		}
		return f(s), true
	}
	return out, nil
}

// decode64 decodes base64, with or without padding; what is not base64 is absent.
func decode64[T any](t *Transformer, args []*value[T]) (*value[T], error) {
	if err := wantArgs(t, args, 1); err != nil {
		return nil, err
	}
	v := args[0]
	if v.many || !isText(v) && v.kind != Bytes {
		return nil, wrong(t.Args[0], "b64 wants a string, and %s is of type %s", v.name, v.kind)
	}
	read := v.text
	if v.kind == Bytes {
		read = func(t *T) (string, bool) { b, ok := v.bytes(t); return string(b), ok }
	}
	return &value[T]{name: "b64()", kind: String, text: func(t *T) (string, bool) {
		s, ok := read(t)
		if !ok {
			return "", false
		}
		encoding := base64.StdEncoding
		if len(s)%4 != 0 {
			encoding = base64.RawStdEncoding
		}
		raw, err := encoding.DecodeString(s)
		return string(raw), err == nil
	}}, nil
}

// length counts the bytes of a string, or the values of a list.
func length[T any](t *Transformer, args []*value[T]) (*value[T], error) {
	if err := wantArgs(t, args, 1); err != nil {
		return nil, err
	}
	v := args[0]
	out := &value[T]{name: "len()", kind: Uint64}
	switch {
	case v.eachText != nil:
		out.uint_ = func(t *T) (n uint64, _ bool) {
			v.eachText(t, func(string) bool { n++; return true })
			return n, n > 0 || v.isThere(t)
		}
	case v.text != nil:
		out.uint_ = func(t *T) (uint64, bool) { s, ok := v.text(t); return uint64(len(s)), ok }
	case v.bytes != nil:
		out.uint_ = func(t *T) (uint64, bool) { b, ok := v.bytes(t); return uint64(len(b)), ok }
	default:
		return nil, wrong(t.Args[0], "len wants a string or a list, and %s is of type %s", v.name, v.kind)
	}
	return out, nil
}

// isThere tells a list without values from an absent one.
func (v *value[T]) isThere(t *T) bool {
	if v.present != nil {
		return v.present(t)
	}
	return !v.eachText(t, func(string) bool { return false })
}

// joined puts a separator between the values of a list.
func joined[T any](t *Transformer, args []*value[T]) (*value[T], error) {
	if err := wantArgs(t, args, 2); err != nil {
		return nil, err
	}
	separator, list := args[0], args[1]
	if separator.many || !isText(separator) {
		return nil, wrong(t.Args[0], "join wants a string as its separator")
	}
	if list.eachText == nil {
		return nil, wrong(t.Args[1], "join wants a list, and %s is of type %s", list.name, list.kind)
	}
	return &value[T]{name: "join()", kind: String, text: func(t *T) (string, bool) {
		between, ok := separator.text(t)
		if !ok {
			return "", false
		}
		var parts []string
		list.eachText(t, func(s string) bool { parts = append(parts, s); return true })
		return strings.Join(parts, between), len(parts) > 0 || list.isThere(t)
	}}, nil
}

// concatenated puts texts together; if one is absent, so is the outcome.
func concatenated[T any](t *Transformer, args []*value[T]) (*value[T], error) {
	if len(args) < 2 {
		return nil, wrong(t, "concat wants at least 2 arguments, not %d", len(args))
	}
	for i, v := range args {
		if v.many || !isText(v) {
			return nil, wrong(t.Args[i], "concat wants strings, and %s is of type %s", v.name, v.kind)
		}
	}
	return &value[T]{name: "concat()", kind: String, text: func(t *T) (string, bool) {
		var b strings.Builder
		for _, v := range args {
			s, ok := v.text(t)
			if !ok {
				return "", false
			}
			b.WriteString(s)
		}
		return b.String(), true
	}}, nil
}

// option reads the options of an argument list as getopt(3) does: letters, a colon behind those that have a value. With
// [c] it is the values of option c, "" for an option without; else the letters of all that were given.
func option[T any](t *Transformer, args []*value[T]) (*value[T], error) {
	if err := wantArgs(t, args, 2); err != nil {
		return nil, err
	}
	list := args[0]
	letters, ok := t.Args[1].(*Literal)
	if list.eachText == nil {
		return nil, wrong(t.Args[0], "getopt wants a list, and %s is of type %s", list.name, list.kind)
	}
	if !ok {
		return nil, wrong(t.Args[1], "getopt wants its letters as they stand, such as \"ab:\"")
	}
	if t.HasArg && len(t.Arg) != 1 {
		return nil, wrongAt(t.At+t.ArgAt, "getopt[%s]: want one letter", t.Arg)
	}
	return &value[T]{name: "getopt()", kind: String, many: true, flags: ListValued, present: list.isThere, eachText: func(rec *T, yield func(string) bool) bool {
		var all []string
		list.eachText(rec, func(s string) bool { all = append(all, s); return true })
		return getopt(all, letters.Text, func(c byte, value string) bool {
			if !t.HasArg {
				return yield(string(c))
			}
			return c != t.Arg[0] || yield(value)
		})
	}}, nil
}

func getopt(args []string, letters string, yield func(c byte, value string) bool) bool {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return true
		}
		if len(arg) < 2 || arg[0] != '-' || arg[1] == '-' {
			continue
		}
		for j := 1; j < len(arg); j++ {
			at := strings.IndexByte(letters, arg[j])
			if at < 0 || arg[j] == ':' {
				continue
			}
			if at+1 >= len(letters) || letters[at+1] != ':' {
				if !yield(arg[j], "") {
					return false
				}
				continue
			}
			value := arg[j+1:]
			if value == "" && i+1 < len(args) {
				i++
				value = args[i]
			}
			if !yield(arg[j], value) {
				return false
			}
			break
		}
	}
	return true
}
