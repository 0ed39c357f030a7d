package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

func TestKernelReleasesAreCompared(t *testing.T) {
	t.Parallel()
	ordered := []string{"5.10.0", "5.10.0-9-amd64", "5.10.0-28-amd64", "5.15.0-91-generic", "6.1.0-9-amd64", "6.1.0-28-amd64", "6.1.115-126.197.amzn2023.x86_64", "6.12.9", "6.12.10"}
	if shuffled := slices.Clone(ordered); true {
		slices.Reverse(shuffled)
		if slices.SortFunc(shuffled, compareVersions); !slices.Equal(shuffled, ordered) {
			t.Errorf("sorted: %q", shuffled)
		}
	}
	for release, want := range map[string]string{"6.1.0-28-amd64": "6.1", "5.14.0-503.el9": "5.14", "6.18-rc1": "6.18", "lts": "", "0-rescue-1": "", "6": "", "6.x": "", "6.12": "6.12"} {
		if got := kernelLine(release); got != want {
			t.Errorf("kernelLine(%q) = %q, want %q", release, got, want)
		}
	}
}

func TestKernelVendorsAreRecognized(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ release, version, id, family, want string }{
		{"6.1.0-28-amd64", "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) …", "debian", "debian", "debian"},
		{"6.1.0-28-cloud-amd64", "", "debian", "debian", "debian"},
		{"5.15.0-126-generic", "Linux version 5.15.0-126-generic (buildd@lcy02-amd64-038) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0", "ubuntu", "debian", "ubuntu"},
		{"6.8.0-1018-aws", "", "ubuntu", "debian", "ubuntu"},
		{"5.14.0-503.11.1.el9_5.x86_64", "", "rocky", "rhel", "rocky"},
		{"6.1.115-126.197.amzn2023.x86_64", "", "amzn", "rhel", "amzn"},
		{"6.1.115", "", "bottlerocket", "bottlerocket", "bottlerocket"},
		{"6.12.1-0-lts", "", "alpine", "alpine", "alpine"},
		{"6.18.44-fc", "Linux version 6.18.44-fc (root@x)", "debian", "debian", ""},
		{"6.1.0-28-amd64", "", "alpine", "alpine", ""},
		{"5.14.0-1.elrepo", "", "rocky", "rhel", ""},
	} {
		if got := kernelVendor(x.release, x.version, &distribution{id: x.id, family: x.family}); got != x.want {
			t.Errorf("kernelVendor(%s, %q, %s) = %q, want %q", x.release, x.version, x.id, got, x.want)
		}
	}
}

func TestKernelOfThisMachine(t *testing.T) {
	t.Parallel()
	secure := "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	const names = "line newest newest_runs lockdown efi secure_boot signatures tainted unsigned_module foreign_module forced_module died"
	for name, x := range map[string]struct {
		files map[string]string
		want  string
	}{
		"plain": {map[string]string{"proc/modules": ""},
			"line=6.1 newest newest_runs lockdown efi=false secure_boot signatures=false tainted=0 unsigned_module=false foreign_module=false forced_module=false died=false"},
		"locked down": {map[string]string{"proc/modules": "", "sys/kernel/security/lockdown": "none [integrity] confidentiality\n", secure: "\x06\x00\x00\x00\x01", "root/boot/vmlinuz-6.1.0-28-amd64": "", "root/lib/modules/6.1.0-25-amd64/modules.dep": ""},
			"line=6.1 newest=6.1.0-28-amd64 newest_runs=true lockdown=integrity efi=true secure_boot=true signatures=true tainted=0 unsigned_module=false foreign_module=false forced_module=false died=false"},
		"tainted": {map[string]string{"proc/modules": "", "proc/sys/kernel/tainted": "12418\n", secure: "\x06\x00\x00\x00\x00", "sys/kernel/security/lockdown": "[none] integrity confidentiality\n", "root/lib/modules/6.1.0-30-amd64/modules.dep": "", "root/boot/vmlinuz-lts": ""},
			"line=6.1 newest=6.1.0-30-amd64 newest_runs=false lockdown=none efi=true secure_boot=false signatures=false tainted=12418 unsigned_module=true foreign_module=true forced_module=true died=true"},
		"signatures by the command line": {map[string]string{"proc/modules": "", "sys/module/module/parameters/sig_enforce": "Y\n", "proc/sys/kernel/tainted": "4096\n"},
			"line=6.1 newest newest_runs lockdown efi=false secure_boot signatures=true tainted=4096 unsigned_module=false foreign_module=true forced_module=false died=false"},
		"no modules at all": {nil,
			"line=6.1 newest newest_runs lockdown efi=false secure_boot signatures=true tainted=0 unsigned_module=false foreign_module=false forced_module=false died=false"},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, surveyed(t, plantLive(t, x.files).Kernels), names, map[string]string{"6.1.0-28-amd64": x.want})
		})
	}
	facts := surveyed(t, plantLive(t, map[string]string{secure: "\x01"}).Kernels)
	if f := facts["6.1.0-28-amd64"]; !strings.Contains(f.Err(), "want 5 bytes, got 1") {
		t.Errorf("the error of a variable cut short is %q", f.Err())
	}
}

func TestKernelOfAnImageIsTheNewest(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/os-release": "ID=rocky\nVERSION_ID=9.5\nID_LIKE=\"rhel centos fedora\"\n", "boot/vmlinuz-5.14.0-503.el9.x86_64": "", "boot/vmlinuz-5.14.0-70.el9.x86_64": "", "boot/vmlinuz-0-rescue-12": ""})
	facts := surveyed(t, s.Kernels)
	want(t, facts, "line newest newest_runs lockdown", map[string]string{"5.14.0-503.el9.x86_64": "line=5.14 newest=5.14.0-503.el9.x86_64 newest_runs lockdown"})
	want(t, facts, "release vendor until", map[string]string{"5.14": "release=5.14.0-503.el9.x86_64 vendor=rocky until=2032-05-31"})
	if facts := surveyed(t, plant(t, map[string]string{"etc/os-release": "ID=debian\n"}).Kernels); len(facts) != 0 {
		t.Errorf("an image without a kernel has %v", facts)
	}
}

func TestKernelLinesEnd(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for release, want := range map[string]string{
		"6.18.4": "until=2028-12-31 supported=true ", "5.10.230": "until=2026-12-31 supported=true ", "4.19.325": "until=2024-12-31 supported=false ", "6.5.3": "until supported=false ",
		"7.2.1": "until supported whether line 7.2 is still maintained is not known: the table of lifetimes ends with 6.18",
	} {
		f := setUpstream(event.KernelLine.New(release, ""), release, now)
		if got := shown(f, "until supported") + " " + f.Err(); got != want {
			t.Errorf("%s: %s, want %s", release, got, want)
		}
	}
}

// TestKernelsOfAnotherDistributionAreNotJudgedByThisOne: files of Debian on a kernel of Ubuntu are a container, or a mistake.
func TestKernelsOfAnotherDistributionAreNotJudgedByThisOne(t *testing.T) {
	t.Parallel()
	s := plantLive(t, map[string]string{"proc/sys/kernel/osrelease": "6.8.0-49-generic\n", "proc/version": "Linux version 6.8.0-49-generic (buildd@lcy02-amd64-103) (gcc (Ubuntu 13.2.0-23ubuntu4) 13.2.0) #49-Ubuntu SMP\n", "proc/modules": ""})
	facts := surveyed(t, s.Kernels)
	want(t, facts, "vendor until supported", map[string]string{"6.8": "vendor=ubuntu until supported"})
	if f := facts["6.8"]; !strings.Contains(f.Err(), "ubuntu built this kernel") {
		t.Errorf("the error is %q", f.Err())
	}
	if f := facts["6.8.0-49-generic"]; f.Err() != "" { // what it does to protect itself is known all the same
		t.Errorf("the kernel itself is in error: %q", f.Err())
	}
}

func TestReleasesEnd(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 23, 0, 0, 0, time.UTC)
	for name, x := range map[string]struct {
		files map[string]string
		want  string
	}{
		"Debian 12":    {map[string]string{"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n"}, "debian 12 family=debian rolling=false until=2028-06-30 extended=2033-06-30 subscribed=false supported=true"},
		"Debian 13":    {map[string]string{"usr/lib/os-release": "ID=debian\nVERSION_ID=\"13\"\n"}, "debian 13 family=debian rolling=false until=2030-06-30 extended=2035-06-30 subscribed=false supported=true"},
		"Debian sid":   {map[string]string{"etc/os-release": "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux forky/sid\"\n"}, "debian family=debian rolling=true until extended subscribed=false supported"},
		"Ubuntu 18.04": {map[string]string{"etc/os-release": "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"18.04\"\n"}, "ubuntu 18.04 family=debian rolling=false until=2023-05-31 extended=2028-04-26 subscribed=false supported=false"},
		"Ubuntu with Pro": {map[string]string{"etc/os-release": "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"18.04\"\n", "etc/apt/sources.list.d/ubuntu-esm-infra.list": "deb https://esm.ubuntu.com/infra/ubuntu bionic-infra-security main\n"},
			"ubuntu 18.04 family=debian rolling=false until=2023-05-31 extended=2028-04-26 subscribed=true supported=true"},
		"Ubuntu 16.04, whose Pro has ended too": {map[string]string{"etc/os-release": "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"16.04\"\n", "etc/apt/sources.list.d/ubuntu-esm-infra.list": "deb https://esm.ubuntu.com/infra/ubuntu xenial-infra-security main\n"},
			"ubuntu 16.04 family=debian rolling=false until=2021-04-30 extended=2026-04-23 subscribed=true supported=false"},
		"RHEL 8.10":      {map[string]string{"etc/os-release": "ID=\"rhel\"\nVERSION_ID=\"8.10\"\nID_LIKE=\"fedora\"\n"}, "rhel 8.10 family=rhel rolling=false until=2029-05-31 extended=2032-05-31 subscribed=false supported=true"},
		"RHEL 7.9":       {map[string]string{"etc/os-release": "ID=\"rhel\"\nVERSION_ID=\"7.9\"\nID_LIKE=\"fedora\"\n"}, "rhel 7.9 family=rhel rolling=false until=2024-06-30 extended=2028-06-30 subscribed=false supported=false"},
		"Rocky 9.5":      {map[string]string{"etc/os-release": "ID=\"rocky\"\nVERSION_ID=\"9.5\"\nID_LIKE=\"rhel centos fedora\"\n"}, "rocky 9.5 family=rhel rolling=false until=2032-05-31 extended subscribed=false supported=true"},
		"CentOS Stream":  {map[string]string{"etc/os-release": "ID=centos\nVERSION_ID=8\nPRETTY_NAME=\"CentOS Stream 8\"\n"}, "centos 8 family=rhel rolling=false until=2024-05-31 extended subscribed=false supported=false"},
		"Amazon Linux 2": {map[string]string{"etc/os-release": "ID=amzn\nVERSION_ID=2\n"}, "amzn 2 family=rhel rolling=false until=2026-06-30 extended subscribed=false supported=false"},
		"Amazon 2023":    {map[string]string{"etc/os-release": "ID=amzn\nVERSION_ID=2023\n"}, "amzn 2023 family=rhel rolling=false until=2029-06-30 extended subscribed=false supported=true"},
		"Alpine":         {map[string]string{"etc/os-release": "ID=alpine\nVERSION_ID=3.22.1\n"}, "alpine 3.22.1 family=alpine rolling=false until=2027-05-01 extended subscribed=false supported=true"},
		"Bottlerocket":   {map[string]string{"etc/os-release": "ID=bottlerocket\nVERSION_ID=1.32.0\n"}, "bottlerocket 1.32.0 family=bottlerocket rolling=true until extended subscribed=false supported"},
		"Fedora":         {map[string]string{"etc/os-release": "ID=fedora\nVERSION_ID=44\nSUPPORT_END=2027-05-19\n"}, "fedora 44 family=rhel rolling=false until=2027-05-19 extended subscribed=false supported=true"},
	} {
		d, err := plant(t, x.files).distribution()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f := releaseFact(d, now)
		if got := f.Subject + " " + shown(f, "family rolling until extended subscribed supported"); got != x.want || f.Err() != "" {
			t.Errorf("%s: %s, want %s (error %q)", name, got, x.want, f.Err())
		}
	}
	for text, want := range map[string]string{"ID=debian\nVERSION_ID=99\n": "the table of lifetimes does not have debian 99", "ID=x\nVERSION_ID=1\nSUPPORT_END=soon\n": `want a day like 2028-06-30, got "soon"`} {
		d, err := plant(t, map[string]string{"etc/os-release": text}).distribution()
		if err != nil {
			t.Fatal(err)
		}
		if f := releaseFact(d, now); !strings.Contains(f.Err(), want) {
			t.Errorf("the error of %q is %q", text, f.Err())
		}
	}
}

func TestLifetimesEndWithTheirDay(t *testing.T) {
	t.Parallel()
	for at, want := range map[time.Time]string{
		time.Date(2028, 6, 29, 0, 0, 0, 0, time.UTC):   "days_left=2 supported=true",
		time.Date(2028, 6, 30, 23, 59, 0, 0, time.UTC): "days_left=0 supported=true",
		time.Date(2028, 7, 1, 0, 0, 1, 0, time.UTC):    "days_left=-1 supported=false",
	} {
		f := setLifetime(event.Release.New("x", ""), "2028-06-30", at, "")
		if got := shown(f, "days_left supported"); got != want {
			t.Errorf("at %v: %s, want %s", at, got, want)
		}
	}
	for _, l := range slices.Concat(lifetimes, longterm) {
		for _, day := range []string{l.until, l.extended} {
			if _, err := time.Parse(time.DateOnly, day); err != nil && (day != "" || day == l.until) {
				t.Errorf("%s %s: %v", l.id, l.version, err)
			}
		}
		if l.extended != "" && l.extended < l.until {
			t.Errorf("%s %s: fixes that are sold end before the others", l.id, l.version)
		}
	}
}

func TestProcessorFlaws(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		"Not affected": "state=unaffected smt=",
		"Mitigation: Clear CPU buffers; SMT vulnerable":                                              "state=mitigated smt=vulnerable",
		"Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT disabled":                    "state=mitigated smt=disabled",
		"Vulnerable: Clear CPU buffers attempted, no microcode; SMT Host state unknown":              "state=vulnerable smt=host state unknown",
		"Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; BHI: Vulnerable, KVM: SW loop":    "state=vulnerable smt=",
		"Mitigation: Retpolines; STIBP: disabled; RSB filling; PBRSB-eIBRS: Not affected; BHI: none": "state=mitigated smt=",
		"KVM: Mitigation: VMX disabled":                                                              "state=mitigated smt=",
		"Processor vulnerable":                                                                       "state=vulnerable smt=",
		"Vulnerable":                                                                                 "state=vulnerable smt=",
	} {
		if f := flawFact(event.Flaw.New("x", ""), status); shown(f, "state smt") != want || f.Err() != "" {
			t.Errorf("%q: %s, want %s (error %q)", status, shown(f, "state smt"), want, f.Err())
		}
	}
	if f := flawFact(event.Flaw.New("x", ""), "Unknown: Dependent on hypervisor status"); f.Values["state"] != "unknown" || f.Err() == "" {
		t.Errorf("what the kernel does not know is %v", f.Values)
	}
	s := plantLive(t, map[string]string{"sys/devices/system/cpu/vulnerabilities/mds": "Mitigation: Clear CPU buffers; SMT vulnerable\n"})
	want(t, surveyed(t, s.Flaws), "state @", map[string]string{"mds": "state=mitigated @/sys/devices/system/cpu/vulnerabilities/mds"})
	if err := plant(t, nil).Flaws(t.Context(), func(event.Fact) {}); err != ErrNotLive && !strings.Contains(err.Error(), ErrNotLive.Error()) {
		t.Errorf("the error of an image is %v", err)
	}
}

func TestRebootsArePending(t *testing.T) {
	t.Parallel()
	status := "root/var/lib/dpkg/status"
	for name, x := range map[string]struct {
		files map[string]string
		want  string
	}{
		"not":          {map[string]string{"root/lib/modules/6.1.0-28-amd64/modules.dep": "", "root/lib/modules/6.1.0-25-amd64/modules.dep": "", status: "Package: linux-image-6.1.0-28-amd64\nStatus: install ok installed\nVersion: 6.1.119-1\n"}, "pending=false reasons"},
		"a note":       {map[string]string{"root/run/reboot-required": "*** System restart required ***\n", "root/run/reboot-required.pkgs": "libc6\nlibssl3\nlibc6\n"}, "pending=true reasons=[/run/reboot-required libc6 libssl3]"},
		"newer kernel": {map[string]string{"root/lib/modules/6.1.0-30-amd64/modules.dep": ""}, "pending=true reasons=[kernel 6.1.0-30-amd64 is installed, 6.1.0-28-amd64 runs]"},
		"newer build": {map[string]string{status: "Package: linux-image-6.1.0-28-amd64\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6.1.124-1\n"},
			"pending=true reasons=[linux-image-6.1.0-28-amd64 6.1.124-1 is installed, 6.1.119-1 runs]"},
		"an older build that was removed": {map[string]string{status: "Package: linux-image-6.1.0-28-amd64\nStatus: deinstall ok config-files\nVersion: 6.1.112-1\n"}, "pending=false reasons"},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, surveyed(t, plantLive(t, x.files).Reboots), "pending reasons", map[string]string{"machine": x.want})
		})
	}
}

func TestMandatoryAccessControl(t *testing.T) {
	t.Parallel()
	const names = "usual modules active enforcing apparmor_installed apparmor_profiles apparmor_enforcing apparmor_complaining apparmor_unconfined selinux_mode selinux_configured selinux_type"
	redHat := "ID=rhel\nVERSION_ID=9.4\n"
	for name, x := range map[string]struct {
		files map[string]string
		want  string
	}{
		"AppArmor": {map[string]string{"root/usr/sbin/apparmor_parser": "", "sys/module/apparmor/parameters/enabled": "Y\n", "sys/kernel/security/lsm": "capability,landlock,yama,apparmor",
			"sys/kernel/security/apparmor/profiles": "/usr/bin/man (enforce)\nnvidia_modprobe (x) (complain)\nunix-chkpwd (kill)\nbusybox (unconfined)\n"},
			"usual=apparmor modules=[capability landlock yama apparmor] active=apparmor enforcing=true apparmor_installed=true apparmor_profiles=4 apparmor_enforcing=2 apparmor_complaining=1 apparmor_unconfined=1 selinux_mode=disabled selinux_configured selinux_type"},
		"AppArmor without profiles": {map[string]string{"sys/module/apparmor/parameters/enabled": "Y\n", "sys/kernel/security/apparmor/profiles": ""},
			"usual=apparmor modules active=none enforcing=false apparmor_installed=false apparmor_profiles=0 apparmor_enforcing=0 apparmor_complaining=0 apparmor_unconfined=0 selinux_mode=disabled selinux_configured selinux_type"},
		"SELinux": {map[string]string{"root/etc/os-release": redHat, "root/etc/selinux/config": "# x\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", "sys/fs/selinux/enforce": "1"},
			"usual=selinux modules active=selinux enforcing=true apparmor_installed=false apparmor_profiles apparmor_enforcing apparmor_complaining apparmor_unconfined selinux_mode=enforcing selinux_configured=enforcing selinux_type=targeted"},
		"SELinux by setenforce 0": {map[string]string{"root/etc/os-release": redHat, "root/etc/selinux/config": "SELINUX=enforcing\n", "sys/fs/selinux/enforce": "0"},
			"usual=selinux modules active=selinux enforcing=false apparmor_installed=false apparmor_profiles apparmor_enforcing apparmor_complaining apparmor_unconfined selinux_mode=permissive selinux_configured=enforcing selinux_type"},
		"none": {map[string]string{"root/etc/os-release": "ID=alpine\nVERSION_ID=3.22\n", "sys/module/apparmor/parameters/enabled": "N\n"},
			"usual modules active=none enforcing=false apparmor_installed=false apparmor_profiles apparmor_enforcing apparmor_complaining apparmor_unconfined selinux_mode=disabled selinux_configured selinux_type"},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, surveyed(t, plantLive(t, x.files).LSMs), names, map[string]string{"machine": x.want})
		})
	}
	image := plant(t, map[string]string{"etc/os-release": redHat, "etc/selinux/config": "SELINUX=permissive\n"})
	want(t, surveyed(t, image.LSMs), "usual active selinux_mode selinux_configured", map[string]string{"machine": "usual=selinux active selinux_mode selinux_configured=permissive"})
	malformed := plantLive(t, map[string]string{"sys/module/apparmor/parameters/enabled": "Y\n", "sys/kernel/security/apparmor/profiles": "no mode\n"})
	if f := surveyed(t, malformed.LSMs)["machine"]; !strings.Contains(f.Err(), "/sys/kernel/security/apparmor/profiles:1: want a profile and its mode") {
		t.Errorf("the error of a malformed list is %q", f.Err())
	}
	unreadable := plantLive(t, map[string]string{"sys/module/apparmor/parameters/enabled": "Y\n"})
	if err := os.MkdirAll(filepath.Join(unreadable.Sysfs, "kernel/security/apparmor"), 0o755); err != nil {
		t.Fatal(err)
	}
	if f := surveyed(t, unreadable.LSMs)["machine"]; f.Err() == "" {
		t.Error("AppArmor is on and its profiles cannot be read: no error")
	}
}

func FuzzFlaw(f *testing.F) {
	f.Add("Mitigation: x; SMT vulnerable")
	f.Fuzz(func(t *testing.T, status string) {
		fact := flawFact(event.Flaw.New("x", ""), status)
		if state := fact.Values["state"]; (state == "unknown") != (fact.Err() != "") {
			t.Errorf("%q: state %v, error %q", status, state, fact.Err())
		}
	})
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("6.1.0-28", "6.1.0-3", "5")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if compareVersions(a, b) != -compareVersions(b, a) {
			t.Errorf("%q and %q differ by their order", a, b)
		}
		if compareVersions(a, b) < 0 && compareVersions(b, c) < 0 && compareVersions(a, c) >= 0 {
			t.Errorf("%q < %q < %q is not an order", a, b, c)
		}
	})
}
