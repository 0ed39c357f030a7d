package requests

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/rules/event"
)

var (
	withOpenSSL = Found{Libraries: []Library{{Name: "openssl"}}}
	withGnuTLS  = Found{Libraries: []Library{{Name: "gnutls"}}}
)

// coverageOf runs a Coverage whose processes have these libraries, within a bubble of synctest.
func coverageOf(t *testing.T, found map[int]Found) *Coverage {
	c := NewCoverage("", quiet)
	c.examine = func(_ string, pid int) (Found, error) {
		f, ok := found[pid]
		if !ok {
			return f, fs.ErrNotExist
		}
		return f, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestStateSaysWhatCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := coverageOf(t, map[int]Found{1: withOpenSSL, 2: withGnuTLS, 3: {}, 4: {Go: "go1.26", GoTLS: true}, 5: {Go: "go1.26"}, 6: {SSL: true}})
		states := map[uint32]string{1: Encrypted, 2: StaticTLS, 3: StaticTLS, 4: Encrypted, 5: StaticTLS, 6: Encrypted, 7: Encrypted}
		for pid := range states {
			if got := c.State(ProcessID{PID: pid}, true, false); got != Encrypted {
				t.Errorf("process %d, before anybody has looked: %s", pid, got)
			}
		}
		synctest.Wait()
		for pid, want := range states {
			if got := c.State(ProcessID{PID: pid}, true, false); got != want {
				t.Errorf("process %d: %s, want %s", pid, got, want)
			}
		}
		if got := c.State(ProcessID{PID: 2}, false, false); got != Seen {
			t.Errorf("nothing is encrypted: %s", got)
		}
		if got := c.State(ProcessID{PID: 2}, true, true); got != IOUring {
			t.Errorf("with rings: %s", got)
		}
	})
}

func TestVerdictsAreMadeAnewAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found := map[int]Found{1: {}}
		c := coverageOf(t, found)
		state := func(start uint64) string {
			c.State(ProcessID{1, start}, true, false)
			synctest.Wait()
			return c.State(ProcessID{1, start}, true, false)
		}
		if got := state(7); got != StaticTLS {
			t.Errorf("at first: %s", got)
		}
		found[1] = withOpenSSL // it has loaded a library since
		if got := state(7); got != StaticTLS {
			t.Errorf("at once: %s", got)
		}
		if got := state(8); got != Encrypted {
			t.Errorf("another process of the same number: %s", got)
		}
		time.Sleep(verdictLife + time.Second)
		if got := state(7); got != Encrypted {
			t.Errorf("later: %s", got)
		}
	})
}

// A file system that does not answer holds up neither who asks nor the end of the program.
func TestProcessesThatHangAreLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, release := coverageOf(t, nil), make(chan bool)
		var looked atomic.Int32
		c.examine = func(string, int) (Found, error) {
			looked.Add(1)
			<-release
			return Found{}, nil
		}
		for pid := range uint32(10) {
			c.State(ProcessID{PID: pid}, true, false)
		}
		time.Sleep(time.Minute)
		if looked.Load() != maxHanging {
			t.Errorf("%d looks are begun while they hang, want %d", looked.Load(), maxHanging)
		}
		close(release)
		synctest.Wait()
		c.State(ProcessID{PID: 99}, true, false)
		synctest.Wait()
		if looked.Load() != maxHanging+1 {
			t.Errorf("%d looks after they have ended", looked.Load())
		}
	})
}

func TestCoverageIsBounded(t *testing.T) {
	c := NewCoverage("", quiet) // which does not run
	for pid := range uint32(100_000) {
		c.State(ProcessID{PID: pid}, true, false)
		if len(c.waiting) == maxWaiting {
			for range maxWaiting {
				c.end(<-c.waiting, &Found{}, errors.New("no permission"))
			}
		}
	}
	if len(c.verdicts) > maxVerdicts {
		t.Errorf("%d verdicts", len(c.verdicts))
	}
	var h Holders
	for pid := range uint32(100_000) {
		h.Add(Owner{}, &bpf.Connection{PID: pid})
	}
	if len(h.by) != maxHolders {
		t.Errorf("%d processes", len(h.by))
	}
}

func TestHoldersCountEachProcessOnce(t *testing.T) {
	var h Holders
	c := NewCoverage("", quiet)
	c.verdicts[ProcessID{4, 40}] = verdict{unreadable: true, until: time.Now().Add(time.Hour)}
	web, api := Owner{1, container("web")}, Owner{2, container("api")}
	for _, conn := range []struct {
		owner Owner
		pid   uint32
		tls   string
	}{
		{web, 1, ""}, {web, 1, "decrypted"},
		{web, 2, ""}, {web, 2, "encrypted"}, {web, 2, ""},
		{web, 3, "encrypted"},
		{web, 4, "encrypted"},
		{api, 5, "encrypted"},
	} {
		h.Add(conn.owner, &bpf.Connection{PID: conn.pid, TLS: conn.tls})
	}
	rings := map[uint32]bool{5: true, 6: true, 7: true}
	belongs := func(pid uint32) (event.Workload, bool) { return container("db"), pid == 6 }
	got := h.Count(c, rings, func(pid uint32) uint64 { return uint64(pid) * 10 }, belongs)
	want := map[event.Workload]map[string]int{
		container("web"): {Seen: 1, Encrypted: 2, StaticTLS: 1},
		container("api"): {IOUring: 1},
		container("db"):  {IOUring: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
