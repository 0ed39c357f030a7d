package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
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
 location /users { return 200 "hello\n"; } location = /closed { ssi on; ssi_types *; } location /gone { return 410; } location /broken { return 500; } } }`, s.dir, s.address()))
			if err := os.MkdirAll(s.dir+"/www", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, s.dir+"/www/big", strings.Repeat("0123456789", 100_000))
			write(t, s.dir+"/www/empty", "")
			write(t, s.dir+"/www/closed", strings.Repeat("0123456789", 20))
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
			for range 3 { // of no length that is told: it ends with its connection
				s.ask(t, "curl", "-sS", "-0", "-o", "/dev/null", base+"/closed")
			}
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
		check: func(t *testing.T, s *realSite, before, p page) {
			for series, want := range map[string]float64{
				`http_server_request_body_size_bytes{http_request_method="POST"}`:                          3000,
				`http_client_request_body_size_bytes{http_request_method="POST"}`:                          3000,
				`http_server_response_body_size_bytes{http_route="/big",http_request_method="GET"}`:        2_000_000, // by sendfile
				`http_server_response_body_size_bytes{http_route="/users/new",http_request_method="POST"}`: 6,
				`http_client_response_body_size_bytes{http_request_method="HEAD"}`:                         0,
				`http_server_response_body_size_bytes{http_route="/closed"}`:                               600,
			} {
				name, labels := s.series(series)
				var got float64
				for _, m := range p.matching(name, labels...) {
					got += m.GetHistogram().GetSampleSum()
				}
				if got != want {
					t.Errorf("%s adds up to %v, want %v", series, got, want)
				}
			}
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
			`db_server_operation_duration_seconds{db_operation_name="DEBUG"}`: {28 * time.Millisecond, time.Second},
			`db_client_operation_duration_seconds{db_operation_name="DEBUG"}`: {28 * time.Millisecond, time.Second},
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
			eventually(t, "PostgreSQL takes connections, for which it listens earlier", func() bool {
				_, err := setup.tryAsk(t, bin+"/pg_isready", "-h", "127.0.0.1", "-p", s.port)
				return err == nil
			})
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
			`db_server_operation_duration_seconds{db_operation_name="VALUES"}`: {28 * time.Millisecond, time.Second},
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
				n[name+`{db_system_name="memcached",db_operation_name="set"}`] = 100
				n[name+`{db_system_name="memcached",db_operation_name="get"}`] = 101
				n[name+`{db_system_name="memcached",db_operation_name="delete"}`] = 1
				n[name+`{db_system_name="memcached",db_operation_name="incr"}`] = 1
			}
		},
	},
	{
		name: "mariadb",
		start: func(t *testing.T, s *realSite) {
			needsProgram(t, "mariadbd", "mariadb-install-db", "mariadb")
			owner, err := user.Lookup("mysql")
			if err != nil {
				t.Skip("needs mariadb-server: make setup installs it")
			}
			chown(t, s.dir, owner)
			setup := &realSite{dir: s.dir, client: "real-setup.service"}
			setup.ask(t, "mariadb-install-db", "--no-defaults", "--datadir="+s.dir+"/data", "--user=mysql", "--auth-root-authentication-method=normal", "--skip-test-db")
			s.serveAs(t, owner, "mariadbd", "--no-defaults", "--datadir="+s.dir+"/data", "--bind-address=127.0.0.1", "--port="+s.port,
				"--socket="+s.dir+"/socket", "--pid-file="+s.dir+"/pid")
			setup.ask(t, "mariadb", "--no-defaults", "-S", s.dir+"/socket", "-u", "root", "-e",
				"CREATE DATABASE shop; CREATE TABLE shop.items (id INT, name VARCHAR(100)); CREATE USER 'a'@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO 'a'@'127.0.0.1'")
		},
		load: func(t *testing.T, s *realSite) {
			run := func(sql string) error {
				_, err := s.tryAsk(t, "mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", s.port, "-u", "a", "-psecret", "--skip-ssl", "shop", "-N", "-e", sql)
				return err
			}
			var sql strings.Builder
			for i := range 100 {
				fmt.Fprintf(&sql, "INSERT INTO items VALUES (%d, 'secret%d'); ", i, i)
			}
			sql.WriteString(strings.Repeat("UPDATE items SET name = 'x' WHERE id = 7; ", 20))
			sql.WriteString(strings.Repeat("SHOW TABLES; ", 5) + strings.Repeat("DO SLEEP(0.03); ", 5) + strings.Repeat("DELETE FROM items WHERE id = 1; ", 3))
			if err := run(sql.String()); err != nil {
				t.Fatal(err)
			}
			if err := run("TRUNCATE nowhere"); err == nil {
				t.Error("a table that is not there was emptied")
			}
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "db_" + side + "_operation_duration_seconds"
				n[name+`{db_system_name="mysql",db_operation_name="INSERT"}`] = 100
				n[name+`{db_system_name="mysql",db_operation_name="UPDATE"}`] = 20
				n[name+`{db_operation_name="SHOW"}`] = 5
				n[name+`{db_operation_name="DO"}`] = 5
				n[name+`{db_operation_name="DELETE"}`] = 3
				n[name+`{db_operation_name="TRUNCATE",error_type="1146"}`] = 1
			}
		},
		within: map[string][2]time.Duration{
			`db_server_operation_duration_seconds{db_operation_name="DO"}`: {28 * time.Millisecond, time.Second},
		},
	},
	{
		name: "apache",
		start: func(t *testing.T, s *realSite) {
			conf := write(t, s.dir+"/apache.conf", fmt.Sprintf(`ServerName truth
Listen %[2]s
PidFile %[1]s/pid
ErrorLog %[1]s/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
StartServers 1
DocumentRoot %[1]s/www
KeepAlive On
MaxKeepAliveRequests 0
`, s.dir, s.address()))
			if err := os.MkdirAll(s.dir+"/www", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, s.dir+"/www/page.html", strings.Repeat("hello ", 2000))
			s.serve(t, "apache2", "-f", conf, "-D", "FOREGROUND")
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, "ab", "-q", "-k", "-n", "500", "-c", "4", "http://"+s.address()+"/page.html")
			s.ask(t, "ab", "-q", "-n", "50", "-c", "2", "http://"+s.address()+"/nowhere.html") // HTTP/1.0, until it closes
			// Ten requests at once, before any answer is read.
			s.ask(t, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/%s
for i in $(seq 1 9); do printf 'HEAD /page.html HTTP/1.1\r\nHost: truth\r\n\r\n'; done >requests
printf 'HEAD /page.html HTTP/1.1\r\nHost: truth\r\nConnection: close\r\n\r\n' >>requests
cat requests >&3; cat <&3`, s.port))
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "http_" + side + "_request_duration_seconds"
				n[name+`{http_request_method="GET",http_response_status_code="200"}`] = 500
				n[name+`{http_request_method="GET",http_response_status_code="404"}`] = 50
				n[name+`{http_request_method="HEAD",http_response_status_code="200"}`] = 10
			}
		},
	},
	{
		name: "nghttp2",
		start: func(t *testing.T, s *realSite) {
			if err := os.MkdirAll(s.dir+"/www", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, s.dir+"/www/page.html", strings.Repeat("hello ", 2000))
			s.serve(t, "nghttpd", "--no-tls", "-d", s.dir+"/www", "--address=127.0.0.1", s.port)
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, "h2load", "-n", "1000", "-c", "2", "-m", "10", "http://"+s.address()+"/page.html")
			s.ask(t, "h2load", "-n", "30", "-c", "1", "-m", "1", "http://"+s.address()+"/nowhere")
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "http_" + side + "_request_duration_seconds"
				n[name+`{http_request_method="GET",http_response_status_code="200"}`] = 1000
				n[name+`{http_request_method="GET",http_response_status_code="404"}`] = 30
			}
			n[`http_server_request_duration_seconds{http_route="/page.html"}`] = 1000
		},
	},
	{
		name:  "nats",
		start: func(t *testing.T, s *realSite) { s.serve(t, "nats-server", "-a", "127.0.0.1", "-p", s.port) },
		load: func(t *testing.T, s *realSite) {
			// A subscriber and publisher in one: 50 messages to itself, and ten times a ping that is answered.
			s.ask(t, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/127.0.0.1/%s
read -r info <&3
printf 'CONNECT {"verbose":false,"pedantic":false,"name":"truth"}\r\nSUB greetings 1\r\n' >&3
for i in $(seq 1 50); do
	printf 'PUB greetings 5\r\nhello\r\n' >&3
	read -r head <&3; read -r body <&3
done
for i in $(seq 1 10); do printf 'PING\r\n' >&3; read -r pong <&3; done`, s.port))
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "messaging_" + side + "_operation_duration_seconds"
				n[name+`{messaging_system="nats",messaging_operation_name="PUB"}`] = 50
				n[name+`{messaging_system="nats",messaging_operation_name="MSG"}`] = 50
			}
		},
	},
	{
		name: "dns",
		start: func(t *testing.T, s *realSite) {
			s.port = "53"
			s.serve(t, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.53", "--bind-interfaces",
				"--port=53", "--user=root", "--address=/known.test/192.0.2.7", "--local=/test/", "--log-facility=-")
		},
		load: func(t *testing.T, s *realSite) {
			for range 20 {
				s.ask(t, "dig", "@127.0.0.53", "+short", "+tries=1", "known.test", "A")
			}
			for range 5 {
				s.ask(t, "dig", "@127.0.0.53", "+short", "+tries=1", "unknown.test", "A")
			}
			for range 3 {
				s.ask(t, "dig", "@127.0.0.53", "+tcp", "+short", "+tries=1", "known.test", "A")
			}
		},
		counts: func(n map[string]float64) {
			n[`dns_lookup_duration_seconds{error_type=""}`] = 23
			n[`dns_lookup_duration_seconds{error_type="NXDOMAIN"}`] = 5
			n[`dns_server_lookup_duration_seconds{error_type=""}`] = 23
			n[`dns_server_lookup_duration_seconds{error_type="NXDOMAIN"}`] = 5
		},
	},
	{
		name: "grpc",
		start: func(t *testing.T, s *realSite) {
			s.serve(t, ourselves(t), "-test.run=^TestGRPCServer$", "grpc-server="+s.address())
		},
		load: func(t *testing.T, s *realSite) {
			s.ask(t, ourselves(t), "-test.run=^TestGRPCClient$", "grpc-client="+s.address())
		},
		counts: func(n map[string]float64) {
			for _, side := range []string{"server", "client"} {
				name := "rpc_" + side + "_call_duration_seconds"
				n[name+`{rpc_method="grpc.health.v1.Health/Check",rpc_response_status_code="OK"}`] = 200
				n[name+`{rpc_method="grpc.health.v1.Health/Check",rpc_response_status_code="NOT_FOUND"}`] = 20
				n[name+`{rpc_method="grpc.health.v1.Health/Watch"}`] = 1
			}
		},
	},
	{
		name: "go",
		start: func(t *testing.T, s *realSite) {
			s.serve(t, ourselves(t), "-test.run=^TestSlowServer$", "slow-server="+s.address())
		},
		load: func(t *testing.T, s *realSite) {
			for _, path := range []string{"/fast", "/slow", "/failing", "/chunked", "/orders/42", "/orders/550e8400-e29b-41d4-a716-446655440000"} {
				s.ask(t, "ab", "-q", "-k", "-n", "20", "-c", "2", "http://"+s.address()+path)
			}
		},
		counts: func(n map[string]float64) {
			name := "http_server_request_duration_seconds"
			for _, route := range []string{"/fast", "/slow", "/chunked"} {
				n[name+`{http_route="`+route+`",http_response_status_code="200"}`] = 20
			}
			n[name+`{http_route="/orders/{id}"}`] = 40
			n[name+`{http_route="/failing",http_response_status_code="503",error_type="503"}`] = 20
		},
		within: map[string][2]time.Duration{
			`http_server_request_duration_seconds{http_route="/slow"}`:    {28 * time.Millisecond, time.Second},
			`http_server_request_duration_seconds{http_route="/chunked"}`: {18 * time.Millisecond, time.Second},
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

// ourselves is this binary, which plays servers and clients too.
func ourselves(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// played is what this binary plays where a test has started it as a server or a client: the argument NAME=ADDRESS.
func played(t *testing.T, name string) string {
	t.Helper()
	for _, arg := range flag.Args() {
		if address, ok := strings.CutPrefix(arg, name+"="); ok {
			return address
		}
	}
	return ""
}

// TestGRPCServer serves the health service until it is ended.
func TestGRPCServer(t *testing.T) {
	address := played(t, "grpc-server")
	if address == "" {
		return // nobody asks
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	if err := s.Serve(l); err != nil {
		t.Fatal(err)
	}
}

// TestGRPCClient asks for the health of the server, and of a service that is not there, ten at a time, and watches once.
func TestGRPCClient(t *testing.T) {
	address := played(t, "grpc-client")
	if address == "" {
		return // nobody asks
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	ask := func(service string, want codes.Code) error {
		_, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if got := status.Code(err); got != want {
			return fmt.Errorf("check %q: %v, want %v", service, got, want)
		}
		return nil
	}
	answers := make(chan error)
	for range 10 {
		go func() {
			for range 20 {
				answers <- ask("", codes.OK)
			}
			for range 2 {
				answers <- ask("nowhere", codes.NotFound)
			}
		}()
	}
	for range 220 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Error(err)
	}
	cancel()
	if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("the watch ends with %v", err)
	}
}

// TestSlowServer serves pages whose time is known until it is ended.
func TestSlowServer(t *testing.T) {
	address := played(t, "slow-server")
	if address == "" {
		return // nobody asks
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(30 * time.Millisecond)
		io.WriteString(w, "slow")
	})
	mux.HandleFunc("/failing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		for range 4 {
			io.WriteString(w, "part")
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fast") })
	t.Fatal(http.ListenAndServe(address, mux))
}
