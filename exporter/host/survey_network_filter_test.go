package host

import (
	"slices"
	"strings"
	"testing"
)

func TestNFTFileSaysWhatTheKernelSays(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/nftables.conf": nftRules})
	set := &filterSet{}
	if err := s.nftFile("/etc/nftables.conf", set); err != nil {
		t.Fatal(err)
	}
	facts := filterFacts(set)
	for subject, want := range nftExpected {
		expect(t, facts[subject], want)
	}
}

func TestNFTFileWithIncludesCommandsAndSlips(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/nftables.conf":    "include \"/etc/nftables.d/*.nft\"\ninclude \"/etc/loop.conf\"\n",
		"etc/nftables.d/1.nft": "add table inet f\nadd chain inet f input { type filter hook input priority 0 ; policy drop ; }\nadd rule inet f input iifname lo accept\nadd rule inet f input meta iif eth0 tcp dport { ssh, 8000-8001 } limit rate 3/minute burst 5 packets accept\n",
		"etc/nftables.d/2.nft": "add rule inet f input ct state established,related counter packets 1 bytes 2 accept\nadd rule inet f input iif != lo ip saddr 127.0.0.0/8 log prefix \"lo; { \" level info drop\nadd set inet f s { type inet_service; }\nadd element inet f s { 25, 26 }\nadd rule inet f input udp dport @s accept\n",
		"etc/loop.conf":        "include \"/etc/loop.conf\"\ntable bridge b { chain input { type filter hook input priority 0; policy accept; } }\n",
	})
	set := &filterSet{}
	if err := s.nftFile("/etc/nftables.conf", set); err == nil || !strings.Contains(err.Error(), "/etc/loop.conf:1: want fewer included files") {
		t.Errorf("a file that includes itself: %v", err)
	}
	expect(t, set.fact("input", ipv4), map[string]any{"chains": 1, "rules": 5, "default": "drop", "accepts_loopback": true, "guards_loopback": true, "established": true,
		"ports": []string{"tcp/22", "tcp/8000-8001", "udp/25", "udp/26"}})
	for text, wrong := range map[string]string{
		"table inet f { chain input {\ntype filter hook input priority 0\n": "x:2: want } at the end of chain input",
		"tabel inet f {\n}\n":                       "x:1: want table, add, define, include or flush, got \"tabel\"",
		"table f { chain c { policy maybe; } }":     "x:1: want policy accept or drop, got \"maybe\"",
		"define a b":                                "x:1: want define NAME = value",
		"table inet f {\nchain input { accept; }\n": "x:2: want } at the end of table f",
	} {
		if err := s.nftText("x", text, &filterSet{}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %s", text, err, wrong)
		}
	}
}

func TestRestoreFileSaysWhatTheKernelSays(t *testing.T) {
	t.Parallel()
	set := &filterSet{}
	if err := parseRestore("rules.v4", iptablesRules, ipv4, set); err != nil {
		t.Fatal(err)
	}
	facts := filterFacts(set)
	for subject, want := range iptablesExpected {
		expect(t, facts[subject], want)
	}
	for text, wrong := range map[string]string{
		"-A INPUT -j ACCEPT\n":                                  "f:1: want *table first",
		"*filter\nsomething else\n":                             "f:2: want *table, :CHAIN POLICY, -A CHAIN or COMMIT",
		"*filter\n:INPUT DROP\n-A INPUT --dport many -j ACCEPT": "f:3: want a port's number",
	} {
		if err := parseRestore("f", text, ipv4, &filterSet{}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %s", text, err, wrong)
		}
	}
}

// ufwFiles are those of ufw 0.36 with SSH let in, cut to what counts.
var ufwFiles = map[string]string{
	"usr/sbin/ufw":         "",
	"etc/ufw/ufw.conf":     "ENABLED=yes\nLOGLEVEL=low\n",
	"etc/default/ufw":      "IPV6=no\nDEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_OUTPUT_POLICY=\"ACCEPT\"\nDEFAULT_FORWARD_POLICY=\"DROP\"\n",
	"etc/ufw/before.rules": "*filter\n:ufw-before-input - [0:0]\n:ufw-before-output - [0:0]\n-A ufw-before-input -i lo -j ACCEPT\n-A ufw-before-output -o lo -j ACCEPT\n-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A ufw-before-input -m conntrack --ctstate INVALID -j DROP\n-A ufw-before-input -p udp -d 239.255.255.250 --dport 1900 -j ACCEPT\n-A ufw-before-input -j ufw-user-input\nCOMMIT\n",
	"etc/ufw/user.rules":   "*filter\n:ufw-user-input - [0:0]\n### RULES ###\n### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-input -p tcp --dport 22 -j ACCEPT\n-A ufw-user-input -s 127.0.0.0/8 -j DROP\nCOMMIT\n",
	"etc/ufw/after.rules":  "*filter\n:ufw-after-input - [0:0]\nCOMMIT\n",
	"etc/systemd/system/multi-user.target.wants/ufw.service": "",
	"usr/lib/systemd/system/ufw.service":                     "[Unit]\n[Install]\nWantedBy=multi-user.target\n",
}

func TestFirewallsOfFiles(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for name, text := range ufwFiles {
		files[name] = text
	}
	files["var/lib/dpkg/status"] = "Package: ufw\nStatus: install ok installed\nVersion: 1\n\nPackage: iptables-persistent\nStatus: install ok installed\nVersion: 1\n"
	facts := networkFactsOf(t, plant(t, files), "firewalls")
	expect(t, facts["firewall ufw"], map[string]any{"exists": true, "enabled": true, "in_use": true, "alone": true, "chosen": true, "doubled": true, "input": "drop", "output": "accept", "forward": "drop", "ipv6": false, "logging": true, "active": nil, "others": []string{}})
	expect(t, facts["firewall nftables"], map[string]any{"exists": false, "enabled": false, "in_use": false, "alone": false, "chosen": false, "others": []string{"ufw"}})
	expect(t, facts["filter input ipv4"], map[string]any{"default": "drop", "accepts_loopback": true, "guards_loopback": true, "established": true, "needed": true, "ports": []string{"tcp/22", "udp/1900"}})
	expect(t, facts["filter input ipv6"], map[string]any{"chains": 0, "default": "accept"})
	if f := facts["filter input ipv4"]; f.Source != "/etc/ufw/ufw.conf" {
		t.Errorf("the filter's source is %q", f.Source)
	}

	files["etc/ufw/ufw.conf"] = "ENABLED=no\n"
	facts = networkFactsOf(t, plant(t, files), "firewalls")
	expect(t, facts["firewall ufw"], map[string]any{"exists": true, "enabled": false, "in_use": false, "chosen": true, "alone": false})
	expect(t, facts["filter input ipv4"], map[string]any{"chains": 0, "default": "accept", "denies": false})
}

func TestFirewallsOfFirewalldAndOthers(t *testing.T) {
	t.Parallel()
	unit := "[Install]\nWantedBy=multi-user.target\n"
	s := plant(t, map[string]string{
		"usr/bin/systemctl": "", "usr/sbin/firewalld": "", "usr/sbin/nft": "", "usr/sbin/iptables": "",
		"usr/lib/systemd/system/firewalld.service": unit, "etc/systemd/system/multi-user.target.wants/firewalld.service": unit,
		"usr/lib/systemd/system/nftables.service": unit, "etc/systemd/system/sysinit.target.wants/nftables.service": unit,
		"usr/lib/systemd/system/iptables.service": unit, "etc/systemd/system/basic.target.wants/iptables.service": unit,
		"etc/firewalld/firewalld.conf":       "DefaultZone=office\nLogDenied=off\n",
		"etc/firewalld/zones/office.xml":     `<zone><service name="ssh"/><port port="8000-8002" protocol="tcp"/></zone>`,
		"usr/lib/firewalld/services/ssh.xml": `<service><port protocol="tcp" port="22"/></service>`,
		"etc/sysconfig/nftables.conf":        "table inet f {\nchain i { type filter hook input priority 0; policy accept; }\n}\n",
		"etc/sysconfig/iptables":             "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j REJECT\nCOMMIT\n",
	})
	facts := networkFactsOf(t, s, "firewalls")
	expect(t, facts["firewall firewalld"], map[string]any{"enabled": true, "zone": "office", "input": "reject", "output": "accept", "logging": false, "alone": false, "others": []string{"nftables", "iptables"}, "persistent": true})
	expect(t, facts["firewall nftables"], map[string]any{"enabled": true, "input": "accept", "persistent": true})
	expect(t, facts["firewall iptables"], map[string]any{"enabled": true, "input": "accept", "persistent": true}) // of IPv6 there are no rules
	expect(t, facts["filter input ipv4"], map[string]any{"chains": 3, "default": "reject", "ports": []string{"tcp/22", "tcp/8000-8002"}})

	broken := plant(t, map[string]string{"usr/sbin/nft": "", "etc/nftables.conf": "rubbish {\n"})
	f := networkFactsOf(t, broken, "firewalls")["firewall nftables"]
	if !strings.HasPrefix(f.Err(), "/etc/nftables.conf:1: want table") {
		t.Errorf("the error of a malformed file is %q", f.Err())
	}
}

func TestFateOfPacketsThroughChains(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"chain i { type filter hook input priority 0; policy accept; goto a; }\nchain a { return; }":                                 "accept",
		"chain i { type filter hook input priority 0; policy drop; jump a; }\nchain a { jump b; }\nchain b { accept; }":              "accept",
		"chain i { type filter hook input priority 0; policy accept; jump a; drop; }\nchain a { return; accept; }":                   "drop",
		"chain i { type filter hook input priority 0; policy accept; tcp dport 1 drop; }":                                            "accept",
		"chain i { type filter hook input priority 0; policy accept; }\nchain j { type filter hook input priority 1; policy drop; }": "drop",
		"chain i { type filter hook input priority 0; policy accept; jump i; }":                                                      "accept", // the kernel refuses it
	} {
		set := &filterSet{}
		if err := (&Surveys{Root: t.TempDir()}).nftText("x", "table ip t {\n"+text+"\n}\n", set); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		expect(t, set.fact("input", ipv4), map[string]any{"default": want})
	}
}

func TestPortsOfIntervalSets(t *testing.T) {
	t.Parallel()
	element := func(port uint16, end bool) nftElement {
		return nftElement{key: []byte{byte(port >> 8), byte(port)}, end: end}
	}
	got := portSpans([]nftElement{element(9001, true), element(9000, false), element(8011, true), element(8000, false), element(0, true), element(65000, false)})
	if want := []portSpan{{8000, 8010}, {9000, 9000}, {65000, 65535}}; !slices.Equal(got, want) {
		t.Errorf("intervals are %v, want %v", got, want)
	}
	if got := portSpans([]nftElement{element(80, false), element(22, false), {key: []byte{1}}}); !slices.Equal(got, []portSpan{{22, 22}, {80, 80}}) {
		t.Errorf("a set of ports is %v", got)
	}
}

func TestDormantTablesFilterNothing(t *testing.T) {
	t.Parallel()
	set := &filterSet{}
	if err := (&Surveys{Root: t.TempDir()}).nftText("x", dormantTable, set); err != nil {
		t.Fatal(err)
	}
	expect(t, set.fact("input", ipv4), map[string]any{"chains": 1, "default": "accept", "denies": false})
	if set.hasChain(func(c *filterChain) bool { return c.table.name == "asleep" }) {
		t.Error("a chain of a dormant table is taken for one that filters")
	}
}

func TestEmptySetsMatchNothing(t *testing.T) {
	t.Parallel()
	set := &filterSet{}
	if err := (&Surveys{Root: t.TempDir()}).nftText("x", emptySets, set); err != nil {
		t.Fatal(err)
	}
	expect(t, set.fact("input", ipv4), map[string]any{"default": "drop", "denies": true, "ports": []string{}})
}

func TestWhoseInputChainIs(t *testing.T) {
	t.Parallel()
	for rules, want := range map[string]bool{
		"": false, ":INPUT DROP [0:0]": true, ":INPUT DROP [0:0]\n-A INPUT -p tcp -j f2b-sshd": true, "-A INPUT -p tcp -j f2b-sshd": false, "-A INPUT -j KUBE-FIREWALL": false,
		"-A INPUT -p tcp -j f2b-sshd\n-A INPUT -i lo -j ACCEPT": true, ":INPUT DROP [0:0]\n-A INPUT -j ufw-before-input": false,
		"-A INPUT -i lo -j ACCEPT\n-A INPUT -j INPUT_ZONES\n-A INPUT -j REJECT": false, "-A INPUT -j mine": true,
	} {
		set := &filterSet{}
		if err := parseRestore("f", "*filter\n:FORWARD ACCEPT [0:0]\n"+rules+"\nCOMMIT\n", ipv4, set); err != nil {
			t.Fatal(err)
		}
		for _, c := range set.tables[0].chains {
			if c.name == "INPUT" {
				c.hook = "input"
			}
		}
		if got := set.hasChain(plainIptables); got != want {
			t.Errorf("INPUT of %q is somebody's own: %v, want %v", rules, got, want)
		}
	}
}
