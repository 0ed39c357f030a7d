package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes of nftables that golang.org/x/sys/unix has not.
const (
	nftLookupSet, nftLookupSource, nftLookupTarget, nftLookupFlags = 1, 2, 3, 5
	nftSetElemCatchAll                                             = 0x2
	nftTableDormant                                                = 0x1
	nftObjrefType                                                  = 1
	nftObjectQuota, nftObjectLimit                                 = 2, 4
	nfDrop, nfAccept                                               = 0, 1
)

// Bounds of what is read of nftables.
const (
	maxAlternatives = 1000 // rules that one rule with sets and maps stands for
	maxElements     = 100_000
)

// nftHooks are the numbers of hooks that facts tell of.
var nftHooks = map[uint32]string{1: "input", 2: "forward", 3: "output"}

// nftFamilies are the families of tables that filter what goes to and from the machine.
var nftFamilies = map[byte]string{unix.NFPROTO_INET: "", unix.NFPROTO_IPV4: ipv4, unix.NFPROTO_IPV6: ipv6}

// An nftReader reads the rules of nftables.
type nftReader struct {
	link *netlink
	to   *filterSet
	sets map[nftSetName][]nftElement
	seen int // elements

	rules int
}

type nftSetName struct {
	family     byte
	table, set string
}

// An nftElement is one element of a set or a map.
type nftElement struct {
	key      []byte
	end      bool // it ends the interval that the one before began, and is not in it
	catchAll bool
	verdict  verdict
	target   string
}

// nftables reads all rules of the network name space that the thread is in. It asks nothing if the kernel would have to load a module
// to answer.
func (s *Surveys) nftables(to *filterSet) error {
	if there, err := s.moduleThere("nf_tables"); err != nil || !there {
		return err
	}
	var err error
	for range 5 {
		set := &filterSet{}
		if err = readNFTables(set); err == nil {
			to.tables = append(to.tables, set.tables...)
			return nil
		}
		if !errors.Is(err, errInterrupted) {
			break
		}
	}
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil // this kernel has none
	}
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: it takes CAP_NET_ADMIN", err)
	}
	return fmt.Errorf("read nftables: %w", err)
}

// moduleThere says whether a module of the kernel is loaded or part of it, or the kernel cannot load any.
func (s *Surveys) moduleThere(name string) (bool, error) {
	loaded, err := s.Proc().Read("modules", maxConfig)
	if Absent(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(loaded)) {
		if strings.HasPrefix(line, name+" ") {
			return true, nil
		}
	}
	release, err := s.Proc().Read("sys/kernel/osrelease", 256)
	if err != nil {
		return false, err
	}
	for _, dir := range []string{"/lib/modules", "/usr/lib/modules"} {
		builtin, err := s.read(path.Join(dir, strings.TrimSpace(string(release)), "modules.builtin"), maxConfig)
		if err == nil {
			return strings.Contains(string(builtin), "/"+name+".ko"), nil
		}
		if !Absent(err) {
			return false, err
		}
	}
	return true, nil // no modules are there that it could load
}

func readNFTables(to *filterSet) error {
	link, err := openNetlink(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer link.close()
	r := &nftReader{link: link, to: to, sets: map[nftSetName][]nftElement{}}
	if err := r.dump(unix.NFT_MSG_GETTABLE, 0, nil, r.table); err != nil {
		return err
	}
	if err := r.dump(unix.NFT_MSG_GETCHAIN, 0, nil, r.chain); err != nil {
		return err
	}
	var names []nftSetName
	err = r.dump(unix.NFT_MSG_GETSET, 0, nil, func(family byte, body []byte) error {
		name := nftSetName{family: family}
		err := attributes(body, func(kind uint16, value []byte) bool {
			switch kind {
			case unix.NFTA_SET_TABLE:
				name.table = cText(value)
			case unix.NFTA_SET_NAME:
				name.set = cText(value)
			}
			return true
		})
		names = append(names, name)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ours := nftFamilies[name.family]; ours {
			if err := r.elements(name); err != nil {
				return err
			}
		}
	}
	return r.dump(unix.NFT_MSG_GETRULE, 0, nil, r.rule)
}

// dump asks for all objects of a kind and calls a function with the family and the attributes of each.
func (r *nftReader) dump(message uint16, family byte, which []byte, each func(family byte, body []byte) error) error {
	question := append([]byte{family, unix.NFNETLINK_V0, 0, 0}, which...)
	return r.link.ask(unix.NFNL_SUBSYS_NFTABLES<<8|message, unix.NLM_F_DUMP, question, func(_ uint16, body []byte) error {
		if len(body) < 4 {
			return fmt.Errorf("an answer of nftables has %d bytes, want at least 4", len(body))
		}
		return each(body[0], body[4:])
	})
}

// table enters a table.
func (r *nftReader) table(family byte, body []byte) error {
	protocol, ours := nftFamilies[family]
	if !ours {
		return nil
	}
	a := nftAttributes(body)
	r.to.table(protocol, cText(a[unix.NFTA_TABLE_NAME])).dormant = bigEndian(a[unix.NFTA_TABLE_FLAGS])&nftTableDormant != 0
	return nil
}

// chain enters a chain.
func (r *nftReader) chain(family byte, body []byte) error {
	protocol, ours := nftFamilies[family]
	if !ours {
		return nil
	}
	var table, name, kind, hook string
	policy := accepts
	err := attributes(body, func(attr uint16, value []byte) bool {
		switch attr {
		case unix.NFTA_CHAIN_TABLE:
			table = cText(value)
		case unix.NFTA_CHAIN_NAME:
			name = cText(value)
		case unix.NFTA_CHAIN_TYPE:
			kind = cText(value)
		case unix.NFTA_CHAIN_POLICY:
			if bigEndian(value) == nfDrop {
				policy = drops
			}
		case unix.NFTA_CHAIN_HOOK:
			hook = nftHooks[uint32(nested(value, unix.NFTA_HOOK_HOOKNUM))]
		}
		return true
	})
	if err != nil {
		return err
	}
	c := r.to.table(protocol, table).chain(name)
	if c.policy = policy; kind == "filter" {
		c.hook = hook
	}
	return nil
}

// bigEndian reads a number as nftables sends it.
func bigEndian(value []byte) (n uint64) {
	if len(value) > 8 {
		return 0
	}
	for _, b := range value {
		n = n<<8 | uint64(b)
	}
	return n
}

// nested reads a number from attributes within an attribute, 0 if it is not there.
func nested(value []byte, want uint16) (n uint64) {
	_ = attributes(value, func(kind uint16, v []byte) bool {
		if kind == want {
			n = bigEndian(v)
		}
		return kind != want
	})
	return n
}

// elements reads those of a set.
func (r *nftReader) elements(name nftSetName) error {
	which := append(attribute(unix.NFTA_SET_ELEM_LIST_TABLE, append([]byte(name.table), 0)), attribute(unix.NFTA_SET_ELEM_LIST_SET, append([]byte(name.set), 0))...)
	err := r.dump(unix.NFT_MSG_GETSETELEM, name.family, which, func(_ byte, body []byte) error {
		return attributes(body, func(kind uint16, value []byte) bool {
			if kind == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				_ = attributes(value, func(_ uint16, element []byte) bool {
					r.seen++
					r.sets[name] = append(r.sets[name], parseElement(element))
					return r.seen < maxElements
				})
			}
			return true
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return errInterrupted // the set has gone since
	}
	if err == nil && r.seen >= maxElements {
		return fmt.Errorf("sets have more than %d elements", maxElements)
	}
	return err
}

func parseElement(body []byte) (e nftElement) {
	_ = attributes(body, func(kind uint16, value []byte) bool {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.key = slices.Clone(dataValue(value))
		case unix.NFTA_SET_ELEM_FLAGS:
			flags := bigEndian(value)
			e.end, e.catchAll = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0, flags&nftSetElemCatchAll != 0
		case unix.NFTA_SET_ELEM_DATA:
			e.verdict, e.target = dataVerdict(value)
		}
		return true
	})
	return e
}

// dataValue is the value in a datum.
func dataValue(datum []byte) (value []byte) {
	_ = attributes(datum, func(kind uint16, v []byte) bool {
		if kind == unix.NFTA_DATA_VALUE {
			value = v
		}
		return true
	})
	return value
}

// nftVerdicts are the numbers of verdicts.
var nftVerdicts = map[int32]verdict{nfDrop: drops, nfAccept: accepts, -3: jumps, -4: goesTo, -5: returns}

// dataVerdict is the verdict in a datum.
func dataVerdict(datum []byte) (v verdict, target string) {
	_ = attributes(datum, func(kind uint16, value []byte) bool {
		if kind == unix.NFTA_DATA_VERDICT {
			v = nftVerdicts[int32(uint32(nested(value, unix.NFTA_VERDICT_CODE)))]
			_ = attributes(value, func(kind uint16, name []byte) bool {
				if kind == unix.NFTA_VERDICT_CHAIN {
					target = cText(name)
				}
				return true
			})
		}
		return true
	})
	return v, target
}

// rule enters a rule.
func (r *nftReader) rule(family byte, body []byte) error {
	protocol, ours := nftFamilies[family]
	if !ours {
		return nil
	}
	var table, chain string
	var expressions []byte
	err := attributes(body, func(kind uint16, value []byte) bool {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			table = cText(value)
		case unix.NFTA_RULE_CHAIN:
			chain = cText(value)
		case unix.NFTA_RULE_EXPRESSIONS:
			expressions = value
		}
		return true
	})
	if err != nil {
		return err
	}
	d := &nftDecoder{reader: r, set: nftSetName{family: family, table: table}, family: protocol, rules: []filterRule{{}}, registers: map[uint64]nftValue{}}
	err = attributes(expressions, func(_ uint16, expression []byte) bool { d.expression(expression); return true })
	if err != nil {
		return err
	}
	c := r.to.table(protocol, table).chain(chain)
	c.add(d.rules...)
	if r.rules += len(d.rules); r.rules > maxFilterRules {
		return fmt.Errorf("there are more than %d rules", maxFilterRules)
	}
	return nil
}

// What a register of nftables holds.
type nftKind uint8

const (
	nftOther nftKind = iota
	nftIn            // an interface's name
	nftOut
	nftInIndex // its number: the loopback interface has 1
	nftOutIndex
	nftFamily   // of the packet
	nftProtocol // above IP
	nftState    // of its connection
	nftSource   // the address that it comes from
	nftPort     // the port that it goes to
)

type nftValue struct {
	kind nftKind
	size int    // bytes that were loaded
	mask []byte // with which it was masked; nil: not
}

// An nftDecoder makes of the expressions of one rule what surveys understand: several rules if it has sets of interfaces or maps.
type nftDecoder struct {
	reader    *nftReader
	set       nftSetName
	family    string
	rules     []filterRule
	registers map[uint64]nftValue
}

func (d *nftDecoder) each(do func(r *filterRule)) {
	for i := range d.rules {
		do(&d.rules[i])
	}
}

func (d *nftDecoder) narrow() { d.each(func(r *filterRule) { r.more = true }) }

// expression takes in one expression.
func (d *nftDecoder) expression(body []byte) {
	var name string
	var data []byte
	_ = attributes(body, func(kind uint16, value []byte) bool {
		switch kind {
		case unix.NFTA_EXPR_NAME:
			name = cText(value)
		case unix.NFTA_EXPR_DATA:
			data = value
		}
		return true
	})
	a := nftAttributes(data)
	switch name {
	case "meta":
		d.load(a[unix.NFTA_META_DREG], nftValue{kind: metaKinds[bigEndian(a[unix.NFTA_META_KEY])]})
	case "payload":
		d.load(a[unix.NFTA_PAYLOAD_DREG], d.payload(bigEndian(a[unix.NFTA_PAYLOAD_BASE]), bigEndian(a[unix.NFTA_PAYLOAD_OFFSET]), bigEndian(a[unix.NFTA_PAYLOAD_LEN])))
	case "ct":
		v := nftValue{}
		if len(a[unix.NFTA_CT_KEY]) > 0 && bigEndian(a[unix.NFTA_CT_KEY]) == unix.NFT_CT_STATE {
			v.kind = nftState
		}
		d.load(a[unix.NFTA_CT_DREG], v)
	case "bitwise":
		v := d.registers[bigEndian(a[unix.NFTA_BITWISE_SREG])]
		v.mask = slices.Clone(dataValue(a[unix.NFTA_BITWISE_MASK]))
		d.load(a[unix.NFTA_BITWISE_DREG], v)
	case "cmp":
		v, data := d.registers[bigEndian(a[unix.NFTA_CMP_SREG])], dataValue(a[unix.NFTA_CMP_DATA])
		d.each(func(r *filterRule) { r.compare(v, bigEndian(a[unix.NFTA_CMP_OP]), data, d.family) })
	case "range":
		d.portSpan(a)
	case "lookup":
		d.lookup(a)
	case "immediate":
		if bigEndian(a[unix.NFTA_IMMEDIATE_DREG]) == 0 {
			v, target := dataVerdict(a[unix.NFTA_IMMEDIATE_DATA])
			d.each(func(r *filterRule) { r.verdict, r.target = v, target })
		}
	case "reject":
		d.each(func(r *filterRule) { r.verdict = rejects })
	case "match":
		d.each(func(r *filterRule) { r.xtMatch(cText(a[unix.NFTA_MATCH_NAME]), a[unix.NFTA_MATCH_INFO]) })
	case "target":
		d.each(func(r *filterRule) { r.xtTarget(cText(a[unix.NFTA_TARGET_NAME])) })
	case "objref":
		if kind := bigEndian(a[nftObjrefType]); kind == nftObjectQuota || kind == nftObjectLimit {
			d.narrow()
		}
	case "counter", "log", "last", "notrack", "nat", "masq", "redir", "dup", "fwd", "tproxy":
	default: // limit, quota, fib, socket … may or may not hold
		if dreg, ok := a[1]; ok && (name == "fib" || name == "rt" || name == "socket" || name == "exthdr" || name == "hash" || name == "numgen" || name == "osf" || name == "xfrm" || name == "tunnel") {
			d.load(dreg, nftValue{})
			return
		}
		d.narrow()
	}
}

// nftAttributes are those of an expression by their number.
func nftAttributes(data []byte) map[uint16][]byte {
	all := map[uint16][]byte{}
	_ = attributes(data, func(kind uint16, value []byte) bool { all[kind] = value; return true })
	return all
}

var metaKinds = map[uint64]nftKind{
	unix.NFT_META_IIF: nftInIndex, unix.NFT_META_OIF: nftOutIndex, unix.NFT_META_IIFNAME: nftIn, unix.NFT_META_OIFNAME: nftOut,
	unix.NFT_META_L4PROTO: nftProtocol, unix.NFT_META_NFPROTO: nftFamily,
}

func (d *nftDecoder) load(register []byte, v nftValue) {
	if register != nil { // else something is stored, which is no condition
		d.registers[bigEndian(register)] = v
	}
}

// payload says what is at a place of a packet.
func (d *nftDecoder) payload(base, offset, size uint64) nftValue {
	family := d.family
	if family == "" && len(d.rules) > 0 {
		family = d.rules[0].family
	}
	v := nftValue{size: int(size)}
	switch {
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && offset == 2 && size == 2:
		v.kind = nftPort
	case base != unix.NFT_PAYLOAD_NETWORK_HEADER:
	case family == ipv4 && offset == 9 && size == 1, family == ipv6 && offset == 6 && size == 1:
		v.kind = nftProtocol
	case family == ipv4 && offset == 12 && size <= 4, family == ipv6 && offset == 8 && size <= 16:
		v.kind = nftSource
	}
	return v
}

// compare takes in that a value is compared with a datum.
func (r *filterRule) compare(v nftValue, op uint64, data []byte, family string) {
	equal, not := op == unix.NFT_CMP_EQ, op == unix.NFT_CMP_NEQ
	switch {
	case v.kind == nftPort && len(data) == 2:
		r.comparePort(op, uint16(bigEndian(data)))
	case v.kind == nftState && not && v.mask != nil && bigEndian(data) == 0:
		r.states = stateBits(v.mask)
	case v.kind == nftState && equal && v.mask != nil && bigEndian(data) == 0:
		r.states = ^stateBits(v.mask)
	case v.kind == nftState && equal && v.mask == nil:
		r.states = stateBits(data)
	case !equal && !not:
		r.more = true
	case v.kind == nftIn && v.mask == nil:
		r.in, r.inNot = interfaceName(data), not
	case v.kind == nftOut && v.mask == nil:
		r.out, r.outNot = interfaceName(data), not
	case v.kind == nftInIndex && v.mask == nil:
		r.in, r.inNot = interfaceOf(data), not
	case v.kind == nftOutIndex && v.mask == nil:
		r.out, r.outNot = interfaceOf(data), not
	case v.kind == nftProtocol && equal && v.mask == nil && len(data) == 1:
		r.protocols = []string{protocolName(uint16(data[0]))}
	case v.kind == nftFamily && equal && len(data) == 1 && data[0] == unix.NFPROTO_IPV4:
		r.family = ipv4
	case v.kind == nftFamily && equal && len(data) == 1 && data[0] == unix.NFPROTO_IPV6:
		r.family = ipv6
	case v.kind == nftSource:
		if r.family != "" {
			family = r.family
		}
		r.from, r.fromNot = sourcePrefix(data, v.mask, family), not
		r.more = r.more || !r.from.IsValid()
	default:
		r.more = true
	}
}

// stateBits reads the states of connections, which are sent in the machine's own order.
func stateBits(data []byte) uint32 {
	if len(data) != 4 {
		return 0
	}
	return native.Uint32(data)
}

// comparePort takes in a comparison with a port. Two of them make a range.
func (r *filterRule) comparePort(op uint64, port uint16) {
	switch last := len(r.ports) - 1; {
	case op == unix.NFT_CMP_EQ:
		r.ports = append(r.ports, portSpan{port, port})
	case op == unix.NFT_CMP_GTE:
		r.ports = append(r.ports, portSpan{port, 0xffff})
	case op == unix.NFT_CMP_LTE && last >= 0 && r.ports[last].last == 0xffff:
		r.ports[last].last = port
	case op == unix.NFT_CMP_LTE:
		r.ports = append(r.ports, portSpan{0, port})
	default:
		r.more = true
	}
}

// interfaceName reads the name of an interface; one that is cut short means all that begin so.
func interfaceName(data []byte) string {
	if slices.Contains(data, 0) {
		return cText(data)
	}
	return string(data) + "*"
}

// interfaceOf names an interface by its number, as far as a survey must know it: the loopback interface is always the first.
func interfaceOf(data []byte) string {
	if len(data) != 4 {
		return "?"
	}
	if n := native.Uint32(data); n != 1 {
		return fmt.Sprintf("#%d", n)
	}
	return loopInterface
}

// protocolName names a protocol above IP.
func protocolName(number uint16) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		return "icmp"
	}
	return fmt.Sprint(number)
}

// sourcePrefix is the network that an address is compared with, of which only the first bytes, or bits, may be asked for.
func sourcePrefix(data, mask []byte, family string) netip.Prefix {
	whole := make([]byte, 4)
	if family == ipv6 {
		whole = make([]byte, 16)
	}
	if len(data) > len(whole) || len(data) == 0 {
		return netip.Prefix{}
	}
	copy(whole, data)
	bits := len(data) * 8
	if mask != nil {
		var ok bool
		if bits, ok = prefixBits(mask); !ok {
			return netip.Prefix{}
		}
	}
	addr, _ := netip.AddrFromSlice(whole)
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// prefixBits counts the bits of a mask, and says whether they are all at its beginning.
func prefixBits(mask []byte) (bits int, ok bool) {
	ended := false
	for _, b := range mask {
		for i := 7; i >= 0; i-- {
			set := b>>i&1 == 1
			if set && ended {
				return 0, false
			}
			if ended = ended || !set; set {
				bits++
			}
		}
	}
	return bits, true
}

func (d *nftDecoder) portSpan(a map[uint16][]byte) {
	v := d.registers[bigEndian(a[unix.NFTA_RANGE_SREG])]
	from, to := dataValue(a[unix.NFTA_RANGE_FROM_DATA]), dataValue(a[unix.NFTA_RANGE_TO_DATA])
	if v.kind != nftPort || bigEndian(a[unix.NFTA_RANGE_OP]) != 0 || len(from) != 2 || len(to) != 2 {
		d.narrow()
		return
	}
	d.each(func(r *filterRule) {
		r.ports = append(r.ports, portSpan{binary.BigEndian.Uint16(from), binary.BigEndian.Uint16(to)})
	})
}

// lookup takes in that a value is looked up in a set or a map.
func (d *nftDecoder) lookup(a map[uint16][]byte) {
	name := d.set
	name.set = cText(a[nftLookupSet])
	elements, v := d.reader.sets[name], d.registers[bigEndian(a[nftLookupSource])]
	target, isMap := a[nftLookupTarget]
	switch {
	case bigEndian(a[nftLookupFlags]) != 0, !isMap && len(elements) == 0: // anything but these, or nothing
		d.narrow()
	case isMap && bigEndian(target) == 0:
		d.verdictMap(v, elements)
	case isMap:
		d.load(target, nftValue{})
		d.narrow()
	case v.kind == nftPort:
		ports := portSpans(elements)
		d.each(func(r *filterRule) { r.ports = append(r.ports, ports...) })
	case v.kind == nftProtocol:
		d.each(func(r *filterRule) {
			for _, e := range elements {
				if len(e.key) == 1 {
					r.protocols = append(r.protocols, protocolName(uint16(e.key[0])))
				}
			}
		})
	case v.kind == nftState && v.mask == nil:
		d.each(func(r *filterRule) {
			for _, e := range elements {
				r.states |= stateBits(e.key)
			}
		})
	case v.kind == nftIn, v.kind == nftOut, v.kind == nftInIndex, v.kind == nftOutIndex:
		d.split(elements, func(r *filterRule, e nftElement) { r.compare(v, unix.NFT_CMP_EQ, e.key, d.family) })
	default:
		d.narrow()
	}
}

// portSpans are the ports of a set, which may be one of intervals: an element that ends one is the first that is not in it.
func portSpans(elements []nftElement) (all []portSpan) {
	sorted := slices.DeleteFunc(slices.Clone(elements), func(e nftElement) bool { return len(e.key) != 2 })
	slices.SortFunc(sorted, func(a, b nftElement) int {
		if by := int(bigEndian(a.key)) - int(bigEndian(b.key)); by != 0 || a.end == b.end {
			return by
		}
		if a.end {
			return -1
		}
		return 1
	})
	intervals := slices.ContainsFunc(sorted, func(e nftElement) bool { return e.end })
	open := -1
	for _, e := range sorted {
		port := int(bigEndian(e.key))
		switch {
		case !intervals:
			all = append(all, portSpan{uint16(port), uint16(port)})
		case !e.end:
			open = port
		case open >= 0:
			all, open = append(all, portSpan{uint16(open), uint16(port - 1)}), -1
		}
	}
	if open >= 0 {
		all = append(all, portSpan{uint16(open), 0xffff})
	}
	return all
}

// verdictMap takes in a map to verdicts: a rule for each element.
func (d *nftDecoder) verdictMap(v nftValue, elements []nftElement) {
	starts := slices.DeleteFunc(slices.Clone(elements), func(e nftElement) bool { return e.end })
	interval := len(starts) != len(elements)
	d.split(starts, func(r *filterRule, e nftElement) {
		if r.verdict, r.target = e.verdict, e.target; e.catchAll {
			return
		}
		if r.compare(v, unix.NFT_CMP_EQ, e.key, d.family); interval {
			r.more = true
		}
	})
}

// split makes of each rule one for each element.
func (d *nftDecoder) split(elements []nftElement, change func(r *filterRule, e nftElement)) {
	if len(d.rules)*len(elements) > maxAlternatives {
		d.narrow()
		return
	}
	var all []filterRule
	for _, r := range d.rules {
		for _, e := range elements {
			one := r
			one.protocols, one.ports = slices.Clone(r.protocols), slices.Clone(r.ports)
			change(&one, e)
			all = append(all, one)
		}
	}
	d.rules = all
}
