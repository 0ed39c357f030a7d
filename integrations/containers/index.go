package containers

import (
	"math/bits"
	"sync/atomic"
)

// An index finds cgroups by id without a lock: the event path reads it for every event. Writers take turns. An entry
// never moves within an array, so a reader cannot miss one that is there.
type index struct {
	slots atomic.Pointer[[]atomic.Pointer[cgroup]] // a power of two, at most three quarters full
	live  int
	taken int // slots that are not nil: the living and the buried
}

// buried stands where a cgroup was, so that those behind it are found.
var buried = &cgroup{}

func (ix *index) find(id uint64) *cgroup {
	slots := ix.slots.Load()
	if slots == nil {
		return nil
	}
	for i := slot(id, len(*slots)); ; i = (i + 1) & (len(*slots) - 1) {
		c := (*slots)[i].Load()
		if c == nil || c.id == id && c != buried {
			return c
		}
	}
}

// slot spreads ids: the kernel counts them up.
func slot(id uint64, size int) int {
	return int(id * 0x9E3779B97F4A7C15 >> (65 - bits.Len(uint(size))))
}

// add enters a cgroup whose id is not there.
func (ix *index) add(c *cgroup) {
	slots := ix.slots.Load()
	if slots == nil || (ix.taken+1)*4 > len(*slots)*3 {
		slots = ix.rebuild(slots)
	}
	for i := slot(c.id, len(*slots)); ; i = (i + 1) & (len(*slots) - 1) {
		switch old := (*slots)[i].Load(); old {
		case nil:
			ix.taken++
		case buried:
		default:
			continue
		}
		ix.live++
		(*slots)[i].Store(c)
		return
	}
}

func (ix *index) remove(c *cgroup) {
	slots := ix.slots.Load()
	for i := slot(c.id, len(*slots)); ; i = (i + 1) & (len(*slots) - 1) {
		switch (*slots)[i].Load() {
		case nil:
			return
		case c:
			(*slots)[i].Store(buried)
			ix.live--
			return
		}
	}
}

// rebuild returns an array at most half full, without the buried.
func (ix *index) rebuild(old *[]atomic.Pointer[cgroup]) *[]atomic.Pointer[cgroup] {
	size := 64
	for size < 2*(ix.live+1) {
		size *= 2
	}
	slots := make([]atomic.Pointer[cgroup], size)
	ix.taken = 0
	if old != nil {
		for i := range *old {
			if c := (*old)[i].Load(); c != nil && c != buried {
				ix.taken++
				j := slot(c.id, size)
				for slots[j].Load() != nil {
					j = (j + 1) & (size - 1)
				}
				slots[j].Store(c)
			}
		}
	}
	ix.slots.Store(&slots)
	return &slots
}
