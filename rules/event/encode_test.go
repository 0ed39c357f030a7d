package event

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A maker makes random events of the shape that sources report.
type maker struct{ *rand.Rand }

func (m maker) one(texts ...string) string { return texts[m.IntN(len(texts))] }

func (m maker) chance(of int) bool { return m.IntN(of) == 0 }

func (m maker) text() string {
	return m.one("", "a", "/etc/passwd", "../x", "b\xffad", "\x00\n\t\"\\\x7f<&>", "日本", "-p", "x y", "0", "null", strings.Repeat("l", 200))
}

func (m maker) path() []byte {
	return []byte(m.one("", "/", "/etc/../shadow", "rel/a", "./b", "..", "/\xfe", "//x//", "/a\nb"))
}

func (m maker) texts() (all []string) {
	for range m.IntN(4) {
		all = append(all, m.text())
	}
	return all
}

func (m maker) number(p *Param) uint64 {
	n := m.Uint64() >> m.IntN(64)
	if len(p.Names) > 0 && !m.chance(4) {
		n = p.Names[m.IntN(len(p.Names))].Value | p.Names[m.IntN(len(p.Names))].Value
	}
	switch p.written() {
	case FD:
		if m.chance(3) {
			return uint64(0xffffff9c)
		}
		return uint64(uint32(n))
	case UID, GID:
		return uint64(uint32(n))
	case Signal:
		return n % 70
	}
	return n
}

func (m maker) end() netip.AddrPort {
	addr := m.one("192.0.2.1", "2001:db8::1", "::", "0.0.0.0", "::ffff:192.0.2.1", "fe80::1%eth0", "")
	if addr == "" {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(m.Uint32()))
}

func (m maker) task(boot uint64) Task {
	id := func() uint32 { return m.Uint32() >> m.IntN(32) }
	t := Task{PID: id(), PPID: id(), PGID: id(), SID: id(), VPID: id(), VPGID: id(), VSID: id(), TTY: id(), UID: id(), EUID: id(),
		SUID: id(), GID: id(), EGID: id(), SGID: id(), LoginUID: id(), Start: boot - m.Uint64N(boot+1),
		PIDNamespaceInit: boot - m.Uint64N(boot+1), CapPermitted: m.capabilities(), CapEffective: m.capabilities(),
		CapInheritable: m.capabilities(), ExeInode: m.Uint64(), ExeChange: m.Int64() >> 1, ExeModify: m.Int64() >> 1,
		Flags: Flags(m.Uint32() & 0xff), Comm: comm(m.text())}
	if m.chance(3) {
		t.VPID, t.PGID, t.SID, t.VPGID, t.VSID = t.PID, t.PID, t.PID, t.PID, t.PID
		t.EUID, t.SUID, t.EGID, t.SGID, t.LoginUID = t.UID, t.UID, t.GID, t.GID, nobody
		t.CapEffective, t.PIDNamespaceInit, t.ExeChange, t.ExeModify, t.Flags = t.CapPermitted, 0, 0, 0, 0
	}
	t.Comm = comm(t.Name())
	return t
}

func (m maker) capabilities() uint64 {
	switch m.IntN(3) {
	case 0:
		return 0
	case 1:
		return allCapabilities
	}
	return m.Uint64() & allCapabilities
}

func (m maker) process(boot uint64, depth int) *Process {
	p := &Process{Task: m.task(boot), Path: m.text(), Args: m.texts(), Cwd: m.text()}
	if m.chance(2) {
		p.Env = append([]string{"A=b"}, m.texts()...)
	}
	if depth > 0 && !m.chance(4) {
		p.Parent = m.process(boot, depth-1)
	}
	return p
}

func (m maker) container() *Container {
	labels := func() map[string]string {
		if m.chance(2) {
			return nil
		}
		return map[string]string{"a": m.text(), "b\"": m.text()}
	}
	truth := func() bool { return m.chance(2) }
	c := &Container{Workload: Workload{m.text(), m.text(), m.text(), m.text()}, ID: m.text(), Runtime: m.text(), Image: m.text(),
		ImageID: m.text(), PodUID: m.text(), Sandbox: m.text(), IsSandbox: truth(), Labels: labels(), Created: m.Int64() >> 1 >> m.IntN(63),
		Known: truth(), Privileged: truth(), HostPID: truth(), HostNetwork: truth(), HostIPC: truth(), IP: m.text(),
		PodLabels: labels(), Healthcheck: m.text(), Liveness: m.text(), Readiness: m.text()}
	for range m.IntN(3) {
		c.Mounts = append(c.Mounts, Mount{m.text(), m.text(), m.text(), truth(), m.text()})
	}
	return c
}

func (m maker) state() *FileState {
	if m.chance(3) {
		return nil
	}
	return &FileState{Type: m.one(FileTypes...), Mode: m.Uint32N(0o10000), UID: m.Uint32() >> m.IntN(32), GID: m.Uint32() >> m.IntN(32),
		Size: m.Int64() >> m.IntN(63), SHA256: m.one("", strings.Repeat("0a", 32)), Target: m.text(), Immutable: m.chance(2), AppendOnly: m.chance(2),
		Capabilities: m.capabilities(), Xattrs: m.texts()}
}

// change makes a change of a file, by somebody or nobody.
func (m maker) change() *Event {
	c := &FileChange{ID: m.text(), Path: "/" + m.text(), From: m.text(), Container: m.text(), Watches: m.texts(), Severity: Priority(m.IntN(8)),
		Actor: m.one(ChangeActors...), Expected: m.chance(2), Why: m.text(), Confidence: m.one(ChangeConfidences...), Before: m.state(),
		After: m.state(), Diff: m.text()}
	for _, i := range m.Perm(len(ChangeKinds))[:1+m.IntN(3)] {
		c.Kinds = append(c.Kinds, ChangeKinds[i])
	}
	ev := c.Event()
	ev.Num, ev.Time = m.Uint64(), m.Int64N(9e18)
	ev.Boot = uint64(ev.Time)
	if m.chance(2) {
		ev.Container = m.container()
	}
	if m.chance(3) {
		return ev
	}
	p := m.process(ev.Boot, 3)
	ev.Process, ev.PID, ev.TID, ev.Start = p, p.PID, p.PID, p.Start
	m.caller(ev)
	ev.FD = Descriptor{}
	return ev
}

// event makes one of a type.
func (m maker) event(t Type) *Event {
	if t == typeChange {
		return m.change()
	}
	ev := &Event{Kind: Syscall, Type: t, Num: m.Uint64(), CPU: uint16(m.Uint32()), Time: m.Int64N(9e18), TID: m.Uint32()}
	ev.Boot = uint64(ev.Time)
	if m.chance(2) {
		ev.Boot = 1 + m.Uint64N(1e18)
	}
	ev.Process = m.process(ev.Boot, 3)
	if m.chance(3) {
		ev.Container = m.container()
	} else {
		ev.Unit = m.text()
	}
	ev.Call.Result = m.Int64() >> m.IntN(63)
	if m.chance(2) {
		ev.Call.Result = -m.Int64N(140)
	}
	switch {
	case t == typeExit:
		ev.Kind, ev.Status, ev.Call.Result = Exit, m.Uint32(), 0
	case t.forks() && ev.Call.Result >= 0:
		ev.Kind, ev.Task = Fork, m.task(ev.Boot)
		ev.Call.Result = int64(ev.Task.PID)
	case (t == typeExecve || t == typeExecveat) && ev.Call.Result >= 0:
		ev.Kind = Exec
	}
	p := ev.Process
	ev.PID, ev.UID, ev.GID, ev.Start = p.PID, p.UID, p.GID, p.Start
	m.call(ev)
	if ev.Kind != Syscall {
		(&form{ev: ev}).finish()
		return ev
	}
	m.caller(ev)
	return ev
}

func (m maker) call(ev *Event) {
	params, c := t(ev).Params, &ev.Call
	f := &form{ev: ev}
	for i := range params {
		if n := c.place(&params[i]); n != nil && m.chance(2) {
			*n = m.number(&params[i])
		}
	}
	for i := range c.Text {
		p, _ := t(ev).Param(f.textName(i))
		if p == nil {
			continue
		}
		text := &c.Text[i]
		text.Fault, text.Truncated = m.chance(5), m.chance(5)
		if p.isText() {
			text.Raw = m.path()
		}
		if p.Kind == Path && !m.chance(3) {
			text.Dir = m.path()
		}
		if m.chance(3) {
			text.Resolved = m.path()
		}
	}
	has := func(kinds ...ParamKind) bool {
		return slices.ContainsFunc(params, func(p Param) bool { return slices.Contains(kinds, p.Kind) })
	}
	if has(Bytes) && m.chance(2) {
		c.Data = []byte(m.text())
	}
	if has(Sock, Tuple) && !m.chance(3) {
		c.Address = m.address()
	}
	c.Unstable, c.Ring = m.chance(4), m.chance(4)
}

func t(ev *Event) *TypeInfo { return ev.Type.Info() }

func (m maker) address() Address {
	switch m.IntN(4) {
	case 0:
		return Address{Family: afUnix, Path: m.one("/run/x", "@y", "relative", "\xff")}
	case 1:
		return Address{Family: 16}
	}
	a := Address{Peer: m.end(), Family: afInet}
	if a.Peer.Addr().Is6() {
		a.Family = afInet6
	}
	return a
}

func (m maker) caller(ev *Event) {
	f := form{ev: ev}
	ev.Caller = f.usualCaller()
	if m.chance(2) {
		ev.Caller = Caller{UID: m.Uint32(), EUID: m.Uint32(), GID: m.Uint32(), EGID: m.Uint32(), LoginUID: m.Uint32(), TTY: m.Uint32(),
			VTID: m.Uint32(), PPID: m.Uint32(), CapPermitted: m.capabilities(), CapEffective: m.capabilities(),
			CapInheritable: m.capabilities(), Comm: comm("thread")}
	}
	ev.UID, ev.GID = ev.Caller.UID, ev.Caller.GID
	if m.chance(3) {
		return
	}
	ev.FD = Descriptor{Num: m.Int32(), Type: descriptorTypes[m.IntN(len(descriptorTypes))], Dev: m.Uint32(), Inode: m.Uint64(),
		Mode: m.Uint32(), Flags: m.Uint32(), Created: m.chance(2), Truncated: m.chance(2), Name: m.path(), Local: m.end(), Remote: m.end(),
		Role: Role(m.IntN(3)), Connected: m.chance(2), NameChanged: m.chance(2), Layer: Flags(m.IntN(3)) * ExeUpperLayer}
	ev.FD.Family = familyOf(ev.FD.Type)
	f.setProto(m.one("tcp", "udp", "icmp", "raw", ""))
	if m.chance(4) {
		ev.FD.Family, ev.FD.SockType, ev.FD.Protocol = uint16(m.Uint32()), uint16(m.Uint32()), uint16(m.Uint32())
	}
}

// asked is what rules can ask of an event: numbers as wide as they are shown, nothing told apart that reads the same.
func asked(ev *Event) *Event {
	ev = ev.Clone()
	params, call := t(ev).Params, Call{Result: ev.Call.Result, Text: ev.Call.Text, Data: ev.Call.Data, Address: ev.Call.Address,
		Unstable: ev.Call.Unstable, Ring: ev.Call.Ring}
	for i := range params {
		p := &params[i]
		from, to := ev.Call.place(p), call.place(p)
		if from == nil {
			continue
		}
		switch *to = *from; p.written() {
		case FD:
			*to = uint64(int64(int32(*from)))
		case UID, GID:
			*to = uint64(uint32(*from))
		}
	}
	for i := range call.Text {
		text := &call.Text[i]
		for _, b := range []*[]byte{&text.Raw, &text.Dir, &text.Resolved} {
			*b = append([]byte{}, *b...)
		}
	}
	ev.Call = call
	for _, b := range []*[]byte{&ev.Call.Data, &ev.FD.Name, &ev.Path, &ev.Args, &ev.Env, &ev.Cwd} {
		*b = append([]byte{}, *b...)
	}
	if ev.FD.Type == NoDescriptor {
		ev.FD = Descriptor{}
	}
	ev.Process = plain(ev.Process)
	if ev.Change != nil {
		ev.Change = withLists(ev.Change)
	}
	return ev
}

// withLists tells no list without members from none.
func withLists(c *FileChange) *FileChange {
	own := *c
	own.Watches = append([]string{}, c.Watches...)
	for _, s := range []**FileState{&own.Before, &own.After} {
		if *s != nil {
			state := **s
			state.Xattrs = append([]string{}, state.Xattrs...)
			*s = &state
		}
	}
	return &own
}

func plain(p *Process) *Process {
	if p == nil {
		return nil
	}
	c := *p
	c.Args, c.Parent = append([]string{}, p.Args...), plain(p.Parent)
	return &c
}

func show(ev *Event) string {
	s := fmt.Sprintf("%+v", *ev)
	for p := ev.Process; p != nil; p = p.Parent {
		s += fmt.Sprintf("\n  %+v", *p)
	}
	if c := ev.Change; c != nil {
		s += fmt.Sprintf("\n  %+v\n  %+v\n  %+v", c, c.Before, c.After)
	}
	return s + fmt.Sprintf("\n  %+v", ev.Container)
}

func TestRecordsOfEveryTypeAreReadBackAsTheyWere(t *testing.T) {
	t.Parallel()
	m := maker{rand.New(rand.NewPCG(1, 2))}
	for typ := Type(1); int(typ) < len(Types); typ++ {
		rounds := 40
		if len(typ.Info().Params) == 0 && typ != typeChange {
			rounds = 2
		}
		for range rounds {
			ev := m.event(typ)
			line := ev.AppendRecord(nil, nil)
			if !json.Valid(line) || strings.Contains(string(line), "\n") {
				t.Fatalf("%s is not one line of JSON: %s", typ, line)
			}
			back, err := Decode(line)
			if err != nil {
				t.Fatalf("%s: %v in %s", typ, err, line)
			}
			if want, got := asked(ev), asked(back); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: %s\n got %s\nwant %s", typ, line, show(got), show(want))
			}
		}
	}
}

func TestRecordsHideSecretsOfTheWholeFamily(t *testing.T) {
	t.Parallel()
	ev, err := Decode([]byte(`{"type":"execve","process":{"args":["a","secret"],"env":["T=secret"],"parents":[{"args":["b","secret"]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	hide := func(words []string) (out []string) {
		for _, w := range words {
			out = append(out, strings.ReplaceAll(w, "secret", "hidden"))
		}
		return out
	}
	line := string(ev.AppendRecord(nil, hide))
	if strings.Contains(line, "secret") || strings.Count(line, "hidden") != 3 {
		t.Errorf("want three words hidden: %s", line)
	}
	if ev.Process.Args[1] != "secret" {
		t.Error("the event itself was changed")
	}
}

func TestRecordsOfAnExecNeedNoTable(t *testing.T) {
	t.Parallel()
	ev := &Event{Kind: Exec, Type: typeExecve, Time: 5e9, Boot: 5e9, PID: 7, TID: 7, Path: []byte("/bin/x"), Args: []byte("x\x00\x00"), Task: Task{PID: 7}}
	back, err := Decode(ev.AppendRecord(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if p := back.Process; p == nil || p.Path != "/bin/x" || !slices.Equal(p.Args, []string{"x", ""}) {
		t.Errorf("the process is %+v, want /bin/x with x and an empty word", p)
	}
}

func TestControlGroupsHaveNoRecord(t *testing.T) {
	t.Parallel()
	if got := (&Event{Kind: CgroupMake}).AppendRecord(nil, nil); len(got) > 0 {
		t.Errorf("got %s, want nothing", got)
	}
}
