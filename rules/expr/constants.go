package expr

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

func parseBool(v *Literal) (bool, error) {
	switch v.Text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, wrong(v, "%q: want true or false", v.Text)
}

func parseFloat(v *Literal) (float64, error) {
	if hex, ok := cutHex(v.Text); ok {
		n, err := strconv.ParseUint(hex, 16, 64)
		return float64(n), numberError(v, Double, err)
	}
	if !isNumber(v.Text) {
		return 0, numberError(v, Double, strconv.ErrSyntax)
	}
	f, err := strconv.ParseFloat(v.Text, 64)
	return f, numberError(v, Double, err)
}

// bits is the width of a kind's numbers.
func (k Kind) bits() int {
	switch k {
	case Uint8:
		return 8
	case Int16, Uint16, Port:
		return 16
	case Int32, Uint32:
		return 32
	}
	return 64
}

// digits takes a number apart: 0x makes it hexadecimal.
func digits(text string) (string, int) {
	if hex, ok := cutHex(text); ok {
		return hex, 16
	}
	return strings.TrimPrefix(text, "+"), 10
}

func (l *Language[T]) parseInt(k Kind) func(*Literal) (int64, error) {
	return func(v *Literal) (int64, error) {
		text, base := digits(v.Text)
		if !isNumber(v.Text) {
			return 0, numberError(v, k, strconv.ErrSyntax)
		}
		n, err := strconv.ParseInt(text, base, k.bits())
		return n, numberError(v, k, err)
	}
}

func (l *Language[T]) parseUint(k Kind) func(*Literal) (uint64, error) {
	return func(v *Literal) (uint64, error) {
		text, base := digits(v.Text)
		if !isNumber(v.Text) {
			return l.named(v, k)
		}
		n, err := strconv.ParseUint(text, base, k.bits())
		return n, numberError(v, k, err)
	}
}

// named is for what is no number: of ports the names of services.
func (l *Language[T]) named(v *Literal, k Kind) (uint64, error) {
	if k != Port {
		return 0, numberError(v, k, strconv.ErrSyntax)
	}
	if l.options.Service != nil {
		if port, ok := l.options.Service(v.Text); ok {
			return uint64(port), nil
		}
	}
	return 0, wrong(v, "%q: want a port: a number up to 65535, or the name of a service", v.Text)
}

func numberError(v *Literal, k Kind, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strconv.ErrRange), k.class() == unsigned && isNumber(v.Text) && v.Text[0] == '-':
		return wrong(v, "%s does not fit into %s", v.Text, k)
	}
	if k == Double {
		return wrong(v, "%q: want a number", v.Text)
	}
	return wrong(v, "%q: want a whole number (%s)", v.Text, k)
}

// parsePrefix reads an address, or for fields of networks a network.
func parsePrefix(k Kind) func(*Literal) (netip.Prefix, error) {
	return func(v *Literal) (netip.Prefix, error) {
		if addr, err := netip.ParseAddr(v.Text); err == nil {
			addr = addr.Unmap().WithZone("")
			return netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if k == IPNet {
			if p, err := netip.ParsePrefix(v.Text); err == nil {
				return unmapPrefix(p), nil
			}
			return netip.Prefix{}, wrong(v, "%q: want an address or a network such as 10.0.0.0/8", v.Text)
		}
		return netip.Prefix{}, wrong(v, "%q: want an address", v.Text)
	}
}

func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
