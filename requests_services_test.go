package main

import (
	"fmt"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func pow2eighths(i int32) float64 { return math.Exp2(float64(i) / 8) }

// realServices are the servers and clients of Debian, and ours, that the truth is told about.
var realServices = []realService{
	{
		name: "nginx",
		start: func(t *testing.T, s *realSite) {
			conf := write(t, s.dir+"/nginx.conf", fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http { access_log off; server { listen %[2]s; root %[1]s/www;
 location /users { return 200 "hello\n"; } location /gone { return 410; } location /broken { return 500; } } }`, s.dir, s.address()))
			if err := os.MkdirAll(s.dir+"/www", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, s.dir+"/www/big", strings.Repeat("0123456789", 100_000))
			write(t, s.dir+"/www/empty", "")
			s.serve(t, "nginx", "-c", conf, "-p", s.dir)
		},
		load: func(t *testing.T, s *realSite) {
			base := "http://" + s.address()
			for i := range 20 { // one connection each
				s.ask(t, "curl", "-sS", fmt.Sprintf("%s/users/%d?token=secret", base, i))
			}
			// One connection for all: sendfile of a megabyte, HEAD, an empty file, errors, a body that is sent.
			s.ask(t, "curl", "-sS", "-o", "/dev/null", base+"/big", "-o", "/dev/null", base+"/big", "-o", "/dev/null", base+"/empty",
				"-o", "/dev/null", base+"/gone", "-o", "/dev/null", base+"/broken", "-o", "/dev/null", base+"/nothing", "-o", "/dev/null", base+"/users/x")
			s.ask(t, "curl", "-sS", "-I", base+"/big")
			s.ask(t, "curl", "-sS", "-o", "/dev/null", "-d", strings.Repeat("x", 3000), base+"/users/new")
			s.ask(t, "wrk", "-t1", "-c4", "-d1s", base+"/users/7")
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "http_" + side + "_request_duration_seconds"
				n[name+`{http_request_method="HEAD",http_response_status_code="200"}`] = 1
				n[name+`{http_request_method="POST",http_response_status_code="200"}`] = 1
				n[name+`{http_response_status_code="404"}`] = 1
				n[name+`{http_response_status_code="410"}`] = 1
				n[name+`{http_response_status_code="500",error_type="500"}`] = 1
			}
			n[`http_server_request_duration_seconds{http_route="/big",http_request_method="GET"}`] = 2
			n[`http_server_request_duration_seconds{http_route="/users/new"}`] = 1
		},
	},
	{
		name: "redis",
		start: func(t *testing.T, s *realSite) {
			s.serve(t, "redis-server", "--bind", "127.0.0.1", "--port", s.port, "--save", "", "--appendonly", "no", "--enable-debug-command", "yes")
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, "redis-benchmark", "-p", s.port, "-t", "set,get", "-n", "1000", "-c", "5", "-q")
			s.ask(t, "redis-benchmark", "-p", s.port, "-t", "incr", "-n", "1600", "-c", "2", "-P", "16", "-q")
			for range 5 {
				s.ask(t, "redis-cli", "-p", s.port, "DEBUG", "SLEEP", "0.03")
			}
			s.ask(t, "redis-cli", "-p", s.port, "LPUSH", "set-as-list-too", "x")
			s.ask(t, "redis-cli", "-p", s.port, "INCR", "set-as-list-too") // WRONGTYPE
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "db_" + side + "_operation_duration_seconds"
				n[name+`{db_system_name="redis",db_operation_name="SET"}`] = 1000
				n[name+`{db_system_name="redis",db_operation_name="GET"}`] = 1000
				n[name+`{db_operation_name="INCR",error_type=""}`] = 1600
				n[name+`{db_operation_name="DEBUG"}`] = 5
				n[name+`{db_operation_name="LPUSH"}`] = 1
			}
		},
		within: map[string][2]time.Duration{
			`db_server_operation_duration_seconds{db_operation_name="DEBUG"}`: {28 * time.Millisecond, 45 * time.Millisecond},
			`db_client_operation_duration_seconds{db_operation_name="DEBUG"}`: {28 * time.Millisecond, 45 * time.Millisecond},
		},
	},
	{
		name: "postgresql",
		start: func(t *testing.T, s *realSite) {
			bin, owner := postgres(t)
			chown(t, s.dir, owner)
			setup := &realSite{dir: s.dir, client: "real-setup.service"}
			setup.ask(t, "setpriv", "--reuid", owner.Uid, "--regid", owner.Gid, "--clear-groups", bin+"/initdb", "-D", s.dir+"/data", "-A", "trust", "-N")
			s.serveAs(t, owner, bin+"/postgres", "-D", s.dir+"/data", "-p", s.port, "-k", s.dir, "-c", "fsync=off")
			setup.ask(t, bin+"/pgbench", "-h", "127.0.0.1", "-p", s.port, "-U", "postgres", "-i", "-q", "-s", "1", "postgres")
		},
		load: func(t *testing.T, s *realSite) {
			bin, _ := postgres(t)
			for _, mode := range []string{"simple", "extended", "prepared"} {
				s.ask(t, bin+"/pgbench", "-h", "127.0.0.1", "-p", s.port, "-U", "postgres", "-n", "-c", "2", "-t", "50", "-M", mode, "postgres")
			}
			psql := []string{"-h", "127.0.0.1", "-p", s.port, "-U", "postgres", "-q"}
			s.ask(t, bin+"/psql", append(psql, "-c", "LISTEN nothing", "-c", "LISTEN nothing")...)
			for range 5 {
				s.ask(t, bin+"/psql", append(psql, "-c", "VALUES (pg_sleep(0.03))")...)
			}
			if _, err := s.tryAsk(t, bin+"/psql", append(psql, "-c", "TABLE nowhere")...); err == nil {
				t.Error("a table that is not there was read")
			}
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "db_" + side + "_operation_duration_seconds"
				// Each transaction of pgbench is BEGIN, three UPDATEs, a SELECT, an INSERT and END; 300 of them, and pgbench asks
				// for its scale first, three times.
				n[name+`{db_system_name="postgresql",db_operation_name="UPDATE"}`] = 900
				n[name+`{db_system_name="postgresql",db_operation_name="INSERT"}`] = 300
				n[name+`{db_system_name="postgresql",db_operation_name="BEGIN"}`] = 300
				n[name+`{db_system_name="postgresql",db_operation_name="END"}`] = 300
				n[name+`{db_operation_name="LISTEN"}`] = 2
				n[name+`{db_operation_name="VALUES"}`] = 5
				n[name+`{db_operation_name="TABLE",error_type="42"}`] = 1
			}
		},
		within: map[string][2]time.Duration{
			`db_server_operation_duration_seconds{db_operation_name="VALUES"}`: {28 * time.Millisecond, 45 * time.Millisecond},
		},
	},
	{
		name: "memcached",
		start: func(t *testing.T, s *realSite) {
			s.serve(t, "memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", s.port)
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/%s
for i in $(seq 1 100); do
	printf 'set key 0 0 5\r\nhello\r\n' >&3; read -r line <&3
	printf 'get key\r\n' >&3; read -r a <&3; read -r b <&3; read -r c <&3
done
printf 'get nothing\r\n' >&3; read -r line <&3
printf 'delete key\r\nincr x y\r\n' >&3; read -r line <&3; read -r line <&3`, s.port))
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "db_" + side + "_operation_duration_seconds"
				n[name+`{db_system_name="memcached",db_operation_name="SET"}`] = 100
				n[name+`{db_system_name="memcached",db_operation_name="GET"}`] = 101
				n[name+`{db_system_name="memcached",db_operation_name="DELETE"}`] = 1
				n[name+`{db_system_name="memcached",db_operation_name="INCR"}`] = 1
			}
		},
	},
}

// postgres is where Debian has the programs of PostgreSQL, and who they run as: not root.
func postgres(t *testing.T) (bin string, owner *user.User) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	owner, err := user.Lookup("postgres")
	if len(found) == 0 || err != nil {
		t.Skip("needs postgresql: make setup installs it")
	}
	return found[0], owner
}

func chown(t *testing.T, dir string, owner *user.User) {
	t.Helper()
	var uid, gid int
	if _, err := fmt.Sscan(owner.Uid+" "+owner.Gid, &uid, &gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
}
