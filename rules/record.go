package rules

import (
	"bytes"
	"slices"
	"unsafe"

	"github.com/yagura-io/yagura/rules/event"
)

// A Names finds a user's or a group's name where an event happened: in the container's own files, or the host's.
type Names interface {
	User(ev *event.Event, uid uint32) (u User, ok bool)
	Group(ev *event.Event, gid uint32) (name string, ok bool)
}

// A User is an entry of passwd(5).
type User struct{ Name, Home, Shell string }

// A Record is one event as fields read it. It belongs to one source: it is reset for each event, and keeps what it has
// worked out of the event until the next, and of processes for longer.
type Record struct {
	*event.Event
	names  Names
	procfs string // empty where there is none, as in a replay
	delta  int64  // nanoseconds since the event before, 0 for the first

	path   [2]scratch // lexical paths of the call's texts
	source scratch    // where a symbolic link leads, seen from the working directory
	leads  scratch    // the same, seen from the link
	tuple  scratch    // both ends of a connection
	who    User       // who acts, if known says so
	known  bool
	asked  bool
	rooms  [4][]byte // for values that are put together; several, since a check may compare two
	turn   int

	lines [lineSets]lineSet
	last  *lines
	boxes map[*event.Container]*box
	inner *event.Container
	box   *box
}

// scratch is a text that was worked out for the present event.
type scratch struct {
	done bool
	text string
	room []byte
}

// lines are the texts of a process that are put together.
type lines struct {
	of           *event.Process
	cmdline      string
	args         string // the end of cmdline
	cwd          string // ends in a slash
	exeline, env string // made when they are first asked for
	room         []byte // of cmdline and cwd
	exeRoom      []byte
	envRoom      []byte
}

// Texts of processes are kept in sets, chosen by the process, in each of which the one that was put in first makes room. A
// check may compare texts of two processes, which several lines in a set leave both in place.
const (
	lineSets   = 256
	linesInSet = 4
	keptRoom   = 4096 // what a text took beyond is not kept for the next one
)

type lineSet struct {
	lines [linesInSet]lines
	turn  uint8
}

// maxKept bounds the texts of containers that are kept; beyond, all are forgotten and made again.
const maxKept = 4096

// NewRecord returns a record for one source. Where nobody knows names they may be nil: then 0 is root, and no other user
// or group has a name. Procfs may be empty, as in a replay.
func NewRecord(names Names, procfs string) *Record {
	if names == nil {
		names = rootOnly{}
	}
	return &Record{names: names, procfs: procfs, boxes: map[*event.Container]*box{}}
}

// Reset makes the record that of an event.
func (r *Record) Reset(ev *event.Event) {
	r.Event = ev
	r.path[0].done, r.path[1].done, r.source.done, r.leads.done, r.tuple.done, r.asked = false, false, false, false, false, false
}

// room returns an empty buffer for a value that is put together; it is used again after three more.
func (r *Record) room() *[]byte {
	r.turn = (r.turn + 1) & 3
	r.rooms[r.turn] = r.rooms[r.turn][:0]
	return &r.rooms[r.turn]
}

// view returns bytes as a string that is valid as long as they are.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// of returns the lines of a process.
func (r *Record) of(p *event.Process) *lines {
	if r.last != nil && r.last.of == p {
		return r.last
	}
	const spread = 0x9e3779b97f4a7c15
	set := &r.lines[uint64(uintptr(unsafe.Pointer(p)))*spread>>(64-8)]
	for i := range set.lines {
		if l := &set.lines[i]; l.of == p {
			r.last = l
			return l
		}
	}
	l := &set.lines[set.turn]
	set.turn = (set.turn + 1) % linesInSet
	l.set(p)
	r.last = l
	return l
}

func (l *lines) set(p *event.Process) {
	room := append(emptied(l.room), commText(&p.Comm)...)
	name := len(room)
	for _, a := range p.Args[min(1, len(p.Args)):] {
		room = append(append(room, ' '), a...)
	}
	line := len(room)
	if room = append(room, p.Cwd...); line < len(room) && room[len(room)-1] != '/' {
		room = append(room, '/')
	}
	*l = lines{of: p, room: room, exeRoom: emptied(l.exeRoom), envRoom: emptied(l.envRoom),
		cmdline: view(room[:line]), args: view(room[min(name+1, line):line]), cwd: view(room[line:])}
}

// emptied is a buffer to be used again.
func emptied(room []byte) []byte {
	if cap(room) > keptRoom {
		return nil
	}
	return room[:0]
}

// exeline is the first argument and the others.
func (r *Record) exeline(p *event.Process) string {
	l := r.of(p)
	if l.exeline == "" {
		l.exeRoom = append(l.exeRoom[:0], exe(p)...)
		if len(p.Args) > 1 {
			l.exeRoom = append(append(l.exeRoom, ' '), l.args...)
		}
		l.exeline = view(l.exeRoom)
	}
	return l.exeline
}

// env is the environment, joined by blanks.
func (r *Record) env(p *event.Process) string {
	l := r.of(p)
	if l.env == "" && len(p.Env) > 0 {
		l.envRoom = l.envRoom[:0]
		for i, v := range p.Env {
			if i > 0 {
				l.envRoom = append(l.envRoom, ' ')
			}
			l.envRoom = append(l.envRoom, v...)
		}
		l.env = view(l.envRoom)
	}
	return l.env
}

// exe is what the caller called the program: its first argument.
func exe(p *event.Process) string {
	if len(p.Args) == 0 {
		return p.Path
	}
	return p.Args[0]
}

// ancestor returns the n-th process above the acting one, which is the 0th.
func (r *Record) ancestor(n int) *event.Process {
	p := r.Process
	for ; n > 0 && p != nil; n-- {
		p = p.Parent
	}
	return p
}

// lexical returns the i-th path of the call as the language has it: what the caller passed, put behind where it starts if
// it is relative, without empty components, . and .. .
func (r *Record) lexical(i int) (string, bool) {
	s := &r.path[i]
	if !s.done {
		s.done = true
		s.text = ""
		t := &r.Call.Text[i]
		if t.Fault || len(t.Raw) == 0 && len(t.Dir) == 0 {
			return "", false
		}
		s.text = s.clean(t)
	}
	return s.text, s.text != ""
}

func (s *scratch) clean(t *event.Text) string {
	switch {
	case len(t.Raw) > 0 && t.Raw[0] == '/':
		if isClean(t.Raw) {
			return view(t.Raw)
		}
	case len(t.Dir) == 0:
		return view(t.Raw) // nobody knows where it starts
	case len(t.Raw) > 0 && hasOnlyNames(t.Raw) && len(t.Dir) > 1 && t.Dir[0] == '/' && isClean(t.Dir):
		s.room = append(append(append(s.room[:0], t.Dir...), '/'), t.Raw...)
		return view(s.room)
	}
	return s.join(t.Raw, view(t.Dir))
}

// join puts a path behind a directory, unless it is absolute, and cleans it.
func (s *scratch) join(path []byte, dir string) string {
	s.room = s.room[:0]
	if len(path) == 0 || path[0] != '/' {
		s.room = append(append(s.room, dir...), '/')
	}
	s.room = cleanPath(append(s.room, path...))
	return view(s.room)
}

// isClean says that an absolute path has no empty component, . or .., and does not end in a slash.
func isClean(path []byte) bool { return len(path) == 1 || hasOnlyNames(path[1:]) }

// hasOnlyNames says that a path has no empty component, . or .., and does not end in a slash.
func hasOnlyNames(path []byte) bool {
	for {
		n := bytes.IndexByte(path, '/')
		part := path
		if n >= 0 {
			part = path[:n]
		}
		switch {
		case len(part) == 0, part[0] == '.' && (len(part) == 1 || len(part) == 2 && part[1] == '.'):
			return false
		case n < 0:
			return true
		}
		path = path[n+1:]
	}
}

// cleanPath takes empty components, . and .. out of a path, in place, and makes it begin with a slash.
func cleanPath(path []byte) []byte {
	if len(path) == 0 || path[0] != '/' {
		path = slices.Insert(path, 0, '/')
	}
	to := 0
	for i := 1; i <= len(path); {
		n := bytes.IndexByte(path[i:], '/')
		if n < 0 {
			n = len(path) - i
		}
		part := path[i : i+n]
		i += n + 1
		switch {
		case n == 0, n == 1 && part[0] == '.':
		case n == 2 && part[0] == '.' && part[1] == '.':
			to = max(bytes.LastIndexByte(path[:to], '/'), 0)
		default: // what is written never overtakes what is read, since the path begins with a slash
			path[to] = '/'
			copy(path[to+1:], part)
			to += n + 1
		}
	}
	if to == 0 {
		return path[:1]
	}
	return path[:to]
}
