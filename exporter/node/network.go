package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// A netdevColumn is one number of /proc/net/dev.
type netdevColumn struct {
	*metric
	read func(*procfs.NetDevLine) uint64
}

var netdevColumns = []netdevColumn{
	{netdev("receive", "bytes"), func(l *procfs.NetDevLine) uint64 { return l.RxBytes }},
	{netdev("receive", "packets"), func(l *procfs.NetDevLine) uint64 { return l.RxPackets }},
	{netdev("receive", "errs"), func(l *procfs.NetDevLine) uint64 { return l.RxErrors }},
	{netdev("receive", "drop"), func(l *procfs.NetDevLine) uint64 { return l.RxDropped }},
	{netdev("receive", "fifo"), func(l *procfs.NetDevLine) uint64 { return l.RxFIFO }},
	{netdev("receive", "frame"), func(l *procfs.NetDevLine) uint64 { return l.RxFrame }},
	{netdev("receive", "compressed"), func(l *procfs.NetDevLine) uint64 { return l.RxCompressed }},
	{netdev("receive", "multicast"), func(l *procfs.NetDevLine) uint64 { return l.RxMulticast }},
	{netdev("transmit", "bytes"), func(l *procfs.NetDevLine) uint64 { return l.TxBytes }},
	{netdev("transmit", "packets"), func(l *procfs.NetDevLine) uint64 { return l.TxPackets }},
	{netdev("transmit", "errs"), func(l *procfs.NetDevLine) uint64 { return l.TxErrors }},
	{netdev("transmit", "drop"), func(l *procfs.NetDevLine) uint64 { return l.TxDropped }},
	{netdev("transmit", "fifo"), func(l *procfs.NetDevLine) uint64 { return l.TxFIFO }},
	{netdev("transmit", "colls"), func(l *procfs.NetDevLine) uint64 { return l.TxCollisions }},
	{netdev("transmit", "carrier"), func(l *procfs.NetDevLine) uint64 { return l.TxCarrier }},
	{netdev("transmit", "compressed"), func(l *procfs.NetDevLine) uint64 { return l.TxCompressed }},
}

func netdev(direction, what string) *metric {
	return counter("node_network_"+direction+"_"+what+"_total", fmt.Sprintf("Column %s of %s in /proc/net/dev.", what, direction), "device")
}

var (
	networkUp     = gauge("node_network_up", "1 if the interface is up.", "device")
	networkMTU    = gauge("node_network_mtu_bytes", "Largest packet of the interface.", "device")
	networkSpeed  = gauge("node_network_speed_bytes", "Bytes that the interface can carry in a second.", "device")
	netdevMetrics = append(netdevList(), networkUp, networkMTU, networkSpeed)
)

func netdevList() (list []*metric) {
	for _, c := range netdevColumns {
		list = append(list, c.metric)
	}
	return list
}

func readNetdev(c *Collector, s *scrape) error {
	devices, err := s.net.NetDev()
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(devices)) // always the same ones, should there be too many
	if len(names) > maxDevices {
		s.leftOut += len(names) - maxDevices
		names = names[:maxDevices]
	}
	for _, name := range names {
		line := devices[name]
		for _, column := range netdevColumns {
			s.send(column.metric, float64(column.read(&line)), name)
		}
		dir := filepath.Join(c.o.Sysfs, "class/net", name)
		if state, err := os.ReadFile(filepath.Join(dir, "operstate")); err == nil {
			up := 0.0
			if strings.TrimSpace(string(state)) == "up" {
				up = 1
			}
			s.send(networkUp, up, name)
		}
		if mtu, ok := number(filepath.Join(dir, "mtu")); ok {
			s.send(networkMTU, mtu, name)
		}
		if megabits, ok := number(filepath.Join(dir, "speed")); ok {
			s.send(networkSpeed, megabits*1e6/8, name)
		}
	}
	return nil
}

// number reads a file with nothing but a number; false if there is none, as speed has for an interface that is down.
func number(path string) (float64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return v, err == nil
}

var netstatMetrics, netstatByName = fields("node_netstat_", strings.Fields(`Icmp6_InErrors Icmp6_InMsgs Icmp6_OutMsgs Icmp_InErrors
	Icmp_InMsgs Icmp_OutMsgs Ip6_InOctets Ip6_OutOctets IpExt_InOctets IpExt_OutOctets Ip_Forwarding TcpExt_ListenDrops
	TcpExt_ListenOverflows TcpExt_SyncookiesFailed TcpExt_SyncookiesRecv TcpExt_SyncookiesSent TcpExt_TCPSynRetrans
	TcpExt_TCPTimeouts Tcp_ActiveOpens Tcp_CurrEstab Tcp_InErrs Tcp_InSegs Tcp_OutRsts Tcp_OutSegs Tcp_PassiveOpens
	Tcp_RetransSegs Udp6_InDatagrams Udp6_InErrors Udp6_NoPorts Udp6_OutDatagrams Udp6_RcvbufErrors Udp6_SndbufErrors
	UdpLite6_InErrors UdpLite_InErrors Udp_InDatagrams Udp_InErrors Udp_NoPorts Udp_OutDatagrams Udp_RcvbufErrors Udp_SndbufErrors`),
	untyped, "Number %s of /proc/net/snmp, snmp6 or netstat.")

func readNetstat(c *Collector, s *scrape) error {
	send := func(protocol, name string, v float64) {
		if m := netstatByName[protocol+"_"+name]; m != nil {
			s.send(m, v)
		}
	}
	for _, file := range []string{"netstat", "snmp"} {
		data, err := os.ReadFile(filepath.Join(c.networkRoot(), "net", file))
		if err != nil {
			return err
		}
		if err := pairs(data, send); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(c.networkRoot(), "net/snmp6"))
	if err != nil {
		return err // no IPv6
	}
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) != 2 {
			continue
		}
		for name, m := range netstatByName { // they say Ip6InOctets
			if strings.Replace(name, "_", "", 1) == f[0] && strings.Contains(name, "6_") {
				if v, err := strconv.ParseFloat(f[1], 64); err == nil {
					s.send(m, v)
				}
			}
		}
	}
	return nil
}

var sockstatMetrics, sockstatByName = fields("node_sockstat_", strings.Fields(`sockets_used TCP_inuse TCP_orphan TCP_tw TCP_alloc TCP_mem
	TCP_mem_bytes UDP_inuse UDP_mem UDP_mem_bytes UDPLITE_inuse RAW_inuse FRAG_inuse FRAG_memory TCP6_inuse UDP6_inuse
	UDPLITE6_inuse RAW6_inuse FRAG6_inuse FRAG6_memory`), gauge, "Number %s of /proc/net/sockstat or sockstat6.")

// readSockstat reads lines "TCP: inuse 5 orphan 0". Memory is in pages.
func readSockstat(c *Collector, s *scrape) error {
	for _, file := range []string{"sockstat", "sockstat6"} {
		data, err := os.ReadFile(filepath.Join(c.networkRoot(), "net", file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range bytes.Lines(data) {
			f := strings.Fields(string(line))
			for i := 1; i+1 < len(f); i += 2 {
				name := strings.TrimSuffix(f[0], ":") + "_" + f[i]
				v, err := strconv.ParseFloat(f[i+1], 64)
				if err != nil {
					return fmt.Errorf("%s: %s: %q: want a number", file, name, f[i+1])
				}
				if m := sockstatByName[name]; m != nil {
					s.send(m, v)
				}
				if m := sockstatByName[name+"_bytes"]; m != nil {
					s.send(m, v*float64(os.Getpagesize()))
				}
			}
		}
	}
	return nil
}

var (
	softnetDone     = counter("node_softnet_processed_total", "Packets that each processor took from the network.", "cpu")
	softnetDropped  = counter("node_softnet_dropped_total", "Packets dropped for want of room in a processor's backlog.", "cpu")
	softnetSqueezed = counter("node_softnet_times_squeezed_total", "How often a processor ran out of its budget for packets.", "cpu")
	softnetMetrics  = []*metric{softnetDone, softnetDropped, softnetSqueezed}
)

func readSoftnet(_ *Collector, s *scrape) error {
	stats, err := s.net.NetSoftnetStat()
	if err != nil {
		return err
	}
	for _, n := range stats {
		cpu := strconv.FormatUint(uint64(n.Index), 10)
		s.send(softnetDone, float64(n.Processed), cpu)
		s.send(softnetDropped, float64(n.Dropped), cpu)
		s.send(softnetSqueezed, float64(n.TimeSqueezed), cpu)
	}
	return nil
}

var (
	conntrackEntries = gauge("node_nf_conntrack_entries", "Connections that the kernel tracks.")
	conntrackLimit   = gauge("node_nf_conntrack_entries_limit", "Connections that the kernel can track.")
	conntrackMetrics = []*metric{conntrackEntries, conntrackLimit}
)

func readConntrack(c *Collector, s *scrape) error {
	for file, m := range map[string]*metric{"nf_conntrack_count": conntrackEntries, "nf_conntrack_max": conntrackLimit} {
		if v, ok := number(filepath.Join(c.o.Procfs, "sys/net/netfilter", file)); ok {
			s.send(m, v)
		}
	}
	return nil
}
