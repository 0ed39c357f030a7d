package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/exporter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nobody answers there.
const nobody = "http://127.0.0.1:1/metrics"

// gather makes one scrape and returns every value by name and labels.
func gather(t testing.TB, c *Collector) map[string]float64 {
	t.Helper()
	ch := make(chan prometheus.Metric)
	failed := make(chan error, 1)
	go func() {
		defer close(ch)
		failed <- c.Update(t.Context(), ch)
	}()
	got := map[string]float64{}
	for m := range ch {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(m.Desc().String(), `Desc{fqName: "`), `"`)
		got[key(name, &d)] = value(&d)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return got
}

func key(name string, m *dto.Metric) string {
	var labels []string
	for _, l := range m.Label {
		labels = append(labels, l.GetName()+"="+l.GetValue())
	}
	slices.Sort(labels)
	return name + "{" + strings.Join(labels, ",") + "}"
}

func value(m *dto.Metric) float64 {
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
}

// machine makes a /proc of a few files.
func machine(t testing.TB, files map[string]string) Options {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Options{Procfs: dir, Sysfs: dir, Rootfs: dir, Peer: nobody, Log: slog.New(slog.DiscardHandler)}
}

func TestNamesAndUnits(t *testing.T) {
	got := gather(t, New(machine(t, map[string]string{
		"stat":      "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 100 200 300 400 500 600 700 800 90 10\nintr 77 1\nctxt 88\nbtime 1700000000\nprocesses 99\nprocs_running 3\nprocs_blocked 1\n",
		"loadavg":   "0.50 0.25 0.12 1/2 3\n",
		"meminfo":   "MemTotal:       1000 kB\nMemAvailable:    400 kB\nActive(anon):      5 kB\nHugePages_Total:   7\n",
		"vmstat":    "nr_free_pages 1\noom_kill 4\npgfault 5\n",
		"diskstats": "   8       0 sda 10 1 16 30 20 2 32 40 5 60 70 3 1 8 9 11 12\n   8       1 sda1 1 1 1 1 1 1 1 1 1 1 1\n",
		"net/dev":   "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
		"net/snmp":  "Tcp: ActiveOpens RetransSegs\nTcp: 5 6\n", "net/netstat": "TcpExt: ListenDrops Other\nTcpExt: 7 8\n", "net/snmp6": "Udp6InDatagrams 9\nIp6InOctets 10\n",
		"net/sockstat": "sockets: used 3\nTCP: inuse 4 orphan 0 tw 0 alloc 5 mem 2\n",
		"1/mounts":     "proc /proc proc rw 0 0\n", "sys/fs/file-nr": "11 0 22\n",
	})))
	page := float64(os.Getpagesize())
	for series, want := range map[string]float64{
		"node_cpu_seconds_total{cpu=0,mode=user}": 1, "node_cpu_seconds_total{cpu=0,mode=steal}": 8, "node_cpu_guest_seconds_total{cpu=0,mode=nice}": 0.1,
		"node_boot_time_seconds{}": 1700000000, "node_context_switches_total{}": 88, "node_intr_total{}": 77, "node_forks_total{}": 99,
		"node_load1{}": 0.5, "node_load15{}": 0.12,
		"node_memory_MemTotal_bytes{}": 1024000, "node_memory_MemAvailable_bytes{}": 409600, "node_memory_Active_anon_bytes{}": 5120, "node_memory_HugePages_Total{}": 7,
		"node_vmstat_oom_kill{}": 4, "node_vmstat_pgfault{}": 5,
		"node_disk_reads_completed_total{device=sda}": 10, "node_disk_read_bytes_total{device=sda}": 16 * 512, "node_disk_write_time_seconds_total{device=sda}": 0.040,
		"node_disk_io_now{device=sda}": 5, "node_disk_discarded_sectors_total{device=sda}": 8, "node_disk_flush_requests_time_seconds_total{device=sda}": 0.012,
		"node_network_receive_bytes_total{device=eth0}": 1, "node_network_receive_multicast_total{device=eth0}": 8, "node_network_transmit_compressed_total{device=eth0}": 16,
		"node_netstat_Tcp_RetransSegs{}": 6, "node_netstat_TcpExt_ListenDrops{}": 7, "node_netstat_Udp6_InDatagrams{}": 9, "node_netstat_Ip6_InOctets{}": 10,
		"node_sockstat_sockets_used{}": 3, "node_sockstat_TCP_mem_bytes{}": 2 * page, "node_filefd_maximum{}": 22,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", series, v, ok, want)
		}
	}
	for series := range got {
		if strings.Contains(series, "sda1") || strings.Contains(series, "TcpExt_Other") || strings.HasPrefix(series, "node_filesystem") {
			t.Errorf("%s should have been left out", series)
		}
	}
}

func TestSubjectThatFailsLeavesTheOthers(t *testing.T) {
	c := New(machine(t, map[string]string{"stat": "btime 1\n", "meminfo": "MemTotal: lots kB\n", "loadavg": "1 2 3 1/1 1\n"}))
	ch := make(chan prometheus.Metric, 1000)
	err := c.Update(t.Context(), ch)
	if err == nil || !strings.Contains(err.Error(), `meminfo: MemTotal: "lots": want a number`) {
		t.Errorf("error = %v, want the field and the value", err)
	}
	if c.failed["meminfo"] != 1 || c.failed["vmstat"] != 0 {
		t.Errorf("failures = %v, want one of meminfo, and none of what is not there", c.failed)
	}
	if len(ch) < 4 {
		t.Errorf("%d series of the other subjects", len(ch))
	}
}

func TestIdleDoesNotGoBack(t *testing.T) {
	o := machine(t, nil)
	c := New(o)
	for _, step := range []struct{ ticks, want float64 }{
		{30000, 300}, {29999, 300}, {29701, 300}, {30001, 300.01}, // estimates waver
		{29000, 290}, {10, 0.1}, // the processor was taken out
	} {
		text := fmt.Sprintf("cpu0 0 0 0 50 %v\nbtime 1\n", step.ticks)
		if err := os.WriteFile(filepath.Join(o.Procfs, "stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := gather(t, c)["node_cpu_seconds_total{cpu=0,mode=iowait}"]; got != step.want {
			t.Errorf("%v ticks are shown as %v, want %v", step.ticks, got, step.want)
		}
	}
}

// The names are those that node_exporter 1.5 gives two such chips.
func TestHwmonChipsAreNamedByWhereTheyAre(t *testing.T) {
	o := machine(t, nil)
	for dir, device := range map[string]string{"hwmon0": "devices/platform/coretemp.0", "hwmon1": "devices/pci0000:00/0000:00:18.3"} {
		at := filepath.Join(o.Sysfs, "class/hwmon", dir)
		if err := errors.Join(os.MkdirAll(at, 0o755), os.MkdirAll(filepath.Join(o.Sysfs, device), 0o755),
			os.Symlink(filepath.Join(o.Sysfs, device), filepath.Join(at, "device")),
			os.WriteFile(filepath.Join(at, "temp1_input"), []byte("45500\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	got := gather(t, New(o))
	for _, chip := range []string{"platform_coretemp_0", "pci0000:00_0000:00:18_3"} {
		if got["node_hwmon_temp_celsius{chip="+chip+",sensor=temp1}"] != 45.5 {
			t.Errorf("%s is not at 45.5 degrees: %v", chip, got)
		}
	}
}

func TestInterfacesAreBoundedAndStay(t *testing.T) {
	var dev strings.Builder
	dev.WriteString("Inter-|\n face |\n")
	for i := range 1000 {
		fmt.Fprintf(&dev, "veth%03d: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n", i)
	}
	c := New(machine(t, map[string]string{"net/dev": dev.String()}))
	for pass := range 2 {
		got := gather(t, c)
		for i := range 1000 {
			series := fmt.Sprintf("node_network_receive_bytes_total{device=veth%03d}", i)
			if _, ok := got[series]; ok != (i < 512) {
				t.Fatalf("scrape %d: %s there: %v, want the first 512", pass, series, ok)
			}
		}
		if want := float64(488 * (pass + 1)); c.missing["netdev"] != want {
			t.Errorf("scrape %d: %v left out, want %v", pass, c.missing["netdev"], want)
		}
	}
}

func TestNetworkIsThatOfProcess1(t *testing.T) {
	head := "Inter-|\n face |\n"
	got := gather(t, New(machine(t, map[string]string{
		"net/dev":   head + "pod0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
		"1/net/dev": head + "eth0: 21 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
		"net/snmp":  "Tcp: RetransSegs\nTcp: 1\n", "net/netstat": "TcpExt: ListenDrops\nTcpExt: 1\n",
		"1/net/snmp": "Tcp: RetransSegs\nTcp: 7\n", "1/net/netstat": "TcpExt: ListenDrops\nTcpExt: 8\n",
		"net/sockstat": "TCP: inuse 1\n", "1/net/sockstat": "TCP: inuse 9\n",
	})))
	for series, want := range map[string]float64{"node_network_receive_bytes_total{device=eth0}": 21, "node_netstat_Tcp_RetransSegs{}": 7,
		"node_netstat_TcpExt_ListenDrops{}": 8, "node_sockstat_TCP_inuse{}": 9} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
	if _, ok := got["node_network_receive_bytes_total{device=pod0}"]; ok {
		t.Error("our own interface is shown as the machine's")
	}
}

// hung is a file system that never answers, as the server behind it would not.
func TestFilesystemThatNeverAnswersCostsOneGoroutine(t *testing.T) {
	c := New(machine(t, map[string]string{"1/mounts": "server:/x /dead\\040one nfs4 rw 0 0\n/dev/sda1 /good ext4 ro 0 0\n"}))
	release, asked := make(chan struct{}), make(chan string, 10)
	c.filesystems.Ask = func(path string, to *unix.Statfs_t) error {
		if strings.HasSuffix(path, "/good") {
			*to = unix.Statfs_t{Bsize: 4096, Blocks: 10, Bfree: 5, Bavail: 4, Files: 3, Ffree: 2}
			return nil
		}
		asked <- path
		<-release
		return nil
	}
	for range 3 {
		got := gather(t, c)
		dead, good := "{device=server:/x,fstype=nfs4,mountpoint=/dead one}", "{device=/dev/sda1,fstype=ext4,mountpoint=/good}"
		if got["node_filesystem_device_error"+dead] != 1 || got["node_filesystem_device_error"+good] != 0 ||
			got["node_filesystem_size_bytes"+good] != 40960 || got["node_filesystem_avail_bytes"+good] != 16384 || got["node_filesystem_readonly"+good] != 1 {
			t.Errorf("got %v", got)
		}
		if _, ok := got["node_filesystem_size_bytes"+dead]; ok {
			t.Error("the dead one has a size")
		}
	}
	if n := len(asked); n != 1 {
		t.Errorf("the dead one was asked %d times, want once", n)
	}
	close(release)
	for c.filesystems.Waiting() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestFUSEThatNeverAnswers is the same with a real mount, whose server takes requests and never replies.
func TestFUSEThatNeverAnswers(t *testing.T) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("needs FUSE: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("dead", dir, "fuse.dead", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		unix.Close(fd)
		t.Skipf("needs to mount FUSE: %v", err)
	}
	if err := answerInit(fd); err != nil {
		t.Fatal(err)
	}
	c := New(machine(t, map[string]string{"1/mounts": "dead " + dir + " fuse.dead rw 0 0\n"}))
	c.o.Rootfs = "/"
	series := fmt.Sprintf("node_filesystem_device_error{device=dead,fstype=fuse.dead,mountpoint=%s}", dir)
	for range 2 {
		began := time.Now()
		if got := gather(t, c); got[series] != 1 {
			t.Errorf("%s = %v, want 1", series, got[series])
		}
		t.Logf("the scrape took %s", time.Since(began))
	}
	if got := c.filesystems.Waiting(); got != 1 {
		t.Errorf("%d are still asked, want the one", got)
	}
	unix.Close(fd) // aborts what waits
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
	for c.filesystems.Waiting() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// answerInit replies to FUSE_INIT, the first request of every mount: a header of 40 bytes, then the versions.
func answerInit(fd int) error {
	request := make([]byte, 8192+4096)
	n, err := unix.Read(fd, request)
	if err != nil || n < 48 || binary.NativeEndian.Uint32(request[4:]) != 26 {
		return fmt.Errorf("read FUSE_INIT: %d bytes, %w", n, err)
	}
	reply := make([]byte, 16+64)
	binary.NativeEndian.PutUint32(reply[0:], uint32(len(reply)))
	copy(reply[8:16], request[8:16]) // unique
	binary.NativeEndian.PutUint32(reply[16:], 7)
	binary.NativeEndian.PutUint32(reply[20:], 31)
	binary.NativeEndian.PutUint32(reply[16+20:], 4096) // max_write
	_, err = unix.Write(fd, reply)
	return err
}

func TestNodeIsSilentBesideAnother(t *testing.T) {
	page := "# HELP x\nnode_exporter_build_info{version=\"1\"} 1\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, page) }))
	defer server.Close()
	if !answers(server.URL) {
		t.Error("it answers, and was not heard")
	}
	page = "# HELP y\nanother_build_info 1\n"
	if answers(server.URL) || answers("http://127.0.0.1:1") {
		t.Error("another exporter, or nobody, was taken for it")
	}
	o := machine(t, map[string]string{"loadavg": "1 2 3 1/1 1\n"})
	page = "# HELP x\nnode_exporter_build_info{version=\"1\"} 1\n"
	o.Peer, o.Asked = server.URL, func(string) bool { return false }
	if err := New(o).Update(t.Context(), nil); !errors.Is(err, exporter.ErrNoData) {
		t.Errorf("Update = %v, want ErrNoData", err)
	}
	o.Asked = func(name string) bool { return name == "node" }
	if got := gather(t, New(o)); got["node_load1{}"] != 1 {
		t.Errorf("asked for by name it shows %v", got)
	}
}

// Metrics of node_exporter's subjects that we do not show, and why.
var notShown = map[string]string{
	"node_network_":          "netlink's and /sys/class/net's particulars: only up, mtu and speed are shown of them",
	"node_disk_info":         "names of disks are not read from udev",
	"node_nf_conntrack_stat": "per-CPU sums of the conntrack table",
	"node_memory_":           "a field that the kernel added after 7.2",
	"node_hwmon":             "other sensors than temperatures",
}

func TestBesideNodeExporter(t *testing.T) {
	program, err := exec.LookPath("prometheus-node-exporter")
	if err != nil {
		t.Skip("needs prometheus-node-exporter")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(program, "--web.listen-address="+address)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for end := time.Now().Add(20 * time.Second); !answers("http://" + address + "/metrics"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("node_exporter does not answer: %s", said.Bytes())
		}
	}
	c := New(Options{Procfs: "/proc", Sysfs: "/sys", Rootfs: "/", Peer: nobody, Log: slog.New(slog.DiscardHandler)})
	before := gather(t, c)
	theirs := scrapeTheirs(t, "http://"+address+"/metrics")
	after := gather(t, c)
	shown := map[string]bool{}
	for _, s := range subjects {
		for _, m := range s.metrics {
			shown[m.name] = true
		}
	}
	equal, moving := 0, 0
	for series, v := range theirs {
		name, _, _ := strings.Cut(series, "{")
		a, there := before[series]
		b := after[series]
		switch {
		case !shown[name] && !slices.ContainsFunc(slices.Collect(maps.Keys(notShown)), func(p string) bool { return strings.HasPrefix(name, p) }) && covered(name):
			t.Errorf("%s is not shown", name)
		case !shown[name]:
		case !there:
			t.Errorf("%s is theirs and not ours", series)
		case a == b && math.Abs(a-v) <= 1e-12*math.Abs(v): // thousands of seconds do not add up exactly
			equal++
		case v >= min(a, b)-slack(name, a) && v <= max(a, b)+slack(name, b):
			moving++
		default:
			t.Errorf("%s: theirs %v, ours %v before and %v after", series, v, a, b)
		}
	}
	for series := range before {
		if _, ok := theirs[series]; !ok && strings.HasPrefix(series, "node_") && !oursAlone(series) {
			t.Errorf("%s is ours and not theirs", series)
		}
	}
	t.Logf("%d series equal, %d between our readings before and after", equal, moving)
	if equal < 100 {
		t.Errorf("only %d series are equal", equal)
	}
}

// covered are the subjects that we show.
func covered(name string) bool {
	return slices.ContainsFunc([]string{"node_cpu_s", "node_load", "node_memory_", "node_vmstat_", "node_pressure_", "node_disk_", "node_filesystem_",
		"node_network_", "node_netstat_", "node_sockstat_", "node_softnet_", "node_entropy_", "node_filefd_", "node_time_", "node_timex_", "node_uname_", "node_boot_", "node_intr_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// slack is how far beyond our two readings theirs may be. What only grows, and what does not move, has none. Gauges may go
// up and down in between: memory and disks by what programs take, sockets and files by those of the two programs.
func slack(name string, v float64) float64 {
	for _, row := range []struct {
		prefix string
		by     float64
	}{
		{"node_memory_DirectMap", 0}, {"node_memory_MemTotal", 0}, {"node_memory_SwapTotal", 0}, {"node_memory_HugePages_", 0}, {"node_memory_Hugepagesize", 0},
		{"node_memory_", 0.2*v + 64<<20}, {"node_filesystem_free", 64 << 20}, {"node_filesystem_avail", 64 << 20}, {"node_filesystem_files_free", 1000},
		{"node_load", 0.5}, {"node_procs_", 20}, {"node_disk_io_now", 20}, {"node_filefd_allocated", 500}, {"node_entropy_available", 256},
		{"node_nf_conntrack_entries", 50}, {"node_netstat_Tcp_CurrEstab", 20}, {"node_sockstat_TCP_mem_bytes", 4 << 20}, {"node_sockstat_UDP_mem_bytes", 4 << 20},
		{"node_sockstat_", 50}, {"node_timex_offset", 0.01}, {"node_timex_", 0.001},
	} {
		if strings.HasPrefix(name, row.prefix) && name != "node_nf_conntrack_entries_limit" {
			return row.by
		}
	}
	return 0
}

// oursAlone are series that Debian's node_exporter 1.5 leaves out and its upstream does not: loopback, and mounts where
// people put media. Fields of the kernel that came after it are gauges of memory.
func oursAlone(series string) bool {
	return strings.Contains(series, "device=lo}") || strings.Contains(series, "mountpoint=/mnt/") || strings.Contains(series, "mountpoint=/run") ||
		strings.HasPrefix(series, "node_hwmon_")
}

func scrapeTheirs(t *testing.T, url string) map[string]float64 {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]float64{}
	for name, f := range families {
		if strings.HasPrefix(name, "node_") && !strings.HasPrefix(name, "node_exporter") && !strings.HasPrefix(name, "node_scrape") {
			for _, m := range f.Metric {
				theirs[key(name, m)] = value(m)
			}
		}
	}
	return theirs
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("MemTotal: 1 kB\nActive(anon): 2 kB\n"))
	f.Add([]byte("Tcp: A B\nTcp: 1 2\n"))
	f.Add([]byte("/dev/sda1 /a\\040b ext4 rw,relatime 0 0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseMeminfo(data)
		mounts, _ := parseMounts(data)
		for _, m := range mounts {
			if m.device == "" || m.fstype == "" {
				t.Errorf("a mount without device or type of %q", data)
			}
		}
		pairs(data, func(protocol, name string, _ float64) {
			if name == "" {
				t.Errorf("a number without a name of %q", data)
			}
		})
	})
}

func BenchmarkUpdate(b *testing.B) {
	c := New(Options{Procfs: "/proc", Sysfs: "/sys", Rootfs: "/", Peer: nobody, Log: slog.New(slog.DiscardHandler)})
	b.ReportAllocs()
	for b.Loop() {
		ch := make(chan prometheus.Metric, 100_000)
		if err := c.Update(context.Background(), ch); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(ch)), "series")
	}
}
