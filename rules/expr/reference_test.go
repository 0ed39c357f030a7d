package expr

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The reference: what the language means, evaluated over the tree as plainly as can be, with nothing of the compiler's.
// It reads the records of the tests itself and has its own texts, globs, paths, numbers and networks.

// refTraits says of the fields of the tests what the reference must know.
type refTraits struct {
	kind                string // text, bytes, bool, number, addr, net
	list, two, resolved bool
}

func traitsOf(name string) refTraits {
	switch name {
	case "evt.buffer":
		return refTraits{kind: "bytes"}
	case "evt.failed", "evt.is_io":
		return refTraits{kind: "bool"}
	case "fd.sip", "fd.cip":
		return refTraits{kind: "addr"}
	case "fd.snet":
		return refTraits{kind: "net"}
	case "fd.ip":
		return refTraits{kind: "addr", two: true}
	case "fd.net":
		return refTraits{kind: "net", two: true}
	case "fd.port":
		return refTraits{kind: "number", two: true}
	case "fd.sip.name":
		return refTraits{kind: "addr", resolved: true}
	case "fd.types", "proc.args":
		return refTraits{kind: "text", list: true}
	case "list.numbers":
		return refTraits{kind: "number", list: true}
	case "evt.num", "user.uid", "fd.sport", "fd.lport", "evt.cpu", "fd.dev", "evt.rawres", "proc.pid", "proc.small", "proc.short",
		"thread.cpu", "proc.duration", "evt.rawtime", "proc.apid":
		return refTraits{kind: "number"}
	}
	return refTraits{kind: "text"}
}

// refValue is what an operand is of a record: present tells an empty list from an absent one.
type refValue struct {
	refTraits
	all     []any
	present bool
}

func refEval(n Node, r *record) bool {
	switch n := n.(type) {
	case *And:
		truth := true
		for _, item := range n.Items {
			truth = refEval(item, r) && truth
		}
		return truth
	case *Or:
		truth := false
		for _, item := range n.Items {
			truth = refEval(item, r) || truth
		}
		return truth
	case *Not:
		return !refEval(n.Item, r)
	case *Check:
		return refCheck(n, r)
	}
	panic("no condition")
}

func refCheck(c *Check, r *record) bool {
	left := refOperand(c.Left, r)
	if c.Op == "exists" {
		return len(left.all) > 0
	}
	var right []any
	switch o := c.Right.(type) {
	case *Literal:
		right = []any{o.Text}
	case *List:
		for _, item := range o.Items {
			right = append(right, item.(*Literal).Text)
		}
	default:
		right = refOperand(c.Right, r).all
	}
	passed := 0
	for _, a := range left.all {
		matched := 0
		for _, b := range right {
			if refCompare(left.refTraits, c.Op, a, b) {
				matched++
			}
		}
		if c.Modifier == "allof" && matched == len(right) && matched > 0 || c.Modifier != "allof" && matched > 0 {
			passed++
		}
	}
	if left.list && c.Op == "in" || left.two && c.Op == "!=" {
		return passed == len(left.all) && passed > 0
	}
	return passed > 0
}

func refOperand(o Operand, r *record) refValue {
	switch o := o.(type) {
	case *FieldRef:
		v := refValue{refTraits: traitsOf(o.Name)}
		name := o.Name
		if name == "evt.arg" {
			name += "." + o.Arg
		}
		v.all = (*r)[name]
		if i, err := strconv.Atoi(o.Arg); err == nil && o.HasArg {
			v.all = v.all[min(i, len(v.all)):min(i+1, len(v.all))]
		}
		v.present = len(v.all) > 0
		return v
	case *Literal:
		return refValue{refTraits{kind: "text"}, []any{o.Text}, true}
	case *List:
		v := refValue{refTraits: refTraits{kind: "text", list: true}, present: true}
		for _, item := range o.Items {
			v.all = append(v.all, item.(*Literal).Text)
		}
		return v
	case *Transformer:
		args := make([]refValue, len(o.Args))
		for i, a := range o.Args {
			args[i] = refOperand(a, r)
		}
		return refTransform(o, args)
	}
	panic("no operand")
}

func refTransform(t *Transformer, args []refValue) refValue {
	text := refValue{refTraits: refTraits{kind: "text"}}
	for _, a := range args {
		if !a.present {
			text.list = t.Name == "getopt" || (t.Name == "tolower" || t.Name == "toupper" || t.Name == "basename") && args[0].list
			if t.Name == "len" {
				text.kind = "number"
			}
			return text
		}
	}
	text.present = true
	switch t.Name {
	case "len":
		text.kind = "number"
		n := len(args[0].all)
		if !args[0].list {
			switch v := args[0].all[0].(type) {
			case string:
				n = len(v)
			case []byte:
				n = len(v)
			}
		}
		text.all = []any{uint64(n)}
	case "concat":
		s := ""
		for _, a := range args {
			s += a.all[0].(string)
		}
		text.all = []any{s}
	case "join":
		s := ""
		for i, v := range args[1].all {
			if i > 0 {
				s += args[0].all[0].(string)
			}
			s += v.(string)
		}
		text.all = []any{s}
	case "b64":
		raw, err := base64.RawStdEncoding.DecodeString(strings.TrimSuffix(strings.TrimSuffix(args[0].all[0].(string), "="), "="))
		if text.present = err == nil; err == nil {
			text.all = []any{string(raw)}
		}
	default:
		text.list = args[0].list
		for _, v := range args[0].all {
			text.all = append(text.all, refMap(t.Name, v.(string)))
		}
	}
	return text
}

func refMap(name, s string) string {
	if name == "basename" {
		parts := strings.Split(s, "/")
		return parts[len(parts)-1]
	}
	out := ""
	for _, c := range []byte(s) {
		switch {
		case name == "tolower" && c >= 'A' && c <= 'Z':
			c += 32
		case name == "toupper" && c >= 'a' && c <= 'z':
			c -= 32
		}
		out += string([]byte{c})
	}
	return out
}

// refCompare compares one value with another, which is a text if it stands in the condition.
func refCompare(traits refTraits, op string, a, b any) bool {
	if op == "!=" {
		return !refCompare(traits, "=", a, b)
	}
	if op == "in" || op == "intersects" || op == "==" {
		op = "="
	}
	switch traits.kind {
	case "text":
		return refText(op, a.(string), b.(string))
	case "bytes":
		return refBytes(op, string(a.([]byte)), b)
	case "bool":
		if text, ok := b.(string); ok {
			b = text == "true"
		}
		return a == b
	case "number":
		return refNumber(op, a, b)
	}
	return refAddress(traits, a.(netip.Addr), b)
}

func refText(op, a, b string) bool {
	switch op {
	case "=":
		return a == b
	case "<":
		return slices.Compare([]byte(a), []byte(b)) < 0
	case "<=":
		return slices.Compare([]byte(a), []byte(b)) <= 0
	case ">":
		return slices.Compare([]byte(a), []byte(b)) > 0
	case ">=":
		return slices.Compare([]byte(a), []byte(b)) >= 0
	case "contains":
		return refContains(a, b)
	case "icontains":
		return refContains(refMap("tolower", a), refMap("tolower", b))
	case "startswith":
		return len(a) >= len(b) && a[:len(b)] == b
	case "endswith":
		return len(a) >= len(b) && a[len(a)-len(b):] == b
	case "glob":
		return refGlob(b, a)
	case "iglob":
		return refGlob(refMap("tolower", b), refMap("tolower", a))
	case "regex":
		at := refRegex(b).FindStringIndex(a)
		return at != nil && at[0] == 0 && at[1] == len(a)
	case "pmatch":
		return refPath(a, b)
	}
	panic(op)
}

var refExpressions sync.Map

func refRegex(text string) *regexp.Regexp {
	if r, ok := refExpressions.Load(text); ok {
		return r.(*regexp.Regexp)
	}
	r := regexp.MustCompile(text)
	r.Longest()
	refExpressions.Store(text, r)
	return r
}

func refContains(a, b string) bool {
	for i := 0; i+len(b) <= len(a); i++ {
		if a[i:i+len(b)] == b {
			return true
		}
	}
	return false
}

// refGlob knows * and ?, […] without named classes, and the backslash.
func refGlob(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		return refGlob(pattern[1:], s) || s != "" && refGlob(pattern, s[1:])
	}
	if s == "" {
		return false
	}
	switch pattern[0] {
	case '?':
		return refGlob(pattern[1:], s[1:])
	case '\\':
		return len(pattern) > 1 && pattern[1] == s[0] && refGlob(pattern[2:], s[1:])
	case '[':
		if end := strings.IndexByte(pattern[1:], ']'); end > 0 && (end > 1 || pattern[1] != '!') {
			return refClass(pattern[1:1+end], s[0]) && refGlob(pattern[2+end:], s[1:])
		}
	}
	return pattern[0] == s[0] && refGlob(pattern[1:], s[1:])
}

func refClass(class string, c byte) bool {
	if class[0] == '!' || class[0] == '^' {
		return !refMember(class[1:], c)
	}
	return refMember(class, c)
}

func refMember(class string, c byte) bool {
	for i := 0; i < len(class); i++ {
		if i+2 < len(class) && class[i+1] == '-' {
			if class[i] <= c && c <= class[i+2] {
				return true
			}
			i += 2
		} else if class[i] == c {
			return true
		}
	}
	return false
}

// refPath compares cleaned paths component by component.
func refPath(a, b string) bool {
	if a == "" || b == "" || path.IsAbs(a) != path.IsAbs(b) {
		return false
	}
	split := func(s string) (parts []string) {
		for _, part := range strings.Split(s, "/") {
			if part != "" {
				parts = append(parts, part)
			}
		}
		return parts
	}
	values, pattern := split(a), split(b)
	if len(pattern) > len(values) {
		return false
	}
	for i, part := range pattern {
		isGlob := strings.ContainsAny(part, "*?[") // without these a backslash is one
		if isGlob && !refGlob(part, values[i]) || !isGlob && part != values[i] {
			return false
		}
	}
	return true
}

func refBytes(op, a string, b any) bool {
	text, ok := b.(string)
	if !ok {
		text = string(b.([]byte))
	}
	if op[0] == 'b' {
		raw := ""
		for i := 0; i < len(text); i += 2 {
			n, _ := strconv.ParseUint(text[i:i+2], 16, 8)
			raw += string([]byte{byte(n)})
		}
		op, text = op[1:], raw
	}
	return refText(op, a, text)
}

func refNumber(op string, a, b any) bool {
	x, y := refBig(a), refBig(b)
	switch order := x.Cmp(y); op {
	case "=":
		return order == 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	}
	panic(op)
}

func refBig(v any) *big.Rat {
	switch v := v.(type) {
	case int64:
		return new(big.Rat).SetInt64(v)
	case uint64:
		return new(big.Rat).SetUint64(v)
	case float64:
		return new(big.Rat).SetFloat64(v)
	}
	if v == "ssh" {
		return big.NewRat(22, 1)
	}
	n, ok := new(big.Rat).SetString(v.(string))
	if !ok {
		panic(v)
	}
	return n
}

// refAddress compares bit by bit. The first 96 bits of an IPv4 address are those of one mapped to IPv6.
func refAddress(traits refTraits, a netip.Addr, b any) bool {
	if other, ok := b.(netip.Addr); ok {
		return a.As16() == other.As16()
	}
	text := b.(string)
	if traits.resolved {
		for _, host := range hosts[text] {
			if host.As16() == a.As16() {
				return true
			}
		}
		return false
	}
	address, size, network := strings.Cut(text, "/")
	other := netip.MustParseAddr(address)
	bits := 128
	if network {
		if bits, _ = strconv.Atoi(size); other.Is4() {
			bits += 96
		}
	}
	x, y := a.As16(), other.As16()
	for i := range bits {
		if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return true
}
