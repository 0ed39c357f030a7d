package host

import (
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Usage is what the files of one control group, with all below it, say of its resources. What they do not say is NaN.
type Usage struct {
	CPUUser, CPUSystem        float64 // seconds
	CPULimit                  float64 // processors, the tightest of its own and those above
	CPURequest                float64 // processors, as Kubernetes turns requests into shares
	CPUPeriods, CPUThrottled  float64 // of the quota so far, and those that ended early
	CPUThrottledSeconds       float64
	Memory, WorkingSet        float64 // bytes; the working set is without inactive file pages, as the kubelet counts it
	RSS, Cache, Swap          float64 // bytes
	MemoryLimit               float64 // bytes, the tightest of its own and those above
	MemoryFailures, OOMEvents float64 // how often the limit was hit, and processes killed for it
	Pids, PidsLimit           float64 // threads; the tightest limit
	IO                        []DeviceIO
	Pressure                  []Pressure
}

// A DeviceIO counts what a control group has asked of a block device.
type DeviceIO struct {
	Device            string // MAJOR:MINOR
	Operation         string // read or write
	Bytes, Operations float64
}

// A Pressure is how long threads have waited for a resource: some of them, or all at once.
type Pressure struct {
	Resource, Kind string // cpu, memory or io; some or full
	Seconds        float64
}

// CgroupFiles says where the files of control groups are: on version 1 each controller has a hierarchy of its own.
type CgroupFiles struct {
	v2      bool
	layouts map[string]CgroupLayout // by controller
}

// resourceControllers are those whose files are read.
var resourceControllers = []string{"cpu", "cpuacct", "memory", "pids", "blkio"}

// Files finds the hierarchy of every controller that a Usage is read from. One that is mounted nowhere is left out.
func (l CgroupLayout) Files(procfs string) (CgroupFiles, error) {
	if l.Version == 2 {
		f := CgroupFiles{v2: true, layouts: map[string]CgroupLayout{}}
		for _, name := range resourceControllers {
			f.layouts[name] = l
		}
		return f, nil
	}
	f := CgroupFiles{layouts: map[string]CgroupLayout{}}
	mounts, err := cgroupMounts(procfs, selfDir(procfs))
	if err != nil {
		return f, fmt.Errorf("find the control groups' files: %w", err)
	}
	for _, name := range resourceControllers {
		c := CgroupLayout{Version: 1, Controller: name}
		if c.place(mounts, l.Namespace != "/"); c.Mount != "" {
			f.layouts[name] = c
		}
	}
	return f, nil
}

// A CgroupReader reads control groups one after another, and each limit above them once. It is for one pass.
type CgroupReader struct {
	files  CgroupFiles
	limits map[string]float64
	err    error
}

// Reader starts a pass.
func (f CgroupFiles) Reader() *CgroupReader {
	return &CgroupReader{files: f, limits: map[string]float64{}}
}

// Read returns what the files of a control group say. A file that is not there leaves its numbers NaN, which is normal:
// another version, a controller that is off, or a group that has vanished, which leaves all of them NaN. The error is
// of files that are there and cannot be read or understood; the rest of the Usage holds.
func (r *CgroupReader) Read(group string) (Usage, error) {
	u := unknownUsage()
	r.err = nil
	if r.files.v2 {
		r.readV2(group, &u)
	} else {
		r.readV1(group, &u)
	}
	return u, r.err
}

// Start returns when the oldest process of a control group began, of the first that the kernel lists, or false if the
// group has none of its own.
func (l CgroupLayout) Start(procfs, group string) (time.Time, bool) {
	dir, ok := l.directory(group)
	if !ok {
		return time.Time{}, false
	}
	data, err := read(filepath.Join(dir, "cgroup.procs"), maxFile)
	if err != nil {
		return time.Time{}, false
	}
	const looked = 16
	oldest := uint64(math.MaxUint64)
	for i, word := range strings.Fields(string(data)) {
		pid, err := strconv.ParseUint(word, 10, 32)
		if err != nil || i >= looked {
			break
		}
		if stat, err := readStat(procfs, uint32(pid)); err == nil {
			oldest = min(oldest, stat.Start)
		}
	}
	boot, err := BootTime()
	if err != nil || oldest == math.MaxUint64 {
		return time.Time{}, false
	}
	return time.Unix(0, boot+int64(oldest)), true
}

func unknownUsage() Usage {
	n := math.NaN()
	return Usage{n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, nil, nil}
}

// Known reports whether any file of the group was there.
func (u *Usage) Known() bool {
	return !math.IsNaN(u.CPUUser) || !math.IsNaN(u.Memory) || !math.IsNaN(u.Pids)
}

func (r *CgroupReader) readV1(group string, u *Usage) {
	u.CPUUser, u.CPUSystem = splitCPU(r.number("cpuacct", group, "cpuacct.usage")/1e9,
		r.number("cpuacct", group, "cpuacct.usage_user"), r.number("cpuacct", group, "cpuacct.usage_sys"))
	cpu := r.table("cpu", group, "cpu.stat")
	u.CPUPeriods, u.CPUThrottled, u.CPUThrottledSeconds = cpu.get("nr_periods"), cpu.get("nr_throttled"), cpu.get("throttled_time")/1e9
	u.CPULimit = r.tightest("cpu", group, r.quotaV1)
	u.CPURequest = r.number("cpu", group, "cpu.shares") / sharesPerCPU
	u.Memory = r.number("memory", group, "memory.usage_in_bytes")
	stat := r.table("memory", group, "memory.stat")
	u.WorkingSet = workingSet(u.Memory, stat.get("total_inactive_file"))
	u.RSS, u.Cache, u.Swap = stat.get("total_rss"), stat.get("total_cache"), stat.get("total_swap")
	u.MemoryLimit = limited(stat.get("hierarchical_memory_limit"))
	u.MemoryFailures = r.number("memory", group, "memory.failcnt")
	u.OOMEvents = r.table("memory", group, "memory.oom_control").get("oom_kill")
	u.Pids = r.number("pids", group, "pids.current")
	u.PidsLimit = r.tightest("pids", group, r.limit("pids", "pids.max"))
	u.IO = r.ioV1(group)
}

func (r *CgroupReader) readV2(group string, u *Usage) {
	cpu := r.table("cpu", group, "cpu.stat")
	u.CPUUser, u.CPUSystem = cpu.get("user_usec")/1e6, cpu.get("system_usec")/1e6
	u.CPUPeriods, u.CPUThrottled, u.CPUThrottledSeconds = cpu.get("nr_periods"), cpu.get("nr_throttled"), cpu.get("throttled_usec")/1e6
	u.CPULimit = r.tightest("cpu", group, r.quotaV2)
	u.CPURequest = requestOfWeight(r.number("cpu", group, "cpu.weight"))
	u.Memory = r.number("memory", group, "memory.current")
	stat := r.table("memory", group, "memory.stat")
	u.WorkingSet = workingSet(u.Memory, stat.get("inactive_file"))
	u.RSS, u.Cache = stat.get("anon"), stat.get("file")
	u.Swap = r.number("memory", group, "memory.swap.current")
	u.MemoryLimit = r.tightest("memory", group, r.limit("memory", "memory.max"))
	events := r.table("memory", group, "memory.events")
	u.MemoryFailures, u.OOMEvents = events.get("max"), events.get("oom_kill")
	u.Pids = r.number("pids", group, "pids.current")
	u.PidsLimit = r.tightest("pids", group, r.limit("pids", "pids.max"))
	u.IO = r.ioV2(group)
	for _, resource := range []string{"cpu", "memory", "io"} {
		u.Pressure = append(u.Pressure, r.pressure(group, resource)...)
	}
}

// splitCPU divides what was used, which the kernel measures, as user and system stand to each other, which version 1 only
// samples at every tick; version 2 does this by itself.
func splitCPU(total, user, system float64) (float64, float64) {
	if user+system == 0 {
		return total, 0 * total
	}
	return total * user / (user + system), total * system / (user + system)
}

// sharesPerCPU is what Kubernetes and systemd give a group for each processor that it asks for.
const sharesPerCPU = 1024

// requestOfWeight turns a version 2 weight back into processors. Runtimes make weights of shares by
// weight = 1 + (shares - 2) * 9999 / 262142, since Kubernetes' KEP-2254.
func requestOfWeight(weight float64) float64 {
	return math.Round(2+(weight-1)*262142/9999) / sharesPerCPU
}

func workingSet(usage, inactive float64) float64 {
	if math.IsNaN(usage) || math.IsNaN(inactive) {
		return math.NaN()
	}
	return max(usage-inactive, 0)
}

// limited turns what stands for no limit into NaN: "max", or on version 1 the largest number of whole pages.
func limited(v float64) float64 {
	if v >= 1<<62 {
		return math.NaN()
	}
	return v
}

// tightest is the lowest limit from a group up to the root.
func (r *CgroupReader) tightest(controller, group string, read func(group string) float64) float64 {
	tightest := math.NaN()
	for at := group; at != "/" && at != "." && at != ""; at = path.Dir(at) {
		key := controller + at
		limit, known := r.limits[key]
		if !known {
			limit = read(at)
			r.limits[key] = limit
		}
		if !(limit >= tightest) && !math.IsNaN(limit) {
			tightest = limit
		}
	}
	return tightest
}

func (r *CgroupReader) limit(controller, file string) func(string) float64 {
	return func(group string) float64 { return limited(r.number(controller, group, file)) }
}

func (r *CgroupReader) quotaV1(group string) float64 {
	quota, period := r.number("cpu", group, "cpu.cfs_quota_us"), r.number("cpu", group, "cpu.cfs_period_us")
	if quota < 0 || period <= 0 {
		return math.NaN()
	}
	return quota / period
}

// quotaV2 reads "QUOTA PERIOD", where QUOTA may be max.
func (r *CgroupReader) quotaV2(group string) float64 {
	const file = "cpu.max"
	text, ok := r.text("cpu", group, file)
	if !ok {
		return math.NaN()
	}
	quota, period, _ := strings.Cut(text, " ")
	if quota == "max" {
		return math.NaN()
	}
	return r.parse(group, file, quota) / r.parse(group, file, period)
}

// text returns the trimmed text of a file, or false if there is none.
func (r *CgroupReader) text(controller, group, file string) (string, bool) {
	l, ok := r.files.layouts[controller]
	if !ok {
		return "", false
	}
	dir, ok := l.directory(group)
	if !ok {
		return "", false
	}
	data, err := read(filepath.Join(dir, file), maxFile)
	if err != nil {
		if !gone(err) && !errors.Is(err, unix.EOPNOTSUPP) { // as pressure files answer where PSI is off
			r.fail(err)
		}
		return "", false
	}
	return strings.TrimSpace(string(data)), true
}

func (r *CgroupReader) fail(err error) { r.err = errors.Join(r.err, err) }

func (r *CgroupReader) number(controller, group, file string) float64 {
	text, ok := r.text(controller, group, file)
	if !ok {
		return math.NaN()
	}
	return r.parse(group, file, text)
}

func (r *CgroupReader) parse(group, file, text string) float64 {
	if text == "max" {
		return math.Inf(1)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return float64(n)
		}
		r.fail(fmt.Errorf("%s of control group %s: %q: want a number", file, group, text))
		return math.NaN()
	}
	return float64(n)
}

// A flatTable is a file of lines "NAME NUMBER".
type flatTable map[string]float64

func (t flatTable) get(name string) float64 {
	if v, ok := t[name]; ok {
		return v
	}
	return math.NaN()
}

func (r *CgroupReader) table(controller, group, file string) flatTable {
	text, ok := r.text(controller, group, file)
	if !ok {
		return nil
	}
	t := flatTable{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			r.fail(fmt.Errorf("%s of control group %s: line %q: want a name and a number", file, group, line))
			continue
		}
		t[name] = r.parse(group, file, value)
	}
	return t
}

// ioV1 reads what the throttling layer has counted, which every request passes: lines "MAJ:MIN Read 123".
func (r *CgroupReader) ioV1(group string) []DeviceIO {
	sums := &ioSums{}
	for _, f := range []struct {
		name string
		add  func(*DeviceIO, float64)
	}{
		{"io_service_bytes", func(d *DeviceIO, n float64) { d.Bytes = n }},
		{"io_serviced", func(d *DeviceIO, n float64) { d.Operations = n }},
	} {
		file := "blkio.throttle." + f.name + "_recursive"
		text, ok := r.text("blkio", group, file)
		if !ok {
			file = "blkio.throttle." + f.name
			text, _ = r.text("blkio", group, file)
		}
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) != 3 || fields[1] != "Read" && fields[1] != "Write" {
				continue // sums, and the split into sync and async
			}
			f.add(sums.at(fields[0], strings.ToLower(fields[1])), r.parse(group, file, fields[2]))
		}
	}
	return sums.all
}

// ioV2 reads lines "MAJ:MIN rbytes=1 wbytes=2 rios=3 wios=4 …".
func (r *CgroupReader) ioV2(group string) []DeviceIO {
	const file = "io.stat"
	text, _ := r.text("blkio", group, file)
	sums := &ioSums{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for _, f := range fields[min(1, len(fields)):] {
			name, value, _ := strings.Cut(f, "=")
			switch name {
			case "rbytes":
				sums.at(fields[0], "read").Bytes = r.parse(group, file, value)
			case "wbytes":
				sums.at(fields[0], "write").Bytes = r.parse(group, file, value)
			case "rios":
				sums.at(fields[0], "read").Operations = r.parse(group, file, value)
			case "wios":
				sums.at(fields[0], "write").Operations = r.parse(group, file, value)
			}
		}
	}
	return sums.all
}

type ioSums struct{ all []DeviceIO }

func (s *ioSums) at(device, operation string) *DeviceIO {
	for i := range s.all {
		if s.all[i].Device == device && s.all[i].Operation == operation {
			return &s.all[i]
		}
	}
	s.all = append(s.all, DeviceIO{Device: device, Operation: operation})
	return &s.all[len(s.all)-1]
}

func (r *CgroupReader) pressure(group, resource string) []Pressure {
	text, ok := r.text("cpu", group, resource+".pressure")
	if !ok {
		return nil
	}
	list, err := ParsePressure(resource, text)
	if err != nil {
		r.fail(fmt.Errorf("control group %s: %w", group, err))
	}
	return list
}

// ParsePressure reads a file of pressure stall information: lines "some avg10=… total=MICROSECONDS".
func ParsePressure(resource, text string) ([]Pressure, error) {
	var list []Pressure
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		_, total, ok := strings.Cut(rest, "total=")
		n, err := strconv.ParseUint(total, 10, 64)
		if !ok || err != nil || kind != "some" && kind != "full" {
			return list, fmt.Errorf("%s.pressure: line %q: want some or full, and total=MICROSECONDS at the end", resource, line)
		}
		list = append(list, Pressure{resource, kind, float64(n) / 1e6})
	}
	return list, nil
}
