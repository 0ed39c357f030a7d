package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// packages installs, upgrades and removes a package of our own, which brings what packages bring, and does not need the
// mirror.
func (q *quiet) packages(t *testing.T) {
	needsProgram(t, "dpkg", "dpkg-deb", "mandb", "update-alternatives", "deb-systemd-helper", "adduser", "deluser")
	t.Cleanup(func() { _ = exec.Command("dpkg", "--purge", everyday).Run() })
	for _, version := range []string{"1", "2"} {
		q.run(t, "dpkg", "-i", q.debianPackage(t, version))
	}
	q.run(t, "dpkg", "--remove", everyday)
	q.run(t, "dpkg", "--purge", everyday)
}

// debianPackage makes one with a program, a manual page, a cron table, a service, a user of its own and an alternative.
func (q *quiet) debianPackage(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control": "Package: " + everyday + "\nVersion: " + version + "\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n" +
			"Description: what a test of Yagura installs\n",
		"DEBIAN/conffiles": "/etc/cron.d/" + everyday + "-package\n",
		"DEBIAN/triggers":  "activate-noawait ldconfig\n",
		"DEBIAN/postinst": `#!/bin/sh
set -e
adduser --quiet --system --group --no-create-home --home /nonexistent _everyday
update-alternatives --install /usr/bin/everyday-tool everyday-tool /usr/bin/` + everyday + ` 10
deb-systemd-helper enable ` + everyday + `.service
chown _everyday /var/lib/` + everyday + `
`,
		"DEBIAN/prerm": `#!/bin/sh
set -e
[ "$1" != remove ] || update-alternatives --remove everyday-tool /usr/bin/` + everyday + `
`,
		"DEBIAN/postrm": `#!/bin/sh
set -e
[ "$1" = purge ] || exit 0
deb-systemd-helper purge ` + everyday + `.service
deluser --quiet --system _everyday
`,
		"usr/bin/" + everyday:                           "#!/bin/sh\necho every day\n",
		"usr/share/man/man1/" + everyday + ".1":         ".TH EVERYDAY 1\n.SH NAME\n" + everyday + " \\- what a test installs\n",
		"etc/cron.d/" + everyday + "-package":           "# version " + version + "\n17 3 1 1 * root /bin/true\n",
		"lib/systemd/system/" + everyday + ".service":   "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
		"usr/lib/" + everyday + "/libeveryday.so.1":     "no library\n",
		"var/lib/" + everyday + "/state":                version + "\n",
		"var/spool/cron/crontabs/" + everyday + ".keep": "",
	} {
		if err := os.MkdirAll(filepath.Dir(dir+"/"+name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/"+name, text)
	}
	for _, name := range []string{"DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm", "usr/bin/" + everyday} {
		if err := os.Chmod(dir+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	deb := dir + ".deb"
	q.run(t, "dpkg-deb", "--root-owner-group", "--build", dir, deb)
	return deb
}

// mirror installs and removes small packages, and installs anew those that many eyes are upon.
func (q *quiet) mirror(t *testing.T) {
	needsProgram(t, "apt-get")
	apt := func(args ...string) ([]byte, error) {
		cmd := bounded(t, "apt-get", append([]string{"-q", "-y", "-o", "DPkg::Lock::Timeout=60", "-o", "Acquire::http::Timeout=10"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		return cmd.CombinedOutput()
	}
	if out, err := apt("update", "--error-on=any"); err != nil {
		t.Skipf("the mirror cannot be reached: %v\n%s", err, out)
	}
	for _, args := range [][]string{
		{"install", "--no-install-recommends", "--reinstall", "hello", "figlet", "sudo", "passwd"},
		{"remove", "figlet"},
	} {
		if out, err := apt(args...); err != nil {
			t.Fatalf("apt-get %v: %v\n%s", args, err, out)
		}
	}
	q.asUser(t, q.home, nil, "/usr/bin/hello")
	if out, err := apt("purge", "hello", "figlet"); err != nil {
		t.Fatalf("apt-get purge: %v\n%s", err, out)
	}
}

// compilers builds, tests and runs a Go module without a cache, and a program in C.
func (q *quiet) compilers(t *testing.T) {
	needsProgram(t, "go", "gcc")
	for name, text := range map[string]string{
		"go.mod":        "module hello\n\ngo 1.24\n",
		"hello.go":      "package main\n\nfunc main() { println(\"hello\") }\n",
		"hello_test.go": "package main\n\nimport \"testing\"\n\nfunc TestMain1(t *testing.T) { main() }\n",
		"c/hello.c":     "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n",
	} {
		q.asUser(t, q.home, nil, "/bin/sh", "-c", `mkdir -p src/c && printf %s "$1" >"src/$2"`, "sh", text, name)
	}
	src := q.home + "/src"
	env := []string{"GOCACHE=" + q.home + "/.cache/go-build", "GOFLAGS=-mod=mod", "GOPATH=" + q.home + "/go", "GOTOOLCHAIN=local"}
	q.asUser(t, src, env, "go", "build", "-o", "hello", ".")
	q.asUser(t, src, env, "go", "test", "-vet=off", ".")
	q.asUser(t, src, nil, "./hello")
	q.asUser(t, src, nil, "gcc", "-O2", "-o", "hello-c", "c/hello.c")
	q.asUser(t, src, nil, "./hello-c")
}

// nginx serves under load, is told to read its configuration anew, and has its log rotated.
func (q *quiet) nginx(t *testing.T) {
	needsProgram(t, "nginx", "wrk", "logrotate", "gzip")
	address := freeAddress(t)
	write(t, q.dir+"/index.html", strings.Repeat("every day\n", 100))
	config := write(t, q.dir+"/etc/nginx.conf", fmt.Sprintf(`
daemon off;
user %s;
worker_processes 2;
pid %s/nginx.pid;
error_log %[2]s/log/error.log;
events {}
http {
  access_log %[2]s/log/access.log;
  server { listen %[3]s; root %[2]s; }
}
`, everyday, q.dir, address))
	s := new(server).launch(t, "nginx", "-c", config)
	awaitTCP(t, address)
	load := exec.Command("wrk", "-t1", "-c8", "-d5s", "http://"+address+"/")
	var out bytes.Buffer
	load.Stdout = &out
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	q.run(t, "nginx", "-c", config, "-s", "reload")
	rotation := write(t, q.dir+"/etc/logrotate.conf", fmt.Sprintf(`
%s/log/*.log {
  rotate 3
  compress
  create 0640 root adm
  postrotate
    kill -USR1 $(cat %[1]s/nginx.pid)
  endscript
}
`, q.dir))
	q.run(t, "logrotate", "--force", "--state", q.dir+"/logrotate.state", rotation)
	if err := load.Wait(); err != nil || !strings.Contains(out.String(), "Requests/sec") {
		t.Errorf("wrk: %v: %s", err, out.String())
	}
	if err := s.end(t, syscall.SIGQUIT); err != nil {
		t.Errorf("nginx: %v", err)
	}
}

// freeAddress returns one of loopback at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func awaitTCP(t *testing.T, address string) {
	t.Helper()
	eventually(t, "somebody listens at "+address, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// sshKeys makes the keys of a server and a user. It is done before anybody watches.
func (q *quiet) sshKeys(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		return
	}
	q.run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", q.dir+"/etc/ssh_host_ed25519_key")
	q.asUser(t, q.home, nil, "/bin/sh", "-c", "mkdir -m 700 .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519 && cp .ssh/id_ed25519.pub .ssh/authorized_keys")
}

// logins come by SSH, of root and of the user, with and without a terminal; they copy files, and change who they are.
func (q *quiet) logins(t *testing.T) {
	needsProgram(t, "sshd", "ssh", "scp", "sudo", "su", "ssh-keygen")
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	config := write(t, q.dir+"/etc/sshd_config", fmt.Sprintf(`
ListenAddress %s
HostKey %s/etc/ssh_host_ed25519_key
PidFile none
UsePAM yes
PermitRootLogin prohibit-password
StrictModes no
AuthorizedKeysFile %s/.ssh/authorized_keys
Subsystem sftp /usr/lib/openssh/sftp-server
`, address, q.dir, q.home))
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		t.Fatal(err)
	}
	new(server).launch(t, sshd, "-D", "-e", "-f", config)
	awaitTCP(t, address)

	options := []string{"-q", "-F", "none", "-i", q.home + "/.ssh/id_ed25519", "-o", "StrictHostKeyChecking=accept-new",
		"-o", "UserKnownHostsFile=" + q.home + "/.ssh/known_hosts"}
	ssh := func(who, stdin string, more ...string) {
		t.Helper()
		cmd := bounded(t, "ssh", slices.Concat(options, []string{"-p", port, who + "@127.0.0.1"}, more)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "uid=") {
			t.Errorf("ssh %s %q: %v\n%s", who, more, err, out)
		}
	}
	ssh("root", "", "id; ls /; su "+everyday+" -c id")
	ssh(everyday, "", "id; ls -l; sudo -n id")
	ssh(everyday, "id; ls; sudo -n ls /root; sudo -n su - -c id; exit\n", "-tt")
	ssh("root", "id; su - "+everyday+" -c ls; exit\n", "-tt")
	q.run(t, "scp", slices.Concat(options, []string{"-P", port, q.dir + "/etc/sshd_config", everyday + "@127.0.0.1:copy"})...)
}

// rootfs makes what a container needs that runs a shell.
func (q *quiet) rootfs(t *testing.T) {
	t.Helper()
	for _, name := range []string{"dash", "ls", "id", "cat", "sleep", "date", "ps"} {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		files := []string{program}
		for _, word := range strings.Fields(q.run(t, "ldd", program)) {
			if strings.HasPrefix(word, "/") {
				files = append(files, word)
			}
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			to := q.dir + "/rootfs" + path
			if err := errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o755)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, dir := range []string{"/etc", "/proc", "/sys", "/dev", "/tmp", "/run"} {
		if err := os.MkdirAll(q.dir+"/rootfs"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, q.dir+"/rootfs/etc/passwd", "root:x:0:0:root:/root:/usr/bin/dash\napp:x:1000:1000::/:/usr/bin/dash\n")
}

// containers starts another runtime, and containers in the one that Yagura knows; it runs programs in them, and stops them.
func (q *quiet) containers(t *testing.T) {
	startContainerd(t)
	c := q.runtime
	c.importImage(t)
	for i := range 3 {
		c.ctr(t, "run", "--snapshotter", "native", "--rm", "--net-host", testImage, fmt.Sprint("short", i), "/guest", "300ms")
	}
	c.ctr(t, "run", "--snapshotter", "native", "--detach", testImage, "long", "/guest", "5m")
	c.ctr(t, "task", "exec", "--exec-id", "one", "long", "/guest", "50ms")

	shell, err := exec.LookPath("dash")
	if err != nil {
		t.Fatal(err)
	}
	c.ctr(t, "run", "--detach", "--memory-limit", "67108864", "--rootfs", q.dir+"/rootfs", "shell", shell, "-c",
		"id; ls -l /; cat /etc/passwd; date >/tmp/now; while :; do sleep 0.2; done")
	c.ctr(t, "task", "exec", "--exec-id", "two", "--user", "1000", "shell", shell, "-c", "ls /proc; cat /tmp/now")
	c.ctr(t, "task", "pause", "shell")
	c.ctr(t, "task", "resume", "shell")
	c.ctr(t, "task", "metrics", "shell")
	for _, name := range []string{"shell", "long"} {
		c.ctr(t, "task", "kill", "-s", "SIGKILL", name)
		eventually(t, name+" has stopped", func() bool { return strings.Contains(c.ctr(t, "task", "list"), "STOPPED") })
		c.ctr(t, "task", "delete", name)
		c.ctr(t, "container", "delete", name)
	}
}

// kubectl asks an API server as the client of that name does: it lists, watches, and asks for another protocol.
const kubectl = `package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	text, err := os.ReadFile(os.Getenv("HOME") + "/.kube/config")
	must(err)
	var config struct { // which may be written as JSON
		Server, Token string
		CA            string
	}
	must(json.Unmarshal(text, &config))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(config.CA))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	ask := func(method, path string, header ...string) *http.Response {
		r, err := http.NewRequest(method, config.Server+path, nil)
		must(err)
		r.Header.Set("Authorization", "Bearer "+config.Token)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		response, err := client.Do(r)
		must(err)
		return response
	}
	const pods = "/api/v1/namespaces/shop/pods"
	switch os.Args[1] {
	case "get":
		response := ask("GET", pods)
		io.Copy(os.Stdout, response.Body)
	case "watch":
		lines := bufio.NewScanner(ask("GET", pods+"?watch=1").Body)
		for lines.Scan() {
			fmt.Println(lines.Text())
		}
	case "exec":
		response := ask("POST", pods+"/cart-0/exec?command=id&stdout=1", "Connection", "Upgrade", "Upgrade", "SPDY/3.1")
		if response.StatusCode != http.StatusSwitchingProtocols {
			must(fmt.Errorf("%s", response.Status))
		}
		io.Copy(os.Stdout, response.Body.(io.Reader))
	}
}
`

// kubernetes is what a client and a server of its API have to say to each other.
func (q *quiet) kubernetes(t *testing.T) {
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer everyday":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case r.Header.Get("Upgrade") != "":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nuid=0(root)\n")
		case r.FormValue("watch") != "":
			for i := range 20 {
				fmt.Fprintf(w, `{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"cart-%d"}}}`+"\n", i)
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		default:
			fmt.Fprintln(w, `{"kind":"PodList","items":[`+strings.Repeat(`{"metadata":{"name":"cart-0"}},`, 500)+`{"metadata":{"name":"cart-1"}}]}`)
		}
	}))
	defer api.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	config := encode(t, map[string]string{"server": api.URL, "token": "everyday", "ca": string(ca)})
	q.asUser(t, q.home, nil, "/bin/sh", "-c", `mkdir -p .kube && umask 077 && printf %s "$1" >.kube/config`, "sh", string(config))
	for verb, want := range map[string]string{"get": "PodList", "watch": "cart-19", "exec": "uid=0"} {
		if out := q.asUser(t, q.home, nil, q.dir+"/bin/kubectl", verb); !strings.Contains(out, want) {
			t.Errorf("kubectl %s: %s, want %s", verb, out, want)
		}
	}
}

// monitoring is a Prometheus that scrapes an exporter.
func (q *quiet) monitoring(t *testing.T) {
	needsProgram(t, "prometheus", "prometheus-node-exporter")
	e := new(server).launch(t, "prometheus-node-exporter", "--web.listen-address=127.0.0.1:0").await(t)
	p := prometheus(t, e.addr, "")
	eventually(t, "Prometheus has scraped", func() bool { return len(p.query(t, "node_load1")) > 0 })
}

// housekeeping is what timers and packages have done now and then.
func (q *quiet) housekeeping(t *testing.T) {
	needsProgram(t, "systemd-tmpfiles", "update-ca-certificates", "ldconfig", "update-alternatives", "logrotate")
	// Some of what it is asked for needs a running systemd.
	if out, err := exec.Command("systemd-tmpfiles", "--create", "--root="+t.TempDir()).CombinedOutput(); err != nil {
		t.Logf("systemd-tmpfiles: %v\n%s", err, out)
	}
	q.run(t, "update-ca-certificates")
	q.run(t, "ldconfig")
	q.run(t, "update-alternatives", "--display", "awk")
	if out, err := exec.Command("logrotate", "--state", q.dir+"/logrotate.state", "/etc/logrotate.conf").CombinedOutput(); err != nil {
		t.Logf("logrotate: %v\n%s", err, out) // of what packages left behind
	}
}

// cron runs a table of ours each minute, and what is to be done daily.
func (q *quiet) cron(t *testing.T) everydayAct {
	t.Helper()
	a := everydayAct{name: "cron", programs: "cron run-parts dpkg-db-backup id"}
	if _, err := exec.LookPath("cron"); err != nil {
		return a
	}
	table := "/etc/cron.d/" + everyday
	t.Cleanup(func() { os.Remove(table) })
	apt := write(t, q.dir+"/etc/apt.conf", "APT::Periodic::RandomSleep \"0\";\n")
	write(t, table, fmt.Sprintf(`SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
APT_CONFIG=%s
* * * * * root id >/dev/null && cd / && run-parts --report /etc/cron.daily >/dev/null 2>&1; touch %s/cron-has-run
`, apt, q.dir))
	return a
}

// startCron starts it, and returns what waits for its first run.
func (q *quiet) startCron(t *testing.T) func(t *testing.T) {
	t.Helper()
	cron, err := exec.LookPath("cron")
	if err != nil {
		return func(t *testing.T) { needsProgram(t, "cron") }
	}
	s := new(server).launch(t, cron, "-f")
	return func(t *testing.T) {
		end := time.Now().Add(100 * time.Second)
		for time.Now().Before(end) {
			if _, err := os.Stat(q.dir + "/cron-has-run"); err == nil {
				return
			}
			select {
			case <-s.ended:
				t.Fatalf("cron ended: %v\n%s", s.err, s.log.String())
			case <-time.After(100 * time.Millisecond):
			}
		}
		t.Error("cron has not run within 100 s")
	}
}
