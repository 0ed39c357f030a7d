package bpf

import (
	"slices"
	"strings"
	"testing"
)

// Pieces of AMQP by the specification of version 0-9-1, and RabbitMQ's extensions of it.

const amqpOpening = "AMQP\x00\x00\x09\x01"

func amqpFrame(kind byte, channel uint16, payload string) string {
	return string([]byte{kind}) + be16(channel) + be32(uint32(len(payload))) + payload + "\xce"
}

func amqpMethod(channel, class, method uint16, arguments ...string) string {
	return amqpFrame(1, channel, be16(class)+be16(method)+strings.Join(arguments, ""))
}

func amqpText(s string) string { return string([]byte{byte(len(s))}) + s }

// amqpContent is a message's header, and its body in frames of at most size bytes.
func amqpContent(channel uint16, body string, size int) string {
	all := amqpFrame(2, channel, be16(60)+be16(0)+be32(0)+be32(uint32(len(body)))+be16(1<<12)+"\x02")
	for len(body) > 0 {
		n := min(size, len(body))
		all += amqpFrame(3, channel, body[:n])
		body = body[n:]
	}
	return all
}

func amqpPublish(channel uint16, body string) string {
	return amqpMethod(channel, 60, 40, be16(0), amqpText("orders"), amqpText("new"), "\x00") + amqpContent(channel, body, 1000)
}

func amqpDeliver(channel uint16, body string) string {
	return amqpMethod(channel, 60, 60, amqpText("consumer"), be32(0)+be32(7), "\x00", amqpText("orders"), amqpText("new")) + amqpContent(channel, body, 1000)
}

func amqpClose(channel, class, method, code uint16, text string) string {
	return amqpMethod(channel, class, method, be16(code), amqpText(text), be16(0), be16(0))
}

const amqpHeartbeat, amqpNoTable = "\x08\x00\x00\x00\x00\x00\x00\xce", "\x00\x00\x00\x00"

func TestNativeAMQP(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("q", 255)
	ticket := be16(0)
	for name, c := range map[string]struct {
		talk []say
		want []string
	}{
		"a connection from its beginning": {
			[]say{asks(amqpOpening), answers(amqpMethod(0, 10, 10, "\x00\x09", amqpNoTable, be32(5)+"PLAIN", be32(5)+"en_US")),
				asks(amqpMethod(0, 10, 11, be32(300)+strings.Repeat("p", 300), amqpText("PLAIN"), be32(4)+"\x00a\x00b", amqpText("en_US"))), waits(4),
				answers(amqpMethod(0, 10, 30, be16(2047), be32(131072), be16(60))),
				asks(amqpMethod(0, 10, 31, be16(2047), be32(131072), be16(60)), amqpMethod(0, 10, 40, amqpText("/"), "\x00\x00")), waits(5),
				answers(amqpMethod(0, 10, 41, "\x00")),
				asks(amqpMethod(1, 20, 10, "\x00")), waits(6), answers(amqpMethod(1, 20, 11, be32(0))),
				asks(amqpMethod(1, 50, 10, ticket, amqpText("jobs"), "\x02", amqpNoTable)), waits(7), answers(amqpMethod(1, 50, 11, amqpText("jobs"), be32(0), be32(0))),
				asks(amqpMethod(1, 20, 40, be16(200), amqpText("bye"), be16(0), be16(0))), waits(8), answers(amqpMethod(1, 20, 41)),
				asks(amqpMethod(0, 10, 50, be16(200), amqpText("bye"), be16(0), be16(0))), waits(9), answers(amqpMethod(0, 10, 51))},
			[]string{"amqp method=0 status=0 ok 4 ns 000a000b", "amqp method=0 status=0 ok 5 ns 000a0028", "amqp method=0 status=0 ok 6 ns 0014000a",
				"amqp method=0 status=0 ok 7 ns 0032000a", "amqp method=0 status=0 ok 8 ns 00140028", "amqp method=0 status=0 ok 9 ns 000a0032"},
		},
		"authentication that is challenged": {
			[]say{asks(amqpMethod(0, 10, 11, amqpNoTable, amqpText("X"), be32(0), amqpText(""))), waits(1), answers(amqpMethod(0, 10, 20, be32(1)+"?")),
				asks(amqpMethod(0, 10, 21, be32(1)+"!")), waits(2), answers(amqpMethod(0, 10, 30, be16(0), be32(0), be16(0)))},
			[]string{"amqp method=0 status=0 ok 1 ns 000a000b", "amqp method=0 status=0 ok 2 ns 000a0015"},
		},
		"messages are published and delivered one way": {
			[]say{asks(amqpPublish(1, "hello")), asks(amqpPublish(1, strings.Repeat("x", 3500))), asks(amqpPublish(2, "")), answers(amqpMethod(1, 60, 80, be32(0)+be32(3), "\x01")),
				answers(amqpDeliver(1, "hello")), answers(amqpDeliver(1, strings.Repeat("x", 3500))), asks(amqpMethod(1, 60, 80, be32(0)+be32(7), "\x00")),
				asks(amqpMethod(1, 60, 90, be32(0)+be32(7), "\x01"), amqpMethod(1, 60, 120, be32(0)+be32(7), "\x01")), answers(amqpMethod(1, 60, 120, be32(0)+be32(4), "\x00"))},
			append(slices.Repeat([]string{"amqp method=0 status=0 one_way 0 ns 003c0028"}, 3), slices.Repeat([]string{"amqp method=0 status=0 one_way 0 ns 003c003c"}, 2)...),
		},
		"get, with a message and without": {
			[]say{asks(amqpMethod(5, 60, 70, ticket, amqpText("jobs"), "\x00")), waits(3), answers(amqpMethod(5, 60, 71, be32(0)+be32(1), "\x00", amqpText(""), amqpText("jobs"), be32(0)) + amqpContent(5, "job", 100)),
				asks(amqpMethod(5, 60, 70, ticket, amqpText("jobs"), "\x00")), waits(4), answers(amqpMethod(5, 60, 72, amqpText("")))},
			[]string{"amqp method=0 status=0 ok 3 ns 003c0046", "amqp method=0 status=0 ok 4 ns 003c0046"},
		},
		"channels answer in any order": {
			[]say{asks(amqpMethod(1, 85, 10, "\x00"), amqpMethod(2, 90, 20), amqpMethod(900, 60, 10, be32(0), be16(1), "\x00")), waits(1), answers(amqpMethod(900, 60, 11)), waits(1), answers(amqpMethod(2, 90, 21)), waits(1), answers(amqpMethod(1, 85, 11))},
			[]string{"amqp method=0 status=0 ok 1 ns 003c000a", "amqp method=0 status=0 ok 2 ns 005a0014", "amqp method=0 status=0 ok 3 ns 0055000a"},
		},
		"what wants no answer": {
			[]say{asks(amqpMethod(1, 40, 10, ticket, amqpText("orders"), amqpText("topic"), "\x12", amqpNoTable), amqpMethod(1, 40, 20, ticket, amqpText("orders"), "\x02"),
				amqpMethod(1, 40, 30, ticket, amqpText("a"), amqpText("b"), amqpText("c"), "\x01", amqpNoTable), amqpMethod(1, 40, 40, ticket, amqpText("a"), amqpText("b"), amqpText("c"), "\x01", amqpNoTable)),
				asks(amqpMethod(1, 50, 10, ticket, amqpText(long), "\x10", amqpNoTable), amqpMethod(1, 50, 20, ticket, amqpText(long), amqpText(long), amqpText(long), "\x01", amqpNoTable),
					amqpMethod(1, 50, 30, ticket, amqpText("jobs"), "\x01"), amqpMethod(1, 50, 40, ticket, amqpText("jobs"), "\x07")),
				asks(amqpMethod(1, 60, 20, ticket, amqpText(long), amqpText(""), "\x0a", amqpNoTable), amqpMethod(1, 60, 30, amqpText("consumer"), "\x01"), amqpMethod(1, 85, 10, "\x01")),
				answers(amqpClose(1, 20, 40, 404, "none of them waited"))},
			[]string{"amqp method=0 status=0 one_way 0 ns 0028000a", "amqp method=0 status=0 one_way 0 ns 00280014", "amqp method=0 status=0 one_way 0 ns 0028001e",
				"amqp method=0 status=0 one_way 0 ns 00280028", "amqp method=0 status=0 one_way 0 ns 0032000a", "amqp method=0 status=0 one_way 0 ns 00320014",
				"amqp method=0 status=0 one_way 0 ns 0032001e", "amqp method=0 status=0 one_way 0 ns 00320028", "amqp method=0 status=0 one_way 0 ns 003c0014",
				"amqp method=0 status=0 one_way 0 ns 003c001e", "amqp method=0 status=0 one_way 0 ns 0055000a", "amqp method=0 status=404 failed 0 ns 00140028"},
		},
		"bits that do not say so": {
			[]say{asks(amqpMethod(1, 40, 10, ticket, amqpText("orders"), amqpText("topic"), "\x0f", amqpNoTable), amqpMethod(2, 50, 10, ticket, amqpText("jobs"), "\x0f", amqpNoTable),
				amqpMethod(3, 60, 20, ticket, amqpText("jobs"), amqpText(""), "\x07", amqpNoTable), amqpMethod(4, 50, 40, ticket, amqpText("jobs"), "\x03"), amqpMethod(5, 50, 50, ticket, amqpText("a"), amqpText("b"), amqpText("\x01"), amqpNoTable)),
				answers(amqpMethod(1, 40, 11)), answers(amqpMethod(2, 50, 11, amqpText("jobs"), be32(0), be32(0))), answers(amqpMethod(3, 60, 21, amqpText("tag"))),
				answers(amqpMethod(4, 50, 41, be32(0))), answers(amqpMethod(5, 50, 51))},
			[]string{"amqp method=0 status=0 ok 0 ns 0028000a", "amqp method=0 status=0 ok 0 ns 0032000a", "amqp method=0 status=0 ok 0 ns 003c0014",
				"amqp method=0 status=0 ok 0 ns 00320028", "amqp method=0 status=0 ok 0 ns 00320032"},
		},
		"a channel that is closed fails what waits on it": {
			[]say{asks(amqpMethod(1, 50, 10, ticket, amqpText("jobs"), "\x01", amqpNoTable), amqpMethod(2, 50, 30, ticket, amqpText("jobs"), "\x00")), waits(2),
				answers(amqpClose(1, 20, 40, 404, "NOT_FOUND - no queue 'jobs' in vhost '/'")), asks(amqpMethod(1, 20, 41)), waits(1), answers(amqpMethod(2, 50, 31, be32(9)))},
			[]string{"amqp method=0 status=404 failed 2 ns 0032000a", "amqp method=0 status=0 ok 3 ns 0032001e"},
		},
		"a channel that is closed for what was published": {
			[]say{asks(amqpMethod(191, 60, 10, be32(0), be16(1), "\x00")), answers(amqpMethod(191, 60, 11)), asks(amqpPublish(191, "hello")), answers(amqpClose(191, 20, 40, 404, "NOT_FOUND - no exchange"))},
			[]string{"amqp method=0 status=0 ok 0 ns 003c000a", "amqp method=0 status=0 one_way 0 ns 003c0028", "amqp method=0 status=404 failed 0 ns 00140028"},
		},
		"channels whose waiting method is known, and those beyond": {
			[]say{asks(amqpMethod(191, 60, 70, ticket, amqpText("jobs"), "\x00")), waits(1), answers(amqpClose(191, 20, 40, 404, "no queue")),
				asks(amqpMethod(192, 60, 70, ticket, amqpText("jobs"), "\x00")), waits(1), answers(amqpClose(192, 20, 40, 404, "no queue"))},
			[]string{"amqp method=0 status=404 failed 1 ns 003c0046", "amqp method=0 status=404 failed 0 ns 00140028", "amqp method=0 status=0 closed 1 ns 003c0046"},
		},
		"a connection that is refused": {
			[]say{asks(amqpMethod(0, 10, 40, amqpText("/none"), "\x00\x00")), waits(1), answers(amqpClose(0, 10, 50, 530, "NOT_ALLOWED - vhost /none not found")), asks(amqpMethod(0, 10, 51))},
			[]string{"amqp method=0 status=530 failed 1 ns 000a0028"},
		},
		"a connection that is shut down": {
			[]say{answers(amqpClose(0, 10, 50, 320, "CONNECTION_FORCED - broker forced connection closure")), asks(amqpMethod(0, 10, 51))},
			[]string{"amqp method=0 status=320 failed 0 ns 000a0032"},
		},
		"a channel that is closed in friendship": {
			[]say{answers(amqpClose(3, 20, 40, 200, "bye")), asks(amqpMethod(3, 20, 41))},
			nil,
		},
		"a message that is returned": {
			[]say{asks(amqpPublish(1, "hello")), answers(amqpMethod(1, 60, 50, be16(312), amqpText("NO_ROUTE"), amqpText("orders"), amqpText("new")) + amqpContent(1, "hello", 10))},
			[]string{"amqp method=0 status=0 one_way 0 ns 003c0028", "amqp method=0 status=312 failed 0 ns 003c0032"},
		},
		"what servers tell and ask": {
			[]say{answers(amqpHeartbeat), asks(amqpHeartbeat), answers(amqpMethod(0, 10, 60, amqpText("low on memory")), amqpMethod(0, 10, 61), amqpMethod(1, 60, 30, amqpText("tag"), "\x01"), amqpMethod(1, 20, 20, "\x00")),
				asks(amqpMethod(1, 60, 31, amqpText("tag")), amqpMethod(1, 20, 21, "\x00"))},
			nil,
		},
		"what was asked before": {
			[]say{answers(amqpMethod(1, 50, 11, amqpText("jobs"), be32(0), be32(0)))},
			[]string{"unmatched amqp no_request"},
		},
		"what is never answered": {
			[]say{asks(amqpMethod(1, 90, 20)), waits(4)},
			[]string{"amqp method=0 status=0 closed 4 ns 005a0014"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyCut(t, "amqp", c.talk, append(slices.Clip(c.want), "is amqp")...)
		})
	}
}

func TestNativeAMQPOfVersion1IsAnother(t *testing.T) {
	t.Parallel()
	for _, opening := range []string{"AMQP\x00\x01\x00\x00", "AMQP\x03\x01\x00\x00", "AMQP\x01\x01\x00\x09"} {
		got := converse(t, "auto", asks(opening+"more"), answers(opening), asks("\x00\x00\x00\x10"), waits(5), answers("\x00\x00\x00\x10"))
		want := []string{"tcp method=0 status=0 ok 5 ns -", "is tcp"}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", opening, got, want)
		}
	}
}

func TestNativeAMQPIsRecognised(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		talk []say
		want bool
	}{
		"by its opening":                  {[]say{asks(amqpOpening)}, true},
		"by a heartbeat":                  {[]say{answers(amqpHeartbeat)}, true},
		"by a method":                     {[]say{asks(amqpPublish(1, "hello"))}, true},
		"by a delivery":                   {[]say{answers(amqpDeliver(1, "hello"))}, true},
		"not by a class of none":          {[]say{asks(amqpMethod(1, 61, 40))}, false},
		"not by a method of none":         {[]say{asks(amqpMethod(1, 60, 45))}, false},
		"not without a frame's end":       {[]say{asks(strings.ReplaceAll(amqpMethod(1, 90, 20), "\xce", "\xcf"))}, false},
		"not by a body":                   {[]say{asks(amqpFrame(3, 1, "body"))}, false},
		"not by a heartbeat of a channel": {[]say{asks(amqpFrame(8, 1, ""))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", c.talk...)
			if is := got[len(got)-1] == "is amqp"; is != c.want {
				t.Errorf("got %q, want it to be recognised: %v", got, c.want)
			}
		})
	}
}

func TestNativeAMQPFindsItselfAgain(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string]string{
		"text":                      "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a frame of no type":        amqpFrame(4, 1, "four"),
		"a frame without its end":   strings.ReplaceAll(amqpMethod(1, 90, 20), "\xce", "\xcf"),
		"the greatest size":         "\x01\x00\x01\xff\xff\xff\xff\x00\x5a\x00\x14\xce",
		"a method without its ids":  amqpFrame(1, 1, "\x00\x5a"),
		"a class of none":           amqpMethod(1, 99, 20),
		"a heartbeat with contents": amqpFrame(8, 0, "beat"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "amqp", asks(garbage), answers(garbage), asks(amqpMethod(1, 90, 20)), waits(1), answers(amqpMethod(1, 90, 21)))
			want := []string{"unmatched amqp lost_framing", "unmatched amqp lost_framing", "amqp method=0 status=0 ok 1 ns 005a0014", "is amqp"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestNativeAMQPStringsLongerThanTheirMethod(t *testing.T) {
	t.Parallel()
	broken := amqpMethod(1, 50, 10, be16(0), "\xffjobs", "\x10")
	got := converse(t, "amqp", asks(broken, amqpMethod(2, 90, 20)), waits(1), answers(amqpMethod(1, 50, 11)+amqpMethod(2, 90, 21)))
	want := []string{"amqp method=0 status=0 ok 1 ns 0032000a", "amqp method=0 status=0 ok 1 ns 005a0014", "is amqp"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
