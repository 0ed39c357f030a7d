package exporter

import (
	"iter"
	"slices"
	"time"
)

// Bounds of what hits of rules and changes of files are kept and counted by.
const (
	keptRecent      = 1000
	maxWorkloadHits = 20000
	hitsKept        = 24 * time.Hour // how long those of a workload are shown after the last one
)

// A recentOnes keeps the last keptRecent of what has happened. The zero value has none.
type recentOnes[T any] struct {
	ring []T
	next int // where the oldest is, once the ring is full
}

func (r *recentOnes[T]) keep(one T) {
	if len(r.ring) < keptRecent {
		r.ring = append(r.ring, one)
		return
	}
	r.ring[r.next] = one
	r.next = (r.next + 1) % keptRecent
}

// latest is a copy of them, the latest first.
func (r *recentOnes[T]) latest() []T {
	all := slices.Concat(r.ring[r.next:], r.ring[:r.next])
	slices.Reverse(all)
	return all
}

// A hitCount is how often something has happened for a workload.
type hitCount struct {
	n        uint64
	last     time.Time
	exemplar *Exemplar
}

// hitCounts are the counts by workload and what else a K has, of so many as maxWorkloadHits.
type hitCounts[K comparable] struct {
	by     map[K]*hitCount
	beyond uint64 // not counted by a K
}

// count counts one more, and returns the count; nil if there are too many.
func (h *hitCounts[K]) count(key K) *hitCount {
	c := h.by[key]
	if c == nil {
		if len(h.by) >= maxWorkloadHits {
			h.beyond++
			return nil
		}
		if h.by == nil {
			h.by = map[K]*hitCount{}
		}
		c = &hitCount{}
		h.by[key] = c
	}
	c.n++
	c.last = time.Now()
	return c
}

// shown are the counts to be shown now. Those whose last one is long ago are forgotten.
func (h *hitCounts[K]) shown() iter.Seq2[K, *hitCount] {
	now := time.Now()
	return func(yield func(K, *hitCount) bool) {
		for key, c := range h.by {
			if now.Sub(c.last) > hitsKept {
				delete(h.by, key)
				continue
			}
			if !yield(key, c) {
				return
			}
		}
	}
}
