package host

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestSystemFilesHaveTheirPurpose(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/shadow": "", "boot/grub2/grub.cfg": "", "boot/vmlinuz-6.1.0": "", "etc/apt/keyrings/a.gpg": "", "etc/sysctl.d/x.conf": "",
		"etc/systemd/system/good.service": "", "etc/systemd/system/bad.service": "", "usr/lib/systemd/system/also.service": "", "etc/systemd/system/bad.service.d/x.conf": "",
	})
	for name, mode := range map[string]os.FileMode{"etc/shadow": 0o640, "etc/systemd/system/bad.service": 0o666, "etc/systemd/system/bad.service.d": 0o775, "etc/passwd": 0o644} {
		if err := os.Chmod(filepath.Join(s.Root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]string{}
	err := s.SystemFiles(t.Context(), func(f event.Fact) {
		found[fmt.Sprint(f.Values["purpose"], " ", f.Subject)] = shown(f, "exists type mode_octal")
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"passwd /etc/passwd": "exists=true type=file mode_octal=0644", "shadow /etc/shadow": "exists=true type=file mode_octal=0640", "gshadow /etc/gshadow": "exists=false type mode_octal",
		"grub_config /boot/grub2/grub.cfg": "exists=true type=file mode_octal=0644", "kernel_image /boot/vmlinuz-6.1.0": "exists=true type=file mode_octal=0644", "repository_key /etc/apt/keyrings/a.gpg": "exists=true type=file mode_octal=0644",
		"sysctl_config /etc/sysctl.d/x.conf": "exists=true type=file mode_octal=0644", "systemd_units /etc/systemd/system": "exists=true type=directory mode_octal=0755",
		"systemd_unit /etc/systemd/system/bad.service": "exists=true type=file mode_octal=0666", "systemd_unit /etc/systemd/system/bad.service.d": "exists=true type=directory mode_octal=0775", "ld_preload /etc/ld.so.preload": "exists=false type mode_octal",
	} {
		if found[key] != want {
			t.Errorf("%s: %q, want %q", key, found[key], want)
		}
	}
	if _, reported := found["systemd_unit /etc/systemd/system/good.service"]; reported && os.Getuid() == 0 {
		t.Error("a unit that only root can change is reported")
	}
}
