package bpf

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// Pieces of Kafka's messages, by its protocol guide.

func be16(n uint16) string { return string(binary.BigEndian.AppendUint16(nil, n)) }
func be32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func kafkaSized(body string) string { return be32(uint32(len(body))) + body }

// kafkaText is a NULLABLE_STRING that is not null.
func kafkaText(s string) string { return be16(uint16(len(s))) + s }

const kafkaNull = "\xff\xff"

func kafkaAsk(api, version uint16, id uint32, client, body string) string {
	return kafkaSized(be16(api) + be16(version) + be32(id) + client + body)
}

func kafkaReply(id uint32, body string) string { return kafkaSized(be32(id) + body) }

const (
	kafkaProduce, kafkaFetch, kafkaMetadata, kafkaFindCoordinator, kafkaJoinGroup, kafkaHeartbeat = 0, 1, 3, 10, 11, 12
	kafkaSaslHandshake, kafkaAPIVersions, kafkaInitProducerID, kafkaSaslAuthenticate              = 17, 18, 22, 36

	kafkaThrottle    = "\x00\x00\x00\x05"
	kafkaNoTags      = "\x00"
	kafkaNoError     = "\x00\x00"
	kafkaFewerTopics = "\x00\x00\x00\x00"
)

// kafkaRecords is what follows acks in a request to produce: timeout, and data of any kind.
var kafkaRecords = be32(0x7fffffff) + strings.Repeat("\x00\x01record", 60)

func TestNativeKafka(t *testing.T) {
	t.Parallel()
	me := kafkaText("rdkafka")
	acks := func(n int16) string { return be16(uint16(n)) }
	for name, c := range map[string]struct {
		talk []say
		want []string
	}{
		"versions, metadata and a fetch": {
			[]say{asks(kafkaAsk(kafkaAPIVersions, 3, 1, me, kafkaNoTags+"\x08librdkafka\x062.3.0"+kafkaNoTags)), waits(2),
				answers(kafkaReply(1, kafkaNoError+strings.Repeat("\x00", 400))),
				asks(kafkaAsk(kafkaMetadata, 12, 2, me, kafkaNoTags+"\x00")), waits(3), answers(kafkaReply(2, kafkaNoTags+strings.Repeat("m", 300))),
				asks(kafkaAsk(kafkaFetch, 11, 3, me, strings.Repeat("f", 80))), waits(500), answers(kafkaReply(3, kafkaThrottle+kafkaNoError+strings.Repeat("r", 5000)))},
			[]string{"kafka method=8 status=0 ok 2 ns 0012", "kafka method=0 status=0 ok 3 ns 0003", "kafka method=12 status=0 ok 500 ns 0001"},
		},
		"answers come in the order of requests": {
			[]say{asks(kafkaAsk(kafkaMetadata, 1, 7, me, kafkaFewerTopics), kafkaAsk(kafkaHeartbeat, 0, 8, me, "g")), asks(kafkaAsk(kafkaFetch, 4, 9, me, "f")), waits(5),
				answers(kafkaReply(7, "m") + kafkaReply(8, kafkaNoError)), waits(5), answers(kafkaReply(9, "f"))},
			[]string{"kafka method=0 status=0 ok 5 ns 0003", "kafka method=8 status=0 ok 5 ns 000c", "kafka method=0 status=0 ok 10 ns 0001"},
		},
		"produce with acknowledgements": {
			[]say{asks(kafkaAsk(kafkaProduce, 2, 1, me, acks(1)+kafkaRecords)), waits(1), answers(kafkaReply(1, "p")),
				asks(kafkaAsk(kafkaProduce, 7, 2, me, kafkaNull+acks(-1)+kafkaRecords)), waits(2), answers(kafkaReply(2, "p")),
				asks(kafkaAsk(kafkaProduce, 8, 3, me, kafkaText("txn-1")+acks(-1)+kafkaRecords)), waits(3), answers(kafkaReply(3, "p")),
				asks(kafkaAsk(kafkaProduce, 9, 4, me, kafkaNoTags+"\x00"+acks(-1)+kafkaRecords)), waits(4), answers(kafkaReply(4, kafkaNoTags+"p")),
				asks(kafkaAsk(kafkaProduce, 11, 5, me, kafkaNoTags+"\x06txn-1"+acks(1)+kafkaRecords)), waits(5), answers(kafkaReply(5, kafkaNoTags+"p"))},
			[]string{"kafka method=0 status=0 ok 1 ns 0000", "kafka method=0 status=0 ok 2 ns 0000", "kafka method=0 status=0 ok 3 ns 0000",
				"kafka method=0 status=0 ok 4 ns 0000", "kafka method=0 status=0 ok 5 ns 0000"},
		},
		"produce without acknowledgements has no answer": {
			[]say{asks(kafkaAsk(kafkaProduce, 2, 1, me, acks(0)+kafkaRecords)), asks(kafkaAsk(kafkaProduce, 7, 2, me, kafkaNull+acks(0)+kafkaRecords)),
				asks(kafkaAsk(kafkaProduce, 9, 3, me, kafkaNoTags+"\x00"+acks(0)+kafkaRecords)),
				asks(kafkaAsk(kafkaProduce, 9, 4, kafkaNull, kafkaNoTags+"\x41"+strings.Repeat("t", 64)+acks(0)+kafkaRecords)),
				asks(kafkaAsk(kafkaProduce, 3, 5, kafkaText(strings.Repeat("c", 200)), kafkaText(strings.Repeat("t", 200))+acks(0)+kafkaRecords)),
				asks(kafkaAsk(kafkaMetadata, 1, 6, me, kafkaFewerTopics)), waits(1), answers(kafkaReply(6, "m"))},
			append(slices.Repeat([]string{"kafka method=0 status=0 one_way 0 ns 0000"}, 5), "kafka method=0 status=0 ok 1 ns 0003"),
		},
		"produce with tags is expected to be answered": {
			[]say{asks(kafkaAsk(kafkaProduce, 9, 1, me, "\x01\x00\x01x\x00"+acks(1)+strings.Repeat("\x00", 600))), answers(kafkaReply(1, kafkaNoTags+"p"))},
			[]string{"kafka method=0 status=0 ok 0 ns 0000"},
		},
		"errors that stand in a fixed place": {
			[]say{asks(kafkaAsk(kafkaSaslHandshake, 1, 1, me, kafkaText("PLAIN"))), answers(kafkaReply(1, be16(33)+be32(0))),
				asks(kafkaAsk(kafkaSaslAuthenticate, 2, 2, me, kafkaNoTags+"\x05auth"+kafkaNoTags)), answers(kafkaReply(2, kafkaNoTags+be16(58)+"no")),
				asks(kafkaAsk(kafkaHeartbeat, 0, 3, me, "h")), answers(kafkaReply(3, be16(27))),
				asks(kafkaAsk(kafkaHeartbeat, 3, 4, me, "h")), answers(kafkaReply(4, kafkaThrottle+be16(25))),
				asks(kafkaAsk(kafkaHeartbeat, 4, 5, me, kafkaNoTags+"h")), answers(kafkaReply(5, kafkaNoTags+kafkaThrottle+be16(22)+kafkaNoTags)),
				asks(kafkaAsk(kafkaFetch, 12, 6, me, kafkaNoTags+"f")), answers(kafkaReply(6, kafkaNoTags+kafkaThrottle+be16(70)+"more")),
				asks(kafkaAsk(kafkaInitProducerID, 0, 7, me, "i")), answers(kafkaReply(7, kafkaThrottle+be16(0xffff)+"more")),
				asks(kafkaAsk(kafkaFindCoordinator, 3, 8, me, kafkaNoTags+"g")), answers(kafkaReply(8, kafkaNoTags+kafkaThrottle+be16(15)+"more"))},
			[]string{"kafka method=8 status=33 failed 0 ns 0011", "kafka method=9 status=58 failed 0 ns 0024", "kafka method=8 status=27 failed 0 ns 000c",
				"kafka method=12 status=25 failed 0 ns 000c", "kafka method=13 status=22 failed 0 ns 000c", "kafka method=13 status=70 failed 0 ns 0001",
				"kafka method=12 status=65535 failed 0 ns 0016", "kafka method=13 status=15 failed 0 ns 000a"},
		},
		"what only looks like an error": {
			[]say{asks(kafkaAsk(kafkaFetch, 6, 1, me, "f")), answers(kafkaReply(1, kafkaThrottle+be16(70)+"topics")),
				asks(kafkaAsk(kafkaFindCoordinator, 4, 2, me, kafkaNoTags+"g")), answers(kafkaReply(2, kafkaNoTags+kafkaThrottle+be16(515)+"coordinators")),
				asks(kafkaAsk(kafkaHeartbeat, 4, 3, me, kafkaNoTags+"h")), answers(kafkaReply(3, ""))},
			[]string{"kafka method=0 status=0 ok 0 ns 0001", "kafka method=0 status=0 ok 0 ns 000a", "kafka method=13 status=0 ok 0 ns 000c"},
		},
		"a new member of a group is told its id": {
			[]say{asks(kafkaAsk(kafkaJoinGroup, 5, 1, me, "j")), answers(kafkaReply(1, kafkaThrottle+be16(79)+"more"))},
			[]string{"kafka method=12 status=79 ok 0 ns 000b"},
		},
		"answers to what was asked before": {
			[]say{answers(kafkaReply(41, "early")), asks(kafkaAsk(kafkaMetadata, 1, 44, me, kafkaFewerTopics)), waits(1),
				answers(kafkaReply(42, "early")), answers(kafkaReply(43, "early")), waits(1), answers(kafkaReply(44, "mine"))},
			append(slices.Repeat([]string{"unmatched kafka no_request"}, 3), "kafka method=0 status=0 ok 2 ns 0003"),
		},
		"correlation ids that start again": {
			[]say{asks(kafkaAsk(kafkaMetadata, 1, 0x7fffffff, me, "m"), kafkaAsk(kafkaFetch, 4, 0, me, "f")), answers(kafkaReply(0x7fffffff, "m")), answers(kafkaReply(0, "f"))},
			[]string{"kafka method=0 status=0 ok 0 ns 0003", "kafka method=0 status=0 ok 0 ns 0001"},
		},
		"a client without an id": {
			[]say{asks(kafkaAsk(kafkaMetadata, 1, 1, kafkaNull, kafkaFewerTopics)), answers(kafkaReply(1, "m")), asks(kafkaAsk(kafkaMetadata, 1, 2, kafkaText(""), "")), answers(kafkaReply(2, ""))},
			slices.Repeat([]string{"kafka method=0 status=0 ok 0 ns 0003"}, 2),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyCut(t, "kafka", c.talk, append(c.want, "is kafka")...)
		})
	}
}

func TestNativeKafkaIsRecognised(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes string
		want  bool
	}{
		"by versions": {kafkaAsk(kafkaAPIVersions, 3, 0, kafkaText("adminclient-1"), kafkaNoTags+"\x12apache-kafka-java\x063.9.0"+kafkaNoTags), true},
		"by a fetch of a connection in its middle": {kafkaAsk(kafkaFetch, 13, 712345, kafkaText("consumer-группа-1"), strings.Repeat("\x00", 90)), true},
		// ZooKeeper: length, transaction 1, type 4 (getData), path.
		"not by ZooKeeper":                 {kafkaSized(be32(1) + be32(4) + be32(5) + "/path\x00"), false},
		"not by an API of the far future":  {kafkaAsk(300, 0, 1, kafkaText("me"), ""), false},
		"not by a version of then":         {kafkaAsk(3, 99, 1, kafkaText("me"), ""), false},
		"not by a negative correlation id": {kafkaAsk(3, 1, 0x80000001, kafkaText("me"), ""), false},
		"not by a client's id of bytes":    {kafkaAsk(3, 1, 1, kafkaText("\x01\x02\x03"), ""), false},
		"not by an id beyond its message":  {be32(13) + be16(3) + be16(1) + be32(1) + be16(200) + "some", false},
		"not by a size beyond all":         {be32(200<<20) + kafkaAsk(3, 1, 1, kafkaText("me"), "")[4:], false},
		"not by a size of its head alone":  {be32(4) + kafkaAsk(3, 1, 1, kafkaText("me"), "")[4:], false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", asks(c.bytes))
			if is := got[len(got)-1] == "is kafka"; is != c.want {
				t.Errorf("got %q, want it to be recognised: %v", got, c.want)
			}
		})
	}
}

func TestNativeKafkaFindsItselfAgain(t *testing.T) {
	t.Parallel()
	me := kafkaText("me")
	for name, c := range map[string]struct{ ask, answer string }{
		"text":              {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"},
		"zeros":             {strings.Repeat("\x00", 40), strings.Repeat("\x00", 40)},
		"the greatest size": {be32(1<<32-1) + kafkaAsk(3, 1, 2, me, "")[4:], be32(1<<32-1) + be32(1)},
		"a negative size":   {be32(1<<31) + kafkaAsk(3, 1, 2, me, "")[4:], be32(1<<31) + be32(1)},
		"a token of SASL":   {kafkaSized("\x00user\x00secret-secret"), kafkaReply(0x80000000, "")},
		"an id never asked": {kafkaAsk(3, 1, 0xffffffff, me, ""), kafkaReply(5_000_000, "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "kafka", asks(kafkaAsk(3, 1, 1, me, "")), asks(c.ask), answers(c.answer),
				asks(kafkaAsk(3, 1, 2, me, "")), answers(kafkaReply(1, ""), kafkaReply(2, "")))
			// What was asked before an answer was lost is not waited for any more once somebody asks again.
			want := []string{"unmatched kafka lost_framing", "unmatched kafka lost_framing", "kafka method=0 status=0 ok 0 ns 0003",
				"unmatched kafka no_request", "is kafka"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestNativeKafkaBodyThatNobodyCanRead(t *testing.T) {
	t.Parallel()
	// A broker sends records by sendfile: the head in one call, the rest in another whose bytes are not in memory.
	head := be32(4+6+100_000) + be32(9) + kafkaThrottle + kafkaNoError
	got := converse(t, "kafka", asks(kafkaAsk(kafkaFetch, 11, 9, kafkaText("me"), "f")), waits(1), answers(head), waits(1), answersUnread(100_000),
		asks(kafkaAsk(kafkaFetch, 11, 10, kafkaText("me"), "f")), answers(kafkaReply(10, kafkaThrottle+kafkaNoError)))
	want := []string{"kafka method=12 status=0 ok 2 ns 0001", "kafka method=12 status=0 ok 0 ns 0001", "is kafka"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
