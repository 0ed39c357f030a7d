//go:build soak

package promql

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSoakKilledSenderLosesNothing(t *testing.T) { killedSender(t, 30) }

// The disk fills up while the receiver is away: the store takes nothing, counts that, and goes on when there is room. What
// it had taken is received.
func TestSoakFullDiskWithReceiverAway(t *testing.T) {
	dir, m := tmpfs(t, 200), newMailbox(t)
	m.answer.Store(http.StatusServiceUnavailable)
	s := openWith(t, Options{Path: filepath.Join(dir, "data"), Config: sendingTo(m, "v2")})
	many(t, s, "before", 1000, time.Now().Add(-time.Minute))
	ballast := fill(t, dir, 10)
	app := s.guard.AppenderV2(context.Background())
	if err := app.Commit(); err == nil {
		t.Error("a full disk takes samples")
	}
	time.Sleep(15 * time.Second) // the outbox is looked after meanwhile
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	many(t, s, "after", 10, time.Now())
	m.answer.Store(0)
	eventually(t, "what came after", func() bool { return value(t, m.Store, "count_over_time(after[5m])") == "10" })
	eventually(t, "what was taken before", func() bool { return value(t, m.Store, "count_over_time(before[5m])") == "1000" })
}
