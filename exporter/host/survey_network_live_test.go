package host

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A testNetwork is a network name space of its own, in which a thread waits to do things.
type testNetwork struct {
	pid  string // of the thread, whose /proc/PID/ns/net it is
	work chan func()
}

// newNetwork makes a network name space with its loopback interface up, for as long as the test runs.
func newNetwork(t *testing.T) *testNetwork {
	t.Helper()
	n := &testNetwork{work: make(chan func())}
	made := make(chan error)
	go onOwnThread(func() error {
		err := unix.Unshare(unix.CLONE_NEWNET)
		n.pid = strconv.Itoa(unix.Gettid())
		made <- err
		for do := range n.work {
			do()
		}
		return nil
	})
	if err := <-made; err != nil {
		t.Skip("needs root, for a network name space: ", err)
	}
	t.Cleanup(func() { close(n.work) })
	n.run(t, "ip", "link", "set", "lo", "up")
	return n
}

// do runs a function on the thread that is in the name space.
func (n *testNetwork) do(f func()) {
	done := make(chan struct{})
	n.work <- func() { defer close(done); f() }
	<-done
}

// run runs a program in the name space, and skips the test if it is not installed.
func (n *testNetwork) run(t *testing.T, program string, args ...string) {
	t.Helper()
	n.feed(t, "", program, args...)
}

func (n *testNetwork) feed(t *testing.T, input, program string, args ...string) {
	t.Helper()
	file, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("needs the program %s", program)
	}
	var output []byte
	n.do(func() {
		cmd := exec.Command(file, args...)
		cmd.Stdin = strings.NewReader(input)
		output, err = cmd.CombinedOutput()
	})
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, bytes.TrimSpace(output))
	}
}

var thisMachine = &Surveys{Root: "/", Procfs: "/proc", Sysfs: "/sys"}

func collect(t *testing.T, survey event.Survey) map[string]event.Fact {
	t.Helper()
	all := map[string]event.Fact{}
	if err := survey(t.Context(), func(f event.Fact) { all[f.Kind.Name+" "+f.Subject] = f }); err != nil {
		t.Fatal(err)
	}
	return all
}

// expect compares values of a fact.
func expect(t *testing.T, f event.Fact, want map[string]any) {
	t.Helper()
	if f.Kind == nil {
		t.Errorf("no such fact; want %v", want)
		return
	}
	if f.Err() != "" && want[event.ErrorField] == nil {
		t.Errorf("%s %s has the error %s", f.Kind.Name, f.Subject, f.Err())
	}
	for name, value := range want {
		got := f.Values[name]
		if texts, ok := value.([]string); ok {
			if has, _ := got.([]string); got == nil || !slices.Equal(has, texts) {
				t.Errorf("%s %s: %s is %q, want %q", f.Kind.Name, f.Subject, name, got, texts)
			}
			continue
		}
		if number, ok := value.(int); ok {
			value = int64(number)
		}
		if got != value {
			t.Errorf("%s %s: %s is %v, want %v", f.Kind.Name, f.Subject, name, got, value)
		}
	}
}

func filterFacts(set *filterSet) map[string]event.Fact {
	all := map[string]event.Fact{}
	for _, hook := range hooks {
		for _, family := range []string{ipv4, ipv6} {
			all[hook+" "+family] = set.fact(hook, family)
		}
	}
	return all
}

// nftRules are rules as people write them. TestLiveNFTables has the kernel tell them, TestNFTFile reads them in a file: both must
// understand the same.
const nftRules = `#!/usr/sbin/nft -f
flush ruleset
define web = { 80, 443 }
table inet filter {
	set admins { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 } }
	set open { type inet_service; flags interval; elements = { 8000-8010, 9000 } }
	chain input {
		type filter hook input priority filter; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		iif "lo" accept
		ip saddr 127.0.0.0/8 counter drop
		ip6 saddr ::1 drop comment "not from outside"
		icmp type echo-request limit rate 5/second accept
		tcp dport { 22, 2200-2210 } ct state new accept
		jump services
		meta l4proto udp udp dport 53 log prefix "dns " accept
		ip saddr @admins tcp dport 5432 accept
		fib daddr type { broadcast, multicast } drop
	}
	chain services {
		tcp dport $web accept
		tcp dport @open accept
		iifname { "eth1", "eth2" } tcp dport 3306 accept
	}
	chain forward { type filter hook forward priority filter; policy accept; }
	chain output {
		type filter hook output priority filter; policy accept;
		oif "lo" accept
		ct state { new, established, related } accept
		reject with icmpx type admin-prohibited
	}
}
table ip nat {
	chain input { type nat hook input priority 100; policy accept; }
}
`

// nftExpected is what is so with these rules.
var nftExpected = map[string]map[string]any{
	"input ipv4": {"chains": 1, "rules": 13, "default": "drop", "denies": true, "accepts_loopback": true, "guards_loopback": true, "established": true,
		"ports": []string{"tcp/22", "tcp/2200-2210", "tcp/3306", "tcp/443", "tcp/5432", "tcp/80", "tcp/8000-8010", "tcp/9000", "udp/53"}},
	"input ipv6": {"chains": 1, "default": "drop", "accepts_loopback": true, "guards_loopback": true, "established": true,
		"ports": []string{"tcp/22", "tcp/2200-2210", "tcp/3306", "tcp/443", "tcp/80", "tcp/8000-8010", "tcp/9000", "udp/53"}},
	"output ipv4":  {"chains": 1, "rules": 3, "default": "reject", "denies": true, "accepts_loopback": true, "established": true, "ports": []string{}},
	"forward ipv4": {"chains": 1, "rules": 0, "default": "accept", "denies": false},
	"forward ipv6": {"chains": 1, "default": "accept"},
}

func TestLiveNFTables(t *testing.T) {
	n := newNetwork(t)
	if set := thisMachine.loadedFilters(n.pid); set.err != nil || len(set.tables) != 0 {
		t.Fatalf("a new name space has %d tables, error %v", len(set.tables), set.err)
	}
	n.feed(t, nftRules, "nft", "-f", "-")
	set := thisMachine.loadedFilters(n.pid)
	if set.err != nil {
		t.Fatal(set.err)
	}
	facts := filterFacts(set)
	for subject, want := range nftExpected {
		expect(t, facts[subject], want)
	}
	if ours := thisMachine.loadedFilters("self"); ours.err != nil || ours.hasChain(func(c *filterChain) bool { return c.name == "services" }) {
		t.Errorf("the rules of another name space are told of ours, or error %v", ours.err)
	}
}

// dormantTable and emptySets are rules that the kernel and our reader of files must take alike.
const (
	dormantTable = `table inet asleep {
	flags dormant
	chain input { type filter hook input priority 0; policy drop; }
}
table inet awake {
	chain input { type filter hook input priority 0; policy accept; }
}
`
	emptySets = `table inet f {
	set protocols { type inet_proto; }
	set ports { type inet_service; }
	chain input {
		type filter hook input priority 0; policy drop;
		meta l4proto @protocols accept
		tcp dport @ports accept
	}
}
`
)

func TestLiveNFTablesThatDoNothing(t *testing.T) {
	n := newNetwork(t)
	n.feed(t, dormantTable, "nft", "-f", "-")
	expect(t, thisMachine.loadedFilters(n.pid).fact("input", ipv4), map[string]any{"chains": 1, "default": "accept", "denies": false})
	n.feed(t, "flush ruleset\n"+emptySets, "nft", "-f", "-")
	expect(t, thisMachine.loadedFilters(n.pid).fact("input", ipv4), map[string]any{"default": "drop", "denies": true, "ports": []string{}})
}

func TestLiveNFTablesOfMany(t *testing.T) {
	n := newNetwork(t)
	var b strings.Builder
	fmt.Fprintln(&b, "table ip many { chain input { type filter hook input priority 0; policy accept;")
	for port := range 3000 {
		fmt.Fprintf(&b, "tcp dport %d ip saddr 10.%d.%d.0/24 counter accept\n", port+1, port/256, port%256)
	}
	fmt.Fprintln(&b, "}\nchain rest { iif != lo ip saddr 127.0.0.0/8 drop; iifname lo accept; drop; }\n}\nadd rule ip many input goto rest")
	n.feed(t, b.String(), "nft", "-f", "-")
	set := thisMachine.loadedFilters(n.pid)
	expect(t, set.fact("input", ipv4), map[string]any{"rules": 3004, "default": "drop", "accepts_loopback": true, "guards_loopback": true, "established": false})
	expect(t, set.fact("input", ipv6), map[string]any{"chains": 0, "default": "accept", "denies": false})
}

// iptablesRules are rules for iptables-restore. TestLiveIptables has the kernel tell them by both of its ways, TestRestoreFile reads them.
const iptablesRules = `# written by hand
*mangle
:INPUT DROP [0:0]
COMMIT
*filter
:INPUT DROP [10:840]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:web - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -s 127.0.0.0/8 -j DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m multiport --dports 22,2200:2210 -m conntrack --ctstate NEW -m comment --comment "for people" -j ACCEPT
-A INPUT -p udp -m udp --dport 53 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 4000 --tcp-flags SYN,ACK SYN -j ACCEPT
-A INPUT -p tcp -g web
-A INPUT -i eth+ -p tcp -m tcp --dport 9100 -j ACCEPT
-A web ! -s 192.0.2.0/24 -p tcp -m tcp --dport 80 -j ACCEPT
-A web -p tcp -m tcp --dport 443 -j RETURN
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -j REJECT --reject-with icmp-port-unreachable
COMMIT
`

var iptablesExpected = map[string]map[string]any{
	"input ipv4": {"chains": 1, "rules": 10, "default": "drop", "accepts_loopback": true, "guards_loopback": true, "established": true,
		"ports": []string{"tcp/22", "tcp/2200-2210", "tcp/4000", "tcp/80", "tcp/9100", "udp/53"}},
	"output ipv4":  {"chains": 1, "rules": 2, "default": "reject", "accepts_loopback": true, "established": false},
	"forward ipv4": {"chains": 1, "rules": 0, "default": "drop"},
	"input ipv6":   {"chains": 0, "default": "accept"},
}

func TestLiveIptables(t *testing.T) {
	for _, program := range []string{"iptables-legacy-restore", "iptables-nft-restore"} {
		t.Run(program, func(t *testing.T) {
			n := newNetwork(t)
			rules := iptablesRules[strings.Index(iptablesRules, "*filter"):]
			n.feed(t, rules, program)
			set := thisMachine.loadedFilters(n.pid)
			if set.err != nil {
				t.Fatal(set.err)
			}
			facts := filterFacts(set)
			for subject, want := range iptablesExpected {
				expect(t, facts[subject], want)
			}
			if !set.hasChain(plainIptables) || set.hasChain(plainNFT) {
				t.Error("the chains are not taken for those of iptables")
			}
		})
	}
	t.Run("ip6tables-legacy-restore", func(t *testing.T) {
		n := newNetwork(t)
		n.feed(t, "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -s ::1/128 -j DROP\n-A INPUT -s 2001:db8::/32 -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n", "ip6tables-legacy-restore")
		set := thisMachine.loadedFilters(n.pid)
		expect(t, set.fact("input", ipv6), map[string]any{"chains": 1, "rules": 3, "default": "drop", "accepts_loopback": true, "guards_loopback": true, "established": false, "ports": []string{"tcp/22"}})
		expect(t, set.fact("input", ipv4), map[string]any{"chains": 0, "default": "accept"})
	})
}

// helperListens is set for the process of TestLiveListenerHasItsOwner that listens.
const helperListens = "YAGURA_TEST_LISTENS"

func TestHelperListens(t *testing.T) {
	if os.Getenv(helperListens) == "" {
		return // only within TestLiveListenerHasItsOwner
	}
	for at, network := range map[string]string{"0.0.0.0:4321": "tcp4", "127.0.0.1:4322": "tcp4", "[::1]:4323": "tcp6", "[::]:4324": "tcp6"} {
		if _, err := net.Listen(network, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.ListenPacket("udp4", "0.0.0.0:4325"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("listening")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestLiveListenerHasItsOwner(t *testing.T) {
	n := newNetwork(t)
	n.feed(t, "table inet f { chain i { type filter hook input priority 0; policy drop; tcp dport 4321 accept; iif lo tcp dport 4322 accept; tcp dport 4325 accept; }\n}\n", "nft", "-f", "-")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperListens$")
	cmd.Env = append(os.Environ(), helperListens+"=1")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	var err error
	n.do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "listening\n" {
		t.Fatalf("the helper said %q, %v", line, err)
	}
	facts := collect(t, func(ctx context.Context, report func(event.Fact)) error {
		return thisMachine.listenersOf(ctx, n.pid, report)
	})
	if len(facts) != 5+3 {
		t.Errorf("there are %d listeners and openings, want 5 and 3", len(facts))
	}
	for subject, ruled := range map[string]bool{"tcp 0.0.0.0:4321": true, "tcp [::]:4324": false, "udp 0.0.0.0:4325": false} {
		expect(t, facts["opening "+subject], map[string]any{"ruled": ruled, "process": "host.test"})
	}
	exe, _ := os.Executable()
	for subject, want := range map[string]map[string]any{
		"listener tcp 0.0.0.0:4321":   {"family": "ipv4", "address": "0.0.0.0", "port": 4321, "loopback": false, "wildcard": true},
		"listener tcp 127.0.0.1:4322": {"family": "ipv4", "loopback": true, "wildcard": false},
		"listener tcp [::1]:4323":     {"family": "ipv6", "loopback": true, "wildcard": false},
		"listener tcp [::]:4324":      {"family": "ipv6", "address": "::", "loopback": false, "wildcard": true},
		"listener udp 0.0.0.0:4325":   {"protocol": "udp", "port": 4325},
	} {
		expect(t, facts[subject], want)
		expect(t, facts[subject], map[string]any{"program": exe, "pid": cmd.Process.Pid, "deleted": false, "uid": os.Getuid()})
	}
}

func TestLiveListenerOfThisProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	facts := collect(t, func(ctx context.Context, report func(event.Fact)) error {
		return thisMachine.listenersOf(ctx, "self", report)
	})
	expect(t, facts["listener tcp "+l.Addr().String()], map[string]any{
		"program": exe, "pid": os.Getpid(), "deleted": false, "uid": os.Getuid(), "port": l.Addr().(*net.TCPAddr).Port, "loopback": true, "process": "host.test",
	})
}

// TestLiveAuditRule adds a rule about a file that nobody touches, has the kernel tell it, and takes it away.
func TestLiveAuditRule(t *testing.T) {
	auditctl, err := exec.LookPath("auditctl")
	if err != nil {
		t.Skip("needs the program auditctl")
	}
	numbers := auditArchs["x86_64"]
	if runtime.GOARCH == "arm64" {
		numbers = auditArchs["aarch64"]
	}
	before, err := askAudit(numbers)
	if err != nil || before.none || before.enabled == 2 {
		t.Skip("needs an audit that can be asked and is not locked: ", err)
	}
	file := t.TempDir() + "/watched"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	line := []string{"always,exit", "-F", "arch=b64", "-S", "openat,ftruncate", "-F", "exit=-EACCES", "-F", "auid>=1000", "-F", "auid!=unset", "-F", "dir=" + t.TempDir(), "-k", "yagura-test"}
	for _, rule := range [][]string{{"-w", file, "-p", "wa", "-k", "yagura-test"}, append([]string{"-a"}, line...)} {
		if output, err := exec.Command(auditctl, rule...).CombinedOutput(); err != nil {
			t.Skipf("needs to add a rule: %v: %s", err, output)
		}
		undo := slices.Clone(rule)
		undo[0] = map[string]string{"-w": "-W", "-a": "-d"}[rule[0]]
		t.Cleanup(func() { _ = exec.Command(auditctl, undo...).Run() })
	}
	after, err := askAudit(numbers)
	if err != nil {
		t.Fatal(err)
	}
	var watch, call *auditRule
	for i := range after.rules {
		switch r := &after.rules[i]; {
		case r.path == file:
			watch = r
		case r.key == "yagura-test":
			call = r
		}
	}
	if watch == nil || !watch.seesFile(file, false, "wa") || watch.seesFile(file, false, "x") || watch.key != "yagura-test" || watch.perm != "wa" {
		t.Errorf("the watch is told as %+v", watch)
	}
	if call == nil || call.arch != "b64" || call.exit != "EACCES" || call.narrow || call.dir == "" || !slices.Equal(call.syscalls, []string{"ftruncate", "openat"}) {
		t.Errorf("the rule is told as %+v", call)
	}
	var set auditSet
	set.parseAudit("x", "-w "+file+" -p wa -k yagura-test\n")
	if disk := set.rules[0]; watch != nil && disk.identity() != watch.identity() {
		t.Errorf("in a file it is %s, in the kernel %s", disk.identity(), watch.identity())
	}
}

// TestLiveRemediationsOfTheAudit loads what our own remediations say into the kernel, and wants it to be enough.
func TestLiveRemediationsOfTheAudit(t *testing.T) {
	auditctl, err := exec.LookPath("auditctl")
	if err != nil {
		t.Skip("needs the program auditctl")
	}
	arch, err := thisMachine.architecture()
	if err != nil {
		t.Fatal(err)
	}
	before, err := askAudit(auditArchs[arch])
	if err != nil || before.none || before.enabled != 0 || len(before.rules) > 0 {
		t.Skip("needs an audit that can be asked, is off, and has no rules: ", err)
	}
	lines := slices.DeleteFunc(auditRemediations(t), func(line string) bool { // of files that may not be here, and what locks the rules
		return !strings.HasPrefix(line, "-a ") || strings.Contains(line, "path=")
	})
	file := t.TempDir() + "/all.rules"
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command(auditctl, "-D").Run() })
	if output, err := exec.Command(auditctl, "-R", file).CombinedOutput(); err != nil {
		t.Fatalf("auditctl refuses a remediation: %v: %s", err, output)
	}
	after, err := askAudit(auditArchs[arch])
	if err != nil {
		t.Fatal(err)
	}
	var disk auditSet
	disk.parseAudit("x", strings.Join(lines, "\n"))
	if !slices.Equal(identities(disk.rules), identities(after.rules)) {
		t.Errorf("rules of files\n%s\nand of the kernel\n%s", strings.Join(identities(disk.rules), "\n"), strings.Join(identities(after.rules), "\n"))
	}
	a := &auditState{s: thisMachine, arch: arch, numbers: auditArchs[arch]}
	for name, needs := range map[string][]auditNeed{
		"user_emulation": a.calls("", comparePair("uid", "euid"), "execve"), "time": a.calls("", "", "adjtimex", "settimeofday", "clock_settime"), "network": a.calls("", "", "sethostname", "setdomainname"),
		"access": a.calls("EACCES", "", "creat", "open", "openat", "truncate", "ftruncate"), "permissions": a.calls("", "", "chmod", "fchownat", "lsetxattr", "fremovexattr"),
		"mounts": a.calls("", "", "mount"), "deletions": a.calls("", "", "rename", "unlink", "renameat", "unlinkat"), "modules": only64(a.calls("", "", "init_module", "finit_module", "delete_module")),
	} {
		if missing := missingOf(needs, after.rules); len(missing) > 0 {
			t.Errorf("%s: the kernel has no rules for %v", name, missing)
		}
	}
}
