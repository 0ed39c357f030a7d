package host

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/yagura-io/yagura/rules/event"
)

// Protocols, as facts name them.
const (
	ipv4 = "ipv4"
	ipv6 = "ipv6"
)

// Bounds of what is read of packet filters.
const (
	maxFilterRules = 200_000
	maxFilterDepth = 16 // jumps; the kernel allows as many
	maxFilterPorts = 200
	maxFilterSteps = 1_000_000 // rules looked at in one answer: chains may be reached by many ways
)

// hooks are the places at which facts tell what is filtered.
var hooks = []string{"input", "output", "forward"}

// A verdict is what a rule does with a packet for which it holds.
type verdict uint8

const (
	goesOn verdict = iota // nothing: the next rule is asked
	accepts
	drops
	rejects
	jumps
	goesTo
	returns
)

var verdictNames = [...]string{"", "accept", "drop", "reject", "jump", "goto", "return"}

// A portSpan is a range of ports, both ends in it.
type portSpan struct{ first, last uint16 }

func (r portSpan) String() string {
	if r.first == r.last {
		return fmt.Sprint(r.first)
	}
	return fmt.Sprintf("%d-%d", r.first, r.last)
}

// States of connections, as the kernel numbers them both in nftables and in xtables.
const (
	stateInvalid     = 1 << 0
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateNew         = 1 << 3
	stateUntracked   = 1 << 6
)

// A filterRule is a rule of a packet filter, as far as surveys understand it. Its conditions must all hold.
type filterRule struct {
	family    string // ipv4 or ipv6; empty: both
	in, out   string // interfaces
	inNot     bool   // any other than in
	outNot    bool
	from      netip.Prefix
	fromNot   bool
	protocols []string // tcp, udp, icmp …
	ports     []portSpan
	states    uint32 // any of them; 0: whatever
	more      bool   // there is another condition
	verdict   verdict
	target    string // of jump and goto
}

// unconditional says whether it holds for every packet of a family.
func (r *filterRule) unconditional() bool {
	return r.in == "" && r.out == "" && !r.from.IsValid() && len(r.protocols) == 0 && len(r.ports) == 0 && r.states == 0 && !r.more
}

func (r *filterRule) appliesTo(family string) bool { return r.family == "" || r.family == family }

// within is a rule that is only reached if those before it have held: what they ask for, it asks for, too.
func (r filterRule) within(outer *filterRule) filterRule {
	if r.in == "" {
		r.in, r.inNot = outer.in, outer.inNot
	} else if outer.in != "" && (outer.in != r.in || outer.inNot != r.inNot) {
		r.more = true
	}
	if r.out == "" {
		r.out, r.outNot = outer.out, outer.outNot
	} else if outer.out != "" && (outer.out != r.out || outer.outNot != r.outNot) {
		r.more = true
	}
	if !r.from.IsValid() {
		r.from, r.fromNot = outer.from, outer.fromNot
	} else if outer.from.IsValid() && (outer.from != r.from || outer.fromNot != r.fromNot) {
		r.more = true
	}
	if len(r.protocols) == 0 {
		r.protocols = outer.protocols
	}
	if len(r.ports) == 0 {
		r.ports = outer.ports
	} else if len(outer.ports) > 0 {
		r.more = true
	}
	if r.states == 0 {
		r.states = outer.states
	} else if outer.states != 0 {
		r.states &= outer.states
	}
	r.more = r.more || outer.more
	return r
}

// A filterTable is where chains find each other by name.
type filterTable struct {
	family  string // ipv4, ipv6 or empty for both
	name    string
	dormant bool // its chains are asked about nothing
	chains  map[string]*filterChain
}

// A filterChain is a list of rules. One with a hook is asked by the kernel, others only by rules that lead to them.
type filterChain struct {
	table  *filterTable
	name   string
	hook   string
	policy verdict
	rules  []filterRule
	count  int // rules as they were written: one with sets or maps may stand for several
}

// add enters a rule, or the several that one stands for.
func (c *filterChain) add(rules ...filterRule) {
	c.rules = append(c.rules, rules...)
	c.count++
}

// A filterSet is all that filters packets of a machine.
type filterSet struct {
	tables []*filterTable
	source string // the file, if it is what files say
	err    error  // why it is not known
}

func (fs *filterSet) known() bool { return fs.err == nil }

// table returns the table of a family and name, made if there is none yet.
func (fs *filterSet) table(family, name string) *filterTable {
	for _, t := range fs.tables {
		if t.family == family && t.name == name {
			return t
		}
	}
	t := &filterTable{family: family, name: name, chains: map[string]*filterChain{}}
	fs.tables = append(fs.tables, t)
	return t
}

// chain returns the chain of a name, made if there is none yet.
func (t *filterTable) chain(name string) *filterChain {
	if t.chains[name] == nil {
		t.chains[name] = &filterChain{table: t, name: name, policy: accepts}
	}
	return t.chains[name]
}

// at are the chains that the kernel asks at a hook about packets of a family. A packet must please them all.
func (fs *filterSet) at(hook, family string) (all []*filterChain) {
	for _, t := range fs.tables {
		if t.dormant || t.family != "" && t.family != family {
			continue
		}
		for _, c := range t.chains {
			if c.hook == hook {
				all = append(all, c)
			}
		}
	}
	return all
}

// fate is what becomes of a packet that no condition is about.
func (c *filterChain) fate(family string) verdict {
	steps := 0
	if v := c.follow(family, 0, &steps); v != goesOn {
		return v
	}
	return c.policy
}

func (c *filterChain) follow(family string, depth int, steps *int) verdict {
	for i := range c.rules {
		if *steps++; *steps > maxFilterSteps || depth > maxFilterDepth {
			return goesOn
		}
		r := &c.rules[i]
		if !r.appliesTo(family) || !r.unconditional() {
			continue
		}
		switch r.verdict {
		case accepts, drops, rejects:
			return r.verdict
		case returns:
			return goesOn
		case jumps, goesTo:
			if to := c.table.chains[r.target]; to != nil {
				if v := to.follow(family, depth+1, steps); v != goesOn || r.verdict == goesTo {
					return v
				}
			}
		}
	}
	return goesOn
}

// each calls a function with every rule that packets of a family can come to, with what the rules before it on the way have asked.
func (c *filterChain) each(family string, rule func(r filterRule)) {
	steps := 0
	c.visit(family, &filterRule{}, 0, &steps, rule)
}

func (c *filterChain) visit(family string, outer *filterRule, depth int, steps *int, rule func(r filterRule)) {
	for i := range c.rules {
		if *steps++; *steps > maxFilterSteps || depth > maxFilterDepth {
			return
		}
		if !c.rules[i].appliesTo(family) {
			continue
		}
		r := c.rules[i].within(outer)
		rule(r)
		if to := c.table.chains[r.target]; to != nil && (r.verdict == jumps || r.verdict == goesTo) {
			to.visit(family, &r, depth+1, steps, rule)
		}
		if r.verdict != goesOn && r.verdict != jumps && c.rules[i].unconditional() {
			return // nothing comes behind it
		}
	}
}

// reach notes the chains that packets can come to from this one.
func (c *filterChain) reach(seen map[*filterChain]bool) {
	if seen[c] {
		return
	}
	seen[c] = true
	for i := range c.rules {
		if to := c.table.chains[c.rules[i].target]; to != nil && (c.rules[i].verdict == jumps || c.rules[i].verdict == goesTo) {
			to.reach(seen)
		}
	}
}

// loopInterface is the interface that is the machine's way to itself.
const loopInterface = "lo"

// letsLoopback says whether it accepts all that goes over the loopback interface.
func (r *filterRule) letsLoopback(hook string) bool {
	in, out, not := r.in, r.out, r.inNot
	if hook == "output" {
		in, out, not = r.out, r.in, r.outNot
	}
	return r.verdict == accepts && in == loopInterface && !not && out == "" && !r.from.IsValid() && len(r.protocols) == 0 && len(r.ports) == 0 && r.states == 0 && !r.more
}

// guardsLoopback says whether it refuses packets from other interfaces that claim to come from this machine.
func (r *filterRule) guardsLoopback(family string) bool {
	own := netip.MustParsePrefix("127.0.0.0/8")
	if family == ipv6 {
		own = netip.MustParsePrefix("::1/128")
	}
	anywhere := r.in == "" || r.in == loopInterface && r.inNot
	return (r.verdict == drops || r.verdict == rejects) && r.from == own && !r.fromNot && anywhere && len(r.protocols) == 0 && len(r.ports) == 0 && r.states == 0 && !r.more
}

// letsEstablished says whether it accepts packets of known connections, be it of one protocol.
func (r *filterRule) letsEstablished() bool {
	return r.verdict == accepts && r.states&stateEstablished != 0 && r.in == "" && r.out == "" && !r.from.IsValid() && len(r.ports) == 0 && !r.more
}

// opens are the ports that it accepts by number, with their protocols.
func (r *filterRule) opens(port func(protocol string, r portSpan)) {
	if r.verdict != accepts || r.in == loopInterface && !r.inNot {
		return
	}
	protocols := r.protocols
	if len(protocols) == 0 {
		protocols = []string{"tcp", "udp"}
	}
	for _, protocol := range protocols {
		for _, p := range r.ports {
			port(protocol, p)
		}
	}
}

// openPorts are the ports of TCP and UDP that rules of input accept by their numbers.
type openPorts map[string][]portSpan // by family and protocol

func (fs *filterSet) openPorts() openPorts {
	all := openPorts{}
	for _, family := range []string{ipv4, ipv6} {
		for _, c := range fs.at("input", family) {
			c.each(family, func(r filterRule) {
				r.opens(func(protocol string, p portSpan) {
					if key := family + protocol; len(all[key]) < maxFilterRules {
						all[key] = append(all[key], p)
					}
				})
			})
		}
	}
	return all
}

// admit says whether one of them is that of a socket.
func (o openPorts) admit(l *listener) bool {
	return slices.ContainsFunc(o[l.family()+l.protocol], func(p portSpan) bool { return p.first <= l.at.Port() && l.at.Port() <= p.last })
}

// fact tells what is done at a hook with packets of a family.
func (fs *filterSet) fact(hook, family string) event.Fact {
	f := event.Filter.New(hook+" "+family, fs.source).Set("hook", hook).Set("family", family)
	if !fs.known() {
		return f.Fail(fs.err)
	}
	sum := filterSummary{fate: accepts, loopback: true, established: true}
	chains := fs.at(hook, family)
	for _, c := range chains {
		sum.add(c, hook, family)
	}
	f.Set("chains", int64(len(chains))).Set("rules", int64(sum.rules)).Set("default", verdictNames[sum.fate]).Set("denies", sum.fate != accepts)
	f.Set("accepts_loopback", sum.loopback).Set("established", sum.established)
	if hook == "input" {
		f.Set("guards_loopback", sum.guarded)
	}
	slices.Sort(sum.ports)
	return f.Set("ports", append([]string{}, slices.Compact(sum.ports)...))
}

// A filterSummary is what all chains at one hook do together.
type filterSummary struct {
	fate                           verdict
	rules                          int
	loopback, guarded, established bool
	ports                          []string
}

func (sum *filterSummary) add(c *filterChain, hook, family string) {
	fate := c.fate(family)
	if sum.fate == accepts {
		sum.fate = fate
	}
	loopback, established := fate == accepts, fate == accepts
	seen := map[*filterChain]bool{}
	c.reach(seen)
	for reached := range seen {
		sum.rules += reached.count
	}
	c.each(family, func(r filterRule) {
		loopback = loopback || r.letsLoopback(hook)
		established = established || r.letsEstablished()
		sum.guarded = sum.guarded || r.guardsLoopback(family)
		r.opens(func(protocol string, p portSpan) {
			if len(sum.ports) < maxFilterPorts {
				sum.ports = append(sum.ports, protocol+"/"+p.String())
			}
		})
	})
	sum.loopback, sum.established = sum.loopback && loopback, sum.established && established
}
