package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// Coredumps reports what becomes of the memory of programs that crash.
func (s *Surveys) Coredumps(ctx context.Context, report func(event.Fact)) error {
	for _, of := range []struct {
		subject string
		set     []func(event.Fact) error
	}{
		{"sessions", []func(event.Fact) error{s.setCoreLimit}},
		{"services", []func(event.Fact) error{s.setCoreServices, s.setCoreCollector, s.setCorePattern}},
	} {
		f := event.Coredump.New(of.subject, "")
		for _, set := range of.set {
			if err := set(f); err != nil && f.Err() == "" {
				f.Fail(err)
			}
		}
		report(f)
	}
	return ctx.Err()
}

// setCoreLimit reads what pam_limits gives to sessions: limits.conf, then the files of limits.d, of which the last counts.
func (s *Surveys) setCoreLimit(f event.Fact) error {
	files, err := s.glob("/etc/security/limits.d/*.conf")
	if err != nil {
		return err
	}
	main, err := s.firstThere("/etc/security/limits.conf", "/usr/etc/security/limits.conf")
	if err != nil {
		return err
	}
	if main != "" {
		files = append([]string{main}, files...)
	}
	limited, malformed := false, error(nil)
	err = s.eachText(files, func(file, text string) {
		joinedLines(text, "#", func(n int, line string) {
			zero, about, err := coreLimit(line)
			if err != nil && malformed == nil {
				malformed = fmt.Errorf("%s: %w", place(file, n), err)
			}
			if about {
				limited = zero
			}
		})
	})
	if err != nil {
		return err
	}
	f.Set("limited", limited)
	return malformed
}

// coreLimit reads one line of limits.conf(5): whether it is about everybody's hard limit of core files, and whether that is 0.
func coreLimit(line string) (zero, about bool, err error) {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 2 && words[1] == "-" {
		return false, false, nil // this domain has no limits at all
	}
	if len(words) != 4 || !slices.Contains([]string{"hard", "soft", "-"}, words[1]) {
		return false, false, fmt.Errorf("want a domain, hard, soft or -, an item and its value, got %.60q", line)
	}
	about = words[0] == "*" && words[1] != "soft" && words[2] == "core"
	return about && words[3] == "0", about, nil
}

func (s *Surveys) setCoreServices(f event.Fact) error {
	config, err := s.systemdConfig("system.conf")
	if limit, ok := config.get("Manager", "DefaultLimitCORE"); ok {
		f.Set("service_limit", limit.text)
	}
	return err
}

func (s *Surveys) setCoreCollector(f event.Fact) error {
	program, err := s.firstThere("/usr/lib/systemd/systemd-coredump", "/lib/systemd/systemd-coredump")
	if err != nil {
		return err
	}
	if f.Set("collector", program != ""); program == "" {
		return nil
	}
	config, err := s.systemdConfig("coredump.conf")
	f.Set("storage", "external") // unless it is set
	if storage, ok := config.get("Coredump", "Storage"); ok && storage.text != "" {
		f.Set("storage", storage.text)
	}
	if size, ok := config.get("Coredump", "ProcessSizeMax"); ok && size.text != "" {
		f.Set("size_max", size.text)
	}
	return err
}

func (s *Surveys) setCorePattern(f event.Fact) error {
	pattern, err := s.sysctlNow("kernel.core_pattern")
	if errors.Is(err, ErrNotLive) {
		set, err := s.sysctlSettings(func(event.Fact) {})
		if v, ok := set.find("kernel.core_pattern"); ok {
			f.Set("pattern", v.text)
		}
		return err
	}
	if err != nil && !Absent(err) {
		return err
	}
	f.Set("pattern", pattern)
	return nil
}

// Reporters reports the programs that collect crashes to report them.
func (s *Surveys) Reporters(ctx context.Context, report func(event.Fact)) error {
	for _, r := range []struct {
		name     string
		programs []string
		units    []string
	}{
		{"apport", []string{"/usr/share/apport/apport", "/usr/lib/apport/apport"}, nil},
		{"whoopsie", []string{"/usr/bin/whoopsie"}, []string{"whoopsie.service", "whoopsie.path"}},
		{"abrt", []string{"/usr/sbin/abrtd", "/usr/bin/abrtd"}, []string{"abrtd.service"}},
	} {
		f := event.Reporter.New(r.name, "")
		program, err := s.firstThere(r.programs...)
		if err != nil {
			report(f.Fail(err))
			continue
		}
		enabled := false
		if program != "" && r.name == "apport" {
			enabled, err = s.apportEnabled()
		} else if program != "" {
			enabled, err = s.wantedUnit(r.units...)
		}
		if err != nil {
			f.Fail(err)
		}
		report(f.Set("exists", program != "").Set("enabled", enabled))
	}
	return ctx.Err()
}

// apportEnabled reads the switch of apport, which is on unless the file says otherwise.
func (s *Surveys) apportEnabled() (bool, error) {
	text, _, err := s.configText("/etc/default/apport")
	value, ok := shellValues("/etc/default/apport", text)["enabled"]
	return !ok || value.text != "0", err
}

// wantedUnit says whether systemd starts one of some units, because a target wants it.
func (s *Surveys) wantedUnit(units ...string) (bool, error) {
	for _, unit := range units {
		masked, err := s.Files().Readlink(path.Join("/etc/systemd/system", unit))
		if err == nil && masked == "/dev/null" {
			continue
		}
		for _, dir := range []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
			for _, kind := range []string{"*.wants", "*.requires"} {
				links, err := s.glob(path.Join(dir, kind, unit))
				if err != nil || len(links) > 0 {
					return err == nil, err
				}
			}
		}
	}
	return false, nil
}
