package host

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

// maxInterfaces bounds how many network interfaces are told of; a node with many containers has hundreds.
const maxInterfaces = 5000

// Interfaces reports the network interfaces of the name space that this process is in.
func (s *Surveys) Interfaces(ctx context.Context, report func(event.Fact)) error {
	if !s.Live() {
		return event.ErrNotLive
	}
	names, err := s.Sys().ReadDir("class/net")
	if err != nil {
		return err
	}
	if len(names) > maxInterfaces {
		return fmt.Errorf("/sys/class/net: more than %d interfaces", maxInterfaces)
	}
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n.Type == "link" || n.Type == "directory" { // else it is bonding_masters
			report(s.interfaceFact(n.Name))
		}
	}
	return nil
}

func (s *Surveys) interfaceFact(name string) event.Fact {
	dir := path.Join("class/net", name)
	f := event.Interface.New(name, "")
	text, err := s.Sys().Read(path.Join(dir, "flags"), 64)
	if err != nil {
		return f.Fail(err)
	}
	flags, err := strconv.ParseUint(strings.TrimSpace(string(text)), 0, 32)
	if err != nil {
		return f.Fail(fmt.Errorf("/sys/%s/flags: %w", dir, err))
	}
	port := s.sysThere(path.Join(dir, "brport")) || s.sysThere(path.Join(dir, "master"))
	f.Set("up", flags&unix.IFF_UP != 0).Set("loopback", flags&unix.IFF_LOOPBACK != 0)
	f.Set("promiscuous", flags&unix.IFF_PROMISC != 0 && !port)
	f.Set("wireless", s.sysThere(path.Join(dir, "wireless")) || s.sysThere(path.Join(dir, "phy80211")))
	disabled, err := s.Proc().Read(path.Join("sys/net/ipv6/conf", name, "disable_ipv6"), 64)
	return f.Set("ipv6", err == nil && strings.TrimSpace(string(disabled)) == "0")
}

func (s *Surveys) sysThere(file string) bool {
	_, err := s.Sys().Lstat(file)
	return err == nil
}
