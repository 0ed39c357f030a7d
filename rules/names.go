package rules

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of what is read and kept of other people's files.
const (
	maxNameFile   = 1 << 20 // bytes of one passwd or group file; a longer one is not read
	maxNameField  = 256     // bytes of a name, home directory or shell; an entry with more is passed over
	maxNames      = 10_000  // users, or groups, of one root; those behind are passed over
	maxNameTables = 512     // roots whose names are kept
	maxNameBytes  = 8 << 20 // of all that is kept
	maxReaders    = 4       // that may be stuck on a file system that does not answer

	readWait   = 50 * time.Millisecond // the usual patience
	lookAgain  = time.Second           // after which a file's times are looked at, or an unreadable one is tried again
	readAgain  = time.Minute           // after which it is read in any case
	perEntry   = 64                    // what an entry costs besides its text
	noMountNS  = 0
	passwdFile = "etc/passwd"
	groupFile  = "etc/group"
)

// rootOnly knows what is the same everywhere: that user and group 0 are root.
type rootOnly struct{}

var rootUser = User{Name: "root", Home: "/root"}

func (rootOnly) User(_ *event.Event, uid uint32) (User, bool) { return rootUser, uid == 0 }

func (rootOnly) Group(_ *event.Event, gid uint32) (string, bool) { return "root", gid == 0 }

// HostNames finds names of users and groups in the passwd and group files of the host, and for what happens in a container
// in the container's own, through the root directory of who acted. It asks no name service. It may be used by many.
type HostNames struct {
	root, procfs string
	now          func() time.Time
	readers      chan struct{} // a place for each file that is being read
	patience     time.Duration // for a file to be read, before it is taken for unreadable

	mu     sync.Mutex
	tables map[nameRoot]*nameTable
	bytes  int // of all tables
	hostNS uint32
	asked  bool // hostNS was looked for
}

// A nameRoot is whose files: the zero value is the host.
type nameRoot struct {
	container string
	mount     uint32 // a mount name space
}

// A nameTable is what was read under one root. It is replaced, never changed, but for looked.
type nameTable struct {
	users          map[uint32]User
	groups         map[uint32]string
	size           int
	passwd, group  fileState
	read, looked   time.Time
	isUnreadable   bool
	isBeingRenewed bool
}

// A fileState changes when a file does.
type fileState struct {
	modified time.Time
	size     int64
	inode    uint64
}

// NewHostNames returns names under the root directory of the host, and of containers under the roots of their processes
// in procfs, which may be empty.
func NewHostNames(root, procfs string) *HostNames {
	return &HostNames{root: root, procfs: procfs, now: time.Now, readers: make(chan struct{}, maxReaders), patience: readWait, tables: map[nameRoot]*nameTable{}}
}

// User returns a user by its number, as it was called where the event happened.
func (h *HostNames) User(ev *event.Event, uid uint32) (User, bool) {
	if t := h.table(ev); t != nil {
		if u, ok := t.users[uid]; ok {
			return u, true
		}
	}
	return rootOnly{}.User(ev, uid)
}

// Group returns a group's name by its number, as it was called where the event happened.
func (h *HostNames) Group(ev *event.Event, gid uint32) (string, bool) {
	if t := h.table(ev); t != nil {
		if name, ok := t.groups[gid]; ok {
			return name, true
		}
	}
	return rootOnly{}.Group(ev, gid)
}

// table returns the names where an event happened, read or read again if they are due.
func (h *HostNames) table(ev *event.Event) *nameTable {
	now := h.now()
	h.mu.Lock()
	key := h.rootOf(ev)
	t := h.tables[key]
	if t != nil && (now.Sub(t.looked) < lookAgain || t.isBeingRenewed) {
		h.mu.Unlock()
		return t
	}
	if t != nil {
		t.isBeingRenewed = true
	}
	h.mu.Unlock()
	fresh := h.renew(h.directory(key, ev), t, now)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keep(key, t, fresh, now)
}

// rootOf says whose names an event needs. A process in a mount name space of its own may see other files than the rest of
// its container, or the host.
func (h *HostNames) rootOf(ev *event.Event) nameRoot {
	var key nameRoot
	if ev.Process != nil {
		key.mount = ev.Process.Namespaces.Mount
	}
	if ev.Container != nil {
		key.container = ev.Container.ID
		return key
	}
	if key.mount == h.hostMountNS() {
		key.mount = noMountNS
	}
	return key
}

// hostMountNS is the mount name space of process 1.
func (h *HostNames) hostMountNS() uint32 {
	if h.asked || h.procfs == "" {
		return h.hostNS
	}
	h.asked = true
	link, err := os.Readlink(filepath.Join(h.procfs, "1/ns/mnt"))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.Trim(strings.TrimPrefix(link, "mnt:"), "[]"), 10, 32)
	h.hostNS = uint32(n)
	return h.hostNS
}

// directory is where a root lies, empty if nobody can tell.
func (h *HostNames) directory(key nameRoot, ev *event.Event) string {
	switch {
	case key == nameRoot{}:
		return h.root
	case h.procfs == "" || ev.PID == 0:
		return ""
	}
	return filepath.Join(h.procfs, strconv.Itoa(int(ev.PID)), "root")
}

// keep enters a table that was read, in the place of an older one. mu is held.
func (h *HostNames) keep(key nameRoot, old, fresh *nameTable, now time.Time) *nameTable {
	if old != nil {
		old.isBeingRenewed, old.looked = false, now
		if fresh == nil || fresh.isUnreadable && !old.isUnreadable {
			return old // its process has gone, or nothing has changed
		}
	}
	h.drop(key)
	if len(h.tables) >= maxNameTables || h.bytes+fresh.size > maxNameBytes {
		clear(h.tables)
		h.bytes = 0
	}
	h.tables[key] = fresh
	h.bytes += fresh.size
	return fresh
}

func (h *HostNames) drop(key nameRoot) {
	if t := h.tables[key]; t != nil {
		h.bytes -= t.size
		delete(h.tables, key)
	}
}

// renew reads what is under a root, nil if it is as before. The file system may be one that a container made, and never
// answer: then the reader is left behind, and when too many are nothing is read at all.
func (h *HostNames) renew(root string, old *nameTable, now time.Time) *nameTable {
	unreadable := &nameTable{read: now, looked: now, isUnreadable: true}
	if root == "" {
		return unreadable
	}
	select {
	case h.readers <- struct{}{}:
	default:
		return unreadable
	}
	done := make(chan *nameTable, 1)
	go func() {
		defer func() { <-h.readers }()
		done <- readNames(root, old, now)
	}()
	timeout := time.NewTimer(h.patience)
	defer timeout.Stop()
	select {
	case t := <-done:
		return t
	case <-timeout.C:
		return unreadable
	}
}

// readNames reads both files under a root, nil if they are as old has them.
func readNames(root string, old *nameTable, now time.Time) *nameTable {
	t := &nameTable{users: map[uint32]User{}, groups: map[uint32]string{}, read: now, looked: now}
	dir, err := os.OpenRoot(root)
	if err != nil {
		t.isUnreadable = true
		return t
	}
	defer dir.Close()
	passwd, err := openNames(dir, passwdFile, &t.passwd)
	group, err2 := openNames(dir, groupFile, &t.group)
	defer passwd.Close()
	defer group.Close()
	if old != nil && !old.isUnreadable && t.passwd == old.passwd && t.group == old.group && now.Sub(old.read) < readAgain {
		return nil
	}
	t.isUnreadable = err != nil && err2 != nil
	t.readUsers(passwd)
	t.readGroups(group)
	return t
}

// openNames opens a file under a root, which it does not leave by symbolic links. What is no regular file is not opened:
// it could block.
func openNames(dir *os.Root, name string, state *fileState) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxNameFile) {
		err = errors.New("not a regular file of a sensible size")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	*state = fileState{modified: info.ModTime(), size: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		state.inode = st.Ino
	}
	return f, nil
}

// entries calls visit with the parts of each line, between colons, that has at least n.
func entries(f *os.File, n int, visit func(parts [][]byte)) {
	if f == nil {
		return
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxNameFile))
	if err != nil {
		return
	}
	for line := range bytes.Lines(raw) {
		parts := bytes.Split(bytes.TrimRight(line, "\r\n"), []byte{':'})
		if len(parts) >= n && isName(parts[0]) {
			visit(parts)
		}
	}
}

// isName refuses comments, entries of other databases, and what is too long or no text to be shown.
func isName(name []byte) bool {
	if len(name) == 0 || len(name) > maxNameField || bytes.IndexByte([]byte("#+-"), name[0]) >= 0 {
		return false
	}
	return !bytes.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func (t *nameTable) readUsers(f *os.File) {
	entries(f, 7, func(parts [][]byte) {
		uid, err := strconv.ParseUint(string(parts[2]), 10, 32)
		home, shell := parts[5], parts[6]
		if err != nil || len(home) > maxNameField || len(shell) > maxNameField {
			return
		}
		if _, known := t.users[uint32(uid)]; !known && len(t.users) < maxNames { // the first is whom the C library finds
			t.users[uint32(uid)] = User{string(parts[0]), string(home), string(shell)}
			t.size += perEntry + len(parts[0]) + len(home) + len(shell)
		}
	})
}

func (t *nameTable) readGroups(f *os.File) {
	entries(f, 3, func(parts [][]byte) {
		gid, err := strconv.ParseUint(string(parts[2]), 10, 32)
		if err != nil {
			return
		}
		if _, known := t.groups[uint32(gid)]; !known && len(t.groups) < maxNames {
			t.groups[uint32(gid)] = string(parts[0])
			t.size += perEntry + len(parts[0])
		}
	})
}
