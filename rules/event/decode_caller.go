package event

// readChild reads the process that was made: a copy of its maker, unless told otherwise.
func (f *form) readChild(v *value) error {
	ev := f.ev
	if ev.Kind != Fork {
		if v != nil {
			return v.fault("%s makes no process", ev.Type)
		}
		return nil
	}
	child := &processForm{Process: &Process{}, boot: ev.Boot, whole: v}
	if ev.Process != nil {
		child.Task = ev.Process.Task
	}
	child.PID, child.PPID = uint32(ev.Call.Result), ev.PID
	child.VPID, child.Start = child.PID, ev.Boot
	if v != nil {
		if v.kind == isText {
			child.Comm = comm(v.text)
		} else if err := readKeys(v, child, childKeys); err != nil {
			return err
		}
	}
	ev.Task = child.Task
	ev.Call.Result = int64(child.PID)
	return nil
}

// childKeys are the rows of a process that its maker does not share, and which a task has.
var childKeys = childRows()

func childRows() (rows []key[processForm]) {
	for _, k := range processKeys {
		switch k.name {
		case "path", "args", "env", "cwd", "parents":
			continue
		}
		k.after = nil
		rows = append(rows, k)
	}
	return rows
}

func (f *form) writeChild(to []byte) []byte {
	if f.ev.Kind != Fork {
		return to
	}
	return appendKeys(to, &processForm{Process: &Process{Task: f.ev.Task}, boot: f.ev.Boot, all: true}, childKeys)
}

// callerRow is a number of the acting thread, which by default is its process's.
func callerRow(name string, field func(*Caller) *uint32) key[Caller] {
	return key[Caller]{name: name,
		read:  func(c *Caller, v *value) (err error) { *field(c), err = v.asID(); return err },
		write: func(c *Caller, to []byte) []byte { return appendUint(to, uint64(*field(c))) }}
}

func callerCapabilities(name string, field func(*Caller) *uint64) key[Caller] {
	return key[Caller]{name: name,
		read:  func(c *Caller, v *value) (err error) { *field(c), err = asCapabilities(v); return err },
		write: func(c *Caller, to []byte) []byte { return appendCapabilities(to, *field(c)) }}
}

// callerKeys is the form of the acting thread.
var callerKeys = []key[Caller]{
	{name: "name", read: func(c *Caller, v *value) error { s, err := v.asText(); c.Comm = comm(s); return err },
		write: func(c *Caller, to []byte) []byte { t := Task{Comm: c.Comm}; return appendText(to, t.Name()) }},
	callerRow("uid", func(c *Caller) *uint32 { return &c.UID }),
	callerRow("euid", func(c *Caller) *uint32 { return &c.EUID }),
	callerRow("gid", func(c *Caller) *uint32 { return &c.GID }),
	callerRow("egid", func(c *Caller) *uint32 { return &c.EGID }),
	callerRow("loginuid", func(c *Caller) *uint32 { return &c.LoginUID }),
	callerRow("tty", func(c *Caller) *uint32 { return &c.TTY }),
	callerRow("vtid", func(c *Caller) *uint32 { return &c.VTID }),
	callerRow("ppid", func(c *Caller) *uint32 { return &c.PPID }),
	{name: "caps", read: func(c *Caller, v *value) (err error) {
		c.CapEffective, err = asCapabilities(v)
		c.CapPermitted = c.CapEffective
		return err
	}, write: func(_ *Caller, to []byte) []byte { return to }},
	callerCapabilities("caps_effective", func(c *Caller) *uint64 { return &c.CapEffective }),
	callerCapabilities("caps_permitted", func(c *Caller) *uint64 { return &c.CapPermitted }),
	callerCapabilities("caps_inheritable", func(c *Caller) *uint64 { return &c.CapInheritable }),
}

// readCaller reads the credentials of the acting thread.
func (f *form) readCaller(v *value) error {
	ev := f.ev
	if !ev.HasCaller() {
		if v != nil {
			return v.fault("%s has no caller but its process; give process what it has", ev.Type)
		}
		return nil
	}
	ev.Caller = f.usualCaller()
	if v != nil {
		if err := readKeys(v, &ev.Caller, callerKeys); err != nil {
			return err
		}
	}
	ev.UID, ev.GID = ev.Caller.UID, ev.Caller.GID
	return nil
}

// usualCaller is a thread that has what its process had at its last exec.
func (f *form) usualCaller() Caller {
	if f.ev.Process == nil {
		return Caller{LoginUID: nobody}
	}
	t := &f.ev.Process.Task
	return Caller{UID: t.UID, EUID: t.EUID, GID: t.GID, EGID: t.EGID, LoginUID: t.LoginUID, TTY: t.TTY, VTID: t.VPID,
		PPID: t.PPID, CapPermitted: t.CapPermitted, CapEffective: t.CapEffective, CapInheritable: t.CapInheritable, Comm: t.Comm}
}

func (f *form) writeCaller(to []byte) []byte {
	if !f.ev.HasCaller() || f.ev.Caller == f.usualCaller() {
		return to
	}
	return appendKeys(to, &f.ev.Caller, callerKeys)
}
