package host

import (
	"slices"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	f := func(in, want string) {
		t.Helper()
		args := strings.Split(in, "|")
		before := slices.Clone(args)
		got := Redact(args)
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("Redact(%q)\n got %q\nwant %q", in, s, want)
		}
		if !slices.Equal(args, before) {
			t.Errorf("Redact(%q) changed its argument", in)
		}
		if again := Redact(got); !slices.Equal(again, got) {
			t.Errorf("Redact(%q) twice = %q", got, again)
		}
	}
	// Options and variables by their names.
	f("app|--password=hunter2|--user=x", "app|--password=[redacted]|--user=x")
	f("app|--password=two words & more", "app|--password=[redacted]")
	f("app|--password|hunter2|-v", "app|--password|[redacted]|-v")
	f("app|--password|-hunter2", "app|--password|-hunter2") // an option follows: the password is asked for
	f("app|--password|-2hunter", "app|--password|[redacted]")
	f("app|-token|abc", "app|-token|[redacted]")
	f("app|--api-key=abc|--apiKey|def|--client_secret=ghi", "app|--api-key=[redacted]|--apiKey|[redacted]|--client_secret=[redacted]")
	f("env|PGPASSWORD=x y|psql|-h|db", "env|PGPASSWORD=[redacted]|psql|-h|db")
	f("env|MYSQL_PWD=x|DB_PASS=y|AWS_SECRET_ACCESS_KEY=z|mysql", "env|MYSQL_PWD=[redacted]|DB_PASS=[redacted]|AWS_SECRET_ACCESS_KEY=[redacted]|mysql")
	f("java|-Dspring.datasource.password=x|-jar|a.jar", "java|-Dspring.datasource.password=[redacted]|-jar|a.jar")
	f("app|--set|global.auth.password=x", "app|--set|global.auth.password=[redacted]")
	// Names about a secret, not of one.
	for _, same := range []string{
		"app|--password-file=/run/p|--token-path|/run/t|--no-password|x",
		"docker|login|--password-stdin|registry.example.org",
		"aws|secretsmanager|get-secret-value|--secret-id|prod/db",
		"llm|--max-tokens|100", "env|PWD=/root|OLDPWD=/tmp|bash", "app|--bypass|x", "gpg|--passphrase-fd|0",
		"cat|/etc/passwd", "passwd|root", "ls|-la|/root/.ssh", "sh|-c|cat /etc/shadow | grep root",
		"nginx|-g|daemon off;", "docker|run|-p|8080:80|-p9090:90|nginx:latest", "docker|run|example/secret-tool:1.2",
		"ssh|-p|2222|host", "mkdir|-p|/a/b", "cp|-pr|a|b", "curl|https://host:8080/@scope/pkg", "curl|-u|alice|https://h/",
		"aws|get|arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db", "git|show|da39a3ee5e6b4b0d3255bfef95601890afd80709",
		"psql|postgres://alice@db/x", "mysql|-p|shop", "python3|-c|print('hello world')", "",
		"/usr/sbin/sshd -D [listener] 0 of 10-100 startups", "git|clone|git@github.com:a/b.git",
	} {
		f(same, same)
	}
	// Tools.
	f("mysql|-uroot|-pSECRET|shop", "mysql|-uroot|-p[redacted]|shop")
	f("/usr/bin/mysqldump|-p'a b'|shop", "/usr/bin/mysqldump|-p[redacted]|shop")
	f("sudo|mariadb-dump|-pSECRET", "sudo|mariadb-dump|-p[redacted]")
	f("sshpass|-p|x|ssh|-p|22|h", "sshpass|-p|[redacted]|ssh|-p|22|h")
	f("sshpass|-px|ssh|h", "sshpass|-p[redacted]|ssh|h")
	f("redis-cli|-h|r|-a|x|ping", "redis-cli|-h|r|-a|[redacted]|ping")
	f("redis-cli|config|set|requirepass|x", "redis-cli|config|set|requirepass|[redacted]")
	f("aws|configure|set|aws_secret_access_key|x", "aws|configure|set|aws_secret_access_key|[redacted]")
	f("curl|-u|alice:x|-ualice:y|--user|bob:z|--user=c:d|https://h/", "curl|-u|alice:[redacted]|-ualice:[redacted]|--user|bob:[redacted]|--user=c:[redacted]|https://h/")
	f("docker|login|-u|a|-p|x|registry", "docker|login|-u|a|-p|[redacted]|registry")
	f("ldapsearch|-D|cn=a|-w|x|-b|dc=b", "ldapsearch|-D|cn=a|-w|[redacted]|-b|dc=b")
	f("smbclient|-U|a%x|//h/s", "smbclient|-U|a%[redacted]|//h/s")
	f("openssl|rsa|-passin|pass:x|-in|k.pem", "openssl|rsa|-passin|pass:[redacted]|-in|k.pem")
	f("mount|-o|username=a,password=b|//h/s", "mount|-o|username=a,password=[redacted]|//h/s")
	// Scripts.
	f("sh|-c|PGPASSWORD=x psql -c 'select 1'", "sh|-c|PGPASSWORD=[redacted] psql -c 'select 1'")
	f("bash|-lc|cd /srv && mysql -u root -pSECRET shop < dump.sql", "bash|-lc|cd /srv && mysql -u root -p[redacted] shop < dump.sql")
	f(`sh|-c|su - app -c 'curl -u a:b https://h/'; ls -p x`, `sh|-c|su - app -c 'curl -u a:[redacted] https://h/'; ls -p x`)
	f(`sh|-c|curl -H "Authorization: Bearer abc.def" https://h/ -o out`, `sh|-c|curl -H "Authorization: Bearer [redacted]" https://h/ -o out`)
	f("sh|-c|chpasswd <<< root:hunter2", "sh|-c|chpasswd <<< root:[redacted]")
	f(`sh|-c|app --password "two words" --next`, `sh|-c|app --password [redacted] --next`)
	// URLs, headers, JSON, connection strings, SQL.
	f("git|clone|https://alice:x@h/r.git", "git|clone|https://alice:[redacted]@h/r.git")
	f("app|postgres://a:p@ss/w@db:5432/x?sslmode=off", "app|postgres://a:[redacted]@ss/w@db:5432/x?sslmode=off")
	f("app|amqp://a:p/w@mq//", "app|amqp://a:[redacted]@mq//")
	f("app|redis://:x@r:6379/0", "app|redis://:[redacted]@r:6379/0")
	f("git|clone|https://0123456789abcdef0123@h/r", "git|clone|https://[redacted]@h/r")
	f("app|a:b@tcp(db:3306)/x", "app|a:[redacted]@tcp(db:3306)/x")
	f("curl|https://h/?a=1&access_token=x&b=2", "curl|https://h/?a=1&access_token=[redacted]&b=2")
	f("curl|https://b/?sv=1&sig=abc%3D", "curl|https://b/?sv=1&sig=[redacted]")
	f("curl|-H|X-Api-Key: x y|-H|Accept: */*", "curl|-H|X-Api-Key: [redacted]|-H|Accept: */*")
	f("curl|-H|Cookie: session=1; b=2", "curl|-H|Cookie: [redacted]")
	f(`curl|-d|{"user":"a","password":"x y","n":1}`, `curl|-d|{"user":"a","password":"[redacted]","n":1}`)
	f("app|Server=db;User Id=a;Password=x;Encrypt=yes", "app|Server=db;User Id=a;Password=[redacted];Encrypt=yes")
	f("app|AccountName=a;AccountKey=x==;EndpointSuffix=b", "app|AccountName=a;AccountKey=[redacted];EndpointSuffix=b")
	f("psql|-c|ALTER USER a WITH PASSWORD 'x y'", "psql|-c|ALTER USER a WITH PASSWORD '[redacted]'")
	f("mysql|-e|create user a identified by 'x'", "mysql|-e|create user a identified by '[redacted]'")
	// Shapes.
	f("x|AKIAIOSFODNN7EXAMPLE", "x|[redacted]")
	f("x|wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "x|[redacted]")
	f("x|ghp_0123456789abcdefghijABCDEFGHIJ012345", "x|[redacted]")
	f("x|eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "x|[redacted]")
	f("x|-----BEGIN RSA PRIVATE KEY-----\nabc", "x|[redacted]")
	f("x|send bearer AbCdEf123456 to them", "x|send bearer [redacted] to them")
}

func FuzzRedact(f *testing.F) {
	f.Add("sh\x00-c\x00mysql -pSECRET 'a b", "hunter2")
	f.Add("curl\x00-u\x00a:b\x00https://u:p@h/?token=x", "p'\"w")
	f.Fuzz(func(t *testing.T, line, secret string) {
		args := strings.Split(line, "\x00")
		if got := Redact(args); len(got) != len(args) {
			t.Fatalf("Redact(%q) = %q: %d arguments, want %d", args, got, len(got), len(args))
		}
		if secret == "" || secret[0] == '-' {
			return
		}
		// What is left of a command line must not depend on the secret.
		for _, args := range [][]string{{"x", "--password=%"}, {"x", "--password", "%"}, {"mysql", "-p%"}, {"curl", "-u", "u:%"}} {
			with := func(secret string) []string {
				var out []string
				for _, arg := range args {
					out = append(out, strings.ReplaceAll(arg, "%", secret))
				}
				return Redact(out)
			}
			if got, want := with(secret), with("hunter2"); !slices.Equal(got, want) {
				t.Fatalf("secret %q in %q: %q, want %q", secret, args, got, want)
			}
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	args := strings.Split("/usr/bin/curl|-s|-H|Authorization: Bearer abcdef123456|https://user:pass@example.org/path?token=x", "|")
	b.ReportAllocs()
	for b.Loop() {
		Redact(args)
	}
}
