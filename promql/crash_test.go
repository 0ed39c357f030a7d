package promql

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"context"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// helperDir is set for a test binary that is to append to a store until somebody kills it.
const helperDir = "YAGURA_TEST_STORE"

// width is how many series of each kind one commit of the helper writes.
const width = 50

// appendForever is the helper process: it scrapes a program, appends, and names each batch once it is committed.
func appendForever(dir string) {
	self, _ := subject()
	s, err := Open(Options{Path: dir, Self: self, Config: Config{ScrapeInterval: 20 * time.Millisecond}})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	go s.Run(context.Background())
	for s.db.Head().NumSeries() == 0 { // until the first scrape
		time.Sleep(time.Millisecond)
	}
	// Whoever died before us may have committed more than one batch a millisecond, and so be ahead of the clock.
	for at := max(time.Now().UnixMilli(), s.db.Head().MaxTime()+1); ; at++ {
		if err := appendBatch(s, at); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(at)
	}
}

func appendBatch(s *Store, at int64) error {
	app := s.db.AppenderV2(context.Background())
	for i := range width {
		if _, err := app.Append(0, series("plain", i), 0, at, float64(at), nil, nil, storage.AOptions{}); err != nil {
			return err
		}
		h := &histogram.Histogram{Count: uint64(at), Sum: float64(at), ZeroCount: uint64(at)}
		if _, err := app.Append(0, series("native", i), 0, at, 0, h, nil, storage.AOptions{}); err != nil {
			return err
		}
	}
	return app.Commit()
}

func series(name string, i int) labels.Labels {
	return labels.FromStrings("__name__", name, "i", strconv.Itoa(i))
}

func TestKillLosesNoCommittedSample(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var acknowledged []int64
	for range 4 {
		acknowledged = append(acknowledged, appendAndDie(t, dir)...)
		s := open(t, dir, nothing(), nil) // the dead process' lock must not block
		for _, kind := range []string{"plain", "native"} {
			for i := range width {
				if lost := missing(t, s, series(kind, i), acknowledged); lost > 0 {
					t.Fatalf("%s %d: %d of %d committed samples are lost", kind, i, lost, len(acknowledged))
				}
			}
		}
		if got := value(t, s, `max(max_over_time(test_requests_total[5m]))`); got != "3" {
			t.Errorf("scraped counter after the crash: %q", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d commits of %d series, all there after 4 kills", len(acknowledged), 2*width)
}

// appendAndDie starts the helper, kills it in the middle of its work, and returns the batches it had committed.
func appendAndDie(t *testing.T, dir string) []int64 {
	t.Helper()
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperDir+"="+dir)
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	atLeast := 200 + rand.IntN(400)
	var batches []int64
	for lines := bufio.NewScanner(out); lines.Scan(); {
		at, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Errorf("helper says %q", lines.Text())
			break
		}
		batches = append(batches, at)
		if len(batches) == 1 {
			checkInUse(t, dir, helper.Process.Pid)
		}
		if len(batches) == atLeast {
			if err := syscall.Kill(helper.Process.Pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	helper.Wait()
	if !helper.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("helper ended by itself: %v", helper.ProcessState)
	}
	return batches
}

func checkInUse(t *testing.T, dir string, pid int) {
	t.Helper()
	_, err := Open(Options{Path: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", pid)) {
		t.Errorf("open beside process %d: %v", pid, err)
	}
}

// missing counts the times at which a series has no sample, or a wrong one.
func missing(t *testing.T, s *Store, ls labels.Labels, times []int64) int {
	t.Helper()
	q, err := s.db.Querier(times[0], times[len(times)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var matchers []*labels.Matcher
	ls.Range(func(l labels.Label) {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	})
	found := map[int64]bool{}
	set := q.Select(context.Background(), false, nil, matchers...)
	for set.Next() {
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			at, v := sample(it, kind)
			found[at] = v == float64(at)
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	lost := 0
	for _, at := range times {
		if !found[at] {
			lost++
		}
	}
	return lost
}

func sample(it chunkenc.Iterator, kind chunkenc.ValueType) (int64, float64) {
	if kind == chunkenc.ValFloat {
		return it.At()
	}
	at, h := it.AtHistogram(nil)
	return at, h.Sum
}

// senderHelper is set for a test binary that is to append to a store, and pass on, until somebody kills it.
const senderHelper = "YAGURA_TEST_SENDER"

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

// killedSender kills a sender every few seconds, while the receiver is away for half of the time. In the end that has every
// sample that was ever committed.
func killedSender(t *testing.T, rounds int) {
	t.Helper()
	m, dir := newMailbox(t), t.TempDir()
	committed := 0
	var last int64
	for round := range rounds {
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
	t.Logf("%d samples committed in %d rounds, all received", committed, rounds)
	if lost := metricSum(t, s, "yagura_store_remote_write_lost_samples_total"); lost != 0 {
		t.Errorf("%v samples counted as lost", lost)
	}
}

func TestKilledSenderLosesNothing(t *testing.T) { t.Parallel(); killedSender(t, 2) }
