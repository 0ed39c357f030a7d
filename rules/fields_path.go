package rules

import (
	"strings"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// callPaths says which texts of a call are paths: of one that has two, from where and to where. -1 is none.
type callPaths struct{ first, second int8 }

var pathsOfType = indexPaths()

func indexPaths() []callPaths {
	all := make([]callPaths, len(event.Types))
	for i := range event.Types {
		all[i] = pathsAmong(event.Types[i].Params)
		switch event.Types[i].Name {
		case "symlink", "symlinkat", "mount": // the first is a text to the kernel, and a path to people
			all[i] = callPaths{0, 1}
		case "quotactl":
			all[i] = callPaths{0, -1}
		}
	}
	return all
}

func pathsAmong(params []event.Param) callPaths {
	p := callPaths{-1, -1}
	for i := range params {
		switch {
		case params[i].Kind != event.Path:
		case p.first < 0:
			p.first = params[i].Index
		case p.second < 0:
			p.second = params[i].Index
		}
	}
	return p
}

func (r *Record) paths() callPaths {
	if r.Kind != event.Syscall || int(r.Type) >= len(pathsOfType) {
		return callPaths{-1, -1}
	}
	return pathsOfType[r.Type]
}

// Event types of which fs.path tells: of one path, or of a source and a target.
var (
	onePath = types(`open openat openat2 open_by_handle_at creat mkdir mkdirat rmdir unlink unlinkat chmod fchmod fchmodat
		chown lchown fchown fchownat quotactl umount umount2`)
	twoPaths    = types("rename renameat renameat2 link linkat symlink symlinkat mount")
	symlinks    = types("symlink symlinkat")
	descriptive = types("open openat openat2 open_by_handle_at creat fchmod fchown") // whose path is the descriptor's
)

// succeeded says whether the call is one of some, and did what it was asked for: of one that failed fs.path tells nothing.
func (r *Record) succeeded(of typeSet) bool { return of.has(r.Type) && r.result() >= 0 }

// operated is the one path that a call works on.
func (r *Record) operated() (string, bool) {
	switch {
	case !r.succeeded(onePath):
		return "", false
	case descriptive.has(r.Type):
		return r.name()
	}
	return r.pathText(r.paths().first)
}

func (r *Record) operatedRaw() (string, bool) {
	switch {
	case !r.succeeded(onePath):
		return "", false
	case descriptive.has(r.Type):
		return r.nameRaw()
	}
	return r.rawText(r.paths().first)
}

// nameRaw is the name of the descriptor as an open was asked for it, or the kernel's.
func (r *Record) nameRaw() (string, bool) {
	if r.Kind == event.Syscall && r.Type.Opens() {
		if raw, ok := r.rawText(0); ok {
			return raw, true
		}
	}
	fd := r.descriptor()
	if fd == nil || isInet(fd.Type) || fd.Type == event.UnixSocket {
		return "", false
	}
	return view(fd.Name), len(fd.Name) > 0
}

// rawText is a text of the call as the caller passed it.
func (r *Record) rawText(i int8) (string, bool) {
	if i < 0 {
		return "", false
	}
	t := &r.Call.Text[i]
	return view(t.Raw), !t.Fault && len(t.Raw) > 0
}

func (r *Record) pathText(i int8) (string, bool) {
	if i < 0 {
		return "", false
	}
	return r.lexical(int(i))
}

// sourcePath is where a call takes something from. What a symbolic link holds is put behind the working directory, as
// the language has it, though the kernel starts from the link.
func (r *Record) sourcePath() (string, bool) {
	if !r.succeeded(twoPaths) {
		return "", false
	}
	if symlinks.has(r.Type) && r.isRelative(0) && r.Process != nil && r.Process.Cwd != "" {
		return r.source.joined(r.Call.Text[0].Raw, r.Process.Cwd)
	}
	return r.pathText(r.paths().first)
}

func (r *Record) isRelative(i int) bool {
	t := &r.Call.Text[i]
	return !t.Fault && len(t.Raw) > 0 && t.Raw[0] != '/' && len(t.Dir) == 0
}

// joined is join, once for each event.
func (s *scratch) joined(path []byte, dir string) (string, bool) {
	if !s.done {
		s.done = true
		s.text = s.join(path, dir)
	}
	return s.text, true
}

func (r *Record) targetPath() (string, bool) {
	if !r.succeeded(twoPaths) {
		return "", false
	}
	return r.pathText(r.paths().second)
}

// resolved returns the kernel's path of what the first (0) or second (1) path of the call reached, or of the
// descriptor's file; where the kernel does not tell, the lexical one.
func (r *Record) resolved(which int) (string, bool) {
	if r.Kind == event.Exec {
		return view(r.Path), which == 0 && len(r.Path) > 0
	}
	p := r.paths()
	i := p.first
	if which == 1 {
		i = p.second
	}
	switch {
	case i < 0 && which == 0:
		return r.fileName()
	case i < 0:
		return "", false
	case len(r.Call.Text[i].Resolved) > 0:
		return view(r.Call.Text[i].Resolved), true
	case which == 0 && symlinks.has(r.Type) && r.isRelative(int(i)):
		return r.leadsTo()
	}
	return r.lexical(int(i))
}

// fileName is the kernel's path of the descriptor's file.
func (r *Record) fileName() (string, bool) {
	fd := r.descriptor()
	if fd == nil || len(fd.Name) == 0 || fd.Name[0] != '/' || fd.Type == event.UnixSocket {
		return "", false
	}
	return view(fd.Name), true
}

// leadsTo is where a relative symbolic link leads: it starts from where the link is.
func (r *Record) leadsTo() (string, bool) {
	link, ok := r.resolved(1)
	if !ok {
		return r.rawText(0)
	}
	return r.leads.joined(r.Call.Text[0].Raw, directoryOf(link))
}

// directoryOf is the directory that a path lies in; of what has none it is the root.
func directoryOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// baseOf is the last component of a path.
func baseOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i < len(path)-1 {
		return path[i+1:]
	}
	return path
}

// pathFields are of the calls that worked on paths, whatever their parameters are called. Those that failed have none.
var pathFields = []field{
	text("fs.path.name", "Path that the call worked on, made absolute and cleaned; calls that failed, or have a source and a target, have none.", (*Record).operated),
	text("fs.path.nameraw", "Path that the call worked on, as it was passed; absent of calls that failed.", (*Record).operatedRaw),
	text("fs.path.source", "Source of a call that has a target too (rename, link, symlink, mount), made absolute and cleaned; absent of calls that failed.", (*Record).sourcePath),
	text("fs.path.sourceraw", "Source of a call that has a target too, as it was passed; absent of calls that failed.", func(r *Record) (string, bool) {
		if !r.succeeded(twoPaths) {
			return "", false
		}
		return r.rawText(r.paths().first)
	}),
	text("fs.path.target", "Target of a call that has a source too, made absolute and cleaned; absent of calls that failed.", (*Record).targetPath),
	text("fs.path.targetraw", "Target of a call that has a source too, as it was passed; absent of calls that failed.", func(r *Record) (string, bool) {
		if !r.succeeded(twoPaths) {
			return "", false
		}
		return r.rawText(r.paths().second)
	}),
}

// listFields are of the descriptors that a poll waits for, which no event carries.
var listFields = []field{
	absent("fdlist.nums", "Numbers of the descriptors that a poll waits for, with commas between.", expr.String, 0),
	absent("fdlist.names", "Names of the descriptors that a poll waits for.", expr.String, 0),
	absent("fdlist.cips", "Clients' addresses of the descriptors that a poll waits for.", expr.String, 0),
	absent("fdlist.sips", "Servers' addresses of the descriptors that a poll waits for.", expr.String, 0),
	absent("fdlist.cports", "Clients' ports of the descriptors that a poll waits for.", expr.String, 0),
	absent("fdlist.sports", "Servers' ports of the descriptors that a poll waits for.", expr.String, 0),
}

// absolutePath is evt.abspath: of calls that name a directory to start from, the path, or the one that is asked for.
func (r *Record) absolutePath(target bool) (string, bool) {
	info, found := r.Type.Info(), int8(-1)
	for i := range info.Params {
		p := &info.Params[i]
		if p.Kind != event.Path || p.Dir < 0 || r.Kind != event.Syscall {
			continue
		}
		if found < 0 || target {
			found = p.Index
		}
	}
	return r.pathText(found)
}
