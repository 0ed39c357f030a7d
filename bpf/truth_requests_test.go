package bpf

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// What a server and a client of ours do in the tests of requests: TALK names what.
func init() {
	actors["answer"] = actAnswer
	actors["ask"] = actAsk
	actors["ask-later"] = actAskLater
}

// Traffic is what both sides of a conversation say, over and over: the client writes asks, and reads answers that are as
// long as those the server has written.
type traffic struct {
	asks, answers string
	rounds        int
	delay         time.Duration // of each answer
}

var talks = map[string]traffic{
	"exchange": {"\x01\x02\x03\x04", "\x05\x06", 20, 3 * time.Millisecond},
	"bulk":     {strings.Repeat("\x01", 16), strings.Repeat("\x05", 60_000), 20, 0},
	"http": {"GET /users/42/orders?token=secret HTTP/1.1\r\nHost: truth\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 50, 3 * time.Millisecond},
	"http-404":   {"GET /nothing HTTP/1.1\r\nHost: truth\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 7, 0},
	"redis":      {"*2\r\n$3\r\nGET\r\n$6\r\nsecret\r\n", "$5\r\nhello\r\n", 50, 3 * time.Millisecond},
	"redis-pipe": {"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", "$5\r\nhello\r\n+OK\r\n", 30, 0},
}

func actAnswer() error {
	talk := talks[os.Getenv("TALK")]
	l, err := net.Listen("tcp4", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	for range talk.rounds {
		if _, err := io.ReadFull(r, make([]byte, len(talk.asks))); err != nil {
			return err
		}
		time.Sleep(talk.delay)
		if _, err := conn.Write([]byte(talk.answers)); err != nil {
			return err
		}
	}
	_, err = r.ReadByte()
	if err == io.EOF {
		return nil
	}
	return fmt.Errorf("read the end: %v", err)
}

func actAsk() error {
	conn, err := net.Dial("tcp4", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	defer conn.Close()
	return askRounds(conn, talks[os.Getenv("TALK")].rounds)
}

// roundsBefore is how many rounds are over before the agent comes.
const roundsBefore = 3

func actAskLater() error {
	conn, err := net.Dial("tcp4", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := askRounds(conn, roundsBefore); err != nil {
		return err
	}
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil { // the second word: the agent is there now
		return err
	}
	return askRounds(conn, talks[os.Getenv("TALK")].rounds-roundsBefore)
}

func askRounds(conn net.Conn, rounds int) error {
	talk := talks[os.Getenv("TALK")]
	for range rounds {
		if _, err := conn.Write([]byte(talk.asks)); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, make([]byte, len(talk.answers))); err != nil {
			return err
		}
	}
	return nil
}

// requests is what is wanted for layer 7 alone.
var requests = Want{Requests: true}

func startRequests(t testing.TB) *watched {
	t.Helper()
	w := startAgent(t, requests)
	needProbe(t, w, "kernel support for layer 7", "l7_exit")
	setRequests(t, w)
	return w
}

func setRequests(t testing.TB, w *watched) {
	t.Helper()
	if err := w.SetRequests(RequestOptions{Slow: time.Second, Samples: 1000, Names: map[string]int{"http": 10, "http2": 10, "grpc": 50,
		"postgresql": 40, "mysql": 40, "redis": 40, "memcached": 40, "mongodb": 40, "kafka": 40, "amqp": 40, "nats": 40},
		Bounds: [...]time.Duration{100e3, 500e3, 1e6, 5e6, 10e6, 50e6, 100e6, 250e6, 1e9, 5e9}}); err != nil {
		t.Fatal(err)
	}
}

// counted are the requests of a group, by protocol, method, status and end.
func (w *watched) counted(t testing.TB, g group) map[string]*RequestTotals {
	t.Helper()
	var slot uint32
	for _, s := range must(w.Slots()) {
		if s.CgroupID == g.id {
			slot = s.Number
		}
	}
	got := map[string]*RequestTotals{}
	if err := w.Requests(func(k RequestKey, totals *RequestTotals) {
		if k.Slot != slot {
			return
		}
		role := "client"
		if k.Server {
			role = "server"
		}
		key := fmt.Sprintf("%s %s %s %d %s", role, k.Protocol, k.Method, k.Status, k.End)
		if got[key] == nil {
			got[key] = &RequestTotals{}
		}
		got[key].Add(totals)
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestTruthProgramsOfRequests says which programs a kernel takes: those for HTTP/1 and Redis all of them.
func TestTruthProgramsOfRequests(t *testing.T) {
	w := startRequests(t)
	for _, name := range []string{"l7_exit", "l7_text", "l7_sql", "l7_binary", "l7_http2", "l7_dns", "l7_closed", "l7_state", "sys_exit"} {
		p := w.programs[name]
		cell("program_"+name, p != nil, "")
		if p == nil {
			continue
		}
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := info.VerifiedInstructions()
		t.Logf("%s: the verifier went through %d instructions", name, n)
	}
}

// converseFor has a server and a client talk in groups of their own, and returns those.
func (w *watched) converseFor(t testing.TB, name, address string) (server, client group) {
	t.Helper()
	server, client = w.newGroup(t, "truth-l7-server-"+name), w.newGroup(t, "truth-l7-client-"+name)
	env := []string{"TALK=" + name, "LISTEN=" + address}
	s, c := w.newChild(t, server, "answer", env...), w.newChild(t, client, "ask", env...)
	s.act(t)
	waitListening(t, address)
	c.act(t)
	c.finish(t)
	s.finish(t)
	return server, client
}

func TestTruthRequests(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"exchange":   {"tcp _OTHER 0 ok": 17}, // the first three tell that it is of no protocol we know
		"http":       {"http GET 200 ok": 50},
		"redis":      {"redis _OTHER 0 ok": 50},
		"redis-pipe": {"redis _OTHER 0 ok": 60},
	} {
		t.Run(name, func(t *testing.T) {
			w := startRequests(t)
			proves(t, "requests_"+name)
			before := w.Missed()["sys_exit"]
			server, client := w.converseFor(t, name, "127.0.0.1:47260")
			// Since 7.0 the kernel leaves the program out of a call where the one of another thread was preempted, and says so.
			missed := w.Missed()["sys_exit"] - before
			if missed > 0 {
				t.Logf("the kernel has left the program out of %d calls", missed)
			}
			for role, g := range map[string]group{"server": server, "client": client} {
				got, ofRole := w.counted(t, g), map[string]int{}
				for key, n := range want {
					ofRole[role+" "+key] = n
				}
				agree(t, got, ofRole, missed)
				for key := range ofRole {
					if mean, delay := meanOf(got[key]), talks[name].delay; mean < delay {
						t.Errorf("%s: mean duration %v, want at least %v", key, mean, delay)
					}
				}
			}
		})
	}
}

func TestTruthRequestsOfConnectionsOlderThanTheAgent(t *testing.T) {
	needRoot(t)
	stopAll(t)
	_, mount := hierarchyHere(t)
	early := &watched{mount: mount}
	server, client := early.newGroup(t, "truth-l7-old-server"), early.newGroup(t, "truth-l7-old-client")
	const address = "127.0.0.1:47261"
	env := []string{"TALK=http", "LISTEN=" + address}
	s, c := early.newChild(t, server, "answer", env...), early.newChild(t, client, "ask-later", env...)
	s.act(t)
	waitListening(t, address)
	c.act(t)
	time.Sleep(300 * time.Millisecond) // the first rounds are over, and it waits for the second word

	w := startRequests(t) // only now
	proves(t, "requests_older_than_agent")
	for _, g := range []group{server, client} {
		if err := w.AddCgroup(g.id); err != nil {
			t.Fatal(err)
		}
	}
	w.FindSockets()
	before := w.Missed()["sys_exit"]
	c.act(t)
	c.finish(t)
	s.finish(t)
	missed := w.Missed()["sys_exit"] - before
	want := talks["http"].rounds - roundsBefore
	for role, g := range map[string]group{"server": server, "client": client} {
		agree(t, w.counted(t, g), map[string]int{role + " http GET 200 ok": want}, missed)
	}
}

// agree compares what was counted with what was asked: exactly, unless the kernel has left programs out of so many calls. Of each
// of those one request may be lacking, or have ended as something else, as one that was never answered.
func agree(t testing.TB, counted map[string]*RequestTotals, want map[string]int, missed uint64) {
	t.Helper()
	for key, totals := range counted {
		if n := totals.Count(); want[key] == 0 && n > missed {
			t.Errorf("counted %s %d times, want none; %d system calls were missed", key, n, missed)
		}
	}
	for key, n := range want {
		count := uint64(0)
		if totals := counted[key]; totals != nil {
			count = totals.Count()
		}
		if count > uint64(n) || count+missed < uint64(n) {
			t.Errorf("%s = %d, want %d; %d system calls were missed", key, count, n, missed)
		}
	}
}

// meanOf is how long requests took on average, 0 if there were none.
func meanOf(t *RequestTotals) time.Duration {
	if t == nil || t.Count() == 0 {
		return 0
	}
	return time.Duration(t.SumNs / t.Count())
}
