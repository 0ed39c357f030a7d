package expr

import (
	"net/netip"
	"testing"
)

// The rows of the table of semantics, in its order.

func TestAnAbsentFieldFailsEveryComparison(t *testing.T) {
	t.Parallel()
	f := truths(t, &record{})
	for _, check := range []string{
		"jevt.value exists", "jevt.value = a", "jevt.value == a", "jevt.value != a", "jevt.value in (a)", "jevt.value in ()",
		"jevt.value intersects (a)", "jevt.value pmatch (/)", "jevt.value contains \"\"", "jevt.value icontains \"\"",
		"jevt.value startswith \"\"", "jevt.value endswith \"\"", "jevt.value glob *", "jevt.value iglob *", "jevt.value regex .*",
		"jevt.value != allof (a, b)", "jevt.value = anyof (a)", "jevt.value = val(proc.name)", "jevt.value != val(proc.name)",
		"jevt.value > val(proc.name)", "user.uid = 0", "user.uid != 0", "user.uid < 1", "user.uid >= 0", "user.uid in (0, 1)",
		"evt.rawres < 0", "evt.rawres != 0", "evt.failed = false", "evt.failed != true", "thread.cpu < 1", "evt.buffer != a",
		"evt.buffer contains \"\"", "evt.buffer bcontains \"\"", "fd.sip != 1.2.3.4", "fd.snet != 0.0.0.0/0", "fd.ip != 1.2.3.4",
		"fd.port != 1", "fd.types in (a)", "fd.types intersects (a)", "fd.types exists", "proc.aname != a", "proc.aname exists",
		"proc.aname[1] != a", "proc.apid != 1", "fd.sip.name != example.test", "evt.arg.flags != a", "evt.arg[flags] exists",
		"tolower(jevt.value) != a", "len(jevt.value) = 0", "len(fd.types) = 0", "join(\"\", fd.types) = \"\"", "concat(jevt.value, a) exists",
		"b64(jevt.value) != a", "basename(jevt.value) != a", "getopt(proc.args, a)[a] exists",
	} {
		f(check, false)
		f("not "+check, true)
	}
}

func TestAbsentOnOneSideOnly(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("proc.name = val(jevt.value)", false)
	f("proc.name != val(jevt.value)", false)
	f("jevt.value != val(proc.name)", false)
	f("proc.name != tolower(jevt.value)", false)
	f("evt.rawres != val(proc.pid)", true)
	f("evt.failed != val(evt.is_io)", false)
	f("proc.aname != val(jevt.value)", false)
}

func TestListsKnowOnlyExistsInAndIntersects(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("fd.types exists", true)
	f("fd.types in (file, ipv4)", true)
	f("fd.types in (file, ipv4, pipe, a, b, c)", true)
	f("fd.types in (file)", false)
	f("fd.types in (pipe)", false)
	f("fd.types in ()", false)
	f("fd.types intersects (file)", true)
	f("fd.types intersects (pipe, ipv4)", true)
	f("fd.types intersects (pipe)", false)
	f("fd.types intersects ()", false)
	f("list.numbers in (1, 0x2, 3)", true)
	f("list.numbers in (1, 3)", false)
	f("list.numbers intersects (9, 2)", true)
	f("fd.types in val(fd.types)", true)
	f("fd.types in val(proc.args)", false)
	f("fd.types intersects val(proc.args)", false)
	f("proc.args intersects val(fd.name)", true)
	f("tolower(proc.args) intersects (OUT)", false)
	f("toupper(proc.args) intersects (OUT)", true)
	for _, op := range []string{"=", "==", "!=", "contains", "icontains", "startswith", "endswith", "glob", "iglob", "regex"} {
		if err := problem("fd.types " + op + " a"); err == nil || err.Error() != "fd.types: '"+op+"' operator not supported list filters" {
			t.Errorf("fd.types %s a: %v", op, err)
		}
	}
	for _, check := range []string{"fd.types pmatch (a)", "fd.types < 1", "list.numbers = 1", "fd.types = anyof (a)", "fd.types = val(proc.name)"} {
		if problem(check) == nil {
			t.Errorf("%s: want an error", check)
		}
	}
}

func TestInAndIntersectsOfOneValue(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	for _, op := range []string{"in", "intersects"} {
		f("proc.name "+op+" (cat)", true)
		f("proc.name "+op+" (dog, cat)", true)
		f("proc.name "+op+" (dog, ca, catt, \"\")", false)
		f("proc.name "+op+" (a, b, c, d, e, cat)", true)
		f("proc.name "+op+" (a, b, c, d, e, cow)", false)
		f("proc.name "+op+" cat", true)
		f("proc.name "+op+" ()", false)
		f("user.uid "+op+" (1, 0x0)", true)
		f("user.uid "+op+" (1, 2, 3, 4, 5, 6, 7, 8, 9)", false)
		f("user.uid "+op+" (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)", true)
		f("evt.rawres "+op+" (-1, -2)", true)
		f("evt.failed "+op+" (false)", false)
		f("evt.failed "+op+" (false, true)", true)
		f("thread.cpu "+op+" (1, 1.5)", true)
		f("fd.sip "+op+" (192.0.2.2, 192.0.2.1)", true)
		f("fd.snet "+op+" (192.0.2.0/24, 10.0.0.0/8)", true)
		f("evt.buffer "+op+" (text)", false)
		f(`evt.buffer `+op+` (a, "\xca\xfe\xba\xbetext")`, true)
		f("proc.name "+op+" val(proc.exe)", true)
		f("proc.name "+op+" val(fd.types)", false)
		f("proc.name "+op+" getopt(proc.args, \"o:\")[o]", false)
		f("basename(fd.name) "+op+" (shadow)", true)
	}
	f(`proc.cmdline in ("cat /etc/shadow", b, c, d, e)`, true)
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("evt.rawres < 0", true)
	f("evt.rawres <= -2", true)
	f("evt.rawres > -2", false)
	f("evt.rawres >= -2", true)
	f("evt.rawres = -2", true)
	f("evt.rawres == -2", true)
	f("evt.rawres != -2", false)
	f("evt.rawres <= 0x10", true)
	f("evt.rawres < +1", true)
	f("user.uid = 0 and user.uid != 1", true)
	f("proc.short = 0xFF and proc.short = 0Xff and proc.short = 255", true)
	f("fd.dev = -7 and fd.dev in (-7, 7)", true)
	f("thread.cpu = 1.5 and thread.cpu > 1 and thread.cpu < 15e-1 or thread.cpu >= 0x1", true)
	f("proc.duration >= 2000000000 and evt.rawtime > 1600000000000000000", true)
	f("evt.num > 0", true)
	f("evt.num = 0", false)
	f("evt.num = 007", true)
	f("proc.pid > val(evt.rawres) and proc.pid != val(evt.rawres)", true)
	f("len(proc.name) < len(proc.cmdline)", true)
	f("proc.pid = anyof (39, 40) and proc.pid != allof (1, 2) and not proc.pid = allof (40, 41)", true)
	f("proc.pid != anyof (40, 41)", true)
	f("proc.pid != anyof ()", false)
	f("proc.pid = allof ()", false)
}

func TestNumbersMustFit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ field, least, most, less, more string }{
		{"proc.small", "0", "255", "-1", "256"},
		{"proc.short", "0", "65535", "-1", "65536"},
		{"fd.sport", "0", "65535", "-1", "65536"},
		{"evt.cpu", "-32768", "32767", "-32769", "32768"},
		{"user.uid", "0", "4294967295", "-1", "4294967296"},
		{"fd.dev", "-2147483648", "2147483647", "-2147483649", "2147483648"},
		{"evt.num", "0", "0xffffffffffffffff", "-1", "18446744073709551616"},
		{"evt.rawres", "-9223372036854775808", "9223372036854775807", "-9223372036854775809", "9223372036854775808"},
		{"proc.duration", "0", "18446744073709551615", "-1", "0x10000000000000000"},
	} {
		for _, form := range []string{" = ", " != ", " < ", " >= "} {
			for _, good := range []string{row.least, row.most} {
				if err := problem(row.field + form + good); err != nil {
					t.Errorf("%s%s%s: %v", row.field, form, good, err)
				}
			}
			for _, bad := range []string{row.less, row.more} {
				if problem(row.field+form+bad) == nil {
					t.Errorf("%s%s%s: want an error", row.field, form, bad)
				}
			}
		}
		for _, bad := range []string{"x", `""`, "1.5", "1x", "0x", "-0x1", "--1", "1,"} {
			if problem(row.field+" in (1, "+bad+")") == nil {
				t.Errorf("%s in (1, %s): want an error", row.field, bad)
			}
		}
	}
	for _, bad := range []string{"inf", "nan", "0x1p3", "1_000", "1e", ".5", "x"} {
		if problem("thread.cpu = "+bad) == nil {
			t.Errorf("thread.cpu = %s: want an error", bad)
		}
	}
}

func TestOrderOfStringsIsThatOfBytes(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("proc.name <= val(proc.exe) and proc.name >= val(proc.exe)", true)
	f("proc.name < val(proc.exe) or proc.name > val(proc.exe)", false)
	f("proc.name < val(proc.cmdline)", true) // a prefix comes first
	f("fd.name < val(proc.name)", true)
	f("toupper(proc.name) < val(proc.name)", true) // capitals come first
	f("proc.name > toupper(proc.name)", true)
	f(`proc.name < concat(proc.name, "\xff")`, true)
	for _, bad := range []string{"proc.name < abc", `proc.name < "1"`, "evt.failed < 1", "fd.sip > 1", "fd.snet < 1", "evt.buffer >= 1",
		"fd.ip < 1", "evt.failed < val(evt.is_io)", "fd.sip < val(fd.cip)"} {
		if problem(bad) == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestOperatorsOfStrings(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("proc.name = cat and proc.name == cat and proc.name != dog", true)
	f("proc.name = Cat", false)
	f("proc.name = ca or proc.name = catt or proc.name = \"\"", false)
	f("fd.name startswith /etc and fd.name startswith \"\" and fd.name startswith /etc/shadow", true)
	f("fd.name startswith etc or fd.name startswith /etc/shadow/", false)
	f("fd.name endswith shadow and fd.name endswith \"\" and fd.name endswith /etc/shadow", true)
	f("fd.name endswith shado or fd.name endswith x/etc/shadow", false)
	f("fd.name contains c/s and fd.name contains \"\"", true)
	f("fd.name contains C/S", false)
	f("fd.name icontains C/SHA and fd.name icontains \"\" and fd.name icontains /ETC/SHADOW", true)
	f("fd.name icontains /etc/shadow/ or fd.name icontains \"c s\"", false)
	f("evt.arg.flags contains O_CLOEXEC and evt.arg[flags] contains RDONLY|O_", true)
	for _, field := range []string{"user.uid", "evt.rawres", "evt.failed", "fd.sip", "fd.snet", "fd.sport", "thread.cpu", "fd.ip", "fd.port"} {
		for _, op := range []string{"contains 1", "icontains 1", "startswith 1", "endswith 1", "glob 1", "iglob 1", "regex 1", "pmatch (1)", "bcontains 01", "bstartswith 01"} {
			if problem(field+" "+op) == nil {
				t.Errorf("%s %s: want an error", field, op)
			}
		}
	}
}

func TestIcontainsFoldsASCIIOnly(t *testing.T) {
	t.Parallel()
	f := truths(t, &record{"proc.name": values("STRAßE Ä@[`{")})
	f("proc.name icontains straße", true)
	f("proc.name icontains ä", false)
	f("proc.name icontains Ä", true)
	f("proc.name icontains \"@[`{\"", true)
	f("proc.name icontains \"`{@[\"", false)
	f("tolower(proc.name) = \"straße Ä@[`{\"", true)
}

func TestBuffers(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("evt.buffer exists", true)
	f(`evt.buffer = "\xca\xfe\xba\xbetext" and evt.buffer != text`, true)
	f("evt.buffer contains text and evt.buffer endswith ext", true)
	f(`evt.buffer startswith "\xca\xfe"`, true)
	f("evt.buffer startswith text", false)
	f("evt.buffer bcontains babe and evt.buffer bcontains BABE and evt.buffer bcontains fEbA", true)
	f("evt.buffer bcontains beba", false)
	f("evt.buffer bstartswith CAFE", true)
	f("evt.buffer bstartswith babe", false)
	f("evt.buffer bcontains anyof (0000, babe) and not evt.buffer bcontains allof (0000, babe)", true)
	f("len(evt.buffer) = 8", true)
	for _, bad := range []string{"bcontains zz", "bcontains abc", "bcontains 0xab", "bstartswith \"ca fe\"", "icontains a", "glob a", "regex a", "pmatch (a)", "iglob a", "< 1"} {
		if problem("evt.buffer "+bad) == nil {
			t.Errorf("evt.buffer %s: want an error", bad)
		}
	}
	for _, op := range []string{"bcontains", "bstartswith"} {
		want := "proc.name: '" + op + "' operator not supported for string filters"
		if err := problem("proc.name " + op + " 00"); err == nil || err.Error() != want {
			t.Errorf("proc.name %s 00: %v, want %s", op, err, want)
		}
	}
}

func TestRegexMatchesTheWholeText(t *testing.T) {
	t.Parallel()
	f := truths(t, &record{"proc.name": values("abc"), "proc.exe": values("a\nb"), "proc.cmdline": values("a\xff\xfeb"), "jevt.value": values("")})
	f("proc.name regex abc and proc.name regex a.c and proc.name regex \"a|abc\" and proc.name regex [a-c]+", true)
	f("proc.name regex a or proc.name regex bc or proc.name regex b or proc.name regex \"ab|bc\"", false)
	f("proc.name regex ^abc$ and proc.name regex \"^(a|b|c)*$\"", true)
	f("proc.name regex ABC", false)
	f("proc.name regex [[:alpha:]]{3}", true)
	f("proc.exe regex a.b", false) // a dot is no newline
	f("proc.exe regex a[^x]b", true)
	f(`proc.exe regex "a\nb"`, true)
	f("proc.exe regex a$^b", false)
	f("proc.exe regex a.*", false)
	f("proc.cmdline regex a..b", true) // each byte that is no UTF-8 is one character
	f("proc.cmdline regex a.b", false)
	f(`proc.cmdline regex "a[^[:alpha:]]+b"`, true)
	f("jevt.value regex .*", true)
	f("jevt.value regex \"\"", true)
	f("jevt.value regex .+", false)
	f("proc.name regex oneof (x, a.c) and not proc.name regex allof (x, a.c)", true)
	for _, bad := range []string{`"("`, `"a("`, "[", "a{2,1}", `"\\d"`, `"(?i)a"`, `"(?P<x>a)"`, `"\\bfoo"`, "*a", `"\\pL"`, "a{1001}", `"\xff"`} {
		if problem("proc.name regex "+bad) == nil {
			t.Errorf("regex %s: want an error", bad)
		}
	}
	if problem("proc.name regex val(proc.exe)") == nil {
		t.Error("regex val(proc.exe): want an error")
	}
}

func TestPmatchComparesComponents(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		value, paths string
		want         bool
	}{
		{"/etc/shadow", "/etc", true},
		{"/etc/shadow", "/etc/", true},
		{"/etc/shadow", "/etc/shadow", true},
		{"/etc", "/etc/shadow", false},
		{"/etc/shadow", "/et", false},
		{"/etc/shadow", "/etc/shad", false},
		{"/etc/shadow", "/etc/shadow/x", false},
		{"/etc/shadow", "/", true},
		{"/", "/", true},
		{"etc", "/", false},
		{"etc/shadow", "/etc", false},
		{"/etc/shadow", "etc", false},
		{"etc/shadow", "etc", true},
		{"/etc//shadow", "/etc/shadow", true},
		{"/etc/shadow", "//etc", true},
		{"/etc/shadow/", "/etc/shadow", true},
		{"/etc/shadow", "/usr, /var, /etc", true},
		{"/etc/shadow", "/usr, /var", false},
		{"/usr/lib/x/y", "/usr/lib, /usr/lib/z", true},
		{"/usr/lib/z/y", "/usr/lib/z, /usr", true},
		{"/etc/shadow", "/e*", true},
		{"/etc/shadow", "/e*/shadow", true},
		{"/etc/shadow", "/*/passwd", false},
		{"/a/b/c", "/*/c", false}, // a star stays within its component
		{"/a/b/c", "/?/b", true},
		{"/a/b/c", "/[ab]/[!c]/c", true},
		{"/a/b/c", "/[!a]", false},
		{"/a/b/c", "/a/x, /*/b/d, /a/*/c", true},
		{"/home/u/.ssh/id", "/home/*/.ssh", true},
		{"/home/.ssh/id", "/home/*/.ssh", false},
		{"/a*b/c", `"/a\\*b"`, true},
		{"/axb/c", `"/a\\*b"`, false},
		{"", "/", false},
		{"", "\"\"", false},
		{"/etc", "\"\"", false},
		{"/etc", "", false},
	} {
		truths(t, &record{"fd.name": values(row.value)})("fd.name pmatch ("+row.paths+")", row.want)
	}
	f := truths(t, &record{"fd.name": values("/etc/shadow"), "proc.exe": values("/etc"), "proc.name": values("/etc/sha")})
	f("fd.name pmatch val(proc.exe)", true)
	f("fd.name pmatch val(proc.name)", false)
	f("fd.name pmatch (/usr, /etc) and not fd.name pmatch (/usr)", true)
}

func TestPortsHaveNames(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("fd.sport = ssh and fd.sport = 22 and fd.sport in (21, ssh) and fd.sport != 21", true)
	f("fd.sport < 1024 and fd.lport > 0x400", true)
	f("fd.port = ssh", true)
	f("fd.sport = val(fd.lport)", false)
	for _, bad := range []string{"fd.sport = nosuch", "fd.sport = SSH", "user.uid = ssh"} {
		if problem(bad) == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestAddressesAndNetworks(t *testing.T) {
	t.Parallel()
	f := truths(t, &record{"fd.sip": values(addr("192.0.2.1")), "fd.cip": values(addr("::ffff:192.0.2.1")), "fd.snet": values(addr("10.1.2.3"))})
	f("fd.sip = 192.0.2.1 and fd.sip == ::ffff:192.0.2.1 and fd.cip = 192.0.2.1", true)
	f("fd.sip != 192.0.2.1", false)
	f("fd.sip != 2001:db8::1", true)
	f("fd.sip = val(fd.cip)", true)
	f("fd.sip != val(fd.cip)", false)
	f("fd.sip in (1.1.1.1, 192.0.2.1) and fd.sip intersects (192.0.2.1)", true)
	f("fd.snet = 10.0.0.0/8 and fd.snet = 10.1.2.3 and fd.snet = 10.1.2.0/30 and fd.snet = 0.0.0.0/0", true)
	f("fd.snet = 10.1.2.4/30", false)
	f("fd.snet = 10.255.255.255/8", true) // the bits of the host do not matter
	f("fd.snet != 10.0.0.0/8", false)
	f("fd.snet != allof (11.0.0.0/8, 12.0.0.0/8)", true)
	f("fd.snet in (192.0.2.0/24, 10.1.2.3/32)", true)
	f("fd.snet = ::ffff:10.0.0.0/104", true)
	f("fd.snet = ::ffff:10.1.2.0/126", true)
	f("fd.snet = ::ffff:10.1.2.0/127", false)
	f("fd.snet = ::/0", false)
	truths(t, &record{"fd.snet": values(addr("::ffff:10.1.2.3"))})("fd.snet = 10.0.0.0/8 and fd.snet in (11.0.0.0/8, 10.1.0.0/16) and fd.snet = 10.1.2.3", true)
	v6 := truths(t, &record{"fd.sip": values(netip.MustParseAddr("fe80::1%eth0")), "fd.snet": values(addr("2001:db8:1::2"))})
	v6("fd.sip = fe80::1 and fd.sip != fe80::2", true)
	v6("fd.snet = 2001:db8::/32 and fd.snet = 2001:db8:1::/48 and fd.snet != 10.0.0.0/8", true)
	v6("fd.snet in (2001:db8:2::/48, 0.0.0.0/0)", false)
	for _, bad := range []string{"fd.sip = 10.0.0.0/8", "fd.sip = here", "fd.sip = 1.2.3", "fd.snet = 10/8", "fd.snet = 10.0.0.0/33", "fd.snet = x/8",
		"fd.sip = 1.2.3.4.5", `fd.sip = ""`, "fd.sip in (1.2.3.4, x)"} {
		if problem(bad) == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestBools(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("evt.failed = true and evt.failed == true and evt.failed != false and evt.failed in (true) and evt.failed exists", true)
	f("evt.failed = false or evt.failed != true or evt.failed in () or evt.failed intersects (false)", false)
	f("evt.failed = anyof (false, true) and not evt.failed = allof (false, true)", true)
	for _, bad := range []string{"yes", "True", "1", `""`, "0"} {
		if problem("evt.failed = "+bad) == nil {
			t.Errorf("evt.failed = %s: want an error", bad)
		}
	}
}

func TestModifiers(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	for _, any := range []string{"anyof", "oneof"} {
		f("proc.name = "+any+" (dog, cat)", true)
		f("proc.name = "+any+" (dog, cow)", false)
		f("proc.name = "+any+" ()", false)
		f("proc.name != "+any+" (dog, cat)", true)
		f("proc.name != "+any+" (cat)", false)
		f("proc.name != "+any+" ()", false)
		f("fd.name startswith "+any+" (/usr, /etc)", true)
		f("fd.name startswith "+any+" (/usr, /etc/x, /etd, /e/, x)", false)
		f("fd.name startswith "+any+" (/usr, /etc/x, /etc/s, /e/, x)", true)
		f("fd.name startswith "+any+" (/usr/a, /usr/b, \"\")", true)
		f("fd.name endswith "+any+" (x, w)", true)
		f("fd.name contains "+any+" (x, tc)", true)
		f("fd.name icontains "+any+" (x, TC)", true)
		f("fd.name glob "+any+" (x, /e*)", true)
		f("fd.name iglob "+any+" (x, /E*)", true)
		f("fd.name regex "+any+" (x, /e.*)", true)
		f("proc.name = "+any+" val(fd.types)", false)
		f("basename(fd.name) = "+any+" (shadow)", true)
	}
	f("fd.name startswith allof (/, /etc)", true)
	f("fd.name startswith allof (/, /usr)", false)
	f("fd.name startswith allof ()", false)
	f("fd.name contains allof (tc, ha)", true)
	f("proc.name = allof (cat, cat)", true)
	f("proc.name = allof (cat, dog)", false)
	f("proc.name != allof (dog, cow)", true)
	f("proc.name != allof (dog, cat)", false)
	f("proc.name != allof ()", false)
	f("proc.name contains allof val(proc.exe)", true)
	f("proc.aname startswith allof (sys, s)", true)
	f("proc.aname startswith allof (sys, ng)", false) // one ancestor must satisfy all
	for _, bad := range []string{"proc.name in oneof (a)", "proc.name exists oneof (a)", "evt.num > oneof (1)", "proc.name pmatch anyof (/a)"} {
		if problem(bad) == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestFieldsWithTwoSides(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("fd.ip = 10.0.0.1 and fd.ip = 192.0.2.1 and fd.ip in (1.1.1.1, 192.0.2.1) and fd.ip intersects (10.0.0.1)", true)
	f("fd.ip = 192.0.2.2", false)
	f("fd.ip != 192.0.2.1 or fd.ip != 10.0.0.1", false)
	f("fd.ip != 192.0.2.2", true)
	f("fd.ip != allof (192.0.2.2, 1.1.1.1)", true)
	f("fd.ip != allof (192.0.2.2, 10.0.0.1)", false)
	f("fd.net = 10.0.0.0/8 and fd.net in (192.0.2.0/24) and fd.net != 11.0.0.0/8", true)
	f("fd.net != 10.0.0.0/8", false)
	f("fd.port = 22 and fd.port = 40000 and fd.port in (1, 22) and fd.port != 23", true)
	f("fd.port != 22", false)
	f("fd.port < 1024 and fd.port >= 40000", true) // either side
	f("fd.port < 22 or fd.port > 40000", false)
	f("fd.port exists and fd.ip exists", true)
	one := truths(t, &record{"fd.ip": values(addr("10.0.0.1"))})
	one("fd.ip != 10.0.0.2 and fd.ip = 10.0.0.1", true)
	one("fd.ip != 10.0.0.1", false)
	for _, bad := range []string{"fd.ip < 1", "fd.ip contains 1", "fd.net startswith 1", "fd.port pmatch (1)"} {
		if problem(bad) == nil {
			t.Errorf("%s: want an error", bad)
		}
	}
}

func TestAnyAncestorWillDo(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("proc.aname = nginx and proc.aname = sh and proc.aname exists", true)
	f("proc.aname = cat", false)
	f("proc.aname != nginx", true) // some ancestor is not
	f("not proc.aname = nginx", false)
	f("proc.aname in (apache2, nginx) and proc.aname startswith sys and proc.aname contains gin and proc.aname glob n*x", true)
	f("proc.aname in (apache2, bash)", false)
	f("proc.aname[0] = sh and proc.aname[1] = nginx", true)
	f("proc.aname[1] != nginx", false)
	f("proc.aname[9] exists", false)
	f("proc.aname[9] != nginx", false)
	f("proc.apid = 20 and proc.apid != 20 and proc.apid < 2 and proc.apid in (5, 1) and proc.apid[2] = 1", true)
	f("proc.apid > 30", false)
	f("proc.aname = val(proc.name)", false)
	f("proc.aname != val(proc.name)", true)
	f("proc.apid < val(proc.pid)", true)
	f("proc.apid > val(proc.pid)", false)
	f("proc.aname in val(fd.types)", false)
	one := truths(t, &record{"proc.aname": values("nginx")})
	one("proc.aname != nginx", false)
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	f := truths(t, cat())
	f("fd.sip.name = example.test and fd.sip.name in (nobody.test, example.test) and fd.sip.name exists", true)
	f("fd.sip.name = other.test or fd.sip.name = nobody.test or fd.sip.name in ()", false)
	f("fd.sip.name != example.test", false)
	f("fd.sip.name != other.test and fd.sip.name != nobody.test", true)
	f("fd.sip.name != allof (other.test, example.test)", false)
	f("fd.sip.name = anyof (other.test, example.test)", true)
	if problem("fd.sip.name contains x") == nil || problem("fd.sip.name glob x") == nil {
		t.Error("contains: want an error")
	}
}
