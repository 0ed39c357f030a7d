package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// sshdCases are configurations by hand. What is behind -C is a connection that only the named block matches.
var sshdCases = []struct {
	name       string
	config     string
	parts      map[string]string // included files
	connection string
	block      string // criteria of the block that the connection matches
}{
	{name: "nothing", config: ""},
	{name: "first value wins", config: "PermitRootLogin no\nPermitRootLogin yes\nMaxAuthTries 3\nmaxauthtries 9\n"},
	{name: "forms", config: "permitrootlogin=prohibit-password\n  X11Forwarding = yes # said twice\nBanner \"/etc/issue.net\"\nLoginGraceTime 1m30s\n" +
		"ClientAliveInterval 5m\nMaxStartups 5:50:20\nLogLevel debug\nSyslogFacility authpriv\nAllowTcpForwarding local\nGatewayPorts clientspecified\n"},
	{name: "one number of startups", config: "MaxStartups 7\n"},
	{name: "lists of all lines", config: "AllowUsers alice bob\nAllowUsers carol@192.0.2.*\nDenyGroups games\nAcceptEnv LANG LC_*\nAcceptEnv EDITOR\nPort 22\nPort 2222\n"},
	{name: "lists of the first line", config: "AuthorizedKeysFile .ssh/keys /etc/ssh/keys/%u\nAuthorizedKeysFile none\nAuthenticationMethods publickey,password publickey,keyboard-interactive\n"},
	{name: "algorithms", config: "Ciphers aes256-gcm@openssh.com,aes128-ctr\nMACs hmac-sha2-256\nKexAlgorithms curve25519-sha256\nHostKeyAlgorithms ssh-ed25519,rsa-sha2-512\n"},
	{name: "algorithms added", config: "Ciphers +aes128-cbc,3des-cbc\nMACs +hmac-md5\nPubkeyAcceptedAlgorithms +ssh-rsa\nHostKeyAlgorithms +ssh-rsa\n"},
	{name: "algorithms added by a pattern", config: "PubkeyAcceptedAlgorithms +ssh-rsa*\nCiphers +aes128-cbc\n"},
	{name: "algorithms taken away", config: "Ciphers -aes*-ctr,chacha20*\nMACs -*-etm@openssh.com,umac-64*\nPubkeyAcceptedAlgorithms -*cert*\n"},
	{name: "algorithms first", config: "Ciphers ^aes256-ctr,aes192-ctr\nMACs ^hmac-sha2-512\n"},
	{name: "other names", config: "ChallengeResponseAuthentication no\nPubkeyAcceptedKeyTypes ssh-ed25519\nHostbasedAcceptedKeyTypes ssh-ed25519\n"},
	{name: "no longer of effect", config: "Protocol 2\nUsePrivilegeSeparation sandbox\nKeyRegenerationInterval 1h\nRSAAuthentication no\nPermitRootLogin no\n"},
	{name: "include first", config: "Include PARTS/*.conf\nPermitRootLogin yes\nX11Forwarding yes\n",
		parts: map[string]string{"10-a.conf": "PermitRootLogin no\n", "20-b.conf": "X11Forwarding no\nPermitRootLogin prohibit-password\n", "c.txt": "MaxAuthTries 1\n"}},
	{name: "include behind", config: "PermitRootLogin yes\nInclude PARTS/a.conf PARTS/b.conf\nMaxSessions 3\n",
		parts: map[string]string{"a.conf": "PermitRootLogin no\nMaxSessions 4\n", "b.conf": "MaxSessions 5\nMaxAuthTries 2\n"}},
	{name: "include within include", config: "Include PARTS/a.conf\n", parts: map[string]string{"a.conf": "Include PARTS/b.conf\nUseDNS yes\n", "b.conf": "UseDNS no\nTCPKeepAlive no\n"}},
	{name: "block that does not match", config: "PermitRootLogin no\nMatch User bob\n PermitRootLogin yes\n X11Forwarding yes\n"},
	{name: "block", config: "PermitRootLogin no\nMaxAuthTries 3\nMatch User bob\n PermitRootLogin yes\n X11Forwarding yes\n", connection: "user=bob,host=h,addr=192.0.2.1", block: "User bob"},
	{name: "block over what comes before", config: "AllowUsers alice bob\nPasswordAuthentication no\nMatch Address 192.0.2.0/24\nPasswordAuthentication yes\nPasswordAuthentication no\nAllowUsers carol\n",
		connection: "user=alice,host=h,addr=192.0.2.1", block: "Address 192.0.2.0/24"},
	{name: "block of all", config: "X11Forwarding no\nMatch all\nX11Forwarding yes\nBanner /etc/motd\n", connection: "user=alice,host=h,addr=192.0.2.1", block: "all"},
	{name: "block in two pieces", config: "Match User bob\nMaxSessions 1\nMatch User carol\nMaxSessions 2\nMatch User bob\nMaxSessions 3\nMaxAuthTries 1\n",
		connection: "user=bob,host=h,addr=192.0.2.1", block: "User bob"},
	{name: "block with an include", config: "Match User bob\nInclude PARTS/a.conf\nMaxSessions 2\n", parts: map[string]string{"a.conf": "MaxSessions 1\nForceCommand /bin/true # not a comment\n"},
		connection: "user=bob,host=h,addr=192.0.2.1", block: "User bob"},
	{name: "block ends with its file", config: "Include PARTS/a.conf\nPermitRootLogin no\nMaxSessions 4\n", parts: map[string]string{"a.conf": "Match User bob\nPermitRootLogin yes\n"}},
	{name: "block of an included file", config: "Include PARTS/a.conf\nPermitRootLogin no\nMaxSessions 4\n", parts: map[string]string{"a.conf": "Match User bob\nPermitRootLogin yes\n"},
		connection: "user=bob,host=h,addr=192.0.2.1", block: "User bob"},
	{name: "subsystems", config: "Subsystem sftp internal-sftp -f AUTH\nSubsystem other /bin/true\n"},
	{name: "empty lists", config: "ForceCommand none\nBanner none\nChrootDirectory none\n"},
}

// write puts a case into a directory and returns its configuration, with the directory in the place of PARTS.
func writeSSHD(t *testing.T, dir, config string, parts map[string]string) string {
	t.Helper()
	for name, text := range parts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "PARTS", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "sshd_config")
	text := strings.ReplaceAll(config, "PARTS", dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSSHServerAgreesWithSSHD asks sshd itself what is effective, of every keyword that either knows a value of.
func TestSSHServerAgreesWithSSHD(t *testing.T) {
	t.Parallel()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skip("needs sshd: it is the oracle")
	}
	keys := t.TempDir()
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(keys, "key")).CombinedOutput(); err != nil {
		t.Skipf("needs ssh-keygen for a host key: %v %s", err, out)
	}
	ask := func(file, connection string) (map[string][]string, error) {
		args := []string{"-T", "-f", file, "-h", filepath.Join(keys, "key")}
		if connection != "" {
			args = append(args, "-C", connection)
		}
		out, err := exec.Command(sshd, args...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		said := map[string][]string{}
		for line := range strings.Lines(string(out)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			said[name] = append(said[name], value)
		}
		return said, nil
	}
	s := &Surveys{Root: "/"}
	_, version, err := s.sshdVersion(sshd)
	if err != nil || version == 0 {
		t.Fatalf("version of %s is %d, %v", sshd, version, err)
	}
	if _, err := ask(writeSSHD(t, t.TempDir(), "", nil), ""); err != nil {
		t.Skipf("needs a working sshd -T: %v", err)
	}
	compared := 0
	for _, c := range sshdCases {
		file := writeSSHD(t, t.TempDir(), c.config, c.parts)
		said, err := ask(file, c.connection)
		if err != nil {
			t.Errorf("%s: sshd: %v", c.name, err)
			continue
		}
		config := s.readSSHD(file, nil)
		if len(config.wrong) > 0 || len(config.errs) > 0 {
			t.Errorf("%s: %v %v", c.name, config.wrong, config.errs)
		}
		for name, value := range config.effective(blockOf(t, config, c.block), version) {
			want, known := said[name]
			if !known || name == "hostkey" || name == "listenaddress" {
				continue
			}
			compared++
			if got, want := asSSHDSays(name, value), normalSSHD(name, want); got != want {
				t.Errorf("%s: %s is %q, sshd says %q", c.name, name, got, want)
			}
		}
	}
	t.Logf("%d values of %d configurations are as sshd says", compared, len(sshdCases))
}

func blockOf(t *testing.T, c *sshdConfig, criteria string) *sshdBlock {
	t.Helper()
	if criteria == "" {
		return nil
	}
	i := slices.IndexFunc(c.blocks, func(b *sshdBlock) bool { return b.criteria == criteria })
	if i < 0 {
		t.Fatalf("there is no block %q", criteria)
	}
	return c.blocks[i]
}

// asSSHDSays writes a value as sshd -T does.
func asSSHDSays(name string, value []string) string {
	switch form := sshdKeywords[name].form; {
	case form == sshAlgorithms:
		return strings.Join(value, ",")
	case form == sshStartups:
		return strings.Join(value, ":")
	case form == sshLists || form == sshNamed:
		return strings.Join(value, "\n")
	}
	return strings.Join(value, " ")
}

// normalSSHD writes what sshd says as we do: its alias of prohibit-password is the older one, lists are one word per line, and Debian has
// put a second name of one key exchange, which upstream has from 9.9 on, into earlier versions.
func normalSSHD(name string, said []string) string {
	text := strings.Join(said, "\n")
	switch name {
	case "permitrootlogin":
		return strings.Replace(text, "without-password", "prohibit-password", 1)
	case "kexalgorithms":
		return strings.Replace(text, "sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com", "sntrup761x25519-sha512@openssh.com", 1)
	}
	return text
}

func TestSSHServerIsNotReportedWhereThereIsNone(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{"etc/ssh/sshd_config": "PermitRootLogin yes\n", "etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
	for _, f := range factsOf(t, s.SSHServer) {
		t.Errorf("a fact without a server: %v", f)
	}
}

func TestSSHServerDefaultsAreOfItsVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ version, field, has, hasNot string }{
		{"7.4p1", "kexalgorithms", "diffie-hellman-group14-sha1", "sntrup761x25519-sha512@openssh.com"},
		{"7.4p1", "hostkeyalgorithms", "ssh-rsa", "none"},
		{"8.0p1", "kexalgorithms", "diffie-hellman-group14-sha1", "none"},
		{"8.2p1", "kexalgorithms", "curve25519-sha256", "diffie-hellman-group14-sha1"},
		{"8.7p1", "pubkeyacceptedalgorithms", "ssh-rsa", "none"},
		{"8.8p1", "pubkeyacceptedalgorithms", "rsa-sha2-256", "ssh-rsa"},
		{"9.6p1", "kexalgorithms", "diffie-hellman-group16-sha512", "mlkem768x25519-sha256"},
		{"9.9p2", "kexalgorithms", "mlkem768x25519-sha256", "diffie-hellman-group14-sha1"},
		{"10.0p2", "kexalgorithms", "mlkem768x25519-sha256", "diffie-hellman-group16-sha512"},
		{"", "ciphers", "3des-cbc", "none"}, // of a version that is not known the worst is taken
	} {
		program := "\x00OpenSSH_" + c.version + " Debian-1\x00"
		f := onlyFact(t, plant(t, map[string]string{"usr/sbin/sshd": program, "etc/ssh/sshd_config": ""}).SSHServer)
		values, _ := f.Values[c.field].([]string)
		if !slices.Contains(values, c.has) || slices.Contains(values, c.hasNot) {
			t.Errorf("%s of %q are %q: want %s, not %s", c.field, c.version, values, c.has, c.hasNot)
		}
		if version, _ := f.Values["version"].(string); version != c.version {
			t.Errorf("version is %q, want %q", version, c.version)
		}
	}
}

const sshdProgram = "\x00OpenSSH_2.*,OpenSSH_3.0*\x00OpenSSH_9.2\x00OpenSSH_9.2p1 Debian-2+deb12u3\x00"

func TestSSHServerOptionsComeBeforeTheFile(t *testing.T) {
	t.Parallel()
	f := onlyFact(t, plant(t, map[string]string{
		"usr/sbin/sshd":       sshdProgram,
		"etc/ssh/sshd_config": "X11Forwarding yes\nCiphers aes128-cbc\nMaxAuthTries 5\n",
		"etc/ssh/other":       "X11Forwarding no\nCiphers 3des-cbc\n",
		"etc/crypto-policies/back-ends/opensshserver.config": "CRYPTO_POLICY='-oCiphers=aes256-gcm@openssh.com,aes256-ctr -oMACs=hmac-sha2-256'\n",
		"etc/default/ssh":    "# options\nSSHD_OPTS=\"-o MaxAuthTries=2 -4\"\n",
		"etc/sysconfig/sshd": "OPTIONS=\"-f /etc/ssh/other\"\n",
	}).SSHServer)
	for name, want := range map[string]string{"x11forwarding": "no", "ciphers": "[aes256-gcm@openssh.com aes256-ctr]", "maxauthtries": "2", "macs": "[hmac-sha2-256]"} {
		if got := fmt.Sprint(f.Values[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestSSHServerReadsThePolicyOfTheMachine(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/sbin/sshd":                               sshdProgram,
		"etc/ssh/sshd_config":                         "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n",
		"etc/ssh/sshd_config.d/50-redhat.conf":        "Include /etc/crypto-policies/back-ends/opensshserver.config\nSyslogFacility AUTHPRIV\n",
		"usr/share/crypto-policies/DEFAULT/sshd.text": "Ciphers aes256-gcm@openssh.com\nGSSAPIKexAlgorithms gss-group14-sha256-\nRequiredRSASize 2048\n",
		"etc/crypto-policies/back-ends/.keep":         "",
	})
	if err := os.Symlink("/usr/share/crypto-policies/DEFAULT/sshd.text", filepath.Join(s.Root, "etc/crypto-policies/back-ends/opensshserver.config")); err != nil {
		t.Fatal(err)
	}
	f := onlyFact(t, s.SSHServer)
	if got := fmt.Sprintln(f.Values["ciphers"], f.Values["requiredrsasize"], f.Values["syslogfacility"], f.Values["usepam"]); got != "[aes256-gcm@openssh.com] 2048 AUTHPRIV yes\n" {
		t.Errorf("got %s", got)
	}
}

func TestSSHServerDerives(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ config, field, want string }{
		{"", "passwords", "true"},
		{"PasswordAuthentication no\n", "passwords", "false"}, // without PAM nobody asks at the keyboard
		{"PasswordAuthentication no\nUsePAM yes\n", "passwords", "true"},
		{"PasswordAuthentication no\nUsePAM yes\nKbdInteractiveAuthentication no\n", "passwords", "false"},
		{"AuthenticationMethods publickey,password\n", "passwords", "false"},
		{"AuthenticationMethods publickey,password password\n", "passwords", "true"},
		{"UsePAM yes\nAuthenticationMethods keyboard-interactive:pam\n", "passwords", "true"},
		{"", "forwarding", "true"},
		{"DisableForwarding yes\n", "forwarding", "false"},
		{"AllowTcpForwarding no\nAllowAgentForwarding no\nAllowStreamLocalForwarding no\n", "forwarding", "false"},
		{"AllowTcpForwarding no\nAllowAgentForwarding no\nAllowStreamLocalForwarding no\nPermitTunnel yes\n", "forwarding", "true"},
		{"", "access_limited", "false"},
		{"DenyUsers bob\n", "access_limited", "true"},
		{"AcceptEnv LANG LC_*\n", "acceptenv_risky", "false"},
		{"AcceptEnv LANG LD_*\n", "acceptenv_risky", "true"},
		{"AcceptEnv *\n", "acceptenv_risky", "true"},
		{"Banner /etc/issue.net\n", "banner_exists", "true"},
		{"Banner /etc/issue.net\n", "banner_leaks", "true"},
		{"Banner /etc/motd\n", "banner_leaks", "false"},
		{"Banner /etc/none\n", "banner_exists", "false"},
		{"Banner none\n", "banner", "none"},
		{"MaxStartups 5:50:20\n", "maxstartups_rate", "50"},
		{"ForceCommand echo secret\n", "forcecommand", "true"},
	} {
		f := onlyFact(t, plant(t, map[string]string{
			"usr/sbin/sshd": sshdProgram, "etc/ssh/sshd_config": c.config, "etc/issue.net": "Debian GNU/Linux 12\n", "etc/motd": "Authorised users only\n",
			"etc/os-release": "ID=debian\n",
		}).SSHServer)
		if got := fmt.Sprint(f.Values[c.field]); got != c.want {
			t.Errorf("%q: %s is %s, want %s", c.config, c.field, got, c.want)
		}
	}
}

func TestSSHServerSaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"PermitRootLogni no\n":          `/etc/ssh/sshd_config:1: "permitrootlogni" is no keyword of sshd up to 10.0`,
		"StrictModes true\n":            "/etc/ssh/sshd_config:1: want one of yes no for strictmodes",
		"\nPermitRootLogin maybe\n":     "/etc/ssh/sshd_config:2: want one of yes no prohibit-password without-password forced-commands-only for permitrootlogin",
		"MaxAuthTries many\n":           "/etc/ssh/sshd_config:1: want a number for maxauthtries",
		"LoginGraceTime 5x\n":           "/etc/ssh/sshd_config:1: want a time such as 90 or 1h30m for logingracetime",
		"Banner \"/etc/issue\n":         "/etc/ssh/sshd_config:1: want a quote at the end of the word",
		"Banner\n":                      "/etc/ssh/sshd_config:1: want a value for banner",
		"Match User a\nCiphers x\n":     "/etc/ssh/sshd_config:2: ciphers is not allowed in a Match block",
		"Match Usr bob\n":               `/etc/ssh/sshd_config:1: "Usr" is no criterion of Match`,
		"MaxStartups 0:0:0\n":           "/etc/ssh/sshd_config:1: want start:rate:full for maxstartups",
		"Include /etc/ssh/sshd_conf*\n": "/etc/ssh/sshd_config:1: files include each other more than 16 deep",
	} {
		s := plant(t, map[string]string{"usr/sbin/sshd": sshdProgram, "etc/ssh/sshd_config": config})
		facts := factsOf(t, s.SSHServer)
		if !slices.ContainsFunc(facts, func(f event.Fact) bool { return f.Err() == want }) {
			t.Errorf("%q: want the error %q in %v", config, want, facts)
		}
	}
	s := plant(t, map[string]string{"usr/sbin/sshd": sshdProgram})
	if f := onlyFact(t, s.SSHServer); !strings.Contains(f.Err(), "/etc/ssh/sshd_config") {
		t.Errorf("without a configuration: %v", f)
	}
}

func TestHostKeysAreJudgedByTheirModes(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/sbin/sshd": sshdProgram, "etc/ssh/sshd_config": "HostKey /etc/ssh/ssh_host_rsa_key\n",
		"etc/ssh/ssh_host_rsa_key": "private", "etc/ssh/ssh_host_rsa_key.pub": rsaKey1024 + " a comment\n",
		"etc/ssh/ssh_host_ed25519_key": "private", "etc/ssh/ssh_host_ed25519_key.pub": ed25519Key,
	})
	chmod(t, s, "etc/ssh/ssh_host_rsa_key", 0o640)
	chmod(t, s, "etc/ssh/ssh_host_ed25519_key", 0o600)
	byFile := map[string]event.Fact{}
	for _, f := range factsOf(t, s.SSHServer) {
		byFile[f.Subject] = f
	}
	owned := os.Getuid() == 0
	for _, c := range []struct {
		file, field string
		want        any
	}{
		{"/etc/ssh/ssh_host_rsa_key", "guarded", owned && os.Getgid() == 0}, // its group is root's
		{"/etc/ssh/ssh_host_rsa_key", "used", true},
		{"/etc/ssh/ssh_host_rsa_key", "bits", int64(1024)},
		{"/etc/ssh/ssh_host_rsa_key", "weak", true},
		{"/etc/ssh/ssh_host_rsa_key.pub", "guarded", owned},
		{"/etc/ssh/ssh_host_ed25519_key", "guarded", owned},
		{"/etc/ssh/ssh_host_ed25519_key", "used", false},
		{"/etc/ssh/ssh_host_ed25519_key", "type", "ed25519"},
	} {
		if got := byFile[c.file].Values[c.field]; got != c.want {
			t.Errorf("%s of %s is %v, want %v", c.field, c.file, got, c.want)
		}
	}
	chmod(t, s, "etc/ssh/ssh_host_rsa_key", 0o644)
	for _, f := range factsOf(t, s.SSHServer) {
		if f.Subject == "/etc/ssh/ssh_host_rsa_key" && f.Values["guarded"] != false {
			t.Error("a private key that all can read is guarded")
		}
	}
}

func TestAuthorizedKeys(t *testing.T) {
	t.Parallel()
	s := plant(t, map[string]string{
		"usr/sbin/sshd":                      sshdProgram,
		"etc/ssh/sshd_config":                "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys/%u\n",
		"etc/passwd":                         "root:x:0:0::/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh\nd:x:2:2::/home/d:/usr/sbin/nologin\n",
		"etc/group":                          "root:x:0:\nbob:x:1000:\n",
		"root/.ssh/authorized_keys":          "# mine\nno-pty,command=\"echo \\\"a b\\\"\",FROM=\"10.0.0.0/8\" " + ed25519Key + "\n" + rsaKey1024 + " old\n",
		"etc/ssh/keys/bob":                   "cert-authority " + ed25519Key + "\nnonsense\n",
		"home/d/.ssh/authorized_keys":        ed25519Key,
		"home/bob/.ssh/authorized_keys2":     ed25519Key,
		"home/bob/.ssh/authorized_keys/file": "a directory",
	})
	var got []string
	for _, f := range factsOf(t, s.SSHAuthorizedKeys) {
		if f.Err() != "" {
			got = append(got, f.Err())
			continue
		}
		v := f.Values
		got = append(got, fmt.Sprintln(f.Subject, v["user"], v["type"], v["bits"], v["weak"], v["options"], v["limited"], v["certificate_authority"], v["duplicate"]))
	}
	want := []string{
		"/root/.ssh/authorized_keys:2 root ed25519 256 false [no-pty command from] true false true\n",
		"/root/.ssh/authorized_keys:3 root rsa 1024 true [] false false false\n",
		"/etc/ssh/keys/bob:1 bob ed25519 256 false [cert-authority] false true true\n",
		"/etc/ssh/keys/bob:2: want options, a type and a key",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Two public keys, made for these tests and thrown away.
const (
	ed25519Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOqJ0KmMPGvas9lryeBJNpco76/g3avOYYpbwMbQ4gZZ"
	rsaKey1024 = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCuXeB0gZp1Gtl8x1UKFVnXw/vqq19aojD5Noo6ZZbskSTQ+Ulc83QfVv1WP5yCuIHwATVUSlZdL9WXmpUQV6US/dPvGwpeunpL3rjOP5Fa96PuY1rtXuG9+EWyEXxON/Vl1GYpnQL6Q16/tdnzQE3cP88QvNN7/ItFH/G+L48/3Q=="
)

func factsOf(t *testing.T, survey event.Survey) (all []event.Fact) {
	t.Helper()
	if err := survey(context.Background(), func(f event.Fact) { all = append(all, f) }); err != nil {
		t.Fatal(err)
	}
	return all
}

func onlyFact(t *testing.T, survey event.Survey) event.Fact {
	t.Helper()
	all := factsOf(t, survey)
	if len(all) != 1 {
		t.Fatalf("want one fact: %v", all)
	}
	return all[0]
}

func chmod(t *testing.T, s *Surveys, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(filepath.Join(s.Root, path), mode); err != nil {
		t.Fatal(err)
	}
}

func FuzzSSHD(f *testing.F) {
	for _, c := range sshdCases {
		f.Add(c.config)
	}
	f.Add("Match User \"a b\" Address 10.0.0.0/8\nBanner=\"x\nCiphers +*?[\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := &sshdConfig{file: "sshd_config", global: sshdSettings{}}
		r := &sshdReader{s: &Surveys{Root: t.TempDir()}, c: c, dir: "/none"}
		r.parse("sshd_config", text)
		for _, block := range append(c.blocks, nil) {
			set := c.effective(block, 902)
			if n := len(set["maxstartups"]); n != 3 {
				t.Errorf("maxstartups has %d numbers", n)
			}
			set.passwords()
		}
	})
}

func FuzzSSHKey(f *testing.F) {
	f.Add(ed25519Key)
	f.Add(`command="a,b \" c",no-pty ` + rsaKey1024)
	f.Add("ssh-rsa AAAAB3NzaC1yc2E=")
	f.Fuzz(func(t *testing.T, line string) {
		if key, ok := parseSSHKey(line); ok && (key.kind == "" || key.bits < 0 || key.fingerprint == "") {
			t.Errorf("parseSSHKey(%q) = %+v", line, key)
		}
	})
}

func TestSSHServerHasBounds(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range maxSSHBlocks + 5 {
		fmt.Fprintf(&many, "Match User u%d\nMaxSessions 1\n", i)
	}
	for _, c := range []struct {
		name, config, part, want string
	}{
		{"blocks", many.String(), "", fmt.Sprintf("/etc/ssh/sshd_config:%d: want at most 1000 Match blocks", 2*maxSSHBlocks+1)},
		{"words", strings.Repeat("AllowUsers a b c d e f g h i j k l m n o p q r s t u v w x y z\n", 1000), "", "/etc/ssh/sshd_config:386: want at most 10000 words for allowusers"},
		{"files", strings.Repeat("Include part\n", maxSSHFiles+5), "UseDNS no\n", "/etc/ssh/part: more than 2000 files are included"},
		{"size", strings.Repeat("#", maxConfig+1), "", "read /etc/ssh/sshd_config: it has more than 1048576 bytes"},
	} {
		s := plant(t, map[string]string{"usr/sbin/sshd": sshdProgram, "etc/ssh/sshd_config": c.config, "etc/ssh/part": c.part})
		facts := factsOf(t, s.SSHServer)
		if !slices.ContainsFunc(facts, func(f event.Fact) bool { return f.Err() == c.want }) {
			t.Errorf("%s: want the error %q, the last of %d facts is %v", c.name, c.want, len(facts), facts[len(facts)-1])
		}
	}
}
