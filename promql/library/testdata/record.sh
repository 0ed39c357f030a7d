#!/usr/bin/env bash
# Makes the load that recorded.txt.gz is a recording of: services, databases, a broker and containers that work, fail, starve and are
# killed, detection rules that hit and watched files that change, all on loopback and below $work. It stops by itself.
#   promql/library/testdata/record.sh YAGURA [MINUTES]     # as root; leaves the store in $work/store
#   go test ./promql/library -run TestRecord -record $work/store
set -uo pipefail
yagura=$(realpath "$1"); minutes=${2:-12}
work=${work:-/tmp/yagura-record}; port=${port:-9341}; base=${base:-18100}
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$work"; mkdir -p "$work"/{www,watched,log,store,pg,my,lower}; cd "$work"; chmod 755 "$work"
pids=()
sock=$work/c.sock
ctr() { command ctr -a "$sock" -n k8s.io "$@"; }

# in_unit NAME COMMAND...: runs it in the control groups of a unit, as systemd would.
in_unit() {
  local unit=$1; shift
  ( for h in /sys/fs/cgroup/{cpu,cpuacct,memory,pids,blkio,systemd,unified}; do
      mkdir -p "$h/system.slice/$unit" && echo $BASHPID > "$h/system.slice/$unit/cgroup.procs"
    done 2>/dev/null
    exec "$@" >>"$work/log/$unit" 2>&1 ) &
  pids+=($!)
}
cleanup() {
  [ -n "${watcher:-}" ] && kill -TERM "$watcher" 2>/dev/null && wait "$watcher" 2>/dev/null # first, so that it does not see the rest end
  for name in $(ctr container list -q 2>/dev/null); do
    ctr task delete -f "$name" >/dev/null 2>&1; ctr container delete "$name" >/dev/null 2>&1
  done
  for h in /sys/fs/cgroup/{cpu,memory,pids,unified}/system.slice/rec-*; do
    [ -d "$h" ] && while read -r p; do kill -TERM "$p" 2>/dev/null; done < "$h/cgroup.procs"
  done
  for p in "${pids[@]}"; do kill -TERM "$p" 2>/dev/null; done
  wait "${pids[@]}" 2>/dev/null
  for h in /sys/fs/cgroup/*/system.slice/rec-* /sys/fs/cgroup/*/k8s.io; do rmdir "$h" 2>/dev/null; done
}
trap cleanup EXIT
trap 'exit 143' INT TERM # and then cleanup

# --- an image: a few programs of this machine with their libraries, as an OCI archive
copy() { # with the libraries it needs
  for f in "$@"; do
    f=$(command -v "$f")
    for x in "$f" "$(readlink -f "$f")" $(ldd "$f" 2>/dev/null | grep -o '/[^ ]*'); do
      mkdir -p "lower$(dirname "$x")"; cp -L "$x" "lower$x"
    done
  done
}
copy nginx redis-server redis-benchmark redis-cli curl dash sleep cat tail cp rm head dd touch chmod id uname
for d in bin lib lib64 sbin; do [ -L "/$d" ] && ln -sf "usr/$d" "lower/$d"; done 2>/dev/null
mkdir -p lower/{tmp,etc,var/log/nginx,var/lib/nginx,root,usr/bin,run}; chmod 1777 lower/tmp
ln -sf dash lower/usr/bin/sh
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' > lower/etc/passwd
printf 'root:*:1::::::\n' > lower/etc/shadow
printf 'root:x:0:\nnogroup:x:65534:\n' > lower/etc/group
blob() { local d; d=$(sha256sum "$1" | cut -d' ' -f1); mv "$1" "oci/blobs/sha256/$d"; echo "$d $(stat -c %s "oci/blobs/sha256/$d")"; }
mkdir -p oci/blobs/sha256
tar -C lower -cf layer.tar .; read -r layer lsize < <(blob layer.tar)
echo "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$layer\"]}}" > c.json
read -r conf csize < <(blob c.json)
echo "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$conf\",\"size\":$csize},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$layer\",\"size\":$lsize}]}" > m.json
read -r man msize < <(blob m.json)
image=docker.io/library/recorded:1
echo '{"imageLayoutVersion":"1.0.0"}' > oci/oci-layout
echo "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$man\",\"size\":$msize,\"annotations\":{\"io.containerd.image.name\":\"$image\"}}]}" > oci/index.json
tar -C oci -cf image.tar .

cat > containerd.toml <<T
version = 2
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$sock"
T
containerd --config containerd.toml >log/containerd 2>&1 & pids+=($!)
for _ in $(seq 50); do ctr version >/dev/null 2>&1 && break; sleep 0.2; done
ctr image import --snapshotter native image.tar >/dev/null || exit 1

# --- Yagura, with all that can be turned on
cat > yagura.yaml <<T
limits: {node: 60000, family: 10000, workload: 5000}
kernel: {program_stats: true}
requests: {client_routes: true, dns_names: true, tls: {workloads: [rec-tls.service, rec-tlsload.service], delay: 1s}}
containers: {containerd: [$sock], cri: [], docker: [], podman: [], bundles: [], storage: []}
store: {scrape_interval: 15s}
fim:
  defaults: false
  store: $work/fim.db
  watches:
  - {name: watched, doc: What the load changes., paths: [$work/watched]}
  - {name: container_etc, doc: Configuration in containers., paths: [/etc, /usr/bin], of: containers}
rules: {rate: {per_second: 0.1, burst: 2}, outputs: {file: {path: $work/log/hits.json}}}
T
nice -n -15 "$yagura" run --config.file=yagura.yaml --web.listen-address="127.0.0.1:$port" --store.path="$work/store" --collector.node ${YAGURA_FLAGS:-} >log/yagura 2>&1 &
watcher=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/-/ready" >/dev/null && break; sleep 0.3; done
sleep 20 # a first look at what is still quiet

# --- services
web() { # NAME PORT BODY: an nginx that answers, fails and asks the next
cat > "$1.conf" <<T
daemon off; worker_processes 1; pid /tmp/$1.pid; error_log stderr; user root;
events { worker_connections 256; }
http { access_log off; client_body_temp_path /tmp/$1b; proxy_temp_path /tmp/$1p; fastcgi_temp_path /tmp/$1f; uwsgi_temp_path /tmp/$1u; scgi_temp_path /tmp/$1s;
 server { listen 127.0.0.1:$2; $3 }
}
T
}
web web $((base)) "location /orders { proxy_pass http://127.0.0.1:$((base+1)); } location /ok { return 200 fine; } location /gone { return 410; } location /broken { proxy_pass http://127.0.0.1:$((base+9)); }"
web api $((base+1)) "location / { return 200 \"orders\"; } location /orders/bad { return 500; } location /orders/slow { limit_rate 40k; root /tmp; }"
web grpc $((base+2)) "http2 on; location / { default_type application/grpc; add_header grpc-status 0; return 200; } location /shop.Cart/Fail { default_type application/grpc; add_header grpc-status 13; return 200; }"
sed -i 's/listen \(127.0.0.1:[0-9]*\); http2 on;/listen \1 http2;/' grpc.conf
run() { # POD CONTAINER OPTIONS -- COMMAND
  local pod=$1 name=$2; shift 2; local o=(); while [ "$1" != -- ]; do o+=("$1"); shift; done; shift
  ctr run --snapshotter native --net-host --detach --label io.kubernetes.pod.namespace=shop --label "io.kubernetes.pod.name=$pod" \
    --label "io.kubernetes.container.name=$name" --label "io.kubernetes.pod.uid=0000-$pod" "${o[@]}" "$image" "$pod" "$@" >>log/ctr 2>&1
}
mount=(--mount "type=bind,src=$work,dst=/rec,options=rbind:ro")
head -c 400000 /dev/zero > www/slow
run web-1 web "${mount[@]}" -- nginx -c /rec/web.conf
run api-1 api "${mount[@]}" -- dash -c 'mkdir -p /tmp/orders 2>/dev/null; nginx -c /rec/api.conf'
run cart-1 cart "${mount[@]}" -- nginx -c /rec/grpc.conf
run cache-1 redis --memory-limit 134217728 -- redis-server --port $((base+3)) --save "" --bind 127.0.0.1
run cacheload-1 worker -- dash -c "while :; do redis-benchmark -p $((base+3)) -c 2 -n 200 -q -t get,set,lpush >/dev/null; redis-cli -p $((base+3)) nonsense; redis-cli -p $((base+3)) get k >/dev/null; sleep 5; done"
run client-1 client -- dash -c "while :; do for p in ok ok ok orders/1 orders/2 orders/bad orders/slow gone broken; do curl -s -o /dev/null http://127.0.0.1:$base/\$p; done; curl -s -o /dev/null -d 0123456789 http://127.0.0.1:$base/ok; curl -s http://127.0.0.1:$((base+8))/; for m in Add List Fail; do curl -s --http2-prior-knowledge -o /dev/null -H 'content-type: application/grpc' -H 'te: trailers' -d x http://127.0.0.1:$((base+2))/shop.Cart/\$m; done; sleep 4; done"
# Starved: a quota that is too small, a limit that is hit, writes, forks.
run batch-1 batch --cpu-quota 8000 --cpu-period 100000 -- dash -c 'while :; do dd if=/dev/zero of=/dev/null bs=64k count=20000 2>/dev/null; done'
run writer-1 writer --memory-limit 67108864 -- dash -c 'while :; do dd if=/dev/zero of=/tmp/f bs=1M count=30 conv=fsync 2>/dev/null; cat /tmp/f >/dev/null; sleep 1; done'
run greedy-1 greedy --memory-limit 67108864 -- dash -c 'while :; do tail /dev/zero; sleep 15; done'

install -d -o postgres pg; install -d -o mysql my
su postgres -c "/usr/lib/postgresql/15/bin/initdb -D $work/pg -A trust >/dev/null"
in_unit rec-postgres.service su postgres -s /bin/sh -c "exec /usr/lib/postgresql/15/bin/postgres -D $work/pg -p $((base+4)) -k /tmp -c listen_addresses=127.0.0.1 -c ssl=off"
mysql_install_db --datadir="$work/my" --user=mysql --auth-root-authentication-method=normal >log/mysql_install 2>&1
in_unit rec-mariadb.service mariadbd --no-defaults --datadir="$work/my" --user=mysql --socket="$work/my/sock" --port=$((base+5)) --bind-address=127.0.0.1 --skip-ssl
in_unit rec-memcached.service memcached -u nobody -l 127.0.0.1 -p $((base+6))
in_unit rec-dns.service dnsmasq -k -p 53 --listen-address=127.0.0.7 --bind-interfaces --no-resolv --no-hosts --address=/shop.test/127.0.0.1 -u root --pid-file
cat > nats.py <<'T'
import socket, sys, threading, time
port = int(sys.argv[2])
def lines(s):
    b = b""
    while True:
        d = s.recv(4096)
        if not d: return
        b += d
        while b"\r\n" in b:
            l, b = b.split(b"\r\n", 1); yield l
def serve(s):
    s.sendall(b'INFO {"server_id":"x","version":"2.10.0","proto":1,"max_payload":1048576}\r\n')
    for l in lines(s):
        if l.startswith(b"PING"): s.sendall(b"PONG\r\n")
        elif l.startswith((b"CONNECT", b"SUB")): s.sendall(b"+OK\r\n")
        elif l.startswith(b"PUB bad"): s.sendall(b"-ERR 'Permissions Violation'\r\n")
        elif l.startswith(b"PUB"): s.sendall(b"+OK\r\n")
if sys.argv[1] == "server":
    ls = socket.create_server(("127.0.0.1", port))
    while True: threading.Thread(target=serve, args=(ls.accept()[0],), daemon=True).start()
while True:
    try:
        s = socket.create_connection(("127.0.0.1", port)); s.recv(4096)
        s.sendall(b'CONNECT {"verbose":true}\r\n'); s.recv(99)
        for _ in range(30):
            s.sendall(b"PUB bad 2\r\nhi\r\n"); s.recv(99); s.sendall(b"PUB orders 2\r\nhi\r\n"); s.recv(99); s.sendall(b"PING\r\n"); s.recv(99); time.sleep(0.3)
    except OSError: time.sleep(1)
T
in_unit rec-nats.service python3 nats.py server $((base+10))
in_unit rec-publisher.service python3 nats.py client $((base+10))
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=shop.test >/dev/null 2>&1
cat > tls.conf <<T
daemon off; worker_processes 1; pid $work/tls.pid; error_log stderr;
events { worker_connections 64; }
http { access_log off; server { listen 127.0.0.1:$((base+11)) ssl; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem; location / { return 200 secret; } } }
T
in_unit rec-tls.service nginx -c "$work/tls.conf" -e stderr
sleep 5
in_unit rec-tlsload.service bash -c "while :; do curl -sk -o /dev/null https://127.0.0.1:$((base+11))/a; sleep 3; done"
su postgres -c "/usr/lib/postgresql/15/bin/createdb -h 127.0.0.1 -p $((base+4)) bench; /usr/lib/postgresql/15/bin/pgbench -h 127.0.0.1 -p $((base+4)) -i -q bench" >log/pgbench-init 2>&1
in_unit rec-pgload.service bash -c "while :; do /usr/lib/postgresql/15/bin/pgbench -U postgres -h 127.0.0.1 -p $((base+4)) -c 2 -R 40 -T 20 bench; psql -U postgres -h 127.0.0.1 -p $((base+4)) bench -c 'select * from missing' -c 'select pg_sleep(0.7)'; done"
in_unit rec-myload.service bash -c "while :; do for q in 'select 1' 'show databases' 'select * from nothing.nothing' 'create table if not exists test.t (a int)' 'insert into test.t values (1)'; do mysql --skip-ssl -u root -h 127.0.0.1 -P $((base+5)) -e \"\$q\"; done; printf 'set a 0 0 1\r\nx\r\nget a\r\nget b\r\nquit\r\n' >/dev/tcp/127.0.0.1/$((base+6)); python3 -c 'import socket; s=socket.create_connection((\"127.0.0.1\",$((base+6)))); s.sendall(b\"get a\r\n\"); s.recv(99); s.sendall(b\"set a 0 0 1\r\nx\r\n\"); s.recv(99)'; sleep 5; done"
in_unit rec-resolver.service bash -c "while :; do dig +tries=1 +time=1 @127.0.0.7 api.shop.test; dig +tries=1 +time=1 @127.0.0.7 missing.example; dig +tries=1 +time=1 @127.0.0.8 lost.example; sleep 4; done"
in_unit rec-connects.service bash -c "while :; do (exec 3<>/dev/tcp/127.0.0.1/$((base+8))); python3 -c 'import socket; s=socket.socket(); s.settimeout(0.5); s.connect((\"192.0.2.1\", 81))'; sleep 5; done"
in_unit rec-full.service python3 -c "
import socket, time
s = socket.create_server(('127.0.0.1', $((base+13))), backlog=1); held = []
while True:
    for _ in range(6):
        c = socket.socket(); c.setblocking(False); c.connect_ex(('127.0.0.1', $((base+13)))); held.append(c)
    held = held[-40:]; time.sleep(1)"
in_unit rec-zombie.service python3 -c 'import os, time; os.fork() or os._exit(0); time.sleep(9999)'
in_unit rec-echo.service python3 -c "
import socket
ls = socket.create_server(('127.0.0.1', $((base+14))))
while True:
    c, _ = ls.accept()
    while c.recv(99): c.sendall(b'\\x02same to you\\n')"
in_unit rec-caller.service python3 -c "
import socket, time
while True:
    try:
        s = socket.create_connection(('127.0.0.1', $((base+14))))
        for _ in range(20): s.sendall(b'\\x01greetings\\n'); s.recv(99); time.sleep(0.5)
    except OSError: time.sleep(1)"
in_unit rec-crash.service bash -c 'while :; do bash -c "kill -SEGV \$\$"; bash -c "exit 3"; bash -c "kill -KILL \$\$"; sleep 3; done'

# --- what somebody should be told of
for _ in $(seq 20); do echo 200 > /sys/fs/cgroup/pids/k8s.io/web-1/pids.max && break; sleep 0.5; done 2>/dev/null
run old-1 old -- sleep 9999
ctr image tag "$image" docker.io/library/deployed:2 >/dev/null
end=$((SECONDS + minutes * 60)); late=$((end - 150)); n=0
while [ $SECONDS -lt $end ]; do
  n=$((n + 1))
  echo "$n" > "watched/changed"; echo "$n" > "watched/new-$n"; chmod $((600 + n % 8)) watched/changed; rm -f "watched/new-$((n - 2))"
  ctr task exec --exec-id "x$n" web-1 dash -c 'cat /etc/shadow; id; cp /usr/bin/id /tmp/dropped; /tmp/dropped; echo evil >> /etc/passwd; cp /usr/bin/id /usr/bin/id2; dash -c "kill -SEGV \$\$"' >/dev/null 2>&1
  cat /etc/shadow >/dev/null
  if [ $SECONDS -gt $late ]; then # what was not there before
    ctr task delete -f old-1 >/dev/null; ctr container delete old-1 >/dev/null
    late=$((end * 2)); image=docker.io/library/deployed:2 run late-1 late -- dash -c "while :; do curl -s http://127.0.0.1:$((base+8))/; sleep 2; done"
  fi
  [ $((n % 4)) = 0 ] && { ctr task kill -s KILL cache-1; sleep 1; ctr task delete -f cache-1; ctr container delete cache-1
    run cache-1 redis --memory-limit 134217728 -- redis-server --port $((base+3)) --save "" --bind 127.0.0.1; } >/dev/null 2>&1
  "$yagura" query --url "http://127.0.0.1:$port" 'sum by (container) (rate(yagura_syscalls_total[1m]))' >/dev/null 2>&1
  sleep 10
done
