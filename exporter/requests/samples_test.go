package requests

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

var web = event.Workload{Container: "web"}

// keeper keeps samples of slot 1, which is web's once it is placed.
func keeper(placed *bool) (*Samples, *Names) {
	n := NewNames(Default)
	return NewSamples(start, SamplesOptions{Names: n, Process: func(uint32) string { return "nginx" },
		Workload: func(uint32) (event.Workload, bool) { return web, *placed }}), n
}

func slow(name uint32, after time.Duration) *bpf.RequestSample {
	return &bpf.RequestSample{RequestKey: bpf.RequestKey{Slot: 1, Name: name, Protocol: "http", Method: "GET", Status: 200, End: "ok", Server: true},
		Kind: bpf.SampleSlow, Time: start.Add(after), Duration: time.Second, PID: 7, Text: "/users/42",
		Remote: netip.MustParseAddrPort("192.0.2.1:1234")}
}

func TestKeptRequestsAreCompletedLater(t *testing.T) {
	placed := false
	s, n := keeper(&placed)
	s.Keep(slow(70, 0), start)
	got, _ := s.Since(0, start)
	if len(got) != 1 || got[0].Named || got[0].Placed || got[0].Process != "nginx" {
		t.Errorf("kept %+v, want one whose name and workload are not known", got)
	}
	placed = true
	learned := slow(70, 0)
	learned.Kind = bpf.SampleName
	n.Learn(learned)
	got, _ = s.Since(0, start)
	if got[0].Name != Route("/users/42") || !got[0].Named || got[0].Workload != web || got[0].Path != "" {
		t.Errorf("it is now %+v, want the route and the workload", got[0])
	}
	if got[0].ID != "6b49d200-1" { // the start of the run and its number
		t.Errorf("its id is %q", got[0].ID)
	}
}

func TestOnlyRequestsWorthALookAreKept(t *testing.T) {
	placed := true
	s, _ := keeper(&placed)
	for _, kind := range []bpf.SampleKind{bpf.SampleName, bpf.SampleAnswer, bpf.SampleFailed | bpf.SampleName, bpf.SampleRegular,
		bpf.SampleSlow | bpf.SampleFailed} {
		r := slow(bpf.NoName, 0)
		r.Kind = kind
		s.Keep(r, start)
	}
	var kinds []string
	got, _ := s.Since(0, start)
	for _, kept := range got {
		kinds = append(kinds, strings.Join(kept.Kinds(), "+"))
	}
	if diff := cmp.Diff([]string{"failed", "regular", "slow+failed"}, kinds); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestPathsAreOnlyKeptFolded(t *testing.T) {
	placed := true
	s, _ := keeper(&placed)
	for _, protocol := range []string{"http", "http2", "grpc"} {
		r := slow(bpf.OtherName, 0)
		r.Protocol = protocol
		s.Keep(r, start)
	}
	got, _ := s.Since(0, start)
	var paths []string
	for _, kept := range got {
		paths = append(paths, kept.Path)
	}
	if want := []string{Route("/users/42"), "", ""}; !slices.Equal(paths, want) { // of streams it may be another's
		t.Errorf("paths %q, want %q", paths, want)
	}
}

func TestTheLatestRequestsAreKeptInOrder(t *testing.T) {
	placed := true
	s, _ := keeper(&placed)
	for i := range 3 * maxSamples / 2 {
		s.Keep(slow(bpf.NoName, time.Duration(i)), start)
	}
	got, count := s.Since(0, start.Add(time.Hour))
	if len(got) != maxSamples || count != 3*maxSamples/2 {
		t.Fatalf("%d kept of %d, want %d of %d", len(got), count, maxSamples, 3*maxSamples/2)
	}
	for i, kept := range got {
		if want := start.Add(time.Duration(i + maxSamples/2)); !kept.Time.Equal(want) {
			t.Fatalf("place %d has the one of %v, want %v", i, kept.Time, want)
		}
	}
	s.Keep(slow(bpf.NoName, time.Minute), start)
	s.Keep(slow(bpf.NoName, time.Hour), start)
	fresh, count := s.Since(count, start.Add(time.Minute))
	if len(fresh) != 1 || count != 3*maxSamples/2+1 {
		t.Errorf("%d are new and have settled, and %d counted; want 1, as the other ended later", len(fresh), count)
	}
}

func TestTurnedOffNothingIsKept(t *testing.T) {
	placed := true
	s, _ := keeper(&placed)
	s.Keep(slow(bpf.NoName, 0), start)
	s.Turn(false)
	s.Keep(slow(bpf.NoName, 0), start)
	if got, _ := s.Since(0, start); len(got) != 0 {
		t.Errorf("%d are kept", len(got))
	}
	s.Turn(true)
	for range 2 * maxSamples {
		s.Keep(slow(bpf.NoName, 0), start)
	}
	if got, _ := s.Since(0, start); len(got) != maxSamples {
		t.Errorf("%d are kept, want %d", len(got), maxSamples)
	}
}

func TestKeepingCostsNoAllocation(t *testing.T) {
	placed := true
	s, n := keeper(&placed)
	told := slow(70, 0)
	told.Kind |= bpf.SampleName
	n.Learn(told)
	for range maxSamples {
		s.Keep(told, start)
	}
	if allocs := testing.AllocsPerRun(100, func() { s.Keep(told, start) }); allocs != 0 {
		t.Errorf("%v allocations for a request whose name is known, want 0", allocs)
	}
}

func BenchmarkKeep(b *testing.B) {
	placed := true
	s, n := keeper(&placed)
	told := slow(70, 0)
	told.Kind |= bpf.SampleName
	n.Learn(told)
	b.ReportAllocs()
	for b.Loop() {
		s.Keep(told, start)
	}
}
