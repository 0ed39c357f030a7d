package host

import (
	"bytes"
	"compress/gzip"
	"slices"
	"strings"
	"testing"
)

const buildText = `# CONFIG_SECURITY_DMESG_RESTRICT is not set
CONFIG_BPF_UNPRIV_DEFAULT_OFF=y
CONFIG_MAGIC_SYSRQ_DEFAULT_ENABLE=0x01b6
CONFIG_DEFAULT_MMAP_MIN_ADDR=65536
CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y
# CONFIG_INIT_ON_FREE_DEFAULT_ON is not set
CONFIG_LEGACY_VSYSCALL_XONLY=y
# CONFIG_LEGACY_VSYSCALL_NONE is not set
# CONFIG_SLAB_MERGE_DEFAULT is not set
CONFIG_DEBUG_FS=y
CONFIG_DEBUG_FS_ALLOW_ALL=y
`

func TestKernelsAreBuiltWithDefaults(t *testing.T) {
	t.Parallel()
	image := plant(t, map[string]string{"boot/config-6.1.0-28-amd64": buildText, "boot/vmlinuz-6.1.0-28-amd64": "", "boot/vmlinuz-6.1.0-9-amd64": "", "boot/extlinux.conf": "APPEND ro\n"})
	wantArgs := map[string]string{
		"init_on_alloc": "exists=false built=1", "init_on_free": "exists=false built=0", "vsyscall": "exists=false built=xonly", "slab_nomerge": "exists=false built=on", "debugfs": "exists=false built=on",
		"randomize_kstack_offset": "exists=false built", "audit": "exists=false built",
	}
	want(t, surveyed(t, image.BootArgs), "exists built", wantArgs)
	want(t, surveyed(t, image.Sysctls), "value default lasting", map[string]string{
		"kernel.dmesg_restrict": "value=0 default=0 lasting=true", "kernel.unprivileged_bpf_disabled": "value=2 default=2 lasting=true", "kernel.sysrq": "value=438 default=438 lasting=true",
		"vm.mmap_min_addr": "value=65536 default=65536 lasting=true", "dev.tty.ldisc_autoload": "value default lasting", "kernel.randomize_va_space": "value=2 default=2 lasting=true",
	})
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(buildText)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	live := plantLive(t, map[string]string{"proc/config.gz": packed.String(), "proc/sys/kernel/dmesg_restrict": "1\n", "root/boot/config-6.1.0-28-amd64": "CONFIG_SECURITY_DMESG_RESTRICT=y\n"})
	want(t, surveyed(t, live.BootArgs), "exists built", wantArgs)
	want(t, surveyed(t, live.Sysctls), "value default lasting", map[string]string{"kernel.dmesg_restrict": "value=1 default=0 lasting=false"})
}

func TestOnlyX86HasAVsyscallPage(t *testing.T) {
	t.Parallel()
	arm := kernelBuild{"CONFIG_DEBUG_FS": "y"}
	x86 := kernelBuild{"CONFIG_LEGACY_VSYSCALL_NONE": "n", "CONFIG_LEGACY_VSYSCALL_EMULATE": "y"}
	if got := []string{arm.arg("vsyscall"), x86.arg("vsyscall"), kernelBuild{}.arg("vsyscall")}; !slices.Equal(got, []string{"none", "emulate", ""}) {
		t.Errorf("vsyscall of another architecture, of x86, and of a kernel that nobody knows: %q", got)
	}
}

func TestBrokenKernelConfigurationsAreTold(t *testing.T) {
	t.Parallel()
	s := plantLive(t, map[string]string{"proc/config.gz": "not gzip"})
	if f := surveyed(t, s.BootArgs)["audit"]; !strings.Contains(f.Err(), "/proc/config.gz: ") {
		t.Errorf("the error is %q", f.Err())
	}
	if build, err := readBuild("/boot/config-x", strings.NewReader(strings.Repeat("#", maxConfigText+1))); err == nil || build != nil {
		t.Errorf("a configuration without end: %v, %v", build, err)
	}
}

func FuzzKernelConfiguration(f *testing.F) {
	f.Add(buildText)
	f.Fuzz(func(t *testing.T, text string) {
		build, err := readBuild("/x", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for name := range builtSysctls {
			build.sysctl(name)
		}
		for name := range builtArgs {
			build.arg(name)
		}
	})
}
