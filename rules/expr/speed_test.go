package expr

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// list writes so many words, none of which is in the record, and perhaps one that is.
func list(n int, prefix, last string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf("%sw%d", prefix, i)
	}
	if last != "" {
		items[n-1] = last
	}
	return strings.Join(items, ", ")
}

// everyOperator has conditions that the record cat misses and hits, one for each way of comparing.
func everyOperator() (all []string) {
	for _, pair := range [][2]string{
		{"proc.name = dog", "proc.name = cat"},
		{"proc.name != cat", "proc.name != dog"},
		{"jevt.value exists", "proc.name exists"},
		{"proc.name in (dog, cow)", "proc.name in (dog, cat)"},
		{"proc.name in (" + list(5, "", "") + ")", "proc.name in (" + list(5, "", "cat") + ")"},
		{"proc.name in (" + list(50, "", "cow") + ")", "proc.name in (" + list(50, "", "cat") + ")"},
		{"proc.name in (" + list(500, "", "cow") + ")", "proc.name in (" + list(500, "", "cat") + ")"},
		{"fd.name startswith /usr", "fd.name startswith /etc"},
		{"fd.name startswith oneof (" + list(50, "/etc/", "") + ")", "fd.name startswith oneof (" + list(50, "/etc/", "/etc/s") + ")"},
		{"fd.name endswith passwd", "fd.name endswith shadow"},
		{"fd.name endswith oneof (a, b, c)", "fd.name endswith oneof (a, b, w)"},
		{"proc.cmdline contains passwd", "proc.cmdline contains shadow"},
		{"proc.cmdline icontains PASSWD", "proc.cmdline icontains SHADOW"},
		{"fd.name glob /usr/*/x", "fd.name glob /etc/*w"},
		{"fd.name glob */[!s]*/x*", "fd.name glob */[r-t]*"},
		{"fd.name iglob *PASSWD*", "fd.name iglob *SHADOW*"},
		{"fd.name pmatch (/usr, /var/log, /etc/passwd)", "fd.name pmatch (/usr, /var/log, /etc)"},
		{"fd.name pmatch (/usr/*/x, /*/passwd)", "fd.name pmatch (/usr/*/x, /*/shadow)"},
		{`fd.name regex "/etc/(passwd|group)"`, `fd.name regex "/etc/(shadow|gshadow)"`},
		{`fd.name regex ".*/[a-z]*d"`, `fd.name regex ".*/[a-z]*w"`},
		{"evt.rawres >= 0", "evt.rawres < 0"},
		{"user.uid = 1", "user.uid = 0"},
		{"fd.sport in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)", "fd.sport in (1, 2, 3, 4, 5, 6, 7, 8, 9, ssh)"},
		{"thread.cpu > 2", "thread.cpu > 1"},
		{"evt.failed = false", "evt.failed = true"},
		{"evt.buffer bcontains 0000", "evt.buffer bcontains babe"},
		{"evt.buffer in (a, b)", "evt.buffer startswith anyof (\"\\xca\", b)"},
		{"fd.sip = 1.1.1.1", "fd.sip = 192.0.2.1"},
		{"fd.snet in (11.0.0.0/8, 2001:db8::/32)", "fd.snet in (11.0.0.0/8, 10.0.0.0/8)"},
		{"fd.ip = 1.1.1.1", "fd.ip = 192.0.2.1"},
		{"fd.ip != 192.0.2.1", "fd.ip != 1.1.1.1"},
		{"fd.port = 1", "fd.port = 22"},
		{"fd.sip.name = other.test", "fd.sip.name = example.test"},
		{"fd.types in (file)", "fd.types in (file, ipv4)"},
		{"fd.types intersects (pipe)", "fd.types intersects (ipv4)"},
		{"proc.aname = bash", "proc.aname = systemd"},
		{"proc.aname in (" + list(50, "", "") + ")", "proc.aname in (" + list(50, "", "nginx") + ")"},
		{"proc.aname startswith apache", "proc.aname startswith sys"},
		{"proc.aname[1] = bash", "proc.aname[1] = nginx"},
		{"proc.apid = 5", "proc.apid < 5"},
		{"proc.name = val(fd.name)", "proc.name = val(proc.exe)"},
		{"proc.aname = val(proc.name)", "proc.aname != val(proc.name)"},
		{"proc.name in val(fd.types)", "proc.args intersects val(fd.name)"},
		{"fd.types in val(proc.args)", "fd.types in val(fd.types)"},
		{"basename(fd.name) = passwd", "basename(fd.name) = shadow"},
		{"tolower(fd.name) startswith /usr", "tolower(fd.name) startswith /etc"},
		{"len(proc.name) > 3", "len(proc.name) = 3"},
	} {
		all = append(all, pair[0], pair[1])
	}
	return all
}

func compiled(t testing.TB, condition string) func(*record) bool {
	t.Helper()
	test, err := language.Compile(mustParse(t, condition))
	if err != nil {
		t.Fatalf("Compile(%q): %v", condition, err)
	}
	return test
}

// TestManyMayEvaluateAtOnce, each with a record of its own.
func TestManyMayEvaluateAtOnce(t *testing.T) {
	t.Parallel()
	all := everyOperator()
	tests := make([]func(*record) bool, len(all))
	for i, condition := range all {
		tests[i] = compiled(t, condition)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			r := cat()
			for range 50 {
				for i, test := range tests {
					if got := test(r); got != (i%2 == 1) {
						t.Errorf("%s is %v beside others", shorten(all[i], 80), got)
					}
				}
			}
		})
	}
	group.Wait()
}

// aRule is like those that people write.
const aRule = `evt.type in (open, openat, openat2) and evt.rawres >= 0 and (fd.name startswith /etc/pam.d or fd.name startswith /root/.ssh or
	fd.name in (/etc/passwd, /etc/sudoers, /etc/gshadow)) and not proc.name in (vi, nano, sed, sshd, sudo, su, cron, login) and
	not proc.aname = systemd and not (proc.cmdline contains apt or proc.cmdline contains dpkg) and not fd.name pmatch (/var, /usr/*/x)`

func BenchmarkEvaluation(b *testing.B) {
	r := cat()
	for i, condition := range everyOperator() {
		kind := "miss"
		if i%2 == 1 {
			kind = "hit"
		}
		test := compiled(b, condition)
		b.Run(kind+"/"+strings.ReplaceAll(shorten(condition, 40), "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				test(r)
			}
		})
	}
}

// BenchmarkRule is a whole condition, optimized and as it stands.
func BenchmarkRule(b *testing.B) {
	r := cat()
	n := mustParse(b, aRule)
	plain, err := language.compile(n)
	if err != nil {
		b.Fatal(err)
	}
	for name, test := range map[string]func(*record) bool{"optimized": compiled(b, aRule), "plain": plain} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				test(r)
			}
		})
	}
}

// BenchmarkSets is the tests alone, without reading a field.
func BenchmarkSets(b *testing.B) {
	for _, n := range []int{5, 50, 500} {
		items := literals(mustParse(b, "proc.name in ("+list(n, "/usr/bin/", "")+")").(*Check).Right)
		for name, text := range map[string]string{"hit": "/usr/bin/w3", "miss": "/usr/bin/xx", "other length": "/etc/shadow.d/x", "other start": "bin/usr/w33"} {
			set, prefixes := newSet(items), newPrefixes(items)
			b.Run(fmt.Sprintf("in/%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					set.has(text)
				}
			})
			b.Run(fmt.Sprintf("startswith/%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					prefixes.match(text)
				}
			})
			b.Run(fmt.Sprintf("startswith one by one/%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					for _, item := range items {
						if strings.HasPrefix(text, item.Text) {
							break
						}
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := language.Compile(mustParse(b, aRule)); err != nil {
			b.Fatal(err)
		}
	}
}
