package containers

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestIndexAgreesWithAMap(t *testing.T) {
	var ix index
	want := map[uint64]*cgroup{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		id := random.Uint64N(500)
		if c := want[id]; c != nil {
			ix.remove(c)
			delete(want, id)
		} else {
			c := &cgroup{id: id}
			ix.add(c)
			want[id] = c
		}
		id = random.Uint64N(500)
		if got := ix.find(id); got != want[id] {
			t.Fatalf("find(%d) = %v, want %v", id, got, want[id])
		}
	}
	if size := len(*ix.slots.Load()); size > 2048 {
		t.Errorf("%d slots for at most 500 entries", size)
	}
}

func TestIndexIsReadWhileWritten(t *testing.T) {
	var ix index
	fixed := &cgroup{id: 7}
	ix.add(fixed)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if ix.find(7) != fixed {
				t.Error("an entry that is there was not found")
				return
			}
		}
	})
	for id := uint64(100); id < 20_000; id++ {
		ix.add(&cgroup{id: id})
		if old := ix.find(id - 50); old != nil && old != fixed {
			ix.remove(old)
		}
	}
	close(stop)
	wg.Wait()
}
