package host

import (
	"fmt"
	"maps"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestBootArgsAreTakenApartAsTheKernelDoes(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"ro quiet audit=1\n":                 "[{ro } {quiet } {audit 1}]",
		`a="x y" b=1 "c=2 3"`:                "[{a x y} {b 1} {c 2 3}]",
		"page-alloc.shuffle=1 -- init=/x":    "[{page_alloc.shuffle 1}]",
		"root=UUID=1-2 console=ttyS0,115200": "[{root UUID=1-2} {console ttyS0,115200}]",
		"":                                   "[]",
	} {
		if got := fmt.Sprint(bootArgs(line)); got != want {
			t.Errorf("bootArgs(%q) = %s, want %s", line, got, want)
		}
	}
}

const grubMenu = `set superusers="admin, boss"
password_pbkdf2 admin grub.pbkdf2.sha512.10000.AB
menuentry 'Debian' --unrestricted {
	linux	/boot/vmlinuz-6.1.0-28-amd64 root=UUID=1 ro audit=1 apparmor=1 mitigations=auto,nosmt
	initrd	/boot/initrd.img-6.1.0-28-amd64
}
menuentry 'Debian (recovery)' {
	linux	/boot/vmlinuz-6.1.0-28-amd64 root=UUID=1 ro single apparmor=1 mitigations=auto,nosmt
}
`

func TestBootArgsBesideTheBootLoader(t *testing.T) {
	t.Parallel()
	files := map[string]string{"boot/grub/grub.cfg": grubMenu}
	want(t, surveyed(t, plant(t, files).BootArgs), "exists value values lasting @", map[string]string{
		"audit":       "exists=true value=1 values=[1] lasting=false @/boot/grub/grub.cfg:4",
		"apparmor":    "exists=true value=1 values=[1] lasting=true @/boot/grub/grub.cfg:4",
		"mitigations": "exists=true value=auto,nosmt values=[auto nosmt] lasting=true @/boot/grub/grub.cfg:4",
		"single":      "exists=false value values lasting=false @/boot/grub/grub.cfg:4",
		"nokaslr":     "exists=false value values lasting=true @/boot/grub/grub.cfg:4",
	})
	live := map[string]string{"root/boot/grub/grub.cfg": grubMenu, "proc/cmdline": "BOOT_IMAGE=/x apparmor=1 slab-nomerge audit=0 audit=1 module_blacklist=a,b\n"}
	want(t, surveyed(t, plantLive(t, live).BootArgs), "exists value values lasting @", map[string]string{
		"audit":            "exists=true value=1 values=[0 1] lasting=false @/proc/cmdline",
		"apparmor":         "exists=true value=1 values=[1] lasting=true @/proc/cmdline",
		"slab_nomerge":     "exists=true value= values=[] lasting=false @/proc/cmdline",
		"module_blacklist": "exists=true value=a,b values=[a b] lasting=false @/proc/cmdline",
		"mitigations":      "exists=false value values lasting=false @/proc/cmdline",
	})
}

// TestMemoryTestsAreNoKernels: what they are not given says nothing of kernels.
func TestMemoryTestsAreNoKernels(t *testing.T) {
	t.Parallel()
	menu := "menuentry a {\n linux /vmlinuz ro audit=1\n}\nmenuentry b {\n linux /boot/memtest86+x64.bin\n linux16 /boot/memtest86+.bin console=ttyS0\n}\n"
	want(t, surveyed(t, plant(t, map[string]string{"boot/grub/grub.cfg": menu}).BootArgs), "exists value lasting", map[string]string{"audit": "exists=true value=1 lasting=true"})
}

func TestBootEntriesOfOtherLoaders(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"loader entries": {"boot/loader/entries/a.conf": "title x\nlinux /vmlinuz\noptions ro $kernelopts\n", "boot/grub2/grubenv": "# GRUB Environment Block\nkernelopts=audit=1 x=2\n#####\n"},
		"extlinux":       {"boot/extlinux.conf": "DEFAULT x\nLABEL x\n  LINUX vmlinuz\n  APPEND ro audit=1\n"},
		"grub with efi":  {"boot/grub2/grub.cfg": "linuxefi /vmlinuz ro audit=1\n"},
	} {
		facts := surveyed(t, plant(t, files).BootArgs)
		if got := shown(facts["audit"], "exists value lasting"); got != "exists=true value=1 lasting=true" {
			t.Errorf("%s: audit is %s", name, got)
		}
	}
	if facts := surveyed(t, plant(t, nil).BootArgs); len(facts) != 0 {
		t.Errorf("an image without a boot loader has arguments: %v", facts)
	}
}

func TestBootLoadersAskForPasswords(t *testing.T) {
	t.Parallel()
	redHat := "set superusers=\"root\"\npassword_pbkdf2 root ${GRUB2_PASSWORD}\nmenuentry x {\n}\n"
	for name, x := range map[string]struct {
		files map[string]string
		want  map[string]string
	}{
		"grub":                {map[string]string{"boot/grub/grub.cfg": grubMenu}, map[string]string{"grub": "password=true hashed=true editor=false"}},
		"plain password":      {map[string]string{"boot/grub/grub.cfg": "set superusers='a'\npassword a secret\nmenuentry x {\n}\n"}, map[string]string{"grub": "password=true hashed=false editor=false"}},
		"no superuser":        {map[string]string{"boot/grub/grub.cfg": "password_pbkdf2 a grub.x\nmenuentry x {\n}\n"}, map[string]string{"grub": "password=false hashed editor=true"}},
		"other superuser":     {map[string]string{"boot/grub/grub.cfg": "set superusers=b\npassword_pbkdf2 a grub.x\n"}, map[string]string{"grub": "password=false hashed editor=true"}},
		"nothing":             {map[string]string{"boot/grub/grub.cfg": "menuentry x {\n}\n"}, map[string]string{"grub": "password=false hashed editor=true"}},
		"Red Hat, open":       {map[string]string{"boot/grub2/grub.cfg": redHat}, map[string]string{"grub": "password=false hashed editor=true"}},
		"Red Hat, closed":     {map[string]string{"boot/grub2/grub.cfg": redHat, "boot/grub2/user.cfg": "GRUB2_PASSWORD=grub.pbkdf2.x\n"}, map[string]string{"grub": "password=true hashed=true editor=false"}},
		"systemd-boot":        {map[string]string{"boot/loader/loader.conf": "timeout 3\n"}, map[string]string{"systemd-boot": "password=false hashed editor=true"}},
		"systemd-boot closed": {map[string]string{"efi/loader/loader.conf": "editor no\n"}, map[string]string{"systemd-boot": "password=false hashed editor=false"}},
		"extlinux":            {map[string]string{"boot/extlinux.conf": "LABEL x\n"}, map[string]string{"extlinux": "password=false hashed editor=true"}},
		"extlinux closed":     {map[string]string{"boot/extlinux.conf": "ALLOWOPTIONS 0\n"}, map[string]string{"extlinux": "password=false hashed editor=false"}},
		"extlinux password":   {map[string]string{"boot/extlinux.conf": "MENU MASTER PASSWD $1$x\n"}, map[string]string{"extlinux": "password=true hashed=true editor=false"}},
		"a stub of UEFI": {map[string]string{"boot/grub/grub.cfg": grubMenu, "boot/efi/EFI/debian/grub.cfg": "search.fs_uuid 1 root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"},
			map[string]string{"grub": "password=true hashed=true editor=false"}},
		"entries in files of their own": {map[string]string{"boot/grub2/grub.cfg": "insmod blscfg\nblscfg\n# configfile\nconfigfile $prefix/custom.cfg\n"}, map[string]string{"grub": "password=false hashed editor=true"}},
	} {
		facts := surveyed(t, plant(t, x.files).Loaders)
		want(t, facts, "password hashed editor", x.want)
		if len(facts) != len(x.want) {
			t.Errorf("%s: loaders are %v", name, maps.Keys(facts))
		}
	}
}

func FuzzBootArgs(f *testing.F) {
	f.Add(`a="b c" -- d`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, arg := range bootArgs(line) {
			if arg.name == "" {
				t.Errorf("an argument of %q has no name", line)
			}
		}
	})
}

func FuzzGrubConfig(f *testing.F) {
	f.Add(grubMenu)
	f.Fuzz(func(t *testing.T, text string) {
		s := &Surveys{Root: "/nonexistent"}
		fact := event.Loader.New("x", "/boot/grub/grub.cfg")
		_ = s.grubLoader(fact, text)
		_ = extlinux(event.Loader.New("x", "/x"), text)
		_ = systemdBoot(event.Loader.New("x", "/x"), text)
		_, _ = fact.Values["password"].(bool)
	})
}
