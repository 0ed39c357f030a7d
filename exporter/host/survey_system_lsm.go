package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// LSMs reports mandatory access control.
func (s *Surveys) LSMs(ctx context.Context, report func(event.Fact)) error {
	f := event.LSM.New("machine", "")
	for _, set := range []func(event.Fact) error{s.setUsual, s.setAppArmor, s.setSELinux, s.setActive} {
		if err := set(f); err != nil && f.Err() == "" {
			f.Fail(err)
		}
	}
	report(f)
	return ctx.Err()
}

// setUsual sets what the distribution brings.
func (s *Surveys) setUsual(f event.Fact) error {
	d, err := s.distribution()
	if err != nil {
		return err
	}
	if usual := map[string]string{"debian": "apparmor", "suse": "apparmor", "rhel": "selinux", "bottlerocket": "selinux"}[d.family]; usual != "" {
		f.Set("usual", usual)
	}
	return nil
}

func (s *Surveys) setAppArmor(f event.Fact) error {
	parser, err := s.firstThere("/usr/sbin/apparmor_parser", "/sbin/apparmor_parser")
	if err != nil {
		return err
	}
	f.Set("apparmor_installed", parser != "")
	enabled, err := s.sysText("module/apparmor/parameters/enabled")
	if errors.Is(err, ErrNotLive) || err == nil && !on(enabled) {
		return nil
	}
	if err != nil {
		return err
	}
	loaded, enforcing, complaining, unconfined := int64(0), int64(0), int64(0), int64(0)
	var malformed error
	err = s.Sys().Lines("kernel/security/apparmor/profiles", func(n int, line string) {
		mode := apparmorMode(line)
		switch loaded++; mode {
		case "enforce", "kill", "prompt":
			enforcing++
		case "complain":
			complaining++
		case "unconfined":
			unconfined++
		default:
			malformed = fmt.Errorf("/sys/kernel/security/apparmor/profiles:%d: want a profile and its mode in brackets, got %.80q", n, line)
		}
	})
	if err != nil {
		return err
	}
	f.Set("apparmor_profiles", loaded).Set("apparmor_enforcing", enforcing)
	f.Set("apparmor_complaining", complaining).Set("apparmor_unconfined", unconfined)
	return malformed
}

// apparmorMode is the last word of "/usr/bin/man (enforce)": names may have brackets of their own.
func apparmorMode(line string) string {
	i := strings.LastIndex(line, " (")
	if i < 0 || !strings.HasSuffix(line, ")") {
		return ""
	}
	return line[i+2 : len(line)-1]
}

func (s *Surveys) setSELinux(f event.Fact) error {
	text, _, err := s.configText("/etc/selinux/config")
	if err != nil {
		return err
	}
	values := shellValues("/etc/selinux/config", text)
	if mode := strings.ToLower(values["SELINUX"].text); mode != "" {
		f.Set("selinux_configured", mode)
	}
	if policy := values["SELINUXTYPE"].text; policy != "" {
		f.Set("selinux_type", policy)
	}
	if !s.Live() {
		return nil
	}
	enforce, err := s.sysText("fs/selinux/enforce")
	if err != nil {
		return err
	}
	mode, known := map[string]string{"": "disabled", "0": "permissive", "1": "enforcing"}[enforce]
	if !known {
		return fmt.Errorf("/sys/fs/selinux/enforce: want 0 or 1, got %.40q", enforce)
	}
	f.Set("selinux_mode", mode)
	return nil
}

// setActive sums up which module is at work. It is called last.
func (s *Surveys) setActive(f event.Fact) error {
	if !s.Live() {
		return nil
	}
	names, err := s.sysText("kernel/security/lsm")
	if err != nil {
		return err
	}
	if names != "" {
		f.Set("modules", strings.Split(names, ","))
	}
	profiles, _ := f.Values["apparmor_profiles"].(int64)
	enforcing, _ := f.Values["apparmor_enforcing"].(int64)
	_, noSmack := s.Sys().Stat("fs/smackfs/load2")
	_, noTomoyo := s.Sys().Stat("kernel/security/tomoyo/profile")
	switch mode := f.Values["selinux_mode"]; {
	case mode == "enforcing" || mode == "permissive":
		f.Set("active", "selinux").Set("enforcing", mode == "enforcing")
	case profiles > 0:
		f.Set("active", "apparmor").Set("enforcing", enforcing > 0)
	case noSmack == nil:
		f.Set("active", "smack").Set("enforcing", true)
	case noTomoyo == nil && strings.Contains(names, "tomoyo"):
		f.Set("active", "tomoyo")
	default:
		f.Set("active", "none").Set("enforcing", false)
	}
	return nil
}
