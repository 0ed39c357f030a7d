package host

import (
	"fmt"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestBannersTellTooMuch(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Authorized use only. What you do is recorded.\n": "8 false",
		"Debian GNU/Linux 12 \\n \\l\n":                   "3 true",
		"Kernel \\r on an \\m\n":                          "3 true",
		"\\S\n":                                           "0 true",
		"":                                                "0 false",
		"*** ------- ***\n":                               "0 false",
		"Welcome to (Debian)!\n":                          "3 true",
		"undebianly words\n":                              "2 false",
	} {
		words, discloses := bannerWords(text, []string{"debian"})
		if got := fmt.Sprint(words, " ", discloses); got != want {
			t.Errorf("bannerWords(%q) = %s, want %s", text, got, want)
		}
	}
	for name, x := range map[string]struct{ release, discloses, silent string }{
		"Red Hat": {"ID=\"rhel\"\nPRETTY_NAME=\"Red Hat Enterprise Linux 9.4 (Plow)\"\n", "This is Red Hat 9.", "A red alert is sounded."},
		"Oracle":  {"ID=\"ol\"\nPRETTY_NAME=\"Oracle Linux Server 9.4\"\n", "OL 9", "Under control of old protocols."},
		"Debian":  {"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "a debian-12 machine", "authorized use only"},
	} {
		names, err := plant(t, map[string]string{"etc/os-release": x.release}).systemNames()
		_, discloses := bannerWords(x.discloses, names)
		if _, silent := bannerWords(x.silent, names); err != nil || !discloses || silent {
			t.Errorf("%s is called %q (error %v): %q tells it: %v, %q: %v", name, names, err, x.discloses, discloses, x.silent, silent)
		}
	}
	if names, err := plant(t, nil).systemNames(); err != nil || len(names) > 0 {
		t.Errorf("a machine without os-release is called %q, error %v", names, err)
	}
	s := plant(t, map[string]string{"etc/os-release": "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux\"\n", "etc/issue": "Debian \\n\n", "etc/motd": ""})
	want(t, surveyed(t, s.Banners), "purpose exists words discloses", map[string]string{
		"/etc/issue": "purpose=issue exists=true words=1 discloses=true", "/etc/motd": "purpose=motd exists=true words=0 discloses=false", "/etc/issue.net": "purpose=issue_net exists=false words=0 discloses=false"})
}

func TestDisplayManager(t *testing.T) {
	t.Parallel()
	for text, want1 := range map[string]string{
		"[daemon]\nAutomaticLoginEnable = true\n[xdmcp]\nEnable=true\n": "xdmcp=true autologin=true",
		"[daemon]\n#AutomaticLoginEnable = true\n[xdmcp]\n":             "xdmcp=false autologin=false",
		"[daemon]\nTimedLoginEnable=True\n[security]\nEnable=true\n":    "xdmcp=false autologin=true",
	} {
		s := plant(t, map[string]string{"usr/sbin/gdm3": "", "etc/gdm3/daemon.conf": text})
		want(t, surveyed(t, s.GDMs), "xdmcp autologin", map[string]string{"gdm": want1})
	}
	if facts := surveyed(t, plant(t, map[string]string{"etc/gdm3/daemon.conf": "[xdmcp]\nEnable=true\n"}).GDMs); len(facts) > 0 {
		t.Errorf("facts of what is not installed: %v", facts)
	}
	if err := plant(t, map[string]string{"usr/bin/gdm": "", "etc/gdm/custom.conf": "[daemon]\nnonsense\n"}).GDMs(t.Context(), func(event.Fact) {}); err == nil || !strings.Contains(err.Error(), "/etc/gdm/custom.conf:2") {
		t.Errorf("the error of a malformed line is %v", err)
	}
}

func TestDesktopSettings(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/sbin/gdm3":                   "",
		"etc/dconf/profile/user":          "user-db:user\nsystem-db:first\nsystem-db:second\n",
		"etc/dconf/profile/gdm":           "user-db:user\nsystem-db:gdm\nfile-db:/usr/share/gdm/greeter-dconf-defaults\n",
		"etc/dconf/db/first.d/00":         "[org/gnome/desktop/session]\nidle-delay=uint32 300\n",
		"etc/dconf/db/first.d/10":         "[org/gnome/desktop/session]\nidle-delay=uint32 900\n[org/gnome/desktop/media-handling]\nautorun-never=true\n",
		"etc/dconf/db/second.d/00":        "[org/gnome/desktop/session]\nidle-delay=uint32 0\n[org/gnome/desktop/screensaver]\nlock-delay=uint32 5\n[org/gnome/login-screen]\ndisable-user-list=true\n",
		"etc/dconf/db/second.d/locks/x":   "# x\n/org/gnome/desktop/session/idle-delay\n",
		"etc/dconf/db/unused.d/00":        "[org/gnome/desktop/media-handling]\nautomount=false\n",
		"etc/dconf/db/gdm.d/01":           "[org/gnome/login-screen]\nbanner-message-enable=true\n",
		"etc/gdm3/greeter.dconf-defaults": "[org/gnome/login-screen]\nbanner-message-enable=false\nbanner-message-text='Authorized use only.'\n",
	})
	want(t, surveyed(t, s.DconfKeys), "exists value number locked @", map[string]string{
		"org/gnome/desktop/session/idle-delay":           "exists=true value=900 number=900 locked=true @/etc/dconf/db/first.d/10:2",
		"org/gnome/desktop/screensaver/lock-delay":       "exists=true value=5 number=5 locked=false @/etc/dconf/db/second.d/00:4",
		"org/gnome/desktop/media-handling/autorun-never": "exists=true value=true number locked=false @/etc/dconf/db/first.d/10:4",
		"org/gnome/desktop/media-handling/automount":     "exists=false value number locked=false @",
		"org/gnome/login-screen/banner-message-enable":   "exists=true value=true number locked=false @/etc/dconf/db/gdm.d/01:2",
		"org/gnome/login-screen/banner-message-text":     "exists=true value=Authorized use only. number locked=false @/etc/gdm3/greeter.dconf-defaults:3",
		"org/gnome/login-screen/disable-user-list":       "exists=false value number locked=false @",
	})
	if facts := surveyed(t, plant(t, nil).DconfKeys); len(facts) > 0 {
		t.Errorf("facts of a machine without a desktop: %v", facts)
	}
}

func FuzzBanner(f *testing.F) {
	f.Add("Debian \\n (x)")
	f.Fuzz(func(t *testing.T, text string) {
		if words, _ := bannerWords(text, []string{"debian"}); words > len(text) {
			t.Errorf("%q has %d words", text, words)
		}
	})
}
