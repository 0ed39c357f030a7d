package host

import (
	"cmp"
	"context"
	"encoding/xml"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// A firewallManager is a program that manages the packet filter.
type firewallManager struct {
	name     string
	packages []string
	programs []string
	units    []string
	scripts  []string
}

var firewallManagers = []firewallManager{
	{"ufw", []string{"ufw"}, []string{"ufw"}, []string{"ufw.service"}, []string{"ufw"}},
	{"firewalld", []string{"firewalld"}, []string{"firewalld"}, []string{"firewalld.service"}, []string{"firewalld"}},
	{"nftables", []string{"nftables"}, []string{"nft"}, []string{"nftables.service"}, []string{"nftables"}},
	{"iptables", []string{"iptables"}, []string{"iptables"}, []string{"netfilter-persistent.service", "iptables.service", "ip6tables.service"}, []string{"iptables", "ip6tables", "netfilter-persistent"}},
}

// A firewallState is what is known of a manager.
type firewallState struct {
	exists, enabled, active bool
	doubled                 bool
	configured              *filterSet // by its files; nil if they have no rules
	fact                    event.Fact
}

func (v *firewallState) inUse() bool { return v.enabled || v.active }

// firewallsSurvey reports the managers of the packet filter, and what it does.
func (s *Surveys) firewallsSurvey(_ context.Context, in *installed, report func(event.Fact)) error {
	loaded := &filterSet{}
	if s.Live() {
		loaded = s.loadedFilters(s.firstProcess())
	}
	return s.firewalls(in, loaded, report)
}

// loadedFilters reads what the kernel filters in the network name space of a process.
func (s *Surveys) loadedFilters(pid string) *filterSet {
	set := &filterSet{}
	set.err = s.inNetwork(pid, func() error {
		if err := s.nftables(set); err != nil {
			return err
		}
		return s.xtables(pid, set)
	})
	return set
}

func (s *Surveys) firewalls(in *installed, loaded *filterSet, report func(event.Fact)) error {
	states := make([]firewallState, len(firewallManagers))
	for i := range firewallManagers {
		states[i] = s.firewallState(&firewallManagers[i], in, loaded)
	}
	for i := range states {
		report(s.firewallFact(&states[i], i, states, loaded).Set("doubled", states[i].doubled))
	}
	filters := loaded
	if !s.Live() {
		filters = configuredFilters(states)
	}
	for _, hook := range hooks {
		for _, family := range []string{ipv4, ipv6} {
			report(filters.fact(hook, family).Set("needed", family == ipv4 || s.hasIPv6(s.firstProcess())))
		}
	}
	return nil
}

// hasIPv6 says whether an interface beside the loopback interface has an address of IPv6. Where no kernel runs it may have.
func (s *Surveys) hasIPv6(pid string) bool {
	if !s.Live() {
		return true
	}
	data, err := s.Proc().Read(path.Join(pid, "net/if_inet6"), maxConfig)
	if err != nil {
		return !Absent(err)
	}
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) == 6 && words[5] != loopInterface {
			return true
		}
	}
	return false
}

// configuredFilters are the rules that will be loaded at boot.
func configuredFilters(states []firewallState) *filterSet {
	all := &filterSet{}
	for _, v := range states {
		if v.enabled && v.configured != nil {
			all.tables = append(all.tables, v.configured.tables...)
			all.source = v.fact.Source
		}
	}
	return all
}

// firewallState reads the files of a manager.
func (s *Surveys) firewallState(m *firewallManager, in *installed, loaded *filterSet) firewallState {
	k := &knownService{name: m.name, packages: m.packages, units: m.units, scripts: m.scripts, programs: m.programs}
	service := in.state(k)
	v := firewallState{exists: service.exists || len(in.paths(m.programs)) > 0, enabled: service.enabled}
	v.doubled = m.name != "iptables" && len(in.has([]string{"iptables-persistent", "netfilter-persistent", "iptables-services"})) > 0
	v.fact = event.Firewall.New(m.name, "")
	var err error
	switch m.name {
	case "ufw":
		err = s.ufw(&v)
		v.active = loaded.hasChain(func(c *filterChain) bool { return strings.HasPrefix(c.name, "ufw-") && len(c.rules) > 0 })
	case "firewalld":
		err = s.firewalld(&v)
		v.active = loaded.hasChain(func(c *filterChain) bool { return c.table.name == "firewalld" || c.name == "INPUT_ZONES" })
	case "nftables":
		err = s.nftConfigured(&v)
		v.active = loaded.hasChain(plainNFT)
	case "iptables":
		err = s.iptablesConfigured(&v)
		v.active = loaded.hasChain(plainIptables)
		v.enabled = v.enabled && v.configured != nil
	}
	if err != nil {
		v.fact.Fail(err)
	}
	return v
}

func (fs *filterSet) hasChain(is func(c *filterChain) bool) bool {
	for _, t := range fs.tables {
		for _, c := range t.chains {
			if !t.dormant && is(c) {
				return true
			}
		}
	}
	return false
}

// foreignTables are tables of programs that filter for their own ends.
var foreignTables = []string{"firewalld", "kube-proxy", "libvirt_network", "docker-bridges", "netavark", "calico", "cilium"}

// plainNFT says whether a chain is one of nftables' own: not one that iptables, or a program for its own ends, made by way of it.
func plainNFT(c *filterChain) bool {
	compatible := strings.HasPrefix(c.table.name, "iptables ") || c.table.name == "filter" && c.name == strings.ToUpper(c.hook)
	return c.hook == "input" && !compatible && !slices.Contains(foreignTables, c.table.name)
}

// Beginnings of names of chains that others hook into INPUT: programs for their own ends, and managers of the whole.
var (
	foreignChains  = []string{"KUBE-", "cali-", "CILIUM_", "f2b-", "DOCKER", "LIBVIRT_", "CNI-", "ts-", "AWS-", "WEAVE"}
	managersChains = []string{"ufw", "INPUT_", "IN_"}
)

// plainIptables says whether a chain is INPUT of iptables with rules of somebody's own: no manager made it, and not only programs for their
// own ends did.
func plainIptables(c *filterChain) bool {
	if c.hook != "input" || c.name != "INPUT" {
		return false
	}
	own, managed := c.policy == drops, false
	for _, r := range c.rules {
		managed = managed || hasPrefixed([]string{r.target}, managersChains...)
		own = own || !hasPrefixed([]string{r.target}, foreignChains...)
	}
	return own && !managed
}

func (s *Surveys) firewallFact(v *firewallState, i int, all []firewallState, loaded *filterSet) event.Fact {
	f := v.fact.Set("exists", v.exists).Set("enabled", v.enabled).Set("in_use", v.inUse())
	others := []string{}
	for j := range all {
		if j != i && all[j].inUse() {
			others = append(others, firewallManagers[j].name)
		}
	}
	first := slices.IndexFunc(all, func(v firewallState) bool { return v.exists })
	f.Set("chosen", v.inUse() || len(others) == 0 && i == first)
	f.Set("others", others).Set("alone", v.inUse() && len(others) == 0).Set("persistent", v.configured != nil)
	if s.Live() && loaded.known() {
		f.Set("active", v.active)
	}
	if s.Live() && !loaded.known() {
		return f.Fail(loaded.err)
	}
	if v.configured == nil {
		return f
	}
	for _, hook := range hooks {
		v4, v6 := v.configured.fact(hook, ipv4), v.configured.fact(hook, ipv6)
		weaker := v4.Values["default"]
		if v6.Values["default"] == "accept" && firewallManagers[i].name != "ufw" {
			weaker = "accept"
		}
		f.Set(hook, weaker)
	}
	return f
}

// ufw reads the files of ufw.
func (s *Surveys) ufw(v *firewallState) error {
	conf, err := s.shellFile("/etc/ufw/ufw.conf")
	if err != nil || conf == nil {
		v.enabled = false
		return err
	}
	v.fact.Source = "/etc/ufw/ufw.conf"
	v.enabled = v.enabled && on(conf["ENABLED"].text)
	if level, ok := conf["LOGLEVEL"]; ok {
		v.fact.Set("logging", level.text != "off")
	}
	defaults, err := s.shellFile("/etc/default/ufw")
	if err != nil {
		return err
	}
	v6 := on(defaults["IPV6"].text)
	v.fact.Set("ipv6", v6)
	v.configured = &filterSet{source: "/etc/ufw/ufw.conf"}
	if err := s.ufwFamily(v, ipv4, "", defaults); err != nil || !v6 {
		return err
	}
	return s.ufwFamily(v, ipv6, "6", defaults)
}

// shellFile reads a file of NAME=value lines, nil if it is not there.
func (s *Surveys) shellFile(file string) (map[string]located, error) {
	text, exists, err := s.configText(file)
	if err != nil || !exists {
		return nil, err
	}
	return shellValues(file, text), nil
}

// ufwFamily puts together what ufw loads: its chains, which those of the kernel lead to, and the policies.
func (s *Surveys) ufwFamily(v *firewallState, family, suffix string, defaults map[string]located) error {
	var wrong error
	for _, name := range []string{"before", "user", "after"} {
		file := "/etc/ufw/" + name + suffix + ".rules"
		text, exists, err := s.configText(file)
		if err == nil && exists {
			err = parseRestore(file, text, family, v.configured)
		}
		wrong = cmp.Or(wrong, err)
	}
	table := v.configured.table(family, "iptables filter")
	prefix := "ufw" + suffix + "-"
	for _, hook := range hooks {
		c := table.chain(strings.ToUpper(hook))
		c.hook, c.policy = hook, accepts
		switch strings.ToUpper(defaults["DEFAULT_"+strings.ToUpper(hook)+"_POLICY"].text) {
		case "DROP":
			c.policy = drops
		case "REJECT":
			c.policy = rejects
		}
		for _, when := range []string{"before", "after"} {
			c.add(filterRule{verdict: jumps, target: prefix + when + "-" + hook})
		}
	}
	return wrong
}

// nftFiles are what the service nftables loads, by distribution.
var nftFiles = []string{"/etc/nftables.conf", "/etc/sysconfig/nftables.conf", "/etc/nftables.nft"}

func (s *Surveys) nftConfigured(v *firewallState) error {
	file, err := s.firstThere(nftFiles...)
	if err != nil || file == "" {
		return err
	}
	v.fact.Source = file
	set := &filterSet{source: file}
	err = s.nftFile(file, set)
	if set.hasChain(func(c *filterChain) bool { return c.hook != "" }) {
		v.configured = set
	}
	return err
}

// iptablesFiles are what is restored at boot, by distribution and family.
var iptablesFiles = []struct{ file, family string }{
	{"/etc/iptables/rules.v4", ipv4}, {"/etc/iptables/rules.v6", ipv6}, {"/etc/sysconfig/iptables", ipv4}, {"/etc/sysconfig/ip6tables", ipv6},
	{"/etc/iptables/rules-save", ipv4}, {"/etc/iptables/rules6-save", ipv6}, {"/etc/iptables/iptables.rules", ipv4}, {"/etc/iptables/ip6tables.rules", ipv6},
}

func (s *Surveys) iptablesConfigured(v *firewallState) error {
	set, wrong := &filterSet{}, error(nil)
	for _, row := range iptablesFiles {
		text, exists, err := s.configText(row.file)
		if err == nil && exists {
			v.fact.Source, set.source = cmp.Or(v.fact.Source, row.file), cmp.Or(set.source, row.file)
			err = parseRestore(row.file, text, row.family, set)
		}
		wrong = cmp.Or(wrong, err)
	}
	if len(set.tables) > 0 {
		v.configured = set
	}
	return wrong
}

// A firewalldZone is a file of a zone of firewalld.
type firewalldZone struct {
	Target   string `xml:"target,attr"`
	Services []struct {
		Name string `xml:"name,attr"`
	} `xml:"service"`
	Ports []firewalldPort `xml:"port"`
}

type firewalldPort struct {
	Port     string `xml:"port,attr"`
	Protocol string `xml:"protocol,attr"`
}

// firewalld reads the files of firewalld: of its default zone.
func (s *Surveys) firewalld(v *firewallState) error {
	if !v.exists {
		return nil
	}
	conf, err := s.shellFile("/etc/firewalld/firewalld.conf")
	if err != nil {
		return err
	}
	v.fact.Source = "/etc/firewalld/firewalld.conf"
	if level, ok := conf["LogDenied"]; ok {
		v.fact.Set("logging", level.text != "off")
	}
	name := cmp.Or(conf["DefaultZone"].text, "public")
	v.fact.Set("zone", name)
	var zone firewalldZone
	if found, err := s.firewalldFile("zones", name, &zone); err != nil || !found {
		return err
	}
	v.configured = &filterSet{source: v.fact.Source}
	return s.firewalldRules(v.configured, &zone)
}

// firewalldFile reads a file of firewalld: the machine's own, or that of its package.
func (s *Surveys) firewalldFile(dir, name string, to any) (bool, error) {
	if strings.Contains(name, "/") {
		return false, nil
	}
	for _, base := range []string{"/etc/firewalld", "/usr/lib/firewalld"} {
		text, exists, err := s.configText(path.Join(base, dir, name+".xml"))
		if err != nil {
			return false, err
		}
		if exists {
			return true, xml.Unmarshal([]byte(text), to)
		}
	}
	return false, nil
}

// firewalldRules makes the rules of a zone that stand for all interfaces.
func (s *Surveys) firewalldRules(to *filterSet, zone *firewalldZone) error {
	last := map[string]verdict{"ACCEPT": accepts, "DROP": drops}[zone.Target]
	if last == goesOn {
		last = rejects
	}
	ports := zone.Ports
	for _, service := range zone.Services {
		var file struct {
			Ports []firewalldPort `xml:"port"`
		}
		if _, err := s.firewalldFile("services", service.Name, &file); err != nil {
			return err
		}
		ports = append(ports, file.Ports...)
	}
	table := to.table("", "firewalld")
	for _, hook := range hooks {
		c := table.chain(hook)
		if c.hook, c.policy = hook, last; hook == "output" {
			c.policy = accepts
		}
		c.add(filterRule{states: stateEstablished | stateRelated, verdict: accepts})
		if hook == "forward" {
			continue
		}
		c.add(filterRule{in: loopInterface, verdict: accepts})
		for _, p := range ports {
			if ranges, err := parsePorts(p.Port, "-"); err == nil && p.Port != "" {
				c.add(filterRule{protocols: []string{p.Protocol}, ports: ranges, verdict: accepts})
			}
		}
	}
	return nil
}
