package rules

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestHostsAreLookedUpInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		h := NewHosts(func(_ context.Context, host string) ([]netip.Addr, error) {
			asked[host]++
			if host == "gone.example" || host == "pool.example" && asked[host] > 1 {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		if got := h.Resolve("pool.example"); got != nil {
			t.Errorf("at once %v, want nothing yet", got)
		}
		h.Resolve("gone.example")
		synctest.Wait()
		if got := h.Resolve("pool.example"); len(got) != 1 || got[0] != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("after the look-up %v, want 192.0.2.1", got)
		}
		time.Sleep(hostsAreKept + time.Second)
		synctest.Wait()
		if asked["pool.example"] != 2 {
			t.Errorf("looked up %d times in %v, want 2", asked["pool.example"], hostsAreKept)
		}
		if got := h.Resolve("pool.example"); len(got) != 1 {
			t.Errorf("after a failed look-up %v, want what was known", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
