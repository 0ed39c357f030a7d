package bpf

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func typeNamed(t testing.TB, name string) event.Type {
	t.Helper()
	kind, ok := event.TypeNamed(name)
	if !ok {
		t.Fatalf("no event type %s", name)
	}
	return kind
}

// What a parameter says that it is read from has to be read.
func TestRecipesReadWhatParametersTell(t *testing.T) {
	t.Parallel()
	for n, info := range event.Types {
		r := recipe(event.Type(n))
		for _, p := range info.Params {
			at, read := p.Arg, p.Arg
			switch {
			case p.Kind == event.Word:
				if r.Words == fromNothing || int(r.WordBytes) < 8 {
					t.Errorf("%s.%s: no words are read", info.Name, p.Name)
				}
				continue
			case p.Arg < 0:
				continue
			case p.Kind == event.String || p.Kind == event.Path:
				read = [2]int8{r.Text0, r.Text1}[p.Index]
			case p.Kind == event.Bytes:
				read = r.Data
			case p.Kind == event.Sock || p.Kind == event.Tuple:
				read = r.Address
			}
			if read != at {
				t.Errorf("%s.%s stands in argument %d, and %d is read", info.Name, p.Name, at, read)
			}
		}
	}
}

func TestRecipes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"open":             "fd -1 texts 0 -2 from -3 -2 opens 1",
		"openat":           "fd -1 texts 1 -2 from 0 -2 opens 2",
		"openat2":          "fd -1 texts 1 -2 from 0 -2 opens -4 words 2:24",
		"creat":            "fd -1 texts 0 -2 from -3 -2 opens -5",
		"unlinkat":         "fd -2 texts 1 -2 from 0 -2 opens -2",
		"renameat2":        "fd -2 texts 1 3 from 0 2 opens -2",
		"symlinkat":        "fd -2 texts 0 2 from -2 1 opens -2",
		"mount":            "fd -2 texts 0 1 from -2 -3 opens -2 data 2 by 5",
		"connect":          "fd 0 texts -2 -2 from -2 -2 opens -2 address 1",
		"accept4":          "fd -1 texts -2 -2 from -2 -2 opens -2 address 1",
		"sendto":           "fd 0 texts -2 -2 from -2 -2 opens -2 data 1 by 2 address 4",
		"recvmsg":          "fd 0 texts -2 -2 from -2 -2 opens -2 data 1 by 4",
		"fcntl":            "fd 0 texts -2 -2 from -2 -2 opens -2",
		"dup3":             "fd -1 texts -2 -2 from -2 -2 opens -2",
		"mmap":             "fd 4 texts -2 -2 from -2 -2 opens -2",
		"pipe2":            "fd -2 texts -2 -2 from -2 -2 opens -2 words 0:8",
		"socketpair":       "fd -2 texts -2 -2 from -2 -2 opens -2 words 3:8",
		"prlimit":          "fd -2 texts -2 -2 from -2 -2 opens -2 words 2:16",
		"prctl":            "fd -2 texts 1 -2 from -2 -2 opens -2",
		"execveat":         "fd -2 texts 1 -2 from 0 -2 opens -2",
		"init_module":      "fd -2 texts 2 -2 from -2 -2 opens -2",
		"finit_module":     "fd 0 texts 1 -2 from -2 -2 opens -2",
		"memfd_create":     "fd -1 texts 0 -2 from -2 -2 opens -2",
		"setns":            "fd 0 texts -2 -2 from -2 -2 opens -2",
		"ptrace":           "fd -2 texts -2 -2 from -2 -2 opens -2",
		"process_vm_readv": "fd -2 texts -2 -2 from -2 -2 opens -2",
	} {
		r := recipe(typeNamed(t, name))
		got := fmt.Sprintf("fd %d texts %d %d from %d %d opens %d", r.Fd, r.Text0, r.Text1, r.Dir0, r.Dir1, r.OpenFlags)
		if r.Words != fromNothing {
			got += fmt.Sprintf(" words %d:%d", r.Words, r.WordBytes)
		}
		if r.Data != fromNothing {
			got += fmt.Sprintf(" data %d by %d", r.Data, r.DataForm)
		}
		if r.Address != fromNothing {
			got += fmt.Sprintf(" address %d", r.Address)
		}
		if got != want {
			t.Errorf("recipe of %s: %s, want %s", name, got, want)
		}
	}
}

// Every call that the kernel knows by a number has a name in rules, but for what no program calls any more.
func TestEveryCallHasAType(t *testing.T) {
	t.Parallel()
	var none []string
	for nr, name := range syscallNames {
		if name != "" && nr != syscallOther && callTypes[nr] == event.TypeNone {
			none = append(none, name)
		}
	}
	if len(none) > 3 { // newer than our list
		t.Errorf("%d calls have no type: %s", len(none), strings.Join(none, " "))
	}
}

func pathTerm(set event.PathSet) event.Term {
	term := event.AnyTerm
	term.Paths = &set
	return term
}

func TestPlanSpreadsTermsToLongerPrefixes(t *testing.T) {
	t.Parallel()
	openat := typeNamed(t, "openat")
	p := planCalls(event.Interest{Terms: map[event.Type][]event.Term{openat: {
		pathTerm(event.PathSet{Prefixes: []string{"/etc"}}),
		pathTerm(event.PathSet{Prefixes: []string{"/etc/ssh/"}}),
		pathTerm(event.PathSet{Exact: []string{"/etc/ssh/x"}, Names: []string{"id_rsa"}}),
	}}})
	for path, want := range map[string]uint32{"/etc": 1, "/etc/ssh/": 3, "/etc/ssh/x\x00": 7} {
		if got := p.prefixes[prefixKey(openat, path)]; got != want {
			t.Errorf("%q has terms %b, want %b", path, got, want)
		}
	}
	if len(p.prefixes) != 3 || len(p.names) != 1 {
		t.Errorf("%d prefixes and %d names, want 3 and 1", len(p.prefixes), len(p.names))
	}
}

func TestPlanGivesUpRatherThanForget(t *testing.T) {
	t.Parallel()
	openat, unlink := typeNamed(t, "openat"), typeNamed(t, "unlink")
	of := func(p *callPlan, kind event.Type) yaguraCallRecipe {
		for nr, k := range callTypes {
			if k == kind && nr < 512 {
				return p.recipes[nr]
			}
		}
		t.Fatalf("no call of type %v", kind)
		return yaguraCallRecipe{}
	}
	terms := make([]event.Term, event.MaxTerms+1)
	for i := range terms {
		terms[i] = pathTerm(event.PathSet{Exact: []string{fmt.Sprint("/", i)}})
	}
	many := of(planCalls(event.Interest{Terms: map[event.Type][]event.Term{openat: terms}}), openat)
	if many.Anywhere != 1 || many.Wanted != 1 || many.Opens[3] != 1 {
		t.Errorf("more terms than the kernel knows: anywhere %b of %b, want every call", many.Anywhere, many.Wanted)
	}
	set := event.PathSet{}
	for i := range maxPathKeys + 1 {
		set.Exact = append(set.Exact, fmt.Sprint("/", i))
	}
	crowded := of(planCalls(event.Interest{Terms: map[event.Type][]event.Term{openat: {pathTerm(set)}}}), openat)
	if crowded.Anywhere != 1 || crowded.Keys != 0 {
		t.Errorf("more paths than the kernel has room for: anywhere %b, want any path", crowded.Anywhere)
	}
	spelled := planCalls(event.Interest{Terms: map[event.Type][]event.Term{unlink: {pathTerm(event.PathSet{Exact: []string{"/x"}})}}})
	if r := of(spelled, unlink); r.Anywhere != 1 || len(spelled.prefixes) != 0 {
		t.Errorf("a call whose path the kernel cannot resolve: anywhere %b, want any path", r.Anywhere)
	}
}

func TestPlanKeepsThePathsOfSeveralTypesOnce(t *testing.T) {
	t.Parallel()
	term := pathTerm(event.PathSet{Prefixes: []string{"/etc", "/usr"}})
	term.Resolved = true
	i := event.Interest{Terms: map[event.Type][]event.Term{}}
	for _, name := range []string{"openat", "unlink", "renameat2", "link"} {
		i.Terms[typeNamed(t, name)] = []event.Term{term}
	}
	i.Terms[typeNamed(t, "creat")] = []event.Term{pathTerm(event.PathSet{Prefixes: []string{"/etc"}})}
	p := planCalls(i)
	if len(p.prefixes) != 3 {
		t.Errorf("%d prefixes, want two, and that of creat", len(p.prefixes))
	}
	for nr, kind := range callTypes {
		r := p.recipes[nr]
		if r.Wanted == 0 {
			continue
		}
		if link := kind == typeNamed(t, "link"); (r.Anywhere != 0) != link {
			t.Errorf("%s: anywhere %b, want it of link alone", kind, r.Anywhere)
		}
		if _, ok := p.prefixes[prefixKey(event.Type(r.Paths), "/etc")]; !ok && r.Anywhere == 0 {
			t.Errorf("%s: its paths are not under type %d", kind, r.Paths)
		}
	}
}

func TestPlanLeavesProcessesToTheirOwnEvents(t *testing.T) {
	t.Parallel()
	i := wanting(t, "execve", "clone", "procexit")
	i.Env = true
	p := planCalls(i)
	if p.switches.Env != 1 {
		t.Error("the environment is not read")
	}
	for nr, kind := range callTypes {
		if signs := p.switches.Results[nr]; (kind == typeExecve || kind == typeClone) != (signs == 1) || signs > 1 {
			t.Errorf("%s is wanted with signs %03b", syscallNames[nr], signs)
		}
	}
	if w := planCalls(event.Interest{}).wants(); w != (wantedCalls{}) {
		t.Errorf("nothing is asked for, and %+v wanted", w)
	}
	if w := planCalls(wanting(t, "openat")).wants(); w != (wantedCalls{any: true, ring: true}) {
		t.Errorf("openat is asked for, and %+v wanted", w)
	}
}

// callRecord is what the kernel sends for openat(AT_FDCWD, "x", O_CREAT) in /tmp.
func callRecord() []byte {
	kind, _ := event.TypeNamed("openat")
	e := yaguraCallEvent{H: yaguraHeader{Kind: uint16(event.Syscall), Pid: 7}, Type: uint16(kind), Result: 3, Fd: 3, Mode: 0o100644, Inode: 9}
	cwd := -100
	e.Args[0], e.Args[2] = uint64(cwd), 0o100
	text, file, dir := "x\x00", "/tmp/x", "/tmp"
	e.Lengths[sectionText0], e.Lengths[sectionFile], e.Lengths[sectionDir0] = uint32(len(text)), uint32(len(file)), uint32(len(dir))
	return append(bytes.Clone(bytesIn(&e)), text+file+dir...)
}

func TestDecodeCall(t *testing.T) {
	d := decoder{}
	ev, err := d.decode(callRecord())
	if err != nil {
		t.Fatal(err)
	}
	text := ev.Call.Text[0]
	if ev.Type.String() != "openat" || string(text.Raw) != "x" || string(text.Dir) != "/tmp" || string(text.Resolved) != "/tmp/x" ||
		ev.FD.Num != 3 || ev.FD.Type != event.RegularFile || string(ev.FD.Name) != "/tmp/x" {
		t.Errorf("decode: %v of %q in %q to %q: %+v", ev.Type, text.Raw, text.Dir, text.Resolved, ev.FD)
	}
	torn := callRecord()
	if _, err := d.decode(torn[:len(torn)-1]); err == nil || !strings.Contains(err.Error(), "sections of") {
		t.Errorf("decode of a torn record: %v", err)
	}
	call := callRecord()
	if n := testing.AllocsPerRun(1000, func() { d.decode(call) }); n != 0 {
		t.Errorf("%v allocations per call, want 0", n)
	}
}

func TestRecordingHoldsNoData(t *testing.T) {
	t.Parallel()
	raw := callRecord()
	as[yaguraCallEvent](raw).Lengths[sectionData] = 6
	raw = append(raw, "secret"...)
	var file bytes.Buffer
	r, err := NewRecorder(&file, hideLast)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Record(raw); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file.Bytes(), []byte("secret")) {
		t.Error("what was written is in the recording")
	}
	p := Replay{R: &file}
	if err := p.Run(t.Context(), func(ev *event.Event) {
		if len(ev.Call.Data) != 0 || string(ev.FD.Name) != "/tmp/x" {
			t.Errorf("replayed %q to %q", ev.Call.Data, ev.FD.Name)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func TestNamesOfUnixSockets(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{"": "", "\x01\x00": "", "\x01\x00/run/x\x00yy": "/run/x", "\x01\x00\x00abs\x00": "@abs"} {
		if got := string(unixName([]byte(raw))); got != want {
			t.Errorf("unixName(%q) = %q, want %q", raw, got, want)
		}
	}
}
