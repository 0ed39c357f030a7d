package exporter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// NodeDemand returns what reads the node's own resources from procfs: processors, memory, threads and PSI where there is
// one.
func NodeDemand(path string) func() (Demand, error) {
	return func() (Demand, error) {
		d := unknown()
		fs, err := procfs.NewFS(path)
		if err != nil {
			return d, err
		}
		err = errors.Join(d.addCPU(fs), d.addMemory(fs), d.addThreads(fs, path))
		if psi, e := fs.PSIStatsForResource("io"); e == nil && psi.Some != nil { // many kernels have it off
			d.IOPressure = float64(psi.Some.Total) / 1e6
		}
		return d, err
	}
}

func (d *Demand) addCPU(fs procfs.FS) error {
	stat, err := fs.Stat()
	if err != nil {
		return err
	}
	c := stat.CPUTotal // user and nice hold the guests' time too
	d.CPU = c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
	return nil
}

// addMemory takes as used what is not available, and all there is as the limit.
func (d *Demand) addMemory(fs procfs.FS) error {
	m, err := fs.Meminfo()
	if err != nil {
		return err
	}
	if m.MemTotalBytes == nil || m.MemAvailableBytes == nil {
		return errors.New("meminfo has no MemTotal or no MemAvailable")
	}
	d.Memory, d.MemoryLimit = float64(*m.MemTotalBytes-*m.MemAvailableBytes), float64(*m.MemTotalBytes)
	return nil
}

// addThreads reads how many threads there are, which loadavg tells, and how many there may be.
func (d *Demand) addThreads(fs procfs.FS, path string) error {
	text, err := os.ReadFile(filepath.Join(path, "loadavg"))
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(text), "/")
	all, _, _ := strings.Cut(rest, " ")
	if d.Pids, err = strconv.ParseFloat(all, 64); err != nil {
		return fmt.Errorf("loadavg: %q: want four numbers, the fourth as running/all", strings.TrimSpace(string(text)))
	}
	limits := []string{"pid_max", "threads-max"}
	for i, name := range limits {
		n, err := fs.SysctlInts("kernel." + name)
		if err != nil {
			return err
		}
		if i == 0 || float64(n[0]) < d.PidsLimit {
			d.PidsLimit = float64(n[0])
		}
	}
	return nil
}
