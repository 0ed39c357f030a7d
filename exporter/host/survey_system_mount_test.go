package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestMountOptionsComeToSomething(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		options, option string
		want            bool
	}{
		{"rw,nodev,nosuid", "nodev", true}, {"rw,nodev,nosuid", "noexec", false}, {"defaults", "nosuid", false}, {"nosuid,defaults", "nosuid", false}, {"nosuid,suid", "nosuid", false},
		{"suid,nosuid", "nosuid", true}, {"user", "noexec", true}, {"users,exec", "noexec", false}, {"users,exec", "nosuid", true}, {"owner", "noexec", false}, {"group", "nosuid", true},
		{"ro", "ro", true}, {"ro,rw", "ro", false}, {"rw", "ro", false}, {"nosuid,rw", "nosuid", true}, {"", "nodev", false}, {"nodevx", "nodev", false},
	} {
		if got := hasOption(strings.Split(x.options, ","), x.option); got != x.want {
			t.Errorf("%s of %q = %v, want %v", x.option, x.options, got, x.want)
		}
	}
}

const (
	mountNames = "separate configured nodev nosuid noexec type device local remote @"
	somewhere  = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
)

func TestMountsAreThoseOfTheFirstProcess(t *testing.T) {
	t.Parallel()
	s := plantLive(t, map[string]string{
		"proc/1/mountinfo": somewhere + `20 1 0:20 / /tmp rw,nosuid,nodev,noexec shared:1 - tmpfs tmpfs rw
21 1 0:21 / /dev/shm rw - tmpfs shm rw
22 1 0:22 / /dev/shm rw,nosuid,nodev - tmpfs shm rw
23 1 8:2 / /home rw,nodev,nosuid - ext4 /dev/sda2 rw
24 1 8:3 / /var rw,nodev,nosuid master:2 - xfs /dev/sda3 rw
25 1 8:17 / /media/my\040stick rw - vfat /dev/sdb1 rw
26 1 0:40 / /mnt/share rw,nosuid,nodev - nfs4 server:/x rw
27 1 0:41 / /var/lib/docker/overlay2/1/merged rw - overlay overlay rw
28 1 8:4 / /var/lib/kubelet/pods/1/volumes/x rw - ext4 /dev/sda4 rw
29 1 0:42 / /proc rw,nosuid,nodev,noexec - proc proc rw
`,
		"proc/self/mountinfo": "1 0 0:9 / / rw - overlay overlay rw\n",
		"root/etc/fstab":      "# x\n/dev/sda2 /home ext4 defaults,nodev 0 2\n/dev/sda3 /var xfs nodev,nosuid 0 2\nserver:/x\t/mnt/share\tnfs4\tnodev,nosuid\n",
	})
	want(t, surveyed(t, s.Mounts), mountNames, map[string]string{
		"/tmp":            "separate=true configured=false nodev=true nosuid=true noexec=true type=tmpfs device=tmpfs local=false remote=false @",
		"/dev/shm":        "separate=true configured=false nodev=true nosuid=true noexec=false type=tmpfs device=shm local=false remote=false @",                 // the last counts
		"/home":           "separate=true configured=true nodev=true nosuid=false noexec=false type=ext4 device=/dev/sda2 local=true remote=false @/etc/fstab:2", // fstab forgets nosuid
		"/var":            "separate=true configured=true nodev=true nosuid=true noexec=false type=xfs device=/dev/sda3 local=true remote=false @/etc/fstab:3",
		"/var/tmp":        "separate=false configured=false nodev nosuid noexec type device local remote @",
		"/media/my stick": "separate=true configured=false nodev=false nosuid=false noexec=false type=vfat device=/dev/sdb1 local=true remote=false @",
		"/mnt/share":      "separate=true configured=true nodev=true nosuid=true noexec=false type=nfs4 device=server:/x local=false remote=true @/etc/fstab:4",
		"/":               "separate=true configured=false nodev=false nosuid=false noexec=false type=ext4 device=/dev/sda1 local=true remote=false @",
	})
	for subject := range surveyed(t, s.Mounts) {
		if strings.HasPrefix(subject, "/var/lib/") {
			t.Errorf("%s is reported, which is a guest's", subject)
		}
	}
}

func TestMountsOfAnImageAreThoseThatWillBe(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/fstab":                        "UUID=1 / ext4 errors=remount-ro 0 1\ntmpfs /tmp tmpfs defaults 0 0\n/dev/x /mnt/a ext4 noauto,nodev 0 0\nUUID=2 none swap sw 0 0\nlabel=x /my\\040dir ext4 nodev 0 0\n/dev/y\n",
		"usr/lib/systemd/systemd":          "ELF",
		"usr/lib/systemd/system/tmp.mount": "[Mount]\nWhat=tmpfs\nType=tmpfs\nOptions=nosuid,nodev\n",
		"usr/lib/systemd/system/local-fs.target.wants/tmp.mount": "", "usr/lib/systemd/system/var-tmp.mount": "[Mount]\nOptions=nosuid\n",
		"etc/systemd/system/home.mount": "[Unit]\n[Mount]\nWhat=/dev/z\nType=ext4\nOptions=nodev\n", "etc/systemd/system/local-fs.target.wants/home.mount": "",
		"etc/systemd/system/home.mount.d/x.conf": "[Mount]\nOptions=nodev,nosuid\n",
	})
	if err := os.Symlink("/dev/null", filepath.Join(s.Root, "etc/systemd/system/var-log.mount")); err != nil {
		t.Fatal(err)
	}
	facts := surveyed(t, s.Mounts)
	want(t, facts, mountNames, map[string]string{
		"/":            "separate=true configured=true nodev=false nosuid=false noexec=false type=ext4 device=UUID=1 local=true remote=false @/etc/fstab:1",
		"/tmp":         "separate=true configured=true nodev=false nosuid=false noexec=false type=tmpfs device=tmpfs local=false remote=false @/etc/fstab:2", // counts over the distribution's unit
		"/home":        "separate=true configured=true nodev=true nosuid=true noexec=false type=ext4 device=/dev/z local=true remote=false @/etc/systemd/system/home.mount",
		"/dev/shm":     "separate=true configured=true nodev=true nosuid=true noexec=false type=tmpfs device=tmpfs local=false remote=false @/usr/lib/systemd/systemd",
		"/var/tmp":     "separate=false configured=false nodev nosuid noexec type device local remote @", // nothing wants the unit
		"/var/log":     "separate=false configured=false nodev nosuid noexec type device local remote @",
		"/my dir":      "separate=true configured=true nodev=true nosuid=false noexec=false type=ext4 device=label=x local=true remote=false @/etc/fstab:5",
		"/etc/fstab:6": "separate configured nodev nosuid noexec type device local remote @/etc/fstab:6",
	})
	if _, there := facts["/mnt/a"]; there || !strings.Contains(facts["/etc/fstab:6"].Err(), "/etc/fstab:6: want three to six fields") {
		t.Errorf("noauto is reported: %v; error of a malformed line %q", there, facts["/etc/fstab:6"].Err())
	}
}

// TestMountsOfAnotherInitAreNotKnown: that of Alpine mounts /dev/shm and /proc too, and no file of an image says how.
func TestMountsOfAnotherInitAreNotKnown(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/fstab": "tmpfs /run tmpfs nosuid,nodev 0 0\n"})
	want(t, surveyed(t, s.Mounts), "separate nodev", map[string]string{"/dev/shm": "separate nodev", "/proc": "separate nodev", "/run": "separate=true nodev=true", "/tmp": "separate=false nodev"})
}

func TestMaskedUnitsKeepFstabFromMounting(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/fstab": "tmpfs /tmp tmpfs nodev 0 0\n", "etc/systemd/system/x": ""})
	if err := os.Symlink("/dev/null", filepath.Join(s.Root, "etc/systemd/system/tmp.mount")); err != nil {
		t.Fatal(err)
	}
	want(t, surveyed(t, s.Mounts), "separate configured", map[string]string{"/tmp": "separate=false configured=false"})
}

func TestMalformedMountTables(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1 0 8:1 / / rw ext4 /dev/sda1 rw\n":              "/proc/1/mountinfo:1: want six fields, a dash and three more",
		somewhere + "2 1 x / /y rw - ext4 /dev/sda1 rw\n": `/proc/1/mountinfo:2: want a device MAJOR:MINOR, got "x"`,
	} {
		if err := plantLive(t, map[string]string{"proc/1/mountinfo": text}).Mounts(t.Context(), func(event.Fact) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error of %q is %v", text, err)
		}
	}
}

// link makes the symbolic links of a machine of ours.
func linkAll(t *testing.T, s *Surveys, links map[string]string) {
	t.Helper()
	for name, to := range links {
		path := filepath.Join(filepath.Dir(s.Root), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDisksAreEncryptedDownToTheLast(t *testing.T) {
	t.Parallel()
	devices := "sys/devices/block/"
	s := plantLive(t, map[string]string{
		"proc/1/mountinfo":       "1 0 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n2 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n3 1 253:2 / /srv rw - xfs /dev/mapper/vg-srv rw\n4 1 8:17 / /media rw - vfat /dev/sdb1 rw\n5 1 7:0 / /snap/x ro - squashfs /dev/loop0 ro\n6 1 0:20 / /tmp rw - tmpfs tmpfs rw\n7 1 0:30 / /data rw - btrfs /dev/mapper/crypt rw\n8 1 253:1 /x /bound rw - ext4 /dev/mapper/vg-root rw\n",
		"proc/swaps":             "Filename Type Size Used Priority\n/dev/mapper/vg-swap partition 1 0 -2\n/swapfile file 1 0 -3\n/srv/swap file 1 0 -3\n/dev/zram0 partition 1 0 100\n",
		devices + "dm-0/dm/uuid": "CRYPT-LUKS2-abc-sda2_crypt\n", devices + "dm-0/slaves/sda2/x": "", devices + "dm-1/dm/uuid": "LVM-abc\n", devices + "dm-1/slaves/dm-0/x": "",
		devices + "dm-2/dm/uuid": "LVM-def\n", devices + "dm-2/slaves/dm-0/x": "", devices + "dm-2/slaves/sdc/x": "", devices + "sda/sda1/partition": "1", devices + "sda/removable": "0",
		devices + "sdb/sdb1/partition": "1", devices + "sdb/removable": "1", devices + "sdc/size": "1", devices + "dm-9/dm/uuid": "CRYPT-PLAIN-x", devices + "crypt/dm/uuid": "CRYPT-LUKS2-x",
	})
	linkAll(t, s, map[string]string{
		"sys/dev/block/253:1": "../../devices/block/dm-1", "sys/dev/block/253:2": "../../devices/block/dm-2", "sys/dev/block/8:1": "../../devices/block/sda/sda1", "sys/dev/block/8:17": "../../devices/block/sdb/sdb1", "sys/dev/block/7:0": "../../devices/block/loop0",
		"sys/class/block/dm-0": "../../devices/block/dm-0", "sys/class/block/dm-1": "../../devices/block/dm-1", "sys/class/block/dm-2": "../../devices/block/dm-2", "sys/class/block/sda1": "../../devices/block/sda/sda1",
		"sys/class/block/sdb1": "../../devices/block/sdb/sdb1", "sys/class/block/sdc": "../../devices/block/sdc", "sys/class/block/vg-swap": "../../devices/block/dm-9", "sys/class/block/crypt": "../../devices/block/crypt",
	})
	facts := surveyed(t, s.Disks)
	want(t, facts, "at type swap boot encrypted", map[string]string{
		"/dev/dm-1":           "at=[/ /bound] type=ext4 swap=false boot=false encrypted=true",
		"/dev/dm-2":           "at=[/srv] type=xfs swap=false boot=false encrypted=false", // half of it is not
		"/dev/sda1":           "at=[/boot] type=ext4 swap=false boot=true encrypted=false",
		"/dev/sdb1":           "at=[/media] type=vfat swap=false boot=false encrypted=false",
		"/dev/crypt":          "at=[/data] type=btrfs swap=false boot=false encrypted=true",
		"/dev/mapper/vg-swap": "at type=swap swap=true boot=false encrypted=true",
		"/swapfile":           "at type=swap swap=true boot=false encrypted=true",
		"/srv/swap":           "at type=swap swap=true boot=false encrypted=false",
	})
	if len(facts) != 8 {
		t.Errorf("%d disks, want 8", len(facts))
	}
	want(t, surveyed(t, s.Mounts), "removable", map[string]string{"/media": "removable=true", "/boot": "removable=false", "/srv": "removable"})
}

func TestDevicesInCircles(t *testing.T) {
	t.Parallel()
	s := plantLive(t, map[string]string{"proc/1/mountinfo": "1 0 253:1 / / rw - ext4 /dev/dm-1 rw\n", "sys/class/block/dm-1/slaves/dm-1/x": ""})
	linkAll(t, s, map[string]string{"sys/dev/block/253:1": "../../class/block/dm-1"})
	if f := surveyed(t, s.Disks)["/dev/dm-1"]; !strings.Contains(f.Err(), "more than eight deep") || f.Values["encrypted"] != nil {
		t.Errorf("a device on itself: %v", f.Values)
	}
}

func FuzzFstab(f *testing.F) {
	f.Add("UUID=1 /a\\040b ext4 noauto,nodev 0 1\nx\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, malformed := parseFstab("/etc/fstab", text)
		for at, fs := range table {
			if at != fs.at || !strings.HasPrefix(at, "/") {
				t.Errorf("%q is at %q", at, fs.at)
			}
		}
		for _, wrong := range malformed {
			if !strings.HasPrefix(wrong.Err(), "/etc/fstab:") {
				t.Errorf("error without its place: %q", wrong.Err())
			}
		}
	})
}

func FuzzMountTable(f *testing.F) {
	f.Add(somewhere)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parseMountTable("/proc/1/mountinfo", text); err != nil && !strings.HasPrefix(err.Error(), "/proc/1/mountinfo:") {
			t.Errorf("error without its place: %v", err)
		}
	})
}
