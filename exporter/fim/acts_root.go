package fim

import (
	"cmp"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// A rootPlace is where the root of a process is, as the host names it.
type rootPlace struct {
	prefix string // what stands before the process's names; empty if its root is the host's
	hidden bool   // the host has no name for it
	unsure bool   // the process has ended: it is where that of one above it is
	asked  uint64 // when, ns since boot
}

// Bounds of what is remembered of roots.
const (
	maxRoots    = 1024
	rootsGoodNS = 1e9 // a process may change its root
)

// rootOfEvent is where the root of a process is that is in no container: it may be in a directory to which chroot has brought it, as
// debootstrap and builders of packages do, and what it calls /etc/passwd is in there. Of one that has ended, those above it are asked.
// Only Observe calls it.
func (a *Acts) rootOfEvent(ev *event.Event) rootPlace {
	id := event.ID{PID: ev.PID, Start: ev.Start}
	known, ok := a.roots[id]
	if ok && ev.Boot-known.asked < rootsGoodNS {
		return known
	}
	if len(a.roots) >= maxRoots {
		clear(a.roots)
	}
	place := a.askRoot(ev)
	place.asked = ev.Boot
	a.roots[id] = place
	return place
}

func (a *Acts) askRoot(ev *event.Event) rootPlace {
	p := cmp.Or(ev.Process, &event.Process{Task: event.Task{PID: ev.PID, Start: ev.Start}})
	for id, root := range a.livingRoots(p) {
		if place, err := a.placeOfRoot(id, root); err == nil {
			place.unsure = id.PID != ev.PID
			return place
		}
	}
	return rootPlace{unsure: true}
}

// placeOfRoot is where the root of a process is, which is open.
func (a *Acts) placeOfRoot(id event.ID, root int) (is rootPlace, err error) {
	at, err := placeOf(root)
	if err != nil {
		return is, err
	}
	var host unix.Stat_t
	if err := unix.Stat(a.root, &host); err != nil {
		return is, fmt.Errorf("look at %s: %w", a.root, err)
	}
	if at == (place{host.Dev, host.Ino}) {
		return is, nil
	}
	name, err := os.Readlink(a.procfs + "/" + strconv.FormatUint(uint64(id.PID), 10) + "/root")
	if err != nil {
		return is, fmt.Errorf("ask for the root of a process: %w", err)
	}
	if name == "/" || name == "" || name[0] != '/' {
		return rootPlace{hidden: true}, nil // another one in a mount name space of its own
	}
	return rootPlace{prefix: name}, nil
}
