package host

import (
	"maps"
	"strings"
	"testing"
)

var installedModules = map[string]string{
	"lib/modules/6.1.0-28-amd64/modules.dep":     "kernel/fs/cramfs/cramfs.ko.xz: kernel/lib/zlib.ko.xz\nkernel/drivers/usb/storage/usb-storage.ko:\nkernel/net/sctp/sctp.ko.zst:\nkernel/net/dccp/dccp.ko:\nkernel/net/tipc/tipc.ko:\nkernel/net/rds/rds.ko:\nkernel/net/ax25/ax25.ko:\nkernel/fs/udf/udf.ko:\n",
	"lib/modules/6.1.0-28-amd64/modules.builtin": "kernel/fs/squashfs/squashfs.ko\n",
	"etc/modprobe.d/a.conf": "install cramfs /bin/false\nblacklist cramfs\n# blacklist udf\ninstall sctp /sbin/modprobe --ignore-install sctp\ninstall sctp /bin/true\n" +
		"blacklist usb_storage\ninstall usb-storage \\\n  /usr/bin/true\n",
	"usr/lib/modprobe.d/rare.conf": "alias net-pf-3 off\nblacklist dccp\noptions tipc x=1\nfrobnicate tipc\ninstall rds\n",
}

func TestModulesThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	wants := map[string]string{
		"cramfs":                          "exists=true builtin=false disabled=true blacklisted=true usable=false autoload=false @/etc/modprobe.d/a.conf:1",
		"usb_storage":                     "exists=true builtin=false disabled=true blacklisted=true usable=false autoload=false @/etc/modprobe.d/a.conf:7",
		"sctp":                            "exists=true builtin=false disabled=false blacklisted=false usable=true autoload=true @", // the first install line counts
		"dccp":                            "exists=true builtin=false disabled=false blacklisted=true usable=true autoload=false @/usr/lib/modprobe.d/rare.conf:2",
		"ax25":                            "exists=true builtin=false disabled=false blacklisted=true usable=true autoload=false @/usr/lib/modprobe.d/rare.conf:1",
		"udf":                             "exists=true builtin=false disabled=false blacklisted=false usable=true autoload=true @",
		"squashfs":                        "exists=true builtin=true disabled=false blacklisted=false usable=true autoload=true @",
		"jffs2":                           "exists=false builtin=false disabled=false blacklisted=false usable=false autoload=false @",
		"/usr/lib/modprobe.d/rare.conf:4": "exists builtin disabled blacklisted usable autoload @/usr/lib/modprobe.d/rare.conf:4",
		"/usr/lib/modprobe.d/rare.conf:5": "exists builtin disabled blacklisted usable autoload @/usr/lib/modprobe.d/rare.conf:5",
	}
	want(t, surveyed(t, plant(t, installedModules).Modules), "exists builtin disabled blacklisted usable autoload @", wants)
	live := map[string]string{
		"proc/modules": "udf 100 0 - Live 0x0\n", "proc/filesystems": "nodev\toverlay\n\tudf\n", "sys/module/tipc/parameters/x": "1", "sys/module/udf/refcnt": "0",
		"proc/cmdline": "module_blacklist=rds,hfs modprobe.blacklist=sctp\n",
	}
	for name, text := range installedModules {
		live["root/"+name] = text
	}
	maps.Copy(wants, map[string]string{
		"rds":     "exists=true builtin=false disabled=true blacklisted=false usable=false autoload=false @/proc/cmdline",
		"sctp":    "exists=true builtin=false disabled=false blacklisted=true usable=true autoload=false @/proc/cmdline",
		"overlay": "exists=true builtin=true disabled=false blacklisted=false usable=true autoload=true @",
		"tipc":    "exists=true builtin=true disabled=false blacklisted=false usable=true autoload=true @",
		"cramfs":  "exists=true builtin=false disabled=true blacklisted=true usable=false autoload=false @/etc/modprobe.d/a.conf:1",
	})
	facts := surveyed(t, plantLive(t, live).Modules)
	want(t, facts, "exists builtin disabled blacklisted usable autoload @", wants)
	want(t, facts, "loaded", map[string]string{"udf": "loaded=true", "cramfs": "loaded=false", "overlay": "loaded=true"})
}

// TestModulesBuiltIntoAKernelAreKnownByItsConfiguration: a protocol that is built in shows itself nowhere else.
func TestModulesBuiltIntoAKernelAreKnownByItsConfiguration(t *testing.T) {
	t.Parallel()
	known := plantLive(t, map[string]string{"root/boot/config-6.1.0-28-amd64": "CONFIG_TIPC=y\nCONFIG_IP_SCTP=m\n# CONFIG_RDS is not set\n"})
	want(t, surveyed(t, known.Modules), "exists builtin usable error", map[string]string{
		"tipc": "exists=true builtin=true usable=true error",
		"sctp": "exists=false builtin=false usable=false error", // it would be a module, and there is none
		"rds":  "exists=false builtin=false usable=false error",
	})
	unknown := surveyed(t, plantLive(t, map[string]string{"proc/filesystems": "\tudf\n"}).Modules)
	if f := unknown["tipc"]; !strings.Contains(f.Err(), "what is built into the kernel is not known") {
		t.Errorf("what is nowhere to be seen of a kernel that tells nothing: error %q", f.Err())
	}
	want(t, unknown, "usable error", map[string]string{"udf": "usable=true error"})
}

func TestInstallLinesThatLoadNothing(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]bool{
		"/bin/true": true, "/usr/bin/false": true, "/bin/echo it is off": true, "/sbin/modprobe -i x": false, "/usr/local/bin/check": false, "echo loading && /sbin/modprobe --ignore-install x": false,
	} {
		if got := refuses(strings.Fields(command)); got != want {
			t.Errorf("refuses(%s) = %v, want %v", command, got, want)
		}
	}
}

func FuzzModprobeFile(f *testing.F) {
	f.Add("install x /bin/true\nblacklist a-b\nalias net-pf-3 off\nalias x\n\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, wrong := range newModprobeRules().add("/x", text) {
			if !strings.HasPrefix(wrong.Err(), "/x:") {
				t.Errorf("error without its place: %q", wrong.Err())
			}
		}
	})
}
