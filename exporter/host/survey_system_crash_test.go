package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCoreLimits(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"* hard core 0": "true true", "* - core 0": "true true", "*  hard\tcore  0 # why": "true true", "* soft core 0": "false false", "root hard core 0": "false false",
		"* hard core unlimited": "false true", "* hard nofile 0": "false false", "@x -": "false false", "* hard core": "error", "* harder core 0": "error",
	} {
		zero, about, err := coreLimit(line)
		got := strings.Trim(strings.Join([]string{map[bool]string{true: "true", false: "false"}[zero], map[bool]string{true: "true", false: "false"}[about]}, " "), " ")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("coreLimit(%q) = %s, want %s", line, got, want)
		}
	}
}

func TestCoredumps(t *testing.T) {
	t.Parallel()
	const names = "service_limit collector storage size_max pattern"
	for name, x := range map[string]struct {
		files   map[string]string
		limited bool
		want    string
	}{
		"as installed": {map[string]string{"etc/security/limits.conf": "# * hard core 0\n"}, false, "service_limit collector=false storage size_max pattern"},
		"limited":      {map[string]string{"etc/security/limits.conf": "", "etc/security/limits.d/10-a.conf": "* hard core 0\n", "etc/sysctl.d/x.conf": "kernel.core_pattern=|/bin/false\n"}, true, "service_limit collector=false storage size_max pattern=|/bin/false"},
		"undone":       {map[string]string{"etc/security/limits.conf": "* hard core 0\n", "etc/security/limits.d/90-db.conf": "* - core unlimited\n"}, false, "service_limit collector=false storage size_max pattern"},
		"collector":    {map[string]string{"usr/lib/systemd/systemd-coredump": ""}, false, "service_limit collector=true storage=external size_max pattern"},
		"collector off": {map[string]string{"usr/lib/systemd/systemd-coredump": "", "etc/systemd/coredump.conf.d/x.conf": "[Coredump]\nStorage=none\nProcessSizeMax=0\n", "etc/systemd/system.conf": "[Manager]\nDefaultLimitCORE=0\n"},
			false, "service_limit=0 collector=true storage=none size_max=0 pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			facts := surveyed(t, plant(t, x.files).Coredumps)
			want(t, facts, names, map[string]string{"services": x.want})
			want(t, facts, "limited", map[string]string{"sessions": fmt.Sprint("limited=", x.limited)})
		})
	}
	facts := surveyed(t, plant(t, map[string]string{"etc/security/limits.conf": "* hard core 0\n* hard\n"}).Coredumps)
	if f := facts["sessions"]; !strings.Contains(f.Err(), "/etc/security/limits.conf:2: want a domain") || facts["services"].Err() != "" {
		t.Errorf("the error of a malformed line is %q, that of services %q", f.Err(), facts["services"].Err())
	}
	live := plantLive(t, map[string]string{"proc/sys/kernel/core_pattern": "core\n"})
	want(t, surveyed(t, live.Coredumps), "pattern", map[string]string{"services": "pattern=core"})
}

func TestCrashReporters(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/share/apport/apport": "", "etc/default/apport": "# x\nenabled=1\n", "usr/bin/whoopsie": "", "etc/systemd/system/multi-user.target.wants/whoopsie.path": "",
		"usr/sbin/abrtd": "", "etc/systemd/system/multi-user.target.wants/abrtd.service": "",
	})
	wants := map[string]string{"apport": "exists=true enabled=true", "whoopsie": "exists=true enabled=true", "abrt": "exists=true enabled=true"}
	want(t, surveyed(t, s.Reporters), "exists enabled", wants)
	for name, text := range map[string]string{"etc/default/apport": "enabled=0\n", "etc/systemd/system/abrtd.service": ""} {
		if err := os.WriteFile(filepath.Join(s.Root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(s.Root, "etc/systemd/system/abrtd.service")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(s.Root, "etc/systemd/system/abrtd.service")); err != nil {
		t.Fatal(err)
	}
	wants["apport"], wants["abrt"] = "exists=true enabled=false", "exists=true enabled=false"
	want(t, surveyed(t, s.Reporters), "exists enabled", wants)
	want(t, surveyed(t, plant(t, nil).Reporters), "exists enabled", map[string]string{"apport": "exists=false enabled=false"})
}

func FuzzCoreLimit(f *testing.F) {
	f.Add("* hard core 0")
	f.Fuzz(func(t *testing.T, line string) {
		if zero, about, err := coreLimit(line); zero && !about || zero && err != nil {
			t.Errorf("coreLimit(%q) = %v, %v, %v", line, zero, about, err)
		}
	})
}
