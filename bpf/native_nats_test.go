package bpf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	natsInfo = `INFO {"server_id":"NDX…","server_name":"n","version":"2.9.10","proto":1,"go":"go1.19.8","host":"0.0.0.0","port":4222,` +
		`"headers":true,"max_payload":1048576,"jetstream":true,"client_id":5,"client_ip":"127.0.0.1"} ` + "\r\n"
	natsConnect = `CONNECT {"verbose":false,"pedantic":false,"tls_required":false,"name":"","lang":"go","version":"1.16.0","protocol":1,` +
		`"echo":true,"headers":true,"no_responders":true}` + "\r\n"
	natsVerbose = `CONNECT {"echo": true, "lang": "python3", "pass": "secret", "pedantic": false, "protocol": 1, "user": "\"verbose\"", "verbose": true, ` +
		`"version": "2.2.0"}` + "\r\n"
)

func TestNATSRequests(t *testing.T) {
	t.Parallel()
	const ping = "method=1 status=0 ok 1000 ns PING"
	talksOf(t, "nats", []talk{
		{name: "connects", say: []say{answers(natsInfo), asks(natsConnect + "PING\r\n"), waits(1000), answers("PONG\r\n")},
			want: []string{talkOneWay + "CONNECT", ping}},
		{name: "publishes", say: []say{asks("PUB orders.new 5\r\nhello\r\n", "PUB orders.new _INBOX.x.1 0\r\n\r\n"), asks("HPUB orders.new 22 27\r\nNATS/1.0\r\nBar: Baz\r\n\r\nhello\r\n")},
			want: []string{talkOneWay + "PUB", talkOneWay + "PUB", talkOneWay + "HPUB"}},
		{name: "the shortest", say: []say{asks("PUB a 0\r\n\r\nPUB a 0\r\n\r\n")},
			want: []string{talkOneWay + "PUB", talkOneWay + "PUB"}},
		{name: "subscribes", say: []say{asks("SUB orders.* 1\r\nSUB orders.> workers 2\r\nUNSUB 1\r\nUNSUB 2 10\r\n")},
			want: []string{talkOneWay + "SUB", talkOneWay + "SUB", talkOneWay + "UNSUB", talkOneWay + "UNSUB"}},
		{name: "small letters", say: []say{asks("pub a 5\r\nhello\r\nPub a 5\r\nhello\r\nping\r\n"), waits(1000), answers("PONG\r\n")},
			want: []string{talkOneWay + "pub", talkOneWay + "pub", "method=1 status=0 ok 1000 ns ping"}},
		{name: "payloads that look like the protocol", say: []say{asks("PUB a 16\r\nPUB b 5\r\nhello\r\n\r\nPING\r\n"), waits(1000), answers("PONG\r\n")},
			want: []string{talkOneWay + "PUB", ping}},
		{name: "large payloads that nobody can read", say: []say{asks("PUB a 1000000\r\n"), asksUnread(1000000), asks("\r\nPING\r\n"), waits(1000), answers("PONG\r\n")},
			want: []string{talkOneWay + "PUB", ping}},
		{name: "long subjects", say: []say{asks("PUB " + strings.Repeat("very.long.", 30) + "subject " + strings.Repeat("inbox", 30) + " 5\r\nhello\r\nPING\r\n"), waits(1000), answers("PONG\r\n")},
			want: []string{talkOneWay + "PUB", ping}},
		{name: "is asked whether it lives", say: []say{answers("PING\r\n"), waits(1000), asks("PONG\r\n"), asks("PING\r\n"), waits(1000), answers("PONG\r\n")},
			want: []string{ping}},
		{name: "TLS follows INFO", say: []say{answers(natsInfo), asks("\x16\x03\x01\x02\x00\x01\x00"), answers("\x16\x03\x03")}, is: "tls"},
	})
}

func TestNATSDeliveries(t *testing.T) {
	t.Parallel()
	talksOf(t, "nats", []talk{
		{name: "are one-way", say: []say{answers("MSG orders.new 1 5\r\nhello\r\n", "MSG orders.new 1 _INBOX.x.1 5\r\nhello\r\nHMSG orders.new 1 34 45\r\nNATS/1.0\r\nFoodGroup: vegetable\r\n\r\nHello World\r\n")},
			want: []string{talkOneWay + "MSG", talkOneWay + "MSG", talkOneWay + "HMSG"}},
		{name: "answer nothing", say: []say{asks("PING\r\n"), waits(500), answers("MSG a 1 0\r\n\r\n"), waits(500), answers("PONG\r\nMSG a 1 6\r\nPONG\r\n\r\n")},
			want: []string{talkOneWay + "MSG", "method=1 status=0 ok 1000 ns PING", talkOneWay + "MSG"}},
		{name: "many at once", say: []say{answers(strings.Repeat("MSG a 1 5\r\nhello\r\n", 250))},
			want: repeated(250, talkOneWay+"MSG")},
	})
}

func TestNATSVerbose(t *testing.T) {
	t.Parallel()
	const ping = "method=1 status=0 ok 1000 ns PING"
	talksOf(t, "nats", []talk{
		{name: "everything is answered", say: []say{answers(natsInfo), asks(natsVerbose), waits(1000), answers("+OK\r\n"),
			asks("PUB a 5\r\nhello\r\nSUB a 1\r\n"), waits(1000), answers("+OK\r\n+OK\r\nMSG a 1 5\r\nhello\r\n")},
			want: []string{talkOK + "CONNECT", talkOK + "PUB", talkOK + "SUB", talkOneWay + "MSG"}},
		{name: "is how it begins", say: []say{answers(natsInfo), asks("CONNECT {}\r\nPUB a 0\r\n\r\n"), waits(1000), answers("+OK\r\n+OK\r\n")},
			want: []string{talkOK + "CONNECT", talkOK + "PUB"}},
		{name: "ping is answered by pong alone", say: []say{asks(natsVerbose + "PING\r\nPUB a 0\r\n\r\n"), waits(1000), answers("+OK\r\nPONG\r\n+OK\r\n")},
			want: []string{talkOK + "CONNECT", ping, talkOK + "PUB"}},
		{name: "refused", say: []say{asks(natsVerbose, "PUB a.b 0\r\n\r\n"), waits(1000), answers("+OK\r\n-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n")},
			want: []string{talkOK + "CONNECT", talkFailed + "PUB"}},
		{name: "is learnt", say: []say{asks("PUB a 0\r\n\r\n"), answers("+OK\r\n"), asks("PUB a 0\r\n\r\n"), waits(1000), answers("+OK\r\n")},
			want: []string{talkOneWay + "PUB", talkOK + "PUB"}},
		{name: "is not said by a payload", say: []say{asks("CONNECT {}\r\nPUB a 15\r\n\"verbose\":false\r\n"), waits(1000), answers("+OK\r\n+OK\r\n")},
			want: []string{talkOK + "CONNECT", talkOK + "PUB"}},
		{name: "is given up where nothing is answered", say: []say{asks("CONNECT {}\r\nPING\r\n"), waits(1000), answers("PONG\r\n"), asks("PUB a 0\r\n\r\n")},
			want: []string{talkOK + "CONNECT", talkOneWay + "PUB", "method=1 status=0 closed 1000 ns PING"}},
		{name: "is not what only looks like it", say: []say{asks(`CONNECT {"server":"bros","e":true,"name":"verbose","verbose":  false,"x":"\"verbose\":true"}`+"\r\n", "PUB a 15\r\n\"verbose\":true}\r\n")},
			want: []string{talkOneWay + "CONNECT", talkOneWay + "PUB"}},
	})
}

func TestNATSErrors(t *testing.T) {
	t.Parallel()
	talksOf(t, "nats", []talk{
		{name: "of what is not answered", say: []say{asks("PUB a.b 0\r\n\r\n"), answers("-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n")},
			want: []string{talkOneWay + "PUB", "method=0 status=0 failed 0 ns -"}},
		{name: "are no answer to ping", say: []say{asks("PUB a.b 0\r\n\r\nPING\r\n"), waits(1000), answers("-ERR 'Permissions Violation for Publish to \"a.b\"'\r\nPONG\r\n")},
			want: []string{talkOneWay + "PUB", "method=0 status=0 failed 0 ns -", "method=1 status=0 ok 1000 ns PING"}},
		{name: "that end it", say: []say{asks(natsConnect + "PING\r\n"), waits(1000), answers("-ERR 'Authorization Violation'\r\n")},
			want: []string{talkOneWay + "CONNECT", "method=0 status=0 failed 0 ns -", "method=1 status=0 closed 1000 ns PING"}},
	})
}

func TestNATSFindsItselfAgain(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string]string{
		"zeros":               strings.Repeat("\x00", 100),
		"another protocol":    "GET / HTTP/1.1\r\n\r\n",
		"no size":             "PUB a b\r\nhello\r\n",
		"a size too large":    "PUB a 99999999999999\r\nhello\r\n",
		"no size at all":      "PUB\r\n",
		"what the server may": "MSG a 1 5\r\nhello\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "nats", asks(garbage), answers("-ERR 'Unknown Protocol Operation'\r\n"), asks("PING\r\n"), waits(1000), answers("PONG\r\n"))
			want := []string{"unmatched nats lost_framing", "nats method=0 status=0 failed 0 ns -", "nats method=1 status=0 ok 1000 ns PING", "is nats"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestNATSIsRecognised(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		first say
		is    string
	}{
		"server":               {answers(natsInfo), "nats"},
		"client":               {asks(natsConnect), "nats"},
		"publisher":            {asks("PUB a 5\r\nhello\r\n"), "nats"},
		"with headers":         {asks("HPUB a 22 27\r\nNATS/1.0\r\nBar: Baz\r\n\r\nhello\r\n"), "nats"},
		"of a long subject":    {asks("PUB " + strings.Repeat("very.long.", 30) + "subject 5\r\nhello\r\n"), "nats"},
		"subscriber":           {asks("SUB a 1\r\n"), "nats"},
		"delivery":             {answers("MSG a 1 5\r\nhello\r\n"), "nats"},
		"ping may be of Redis": {asks("PING\r\n"), "unknown"},
		"OK may be of Redis":   {answers("+OK\r\n"), "unknown"},
		"no size":              {asks("PUB a b\r\n"), "unknown"},
		"other information":    {answers("INFO line of another protocol\r\n"), "unknown"},
		"bytes after a verb":   {asks("PUB \x00\x01\x02" + strings.Repeat("\x03", 100)), "unknown"},
		"of the other side":    {asks("MSG a 1 5\r\nhello\r\n"), "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", k.first)
			if is := got[len(got)-1]; is != "is "+k.is {
				t.Errorf("%q, want it to be %s", got, k.is)
			}
		})
	}
}

// TestNATSNamesKeepNoSubjects says in each place of a line what may be secret, and looks for it in the names.
func TestNATSNamesKeepNoSubjects(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"PUB secret 6\r\nsecret\r\n", "HPUB secret secret 12 18\r\nNATS/1.0\r\n\r\nsecret\r\n", "SUB secret secret 1\r\n", `CONNECT {"pass":"secret","verbose":false}` + "\r\n"} {
		for _, size := range []int{1, 5, 100} {
			got := converse(t, "nats", cut([]say{asks(line)}, size)...)
			if len(got) != 2 || strings.Contains(fmt.Sprint(got), "secret") {
				t.Errorf("%q in pieces of %d bytes: %q, want one request without the word in its name", line, size, got)
			}
		}
	}
}
