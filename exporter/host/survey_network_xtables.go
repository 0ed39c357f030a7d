package host

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options of sockets by which the kernel tells the rules of iptables and ip6tables.
const (
	xtGetInfo    = 64
	xtGetEntries = 65
	maxXtables   = 64 << 20
)

// An xtLayout is where the fields of an entry are: struct ipt_entry and struct ip6t_entry.
type xtLayout struct {
	family         string
	domain, level  int
	names          string // of the file of tables that are there
	addr           int    // bytes of an address
	interfaces     int    // where they begin
	protocol       int
	flags, inverse int
	gotoFlag       byte
	targetOffset   int // and behind it the offset of the next entry
	size           int
}

var xtLayouts = []xtLayout{
	{ipv4, unix.AF_INET, unix.IPPROTO_IP, "ip_tables_names", 4, 16, 80, 82, 83, 0x02, 88, 112},
	{ipv6, unix.AF_INET6, unix.IPPROTO_IPV6, "ip6_tables_names", 16, 64, 128, 131, 132, 0x04, 140, 168},
}

// Bits of an entry's conditions that are turned round.
const (
	xtNotIn       = 0x01
	xtNotOut      = 0x02
	xtNotSource   = 0x08
	xtNotTarget   = 0x10
	xtNotFragment = 0x20
	xtNotProtocol = 0x40
)

// xtables reads the rules of iptables and ip6tables that were loaded the old way, of the network name space that the thread is in,
// which is that of a process. Only of tables that are there: to ask for others would make them.
func (s *Surveys) xtables(pid string, to *filterSet) error {
	for i := range xtLayouts {
		l := &xtLayouts[i]
		names, err := s.Proc().Read(path.Join(pid, "net", l.names), 4096)
		if Absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(string(names)) {
			if name != "filter" {
				continue
			}
			if err := l.read(name, to); err != nil {
				return fmt.Errorf("read table %s of iptables for %s: %w", name, l.family, err)
			}
		}
	}
	return nil
}

// read asks the kernel for a table.
func (l *xtLayout) read(table string, to *filterSet) error {
	fd, err := unix.Socket(l.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err == unix.EPERM {
		return fmt.Errorf("%w: it takes CAP_NET_RAW and CAP_NET_ADMIN", err)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for range 5 {
		info := make([]byte, 84)
		copy(info[:31], table)
		if err := getOption(fd, l.level, xtGetInfo, info); err != nil {
			return err
		}
		size := native.Uint32(info[80:])
		if size > maxXtables {
			return fmt.Errorf("it has %d bytes, more than %d", size, maxXtables)
		}
		entries := make([]byte, 40+size)
		copy(entries[:31], table)
		native.PutUint32(entries[32:], size)
		if err := getOption(fd, l.level, xtGetEntries, entries); err == unix.EAGAIN {
			continue // it has another size by now
		} else if err != nil {
			return err
		}
		return l.parse(table, info, entries[40:], to)
	}
	return errInterrupted
}

func getOption(fd, level, name int, value []byte) error {
	size := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// xtHooks are the hooks that facts tell of, by their numbers.
var xtHooks = map[int]string{1: "input", 2: "forward", 3: "output"}

// parse takes a table apart. A chain begins where a hook points to, or behind an entry with the target ERROR that names it.
func (l *xtLayout) parse(name string, info, entries []byte, to *filterSet) error {
	table := to.table(l.family, "iptables "+name)
	starts, policies := map[int]*filterChain{}, map[int]*filterChain{}
	for hook, called := range xtHooks {
		if native.Uint32(info[32:])>>hook&1 == 0 {
			continue
		}
		c := table.chain(strings.ToUpper(called))
		c.hook = called
		starts[int(native.Uint32(info[36+4*hook:]))] = c
		policies[int(native.Uint32(info[56+4*hook:]))] = c
	}
	type jump struct {
		chain *filterChain
		rule  int
		to    int
	}
	var current *filterChain
	var later []jump
	for at := 0; at < len(entries); {
		e, err := l.entry(entries, at)
		if err != nil {
			return err
		}
		if e.heads != "" {
			current.endOfChain()
			current = table.chain(e.heads)
			starts[e.next] = current
			at = e.next
			continue
		}
		if c := starts[at]; c != nil {
			current = c
		}
		if c := policies[at]; c != nil && c == current {
			c.policy = e.rule.verdict
			current = nil
		} else if current != nil {
			current.add(e.rule)
			if e.jump >= 0 {
				later = append(later, jump{current, len(current.rules) - 1, e.jump})
			}
		}
		at = e.next
	}
	current.endOfChain()
	for _, j := range later {
		if c := starts[j.to]; c != nil {
			j.chain.rules[j.rule].target = c.name
		}
	}
	return nil
}

// endOfChain takes off the return that the kernel keeps at the end of a chain without a hook.
func (c *filterChain) endOfChain() {
	if c == nil || len(c.rules) == 0 {
		return
	}
	if last := len(c.rules) - 1; c.rules[last].verdict == returns && c.rules[last].unconditional() {
		c.rules = c.rules[:last]
		c.count--
	}
}

// An xtEntry is one entry of a table.
type xtEntry struct {
	rule  filterRule
	heads string // the chain that begins behind it
	jump  int    // where the chain begins that it leads to; -1 for none
	next  int
}

// Verdicts, as the standard target has them.
const (
	xtDrop   = -1
	xtAccept = -2
	xtReturn = -5
)

func (l *xtLayout) entry(all []byte, at int) (xtEntry, error) {
	e := xtEntry{jump: -1}
	data := all[at:]
	if len(data) < l.size {
		return e, fmt.Errorf("an entry at %d has %d bytes, want %d", at, len(data), l.size)
	}
	target, next := int(native.Uint16(data[l.targetOffset:])), int(native.Uint16(data[l.targetOffset+2:]))
	if target < l.size || next < target+32 || next > len(data) {
		return e, fmt.Errorf("an entry at %d has its target at %d and its end at %d, of %d", at, target, next, len(data))
	}
	e.next = at + next
	l.conditions(&e.rule, data)
	for m := l.size; m < target; {
		size := int(native.Uint16(data[m:]))
		if size < 32 || m+size > target {
			return e, fmt.Errorf("an entry at %d has a match of %d bytes at %d", at, size, m)
		}
		e.rule.xtMatch(cText(data[m+2:m+31]), data[m+32:m+size])
		m += size
	}
	name, value := cText(data[target+2:target+31]), data[target+32:next]
	switch {
	case name == "ERROR":
		e.heads = cText(value)
	case name != "":
		e.rule.xtTarget(name)
	case len(value) >= 4:
		l.standard(&e, int32(native.Uint32(value)), data[l.flags]&l.gotoFlag != 0)
	}
	if e.jump == e.next {
		e.jump, e.rule.verdict = -1, goesOn // a rule without a target
	}
	return e, nil
}

func (l *xtLayout) standard(e *xtEntry, v int32, goesThere bool) {
	switch {
	case v == xtDrop:
		e.rule.verdict = drops
	case v == xtAccept:
		e.rule.verdict = accepts
	case v == xtReturn:
		e.rule.verdict = returns
	case v >= 0 && goesThere:
		e.rule.verdict, e.jump = goesTo, int(v)
	case v >= 0:
		e.rule.verdict, e.jump = jumps, int(v)
	}
}

// conditions reads those that every entry has room for.
func (l *xtLayout) conditions(r *filterRule, data []byte) {
	inverse := data[l.inverse]
	r.in, r.inNot = xtInterface(data[l.interfaces:], data[l.interfaces+32:]), inverse&xtNotIn != 0
	r.out, r.outNot = xtInterface(data[l.interfaces+16:], data[l.interfaces+48:]), inverse&xtNotOut != 0
	a := l.addr
	source, target, sourceMask, targetMask := data[:a], data[a:2*a], data[2*a:3*a], data[3*a:4*a]
	if bits, ok := prefixBits(sourceMask); !ok {
		r.more = true
	} else if bits > 0 {
		addr, _ := netip.AddrFromSlice(source)
		r.from, _ = addr.Prefix(bits)
		r.fromNot = inverse&xtNotSource != 0
	}
	if bits, ok := prefixBits(targetMask); !ok || bits > 0 {
		r.more = true
	}
	_ = target
	if protocol := native.Uint16(data[l.protocol:]); protocol != 0 {
		r.protocols = []string{protocolName(protocol)}
	}
	r.more = r.more || inverse&(xtNotProtocol|xtNotFragment|xtNotTarget) != 0
}

// xtInterface reads a name and its mask, of which the bytes count that are set.
func xtInterface(name, mask []byte) string {
	name, mask = name[:16], mask[:16]
	if mask[0] == 0 {
		return ""
	}
	text := cText(name)
	if len(text) < 15 && mask[len(text)] == 0 {
		text += "*"
	}
	return text
}

// xtMatch takes in a match of xtables, which nftables has as well.
func (r *filterRule) xtMatch(name string, info []byte) {
	switch {
	case name == "comment":
	case name == "tcp" && len(info) >= 12:
		r.xtPorts(info, info[11], info[8] != 0 || info[9] != 0)
	case name == "udp" && len(info) >= 9:
		r.xtPorts(info, info[8], false)
	case name == "multiport" && len(info) >= 48:
		r.xtMultiport(info)
	case name == "conntrack" && len(info) >= 154:
		r.xtConntrack(info)
	case name == "state" && len(info) >= 4:
		r.states = native.Uint32(info)
	default:
		r.more = true
	}
}

// xtPorts reads the ports that a match of tcp or udp begins with: ranges of the source and of the target.
func (r *filterRule) xtPorts(info []byte, inverse byte, more bool) {
	fromFirst, fromLast := native.Uint16(info), native.Uint16(info[2:])
	first, last := native.Uint16(info[4:]), native.Uint16(info[6:])
	if fromFirst != 0 || fromLast != 0xffff || inverse != 0 || more {
		r.more = true
	}
	if (first != 0 || last != 0xffff) && inverse == 0 {
		r.ports = append(r.ports, portSpan{first, last})
	}
}

// xtMultiport reads struct xt_multiport_v1.
func (r *filterRule) xtMultiport(info []byte) {
	const target, either = 1, 2
	count := int(info[1])
	if info[0] != target && info[0] != either || info[47] != 0 || count > 15 {
		r.more = true
		return
	}
	for i := 0; i < count; i++ {
		p := portSpan{native.Uint16(info[2+2*i:]), native.Uint16(info[2+2*i:])}
		if info[32+i] != 0 && i+1 < count { // it begins a range, whose end is the next
			i++
			p.last = native.Uint16(info[2+2*i:])
		}
		r.ports = append(r.ports, p)
	}
}

// xtConntrack reads struct xt_conntrack_mtinfo2 and 3, as far as states go.
func (r *filterRule) xtConntrack(info []byte) {
	const state = 0x01
	flags, inverse := native.Uint16(info[146:]), native.Uint16(info[148:])
	if flags&state == 0 || inverse&state != 0 || flags&^state != 0 {
		r.more = true
	}
	if flags&state != 0 && inverse&state == 0 {
		r.states = uint32(native.Uint16(info[150:]))
	}
}

// xtTarget takes in a target of xtables beside accept and drop.
func (r *filterRule) xtTarget(name string) {
	switch name {
	case "REJECT":
		r.verdict = rejects
	case "DROP":
		r.verdict = drops
	case "ACCEPT":
		r.verdict = accepts
	}
}
