package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// Kernels reports the kernel: the running one, or of a machine that does not run the newest that is installed.
func (s *Surveys) Kernels(ctx context.Context, report func(event.Fact)) error {
	installed, err := s.installedKernels()
	if err != nil {
		return err
	}
	release, version, err := s.runningKernel()
	if errors.Is(err, ErrNotLive) {
		if len(installed) == 0 {
			return nil // an image that has none
		}
		release = installed[len(installed)-1]
	} else if err != nil {
		return err
	}
	report(s.lineFact(release, version, time.Now()))
	f := event.Kernel.New(release, "").Set("line", kernelLine(release))
	if len(installed) > 0 {
		newest := installed[len(installed)-1]
		if f.Set("newest", newest); s.Live() {
			f.Set("newest_runs", compareVersions(release, newest) >= 0)
		}
	}
	if s.Live() {
		if err := s.setProtection(f); err != nil {
			f.Fail(err)
		}
	}
	report(f)
	return ctx.Err()
}

// runningKernel is the release of the running kernel, and what it says of who built it.
func (s *Surveys) runningKernel() (release, version string, err error) {
	name, err := s.Proc().Read("sys/kernel/osrelease", 1024)
	if err != nil {
		return "", "", err
	}
	text, err := s.Proc().Read("version", 64<<10)
	return strings.TrimSpace(string(name)), strings.TrimSpace(string(text)), err
}

// installedKernels are the releases that could be booted, the newest last: those with modules, or an image in /boot.
func (s *Surveys) installedKernels() ([]string, error) {
	all, err := s.kernels()
	if err != nil {
		return nil, err
	}
	images, err := s.globs([]string{"/boot/vmlinuz-*", "/boot/vmlinux-*"})
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		_, release, _ := strings.Cut(path.Base(image), "-")
		if kernelLine(release) != "" { // not vmlinuz-lts, nor vmlinuz-0-rescue
			all = append(all, release)
		}
	}
	slices.SortFunc(all, compareVersions)
	return slices.Compact(all), nil
}

// kernelLine is the stable line of a release, empty if it is none.
func kernelLine(release string) string {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return ""
	}
	minor := parts[1][:len(parts[1])-len(strings.TrimLeft(parts[1], "0123456789"))]
	if _, err := strconv.Atoi(parts[0]); err != nil || minor == "" {
		return ""
	}
	return parts[0] + "." + minor
}

// compareVersions compares digits as numbers and the rest as text.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		if isDigits(a[:1]) && isDigits(b[:1]) {
			na, nb := leadingDigits(a), leadingDigits(b)
			x, y := strings.TrimLeft(na, "0"), strings.TrimLeft(nb, "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[len(na):], b[len(nb):]
			continue
		}
		if c := cmp.Compare(a[0], b[0]); c != 0 {
			return c
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) string { return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))] }

func isDigits(s string) bool { return s != "" && leadingDigits(s) == s }

// lineFact tells who built the kernel, and for how long it is maintained.
func (s *Surveys) lineFact(release, version string, now time.Time) event.Fact {
	f := event.KernelLine.New(cmp.Or(kernelLine(release), release), "").Set("release", release)
	d, err := s.distribution()
	if err != nil {
		d = &distribution{} // what kernel.org says still holds
	}
	vendor := kernelVendor(release, version, d)
	if vendor == "" {
		return setUpstream(f, release, now)
	}
	f.Set("vendor", vendor)
	switch {
	case vendor != d.id:
		f.Fail(fmt.Errorf("%s built this kernel, and of its releases nothing is said here: these are files of %s", vendor, cmp.Or(d.id, "an unknown distribution")))
	case d.rolling:
		f.Set("supported", true)
	case d.end() == "":
		f.Fail(fmt.Errorf("the table of lifetimes does not have %s %s, which built this kernel", d.id, d.version))
	default:
		setLifetime(f.Set("until", d.end()), d.end(), now, "")
	}
	return f
}

// setUpstream is for kernels of kernel.org: a line that is not longterm ends when the next but one appears, so whatever is older than the
// newest longterm line has ended.
func setUpstream(f event.Fact, release string, now time.Time) event.Fact {
	line := kernelLine(release)
	if l := lifetimeOf("linux", line, longterm); l.until != "" {
		return setLifetime(f.Set("until", l.until), l.until, now, "")
	}
	if newest := longterm[len(longterm)-1].version; compareVersions(line, newest) > 0 {
		return f.Fail(fmt.Errorf("whether line %s is still maintained is not known: the table of lifetimes ends with %s", line, newest))
	}
	return f.Set("supported", false)
}

// vendorMarks are parts of what kernels say of themselves, by which one knows who built them.
var vendorMarks = []struct{ mark, id string }{
	{"debian-kernel@lists.debian.org", "debian"}, {"Ubuntu ", "ubuntu"}, {"buildd@lcy", "ubuntu"}, {".amzn", "amzn"}, {"-Alpine", "alpine"}, {"bottlerocket", "bottlerocket"}, {".fc", "fedora"},
}

// releaseMarks are ends of releases that only say something on the distribution that uses them.
var releaseMarks = map[string][]string{
	"debian": {"-amd64", "-arm64", "-armmp", "-686", "-686-pae", "-ppc64el", "-riscv64", "-s390x"},
	"ubuntu": {"-generic", "-lowlatency", "-aws", "-azure", "-gcp", "-gke", "-kvm", "-oracle", "-raspi", "-oem", "-nvidia", "-fips", "-virtual", "-intel", "-ibm"},
	"alpine": {"-lts", "-virt", "-rpi", "-stable"},
}

// kernelVendor is the distribution that built a kernel, empty if it seems to be none.
func kernelVendor(release, version string, d *distribution) string {
	for _, m := range vendorMarks {
		if strings.Contains(version, m.mark) || strings.Contains(release, m.mark) {
			return m.id
		}
	}
	if i := strings.Index(release, ".el"); i >= 0 && isDigits(leadingDigits(release[i+3:])) && d.family == "rhel" {
		return d.id
	}
	if d.id == "bottlerocket" {
		return d.id
	}
	if slices.ContainsFunc(releaseMarks[d.id], func(end string) bool { return strings.HasSuffix(release, end) }) {
		return d.id
	}
	return ""
}

// setProtection sets what the running kernel does to protect itself.
func (s *Surveys) setProtection(f event.Fact) error {
	text, err := s.sysText("kernel/security/lockdown")
	if err != nil {
		return err
	}
	lockdown := chosen(text)
	if lockdown != "" {
		f.Set("lockdown", lockdown)
	}
	if err := s.setFirmware(f); err != nil {
		return err
	}
	if err := s.setTaint(f); err != nil {
		return err
	}
	enforced, err := s.sysText("module/module/parameters/sig_enforce")
	if err != nil {
		return err
	}
	hasModules := true
	if _, err := s.Proc().Stat("modules"); Absent(err) {
		hasModules = false // nothing can be loaded at all
	} else if err != nil {
		return err
	}
	f.Set("signatures", on(enforced) || lockdown == "integrity" || lockdown == "confidentiality" || !hasModules)
	return nil
}

// sysText is the text of a file of /sys, empty if there is none.
func (s *Surveys) sysText(file string) (string, error) {
	data, err := s.Sys().Read(file, maxConfigText)
	if Absent(err) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// chosen is the word in brackets: "none [integrity] confidentiality".
func chosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// secureBootVariable is of the UEFI specification's global variables: four bytes of attributes, then 1 if it is on.
const secureBootVariable = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

func (s *Surveys) setFirmware(f event.Fact) error {
	_, err := s.Sys().Stat("firmware/efi")
	if err != nil && !Absent(err) {
		return err
	}
	f.Set("efi", err == nil)
	if err != nil {
		return nil
	}
	data, err := s.Sys().Read(secureBootVariable, 64)
	switch {
	case Absent(err):
		f.Set("secure_boot", false) // firmware that does not know it, or efivarfs is not mounted
		return nil
	case err != nil:
		return err
	case len(data) != 5:
		return fmt.Errorf("/sys/%s: want 5 bytes, got %d", secureBootVariable, len(data))
	}
	f.Set("secure_boot", data[4] == 1)
	return nil
}

// setTaint reads the kernel's taint: Documentation/admin-guide/tainted-kernels.rst.
func (s *Surveys) setTaint(f event.Fact) error {
	text, err := s.sysctlNow("kernel.tainted")
	if err != nil {
		return err
	}
	taint, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("/proc/sys/kernel/tainted: want a number, got %.40q", text)
	}
	f.Set("tainted", taint).Set("forced_module", taint&(1<<1|1<<3) != 0).Set("died", taint&(1<<7) != 0)
	f.Set("foreign_module", taint&(1<<12) != 0).Set("unsigned_module", taint&(1<<13) != 0)
	return nil
}

// Flaws reports the vulnerabilities of the processor. Kernels that do not know the directory report none.
func (s *Surveys) Flaws(ctx context.Context, report func(event.Fact)) error {
	const dir = "devices/system/cpu/vulnerabilities"
	names, err := s.Sys().ReadDir(dir)
	if Absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		f := event.Flaw.New(n.Name, path.Join("/sys", dir, n.Name))
		text, err := s.Sys().Read(path.Join(dir, n.Name), 64<<10)
		if err != nil {
			report(f.Fail(err))
			continue
		}
		report(flawFact(f, oneBlank(string(text))))
	}
	return ctx.Err()
}

// flawFact reads a line such as "Mitigation: Clear CPU buffers; SMT vulnerable" or "Mitigation: Retpolines; STIBP: disabled; BHI: Vulnerable".
func flawFact(f event.Fact, status string) event.Fact {
	state, smt := "", ""
	lower := strings.ToLower(status)
	for part := range strings.FieldsFuncSeq(lower, func(r rune) bool { return r == ';' || r == ',' }) {
		part = strings.TrimSpace(part)
		if word, ok := strings.CutPrefix(part, "smt "); ok {
			smt = word
		} else if strings.Contains(part, "vulnerable") {
			state = "vulnerable"
		}
	}
	switch {
	case state != "":
	case strings.HasPrefix(lower, "not affected"):
		state = "unaffected"
	case strings.Contains(lower, "mitigation"):
		state = "mitigated"
	default:
		state = "unknown"
	}
	f.Set("status", status).Set("state", state).Set("smt", smt)
	if state == "unknown" {
		return f.Fail(fmt.Errorf("the kernel does not know: %.100q", status))
	}
	return f
}

// Reboots reports whether the machine waits for a reboot: because a package left a note that it does, or because the kernel that runs
// is not the newest, or is an older build of the same release.
func (s *Surveys) Reboots(ctx context.Context, report func(event.Fact)) error {
	if !s.Live() {
		return ErrNotLive
	}
	f := event.Reboot.New("machine", "")
	var reasons []string
	for _, note := range []string{"/run/reboot-required", "/var/run/reboot-required"} {
		if ok, err := s.there(note); err != nil {
			return err
		} else if ok {
			reasons = append(reasons, note)
			break
		}
	}
	packages, _, err := s.configText("/run/reboot-required.pkgs")
	if err != nil {
		return err
	}
	reasons = append(reasons, strings.Fields(packages)...)
	kernels, err := s.newerKernels()
	if err != nil {
		return err
	}
	reasons = append(reasons, kernels...)
	if slices.Sort(reasons); len(reasons) > 0 {
		f.Set("reasons", slices.Compact(reasons))
	}
	report(f.Set("pending", len(reasons) > 0))
	return ctx.Err()
}

// newerKernels tells what of the kernel is newer than what runs.
func (s *Surveys) newerKernels() (reasons []string, err error) {
	release, version, err := s.runningKernel()
	if err != nil {
		return nil, err
	}
	installed, err := s.installedKernels()
	if err != nil {
		return nil, err
	}
	if n := len(installed); n > 0 && compareVersions(installed[n-1], release) > 0 {
		reasons = append(reasons, fmt.Sprintf("kernel %s is installed, %s runs", installed[n-1], release))
	}
	// Debian keeps the release while it changes the build: "… #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)".
	_, rest, isDebian := strings.Cut(version, " Debian ")
	build, _, _ := strings.Cut(rest, " ")
	if !isDebian || build == "" {
		return reasons, nil
	}
	packages, err := s.packages()
	if err != nil {
		return nil, err
	}
	if now, ok := packages.installed["linux-image-"+release]; ok && now != build {
		reasons = append(reasons, fmt.Sprintf("linux-image-%s %s is installed, %s runs", release, now, build))
	}
	return reasons, nil
}
