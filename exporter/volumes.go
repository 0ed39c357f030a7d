package exporter

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// Volumes shows how full the volumes of containers are.
type Volumes struct {
	groups                  func(yield func(event.Group))
	layout                  host.CgroupLayout
	procfs                  string
	filesystems             host.FileSystems
	size, available, silent *Family
}

// NewVolumes returns the collector. Groups yields the control groups that are a workload's own.
func NewVolumes(groups func(yield func(event.Group)), layout host.CgroupLayout, procfs string) *Volumes {
	return &Volumes{
		groups: groups, layout: layout, procfs: procfs,
		size: NewGauge("yagura_volume_size_bytes",
			"Size of the file system behind a volume of a container.", "mountpoint").PerWorkload().NotAdditive(),
		available: NewGauge("yagura_volume_available_bytes",
			"Free space of the file system behind a volume, for others than root.", "mountpoint").PerWorkload().NotAdditive(),
		silent: NewGauge("yagura_volumes_silent", "Volumes whose file system was asked and has not answered.").Fixed(),
	}
}

// Entry returns the collector's row in the list of collectors.
func (v *Volumes) Entry() Entry {
	return Entry{
		Name: "volumes", Help: "How full the volumes of containers are.", Default: true,
		Collector: v, Families: v.families(),
	}
}

func (v *Volumes) families() []*Family { return []*Family{v.size, v.available, v.silent} }

// Update sends all families. A volume that does not answer has no series; it holds up one scrape for a second, once.
func (v *Volumes) Update(ctx context.Context, ch chan<- prometheus.Metric) error {
	var owners []event.Workload
	var points, paths []string
	var errs []error
	v.groups(func(g event.Group) {
		if g.Container == nil {
			return
		}
		list, err := v.layout.Volumes(v.procfs, g.Path)
		errs = append(errs, err)
		for _, volume := range list {
			owners, points, paths = append(owners, g.Workload), append(points, volume.Point), append(paths, volume.Path)
		}
	})
	for _, f := range v.families() {
		f.Begin()
	}
	for i, st := range v.filesystems.Stat(ctx, paths) {
		if st != nil {
			v.size.Set(owners[i], float64(st.Blocks)*float64(st.Bsize), points[i])
			v.available.Set(owners[i], float64(st.Bavail)*float64(st.Bsize), points[i])
		}
	}
	v.silent.Set(event.Workload{}, float64(v.filesystems.Waiting()))
	for _, f := range v.families() {
		f.Send(ch)
	}
	return errors.Join(errs...)
}
