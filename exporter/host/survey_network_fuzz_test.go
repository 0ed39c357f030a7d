package host

import (
	"testing"
)

func FuzzAuditRules(f *testing.F) {
	f.Add(auditRules)
	f.Add("-w /x -p\n-a always,exit -F arch=b64 -S 165,mount -F a0&=1 -C a!=b -k \"q\n-e 2")
	f.Fuzz(func(t *testing.T, text string) {
		var set auditSet
		set.parseAudit("f", text)
		for i := range set.rules {
			r := &set.rules[i]
			r.seesCall("mount", "b64", "EPERM", "")
			r.seesFile("/etc/passwd", false, "wa")
			if r.list == "" || r.action == "" || len(r.syscalls) == 0 {
				t.Errorf("%q makes a rule without a list, an action or calls: %+v", text, r)
			}
		}
	})
}

func FuzzKernelAuditRule(f *testing.F) {
	f.Add(kernelRule(4, 2, []int{1}, [][3]uint32{{105, 2, 0x40000000}}, "/x"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseKernelRule(data, auditArchs["x86_64"]) })
}

func FuzzRsyslog(f *testing.F) {
	f.Add("module(load=\"imtcp\")\nif $x == 'a' then { action(type=\"omfwd\" target=\"h\") }\n*.* @@h:1;f\n$FileCreateMode 0640\n:a, b, \"c\" ~\n& stop\n")
	f.Fuzz(func(_ *testing.T, text string) {
		var c rsyslogConf
		c.add("f", text)
		c.most()
	})
}

func FuzzUnitFile(f *testing.F) {
	f.Add(serviceUnit)
	f.Add("[Service]\nExecStart=\\\n /a \\\n b\nExecStart=\n[Install")
	f.Fuzz(func(_ *testing.T, text string) {
		u := systemdUnit{values: map[string][]located{}}
		u.add("f", text)
		u.program()
		u.state(&unitFile{})
		u.command(map[string]string{"A": "b c"})
	})
}

func FuzzNFTFile(f *testing.F) {
	f.Add(nftRules)
	f.Add("table ip t { chain c { tcp dport vmap { 1 : accept, 2-3 : jump x } ; @s { \" } }")
	f.Fuzz(func(t *testing.T, text string) {
		set := &filterSet{}
		_ = (&Surveys{Root: "/nonexistent"}).nftText("f", text, set)
		filterFacts(set)
	})
}

func FuzzRestoreFile(f *testing.F) {
	f.Add(iptablesRules)
	f.Fuzz(func(_ *testing.T, text string) {
		set := &filterSet{}
		_ = parseRestore("f", text, ipv4, set)
		filterFacts(set)
	})
}

func FuzzXtables(f *testing.F) {
	f.Add(make([]byte, 84), make([]byte, 200))
	f.Fuzz(func(_ *testing.T, info, entries []byte) {
		for i := range xtLayouts {
			set := &filterSet{}
			if len(info) == 84 {
				_ = xtLayouts[i].parse("filter", info, entries, set)
				filterFacts(set)
			}
		}
	})
}

func FuzzNetlink(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 3, 10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, data []byte) {
		r := &nftReader{to: &filterSet{}, sets: map[nftSetName][]nftElement{}}
		n := &netlink{}
		_, _, _ = n.parse(data, func(_ uint16, body []byte) error {
			if len(body) < 4 {
				return nil
			}
			parseElement(body)
			_ = r.chain(body[0], body[4:])
			return r.rule(body[0], body[4:])
		})
		filterFacts(r.to)
	})
}

func FuzzSocketTable(f *testing.F) {
	f.Add([]byte("head\n 0: 0100007F:0016 00000000:0000 0A 0 0 0 0 0 1 2\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseSockets(data, "tcp") })
}

func FuzzTimeAndMail(f *testing.F) {
	f.Add("server a iburst\nrestrict default nomodify\ninclude /x*\ninet_interfaces = a\n b\n")
	f.Fuzz(func(_ *testing.T, text string) {
		s := &Surveys{Root: "/nonexistent"}
		_, _ = s.chronyLines(text, &timeSettings{})
		foldedLines(text)
		colonList(text)
		xinetdServices("f", text)
		(&rotation{}).add(text)
		(&aideConf{groups: map[string]string{}}).add(text)
	})
}
