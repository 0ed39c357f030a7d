package node

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	cpuSeconds = counter("node_cpu_seconds_total", "Time that each processor spent in each mode.", "cpu", "mode")
	cpuGuest   = counter("node_cpu_guest_seconds_total", "Time that each processor spent in virtual machines, by mode.", "cpu", "mode")
	cpuMetrics = []*metric{cpuSeconds, cpuGuest}
)

// backwards is how far the kernel's idle and iowait may seem to go back: they are estimates for a processor that sleeps.
// Further back, the processor was taken out and came again.
const backwards = 3.0

// A cpuMode is one mode of one processor.
type cpuMode struct{ cpu, mode string }

// forward returns the highest value shown of a mode, so that a small step back is no restart of the counter.
func (c *Collector) forward(cpu, mode string, v float64) float64 {
	key := cpuMode{cpu, mode}
	if last := c.cpu[key]; v < last && last-v < backwards {
		return last
	}
	c.cpu[key] = v
	return v
}

func readCPU(c *Collector, s *scrape) error {
	stat, err := s.proc.Stat()
	if err != nil {
		return err
	}
	for n, t := range stat.CPU {
		cpu := strconv.FormatInt(n, 10)
		for mode, v := range map[string]float64{"user": t.User, "nice": t.Nice, "system": t.System, "idle": t.Idle,
			"iowait": t.Iowait, "irq": t.IRQ, "softirq": t.SoftIRQ, "steal": t.Steal} {
			s.send(cpuSeconds, c.forward(cpu, mode, v), cpu, mode)
		}
		s.send(cpuGuest, t.Guest, cpu, "user")
		s.send(cpuGuest, t.GuestNice, cpu, "nice")
	}
	return nil
}

var (
	bootTime     = gauge("node_boot_time_seconds", "Unix time at which the machine was booted.")
	switches     = counter("node_context_switches_total", "Switches from one thread to another.")
	interrupts   = counter("node_intr_total", "Interrupts that were served.")
	forks        = counter("node_forks_total", "Processes and threads that were made.")
	procsRunning = gauge("node_procs_running", "Threads that run or could.")
	procsBlocked = gauge("node_procs_blocked", "Threads that wait for I/O and cannot be interrupted.")
	statMetrics  = []*metric{bootTime, switches, interrupts, forks, procsRunning, procsBlocked}
)

func readStat(_ *Collector, s *scrape) error {
	stat, err := s.proc.Stat()
	if err != nil {
		return err
	}
	s.send(bootTime, float64(stat.BootTime))
	s.send(switches, float64(stat.ContextSwitches))
	s.send(interrupts, float64(stat.IRQTotal))
	s.send(forks, float64(stat.ProcessCreated))
	s.send(procsRunning, float64(stat.ProcessesRunning))
	s.send(procsBlocked, float64(stat.ProcessesBlocked))
	return nil
}

var (
	load1       = gauge("node_load1", "Threads that ran, could or were blocked, on average of the last minute.")
	load5       = gauge("node_load5", "The same of the last 5 minutes.")
	load15      = gauge("node_load15", "The same of the last 15 minutes.")
	loadMetrics = []*metric{load1, load5, load15}
)

func readLoad(_ *Collector, s *scrape) error {
	load, err := s.proc.LoadAvg()
	if err != nil {
		return err
	}
	s.send(load1, load.Load1)
	s.send(load5, load.Load5)
	s.send(load15, load.Load15)
	return nil
}

// memoryNames are the fields of /proc/meminfo in the spelling of metrics. What a newer kernel adds is left out and counted.
var memoryNames = strings.Fields(`MemTotal_bytes MemFree_bytes MemAvailable_bytes Buffers_bytes Cached_bytes SwapCached_bytes
	Active_bytes Inactive_bytes Active_anon_bytes Inactive_anon_bytes Active_file_bytes Inactive_file_bytes Unevictable_bytes
	Mlocked_bytes SwapTotal_bytes SwapFree_bytes Zswap_bytes Zswapped_bytes Dirty_bytes Writeback_bytes AnonPages_bytes
	Mapped_bytes Shmem_bytes KReclaimable_bytes Slab_bytes SReclaimable_bytes SUnreclaim_bytes KernelStack_bytes PageTables_bytes
	ShadowCallStack_bytes SecPageTables_bytes NFS_Unstable_bytes Bounce_bytes WritebackTmp_bytes CommitLimit_bytes
	Committed_AS_bytes VmallocTotal_bytes VmallocUsed_bytes VmallocChunk_bytes Percpu_bytes EarlyMemtestBad_bytes
	HardwareCorrupted_bytes AnonHugePages_bytes ShmemHugePages_bytes ShmemPmdMapped_bytes FileHugePages_bytes FilePmdMapped_bytes
	CmaTotal_bytes CmaFree_bytes Unaccepted_bytes Balloon_bytes GPUActive_bytes GPUReclaim_bytes HugePages_Total HugePages_Free
	HugePages_Rsvd HugePages_Surp Hugepagesize_bytes Hugetlb_bytes DirectMap4k_bytes DirectMap2M_bytes DirectMap4M_bytes
	DirectMap1G_bytes`)

var memoryMetrics, memoryByName = fields("node_memory_", memoryNames, gauge, "Field %s of /proc/meminfo.")

// fields makes a metric of every name of a file of names and numbers.
func fields(prefix string, names []string, kind func(name, help string, labels ...string) *metric, help string) ([]*metric, map[string]*metric) {
	var list []*metric
	byName := map[string]*metric{}
	for _, name := range names {
		m := kind(prefix+name, fmt.Sprintf(help, name))
		list = append(list, m)
		byName[name] = m
	}
	return list, byName
}

func readMemory(c *Collector, s *scrape) error {
	data, err := os.ReadFile(filepath.Join(c.o.Procfs, "meminfo"))
	if err != nil {
		return err
	}
	values, err := parseMeminfo(data)
	for name, v := range values {
		if m := memoryByName[name]; m != nil {
			s.send(m, v)
		} else {
			s.leftOut++
		}
	}
	return err
}

// parseMeminfo reads lines "Active(anon):  123 kB" as Active_anon_bytes, and lines without a unit as they are.
func parseMeminfo(data []byte) (map[string]float64, error) {
	values := map[string]float64{}
	for line := range bytes.Lines(data) {
		name, rest, ok := strings.Cut(string(bytes.TrimSpace(line)), ":")
		f := strings.Fields(rest)
		if !ok || len(f) == 0 {
			return values, fmt.Errorf("meminfo: line %q: want NAME: NUMBER", line)
		}
		v, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			return values, fmt.Errorf("meminfo: %s: %q: want a number", name, f[0])
		}
		name = strings.ReplaceAll(strings.TrimSuffix(name, ")"), "(", "_")
		if len(f) > 1 {
			name, v = name+"_bytes", v*1024
		}
		values[name] = v
	}
	return values, nil
}

var vmMetrics, vmByName = fields("node_vmstat_", strings.Fields("oom_kill pgpgin pgpgout pswpin pswpout pgfault pgmajfault"),
	untyped, "Field %s of /proc/vmstat.")

func readVM(c *Collector, s *scrape) error {
	data, err := os.ReadFile(filepath.Join(c.o.Procfs, "vmstat"))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(data) {
		name, value, _ := strings.Cut(string(bytes.TrimSpace(line)), " ")
		if m := vmByName[name]; m != nil {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("vmstat: %s: %q: want a number", name, value)
			}
			s.send(m, v)
		}
	}
	return nil
}

var (
	pressureCPU    = counter("node_pressure_cpu_waiting_seconds_total", "Time in which some threads waited for a processor.")
	pressureIO     = counter("node_pressure_io_waiting_seconds_total", "Time in which some threads waited for I/O.")
	stalledIO      = counter("node_pressure_io_stalled_seconds_total", "Time in which no thread could go on for want of I/O.")
	pressureMemory = counter("node_pressure_memory_waiting_seconds_total", "Time in which some threads waited for memory.")
	stalledMemory  = counter("node_pressure_memory_stalled_seconds_total", "Time in which no thread could go on for want of memory.")

	pressureMetrics = []*metric{pressureCPU, pressureIO, stalledIO, pressureMemory, stalledMemory}
)

func readPressure(_ *Collector, s *scrape) error {
	for _, r := range []struct {
		name       string
		some, full *metric
	}{{"cpu", pressureCPU, nil}, {"io", pressureIO, stalledIO}, {"memory", pressureMemory, stalledMemory}} {
		p, err := s.proc.PSIStatsForResource(r.name)
		if err != nil {
			return err
		}
		if p.Some != nil {
			s.send(r.some, float64(p.Some.Total)/1e6)
		}
		if p.Full != nil && r.full != nil {
			s.send(r.full, float64(p.Full.Total)/1e6)
		}
	}
	return nil
}

var (
	entropyBits    = gauge("node_entropy_available_bits", "Entropy that the kernel has gathered.")
	entropyPool    = gauge("node_entropy_pool_size_bits", "Entropy that the kernel can hold.")
	entropyMetrics = []*metric{entropyBits, entropyPool}
)

func readEntropy(_ *Collector, s *scrape) error {
	random, err := s.proc.KernelRandom()
	if err != nil {
		return err
	}
	if random.EntropyAvaliable != nil {
		s.send(entropyBits, float64(*random.EntropyAvaliable))
	}
	if random.PoolSize != nil {
		s.send(entropyPool, float64(*random.PoolSize))
	}
	return nil
}

var (
	filesOpen     = gauge("node_filefd_allocated", "Open files of all processes.")
	filesMaximum  = gauge("node_filefd_maximum", "Files that all processes together may open.")
	filefdMetrics = []*metric{filesOpen, filesMaximum}
)

func readFilefd(_ *Collector, s *scrape) error {
	numbers, err := s.proc.SysctlInts("fs.file-nr")
	if err != nil {
		return err
	}
	if len(numbers) != 3 {
		return fmt.Errorf("file-nr: %v: want three numbers", numbers)
	}
	s.send(filesOpen, float64(numbers[0]))
	s.send(filesMaximum, float64(numbers[2]))
	return nil
}

var (
	timeNow       = gauge("node_time_seconds", "Unix time of the machine.")
	timeZone      = gauge("node_time_zone_offset_seconds", "How far the local time is ahead of UTC.", "time_zone")
	timeSource    = gauge("node_time_clocksource_current_info", "1, with the clock that the kernel reads.", "clocksource", "device")
	timeAvailable = gauge("node_time_clocksource_available_info", "1, with a clock that the kernel could read.", "clocksource", "device")
	timeMetrics   = []*metric{timeNow, timeZone, timeSource, timeAvailable}
)

func readTime(c *Collector, s *scrape) error {
	now := time.Now()
	zone, offset := now.Zone()
	s.send(timeNow, float64(now.UnixNano())/1e9)
	s.send(timeZone, float64(offset), zone)
	dirs, err := filepath.Glob(filepath.Join(c.o.Sysfs, "devices/system/clocksource/clocksource[0-9]*"))
	for _, dir := range dirs {
		device := strings.TrimPrefix(filepath.Base(dir), "clocksource")
		current, err := os.ReadFile(filepath.Join(dir, "current_clocksource"))
		if err != nil {
			return err
		}
		s.send(timeSource, 1, strings.TrimSpace(string(current)), device)
		available, err := os.ReadFile(filepath.Join(dir, "available_clocksource"))
		if err != nil {
			return err
		}
		for _, name := range slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(available))))) {
			s.send(timeAvailable, 1, name, device)
		}
	}
	return err
}

var (
	timexOffset     = gauge("node_timex_offset_seconds", "How far the clock is from the reference it follows.")
	timexFrequency  = gauge("node_timex_frequency_adjustment_ratio", "How much faster the clock is made to run.")
	timexMaxError   = gauge("node_timex_maxerror_seconds", "Largest error of the clock.")
	timexError      = gauge("node_timex_estimated_error_seconds", "Estimated error of the clock.")
	timexStatus     = gauge("node_timex_status", "Bits of the clock's status, as adjtimex(2) has them.")
	timexConstant   = gauge("node_timex_loop_time_constant", "Time constant of the loop that follows the reference.")
	timexTick       = gauge("node_timex_tick_seconds", "Time between two ticks of the clock.")
	timexSync       = gauge("node_timex_sync_status", "1 if the clock follows a reference.")
	timexTAI        = gauge("node_timex_tai_offset_seconds", "How far international atomic time is ahead of UTC.")
	timexPPSFreq    = gauge("node_timex_pps_frequency_hertz", "Frequency that a pulse per second gives.")
	timexPPSJitter  = gauge("node_timex_pps_jitter_seconds", "Jitter of the pulse per second.")
	timexPPSShift   = gauge("node_timex_pps_shift_seconds", "Interval of the pulse per second.")
	timexPPSStable  = gauge("node_timex_pps_stability_hertz", "Stability of the pulse per second.")
	timexPPSJitters = counter("node_timex_pps_jitter_total", "Pulses beyond the limit of jitter.")
	timexPPSCal     = counter("node_timex_pps_calibration_total", "Intervals by which the pulse was calibrated.")
	timexPPSErrors  = counter("node_timex_pps_error_total", "Calibrations that failed.")
	timexPPSExceed  = counter("node_timex_pps_stability_exceeded_total", "Calibrations beyond the limit of stability.")

	timexMetrics = []*metric{timexOffset, timexFrequency, timexMaxError, timexError, timexStatus, timexConstant, timexTick, timexSync,
		timexTAI, timexPPSFreq, timexPPSJitter, timexPPSShift, timexPPSStable, timexPPSJitters, timexPPSCal, timexPPSErrors, timexPPSExceed}
)

// readTimex reads the kernel's clock discipline. Frequencies are in 2^-16 parts per million: adjtimex(2).
func readTimex(_ *Collector, s *scrape) error {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if errors.Is(err, unix.EPERM) {
		return nil // filtered, as systemd and container runtimes do
	}
	if err != nil {
		return fmt.Errorf("adjtimex: %w", err)
	}
	const nanos, partsPerMillion16, timeError = 0x2000, 65536 * 1e6, 5
	divisor := 1e6
	if t.Status&nanos != 0 {
		divisor = 1e9
	}
	synced := 1.0
	if state == timeError {
		synced = 0
	}
	for _, row := range []struct {
		m *metric
		v float64
	}{
		{timexOffset, float64(t.Offset) / divisor}, {timexFrequency, 1 + float64(t.Freq)/partsPerMillion16},
		{timexMaxError, float64(t.Maxerror) / 1e6}, {timexError, float64(t.Esterror) / 1e6}, {timexStatus, float64(t.Status)},
		{timexConstant, float64(t.Constant)}, {timexTick, float64(t.Tick) / 1e6}, {timexSync, synced}, {timexTAI, float64(t.Tai)},
		{timexPPSFreq, float64(t.Ppsfreq) / partsPerMillion16}, {timexPPSJitter, float64(t.Jitter) / divisor},
		{timexPPSShift, float64(t.Shift)}, {timexPPSStable, float64(t.Stabil) / partsPerMillion16}, {timexPPSJitters, float64(t.Jitcnt)},
		{timexPPSCal, float64(t.Calcnt)}, {timexPPSErrors, float64(t.Errcnt)}, {timexPPSExceed, float64(t.Stbcnt)},
	} {
		s.send(row.m, row.v)
	}
	return nil
}

var (
	uname        = gauge("node_uname_info", "1, with what uname(2) says.", "sysname", "release", "version", "machine", "nodename", "domainname")
	unameMetrics = []*metric{uname}
)

func readUname(_ *Collector, s *scrape) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	text := func(b [65]byte) string { return unix.ByteSliceToString(b[:]) }
	s.send(uname, 1, text(u.Sysname), text(u.Release), text(u.Version), text(u.Machine), text(u.Nodename), text(u.Domainname))
	return nil
}

var (
	temperature  = gauge("node_hwmon_temp_celsius", "Temperature of a sensor.", "chip", "sensor")
	chipName     = gauge("node_hwmon_chip_names", "1, with the name that a chip's driver gives it.", "chip", "chip_name")
	hwmonMetrics = []*metric{temperature, chipName}
)

// readHwmon reads the temperatures of /sys/class/hwmon.
func readHwmon(c *Collector, s *scrape) error {
	dirs, err := filepath.Glob(filepath.Join(c.o.Sysfs, "class/hwmon/hwmon*"))
	for _, dir := range dirs {
		chip := hwmonChip(dir)
		if name, err := os.ReadFile(filepath.Join(dir, "name")); err == nil {
			s.send(chipName, 1, chip, strings.TrimSpace(string(name)))
		}
		inputs, _ := filepath.Glob(filepath.Join(dir, "temp*_input"))
		for _, input := range inputs {
			text, err := os.ReadFile(input)
			if err != nil {
				continue // the sensor sleeps
			}
			v, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
			if err != nil {
				return fmt.Errorf("%s: %q: want a number", input, text)
			}
			s.send(temperature, v/1000, chip, strings.TrimSuffix(filepath.Base(input), "_input"))
		}
	}
	return err
}

// hwmonChip names a chip by where it is: the last two parts of its device's path.
func hwmonChip(dir string) string {
	device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
	if err != nil {
		return filepath.Base(dir)
	}
	return chipPart(filepath.Base(filepath.Dir(device))) + "_" + chipPart(filepath.Base(device))
}

// chipPart keeps lower-case letters, digits, colons and underscores: platform_coretemp_0, pci0000:00_0000:00:18_3.
func chipPart(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == ':' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(name)), "_")
}

// pairs reads lines of names, each followed by a line of numbers, as /proc/net/snmp and netstat have them.
func pairs(data []byte, yield func(protocol, name string, v float64)) error {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		names := strings.Fields(lines.Text())
		if !lines.Scan() {
			return fmt.Errorf("line %q: want a line of numbers after it", names)
		}
		values := strings.Fields(lines.Text())
		if len(names) != len(values) || len(names) == 0 || names[0] != values[0] {
			return fmt.Errorf("%d names and %d numbers of %.20q: want as many of the same protocol", len(names), len(values), names)
		}
		protocol := strings.TrimSuffix(names[0], ":")
		for i, name := range names[1:] {
			v, err := strconv.ParseFloat(values[i+1], 64)
			if err != nil {
				return fmt.Errorf("%s %s: %q: want a number", protocol, name, values[i+1])
			}
			yield(protocol, name, v)
		}
	}
	return lines.Err()
}
