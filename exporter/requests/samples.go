package requests

import (
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

// maxSamples is how many requests are kept.
const maxSamples = 1000

// worthKeeping are the kinds of samples that are requests. One that only tells a name has no duration.
const worthKeeping = bpf.SampleSlow | bpf.SampleFailed | bpf.SampleRegular

// A Sample is one request that was slow, or failed, or one of many. It holds nothing that was asked for or answered.
type Sample struct {
	ID            string
	Time          time.Time // when it ended
	Duration      time.Duration
	Key           bpf.RequestKey
	Name          string // as the series has it; Named is false if it is not known yet
	Named         bool
	Path          string // what was asked for by HTTP/1, with all that is not fixed folded; "" if the name tells it
	Workload      event.Workload
	Placed        bool // Workload is known
	Kind          bpf.SampleKind
	PID           uint32
	Process       string
	Trace         string // id of a trace, "" if none was seen
	Local, Remote netip.AddrPort

	number uint64
}

// Kinds says why it was kept.
func (s *Sample) Kinds() []string {
	kinds := []string{}
	for _, k := range [...]struct {
		bit  bpf.SampleKind
		name string
	}{{bpf.SampleSlow, "slow"}, {bpf.SampleFailed, "failed"}, {bpf.SampleRegular, "regular"}} {
		if s.Kind&k.bit != 0 {
			kinds = append(kinds, k.name)
		}
	}
	return kinds
}

// SamplesOptions say what is asked about a request when it is kept. What is nil is not asked.
type SamplesOptions struct {
	Names    *Names
	Workload func(slot uint32) (event.Workload, bool)
	Process  func(pid uint32) string // "" if it is not known
}

// Samples keeps the latest requests that are worth a look. Its methods may be called from any goroutine.
type Samples struct {
	o   SamplesOptions
	run string // tells the ids of one run from those of another

	mu    sync.Mutex
	on    bool
	count uint64 // how many were kept, ever
	ring  []Sample
	next  int // the oldest one, once the ring is full
}

// NewSamples returns Samples that have none, of a program that was started then.
func NewSamples(start time.Time, o SamplesOptions) *Samples {
	return &Samples{o: o, run: strconv.FormatInt(start.Unix(), 16), on: true}
}

// Turn turns keeping on or off. Off, what was kept is dropped.
func (s *Samples) Turn(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on = on; !on {
		s.ring, s.next = nil, 0
	}
}

// Keep keeps a request, in place of the oldest one. Its name has been learned before.
func (s *Samples) Keep(r *bpf.RequestSample, now time.Time) {
	if r.Kind&worthKeeping == 0 {
		return
	}
	kept := Sample{Time: r.Time, Duration: r.Duration, Key: r.RequestKey, Kind: r.Kind, PID: r.PID, Trace: r.Trace,
		Local: r.Local, Remote: r.Remote}
	if s.o.Process != nil {
		kept.Process = s.o.Process(r.PID)
	}
	s.complete(&kept, now)
	if r.Protocol == "http" && kept.Named && (kept.Name == "" || kept.Name == other) {
		kept.Path = Spell(r.Protocol, r.Text) // of other protocols the text may be that of a request asked meanwhile
	}
	s.add(&kept)
}

func (s *Samples) add(kept *Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		return
	}
	s.count++
	kept.number = s.count
	if len(s.ring) < maxSamples {
		s.ring = append(s.ring, *kept)
		return
	}
	s.ring[s.next] = *kept
	s.next = (s.next + 1) % maxSamples
}

// complete finds out what was not known yet.
func (s *Samples) complete(kept *Sample, now time.Time) {
	if !kept.Named {
		kept.Name, kept.Named = s.o.Names.Of(&kept.Key, now)
	}
	if !kept.Placed && s.o.Workload != nil {
		kept.Workload, kept.Placed = s.o.Workload(kept.Key.Slot)
	}
}

// Since returns the samples that were kept after that many had been, oldest first, up to the first that ended later than
// until; and how many had been kept then.
func (s *Samples) Since(count uint64, until time.Time) ([]Sample, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Sample
	for i := range s.ring {
		kept := &s.ring[(s.next+i)%len(s.ring)]
		if kept.number <= count {
			continue
		}
		if kept.Time.After(until) {
			break
		}
		s.complete(kept, until)
		count = kept.number
		found = append(found, *kept)
		found[len(found)-1].ID = s.run + "-" + strconv.FormatUint(kept.number, 16)
	}
	return found, count
}
