package bpf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// respCommand writes a command as Redis clients send it: an array of strings.
func respCommand(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// A talk is a conversation and what it should be counted as.
type talk struct {
	name string
	say  []say
	want []string // without the protocol in front, and the last line, which says what it is
	is   string   // what the connection is at last, if that is not the protocol
}

// talksOf plays conversations whole, cut into pieces, and in buffers of a few bytes: they may not be told apart.
func talksOf(t *testing.T, protocol string, talks []talk) {
	t.Helper()
	for _, k := range talks {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			want := make([]string, 0, len(k.want)+1)
			for _, w := range k.want {
				if !strings.HasPrefix(w, "unmatched") {
					w = protocol + " " + w
				}
				want = append(want, w)
			}
			is := k.is
			if is == "" {
				is = protocol
			}
			want = append(want, "is "+is)
			if got := converse(t, protocol, k.say...); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			for _, size := range []int{1, 2, 3, 7} {
				if got := converse(t, protocol, cut(k.say, size)...); !slices.Equal(got, want) {
					t.Errorf("in pieces of %d bytes:\ngot  %q\nwant %q", size, got, want)
				}
			}
			for _, size := range []int{5, 40} {
				if got := converse(t, protocol, inParts(k.say, size)...); !slices.Equal(got, want) {
					t.Errorf("in buffers of %d bytes:\ngot  %q\nwant %q", size, got, want)
				}
			}
		})
	}
}

// inParts gives each call its bytes in up to four buffers, the first ones of so many bytes: a message's head may lie in three.
func inParts(conversation []say, size int) []say {
	var all []say
	for _, s := range conversation {
		text := strings.Join(s.parts, "")
		if text != "" {
			s.parts = nil
			for len(s.parts) < 2 && len(text) > size {
				s.parts = append(s.parts, text[:size])
				text = text[size:]
			}
			s.parts = append(s.parts, text)
		}
		all = append(all, s)
	}
	return all
}

func repeated(n int, s string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

// How a request ended that was asked 1000 ns before its answer; its name follows.
const (
	talkOK     = "method=0 status=0 ok 1000 ns "
	talkFailed = "method=0 status=0 failed 1000 ns "
	talkOneWay = "method=0 status=0 one_way 0 ns "
)

func TestRedisCountsCommandsByTheirFirstWord(t *testing.T) {
	t.Parallel()
	talksOf(t, "redis", []talk{
		{name: "get", say: []say{asks(respCommand("GET", "user:1")), waits(1000), answers("$5\r\nhello\r\n")},
			want: []string{talkOK + "GET"}},
		{name: "set of a key like a command", say: []say{asks(respCommand("SET", "DEL", "*1\r\n$4\r\nPING\r\n")), waits(1000), answers("+OK\r\n")},
			want: []string{talkOK + "SET"}},
		{name: "two words are one", say: []say{asks(respCommand("CONFIG", "GET", "maxmemory")), waits(1000), answers(respCommand("maxmemory", "0"))},
			want: []string{talkOK + "CONFIG"}},
		{name: "small letters are the same name", say: []say{
			asks(respCommand("GET", "a")), waits(1000), answers("$-1\r\n"), asks(respCommand("gEt", "a")), waits(1000), answers("$-1\r\n")},
			want: []string{talkOK + "GET", talkOK + "GET"}},
		{name: "of a module", say: []say{asks(respCommand("JSON.SET", "doc", "$", `{"a":1}`)), waits(1000), answers("+OK\r\n")},
			want: []string{talkOK + "JSON.SET"}},
		{name: "the longest name", say: []say{asks(respCommand("GEORADIUSBYMEMBER_RO", "Sicily", "Agrigento", "100", "km")), waits(1000), answers("*0\r\n")},
			want: []string{talkOK + "GEORADIUSBYMEMBER_RO"}},
		{name: "no arguments", say: []say{asks(respCommand("DBSIZE")), waits(1000), answers(":12345678901\r\n")},
			want: []string{talkOK + "DBSIZE"}},
		{name: "empty arguments", say: []say{asks(respCommand("SET", "", "")), waits(1000), answers("+OK\r\n"), asks(respCommand("GET", "")), waits(1000), answers("$0\r\n\r\n")},
			want: []string{talkOK + "SET", talkOK + "GET"}},
		{name: "many arguments", say: []say{asks(respCommand(append([]string{"MSET"}, repeated(100, "x")...)...)), waits(1000), answers("+OK\r\n"),
			asks(respCommand("GET", "x")), waits(1000), answers("$1\r\nx\r\n")},
			want: []string{talkOK + "MSET", talkOK + "GET"}},
		{name: "no command of that name", say: []say{asks(respCommand("correct horse battery", "staple")), waits(1000), answers("-ERR unknown command\r\n")},
			want: []string{talkFailed + "-"}},
		{name: "transaction", say: []say{
			asks(respCommand("MULTI"), respCommand("INCR", "a"), respCommand("EXEC")), waits(1000), answers("+OK\r\n+QUEUED\r\n*1\r\n:1\r\n")},
			want: []string{talkOK + "MULTI", talkOK + "INCR", talkOK + "EXEC"}},
		{name: "an array without words is no command", say: []say{asks("*0\r\n", respCommand("PING")), waits(1000), answers("+PONG\r\n")},
			want: []string{talkOK + "PING"}},
		{name: "waits for its list", say: []say{asks(respCommand("BLPOP", "jobs", "0")), waits(5_000_000_000), answers(respCommand("jobs", "42"))},
			want: []string{"method=0 status=0 ok 5000000000 ns BLPOP"}},
		{name: "never answered", say: []say{asks(respCommand("SHUTDOWN")), waits(1000)},
			want: []string{"method=0 status=0 closed 1000 ns SHUTDOWN"}},
	})
}

func TestRedisAnswersOfEveryType(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"simple string":       "+OK\r\n",
		"long simple string":  "+" + strings.Repeat("Background saving started ", 20) + "\r\n",
		"integer":             ":-42\r\n",
		"bulk string":         "$4\r\n\r\n\r\n\r\n",
		"long bulk string":    "$900\r\n" + strings.Repeat("$1\r\nx\r\n\r\n", 100) + "\r\n",
		"null bulk string":    "$-1\r\n",
		"null array":          "*-1\r\n",
		"empty array":         "*0\r\n",
		"array":               "*3\r\n:1\r\n+two\r\n$5\r\nthree\r\n",
		"array of nulls":      "*3\r\n$-1\r\n*-1\r\n_\r\n",
		"array with an error": "*2\r\n:1\r\n-ERR in a transaction\r\n",
		"arrays in arrays":    "*2\r\n*2\r\n*1\r\n:1\r\n*0\r\n*1\r\n*1\r\n*1\r\n$1\r\nx\r\n",
		"long array":          "*500\r\n" + strings.Repeat("$3\r\nfoo\r\n", 500),
		"array of long lines": "*3\r\n" + strings.Repeat("+"+strings.Repeat("x", 200)+"\r\n", 3),
		"cluster slots":       "*2\r\n" + strings.Repeat("*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:30001\r\n$40\r\n09dbe9720cda62f7865eabc5fd8857c5d2678366\r\n*2\r\n$8\r\nhostname\r\n$2\r\nh1\r\n", 2),
		"null":                "_\r\n",
		"boolean":             "#t\r\n",
		"double":              ",3.14159265358979323846\r\n",
		"infinite double":     ",-inf\r\n",
		"big number":          "(3492890328409238509324850943850943825024385\r\n",
		"verbatim string":     "=15\r\ntxt:Some string\r\n",
		"map":                 "%2\r\n+first\r\n:1\r\n+second\r\n*2\r\n#t\r\n#f\r\n",
		"empty map":           "%0\r\n",
		"set":                 "~3\r\n+a\r\n:1\r\n_\r\n",
		"attribute":           "|1\r\n+key-popularity\r\n%2\r\n$1\r\na\r\n,0.19\r\n$1\r\nb\r\n,0.0012\r\n*2\r\n:2039123\r\n:9543892\r\n",
		"attribute inside":    "*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n",
	} {
		talksOf(t, "redis", []talk{{
			name: name,
			say: []say{asks(respCommand("EVAL", "…")), waits(1000), answers(answer),
				asks(respCommand("PING")), waits(1000), answers("+PONG\r\n")},
			want: []string{talkOK + "EVAL", talkOK + "PING"},
		}})
	}
}

func TestRedisErrorsAreFailures(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"error":      "-ERR unknown command 'foo'\r\n",
		"short":      "-ERR\r\n",
		"wrong type": "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
		"long":       "-ERR " + strings.Repeat("too long ", 100) + "\r\n",
		"bulk error": "!21\r\nSYNTAX invalid syntax\r\n",
	} {
		talksOf(t, "redis", []talk{{
			name: name,
			say: []say{asks(respCommand("LPUSH", "a", "b")), waits(1000), answers(answer),
				asks(respCommand("PING")), waits(1000), answers("+PONG\r\n")},
			want: []string{talkFailed + "LPUSH", talkOK + "PING"},
		}})
	}
}

func TestRedisPipelines(t *testing.T) {
	t.Parallel()
	set, get := respCommand("SET", "key:000000000001", "xxx"), respCommand("GET", "key:000000000001")
	for _, n := range []int{2, 16, 250} {
		talksOf(t, "redis", []talk{{
			name: fmt.Sprint(n, " of one command"),
			say:  []say{asks(strings.Repeat(set, n)), waits(1000), answers(strings.Repeat("+OK\r\n", n))},
			want: repeated(n, talkOK+"SET"),
		}})
	}
	talksOf(t, "redis", []talk{
		{name: "kinds in turn", say: []say{asks(set + get + set + get), waits(1000), answers("+OK\r\n$3\r\nxxx\r\n+OK\r\n$3\r\nxxx\r\n")},
			want: []string{talkOK + "SET", talkOK + "GET", talkOK + "SET", talkOK + "GET"}},
		{name: "answers one by one", say: []say{asks(set + get), waits(1000), answers("+OK\r\n"), waits(500), answers("$3\r\nxxx\r\n")},
			want: []string{talkOK + "SET", "method=0 status=0 ok 1500 ns GET"}},
		{name: "answers while it still asks", say: []say{asks(get), waits(500), answers("$3\r\nxx"), asks(get), waits(500), answers("x\r\n$3\r\nxxx\r\n")},
			want: []string{talkOK + "GET", "method=0 status=0 ok 500 ns GET"}},
	})
}

func TestRedisPassesValuesWithoutLookingAtThem(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("*2\r\n$3\r\nGET\r\n", 2000)
	talksOf(t, "redis", []talk{
		{name: "sent", say: []say{asks(respCommand("SET", "a", long, "EX", "60"), respCommand("GET", "b")), waits(1000), answers("+OK\r\n$-1\r\n")},
			want: []string{talkOK + "SET", talkOK + "GET"}},
		{name: "received", say: []say{asks(respCommand("GET", "a"), respCommand("GET", "b")), waits(1000),
			answers(fmt.Sprintf("$%d\r\n", len(long)) + long), waits(1000), answers("\r\n$1\r\nx\r\n")},
			want: []string{"method=0 status=0 ok 2000 ns GET", "method=0 status=0 ok 2000 ns GET"}},
		{name: "unreadable", say: []say{
			asks("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\n"), asksUnread(536870912), asks("\r\n"), waits(1000), answers("+OK\r\n"),
			asks(respCommand("GET", "a")), waits(1000), answers("$12345678\r\n"), answersUnread(12345678), answers("\r\n")},
			want: []string{talkOK + "SET", talkOK + "GET"}},
		{name: "in a list", say: []say{asks(respCommand("MGET", "a", "b")), waits(1000), answers(respCommand(long, "x")),
			asks(respCommand("PING")), waits(1000), answers("+PONG\r\n")},
			want: []string{talkOK + "MGET", talkOK + "PING"}},
	})
}

func TestRedisDeliveriesAnswerNothing(t *testing.T) {
	t.Parallel()
	message := respCommand("message", "news", "hello")
	confirmed := func(kind, channel string, n int) string {
		return fmt.Sprintf("*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:%d\r\n", len(kind), kind, len(channel), channel, n)
	}
	const subscribed = "method=1 status=0 ok 1000 ns "
	talksOf(t, "redis", []talk{
		{name: "channel", say: []say{asks(respCommand("SUBSCRIBE", "news")), waits(1000), answers(confirmed("subscribe", "news", 1)),
			waits(1000), answers(message), answers(message + message)},
			want: []string{subscribed + "SUBSCRIBE"}},
		{name: "first confirmation of many", say: []say{asks(respCommand("SUBSCRIBE", "a", "b", "c")), waits(1000),
			answers(confirmed("subscribe", "a", 1)), waits(1000), answers(confirmed("subscribe", "b", 2) + confirmed("subscribe", "c", 3))},
			want: []string{subscribed + "SUBSCRIBE"}},
		{name: "patterns and shards", say: []say{
			asks(respCommand("PSUBSCRIBE", "n*"), respCommand("SSUBSCRIBE", "s")), waits(1000), answers(confirmed("psubscribe", "n*", 1), confirmed("ssubscribe", "s", 1)),
			answers(respCommand("pmessage", "n*", "news", "hello"), respCommand("smessage", "s", "hello")),
			asks(respCommand("PUNSUBSCRIBE"), respCommand("SUNSUBSCRIBE"), respCommand("UNSUBSCRIBE")), waits(1000),
			answers(confirmed("punsubscribe", "n*", 0), confirmed("sunsubscribe", "s", 0), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n")},
			want: []string{subscribed + "PSUBSCRIBE", subscribed + "SSUBSCRIBE",
				subscribed + "PUNSUBSCRIBE", subscribed + "SUNSUBSCRIBE", subscribed + "UNSUBSCRIBE"}},
		{name: "ping between deliveries", say: []say{asks(respCommand("SUBSCRIBE", "news")), waits(1000), answers(confirmed("subscribe", "news", 1)),
			asks(respCommand("PING")), waits(500), answers(message), waits(500), answers("*2\r\n$4\r\npong\r\n$0\r\n\r\n")},
			want: []string{subscribed + "SUBSCRIBE", talkOK + "PING"}},
		{name: "a list that looks like one", say: []say{asks(respCommand("LRANGE", "a", "0", "2")), waits(1000), answers(message),
			asks(respCommand("SUBSCRIBE", "a")), waits(1000), answers(confirmed("subscribe", "a", 1)),
			asks(respCommand("UNSUBSCRIBE", "a")), waits(1000), answers(confirmed("unsubscribe", "a", 0)),
			asks(respCommand("LRANGE", "a", "0", "2")), waits(1000), answers(message)},
			want: []string{talkOK + "LRANGE", subscribed + "SUBSCRIBE", subscribed + "UNSUBSCRIBE", talkOK + "LRANGE"}},
		{name: "push", say: []say{asks(respCommand("GET", "a")), waits(1000),
			answers(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", "$1\r\nx\r\n", ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n")},
			want: []string{talkOK + "GET"}},
		{name: "subscribed by push", say: []say{asks(respCommand("SUBSCRIBE", "a", "b"), respCommand("GET", "a")), waits(1000),
			answers(">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n$1\r\nx\r\n")},
			want: []string{subscribed + "SUBSCRIBE", talkOK + "GET"}},
		{name: "of a connection seen from its middle", say: []say{answers(message), answers(message), answers(respCommand("pmessage", "n*", "news", "hello"))}},
		{name: "monitor", say: []say{asks(respCommand("MONITOR")), waits(1000), answers("+OK\r\n"),
			answers("+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n", "+1339518087.877697 [0 127.0.0.1:60866] \"dbsize\"\r\n"),
			asks(respCommand("PING")), waits(1000), answers("+PONG\r\n")},
			want: []string{talkOK + "MONITOR", talkOK + "PING"}},
	})
}

func TestRedisClientReply(t *testing.T) {
	t.Parallel()
	talksOf(t, "redis", []talk{
		{name: "off", say: []say{
			asks(respCommand("CLIENT", "REPLY", "OFF"), respCommand("SET", "a", "1")), asks(respCommand("SET", "b", "1")), waits(1000),
			asks(respCommand("client", "reply", "on")), waits(1000), answers("+OK\r\n"), asks(respCommand("GET", "a")), waits(1000), answers("$1\r\n1\r\n")},
			want: []string{talkOneWay + "CLIENT", talkOneWay + "SET", talkOneWay + "SET", talkOK + "CLIENT", talkOK + "GET"}},
		{name: "skip", say: []say{
			asks(respCommand("CLIENT", "REPLY", "SKIP"), respCommand("SET", "a", "1"), respCommand("GET", "a")), waits(1000), answers("$1\r\n1\r\n")},
			want: []string{talkOneWay + "CLIENT", talkOneWay + "SET", talkOK + "GET"}},
		{name: "another word of client", say: []say{
			asks(respCommand("CLIENT", "ID")), waits(1000), answers(":7\r\n"), asks(respCommand("CLIENT", "KILL", "127.0.0.1:1")), waits(1000), answers("+OK\r\n"),
			asks(respCommand("CLIENT", "SETNAME", "REPLY")), waits(1000), answers("+OK\r\n")},
			want: []string{talkOK + "CLIENT", talkOK + "CLIENT", talkOK + "CLIENT"}},
	})
}

func TestRedisReplicasBecomePlainExchanges(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"REPLCONF":    respCommand("REPLCONF", "listening-port", "6380"),
		"PSYNC":       respCommand("PSYNC", "?", "-1"),
		"SYNC":        respCommand("SYNC"),
		"inline SYNC": "SYNC\r\n",
	} {
		talksOf(t, "redis", []talk{{
			name: name,
			say: []say{asks(respCommand("PING")), waits(1000), answers("+PONG\r\n"), asks(command), waits(1000),
				answers("+FULLRESYNC 8de1787ba490483314a4d30f1c628bc5025eb761 0\r\n$10\r\n\x00\x01\x02\x03\x04")},
			want: []string{talkOK + "PING"},
			is:   "tcp",
		}})
	}
}

func TestRedisInlineCommands(t *testing.T) {
	t.Parallel()
	talksOf(t, "redis", []talk{
		{name: "ping", say: []say{asks("PING\r\n"), waits(1000), answers("+PONG\r\n"), asks("ping hello\n"), waits(1000), answers("$5\r\nhello\r\n")},
			want: []string{talkOK + "PING", talkOK + "PING"}},
		{name: "empty lines", say: []say{asks("\r\n", "\r\nPING\r\n"), waits(1000), answers("+PONG\r\n")},
			want: []string{talkOK + "PING"}},
		{name: "others are not named, as they may be pieces of values", say: []say{asks("secret words\r\n"), waits(1000), answers("-ERR unknown command\r\n")},
			want: []string{talkFailed + "-"}},
	})
}

func TestRedisFindsItselfAgain(t *testing.T) {
	t.Parallel()
	talksOf(t, "redis", []talk{
		{name: "after an answer to what was not seen", say: []say{answers("$5\r\nhello\r\n"), asks(respCommand("GET", "a")), waits(1000), answers("$1\r\nx\r\n")},
			want: []string{"unmatched redis no_request", talkOK + "GET"}},
	})
	for name, garbage := range map[string]string{
		"binary":             strings.Repeat("\x00\xff\x80\x7f", 32),
		"no number":          "*x\r\n" + strings.Repeat("y", 40),
		"no length":          "*1\r\n#4\r\nPING\r\n" + strings.Repeat("y", 40),
		"a line too long":    strings.Repeat("word ", 100),
		"a response":         "+OK\r\n" + strings.Repeat("y", 40) + "\r\n",
		"a number too large": "*2\r\n$99999999999999999999\r\n" + strings.Repeat("y", 40),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "redis", asks(garbage), answers("-ERR Protocol error\r\n"), asks(respCommand("GET", "a")), waits(1000), answers("$1\r\nx\r\n"))
			want := []string{"unmatched redis lost_framing", "unmatched redis no_request", "redis " + talkOK + "GET", "is redis"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestRedisIsRecognised(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		first say
		is    string
	}{
		"command":                     {asks(respCommand("GET", "a")), "redis"},
		"command with a large value":  {asks("*3\r\n$3\r\nset\r\n$1\r\na\r\n$1000\r\nxxxxxx"), "redis"},
		"many words":                  {asks("*1000001\r\n$4\r\nMSET\r\n"), "redis"},
		"delivery":                    {answers(respCommand("message", "news", "hello")), "redis"},
		"push":                        {answers(">2\r\n$10\r\ninvalidate\r\n_\r\n"), "redis"},
		"OK may be of NATS":           {answers("+OK\r\n"), "unknown"},
		"an error may be of NATS":     {answers("-ERR 'Unknown Protocol Operation'\r\n"), "unknown"},
		"inline may be anything":      {asks("PING\r\n"), "unknown"},
		"a list of Markdown":          {asks("*1 and\r\n$4 make 5\r\n"), "unknown"},
		"words that are no command":   {asks("*1\r\n$4\r\n\x00\x01\x02\x03\r\n"), "unknown"},
		"a push that is a request":    {asks(">2\r\n$10\r\ninvalidate\r\n_\r\n"), "unknown"},
		"a command of no length":      {asks("*1\r\n$0\r\n\r\n"), "unknown"},
		"a number that does not end":  {asks("*111111111111111111111111111111111111111111111\r\n"), "unknown"},
		"an array that holds numbers": {answers("*2\r\n:1\r\n:2\r\n"), "unknown"},
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

// TestRedisNamesAreToldApart has every command of Redis at once: no two may share their hash.
func TestRedisNamesAreToldApart(t *testing.T) {
	t.Parallel()
	commands := strings.Fields(`ACL APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP BRPOP
		BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CLIENT CLUSTER COMMAND CONFIG COPY DBSIZE DEBUG DECR DECRBY DEL DISCARD DUMP ECHO EVAL
		EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL FCALL_RO FLUSHALL FLUSHDB FUNCTION GEOADD
		GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE GET GETBIT
		GETDEL GETEX GETRANGE GETSET HDEL HELLO HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN
		HSET HSETNX HSTRLEN HVALS INCR INCRBY INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS LINDEX LINSERT LLEN LMOVE LMPOP LOLWUT LPOP
		LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM MEMORY MGET MIGRATE MODULE MOVE MSET MSETNX MULTI OBJECT PERSIST PEXPIRE
		PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFDEBUG PFMERGE PFSELFTEST PING PSETEX PTTL PUBLISH PUBSUB QUIT RANDOMKEY READONLY
		READWRITE RENAME RENAMENX RESET RESTORE ROLE RPOP RPOPLPUSH RPUSH RPUSHX SADD SAVE SCAN SCARD SCRIPT SDIFF SDIFFSTORE SELECT
		SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER SINTERCARD SINTERSTORE SISMEMBER SLAVEOF REPLICAOF SLOWLOG SMEMBERS SMISMEMBER
		SMOVE SORT SORT_RO SPOP SPUBLISH SRANDMEMBER SREM SSCAN STRLEN SUBSTR SUNION SUNIONSTORE SWAPDB TIME TOUCH TTL TYPE
		UNLINK UNWATCH WAIT WATCH XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID
		XTRIM ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN
		ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE
		ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE`)
	var conversation []say
	var want []string
	for _, c := range commands {
		conversation = append(conversation, asks(respCommand(c, "a")), waits(1000), answers("+OK\r\n"))
		want = append(want, "redis "+talkOK+c)
	}
	if got := converse(t, "redis", conversation...); !slices.Equal(got, append(want, "is redis")) {
		t.Errorf("got %q", got)
	}
}
