package fim

import (
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
	place := a.askRoot(id, ev.Process)
	place.asked = ev.Boot
	a.roots[id] = place
	return place
}

func (a *Acts) askRoot(id event.ID, p *event.Process) rootPlace {
	if place, err := a.rootAt(id); err == nil || p == nil {
		return place
	}
	mount := p.Namespaces.Mount
	for tried := 1; p.Parent != nil && tried < maxRootsTried; tried++ {
		if p = p.Parent; p.Namespaces.Mount != mount {
			break
		}
		if place, err := a.rootAt(p.ID()); err == nil {
			place.unsure = true
			return place
		}
	}
	return rootPlace{unsure: true}
}

// rootAt looks where the root of a process is that still runs.
func (a *Acts) rootAt(id event.ID) (is rootPlace, err error) {
	fd, err := a.rootOf(id)
	if err != nil {
		return is, err
	}
	defer unix.Close(fd)
	at, err := placeOf(fd)
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
