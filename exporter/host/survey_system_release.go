package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A lifetime is until when a release of a distribution, or a line of kernels, gets security fixes: those that everybody gets, and
// those that are sold.
type lifetime struct {
	id, version string // the version, or the part of it before the first dot
	until       string
	extended    string
}

// lifetimes were taken in November 2026 from:
// Debian and its LTS: https://wiki.debian.org/DebianReleases, https://wiki.debian.org/LTS and package distro-info-data
// Ubuntu and Pro (its ESM; the Legacy add-on, which one cannot see, goes on for longer): https://ubuntu.com/about/release-cycle and package distro-info-data
// RHEL: https://access.redhat.com/support/policy/updates/errata; CentOS: https://www.centos.org/centos-linux-eol/ and /cl-vs-cs/
// AlmaLinux: https://wiki.almalinux.org/release-notes/; Rocky: https://wiki.rockylinux.org/rocky/version/
// Oracle: https://www.oracle.com/a/ocom/docs/elsp-lifetime-069338.pdf
// Amazon: https://aws.amazon.com/linux/amazon-linux-2023/faqs/ and /amazon-linux-2/faqs/
// Alpine: https://alpinelinux.org/releases/ (3.24 by the rule of two years, which that page had not when this was written)
var lifetimes = []lifetime{
	{"debian", "8", "2020-06-30", "2025-06-30"}, {"debian", "9", "2022-06-30", "2027-06-30"}, {"debian", "10", "2024-06-30", "2029-06-30"},
	{"debian", "11", "2026-08-31", "2031-06-30"}, {"debian", "12", "2028-06-30", "2033-06-30"}, {"debian", "13", "2030-06-30", "2035-06-30"},
	{"ubuntu", "14.04", "2019-04-25", "2024-04-25"}, {"ubuntu", "16.04", "2021-04-30", "2026-04-23"}, {"ubuntu", "18.04", "2023-05-31", "2028-04-26"},
	{"ubuntu", "20.04", "2025-05-29", "2030-04-23"}, {"ubuntu", "22.04", "2027-06-01", "2032-04-21"}, {"ubuntu", "24.04", "2029-05-31", "2034-04-25"},
	{"ubuntu", "26.04", "2031-05-29", "2036-04-23"}, {"ubuntu", "22.10", "2023-07-20", ""}, {"ubuntu", "23.04", "2024-01-25", ""}, {"ubuntu", "23.10", "2024-07-11", ""},
	{"ubuntu", "24.10", "2025-07-10", ""}, {"ubuntu", "25.04", "2026-01-15", ""}, {"ubuntu", "25.10", "2026-07-09", ""}, {"ubuntu", "26.10", "2027-07-15", ""},
	{"rhel", "6", "2020-11-30", "2024-06-30"}, {"rhel", "7", "2024-06-30", "2028-06-30"}, {"rhel", "8", "2029-05-31", "2032-05-31"}, {"rhel", "9", "2032-05-31", "2035-05-31"}, {"rhel", "10", "2035-05-31", "2038-05-31"},
	{"centos", "7", "2024-06-30", ""}, {"centos", "8", "2021-12-31", ""}, {"centos-stream", "8", "2024-05-31", ""}, {"centos-stream", "9", "2027-05-31", ""}, {"centos-stream", "10", "2030-01-01", ""},
	{"almalinux", "8", "2029-03-01", ""}, {"almalinux", "9", "2032-05-31", ""}, {"almalinux", "10", "2035-05-31", ""},
	{"rocky", "8", "2029-05-31", ""}, {"rocky", "9", "2032-05-31", ""}, {"rocky", "10", "2035-05-31", ""},
	{"ol", "7", "2024-12-31", "2028-06-30"}, {"ol", "8", "2029-07-31", "2032-07-31"}, {"ol", "9", "2032-06-30", "2035-06-30"}, {"ol", "10", "2035-06-30", "2038-06-30"},
	{"amzn", "2018", "2023-12-31", ""}, {"amzn", "2", "2026-06-30", ""}, {"amzn", "2023", "2029-06-30", ""},
	{"alpine", "3.16", "2024-05-23", ""}, {"alpine", "3.17", "2024-11-22", ""}, {"alpine", "3.18", "2025-05-09", ""}, {"alpine", "3.19", "2025-11-01", ""}, {"alpine", "3.20", "2026-04-01", ""},
	{"alpine", "3.21", "2026-11-01", ""}, {"alpine", "3.22", "2027-05-01", ""}, {"alpine", "3.23", "2027-11-01", ""}, {"alpine", "3.24", "2028-05-01", ""},
}

// longterm are the lines of kernels that kernel.org maintains for years: https://www.kernel.org/category/releases.html, of November
// 2026. It names months; these are their last days.
var longterm = []lifetime{
	{"linux", "4.4", "2022-02-03", ""}, {"linux", "4.9", "2023-01-07", ""}, {"linux", "4.14", "2024-01-31", ""}, {"linux", "4.19", "2024-12-31", ""}, {"linux", "5.4", "2025-12-31", ""},
	{"linux", "5.10", "2026-12-31", ""}, {"linux", "5.15", "2026-12-31", ""}, {"linux", "6.1", "2027-12-31", ""}, {"linux", "6.6", "2027-12-31", ""}, {"linux", "6.12", "2028-12-31", ""}, {"linux", "6.18", "2028-12-31", ""},
}

// A distribution is what os-release tells of it.
type distribution struct {
	id, version, name, family string
	at                        string
	rolling                   bool
	lifetime
	subscribed bool // gets what is sold
}

// families are the distributions that do things alike.
var families = map[string]string{
	"debian": "debian", "ubuntu": "debian", "raspbian": "debian", "linuxmint": "debian", "kali": "debian",
	"rhel": "rhel", "centos": "rhel", "rocky": "rhel", "almalinux": "rhel", "ol": "rhel", "fedora": "rhel", "amzn": "rhel",
	"alpine": "alpine", "bottlerocket": "bottlerocket", "sles": "suse", "opensuse-leap": "suse", "opensuse-tumbleweed": "suse", "suse": "suse",
}

// distribution reads os-release. Without one this is no Linux that could be judged.
func (s *Surveys) distribution() (*distribution, error) {
	file, err := s.firstThere("/etc/os-release", "/usr/lib/os-release")
	if err != nil {
		return nil, err
	}
	if file == "" {
		return nil, errors.New("/etc/os-release and /usr/lib/os-release: there is neither, so this is no root of a Linux distribution")
	}
	text, _, err := s.configText(file)
	if err != nil {
		return nil, err
	}
	values := shellValues(file, text)
	d := &distribution{id: strings.ToLower(values["ID"].text), version: values["VERSION_ID"].text, name: values["PRETTY_NAME"].text, at: file}
	if d.id == "" {
		return nil, fmt.Errorf("%s: want a line ID=", file)
	}
	for _, id := range append([]string{d.id}, strings.Fields(values["ID_LIKE"].text)...) {
		if d.family == "" {
			d.family = families[id]
		}
	}
	d.rolling = d.id == "bottlerocket" || d.id == "arch" || d.id == "opensuse-tumbleweed" || d.id == "debian" && d.version == "" || d.id == "alpine" && strings.Contains(d.version, "alpha")
	d.lifetime = lifetimeOf(d.tableID(), d.version, lifetimes)
	if end := values["SUPPORT_END"].text; d.until == "" && end != "" {
		d.until = end
	}
	d.subscribed, err = s.subscribed(d)
	return d, err
}

func (d *distribution) tableID() string {
	if d.id == "centos" && strings.Contains(d.name, "Stream") {
		return "centos-stream"
	}
	return d.id
}

// lifetimeOf finds a version in a table: itself, or what stands before its first or second dot.
func lifetimeOf(id, version string, table []lifetime) lifetime {
	parts := strings.SplitN(version, ".", 3)
	for n := min(2, len(parts)); n > 0; n-- {
		want := strings.Join(parts[:n], ".")
		if i := slices.IndexFunc(table, func(l lifetime) bool { return l.id == id && l.version == want }); i >= 0 {
			return table[i]
		}
	}
	return lifetime{}
}

// subscribed says whether a machine is set up to get the fixes that are sold: of Ubuntu by the repository of its ESM, of Debian by that of Freexian.
func (s *Surveys) subscribed(d *distribution) (bool, error) {
	if d.id != "ubuntu" && d.id != "debian" {
		return false, nil
	}
	for _, pattern := range []string{"/etc/apt/sources.list.d/ubuntu-esm-infra.*", "/etc/apt/sources.list.d/*freexian*", "/etc/apt/sources.list.d/*elts*"} {
		found, err := s.glob(pattern)
		if err != nil {
			return false, err
		}
		for _, file := range found {
			if strings.HasSuffix(file, ".list") || strings.HasSuffix(file, ".sources") {
				return true, nil
			}
		}
	}
	return false, nil
}

// end is the day until which this machine gets fixes, empty if unknown.
func (d *distribution) end() string {
	if d.subscribed && d.extended != "" {
		return d.extended
	}
	return d.until
}

// Releases reports the distribution.
func (s *Surveys) Releases(ctx context.Context, report func(event.Fact)) error {
	d, err := s.distribution()
	if err != nil {
		return err
	}
	report(releaseFact(d, time.Now()))
	return ctx.Err()
}

func releaseFact(d *distribution, now time.Time) event.Fact {
	f := event.Release.New(strings.TrimSpace(d.id+" "+d.version), d.at)
	f.Set("id", d.id).Set("version", d.version).Set("name", d.name).Set("rolling", d.rolling).Set("subscribed", d.subscribed)
	if d.family != "" {
		f.Set("family", d.family)
	}
	if d.until != "" {
		f.Set("until", d.until)
	}
	if d.extended != "" {
		f.Set("extended", d.extended)
	}
	if d.rolling {
		return f
	}
	return setLifetime(f, d.end(), now, "the table of lifetimes does not have "+f.Subject)
}

// setLifetime sets how long fixes last that end on a day. If that is unknown nothing may be said, and the fact is in error.
func setLifetime(f event.Fact, end string, now time.Time, unknown string) event.Fact {
	if end == "" {
		return f.Fail(errors.New(unknown))
	}
	day, err := time.Parse(time.DateOnly, end)
	if err != nil {
		return f.Fail(fmt.Errorf("%s: want a day like 2028-06-30, got %.40q", f.Source, end))
	}
	left := int64(math.Floor(day.AddDate(0, 0, 1).Sub(now).Hours() / 24))
	return f.Set("days_left", left).Set("supported", left >= 0)
}
