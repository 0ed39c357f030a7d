package host

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/yagura-io/yagura/rules/event"
)

// Bounds of what is read of package managers' databases.
const (
	maxDatabase      = 128 << 20 // bytes of one file
	maxDatabaseLine  = 1 << 20
	maxInstalled     = 100_000
	maxIntegrity     = 48 << 20 // bytes of packages' files that are compared in one go
	maxIntegrityName = 20
)

// A packageSet is what is installed, as far as the database is one of text.
type packageSet struct {
	manager   string            // dpkg or apk; empty for others
	installed map[string]string // versions by name
	archs     map[string]string // of dpkg: architectures by name
}

// packages reads the database of dpkg or apk.
func (s *Surveys) packages() (*packageSet, error) {
	set := &packageSet{installed: map[string]string{}, archs: map[string]string{}}
	if err := s.dpkgStatus(set); err != nil || set.manager != "" {
		return set, err
	}
	name := ""
	err := s.stream("/lib/apk/db/installed", func(_ int, line []byte) error {
		switch text := string(line); {
		case strings.HasPrefix(text, "P:"):
			name = text[2:]
		case strings.HasPrefix(text, "V:"):
			return set.add("apk", name, text[2:])
		}
		return nil
	})
	if Absent(err) {
		return set, nil
	}
	set.manager = "apk"
	return set, err
}

func (set *packageSet) add(manager, name, version string) error {
	set.manager = manager
	if set.installed[name] = version; len(set.installed) > maxInstalled {
		return fmt.Errorf("more than %d packages", maxInstalled)
	}
	return nil
}

// dpkgStatus reads the database of dpkg. Images without dpkg have one file for each package instead.
func (s *Surveys) dpkgStatus(set *packageSet) error {
	files, err := s.glob("/var/lib/dpkg/status.d/*")
	if err != nil {
		return err
	}
	for _, file := range append(files, "/var/lib/dpkg/status") {
		if strings.HasSuffix(file, ".md5sums") {
			continue
		}
		err := s.dpkgFile(file, set)
		if err != nil && !Absent(err) {
			return err
		}
	}
	return nil
}

func (s *Surveys) dpkgFile(file string, set *packageSet) error {
	name, arch, installed := "", "", false
	always := path.Dir(file) != "/var/lib/dpkg" // such a file is only there of what is installed
	return s.stream(file, func(_ int, line []byte) error {
		key, value, ok := bytes.Cut(line, []byte(": "))
		if !ok || line[0] == ' ' {
			return nil
		}
		switch string(key) {
		case "Package":
			name, arch, installed = string(value), "", always
			set.manager = "dpkg"
		case "Status":
			installed = bytes.HasSuffix(value, []byte(" ok installed"))
		case "Architecture":
			arch = string(value)
		case "Version":
			if installed {
				set.archs[name] = arch
				return set.add("dpkg", name, string(value))
			}
		}
		return nil
	})
}

// readBuffers are those of what is read by the hundreds.
var readBuffers = sync.Pool{New: func() any { return new(make([]byte, 64<<10)) }}

// stream calls a function with each line of a file until it fails. The line is only valid until the function returns.
func (s *Surveys) stream(file string, line func(n int, text []byte) error) error {
	f, err := s.Files().Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	limited := &io.LimitedReader{R: f, N: maxDatabase}
	buffer := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	scanner := bufio.NewScanner(limited)
	scanner.Buffer(*buffer, maxDatabaseLine)
	n := 0
	for scanner.Scan() {
		n++
		if err := line(n, scanner.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", place(file, n), err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s: %w", place(file, n+1), err)
	}
	if limited.N == 0 {
		return fmt.Errorf("%s: it has more than %d bytes", file, maxDatabase)
	}
	return nil
}

// knownPackages are reported whether they are there or not, by their names with dpkg and apk, and elsewhere by a file of theirs.
var knownPackages = []struct {
	name  string
	names []string
	files []string
}{
	{"prelink", []string{"prelink"}, []string{"/usr/sbin/prelink", "/sbin/prelink"}},
	{"gdm", []string{"gdm3", "gdm"}, gdmPrograms},
	{"apparmor", []string{"apparmor"}, []string{"/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"}},
	{"apparmor-utils", []string{"apparmor-utils"}, []string{"/usr/sbin/aa-enforce", "/usr/bin/aa-enforce"}},
	{"selinux-policy", []string{"selinux-policy-default", "selinux-policy-mls"}, []string{"/etc/selinux/targeted/policy", "/etc/selinux/mls/policy", "/etc/selinux/fortified/policy"}},
	{"setroubleshoot", []string{"setroubleshoot-server", "setroubleshoot"}, []string{"/usr/sbin/setroubleshootd"}},
	{"mcstrans", []string{"mcstrans"}, []string{"/usr/sbin/mcstransd", "/sbin/mcstransd"}},
	{"unattended-upgrades", []string{"unattended-upgrades"}, []string{"/usr/bin/unattended-upgrade"}},
	{"usbguard", []string{"usbguard"}, []string{"/usr/sbin/usbguard-daemon"}},
}

// Packages reports packages that should, or should not, be there.
func (s *Surveys) Packages(ctx context.Context, report func(event.Fact)) error {
	set, err := s.packages()
	if err != nil {
		return err
	}
	for _, known := range knownPackages {
		report(s.packageFact(known.name, known.names, known.files, set))
	}
	return ctx.Err()
}

func (s *Surveys) packageFact(name string, names, files []string, set *packageSet) event.Fact {
	f := event.Package.New(name, "")
	if set.manager != "" {
		f.Set("manager", set.manager).Set("exists", false)
		for _, n := range names {
			if version, ok := set.installed[n]; ok {
				return f.Set("exists", true).Set("version", version)
			}
		}
		return f
	}
	f.Set("manager", "files")
	found, err := s.firstThere(files...)
	if err != nil {
		return f.Fail(err)
	}
	return f.Set("exists", found != "")
}

// guarded are the packages that security rests on.
var guarded = []string{
	"apparmor", "apt", "auditd", "base-passwd", "bash", "ca-certificates", "coreutils", "cron", "dash", "dpkg", "gpgv", "iptables", "kmod",
	"libapparmor1", "libaudit1", "libc-bin", "libc6", "libcrypt1", "libkmod2", "libpam-modules", "libpam-modules-bin", "libpam-runtime", "libpam-systemd", "libpam0g", "libselinux1",
	"libsystemd0", "login", "login.defs", "mount", "nftables", "openssh-server", "openssh-sftp-server", "passwd", "policykit-1", "polkitd", "procps", "rsyslog", "sudo", "util-linux",
}

// guardedDirs are where a package's programs and libraries are.
var guardedDirs = []string{"bin/", "sbin/", "lib/", "lib64/", "usr/bin/", "usr/sbin/", "usr/lib/", "usr/libexec/"}

// isGuarded leaves out tables of letters, which are the most of libc6.
func isGuarded(file string) bool {
	return !strings.Contains(file, "/gconv/") && slices.ContainsFunc(guardedDirs, func(dir string) bool { return strings.HasPrefix(file, dir) })
}

// Integrity compares the programs and libraries of packages that security rests on with the sums that came with them. The database
// that has the sums is a file like others: who is root can change both, so a pass only tells of accidents and of careless guests.
func (s *Surveys) Integrity(ctx context.Context, report func(event.Fact)) error {
	set, err := s.packages()
	if err != nil || set.manager != "dpkg" {
		return err
	}
	diverted, err := s.diverted()
	if err != nil {
		return err
	}
	left := int64(maxIntegrity)
	for _, name := range guarded {
		if _, ok := set.installed[name]; !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		f := event.Integrity.New(name, "")
		if left <= 0 {
			report(f.Fail(fmt.Errorf("not compared: packages before it had %d MiB, and no more is read", maxIntegrity>>20)))
			continue
		}
		if err := s.comparePackage(&f, set.archs[name], diverted, &left); err != nil {
			f.Fail(err)
		}
		report(f)
	}
	return nil
}

// diverted are the files that packages have put out of the way of their owners. What is there is another's.
func (s *Surveys) diverted() (map[string]bool, error) {
	all := map[string]bool{}
	err := s.stream("/var/lib/dpkg/diversions", func(n int, line []byte) error {
		if n%3 == 1 {
			all[string(line)] = true
		}
		return nil
	})
	if Absent(err) {
		return all, nil
	}
	return all, err
}

// comparePackage compares the files of one package with lines "MD5  path".
func (s *Surveys) comparePackage(f *event.Fact, arch string, diverted map[string]bool, left *int64) error {
	list, err := s.firstThere("/var/lib/dpkg/info/"+f.Subject+":"+arch+".md5sums", "/var/lib/dpkg/info/"+f.Subject+".md5sums")
	if err != nil || list == "" {
		return cmp.Or(err, fmt.Errorf("/var/lib/dpkg/info/%s.md5sums: there is no list of sums", f.Subject))
	}
	f.Source = list
	var files, differing, missing int64
	names := []string{}
	err = s.stream(list, func(_ int, line []byte) error {
		sum, file, ok := strings.Cut(string(line), "  ")
		if !ok || len(sum) != 2*md5.Size {
			return fmt.Errorf("want a sum and a path, got %.60q", line)
		}
		if !isGuarded(file) || diverted["/"+file] {
			return nil
		}
		got, err := s.md5("/"+file, left)
		switch {
		case Absent(err):
			missing++
		case err != nil:
			return err
		case got != sum:
			files++
			differing++
		default:
			files++
			return nil
		}
		if len(names) < maxIntegrityName {
			names = append(names, "/"+file)
		}
		return nil
	})
	f.Set("files", files).Set("differing", differing).Set("missing", missing)
	if len(names) > 0 {
		f.Set("names", names)
	}
	return err
}

var errEnoughCompared = errors.New("its last files were not compared: no more is read in one go")

func (s *Surveys) md5(file string, left *int64) (string, error) {
	f, err := s.Files().Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := md5.New()
	buffer := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	n, err := io.CopyBuffer(hash, &io.LimitedReader{R: f, N: *left + 1}, *buffer)
	if err != nil {
		return "", err
	}
	if *left -= n; *left < 0 {
		return "", errEnoughCompared
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// owners tells which packages brought some files, of dpkg and apk. known is false where neither has a database.
func (s *Surveys) owners(files []string) (owner map[string]string, known bool, err error) {
	wanted := map[string]string{} // by every way to write it
	for _, file := range files {
		for _, name := range otherNames(file) {
			wanted[name] = file
		}
	}
	owner = map[string]string{}
	lists, err := s.glob("/var/lib/dpkg/info/*.list")
	if err != nil {
		return nil, false, err
	}
	for _, list := range lists {
		name := strings.TrimSuffix(path.Base(list), ".list")
		err := s.stream(list, func(_ int, line []byte) error {
			if file, ok := wanted[string(line)]; ok {
				owner[file], _, _ = strings.Cut(name, ":")
			}
			return nil
		})
		if err != nil {
			return nil, false, err
		}
	}
	if len(lists) > 0 {
		return owner, true, nil
	}
	return s.apkOwners(wanted, owner)
}

// apkOwners reads the database of apk: P: a package, F: a directory of it, R: a file in that.
func (s *Surveys) apkOwners(wanted, owner map[string]string) (map[string]string, bool, error) {
	name, dir := "", ""
	err := s.stream("/lib/apk/db/installed", func(_ int, line []byte) error {
		switch text := string(line); {
		case strings.HasPrefix(text, "P:"):
			name = text[2:]
		case strings.HasPrefix(text, "F:"):
			dir = "/" + text[2:]
		case strings.HasPrefix(text, "R:"):
			if file, ok := wanted[path.Join(dir, text[2:])]; ok {
				owner[file] = name
			}
		}
		return nil
	})
	if Absent(err) {
		return nil, false, nil
	}
	return owner, err == nil, err
}

// otherNames are the names that packages may have for a file: where /bin, /sbin and /lib are links into /usr, some still leave /usr out.
func otherNames(file string) []string {
	if rest, ok := strings.CutPrefix(file, "/usr"); ok && (strings.HasPrefix(rest, "/bin/") || strings.HasPrefix(rest, "/sbin/") || strings.HasPrefix(rest, "/lib")) {
		return []string{file, rest}
	}
	return []string{file, "/usr" + file}
}
