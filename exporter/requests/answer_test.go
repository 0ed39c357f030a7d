package requests

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsWire is a DNS answer to a question, with its names compressed as servers compress them.
func dnsWire(t testing.TB, header dnsmessage.Header, name string, kind dnsmessage.Type, records ...dnsmessage.Resource) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: header, Answers: records}
	m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func dnsAddress(name, addr string, ttl uint32) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}
	a := netip.MustParseAddr(addr)
	if a.Is4() {
		return dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}}
	}
	return dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}
}

func dnsAlias(name, target string, ttl uint32) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}
	return dnsmessage.Resource{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target)}}
}

func dnsText(name, value string) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 1}
	return dnsmessage.Resource{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{value}}}
}

func resolvedTo(pairs ...any) (all []Resolved) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Resolved{netip.MustParseAddr(pairs[i].(string)), time.Duration(pairs[i+1].(int)) * time.Second})
	}
	return all
}

var dnsSuccess = dnsmessage.Header{ID: 7, Response: true, RecursionDesired: true, RecursionAvailable: true}

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		asked   string
		records []dnsmessage.Resource
		name    string
		want    []Resolved
	}{
		"addresses": {
			"DB.Example.com.", []dnsmessage.Resource{dnsAddress("db.example.com.", "10.0.0.1", 60), dnsAddress("DB.EXAMPLE.com.", "10.0.0.2", 30)},
			"db.example.com", resolvedTo("10.0.0.1", 60, "10.0.0.2", 30),
		},
		"an address of IPv6, and one that only looks like it": {
			"a.example.", []dnsmessage.Resource{dnsAddress("a.example.", "2001:db8::1", 60), dnsAddress("a.example.", "::ffff:10.0.0.3", 5)},
			"a.example", resolvedTo("2001:db8::1", 60, "10.0.0.3", 5),
		},
		"aliases, of which the shortest holds": {
			"www.example.com.", []dnsmessage.Resource{dnsAlias("www.example.com.", "web.cdn.example.", 300), dnsAlias("web.cdn.example.", "edge.cdn.example.", 20), dnsAddress("edge.cdn.example.", "192.0.2.1", 60)},
			"www.example.com", resolvedTo("192.0.2.1", 20),
		},
		"aliases in another order": {
			"www.example.com.", []dnsmessage.Resource{dnsAddress("edge.cdn.example.", "192.0.2.1", 60), dnsAlias("Web.cdn.example.", "Edge.cdn.example.", 90), dnsAlias("www.example.com.", "web.CDN.example.", 300)},
			"www.example.com", resolvedTo("192.0.2.1", 60),
		},
		"addresses of others": {
			"www.example.com.", []dnsmessage.Resource{dnsAddress("bank.example.", "192.0.2.9", 60), dnsAddress("www.example.com.", "192.0.2.1", 60)},
			"www.example.com", resolvedTo("192.0.2.1", 60),
		},
		"a name with an alias and an address": {
			"a.example.", []dnsmessage.Resource{dnsAlias("a.example.", "b.example.", 10), dnsAddress("a.example.", "192.0.2.1", 60), dnsAddress("b.example.", "192.0.2.2", 60)},
			"a.example", resolvedTo("192.0.2.1", 10, "192.0.2.2", 10),
		},
		"aliases in a circle": {
			"a.example.", []dnsmessage.Resource{dnsAlias("a.example.", "b.example.", 1), dnsAlias("b.example.", "a.example.", 1)},
			"a.example", nil,
		},
		"records of other types": {
			"a.example.", []dnsmessage.Resource{dnsText("a.example.", "v=spf1"), dnsAddress("a.example.", "192.0.2.1", 60)},
			"a.example", resolvedTo("192.0.2.1", 60),
		},
		"no records": {"_sip._tcp.a.example.", nil, "_sip._tcp.a.example", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseAnswer(dnsWire(t, dnsSuccess, c.asked, dnsmessage.TypeA, c.records...))
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != c.name || got.Type != dnsmessage.TypeA || !slices.Equal(got.Addresses, c.want) {
				t.Errorf("got %+v, want %s with %v", got, c.name, c.want)
			}
		})
	}
}

func TestParseAnswerRefuses(t *testing.T) {
	t.Parallel()
	record := dnsAddress("a.example.", "192.0.2.1", 60)
	failed := dnsSuccess
	failed.RCode = dnsmessage.RCodeNameError
	whole := dnsWire(t, dnsSuccess, "a.example.", dnsmessage.TypeA, record)
	chaos := slices.Clone(whole)
	chaos[26] = 3 // the class behind header, name and type
	for name, message := range map[string][]byte{
		"a question":                         dnsWire(t, dnsmessage.Header{ID: 7}, "a.example.", dnsmessage.TypeA),
		"a failure":                          dnsWire(t, failed, "a.example.", dnsmessage.TypeA, record),
		"a name that no host has":            dnsWire(t, dnsSuccess, "a{b}.example.", dnsmessage.TypeA, record),
		"the root":                           dnsWire(t, dnsSuccess, ".", dnsmessage.TypeA),
		"a class that is not the Internet's": chaos,
		"half a header":                      whole[:11],
		"half a question":                    whole[:20],
		"nothing":                            nil,
	} {
		if got, err := ParseAnswer(message); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

func TestParseAnswerOfACutMessage(t *testing.T) {
	t.Parallel()
	var records []dnsmessage.Resource
	var all []Resolved
	for i := range 10 {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		records = append(records, dnsAddress("a.example.", addr.String(), 60))
		all = append(all, Resolved{addr, time.Minute})
	}
	message := dnsWire(t, dnsSuccess, "a.example.", dnsmessage.TypeA, records...)
	const head, each = 12 + 11 + 4, 16 // header and question; a record with its name compressed
	if len(message) != head+10*each {
		t.Fatalf("the message has %d bytes, want %d", len(message), head+10*each)
	}
	for n := head; n <= len(message); n++ {
		got, err := ParseAnswer(message[:n])
		if want := all[:(n-head)/each]; err != nil || !slices.Equal(got.Addresses, want) {
			t.Errorf("of %d bytes: got %v, %v, want %v", n, got.Addresses, err, want)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(dnsWire(f, dnsSuccess, "www.example.com.", dnsmessage.TypeA, dnsAlias("www.example.com.", "web.example.", 300), dnsAddress("web.example.", "192.0.2.1", 60)), 50)
	f.Add(dnsWire(f, dnsSuccess, "a.example.", dnsmessage.TypeAAAA, dnsAddress("a.example.", "2001:db8::1", 60), dnsAddress("a.example.", "2001:db8::2", 60)), 60)
	f.Add(dnsWire(f, dnsmessage.Header{ID: 7}, "a.example.", dnsmessage.TypeA), 12)
	f.Add([]byte("\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"), 18)
	f.Fuzz(func(t *testing.T, message []byte, n int) {
		whole, err := ParseAnswer(message)
		if err != nil {
			return
		}
		if whole.Name == "" || whole.Name != strings.ToLower(whole.Name) || len(whole.Name) > 253 {
			t.Errorf("name %q: want that of a host in lower case", whole.Name)
		}
		if len(whole.Addresses) > maxAnswerRecords {
			t.Errorf("%d addresses, want at most %d", len(whole.Addresses), maxAnswerRecords)
		}
		for _, a := range whole.Addresses {
			if !a.Addr.IsValid() || a.TTL < 0 {
				t.Errorf("address %v", a)
			}
		}
		if n < 0 || n > len(message) {
			return
		}
		part, err := ParseAnswer(message[:n])
		for _, a := range part.Addresses {
			if err != nil || !slices.Contains(whole.Addresses, a) {
				t.Errorf("of %d bytes %v (%v), which the whole message does not have: %v", n, a, err, whole.Addresses)
			}
		}
	})
}
