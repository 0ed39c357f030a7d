package bpf

import (
	"slices"
	"testing"
)

func TestNativeRecognisesWhatIsReadInPieces(t *testing.T) {
	t.Parallel()
	k := kafkaAsk(kafkaMetadata, 1, 6, kafkaText("producer-1"), kafkaFewerTopics)
	d := dnsSized(dnsMessage(1, dnsAsks, "www.example.com", dnsA))
	m := mongoAsk(1, 0, "find")
	for _, c := range []struct {
		talk []say
		want []string
	}{
		{[]say{asks(k[:4]), asks(k[4:]), waits(1), answers(kafkaReply(6, "m"))}, []string{"kafka method=0 status=0 ok 1 ns 0003", "is kafka"}},
		{[]say{asks(d[:2]), asks(d[2:]), waits(1), answers(dnsSized(dnsMessage(1, dnsAnswers, "www.example.com", dnsA)))}, []string{"dns method=0 status=0 ok 1 ns -", "is dns"}},
		{[]say{asks(m[:4]), asks(m[4:]), waits(1), answers(mongoFine(2, 1))}, []string{"mongo method=0 status=0 ok 1 ns find", "is mongo"}},
		{[]say{answers("abc"), asks(m[:4]), asks(m[4:]), waits(1), answers(mongoFine(2, 1))}, []string{"mongo method=0 status=0 ok 1 ns find", "is mongo"}},
		{[]say{asks("abc"), answers("d"), asks(k[:4]), answers("e"), asks(k[:4]), asks(k[4:]), waits(1), answers(kafkaReply(6, "m"))}, []string{"kafka method=0 status=0 ok 1 ns 0003", "is kafka"}},
	} {
		if got := converse(t, "auto", c.talk...); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
