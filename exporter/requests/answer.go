package requests

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// An Answer is what a DNS message says of the name that was asked for.
type Answer struct {
	Name      string // in lower case, without a full stop at its end
	Type      dnsmessage.Type
	Addresses []Resolved
}

// Resolved is an address and how long it holds: as long as the shortest of the records that lead to it.
type Resolved struct {
	Addr netip.Addr
	TTL  time.Duration
}

// errNoAnswer is of messages that ask, that fail, or whose question is about no host of the Internet.
var errNoAnswer = errors.New("expected a successful answer about a host")

// maxAnswerRecords bounds what is read of one message; 512 bytes do not have more.
const maxAnswerRecords = 48

// ParseAnswer reads a DNS message that may be cut: what is beyond its end, or beyond what is malformed, is left out. Of the
// addresses only those count to which the name leads by itself or by aliases.
func ParseAnswer(message []byte) (Answer, error) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil {
		return Answer{}, fmt.Errorf("read the header of a DNS message: %w", err)
	}
	q, err := p.Question()
	if err != nil {
		return Answer{}, fmt.Errorf("read the question of a DNS message: %w", err)
	}
	name := hostName(q.Name.String())
	if !header.Response || header.RCode != dnsmessage.RCodeSuccess || q.Class != dnsmessage.ClassINET || name == "" {
		return Answer{}, errNoAnswer
	}
	a := Answer{Name: name, Type: q.Type}
	if p.SkipAllQuestions() == nil {
		a.Addresses = followAliases(name, readRecords(&p))
	}
	return a, nil
}

// A dnsRecord leads from a name to an address, or to another name.
type dnsRecord struct {
	name, alias string
	addr        netip.Addr
	ttl         time.Duration
}

func readRecords(p *dnsmessage.Parser) []dnsRecord {
	var all []dnsRecord
	for range maxAnswerRecords {
		header, err := p.AnswerHeader()
		if err != nil {
			break
		}
		r := dnsRecord{name: foldName(header.Name), ttl: time.Duration(header.TTL) * time.Second}
		if err := readRecord(p, header.Type, &r); err != nil {
			break
		}
		all = append(all, r)
	}
	return all
}

func readRecord(p *dnsmessage.Parser, kind dnsmessage.Type, r *dnsRecord) error {
	switch kind {
	case dnsmessage.TypeA:
		a, err := p.AResource()
		r.addr = netip.AddrFrom4(a.A)
		return err
	case dnsmessage.TypeAAAA:
		a, err := p.AAAAResource()
		r.addr = netip.AddrFrom16(a.AAAA).Unmap()
		return err
	case dnsmessage.TypeCNAME:
		c, err := p.CNAMEResource()
		r.alias = foldName(c.CNAME)
		return err
	}
	return p.SkipAnswer()
}

func foldName(n dnsmessage.Name) string {
	return strings.ToLower(strings.TrimSuffix(n.String(), "."))
}

// followAliases goes from a name by its aliases, of which it has one, to addresses. Each record is used once, so that a
// circle ends.
func followAliases(name string, all []dnsRecord) []Resolved {
	var found []Resolved
	ttl := time.Duration(1<<63 - 1)
	for name != "" {
		alias := ""
		for i := range all {
			r := &all[i]
			if r.name != name {
				continue
			}
			if r.addr.IsValid() {
				found = append(found, Resolved{r.addr, min(ttl, r.ttl)})
				r.addr = netip.Addr{}
			} else if alias == "" && r.alias != "" {
				alias = r.alias
				ttl = min(ttl, r.ttl)
				r.alias = ""
			}
		}
		name = alias
	}
	return found
}
