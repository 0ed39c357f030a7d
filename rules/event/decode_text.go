package event

import slash "path"

// textNamed returns the string of the caller that a parameter stands for.
func (f *form) textNamed(v *value, name string) (*Text, error) {
	p, _ := f.ev.Type.Info().Param(name)
	if p == nil || !p.isText() && !p.isReached() {
		var all []string
		for i := range f.ev.Call.Text {
			if name := f.textName(i); name != "" {
				all = append(all, name)
			}
		}
		if all == nil {
			return nil, v.fault("%s has no paths or strings", f.ev.Type)
		}
		return nil, v.fault("%q is no path or string of %s%s", name, f.ev.Type, choices(name, all))
	}
	return &f.ev.Call.Text[p.Index], nil
}

// isReached says that a parameter is the path that a call reached without having been passed one.
func (p *Param) isReached() bool { return p.Kind == String && p.Arg == NoArg && p.Name == "path" }

// textName is the parameter that stands for the i-th string, empty if none does.
func (f *form) textName(i int) string {
	params := f.ev.Type.Info().Params
	for n := range params {
		if p := &params[n]; (p.isText() || p.isReached()) && int(p.Index) == i {
			return p.Name
		}
	}
	return ""
}

// startsSomewhere says that the i-th string is a relative path that was given.
func (f *form) startsSomewhere(i int) bool {
	p, _ := f.ev.Type.Info().Param(f.textName(i))
	t := &f.ev.Call.Text[i]
	return p != nil && p.Kind == Path && t.Raw != nil && (len(t.Raw) == 0 || t.Raw[0] != '/')
}

// usualDir is where relative paths start unless told otherwise.
func (f *form) usualDir() string {
	if f.ev.Process == nil {
		return "/"
	}
	return f.ev.Process.Cwd
}

func (f *form) defaultDir() error {
	f.setDirs(f.usualDir())
	return nil
}

func (f *form) setDirs(dir string) {
	for i := range f.ev.Call.Text {
		if f.startsSomewhere(i) {
			f.ev.Call.Text[i].Dir = []byte(dir)
		}
	}
}

// readDir reads where relative paths start: one path for all, or one for each by its name.
func (f *form) readDir(v *value) error {
	if v.kind != isObject || v.has("hex") {
		dir, err := v.asText()
		if err != nil {
			return v.wrong("a path, or an object of paths by their parameters' names")
		}
		f.setDirs(dir)
		return nil
	}
	f.setDirs(f.usualDir())
	return f.eachText(v, func(t *Text, m *value) error {
		dir, err := m.asText()
		t.Dir = []byte(dir)
		return err
	})
}

func (f *form) eachText(v *value, read func(*Text, *value) error) error {
	if v.kind != isObject {
		return v.wrong("an object of paths by their parameters' names")
	}
	for _, m := range v.members {
		t, err := f.textNamed(m, m.key)
		if err != nil {
			return err
		}
		if err := read(t, m); err != nil {
			return err
		}
	}
	return nil
}

func (f *form) writeDir(to []byte) []byte {
	usual := f.usualDir()
	return f.writeTexts(to, func(to []byte, i int) []byte {
		dir := string(f.ev.Call.Text[i].Dir)
		if f.reads(i) && dir == usual || !f.reads(i) && dir == "" {
			return to
		}
		return appendText(to, dir)
	})
}

// reads says that the i-th string will be read back as a relative path.
func (f *form) reads(i int) bool {
	t := &f.ev.Call.Text[i]
	p, _ := f.ev.Type.Info().Param(f.textName(i))
	return p != nil && p.Kind == Path && (len(t.Raw) > 0 && t.Raw[0] != '/' || len(t.Raw) == 0 && len(t.Dir) > 0)
}

// writeTexts writes an object of what some strings have, by the names of their parameters.
func (f *form) writeTexts(to []byte, write func([]byte, int) []byte) []byte {
	begin := len(to)
	for i := range f.ev.Call.Text {
		name := f.textName(i)
		if name == "" {
			continue
		}
		mark := len(to)
		to = append(append(append(to, `,"`...), name...), `":`...)
		value := len(to)
		if to = write(to, i); len(to) == value {
			to = to[:mark]
		}
	}
	if len(to) == begin {
		return to
	}
	to[begin] = '{'
	return append(to, '}')
}

// readResolved reads the kernel's paths of what the call reached.
func (f *form) readResolved(v *value) error {
	return f.eachText(v, func(t *Text, m *value) error {
		s, err := m.asText()
		t.Resolved = []byte(s)
		return err
	})
}

func (f *form) writeResolved(to []byte) []byte {
	return f.writeTexts(to, func(to []byte, i int) []byte {
		if len(f.ev.Call.Text[i].Resolved) == 0 {
			return to
		}
		return appendText(to, string(f.ev.Call.Text[i].Resolved))
	})
}

func (f *form) readFaults(v *value) error {
	return f.readTextsThat(v, func(t *Text) { t.Fault = true })
}

func (f *form) readTruncated(v *value) error {
	return f.readTextsThat(v, func(t *Text) { t.Truncated = true })
}

// readTextsThat reads a list of names of strings that share a flaw.
func (f *form) readTextsThat(v *value, set func(*Text)) error {
	if v.kind != isList {
		return v.wrong("a list of parameters' names")
	}
	for _, m := range v.members {
		if m.kind != isText {
			return m.wrong("a parameter's name")
		}
		t, err := f.textNamed(m, m.text)
		if err != nil {
			return err
		}
		set(t)
	}
	return nil
}

func (f *form) writeTextsThat(to []byte, is func(*Text) bool) []byte {
	var names []string
	for i := range f.ev.Call.Text {
		if name := f.textName(i); name != "" && is(&f.ev.Call.Text[i]) {
			names = append(names, name)
		}
	}
	if names == nil {
		return to
	}
	return appendTexts(to, names)
}

// lexicalPath is the first path as it was passed, made absolute and cleaned.
func (f *form) lexicalPath() string {
	t := &f.ev.Call.Text[0]
	raw := string(t.Raw)
	switch {
	case t.Raw == nil || t.Fault:
		return ""
	case slash.IsAbs(raw):
		return slash.Clean(raw)
	}
	return slash.Clean(string(t.Dir) + "/" + raw)
}
