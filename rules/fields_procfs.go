package rules

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/yagura-io/yagura/rules/event"
)

// What follows is read from /proc when a field is asked for, and so is as it is then, not as it was at the event. In a
// replay there is no /proc, and all of it is absent.

// maxProcFile bounds how much of one file of /proc is read.
const maxProcFile = 1 << 20

// proc reads a file of the acting process.
func (r *Record) proc(name ...string) ([]byte, bool) {
	if r.procfs == "" || r.PID == 0 {
		return nil, false
	}
	f, err := os.Open(r.procPath(name...))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxProcFile))
	return raw, err == nil
}

func (r *Record) procPath(name ...string) string {
	return filepath.Join(append([]string{r.procfs, strconv.Itoa(int(r.PID))}, name...)...)
}

// status reads one number of /proc/PID/status, in units of its line.
func status(key string) func(*Record) (uint64, bool) {
	return func(r *Record) (uint64, bool) {
		raw, _ := r.proc("status")
		for line := range bytes.Lines(raw) {
			if rest, ok := bytes.CutPrefix(line, []byte(key+":")); ok {
				return firstNumber(string(rest))
			}
		}
		return 0, false
	}
}

func firstNumber(s string) (uint64, bool) {
	for word := range strings.FieldsSeq(s) {
		n, err := strconv.ParseUint(word, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// Numbers of /proc/PID/task/TID/stat, counted behind the name, which may hold blanks.
const (
	statMinorFaults = 7
	statMajorFaults = 9
)

func threadStat(n int) func(*Record) (uint64, bool) {
	return func(r *Record) (uint64, bool) {
		raw, _ := r.proc("task", strconv.Itoa(int(r.TID)), "stat")
		words := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		if n >= len(words) {
			return 0, false
		}
		return firstNumber(words[n])
	}
}

// descriptors counts the open ones.
func (r *Record) descriptors() (n uint64, ok bool) {
	f, err := r.openDescriptors()
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		if n += uint64(len(names)); err != nil || len(names) == 0 {
			return n, err == nil || err == io.EOF
		}
	}
}

func (r *Record) openDescriptors() (*os.File, error) {
	if r.procfs == "" || r.PID == 0 {
		return nil, os.ErrNotExist
	}
	return os.Open(r.procPath("fd"))
}

// maxTypes bounds of how many descriptors fd.types tells.
const maxTypes = 256

func (r *Record) descriptorNumbers() (numbers []int) {
	f, err := r.openDescriptors()
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxTypes)
	for _, name := range names {
		if n, ok := ordinal(name); ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func (r *Record) descriptorLimit() (int64, bool) {
	raw, _ := r.proc("limits")
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			n, ok := firstNumber(rest)
			return int64(n), ok
		}
	}
	return 0, false
}

// mayWriteExe asks as the kernel would if the user of the process opened its executable for writing.
func (r *Record) mayWriteExe() (bool, bool) {
	t := r.task()
	if r.procfs == "" || r.PID == 0 || t == nil {
		return false, false
	}
	info, err := os.Stat(r.procPath("exe"))
	if err != nil {
		return false, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false, false
	}
	const overrideDAC = 1 << 1
	mode := info.Mode().Perm()
	switch {
	case t.CapEffective&overrideDAC != 0:
		return true, true
	case st.Uid == t.EUID:
		return mode&0o200 != 0, true
	case st.Gid == t.EGID:
		return mode&0o020 != 0, true
	}
	return mode&0o002 != 0, true
}

// cgroups are the control groups of the process, as controller=path.
func (r *Record) cgroups() (string, bool) {
	raw, ok := r.proc("cgroup")
	var all []string
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			all = append(all, controller+"="+parts[2])
		}
	}
	return strings.Join(all, " "), ok
}

func (r *Record) cgroup(a arg) (string, bool) {
	all, _ := r.cgroups()
	for group := range strings.FieldsSeq(all) {
		if name, path, _ := strings.Cut(group, "="); name == a.Text {
			return path, true
		}
	}
	return "", false
}

// eachType calls yield with the types of the process's descriptors, each once, or with that of one of them.
func (r *Record) eachType(a arg, yield func(string) bool) bool {
	if a.Given {
		t, _, ok := r.stream(a.Number)
		return !ok || typeNames[t] == "" || yield(typeNames[t])
	}
	var seen [256]bool
	if fd := r.descriptor(); fd != nil {
		t := r.typeOf(fd)
		if seen[t] = true; !yield(typeNames[t]) {
			return false
		}
	}
	for _, n := range r.descriptorNumbers() {
		t, _, ok := r.stream(n)
		if !ok || seen[t] || typeNames[t] == "" {
			continue
		}
		if seen[t] = true; !yield(typeNames[t]) {
			return false
		}
	}
	return true
}

// stream tells what a descriptor of the process is: the event's own as it was, another as it is now.
func (r *Record) stream(n int) (t event.DescriptorType, name string, ok bool) {
	if fd := r.descriptor(); fd != nil && int(fd.Num) == n {
		name, _ := r.name()
		return r.typeOf(fd), name, true
	}
	if r.procfs == "" || r.PID == 0 {
		return 0, "", false
	}
	path := r.procPath("fd", strconv.Itoa(n))
	name, err := os.Readlink(path)
	if err != nil {
		return 0, "", false
	}
	kind, rest, _ := strings.Cut(name, ":")
	switch {
	case kind == "pipe":
		return event.Pipe, name, true
	case kind == "socket":
		t, name := r.socket(strings.Trim(rest, "[]"))
		return t, name, true
	case kind == "anon_inode":
		return event.AnonymousType(rest), "", true
	case strings.HasPrefix(name, "/memfd:"):
		return event.MemFD, name, true
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return event.Directory, name, true
	}
	return event.RegularFile, name, true
}

// tables are the files of /proc/PID/net that list sockets, and which word of their lines is the inode.
var tables = []struct {
	file  string
	kind  event.DescriptorType
	inode int
}{
	{"tcp", event.IPv4Socket, 9}, {"tcp6", event.IPv6Socket, 9}, {"udp", event.IPv4Socket, 9}, {"udp6", event.IPv6Socket, 9},
	{"unix", event.UnixSocket, 6}, {"raw", event.IPv4Socket, 9}, {"raw6", event.IPv6Socket, 9},
	{"netlink", event.Netlink, 9}, {"packet", event.PacketSocket, 8},
}

// socket finds a socket by its inode: its type, and its name as fd.name has it, ours first.
func (r *Record) socket(inode string) (event.DescriptorType, string) {
	for _, table := range tables {
		raw, _ := r.proc("net", table.file)
		for line := range strings.Lines(string(raw)) {
			words := strings.Fields(line)
			if len(words) <= table.inode || words[table.inode] != inode {
				continue
			}
			switch {
			case isInet(table.kind):
				return connectionOf(table.kind, socketEnd(words[1]), socketEnd(words[2]))
			case table.kind == event.UnixSocket && len(words) > 7:
				return table.kind, words[7]
			}
			return table.kind, ""
		}
	}
	return event.Other, ""
}

func connectionOf(t event.DescriptorType, local, remote netip.AddrPort) (event.DescriptorType, string) {
	if remote.Addr().Is4In6() {
		t = event.IPv4Socket
	}
	name := appendEnd(nil, local, remote)
	if hasPeer(remote) {
		name = appendEnd(append(name, "->"...), remote, local)
	}
	return t, string(name)
}

// socketEnd reads an address as /proc/net writes it: words of the machine in hexadecimal, a colon, the port.
func socketEnd(s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}
	}
	for i := 0; i < len(raw); i += 4 { // little-endian machines only, which are all that we run on
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, uint16(n))
}
