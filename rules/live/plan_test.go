package live

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules"
	"github.com/yagura-io/yagura/rules/event"
)

// A plan is one example, ready to be performed. It travels to the actors as JSON.
type plan struct {
	ID     int
	Rule   string
	Where  string
	Match  bool
	Event  []byte // the example, with the numbers of real processes in it
	Proc   bool   // it needs a real /proc
	Net    bool   // and a network of its own
	Layers bool   // and an overlay
	Bounds bool   // the rule looks at capabilities: the actor has those of the example and no others
	Victim int    // a process that may be looked at

	event *event.Event
	steps []*event.Process // the processes, those above first
}

var (
	processPath = regexp.MustCompile(`/proc/([0-9]+)`)
	ownPath     = regexp.MustCompile(`/proc/(self|thread-self|[0-9]+)\b`)
)

// newPlan makes the plan of an example, or says why it cannot be performed.
func newPlan(id int, r *rules.Rule, x rules.Example, match bool, victim int) (*plan, string) {
	p := &plan{ID: id, Rule: r.Name, Where: fmt.Sprintf("%s:%d", r.File, x.Line), Match: match, Victim: victim}
	p.Event = processPath.ReplaceAllFunc(x.JSON, func(found []byte) []byte {
		if n := string(found[len("/proc/"):]); n == "1" {
			return found
		}
		return []byte("/proc/" + strconv.Itoa(victim))
	})
	if err := p.decode(); err != nil {
		return p, err.Error()
	}
	ev := p.event
	if ev.Kind == event.Change {
		return p, "needs the watcher: it is a change of a watched file, which no call by itself is"
	}
	if ev.Process == nil {
		return p, "it has no process"
	}
	p.Proc = ownPath.Match(p.Event) || ev.Type.String() == "setns"
	p.Net = ev.FD.Family == unix.AF_INET || ev.FD.Family == unix.AF_INET6 || slices.Contains([]string{"socket", "listen", "bind"}, ev.Type.String())
	p.Layers = ev.FD.Layer != 0 || slices.ContainsFunc(p.steps, func(p *event.Process) bool { return p.Flags&(event.ExeUpperLayer|event.ExeLowerLayer) != 0 })
	p.Bounds = strings.Contains(r.ConditionText, "cap_") || ev.Process.UID == 0 && slices.Contains([]string{"EPERM", "EACCES"}, event.ErrorName(ev.Call.Result))
	return p, p.cannot(r)
}

// decode reads the event, as each actor does for itself.
func (p *plan) decode() error {
	ev, err := event.Decode(p.Event)
	if err != nil {
		return err
	}
	p.event = ev
	for above := ev.Process; above != nil; above = above.Parent {
		p.steps = append(p.steps, above)
	}
	slices.Reverse(p.steps)
	params := ev.Type.Info().Params
	for i := range params {
		a := &params[i]
		if a.Kind == event.PID && a.Arg >= 0 && int32(ev.Call.Arg[a.Arg]) > 1 {
			ev.Call.Arg[a.Arg] = uint64(p.Victim)
		}
	}
	return nil
}

// dangerous are calls that would do to the machine what the example tells.
var dangerous = map[string]string{
	"init_module": "would load a module", "finit_module": "would load a module", "delete_module": "would remove a module",
	"reboot": "would restart the machine", "kexec_load": "would load a kernel", "kexec_file_load": "would load a kernel",
	"settimeofday": "would set the clock", "clock_settime": "would set the clock", "adjtimex": "would set the clock",
	"swapon": "would use a file as memory", "swapoff": "would use less memory", "acct": "would count processes",
	"iopl": "would open the ports of the machine", "ioperm": "would open the ports of the machine",
}

// cannot says why an example is not performed, empty if it is.
func (p *plan) cannot(r *rules.Rule) string {
	ev := p.event
	name := ev.Type.String()
	if why := dangerous[name]; why != "" {
		return why
	}
	switch {
	case ev.Call.Ring:
		return "it is an operation of io_uring"
	case (name == "kill" || name == "tkill" || name == "tgkill") && ev.Call.Arg[1] != 0:
		return "would end a process"
	case p.reachesFirst():
		return "would touch the first process of the machine"
	case ev.Type.String() == "vfork" || ev.Type.String() == "clone3" || ev.Kind == event.Fork && ev.Call.Arg[0]&0xf00 != 0:
		return "would share its memory with a child"
	case name == "syslog" && (ev.Call.Arg[0] == 4 || ev.Call.Arg[0] == 5):
		return "would clear the kernel's messages"
	case ev.Call.Unstable:
		return "its argument changes while it runs"
	case !p.Match && bytes.Contains(p.Event, []byte(`"exe_ctime"`)):
		return "its program must be older than it can be made"
	case strings.Contains(r.ConditionText, "proc.duration"):
		return "its process must be older than it can be made"
	}
	for _, step := range p.steps {
		if why := p.cannotBe(step); why != "" {
			return why
		}
	}
	return ""
}

// reachesFirst says that the call could change the machine's first process.
func (p *plan) reachesFirst() bool {
	ev := p.event
	params := ev.Type.Info().Params
	for i := range params {
		if a := &params[i]; a.Kind == event.PID && a.Arg >= 0 && int32(ev.Call.Arg[a.Arg]) == 1 {
			return true
		}
	}
	return ev.Type.Opens() && openFlags(ev)&(unix.O_WRONLY|unix.O_RDWR) != 0 && bytes.HasPrefix(ev.Call.Text[0].Raw, []byte("/proc/1/"))
}

func (p *plan) cannotBe(step *event.Process) string {
	switch {
	case step.PID == 1:
		return "it is the first process of the machine"
	case step.EUID != step.UID || step.SUID != step.UID:
		return "its user ids differ"
	case step.Name() == "" || strings.Contains(step.Name(), "/"):
		return "its name is not that of a file"
	case len(step.Args) == 0:
		return "it has no arguments"
	case step.Flags&event.ExeMemfd == 0 && (!path.IsAbs(step.Path) || strings.HasSuffix(step.Path, " (deleted)")):
		return "its program has no path"
	}
	return ""
}
