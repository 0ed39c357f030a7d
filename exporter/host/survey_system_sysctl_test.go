package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestSysctlsTellNowAndAfterTheNextBoot(t *testing.T) {
	t.Parallel()
	s := plantLive(t, map[string]string{
		"root/usr/lib/systemd/systemd-sysctl":   "ELF",
		"root/etc/sysctl.conf":                  "kernel.randomize_va_space = 0\n", // systemd takes no notice
		"root/usr/lib/sysctl.d/50-default.conf": "kernel.sysrq = 16\n-net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\nnet/ipv4/tcp_syncookies = 1\n",
		"root/usr/lib/sysctl.d/99-late.conf":    "kernel.kptr_restrict=2\n",
		"root/etc/sysctl.d/50-default.conf":     "kernel.sysrq = 0\nnet.ipv4.conf.*.rp_filter = 1\nnet.ipv4.conf.all.rp_filter = 0\n",
		"root/etc/sysctl.d/60-mine.conf":        "; comment\n kernel.dmesg_restrict=1\nkernel.kptr_restrict = 1\nkernel.printk=3  4 1\t3\n",
		"proc/cmdline":                          "ro sysctl.kernel.panic=10 sysctl.kernel/dmesg_restrict=0\n",
		"proc/sys/kernel/randomize_va_space":    "2\n", "proc/sys/kernel/dmesg_restrict": "1\n", "proc/sys/kernel/kptr_restrict": "1\n", "proc/sys/kernel/sysrq": "1\n",
		"proc/sys/kernel/printk": "3\t4\t1\t3\n", "proc/sys/kernel/panic": "10\n", "proc/sys/net/ipv4/conf/all/rp_filter": "0\n", "proc/sys/net/ipv4/conf/default/rp_filter": "1\n",
		"proc/sys/fs/protected_symlinks": "1\n", "proc/sys/kernel/perf_event_paranoid": "3\n", "proc/sys/net/ipv4/tcp_syncookies": "1\n",
	})
	want(t, surveyed(t, s.Sysctls), "exists value number configured default lasting @", map[string]string{
		"kernel.randomize_va_space":       "exists=true value=2 number=2 configured default=2 lasting=true @",
		"kernel.dmesg_restrict":           "exists=true value=1 number=1 configured=1 default lasting=true @/etc/sysctl.d/60-mine.conf:2",
		"kernel.kptr_restrict":            "exists=true value=1 number=1 configured=2 default=0 lasting=false @/usr/lib/sysctl.d/99-late.conf:1", // the name counts, not the directory
		"kernel.sysrq":                    "exists=true value=1 number=1 configured=0 default lasting=false @/etc/sysctl.d/50-default.conf:1",
		"kernel.printk":                   "exists=true value=3 4 1 3 number configured=3 4 1 3 default lasting=true @/etc/sysctl.d/60-mine.conf:4",
		"kernel.panic":                    "exists=true value=10 number=10 configured=10 default lasting=true @/proc/cmdline",
		"net.ipv4.conf.all.rp_filter":     "exists=true value=0 number=0 configured=0 default=0 lasting=true @/etc/sysctl.d/50-default.conf:3",
		"net.ipv4.conf.default.rp_filter": "exists=true value=1 number=1 configured=1 default=0 lasting=true @/etc/sysctl.d/50-default.conf:2",
		"fs.protected_symlinks":           "exists=true value=1 number=1 configured default=0 lasting=false @", // set by hand
		"kernel.perf_event_paranoid":      "exists=true value=3 number=3 configured default lasting=true @",
		"kernel.yama.ptrace_scope":        "exists=false value number configured default lasting @",
	})
}

func TestSysctlsOfAnImageAreWhatTheFilesMakeOfThem(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/sysctl.d/10-a.conf": "kernel.kptr_restrict = 1\nnet/ipv4/conf/eth0.100/forwarding = 1\n", "etc/sysctl.conf": "kernel.kptr_restrict = 2\n", // without systemd the last
		"etc/ufw/ufw.conf": "ENABLED=yes\n", "etc/default/ufw": "IPT_SYSCTL=/etc/ufw/sysctl.conf\n", "etc/ufw/sysctl.conf": "net/ipv4/conf/all/log_martians=1\n",
	})
	want(t, surveyed(t, s.Sysctls), "exists value configured lasting @", map[string]string{
		"kernel.kptr_restrict":              "exists value=2 configured=2 lasting=true @/etc/sysctl.conf:1",
		"kernel.randomize_va_space":         "exists value=2 configured lasting=true @",
		"net.ipv4.conf.all.log_martians":    "exists value=1 configured=1 lasting=true @/etc/ufw/sysctl.conf:1",
		"net.ipv4.conf.eth0/100.forwarding": "exists value=1 configured=1 lasting=true @/etc/sysctl.d/10-a.conf:2",
		"kernel.dmesg_restrict":             "exists value configured lasting @", // nobody can tell
	})
}

func TestSysctlPatternsGiveWay(t *testing.T) {
	t.Parallel()
	set := &sysctlSettings{explicit: map[string]located{}, excluded: map[string]bool{}}
	if wrong := set.add("/x", "net.ipv4.conf.*.log_martians = 0\nnet.ipv4.conf.eth?.log_martians = 1\n-net.ipv4.conf.lo.log_martians\nnet.ipv4.conf.eth9.log_martians = 2\n-*/y = 1\n"); len(wrong) > 0 {
		t.Errorf("errors: %v", wrong)
	}
	for name, want := range map[string]string{
		"net.ipv4.conf.eth0.log_martians": "1", "net.ipv4.conf.all.log_martians": "0", "net.ipv4.conf.lo.log_martians": "", "net.ipv4.conf.eth9.log_martians": "2", "net.ipv4.conf.a.b.log_martians": "",
	} {
		if got, ok := set.find(name); got.text != want || ok != (want != "") {
			t.Errorf("find(%s) = %q, %v, want %q", name, got.text, ok, want)
		}
	}
}

func TestMalformedSysctlLinesAreTold(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/sysctl.d/x.conf": "kernel.sysrq = 0\nkernel.sysrq\n= 1\na b = 1\n"})
	facts := surveyed(t, s.Sysctls)
	for _, at := range []string{"/etc/sysctl.d/x.conf:2", "/etc/sysctl.d/x.conf:3", "/etc/sysctl.d/x.conf:4"} {
		if f := facts[at]; !strings.Contains(f.Err(), at+": want name = value") {
			t.Errorf("the error of %s is %q", at, f.Err())
		}
	}
	if f := facts["kernel.sysrq"]; f.Values["configured"] != "0" {
		t.Errorf("what stands beside malformed lines does not count: %v", f.Values)
	}
}

func TestAnUnreadableSysctlFileLeavesNothingKnown(t *testing.T) {
	t.Parallel()
	s := plantLive(t, map[string]string{"proc/sys/kernel/randomize_va_space": "2\n", "root/etc/sysctl.d/x": ""})
	if err := os.Symlink("y.conf", filepath.Join(s.Root, "etc/sysctl.d/y.conf")); err != nil {
		t.Fatal(err)
	}
	err := s.Sysctls(t.Context(), func(f event.Fact) {
		if !strings.Contains(f.Err(), "/etc/sysctl.d/y.conf") {
			t.Errorf("the error of %s is %q", f.Subject, f.Err())
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func FuzzSysctlFile(f *testing.F) {
	f.Add("kernel.sysrq = 0\n-net.*.x=1\n-a\n[b\n")
	f.Fuzz(func(t *testing.T, text string) {
		set := &sysctlSettings{explicit: map[string]located{}, excluded: map[string]bool{}}
		for _, wrong := range set.add("/x", text) {
			if !strings.HasPrefix(wrong.Err(), "/x:") {
				t.Errorf("error without its place: %q", wrong.Err())
			}
		}
		set.find("net.ipv4.ip_forward")
	})
}
