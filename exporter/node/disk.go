package node

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs/blockdevice"
	"golang.org/x/sys/unix"
)

// A diskColumn is one number of /proc/diskstats, and in which parts of its unit the kernel counts.
type diskColumn struct {
	*metric
	from int // how many numbers a kernel has to have to know it
	unit float64
	read func(*blockdevice.IOStats) uint64
}

const (
	sectorBytes  = 512
	milliseconds = 1e-3
)

var diskColumns = []diskColumn{
	{disk(counter, "reads_completed_total", "Reads that the device has completed."), 11, 1, func(s *blockdevice.IOStats) uint64 { return s.ReadIOs }},
	{disk(counter, "reads_merged_total", "Reads that were merged with others."), 11, 1, func(s *blockdevice.IOStats) uint64 { return s.ReadMerges }},
	{disk(counter, "read_bytes_total", "Bytes read."), 11, sectorBytes, func(s *blockdevice.IOStats) uint64 { return s.ReadSectors }},
	{disk(counter, "read_time_seconds_total", "Time that all reads took."), 11, milliseconds, func(s *blockdevice.IOStats) uint64 { return s.ReadTicks }},
	{disk(counter, "writes_completed_total", "Writes that the device has completed."), 11, 1, func(s *blockdevice.IOStats) uint64 { return s.WriteIOs }},
	{disk(counter, "writes_merged_total", "Writes that were merged with others."), 11, 1, func(s *blockdevice.IOStats) uint64 { return s.WriteMerges }},
	{disk(counter, "written_bytes_total", "Bytes written."), 11, sectorBytes, func(s *blockdevice.IOStats) uint64 { return s.WriteSectors }},
	{disk(counter, "write_time_seconds_total", "Time that all writes took."), 11, milliseconds, func(s *blockdevice.IOStats) uint64 { return s.WriteTicks }},
	{disk(gauge, "io_now", "Requests that the device has now."), 11, 1, func(s *blockdevice.IOStats) uint64 { return s.IOsInProgress }},
	{disk(counter, "io_time_seconds_total", "Time in which the device had any request."), 11, milliseconds, func(s *blockdevice.IOStats) uint64 { return s.IOsTotalTicks }},
	{disk(counter, "io_time_weighted_seconds_total", "Time that all requests took, those of the present too."), 11, milliseconds, func(s *blockdevice.IOStats) uint64 { return s.WeightedIOTicks }},
	{disk(counter, "discards_completed_total", "Discards that the device has completed."), 15, 1, func(s *blockdevice.IOStats) uint64 { return s.DiscardIOs }},
	{disk(counter, "discards_merged_total", "Discards that were merged with others."), 15, 1, func(s *blockdevice.IOStats) uint64 { return s.DiscardMerges }},
	{disk(counter, "discarded_sectors_total", "Sectors of 512 bytes that were discarded."), 15, 1, func(s *blockdevice.IOStats) uint64 { return s.DiscardSectors }},
	{disk(counter, "discard_time_seconds_total", "Time that all discards took."), 15, milliseconds, func(s *blockdevice.IOStats) uint64 { return s.DiscardTicks }},
	{disk(counter, "flush_requests_total", "Flushes that the device has completed."), 17, 1, func(s *blockdevice.IOStats) uint64 { return s.FlushRequestsCompleted }},
	{disk(counter, "flush_requests_time_seconds_total", "Time that all flushes took."), 17, milliseconds, func(s *blockdevice.IOStats) uint64 { return s.TimeSpentFlushing }},
}

func disk(kind func(name, help string, labels ...string) *metric, name, help string) *metric {
	return kind("node_disk_"+name, help, "device")
}

var diskMetrics = func() (list []*metric) {
	for _, c := range diskColumns {
		list = append(list, c.metric)
	}
	return list
}()

// ignoredDisks are the devices that node_exporter leaves out by itself: partitions, and what lies on other devices.
var ignoredDisks = regexp.MustCompile(`^(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`)

func readDisks(c *Collector, s *scrape) error {
	devices, err := blockdevice.NewFS(c.o.Procfs, c.o.Sysfs)
	if err != nil {
		return err
	}
	stats, err := devices.ProcDiskstats()
	if err != nil {
		return err
	}
	for _, d := range stats {
		if ignoredDisks.MatchString(d.DeviceName) {
			continue
		}
		for _, column := range diskColumns {
			if d.IoStatsCount >= column.from+3 {
				s.send(column.metric, float64(column.read(&d.IOStats))*column.unit, d.DeviceName)
			}
		}
	}
	return nil
}

var (
	fsSize  = gauge("node_filesystem_size_bytes", "Size of the file system.", "device", "mountpoint", "fstype")
	fsFree  = gauge("node_filesystem_free_bytes", "Free space, with what is kept for root.", "device", "mountpoint", "fstype")
	fsAvail = gauge("node_filesystem_avail_bytes", "Free space for others than root.", "device", "mountpoint", "fstype")
	fsFiles = gauge("node_filesystem_files", "Files that the file system can hold.", "device", "mountpoint", "fstype")
	fsInode = gauge("node_filesystem_files_free", "Files that can still be made.", "device", "mountpoint", "fstype")
	fsRead  = gauge("node_filesystem_readonly", "1 if the file system is mounted to be read only.", "device", "mountpoint", "fstype")
	fsError = gauge("node_filesystem_device_error", "1 if the file system did not answer, or not in time.", "device", "mountpoint", "fstype")

	filesystemMetrics = []*metric{fsSize, fsFree, fsAvail, fsFiles, fsInode, fsRead, fsError}
)

// What node_exporter leaves out by itself.
var (
	ignoredMounts = regexp.MustCompile(`^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)`)
	ignoredTypes  = strings.Fields(`autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs fusectl hugetlbfs iso9660
		mqueue nsfs overlay proc procfs pstore rpc_pipefs securityfs selinuxfs squashfs sysfs tracefs`)
)

// A mount is one line of /proc/PID/mounts.
type mount struct{ device, point, fstype, options string }

// parseMounts reads lines "DEVICE POINT TYPE OPTIONS 0 0", in which spaces and the like are written as \040.
func parseMounts(data []byte) ([]mount, error) {
	var list []mount
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) < 4 {
			return list, fmt.Errorf("mounts: line %q: want at least four fields", line)
		}
		list = append(list, mount{f[0], unescape(f[1]), f[2], f[3]})
	}
	return list, nil
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

func unescape(s string) string {
	return octal.ReplaceAllStringFunc(s, func(code string) string {
		n, _ := strconv.ParseUint(code[1:], 8, 16)
		return string([]byte{byte(n)})
	})
}

func readFilesystems(c *Collector, s *scrape) error {
	data, err := os.ReadFile(filepath.Join(c.o.Procfs, "1/mounts"))
	if err != nil {
		if data, err = os.ReadFile(filepath.Join(c.o.Procfs, "self/mounts")); err != nil {
			return err
		}
	}
	mounts, err := parseMounts(data)
	seen := map[mount]bool{}
	var shown []mount
	var paths []string
	for _, m := range mounts {
		key := mount{device: m.device, point: m.point, fstype: m.fstype}
		if seen[key] || ignoredMounts.MatchString(m.point) || slices.Contains(ignoredTypes, m.fstype) {
			continue
		}
		seen[key] = true
		shown, paths = append(shown, m), append(paths, filepath.Join(c.o.Rootfs, m.point))
	}
	for i, st := range c.filesystems.Stat(s.ctx, paths) {
		showFilesystem(s, shown[i], st)
	}
	return err
}

func showFilesystem(s *scrape, m mount, st *unix.Statfs_t) {
	send := func(to *metric, v float64) { s.send(to, v, m.device, m.point, m.fstype) }
	readOnly := 0.0
	if slices.Contains(strings.Split(m.options, ","), "ro") {
		readOnly = 1
	}
	if st == nil {
		send(fsError, 1)
		return
	}
	block := float64(st.Bsize)
	send(fsError, 0)
	send(fsRead, readOnly)
	send(fsSize, float64(st.Blocks)*block)
	send(fsFree, float64(st.Bfree)*block)
	send(fsAvail, float64(st.Bavail)*block)
	send(fsFiles, float64(st.Files))
	send(fsInode, float64(st.Ffree))
}
