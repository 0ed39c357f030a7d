//go:build soak

package promql

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// senderHelper is set for a test binary that is to append to a store, and pass on, until somebody kills it.
const senderHelper = "YAGURA_TEST_SENDER"

func init() {
	if args := strings.Fields(os.Getenv(senderHelper)); len(args) == 2 {
		sendForever(args[0], args[1])
	}
}

// sendForever is the helper process. Every second it compacts as a database does every two hours.
func sendForever(dir, url string) {
	s, err := Open(Options{Path: dir, Config: Config{RemoteWrite: []RemoteWrite{{URL: url, Name: "far"}}}})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	go s.Run(context.Background())
	compact := time.NewTicker(time.Second)
	for at := max(time.Now().UnixMilli(), s.db.Head().MaxTime()+1); ; at++ {
		select {
		case <-compact.C:
			// The log is cut down, while the samples stay in memory: their own time has not come.
			if err := s.db.Head().Truncate(s.db.Head().MinTime()); err != nil {
				fmt.Println("error", err)
			}
		default:
		}
		if err := put(s, time.UnixMilli(at), float64(at), series("plain", 0)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(at)
		time.Sleep(time.Millisecond)
	}
}

// The sender is killed every few seconds, and the receiver is away for half of the time. In the end it has every sample
// that was ever committed.
func TestSoakKilledSenderLosesNothing(t *testing.T) {
	m, dir := newMailbox(t), t.TempDir()
	committed := 0
	var first, last int64
	for round := range 12 {
		if round%2 == 0 {
			m.answer.Store(http.StatusBadGateway)
		} else {
			m.answer.Store(0)
		}
		helper := exec.Command(os.Args[0])
		helper.Env = append(os.Environ(), senderHelper+"="+dir+" "+m.url)
		out, err := helper.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := helper.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(2000+rand.IntN(4000))*time.Millisecond, func() { syscall.Kill(helper.Process.Pid, syscall.SIGKILL) })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			at, err := strconv.ParseInt(lines.Text(), 10, 64)
			if err != nil {
				t.Errorf("helper says %q", lines.Text())
				continue
			}
			if first == 0 {
				first = at
			}
			last = at
			committed++
		}
		helper.Wait()
	}
	m.answer.Store(0)
	s := openWith(t, Options{Path: dir, Config: sendingTo(m, "v1")})
	eventually(t, "every committed sample", func() bool {
		got, _ := strconv.Atoi(value(t, m.Store, fmt.Sprintf("count_over_time(plain[1h] @ %d)", last/1000+1)))
		return got >= committed
	})
	t.Logf("%d samples committed in 12 rounds between %d and %d, all received", committed, first, last)
	if lost := metricSum(t, s, "yagura_store_remote_write_lost_samples_total"); lost != 0 {
		t.Errorf("%v samples counted as lost", lost)
	}
}

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
