package bpf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestMemcachedTextCommands(t *testing.T) {
	t.Parallel()
	const long = "a-key-of-more-than-sixty-four-bytes-which-does-not-fit-into-one-look-at-all-and-then-some-more-of-it"
	talksOf(t, "memcached", []talk{
		{name: "hit", say: []say{asks("get user:1\r\n"), waits(1000), answers("VALUE user:1 0 5\r\nhello\r\nEND\r\n")},
			want: []string{talkOK + "get"}},
		{name: "miss is no failure", say: []say{asks("get user:1\r\n"), waits(1000), answers("END\r\n")},
			want: []string{talkOK + "get"}},
		{name: "several keys are one request", say: []say{asks("get a b c\r\n"), waits(1000), answers("VALUE a 0 1\r\n1\r\nVALUE c 0 1\r\n3\r\nEND\r\n")},
			want: []string{talkOK + "get"}},
		{name: "many keys", say: []say{asks("get " + strings.Repeat("key:000000000001 ", 99) + "k\r\n"), waits(1000),
			answers(strings.Repeat("VALUE key:000000000001 0 3\r\nxxx\r\n", 99) + "END\r\n"), asks("version\r\n"), waits(1000), answers("VERSION 1.6.18\r\n")},
			want: []string{talkOK + "get", talkOK + "version"}},
		{name: "with what to compare and swap", say: []say{asks("gets a\r\n"), waits(1000), answers("VALUE a 0 1 18446744073709551615\r\nx\r\nEND\r\n"),
			asks("cas a 0 0 1 18446744073709551615\r\ny\r\n"), waits(1000), answers("EXISTS\r\n")},
			want: []string{talkOK + "gets", talkOK + "cas"}},
		{name: "values that look like the protocol", say: []say{asks("set a 5 60 23\r\nEND\r\nset b 0 0 2\r\nERROR\r\n"), waits(1000), answers("STORED\r\n"),
			asks("get a\r\n"), waits(1000), answers("VALUE a 5 23\r\nEND\r\nset b 0 0 2\r\nERROR\r\nEND\r\n")},
			want: []string{talkOK + "set", talkOK + "get"}},
		{name: "empty value", say: []say{asks("set a 0 0 0\r\n\r\n"), waits(1000), answers("STORED\r\n"),
			asks("get a\r\n"), waits(1000), answers("VALUE a 0 0\r\n\r\nEND\r\n")},
			want: []string{talkOK + "set", talkOK + "get"}},
		{name: "long keys", say: []say{asks("set " + long + " 4294967295 2592000 5\r\nhello\r\n"), waits(1000), answers("STORED\r\n"),
			asks("get " + long + "\r\n"), waits(1000), answers("VALUE " + long + " 4294967295 5\r\nhello\r\nEND\r\n"),
			asks("delete "+long+" noreply\r\n", "touch "+long+" 0\r\n"), waits(1000), answers("TOUCHED\r\n")},
			want: []string{talkOK + "set", talkOK + "get", talkOneWay + "delete", talkOK + "touch"}},
		{name: "the longest keys", say: []say{asks("set "+strings.Repeat("k", 250)+" 0 0 5 noreply\r\nhello\r\n", "get "+strings.Repeat("k", 250)+"\r\n"), waits(1000),
			answers("VALUE " + strings.Repeat("k", 250) + " 0 5\r\nhello\r\nEND\r\n")},
			want: []string{talkOneWay + "set", talkOK + "get"}},
		{name: "all that store", say: []say{asks("add a 0 0 1\r\nx\r\n"), waits(1000), answers("NOT_STORED\r\n"),
			asks("replace a 0 0 1\r\nx\r\n"), waits(1000), answers("STORED\r\n"), asks("append a 0 0 1\r\nx\r\n"), waits(1000), answers("STORED\r\n"),
			asks("prepend a 0 0 1\r\nx\r\n"), waits(1000), answers("STORED\r\n")},
			want: []string{talkOK + "add", talkOK + "replace", talkOK + "append", talkOK + "prepend"}},
		{name: "numbers", say: []say{asks("incr n 1\r\n"), waits(1000), answers("42\r\n"), asks("decr n 40\r\n"), waits(1000), answers("2 \r\n"),
			asks("incr nothing 1\r\n"), waits(1000), answers("NOT_FOUND\r\n")},
			want: []string{talkOK + "incr", talkOK + "decr", talkOK + "incr"}},
		{name: "the others", say: []say{asks("delete a\r\n"), waits(1000), answers("DELETED\r\n"), asks("touch a 0\r\n"), waits(1000), answers("NOT_FOUND\r\n"),
			asks("gat 0 a\r\n"), waits(1000), answers("END\r\n"), asks("flush_all 10\r\n"), waits(1000), answers("OK\r\n"),
			asks("verbosity 1\r\n"), waits(1000), answers("OK\r\n"), asks("cache_memlimit 64\r\n"), waits(1000), answers("OK\r\n")},
			want: []string{talkOK + "delete", talkOK + "touch", talkOK + "gat", talkOK + "flush_all", talkOK + "verbosity", talkOK + "cache_memlimit"}},
		{name: "statistics", say: []say{asks("stats\r\n"), waits(1000), answers("STAT pid 1\r\nSTAT version 1.6.18\r\n", "STAT rusage_user 0.1\r\nEND\r\n"),
			asks("stats reset\r\n"), waits(1000), answers("RESET\r\n")},
			want: []string{talkOK + "stats", talkOK + "stats"}},
		{name: "failures", say: []say{asks("nothing a\r\n"), waits(1000), answers("ERROR\r\n"),
			asks("incr a b\r\n"), waits(1000), answers("CLIENT_ERROR invalid numeric delta argument\r\n"),
			asks("set a 0 0 1\r\nx\r\n"), waits(1000), answers("SERVER_ERROR out of memory storing object that is described at length here so that it fills more than one look\r\n")},
			want: []string{talkFailed + "-", talkFailed + "incr", talkFailed + "set"}},
		{name: "no reply", say: []say{
			asks("set a 0 0 7 noreply\r\nnoreply\r\n", "delete a noreply\r\nincr n 1 noreply\r\nflush_all noreply\r\nget a\r\n"), waits(1000), answers("END\r\n")},
			want: []string{talkOneWay + "set", talkOneWay + "delete", talkOneWay + "incr", talkOneWay + "flush_all", talkOK + "get"}},
		{name: "keys that look like words of the protocol", say: []say{asks("get noreply\r\n"), waits(1000), answers("END\r\n"),
			asks("set q 0 0 1\r\nx\r\n"), waits(1000), answers("STORED\r\n"), asks("mg q v\r\n"), waits(1000), answers("EN\r\n")},
			want: []string{talkOK + "get", talkOK + "set", talkOK + "mg"}},
		{name: "quit", say: []say{asks("quit\r\n")}, want: []string{talkOneWay + "quit"}},
		{name: "pipelined", say: []say{asks(strings.Repeat("get a\r\n", 100)), waits(1000), answers(strings.Repeat("VALUE a 0 1\r\nx\r\nEND\r\n", 100))},
			want: repeated(100, talkOK+"get")},
		{name: "large values that nobody can read", say: []say{asks("set a 0 0 1048576\r\n"), asksUnread(1048576), asks("\r\nget a\r\n"), waits(1000), answers("STORED\r\nVALUE a 0 1048576\r\n"), answersUnread(1048576), answers("\r\nEND\r\n")},
			want: []string{talkOK + "set", talkOK + "get"}},
	})
}

func TestMemcachedMetaCommands(t *testing.T) {
	t.Parallel()
	talksOf(t, "memcached", []talk{
		{name: "get", say: []say{asks("mg a t v\r\n"), waits(1000), answers("VA 5 t-1\r\nhello\r\n"), asks("mg a t\r\n"), waits(1000), answers("HD t-1\r\n"),
			asks("mg b v\r\n"), waits(1000), answers("EN\r\n")},
			want: repeated(3, talkOK+"mg")},
		{name: "set", say: []say{asks("ms a 5 T60 F1\r\nhello\r\n"), waits(1000), answers("HD\r\n"), asks("ms a 1\r\nx\r\n"), waits(1000), answers("NS\r\n"),
			asks("ms a 1 C1\r\nx\r\n"), waits(1000), answers("EX\r\n")},
			want: repeated(3, talkOK+"ms")},
		{name: "the others", say: []say{asks("md a\r\n"), waits(1000), answers("NF\r\n"), asks("ma n D5 v\r\n"), waits(1000), answers("VA 2\r\n47\r\n"),
			asks("me a\r\n"), waits(1000), answers("ME a exp=-1 la=3 cas=2 fetch=no cls=1 size=63\r\n"), asks("mn\r\n"), waits(1000), answers("MN\r\n")},
			want: []string{talkOK + "md", talkOK + "ma", talkOK + "me", "method=1 status=0 ok 1000 ns mn"}},
		{name: "quiet ones before mn", say: []say{asks("mg a v q\r\nmg b q v\r\nmg c v q O123\r\nms d 1 q\r\nx\r\nmn\r\n"), waits(500), answers("VA 5\r\nhello\r\nVA 2 O123\r\nhi\r\n"), waits(500), answers("MN\r\n"),
			asks("mg a v\r\n"), waits(1000), answers("EN\r\n")},
			want: []string{talkOneWay + "mg", talkOneWay + "mg", talkOneWay + "mg", talkOneWay + "ms", "method=1 status=0 ok 1000 ns mn", talkOK + "mg"}},
		{name: "quiet ones before one that is not", say: []say{asks("mg a v q\r\nmg b v\r\n"), waits(1000), answers("VA 5\r\nhello\r\n"), waits(1000), answers("VA 2\r\nhi\r\n")},
			want: []string{talkOneWay + "mg", talkOK + "mg"}},
		{name: "of long lines", say: []say{asks("ms " + strings.Repeat("k", 200) + " 5 T60 F1 " + strings.Repeat("I ", 50) + "q\r\nhello\r\nmn\r\n"), waits(1000), answers("MN\r\n")},
			want: []string{talkOneWay + "ms", "method=1 status=0 ok 1000 ns mn"}},
	})
}

// binaryMemcached writes a packet of the binary protocol; status is 0 in requests.
func binaryMemcached(magic, opcode byte, status uint16, extras, key, value string) string {
	body := extras + key + value
	return string([]byte{magic, opcode}) + be16(uint16(len(key))) + string([]byte{byte(len(extras)), 0}) + be16(status) +
		be32(uint32(len(body))) + "\xde\xad\xbe\xef" + strings.Repeat("\x00", 8) + body
}

func TestMemcachedBinary(t *testing.T) {
	t.Parallel()
	ask := func(opcode byte, extras, key, value string) string {
		return binaryMemcached(0x80, opcode, 0, extras, key, value)
	}
	answer := func(opcode byte, status uint16, extras, key, value string) string {
		return binaryMemcached(0x81, opcode, status, extras, key, value)
	}
	flags, expires := "\x00\x00\x00\x00", "\x00\x00\x00\x3c"
	talksOf(t, "memcached", []talk{
		{name: "named as in text", say: []say{asks(ask(0, "", "a", "")), waits(1000), answers(answer(0, 0, flags, "", "hello")),
			asks(ask(1, flags+expires, "a", "x")), waits(1000), answers(answer(1, 0, "", "", "")), asks("get a\r\n"), waits(1000), answers("END\r\n")},
			want: []string{talkOK + "get", talkOK + "set", talkOK + "get"}},
		{name: "miss is no failure", say: []say{asks(ask(0x0c, "", "a", "")), waits(1000), answers(answer(0x0c, 1, "", "", "Not found"))},
			want: []string{talkOK + "get"}},
		{name: "failures", say: []say{asks(ask(5, strings.Repeat("\x00", 20), "a", "")), waits(1000), answers(answer(5, 6, "", "", "Non-numeric server-side value for incr or decr")),
			asks(ask(0x77, "", "a", "")), waits(1000), answers(answer(0x77, 0x81, "", "", "Unknown command"))},
			want: []string{talkFailed + "incr", talkFailed + "-"}},
		{name: "quiet ones", say: []say{asks(ask(0x09, "", "a", ""), ask(0x0d, "", "b", ""), ask(0x11, flags+expires, "c", "x"), ask(0x0a, "", "", "")), waits(1000),
			answers(answer(0x0d, 0, flags, "b", "hello"), answer(0x11, 3, "", "", "Too large"), answer(0x0a, 0, "", "", ""))},
			want: []string{talkOneWay + "get", talkOneWay + "get", talkOneWay + "set", talkOK + "noop"}},
		{name: "statistics", say: []say{asks(ask(0x10, "", "", "")), waits(1000),
			answers(answer(0x10, 0, "", "pid", "1"), answer(0x10, 0, "", "uptime", "2"), answer(0x10, 0, "", "", ""))},
			want: []string{talkOK + "stats"}},
		{name: "long names", say: []say{asks(ask(0x08, "", "", ""), ask(0x20, "", "", ""), ask(0x1a, "", "a", "x")), waits(1000),
			answers(answer(0x08, 0, "", "", ""), answer(0x20, 0, "", "", "PLAIN"), answer(0x1a, 5, "", "", "Not stored."), answer(0x1a, 5, "", "", "Not stored."))},
			want: []string{talkOneWay + "prepend", talkOK + "flush_all", talkOK + "sasl_list_mechs"}},
		{name: "large values", say: []say{asks(ask(1, flags+expires, "a", strings.Repeat("x", 5000))), waits(1000), answers(answer(1, 0, "", "", "")),
			asks(ask(0, "", "a", "")), waits(1000), answers(answer(0, 0, flags, "", strings.Repeat("\x81", 5000)))},
			want: []string{talkOK + "set", talkOK + "get"}},
	})
}

func TestMemcachedFindsItselfAgain(t *testing.T) {
	t.Parallel()
	talksOf(t, "memcached", []talk{
		{name: "after an answer to what was not seen", say: []say{answers("VALUE a 0 1\r\nx\r\nEND\r\n"), asks("get a\r\n"), waits(1000), answers("END\r\n")},
			want: []string{"unmatched memcached no_request", talkOK + "get"}},
	})
	for name, garbage := range map[string]string{
		"zeros":              strings.Repeat("\x00", 200),
		"capital letters":    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"binary of no sense": "\x80\x00\xff\xff\x04\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("\x00", 12),
		"words too long":     strings.Repeat("x", 200) + "\r\n",
		"no end of line":     "get\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "memcached", asks(garbage), answers("ERROR\r\n"), asks("get a\r\n"), waits(1000), answers("END\r\n"))
			want := []string{"unmatched memcached lost_framing", "unmatched memcached no_request", "memcached " + talkOK + "get", "is memcached"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestMemcachedIsRecognised(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		first say
		is    string
	}{
		"get":                        {asks("get a\r\n"), "memcached"},
		"get of many keys":           {asks("get " + strings.Repeat("key:000000000001 ", 99) + "k\r\n"), "memcached"},
		"set":                        {asks("set a 0 0 5\r\nhello\r\n"), "memcached"},
		"cas":                        {asks("cas a 0 0 5 7 noreply\r\nhello\r\n"), "memcached"},
		"meta get":                   {asks("mg a v\r\n"), "memcached"},
		"meta set":                   {asks("ms a 5 T0\r\nhello\r\n"), "memcached"},
		"meta no-op":                 {asks("mn\r\n"), "memcached"},
		"version":                    {asks("version\r\n"), "memcached"},
		"value":                      {answers("VALUE a 0 5\r\nhello\r\nEND\r\n"), "memcached"},
		"stored":                     {answers("STORED\r\n"), "memcached"},
		"binary get":                 {asks(binaryMemcached(0x80, 0, 0, "", "a", "")), "memcached"},
		"binary no-op":               {asks(binaryMemcached(0x80, 0x0a, 0, "", "", "")), "memcached"},
		"binary answer":              {answers(binaryMemcached(0x81, 0, 0, "\x00\x00\x00\x00", "", "x")), "memcached"},
		"set without a length":       {asks("set a b\r\n"), "unknown"},
		"get without keys":           {asks("get\r\n"), "unknown"},
		"quit is of many":            {asks("quit\r\n"), "unknown"},
		"OK is of many":              {answers("OK\r\n"), "unknown"},
		"an error is of many":        {answers("ERROR\r\n"), "unknown"},
		"a text":                     {asks("get well soon, says everybody\nand so do I\n"), "unknown"},
		"binary of no operation":     {asks(binaryMemcached(0x80, 0x70, 0, "", "a", "")), "unknown"},
		"binary without a body":      {asks("\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 12)), "unknown"},
		"binary of the other side":   {asks(binaryMemcached(0x81, 0, 0, "", "a", "")), "unknown"},
		"a long line of other bytes": {asks("get \x01\x02" + strings.Repeat("x", 200)), "unknown"},
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

// TestMemcachedNamesKeepNoKeys says in each place of a line what may be secret, and looks for it in the names.
func TestMemcachedNamesKeepNoKeys(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"secret\r\n", "secret secret\r\n", "get secret\r\n", "set secret 0 0 6\r\nsecret\r\n", "ms secret 6 secret\r\nsecret\r\n", "gat 0 secret\r\n"} {
		for _, size := range []int{1, 5, 100} {
			got := converse(t, "memcached", append(cut([]say{asks(line)}, size), answers("ERROR\r\n"))...)
			if len(got) != 2 || strings.Contains(fmt.Sprint(got), "secret") {
				t.Errorf("%q in pieces of %d bytes: %q, want one request without the word in its name", line, size, got)
			}
		}
	}
}
