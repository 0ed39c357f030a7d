package bpf

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

func init() {
	actors["time-open"] = func() error {
		_, err := fmt.Println(perOpen())
		return err
	}
}

// perOpen is the time of one open and close in nanoseconds, the best of short batches with rests between, in which the
// ring buffer is read.
func perOpen() float64 {
	const batch, batches = 200, 300
	best := time.Hour
	for range batches {
		begin := time.Now()
		for range batch {
			fd, err := unix.Open("/proc/self/status", unix.O_RDONLY, 0)
			if err != nil {
				return 0
			}
			unix.Close(fd)
		}
		best = min(best, time.Since(begin))
		time.Sleep(2 * time.Millisecond)
	}
	return float64(best.Nanoseconds()) / batch
}

// timeActor measures in another process, since the agent leaves its own out.
func timeActor(b *testing.B, actor string) float64 {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "YAGURA_ACTOR="+actor)
	cmd.Stdin = strings.NewReader("go\n")
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return ns
}

// attachRules attaches what is wanted, and what rules ask for.
func attachRules(b *testing.B, want Want, i event.Interest) func() {
	w := newAgent(b, want)
	if err := w.SetInterest(i); err != nil {
		b.Fatal(err)
	}
	if len(i.Terms) > 0 && !w.Attached("call_exit") {
		b.Skip("needs a kernel that lets sys_exit look at files")
	}
	return func() {
		if err := w.stop(); err != nil {
			b.Error(err)
		}
	}
}

// packInterest is about what a rule pack asks for: writes below some directories, reads of some files, and a dozen of rare
// calls.
func packInterest(t testing.TB) event.Interest {
	i := wanting(t, "execve", "unlink", "unlinkat", "rename", "renameat2", "chmod", "fchmodat", "mount", "ptrace", "bpf", "setns",
		"unshare", "init_module", "memfd_create", "connect", "listen", "accept4", "kill")
	for _, name := range []string{"open", "openat", "openat2", "creat"} {
		kind, _ := event.TypeNamed(name)
		read := event.Term{Results: event.Zero | event.Positive, Opens: reads(), Families: event.AnyFamily, Paths: &event.PathSet{
			Exact: []string{"/etc/shadow", "/etc/gshadow", "/etc/sudoers"}, Prefixes: []string{"/root/.ssh/", "/run/secrets/"}, Names: []string{"id_rsa", ".bash_history"}}}
		write := event.Term{Results: event.Zero | event.Positive, Opens: writes(), Families: event.AnyFamily, Paths: &event.PathSet{
			Prefixes: []string{"/etc/", "/bin/", "/usr/bin/", "/usr/sbin/", "/sbin/", "/var/spool/cron/"}}}
		i.Terms[kind] = []event.Term{read, write}
	}
	return i
}

// BenchmarkUnwantedCall is what rules add to a system call that none of them asks for.
func BenchmarkUnwantedCall(b *testing.B) {
	needRoot(b)
	none, pack := event.Interest{}, packInterest(b)
	compare(b, "time-getppid", []situation{
		{"nothing", func(*testing.B) func() { return func() {} }},
		{"empty", func(b *testing.B) func() { return attachEmpty(b, "empty_sys_exit") }},
		{"rules", func(b *testing.B) func() { return attachRules(b, Want{Processes: true}, pack) }},
		{"metrics", func(b *testing.B) func() { return attachRules(b, everything, none) }},
		{"both", func(b *testing.B) func() { return attachRules(b, everything, pack) }},
	})
}

// BenchmarkOpenAndClose is what an open costs that rules ask for under another condition, and one that is reported. The
// difference between the last two is the price of an event.
func BenchmarkOpenAndClose(b *testing.B) {
	needRoot(b)
	compare(b, "time-open", []situation{
		{"nothing", func(*testing.B) func() { return func() {} }},
		{"empty", func(b *testing.B) func() { return attachEmpty(b, "empty_sys_exit") }},
		{"unwanted", func(b *testing.B) func() { return attachRules(b, Want{}, wanting(b, "unlink", "connect")) }},
		{"filtered", func(b *testing.B) func() { return attachRules(b, Want{}, packInterest(b)) }},
		{"reported", func(b *testing.B) func() { return attachRules(b, Want{}, wanting(b, "openat")) }},
	})
}

func compare(b *testing.B, actor string, cases []situation) {
	ns := make([][]float64, len(cases))
	for range rounds {
		for i, c := range cases {
			detach := c.attach(b)
			ns[i] = append(ns[i], timeActor(b, actor))
			detach()
		}
	}
	report(b, cases, ns, "ns/call", false)
	empty := slices.Min(ns[1])
	for i, c := range cases[1:] {
		b.ReportMetric(slices.Min(ns[i+1])/empty, c.name+"_of_empty")
	}
}
