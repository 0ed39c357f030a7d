package host

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// knownFiles are the files of the system itself whose owner and permissions matter, by what they are. A path with a pattern is each
// that there is.
var knownFiles = []struct {
	purpose string
	paths   []string
}{
	{"passwd", []string{"/etc/passwd"}}, {"passwd_backup", []string{"/etc/passwd-"}}, {"group", []string{"/etc/group"}}, {"group_backup", []string{"/etc/group-"}},
	{"shadow", []string{"/etc/shadow"}}, {"shadow_backup", []string{"/etc/shadow-"}}, {"gshadow", []string{"/etc/gshadow"}}, {"gshadow_backup", []string{"/etc/gshadow-"}},
	{"shells", []string{"/etc/shells"}}, {"opasswd", []string{"/etc/security/opasswd"}}, {"opasswd_backup", []string{"/etc/security/opasswd.old"}},
	{"motd", []string{"/etc/motd"}}, {"issue", []string{"/etc/issue"}}, {"issue_net", []string{"/etc/issue.net"}},
	{"grub_config", grubConfigs}, {"grub_user", grubUsers}, {"loader_config", append(append([]string{}, loaderFiles...), extlinuxes...)},
	{"boot_dir", []string{"/boot", "/boot/grub", "/boot/grub2"}}, {"kernel_image", []string{"/boot/vmlinuz-*", "/boot/initrd.img-*", "/boot/initramfs-*"}}, {"system_map", []string{"/boot/System.map-*"}},
	{"fstab", []string{"/etc/fstab"}}, {"crypttab", []string{"/etc/crypttab"}}, {"hosts", []string{"/etc/hosts"}},
	{"ld_preload", []string{"/etc/ld.so.preload"}}, {"ld_config", []string{"/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.conf.d/*", "/etc/ld.so.cache"}},
	{"sysctl_config", []string{"/etc/sysctl.conf", "/etc/sysctl.d", "/etc/sysctl.d/*"}}, {"modprobe_config", []string{"/etc/modprobe.d", "/etc/modprobe.d/*", "/etc/modules", "/etc/modules-load.d", "/etc/modules-load.d/*"}},
	{"repository_config", []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/sources.list.d/*", "/etc/apt/apt.conf.d", "/etc/apt/apt.conf.d/*", "/etc/yum.repos.d", "/etc/yum.repos.d/*", "/etc/dnf/dnf.conf", "/etc/yum.conf", "/etc/apk/repositories"}},
	{"repository_key", []string{"/etc/apt/trusted.gpg", "/etc/apt/trusted.gpg.d", "/etc/apt/trusted.gpg.d/*", "/etc/apt/keyrings", "/etc/apt/keyrings/*", "/usr/share/keyrings", "/usr/share/keyrings/*", "/etc/pki/rpm-gpg", "/etc/pki/rpm-gpg/*", "/etc/apk/keys", "/etc/apk/keys/*"}},
	{"repository_secret", []string{"/etc/apt/auth.conf", "/etc/apt/auth.conf.d/*.conf"}},
	{"system_dir", []string{"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/sbin", "/srv", "/usr", "/usr/bin", "/usr/lib", "/usr/libexec", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/local/sbin", "/usr/sbin", "/var", "/var/lib", "/var/lib/dpkg", "/var/lib/rpm", "/lib/apk", "/lib/modules"}},
	{"tmp_dir", []string{"/tmp", "/var/tmp", "/dev/shm"}},
	{"systemd_units", unitDirs},
}

// unitDirs are where services and timers are defined, which run as root unless they say otherwise.
var unitDirs = []string{"/etc/systemd/system", "/etc/systemd/user", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/usr/lib/systemd/user", "/lib/systemd/system", "/etc/init.d", "/etc/rc.local"}

// maxUnitFiles is how many of the files of units are looked at.
const maxUnitFiles = 20_000

// SystemFiles reports the owner and permissions of well-known files of the system itself.
func (s *Surveys) SystemFiles(ctx context.Context, report func(event.Fact)) error {
	for _, known := range knownFiles {
		for _, pattern := range known.paths {
			if err := ctx.Err(); err != nil {
				return err
			}
			paths, err := s.pathsOf(pattern)
			if err != nil {
				report(s.fileError(known.purpose, pattern, err))
			}
			for _, file := range paths {
				report(s.fileFact(known.purpose, file))
			}
		}
	}
	return s.unitFiles(ctx, report)
}

// pathsOf is a path itself, whether anything is there or not, or each that there is of a pattern.
func (s *Surveys) pathsOf(pattern string) ([]string, error) {
	if !s.Live() && (strings.HasPrefix(pattern, "/dev") || strings.HasPrefix(pattern, "/run/")) {
		return nil, nil // what an image has there is covered by other file systems once it runs
	}
	if !strings.Contains(pattern, "*") {
		return []string{pattern}, nil
	}
	return s.glob(pattern)
}

func (s *Surveys) fileError(purpose, file string, err error) event.Fact {
	return event.File.New(file, file).Set("path", file).Set("purpose", purpose).Fail(err)
}

// unitFiles reports those files of units, and drop-ins, that others than root could change. There are hundreds of the others.
func (s *Surveys) unitFiles(ctx context.Context, report func(event.Fact)) error {
	left := maxUnitFiles
	for _, dir := range unitDirs {
		if target, err := s.Files().Readlink(path.Dir(path.Dir(dir))); err == nil && target != "" {
			continue // /lib is a link to /usr/lib, which is looked at
		}
		if err := s.unitFilesIn(ctx, dir, &left, report); err != nil {
			return err
		}
	}
	return nil
}

func (s *Surveys) unitFilesIn(ctx context.Context, dir string, left *int, report func(event.Fact)) error {
	names, err := s.readDir(dir)
	if err == nil && len(names) > *left {
		err = fmt.Errorf("%s: there are more than %d files of units, of which the rest was not looked at", dir, maxUnitFiles)
	}
	if err != nil {
		if !Absent(err) {
			report(s.fileError("systemd_unit", dir, err))
		}
		return ctx.Err()
	}
	*left -= len(names)
	for _, n := range names {
		if n.Type != "file" && n.Type != "directory" {
			continue // a link leads to a file that is looked at, or out of these directories
		}
		file := path.Join(dir, n.Name)
		if st, err := s.lstat(file); err != nil || st.Uid != 0 || st.Mode&0o022 != 0 {
			report(s.fileFact("systemd_unit", file))
		}
		if n.Type == "directory" && strings.HasSuffix(n.Name, ".d") {
			if err := s.unitFilesIn(ctx, file, left, report); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}
