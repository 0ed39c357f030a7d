package fim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/exporter/host"
)

// asCommand is the redactor that also knows what options of programs mean.
func asCommand(text string) string { return host.Redact([]string{text})[0] }

// privateKeys are PEM texts of private keys by their kind.
func privateKeys(t testing.TB) map[string]string {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(e)
	must(t, err)
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	hex := "" // the body of OpenVPN's static keys
	for i := range 16 {
		hex += strings.Repeat(fmt.Sprintf("%x", i), 32) + "\n"
	}
	indented := ""
	for line := range strings.Lines(encode("PRIVATE KEY", pkcs8)) {
		indented += "        " + line
	}
	return map[string]string{
		"PKCS 1":      encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)),
		"PKCS 8":      encode("PRIVATE KEY", pkcs8),
		"encrypted":   encode("ENCRYPTED PRIVATE KEY", pkcs8),
		"SEC 1":       encode("EC PRIVATE KEY", sec1),
		"OpenSSH":     encode("OPENSSH PRIVATE KEY", pkcs8),
		"OpenPGP":     strings.Replace(strings.ReplaceAll(encode("PGP PRIVATE KEY", pkcs8), "PRIVATE KEY-", "PRIVATE KEY BLOCK-"), "\n", "\nComment: x\n\n", 1),
		"SSH2":        strings.ReplaceAll(strings.ReplaceAll(encode("SSH2 ENCRYPTED PRIVATE KEY", pkcs8), "-----B", "---- B"), "KEY-----", "KEY ----"),
		"OpenVPN":     "-----BEGIN OpenVPN Static key V1-----\n" + hex + "-----END OpenVPN Static key V1-----\n",
		"YAML":        indented,
		"of Windows":  strings.ReplaceAll(encode("PRIVATE KEY", pkcs8), "\n", "\r\n"),
		"not a known": encode("SOMETHING NEW", pkcs8),
	}
}

// leaks says which of the secrets a diff shows, of which each may be a line.
func leaks(diff string, secrets ...string) (shown []string) {
	for _, secret := range secrets {
		if secret = strings.TrimSpace(secret); secret != "" && strings.Contains(diff, secret) {
			shown = append(shown, secret)
		}
	}
	return shown
}

// TestKeysAreNotShownWhicheverPartOfThemIsInTheDiff changes a text around, within and at the ends of a private key.
func TestKeysAreNotShownWhicheverPartOfThemIsInTheDiff(t *testing.T) {
	for kind, key := range privateKeys(t) {
		lines := strings.SplitAfter(strings.TrimSuffix(key, "\n"), "\n")
		lines[len(lines)-1] += "\n"
		last := len(lines) - 1
		secrets := lines[1:last]
		if kind == "OpenPGP" {
			secrets = lines[3:last]
		}
		text := func(parts ...string) string { return "first: 1\n" + strings.Join(parts, "") + "last: 1\n" }
		without := func(i int) string { return text(slices.Delete(slices.Clone(lines), i, i+1)...) }
		other := func(i int) string {
			changed := slices.Clone(lines)
			changed[i] = strings.TrimSuffix(lines[i], "\n")
			changed[i] = changed[i][:len(changed[i])/2] + "\n"
			return text(changed...)
		}
		all := text(key)
		for name, change := range map[string][2]string{
			"created":            {"", all},
			"deleted":            {all, ""},
			"put in":             {text(), all},
			"line before":        {all, strings.Replace(all, "first: 1", "first: 2", 1)},
			"line after":         {all, strings.Replace(all, "last: 1", "last: 2", 1)},
			"line within":        {all, other(len(lines) / 2)},
			"last line within":   {all, other(last - 1)},
			"beginning gone":     {all, without(0)},
			"end gone":           {all, without(last)},
			"beginning put in":   {without(0), all},
			"end put in":         {without(last), all},
			"line gone":          {all, without(len(lines) / 2)},
			"beginning replaced": {all, strings.Replace(all, lines[0], "second: 1\n", 1)},
			"between others":     {"-----BEGIN CERTIFICATE-----\n" + all, "-----BEGIN CERTIFICATE-----\n" + without(last-1)},
			"in quotes":          {"key = \"" + key + "\"\n", "key = \"" + key + "\"\nother: 1\n"},
		} {
			for _, redact := range []func(string) string{host.RedactText, asCommand, asItIs} {
				diff := unifiedDiff(change[0], change[1], redact)
				if shown := leaks(diff, secrets...); len(shown) > 0 || diff == "" {
					t.Errorf("%s, %s: %q in\n%s", kind, name, shown, diff)
				}
			}
		}
	}
}

// TestRestsOfKeysAreNotShown has keys whose beginning is in neither text.
func TestRestsOfKeysAreNotShown(t *testing.T) {
	for kind, key := range privateKeys(t) {
		if kind == "OpenVPN" {
			continue // hexadecimal, as are sums of files
		}
		lines := strings.SplitAfter(strings.TrimSuffix(key, "\n"), "\n")
		rest := lines[len(lines)/2:]
		text := strings.Join(rest, "") + "\n"
		secrets := rest[:len(rest)-1]
		for _, change := range [][2]string{{"", text}, {text, ""}, {text, strings.Join(rest[1:], "")}, {strings.Join(secrets, ""), text}, {text, text + "last\n"}} {
			if shown := leaks(unifiedDiff(change[0], change[1], host.RedactText), secrets...); len(shown) > 0 {
				t.Errorf("%s: %q of\n%s", kind, shown, text)
			}
		}
	}
}

func TestKeysOfSSHAreNotShown(t *testing.T) {
	dir := t.TempDir()
	for _, arguments := range [][]string{{"-t", "ed25519"}, {"-t", "rsa", "-b", "2048"}, {"-t", "ecdsa", "-m", "PEM"}} {
		path := filepath.Join(dir, arguments[1])
		run(t, "ssh-keygen", append(arguments, "-q", "-N", "", "-C", "someone@example", "-f", path)...)
		key, err := os.ReadFile(path)
		must(t, err)
		public, err := os.ReadFile(path + ".pub")
		must(t, err)
		lines := strings.Split(string(key), "\n")
		secrets := lines[1 : len(lines)-2]
		for _, text := range []string{string(key), strings.Join(lines[2:], "\n")} {
			if shown := leaks(unifiedDiff("", text, host.RedactText), secrets...); len(shown) > 0 {
				t.Errorf("%q: %q", arguments, shown)
			}
		}
		if diff := unifiedDiff("", string(public), host.RedactText); len(leaks(diff, strings.Fields(string(public))[1])) != 1 {
			t.Errorf("%q: want the public key to be shown:\n%s", arguments, diff)
		}
	}
}

// TestSecretsAreNotShown has s3cr3t stand for one in every place.
func TestSecretsAreNotShown(t *testing.T) {
	both := []func(string) string{host.RedactText, asCommand}
	key := base64.StdEncoding.EncodeToString([]byte("-----BEGIN RSA PRIVATE KEY-----\nMIIEs3cr3t\n"))
	for _, row := range []struct {
		name, text, secret string
		redact             []func(string) string
	}{
		// On one line, with the diff's sign before it.
		{"variable", "DB_PASSWORD=s3cr3t\n", "s3cr3t", both},
		{"YAML", "  - password: s3cr3t\n", "s3cr3t", both},
		{"what looks like nsswitch.conf", "passwd: s3cr3t files\n", "s3cr3t", both},
		{"behind a tag of sudoers", "a ALL = NOPASSWD: /bin/app --password=s3cr3t\n", "s3cr3t", both},
		{"option", "- --token=s3cr3t\n", "s3cr3t", both},
		{"URL", "deb https://user:s3cr3t@example.org/debian stable main\n", "s3cr3t", both},
		{"header", "Authorization: Bearer s3cr3ts3cr3t\n", "s3cr3t", both},
		{"carriage return", "password: s3cr3t\r\nx: 1\r\n", "s3cr3t", both},
		{"key by its form", "key is AKIAIOSFODNN7EXAMPLE\n", "AKIAIOSFODNN7EXAMPLE", both},
		{"unit", "Environment=MYSQL_PWD=s3cr3t\n", "s3cr3t", both},
		{"unit, in quotes", `Environment="PGPASSWORD=x s3cr3t" 'TOKEN=y s3cr3t' "PATH=/bin"` + "\n", "s3cr3t", both},
		{"no line feed", "password=s3cr3t", "s3cr3t", both},
		{"crypt, SHA-512", "root:$6$Xs3cr3t$abcdefghijklmnopqrstuvwxyz./0123456789:19000:0:99999:7:::\n", "s3cr3t", both},
		{"crypt, yescrypt", "rootpw --iscrypted $y$j9T$s3cr3t$abcdefghijklmnop\n", "s3cr3t", both},
		{"crypt, bcrypt", "admin:$2y$05$s3cr3ts3cr3ts3cr3ts3cr3t\n", "s3cr3t", both},
		{"Apache", "admin:$apr1$s3cr3t00$abcdefghijklmnopqrstuv\n", "s3cr3t", both},
		{"LDAP", "rootpw {SSHA}s3cr3ts3cr3t\n", "s3cr3t", both},
		{"GRUB", "password_pbkdf2 root grub.pbkdf2.sha512.10000.S3CR3T.F00\n", "S3CR3T", both},
		{"kubeconfig", "    client-key-data: " + key + "\n", key[10:], both},
		// What programs take.
		{"crontab", "*/5 * * * * root mysqldump -u root -ps3cr3t shop >/dev/null\n", "s3cr3t", both[1:]},
		{"ExecStart", "ExecStart=-/usr/bin/curl -u admin:s3cr3t https://example.org/\n", "s3cr3t", both[1:]},
		{"script", "\tsshpass -p s3cr3t ssh host\n", "s3cr3t", both[1:]},
		// On more than one line.
		{"YAML, block", "password: |\n  s3cr3t\n\n  s3cr3t\nother: 1\n", "s3cr3t", both},
		{"YAML, block in a list", "  - token: >-  # folded\n      s3cr3t\n    other: 1\n", "s3cr3t", both},
		{"YAML, block with a tag", "secret: !!binary |\n  s3cr3t\n", "s3cr3t", both},
		{"key behind a certificate", "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n-----BEGIN PGP PRIVATE KEY BLOCK-----\ns3cr3t\n" +
			"-----END PGP PRIVATE KEY BLOCK-----\n", "s3cr3t", both},
		{"quoted", "password = \"first\ns3cr3t\n\"\nother = 1\n", "s3cr3t", both},
		{"quoted, singly", "TOKEN='first\ns3cr3t'\nother=1\n", "s3cr3t", both},
		{"continued", "password = \\\n  s3cr3t\n", "s3cr3t", both},
		{"continued twice", "TOKEN=first\\\ns3cr3t\\\ns3cr3t\nother=1\n", "s3cr3t", both},
		{"option of a list", "args:\n- --token\n- s3cr3t\n", "s3cr3t", both},
		{"option of JSON", "\"args\": [\n \"--password\",\n \"s3cr3t\"\n]\n", "s3cr3t", both},
		{"option of a script", "app --api-key \\\n  s3cr3t \\\n  --other\n", "s3cr3t", both},
		{"variable of a pod", "env:\n- name: DB_PASSWORD\n  value: s3cr3t\n", "s3cr3t", both},
		{"variable of a task", "{\n \"name\": \"DB_PASSWORD\",\n \"value\": \"s3cr3t\"\n}\n", "s3cr3t", both},
		{"PuTTY", "PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 1\n" + "AAABAQs3cr3tAbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQ\ns3cr3t==\n", "s3cr3t", both},
	} {
		for i, redact := range row.redact {
			texts := []string{row.text, "before: 1\n" + row.text + "after: 1\n", strings.ReplaceAll(row.text, row.secret, "an0ther") + "after: 1\n"}
			for _, text := range texts {
				other := strings.Replace(text, "after: 1", "after: 2", 1)
				for _, change := range [][2]string{{"", text}, {text, ""}, {text, other}, {texts[0], texts[2]}, {texts[1], texts[2]}} {
					diff := unifiedDiff(change[0], change[1], redact)
					if strings.Contains(diff, row.secret) || diff == "" && change[0] != change[1] {
						t.Errorf("%s, redactor %d, %q to %q:\n%s", row.name, i, change[0], change[1], diff)
					}
				}
			}
		}
	}
}

// TestThatASecretHasChangedIsShown has it differ without what it was.
func TestThatASecretHasChangedIsShown(t *testing.T) {
	diff := unifiedDiff("user=a\npassword=old\n", "user=a\npassword=new\n", host.RedactText)
	if diff != "--- before\n+++ after\n@@ -1,2 +1,2 @@\n user=a\n-password=[redacted]\n+password=[redacted]\n" {
		t.Error(diff)
	}
}

// TestWhatIsNoSecretIsShown has diffs be of use.
func TestWhatIsNoSecretIsShown(t *testing.T) {
	certificate, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}},
		&x509.Certificate{Subject: pkix.Name{CommonName: "x"}}, signer(t).Public(), signer(t))
	must(t, err)
	for name, text := range map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})) + "after: 1\n",
		"unit":        "[Unit]\nDescription=x\nAfter=network.target\n\n[Service]\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\nRestart=on-failure\nLoadCredential=db:/etc/creds/db\nPassCredentials=yes\nUser=www-data\n",
		"crontab":     "17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n25 6\t* * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }\n",
		"PAM":         "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\npassword\trequisite\t\t\tpam_deny.so\n",
		"sudoers":     "Defaults\tenv_reset\nroot\tALL=(ALL:ALL) ALL\n%sudo\tALL=(ALL:ALL) NOPASSWD: ALL\na ALL = PASSWD: /bin/a, NOPASSWD: SETENV: /bin/b\n@includedir /etc/sudoers.d\n",
		"sums":        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
		"paths":       "/usr/lib/x86_64-linux-gnu/Some/Very/Long/Path/With/Names/And/Numbers/123\n",
		"script":      "#!/bin/sh\nset -e\nif [ \"$1\" = \"x\" ]; then\n  echo 'It is' \"$1$2\" # don't\n  sed 's/^(\\s*)(\\S)/$1$start_format$2/'\nfi\nfor f in *; do\n  rm -f -- \"$f\"\ndone\n",
		"YAML":        "a: |\n  text\n  more\nname: DB_HOST\nvalue: db\n- --verbose\n- other\n- --password\n- --verbose\n",
		"hosts":       "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n",
		"nsswitch":    "passwd:         files systemd\nshadow:         files systemd\npasswd: sss [NOTFOUND=return] files mine\n",
	} {
		diff := unifiedDiff("", text, host.RedactText)
		for line := range strings.Lines(text) {
			if !strings.Contains(diff, "+"+line) {
				t.Errorf("%s: %q is not shown", name, line)
			}
		}
	}
}

func signer(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

// TestWhatFollowsASecretIsShown has them end where they do.
func TestWhatFollowsASecretIsShown(t *testing.T) {
	for name, text := range map[string]string{
		"key":             "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nafter: 1\n",
		"key on one line": `"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"` + "\nafter: 1\n",
		"rest of a key":   "s3cr3tAbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQ\ns3cr3t==\nafter: 1\n",
		"block":           "token: |\n  s3cr3t\nafter: 1\n",
		"empty block":     "token: |\nafter: 1\n",
		"quotation":       "token=\"a\nb\"\nafter: 1\n",
		"continuation":    "token=a\\\nb\nafter: 1\n",
		"option":          "- --token\n- s3cr3t\nafter: 1\n",
		"name":            "- name: TOKEN\n  value: s3cr3t\nafter: 1\n",
		"name, no value":  "- name: TOKEN\nafter: 1\n",
	} {
		diff := unifiedDiff("", text, host.RedactText)
		if !strings.Contains(diff, "+after: 1\n") || strings.Contains(diff, "s3cr3t") || strings.Contains(diff, "MIIE") {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// FuzzKeysInDiff puts a key into any text, changes it anywhere, and looks for lines of it.
func FuzzKeysInDiff(f *testing.F) {
	f.Add("a: 1\n", "b: 2\n", uint8(3), uint8(0))
	f.Add("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", uint8(0), uint8(1))
	f.Add("password = \"", "\"\n", uint8(27), uint8(2))
	f.Add("key: |\n", "next: |\n", uint8(1), uint8(3))
	key := privateKeys(f)["PKCS 8"]
	lines := strings.SplitAfter(strings.TrimSuffix(key, "\n"), "\n")
	f.Fuzz(func(t *testing.T, before, after string, at, how uint8) {
		if !isText([]byte(before+after)) || len(before)+len(after) > MaxText-len(key)-10 {
			return
		}
		i := int(at) % (len(lines) - 1)
		changed := slices.Clone(lines)
		switch how % 4 {
		case 0:
			changed = slices.Delete(changed, i, i+1)
		case 1:
			changed = slices.Insert(changed, 1+i, "other\n")
		case 2:
			changed = changed[i:]
		default:
			changed = changed[:i+1]
		}
		one, two := before+"\n"+key+"\n"+after, before+"\n"+strings.Join(changed, "")+"\n"+after
		for _, change := range [][2]string{{one, two}, {two, one}, {one, before}, {before, one}, {one, one + "x"}} {
			diff := unifiedDiff(change[0], change[1], host.RedactText)
			if shown := leaks(diff, lines[1:len(lines)-1]...); len(shown) > 0 && !strings.Contains(before+after, shown[0]) {
				t.Fatalf("%q of\n%s", shown, diff)
			}
		}
	})
}
