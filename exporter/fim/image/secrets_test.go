package image

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/crypto/ssh"
)

// letters are random ones, the same each time, so that no text that looks like a secret stands in this repository.
func letters(n int, seed uint64) string {
	return pick(n, seed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
}

func pick(n int, seed uint64, from string) string {
	r := mathrand.New(mathrand.NewPCG(seed, 7))
	text := make([]byte, n)
	for i := range text {
		text[i] = from[r.IntN(len(from))]
	}
	return string(text)
}

const (
	hexDigits = "0123456789abcdef"
	base32    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

func scanned(t testing.TB, path, text string) []secret {
	t.Helper()
	rules, err := secretRules()
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := newSecretScanner(rules).scan(path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func rulesOf(found []secret) []string {
	var rules []string
	for _, s := range found {
		rules = append(rules, fmt.Sprintf("%s:%d", strings.TrimPrefix(s.rule, "secret/"), s.line))
	}
	return rules
}

func pemOf(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// TestSecrets are secrets as their makers document them, and what only looks like one.
func TestSecrets(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	rsaText := pemOf(t, "PRIVATE KEY", pkcs8, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := x509.MarshalECPrivateKey(ecKey)
	ecText := pemOf(t, "EC PRIVATE KEY", ec, err)
	public, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	openSSH, err := ssh.MarshalPrivateKey(edKey, "somebody@example")
	if err != nil {
		t.Fatal(err)
	}
	publicDER, err := x509.MarshalPKIXPublicKey(public)
	publicText := pemOf(t, "PUBLIC KEY", publicDER, err)
	inJSON, _ := json.Marshal(map[string]string{"private_key": rsaText})
	part := func(v any) string { b, _ := json.Marshal(v); return base64.RawURLEncoding.EncodeToString(b) }
	jwt := part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(map[string]any{"sub": "1234567890", "name": "Somebody", "iat": 1516239022}) + "." + letters(43, 9)

	for _, test := range []struct{ name, path, text, want string }{
		{"AWS access key", "/app/config", "aws_access_key_id = AKIA" + pick(16, 1, base32) + "\n", "aws-access-token:1"},
		{"AWS session key", "/app/config", "\n\nkey: ASIA" + pick(16, 2, base32), "aws-access-token:3"},
		{"AWS secret key", "/root/.aws/credentials", "aws_secret_access_key = " + letters(40, 3) + "\n", "generic-api-key:1"},
		{"GitHub token", "/app/x.sh", "curl -s https://ghp_" + letters(36, 4) + "@github.com/x\n", "github-pat:1"},
		{"GitHub fine-grained token", "/a", "GH=github_pat_" + letters(82, 5) + "\n", "github-fine-grained-pat:1"},
		{"GitLab token", "/a", "x\nglpat-" + letters(20, 6) + "\n", "gitlab-pat:2"},
		{"Slack bot token", "/a", `token: "xoxb-` + pick(12, 7, "0123456789") + "-" + pick(12, 8, "0123456789") + "-" + letters(24, 9) + `"`, "slack-bot-token:1"},
		{"Slack webhook", "/a", "https://hooks.slack.com/services/T" + letters(8, 1) + "/B" + letters(8, 2) + "/" + letters(24, 3) + "\n", "slack-webhook-url:1"},
		{"Stripe key", "/a", "STRIPE=sk_live_" + letters(24, 10) + "\n", "stripe-access-token:1"},
		{"Google API key", "/a", "key=AIza" + letters(35, 11) + "\n", "gcp-api-key:1"},
		{"npm token", "/root/.npmrc", "//registry.npmjs.org/:_authToken=npm_" + pick(36, 12, "abcdefghijklmnopqrstuvwxyz0123456789") + "\n", "npm-access-token:1"},
		{"PyPI token", "/a", "password = pypi-AgEIcHlwaS5vcmc" + letters(70, 13) + "\n", "pypi-upload-token:1"},
		{"Hugging Face token", "/a", "HF=hf_" + pick(34, 14, "abcdefghijklmnopqrstuvwxyz") + "\n", "huggingface-access-token:1"},
		{"Twilio key", "/a", "SK" + pick(32, 15, hexDigits) + "\n", "twilio-api-key:1"},
		{"SendGrid key", "/a", "x SG." + letters(22, 16) + "." + letters(43, 17) + "\n", "sendgrid-api-token:1"},
		{"Vault token", "/a", "hvs." + letters(95, 18) + "\n", "vault-service-token:1"},
		{"DigitalOcean token", "/a", "dop_v1_" + pick(64, 19, hexDigits) + "\n", "digitalocean-pat:1"},
		{"JSON web token", "/a", "x = " + jwt + "\n", "jwt:1"},
		{"a password in a program", "/app/a.py", "DB_PASSWORD = '" + letters(24, 20) + "'\n", "generic-api-key:1"},
		{"a long one", "/app/a.py", "api_key = '" + letters(3000, 34) + "'\n", "generic-api-key:1"},
		{"a Sonar token, which is the second group", "/a", "sonar_token=" + letters(40, 35) + "\n", "sonar-api-token:1"},
		{"RSA key", "/app/key.pem", rsaText, "private-key:1"},
		{"EC key", "/app/key.pem", "# the key\n" + ecText, "private-key:2"},
		{"OpenSSH key", "/root/.ssh/id_ed25519", string(pem.EncodeToMemory(openSSH)), "private-key:1"},
		{"RSA key in JSON", "/app/service-account.json", string(inJSON), "private-key:1"},
		{"a key store", "/app/server.p12", "\x30\x82", "pkcs12-file:0"},
		{"a Kubernetes secret", "/app/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\ndata:\n  password: " + base64.StdEncoding.EncodeToString([]byte(letters(18, 21))) + "\n", "kubernetes-secret-yaml:6"},
		{"in a program", "/usr/bin/app", "\x7fELF\x00\x00\x00ghp_" + letters(36, 22) + "\x00", "github-pat:1"},
		{"two in one line", "/a", "ghp_" + letters(36, 23) + " ghp_" + letters(36, 24) + "\n", "github-pat:1 github-pat:1"},

		{"nothing", "/a", "", ""},
		{"a public key", "/a.pem", publicText, ""},
		{"a certificate", "/a.pem", "-----BEGIN CERTIFICATE-----\n" + strings.Repeat(letters(64, 25)+"\n", 10) + "-----END CERTIFICATE-----\n", ""},
		{"an AWS key that is too short", "/a", "id = AKIA" + pick(15, 26, base32) + "\n", ""},
		{"an AWS key with other digits", "/a", "id = AKIA" + pick(15, 27, base32) + "1\n", ""},
		{"an AWS key that is longer", "/a", "id = AKIA" + pick(17, 28, base32) + "\n", ""},
		{"an AWS key that is part of a word", "/a", "id = XAKIA" + pick(16, 28, base32) + "\n", ""},
		{"AWS' own example", "/a", "id = AKIA" + "IOSFODNN7" + "EXAMPLE\n", ""},
		{"a GitHub token that is too short", "/a", "ghp_" + letters(35, 29) + "\n", ""},
		{"a GitHub token without entropy", "/a", "ghp_" + strings.Repeat("a", 36) + "\n", ""},
		{"a Stripe publishable key", "/a", "pk_live_" + letters(24, 30) + "\n", ""},
		{"a variable's name", "/a.sh", "export DB_PASSWORD=${DB_PASSWORD}\npassword=$PASSWORD\n", ""},
		{"a template", "/a.yaml", "password: {{ .Values.password }}\n", ""},
		{"words", "/a", "The access token and the secret key of an API are passwords.\n", ""},
		{"code", "/a.go", "token := parser.next()\nkey, ok := keys[name]\n", ""},
		{"the two lines in a program", "/usr/bin/ssh", "\x7fELF\x00-----BEGIN OPENSSH PRIVATE KEY-----\x00" + strings.Repeat("some text\x00", 10) + "-----END OPENSSH PRIVATE KEY-----\x00", ""},
		{"the two lines in a manual", "/a.md", "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("your key comes here, line by line\n", 3) + "-----END PRIVATE KEY-----\n", ""},
		{"an assignment in a program", "/usr/bin/app", "\x7fELF\x00\x00password=" + letters(24, 31) + "\x00", ""},
		{"an example in a library", "/usr/lib/python3.11/test/x.py", "ghp_" + letters(36, 32) + "\n", ""},
		{"a private key in one of the system's programs", "/usr/lib/x86_64-linux-gnu/libgnutls.so.30", "\x7fELF\x00" + rsaText, ""},
		{"a private key in another program", "/app/server", "\x7fELF\x00" + rsaText, "private-key:1"},
		{"a private key below the system's libraries", "/usr/lib/ssl/key.pem", rsaText, "private-key:1"},
		{"a list of packages", "/var/lib/apt/lists/x_Packages", "Key: " + letters(40, 40) + "\n", ""},
		{"a picture", "/app/a.png", "\x89PNG ghp_" + letters(36, 33) + "\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := scanned(t, test.path, test.text)
			if got := strings.Join(rulesOf(found), " "); got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

func TestSecretsEverywhere(t *testing.T) {
	layer := pack(t, file("app/node_modules/x/index.js", "ghp_"+letters(36, 1), 0o644))
	for everywhere, want := range map[bool]int{false: 0, true: 1} {
		r := checked(t, written(t, layer), Checks{Secrets: Secrets{Everywhere: everywhere}}, Options{})
		if len(r.Findings) != want {
			t.Errorf("everywhere %t: %v, want %d findings", everywhere, lines(r), want)
		}
	}
}

// TestSecretsAtEveryPlaceOfLongFiles moves secrets over the borders of what is looked at at once.
func TestSecretsAtEveryPlaceOfLongFiles(t *testing.T) {
	rules, err := secretRules()
	if err != nil {
		t.Fatal(err)
	}
	s := newSecretScanner(rules)
	token := "ghp_" + letters(36, 1)
	password := "db_password = '" + letters(24, 2) + "'\n"
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	private := pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
	filler := bytes.Repeat([]byte("The quick brown fox jumps over it.\n"), 20_000)
	border := scanChunk + maxReach
	for _, place := range []int{0, 1, border - 4000, border - 3500, border - 100, border - 41, border - 40, border - 20, border - 4, border - 1, border, border + 1,
		border + maxReach - 30, border + maxReach, 2*border - 20, len(filler) - 1} {
		for _, test := range []struct{ text, rule string }{{token, "github-pat"}, {password, "generic-api-key"}, {private, "private-key"}} {
			text := slices.Concat(filler[:place], []byte("\n"+test.text+"\n"), filler[place:])
			found, more, err := s.scan("/app/x", iotest.HalfReader(bytes.NewReader(text)))
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%s:%d", test.rule, bytes.Count(text[:place+1], []byte("\n"))+1)
			if got := rulesOf(found); len(got) != 1 || got[0] != want || more != 0 {
				t.Errorf("at %d: %q and %d more, want %s", place, got, more, want)
			}
		}
	}
}

func TestMoreSecretsThanAnybodyReads(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "ghp_%s\n", letters(36, uint64(i)))
	}
	r := checked(t, written(t, pack(t, file("a", text.String(), 0o644))), Checks{}, Options{})
	if n := len(r.Findings); n != maxFileSecrets+1 {
		t.Errorf("%d findings, want %d and one that tells of more", n, maxFileSecrets)
	}
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Check == manySecrets && f.Found == "900 secrets more than the 100 that are told"
	}) {
		t.Errorf("nothing tells of the others")
	}
}

func TestScanTellsOfReadErrors(t *testing.T) {
	rules, err := secretRules()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := newSecretScanner(rules).scan("/a", iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("hello")))); err != iotest.ErrTimeout {
		t.Errorf("%v, want ErrTimeout", err)
	}
}

// TestSecretsAreNeverWritten looks for planted secrets, whole or in part, in all that is written.
func TestSecretsAreNeverWritten(t *testing.T) {
	planted := []string{letters(36, 1), letters(24, 2), letters(40, 3), letters(30, 4), letters(32, 5), letters(22, 6), letters(20, 7)}
	i := testImage{
		layers: [][]byte{pack(t, file("a", "ghp_"+planted[0]+"\npassword = '"+planted[1]+"'\n", 0o644), file("etc/shadow", "root:$6$"+planted[2]+":1:0:99999:7:::\n", 0o640)),
			pack(t, file("b", "", 0o644))},
		env:    []string{"DB_PASSWORD=" + planted[3], "PATH=/bin"},
		labels: map[string]string{"api_token": planted[4]},
		history: []map[string]any{{"created_by": "RUN |1 TOKEN=" + planted[5] + " /bin/sh -c make"}, {"created_by": "RUN curl -H 'Authorization: Bearer ghp_" + planted[0] + "' https://example.com"},
			{"created_by": "ENV ADMIN_PASSWORD=" + planted[6], "empty_layer": true}},
	}
	r := checked(t, ociLayout(t, i, plain).write(t), Checks{}, Options{})
	var text, inJSON bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteJSON(&inJSON); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{text.String(), inJSON.String()} {
		for n, s := range planted {
			for at := 0; at+8 <= len(s); at++ {
				if strings.Contains(out, s[at:at+8]) {
					t.Fatalf("secret %d is in\n%s", n, out)
				}
			}
		}
	}
	want := []string{"config-secret config:env:DB_PASSWORD", "config-secret config:history:0", "config-secret config:history:2", "config-secret config:label:api_token",
		"password-hash /etc/shadow", "secret/curl-auth-header config:history:1", "secret/generic-api-key /a", "secret/github-pat /a", "secret/github-pat config:history:1"}
	if got := lines(r); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestFingerprintsTellSecretsApart(t *testing.T) {
	a, b := scanned(t, "/a", "ghp_"+letters(36, 1)+"\n"), scanned(t, "/b", "x = ghp_"+letters(36, 1)+"\n")
	c := scanned(t, "/a", "ghp_"+letters(36, 2)+"\n")
	if a[0].fingerprint != b[0].fingerprint || a[0].fingerprint == c[0].fingerprint || len(a[0].fingerprint) != 6 {
		t.Errorf("fingerprints %s, %s and %s: want the first two alike and the third another", a[0].fingerprint, b[0].fingerprint, c[0].fingerprint)
	}
}

func TestConfigurationsThatOnlySoundSecret(t *testing.T) {
	i := testImage{layers: [][]byte{pack(t)}, env: []string{"TOKENIZERS_PARALLELISM=true", "GPG_KEY=" + pick(40, 1, "0123456789ABCDEF"), "PASSWORD_FILE=/run/secrets/x", "DB_PASSWORD=", "API_KEY=${API_KEY}",
		"PYTHON_SHA256=" + pick(64, 2, hexDigits), "PATH=/usr/bin:/bin", "KEYCLOAK_VERSION=1.2.3"},
		history: []map[string]any{{"created_by": "RUN |2 VERSION=1 GOTOOLCHAIN=local /bin/sh -c apt-get update && apt-get install -y curl"}}}
	if r := checked(t, ociLayout(t, i, plain).write(t), Checks{}, Options{}); len(r.Findings) != 0 {
		t.Errorf("found %v, want nothing", lines(r))
	}
}

func TestShadow(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"locked accounts", "root:*:19000:0:99999:7:::\ndaemon:!:19000::::::\nbin:!*:1::::::\nx:!!:1::::::\n", ""},
		{"a hash", "root:$y$j9T$" + letters(22, 1) + "$" + letters(43, 2) + ":19000:0:99999:7:::\n", "password-hash:1"},
		{"a locked hash", "a:*:1::::::\nroot:!$6$" + letters(8, 1) + "$" + letters(86, 2) + ":19000:0:99999:7:::\n", "password-hash:2"},
		{"a hash of DES", "root:ab" + letters(11, 3) + ":1:0:99999:7:::\n", "password-hash:1"},
		{"no password", "root::19000:0:99999:7:::\n", "empty-password:1"},
		{"a long line", "a:" + strings.Repeat("x", 10_000) + ":1::::::\nroot::1::::::\n", "empty-password:2"},
		{"no shadow at all", "hello\n\n#root::::::::\n+::0:0:::\n:::::::::\n", "empty-password:4"},
	} {
		found, err := scanShadow(strings.NewReader(test.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(rulesOf(found), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if found, err := scanShadow(strings.NewReader("root:x:0:0:root:/root:/bin/sh\n")); err != nil || found != nil {
		t.Errorf("an entry of /etc/passwd: %v, %v", found, err)
	}
	if _, err := scanShadow(iotest.ErrReader(io.ErrUnexpectedEOF)); err != io.ErrUnexpectedEOF {
		t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
	}
}
