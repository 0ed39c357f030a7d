package event

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// onlyCalls are the keys of events that a change of a file has not.
var onlyCalls = []string{"res", "args", "child", "dir", "resolved", "fault", "truncated", "data", "data_hex", "peer", "unstable", "ring", "fd",
	"status"}

// onlyOfChanges refuses keys that a change of a file has not.
func (f *form) onlyOfChanges() error {
	for _, m := range f.whole.members {
		if slices.Contains(onlyCalls, m.key) {
			return m.fault("%s has none; what has happened to the file stands in change", f.ev.Type)
		}
	}
	return nil
}

func (f *form) lacksChange() error {
	if f.ev.Kind == Change {
		return f.whole.fault("want change: what has happened to which file")
	}
	return nil
}

// A changeForm is a change while it is read or written.
type changeForm struct {
	*FileChange
	whole  *value
	known  bool // who has made it
	redact func([]string) []string
}

func changeText(name string, field func(*FileChange) *string) key[changeForm] {
	return key[changeForm]{name: name,
		read:  func(c *changeForm, v *value) (err error) { *field(c.FileChange), err = v.asText(); return err },
		write: func(c *changeForm, to []byte) []byte { return appendUnlessEmpty(to, *field(c.FileChange)) }}
}

// changeChoice is a text out of a few, of which one is usual.
func changeChoice(name string, among []string, field func(*FileChange) *string, usual func(*changeForm) string) key[changeForm] {
	return key[changeForm]{name: name,
		read: func(c *changeForm, v *value) error {
			i, err := v.asOneOf(among)
			*field(c.FileChange) = among[i]
			return err
		},
		write: func(c *changeForm, to []byte) []byte {
			if s := *field(c.FileChange); s != usual(c) {
				return appendText(to, s)
			}
			return to
		},
		after: func(c *changeForm) error { *field(c.FileChange) = usual(c); return nil },
	}
}

func changeState(name string, field func(*FileChange) **FileState) key[changeForm] {
	return key[changeForm]{name: name,
		read: func(c *changeForm, v *value) error {
			s := &FileState{}
			*field(c.FileChange) = s
			return readKeys(v, s, stateKeys)
		},
		write: func(c *changeForm, to []byte) []byte {
			if s := *field(c.FileChange); s != nil {
				return appendKeys(to, s, stateKeys)
			}
			return to
		}}
}

func appendUnlessEmpty(to []byte, s string) []byte {
	if s == "" {
		return to
	}
	return appendText(to, s)
}

// changeKeys is the form of a change.
var changeKeys = []key[changeForm]{
	{name: "path", read: (*changeForm).readPath, write: func(c *changeForm, to []byte) []byte { return appendText(to, c.Path) },
		after: func(c *changeForm) error { return c.whole.fault("want path: the file's") }},
	{name: "kinds", read: (*changeForm).readKinds, write: func(c *changeForm, to []byte) []byte { return appendTexts(to, c.Kinds) },
		after: func(c *changeForm) error {
			return c.whole.fault("want kinds: one or several of %s", strings.Join(ChangeKinds, ", "))
		}},
	changeText("id", func(c *FileChange) *string { return &c.ID }),
	changeText("from", func(c *FileChange) *string { return &c.From }),
	changeText("container", func(c *FileChange) *string { return &c.Container }),
	{name: "watches", read: func(c *changeForm, v *value) (err error) { c.Watches, err = v.asTexts(); return err },
		write: func(c *changeForm, to []byte) []byte {
			if len(c.Watches) == 0 {
				return to
			}
			return appendTexts(to, c.Watches)
		}},
	{name: "severity", read: (*changeForm).readSeverity, write: func(c *changeForm, to []byte) []byte {
		if c.Severity == Warning {
			return to
		}
		return appendText(to, strings.ToLower(c.Severity.String()))
	}, after: func(c *changeForm) error { c.Severity = Warning; return nil }},
	changeChoice("actor", ChangeActors, func(c *FileChange) *string { return &c.Actor }, func(c *changeForm) string {
		if c.known {
			return "user"
		}
		return "unknown"
	}),
	changeChoice("confidence", ChangeConfidences, func(c *FileChange) *string { return &c.Confidence }, func(c *changeForm) string {
		if c.known {
			return "path"
		}
		return "none"
	}),
	{name: "expected", read: func(c *changeForm, v *value) (err error) { c.Expected, err = v.asTruth(); return err },
		write: func(c *changeForm, to []byte) []byte { return appendTruth(to, c.Expected, false) }},
	changeText("why", func(c *FileChange) *string { return &c.Why }),
	changeState("before", func(c *FileChange) **FileState { return &c.Before }),
	changeState("after", func(c *FileChange) **FileState { return &c.After }),
	{name: "diff", read: func(c *changeForm, v *value) (err error) { c.Diff, err = v.asText(); return err },
		write: func(c *changeForm, to []byte) []byte {
			if c.Diff == "" {
				return to
			}
			return appendText(to, strings.Join(c.redact(strings.Split(c.Diff, "\n")), "\n"))
		}},
}

// readChange reads what has happened to a file.
func (f *form) readChange(v *value) error {
	if f.ev.Kind != Change {
		return v.fault("%s is no change of a watched file; want type filechange", f.ev.Type)
	}
	c := &FileChange{}
	f.ev.Change = c
	return readKeys(v, &changeForm{FileChange: c, whole: v, known: f.ev.HasActor()}, changeKeys)
}

func (f *form) writeChange(to []byte) []byte {
	if f.ev.Change == nil {
		return to
	}
	return appendKeys(to, &changeForm{FileChange: f.ev.Change, known: f.ev.HasActor(), redact: f.redact}, changeKeys)
}

func (c *changeForm) readPath(v *value) (err error) {
	c.Path, err = v.asText()
	if err == nil && !strings.HasPrefix(c.Path, "/") {
		return v.wrong("an absolute path")
	}
	return err
}

func (c *changeForm) readKinds(v *value) error {
	if v.kind != isList || len(v.members) == 0 {
		return v.wrong("a list of one or several of " + strings.Join(ChangeKinds, ", "))
	}
	for _, m := range v.members {
		i, err := m.asOneOf(ChangeKinds)
		if err != nil {
			return err
		}
		if slices.Contains(c.Kinds, ChangeKinds[i]) {
			return m.fault("%s is given twice", ChangeKinds[i])
		}
		c.Kinds = append(c.Kinds, ChangeKinds[i])
	}
	return nil
}

func (c *changeForm) readSeverity(v *value) (err error) {
	if c.Severity, err = PriorityNamed(v.text); v.kind != isText || err != nil {
		return v.wrong("a priority such as warning")
	}
	return nil
}

func stateTruth(name string, field func(*FileState) *bool) key[FileState] {
	return key[FileState]{name: name,
		read:  func(s *FileState, v *value) (err error) { *field(s), err = v.asTruth(); return err },
		write: func(s *FileState, to []byte) []byte { return appendTruth(to, *field(s), false) }}
}

func stateID(name string, field func(*FileState) *uint32) key[FileState] {
	return key[FileState]{name: name,
		read:  func(s *FileState, v *value) (err error) { *field(s), err = v.asID(); return err },
		write: func(s *FileState, to []byte) []byte { return appendUnless(to, uint64(*field(s)), 0) }}
}

// usualMode is the mode of files that are given none.
const usualMode = 0o644

// stateKeys is the form of what was so of a file.
var stateKeys = []key[FileState]{
	{name: "type", read: func(s *FileState, v *value) error {
		i, err := v.asOneOf(FileTypes)
		s.Type = FileTypes[i]
		return err
	}, write: func(s *FileState, to []byte) []byte {
		if s.Type == FileTypes[0] {
			return to
		}
		return appendText(to, s.Type)
	}, after: func(s *FileState) error { s.Type = FileTypes[0]; return nil }},
	{name: "mode", read: func(s *FileState, v *value) error {
		n, err := strconv.ParseUint(v.text, 8, 32)
		if v.kind != isText || err != nil || n > 0o7777 {
			return v.wrong(`a text of octal digits, such as "0644" or "4755"`)
		}
		s.Mode = uint32(n)
		return nil
	}, write: func(s *FileState, to []byte) []byte {
		if s.Mode == usualMode {
			return to
		}
		return append(s.AppendMode(append(to, '"')), '"')
	}, after: func(s *FileState) error { s.Mode = usualMode; return nil }},
	stateID("uid", func(s *FileState) *uint32 { return &s.UID }),
	stateID("gid", func(s *FileState) *uint32 { return &s.GID }),
	{name: "size", read: func(s *FileState, v *value) (err error) { s.Size, err = v.asInt(0, 1<<63-1); return err },
		write: func(s *FileState, to []byte) []byte { return appendUnless(to, uint64(s.Size), 0) }},
	{name: "sha256", read: func(s *FileState, v *value) error {
		if b, err := hex.DecodeString(v.text); v.kind != isText || err != nil || len(b) != 32 || v.text != strings.ToLower(v.text) {
			return v.wrong("64 hexadecimal digits in lower case")
		}
		s.SHA256 = v.text
		return nil
	}, write: func(s *FileState, to []byte) []byte { return appendUnlessEmpty(to, s.SHA256) }},
	{name: "target", read: func(s *FileState, v *value) (err error) { s.Target, err = v.asText(); return err },
		write: func(s *FileState, to []byte) []byte { return appendUnlessEmpty(to, s.Target) }},
	stateTruth("immutable", func(s *FileState) *bool { return &s.Immutable }),
	stateTruth("append_only", func(s *FileState) *bool { return &s.AppendOnly }),
	{name: "caps", read: func(s *FileState, v *value) (err error) { s.Capabilities, err = asCapabilities(v); return err },
		write: func(s *FileState, to []byte) []byte {
			if s.Capabilities == 0 {
				return to
			}
			return appendCapabilities(to, s.Capabilities)
		}},
	{name: "xattrs", read: func(s *FileState, v *value) (err error) { s.Xattrs, err = v.asTexts(); return err },
		write: func(s *FileState, to []byte) []byte {
			if len(s.Xattrs) == 0 {
				return to
			}
			return appendTexts(to, s.Xattrs)
		}},
}

// AppendMode appends the mode as chmod takes it, of four octal digits.
func (s *FileState) AppendMode(to []byte) []byte {
	for shift := 9; shift >= 0; shift -= 3 {
		to = append(to, '0'+byte(s.Mode>>shift&7))
	}
	return to
}
