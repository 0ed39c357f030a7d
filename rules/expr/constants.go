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
	f, err := strconv.ParseFloat(v.Text, 64)
	if err != nil {
		return 0, wrong(v, "%q: want a number", v.Text)
	}
	return f, nil
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

// base splits a number into its digits and their base.
func base(text string) (string, int) {
	if hex, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		return hex, 16
	}
	return text, 10
}

func (l *Language[T]) parseInt(k Kind) func(*Literal) (int64, error) {
	return func(v *Literal) (int64, error) {
		digits, negative := strings.CutPrefix(v.Text, "-")
		digits, b := base(digits)
		if negative {
			digits = "-" + digits
		}
		n, err := strconv.ParseInt(digits, b, k.bits())
		return n, numberError(v, k, err)
	}
}

func (l *Language[T]) parseUint(k Kind) func(*Literal) (uint64, error) {
	return func(v *Literal) (uint64, error) {
		digits, b := base(v.Text)
		n, err := strconv.ParseUint(digits, b, k.bits())
		if err != nil && k == Port {
			if port, ok := l.service(v.Text); ok {
				return uint64(port), nil
			}
			return 0, wrong(v, "%q: want a port: a number up to 65535, or the name of a service", v.Text)
		}
		return n, numberError(v, k, err)
	}
}

func numberError(v *Literal, k Kind, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strconv.ErrRange):
		return wrong(v, "%s does not fit into %s", v.Text, k)
	}
	return wrong(v, "%q: want a number (%s)", v.Text, k)
}

func (l *Language[T]) service(name string) (uint16, bool) {
	if l.options.Service == nil {
		return 0, false
	}
	return l.options.Service(name)
}

// parsePrefix reads an address, or for fields of networks a network.
func (l *Language[T]) parsePrefix(k Kind) func(*Literal) (netip.Prefix, error) {
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
