// Package containers tells which container a control group belongs to, and what its runtime says of it.
// It knows nothing of processes, and takes no path for a container unless a runtime or its own files say so.
//
// A Resolver is told of control groups by the events of the kernel and of containers by their runtimes, in either
// order, and joins the two by the path of the control group. The event path never waits: what is unknown is asked for
// in the background, and its series are held back for as long (State Pending), at most Limits.Patience.
//
// The pause container of a pod has the workload labels namespace and pod, and an empty container, as the kubelet's
// cAdvisor writes it with containerd and CRI-O: every query of kube-prometheus already excludes container="".
package containers

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A Config says where the runtimes are. A socket that does not exist is waited for.
type Config struct {
	Containerd []string `yaml:"containerd"` // sockets of containerd's own API
	CRI        []string `yaml:"cri"`        // sockets of the Kubernetes runtime interface
	Docker     []string `yaml:"docker"`     // sockets of the Docker Engine API
	Podman     []string `yaml:"podman"`     // sockets of Podman's version of it
	Bundles    []string `yaml:"bundles"`    // directories of containerd's running containers: NAMESPACE/ID/config.json
	Storage    []string `yaml:"storage"`    // directories of CRI-O's and Podman's: ID/userdata/config.json
	Limits     Limits   `yaml:"limits"`
}

// Limits bound what is kept, and for how long.
type Limits struct {
	Cgroups    int           `yaml:"cgroups"`
	Containers int           `yaml:"containers"`
	Lookups    int           `yaml:"lookups"`  // cgroups that wait to be asked about
	Keep       time.Duration `yaml:"keep"`     // how long the dead are remembered
	Patience   time.Duration `yaml:"patience"` // how long a new cgroup's series wait for a name
}

// Default is what a machine usually has.
var Default = Config{
	Containerd: []string{
		"/run/containerd/containerd.sock",
		"/run/k3s/containerd/containerd.sock",
		"/run/k0s/containerd.sock",
		"/var/snap/microk8s/common/run/containerd.sock",
	},
	CRI:    []string{"/run/crio/crio.sock"},
	Docker: []string{"/run/docker.sock"},
	Podman: []string{"/run/podman/podman.sock"},
	Bundles: []string{
		"/run/containerd/io.containerd.runtime.v2.task",
		"/run/k3s/containerd/io.containerd.runtime.v2.task",
		"/run/k0s/containerd/io.containerd.runtime.v2.task",
		"/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task",
	},
	Storage: []string{"/run/containers/storage/overlay-containers"},
	Limits: Limits{
		Cgroups:    10_000,
		Containers: 4_096,
		Lookups:    1_024,
		Keep:       time.Minute,
		Patience:   3 * time.Second,
	},
}

// Options make a Resolver. The zero value looks at this machine.
type Options struct {
	Root   string           // what stands before every socket and file of Config, where the host's root is mounted
	ProcFS string           // the host's /proc
	Config Config           // a nil list or a zero limit is Default's
	Log    *slog.Logger     // nothing by default
	Clock  func() time.Time // time.Now
}

// A Resolver knows containers by their control groups. Its methods may be called from any goroutine.
type Resolver struct {
	log      *slog.Logger
	clock    func() time.Time
	procfs   string
	table    *table
	clients  []*client
	files    *files
	recorded source
	queue    chan uint64

	mu     sync.Mutex
	waitOn map[*client]bool // not yet listed once
}

// New returns a Resolver that knows nothing yet.
func New(o Options) *Resolver {
	cfg := o.Config.withDefaults()
	r := &Resolver{
		log:    o.Log,
		clock:  o.Clock,
		procfs: cmp.Or(o.ProcFS, "/proc"),
		table:  newTable(cfg.Limits),
		queue:  make(chan uint64, cfg.Limits.Lookups),
		waitOn: map[*client]bool{},
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.clock == nil {
		r.clock = time.Now
	}
	r.files = newFiles(under(o.Root, cfg.Bundles), under(o.Root, cfg.Storage))
	r.clients = newClients(r, o.Root, cfg)
	for _, c := range r.clients {
		r.waitOn[c] = true
	}
	return r
}

func (c Config) withDefaults() Config {
	for list, standard := range map[*[]string][]string{
		&c.Containerd: Default.Containerd, &c.CRI: Default.CRI, &c.Docker: Default.Docker, &c.Podman: Default.Podman,
		&c.Bundles: Default.Bundles, &c.Storage: Default.Storage,
	} {
		if *list == nil {
			*list = standard
		}
	}
	l := &c.Limits
	l.Cgroups = cmp.Or(l.Cgroups, Default.Limits.Cgroups)
	l.Containers = cmp.Or(l.Containers, Default.Limits.Containers)
	l.Lookups = cmp.Or(l.Lookups, Default.Limits.Lookups)
	l.Keep = cmp.Or(l.Keep, Default.Limits.Keep)
	l.Patience = cmp.Or(l.Patience, Default.Limits.Patience)
	return c
}

func under(root string, paths []string) []string {
	list := make([]string, len(paths))
	for i, p := range paths {
		list[i] = filepath.Join("/", root, p)
	}
	return list
}

// AddCgroup enters a control group that was there before its CgroupMake could be seen. The path is relative to the
// hierarchy's root: /system.slice/nginx.service.
func (r *Resolver) AddCgroup(id uint64, path string) { r.enter(id, path, 0) }

// RemoveCgroup notes that a control group is gone whose CgroupRemove was not seen.
func (r *Resolver) RemoveCgroup(id uint64) { r.table.remove(id, r.now()) }

// AddContainer enters a container whose control group is known from elsewhere: in a replay, no runtime can be asked.
func (r *Resolver) AddContainer(c *event.Container, cgroup string) {
	r.table.put(&r.recorded, found{Container: *c, scope: cgroup, paths: []string{cgroup}}, r.now())
}

// Reconcile makes the table agree with a walk of the hierarchy that began at start: it enters what is missing and
// ends what was there before the walk and is no more. It repairs what lost events have left.
func (r *Resolver) Reconcile(start time.Time, cgroups map[uint64]string) {
	for _, id := range r.table.missing(start.UnixNano(), cgroups) {
		r.RemoveCgroup(id)
	}
	for id, path := range cgroups {
		r.AddCgroup(id, path)
	}
}

// Attach sets ev.Container, nil for the host and while unknown, and ev.Unit of what is on the host, and learns from the
// events of control groups. It never blocks on a runtime, and allocates only when a control group is made.
func (r *Resolver) Attach(ev *event.Event) {
	switch ev.Kind {
	case event.CgroupMake:
		r.enter(ev.CgroupID, r.madePath(ev), r.stamp(ev))
	case event.CgroupRemove:
		r.table.remove(ev.CgroupID, r.stamp(ev))
	}
	ev.Container, ev.Unit = nil, ""
	if c := r.table.find(ev.CgroupID); c != nil {
		v := c.view.Load()
		ev.Container, ev.Unit = v.container, v.unit()
	}
}

// madePath completes a path that the kernel side had to cut.
func (r *Resolver) madePath(ev *event.Event) string {
	if len(ev.Path) > 0 && ev.Path[0] == '/' && ev.Task.Flags&event.PathTruncated == 0 {
		return string(ev.Path)
	}
	parent := r.table.find(ev.Parent)
	if parent == nil {
		return string(ev.Path)
	}
	return path.Join(parent.path, path.Base(string(ev.Path)))
}

func (r *Resolver) stamp(ev *event.Event) int64 {
	if ev.Time != 0 {
		return ev.Time
	}
	return r.now()
}

func (r *Resolver) now() int64 { return r.clock().UnixNano() }

func (r *Resolver) enter(id uint64, path string, made int64) {
	if r.table.add(id, path, made, r.now()) {
		r.enqueue(id)
	}
}

// enqueue asks for a look-up. If too many wait, a later sweep tries again until the cgroup is given up.
func (r *Resolver) enqueue(id uint64) {
	select {
	case r.queue <- id:
	default:
	}
}

// Container returns the container of a control group, or nil on the host and while unknown. It must not be changed.
func (r *Resolver) Container(cgroupID uint64) *event.Container {
	c := r.table.find(cgroupID)
	if c == nil {
		return nil
	}
	return c.view.Load().container
}

// Workload returns what the series of a control group belong to. While the state is Pending they must be held back:
// they would start under the host's name and go on under another.
func (r *Resolver) Workload(cgroupID uint64) (event.Workload, State) {
	c := r.table.find(cgroupID)
	if c == nil {
		return event.Workload{}, Unknown
	}
	v := c.view.Load()
	if v.state == Pending && r.now() >= c.deadline {
		r.table.sweep(r.now(), r.anyUp()) // in a replay nobody else does
		v = c.view.Load()
	}
	return v.workload, v.state
}

// Groups calls yield with every live control group that is a workload's own: a container's, or that of a service or scope
// of the host, but not those below.
func (r *Resolver) Groups(yield func(event.Group)) {
	if r == nil {
		return
	}
	for _, g := range r.table.groups() {
		yield(g)
	}
}

// At returns the workload of a control group of the tracked hierarchy by its path, or that of the nearest above it that
// is known.
func (r *Resolver) At(path string) (event.Workload, bool) {
	if r == nil {
		return event.Workload{}, false
	}
	return r.table.at(path)
}

// Containers returns the containers that run, or ran until lately, the oldest first. They must not be changed.
func (r *Resolver) Containers() []*event.Container { return r.table.containers(r.now()) }

// Status returns one row per socket, in the order of Config.
func (r *Resolver) Status() []Status {
	list := make([]Status, len(r.clients))
	for i, c := range r.clients {
		list[i] = c.report()
	}
	return list
}

// Probe asks every socket for its version, for a program that does not Run, and returns the Status.
func (r *Resolver) Probe(ctx context.Context) []Status {
	for _, c := range r.clients {
		c.probe(ctx)
	}
	return r.Status()
}

// lookers is how many look-ups are under way at once: one slow runtime must not hold up another's containers.
const lookers = 4

// sweepEvery is how often waiting cgroups are looked through. Look-ups have their own, growing, intervals.
const sweepEvery = 100 * time.Millisecond

// Run talks to the runtimes until ctx is done. It returns nil: what fails is tried again, and shown by Status.
func (r *Resolver) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, c := range r.clients {
		wg.Go(func() { c.run(ctx) })
	}
	for range lookers {
		wg.Go(func() { r.look(ctx) })
	}
	wg.Go(func() { r.sweep(ctx) })
	if len(r.clients) == 0 {
		r.table.setSynced()
	}
	wg.Wait()
	return nil
}

func (r *Resolver) look(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-r.queue:
			r.lookUp(ctx, id)
		}
	}
}

func (r *Resolver) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	expired := r.clock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := r.clock()
		for _, id := range r.table.sweep(now.UnixNano(), r.anyUp()) {
			r.enqueue(id)
		}
		if now.Sub(expired) >= time.Second {
			expired = now
			r.table.sweepDead(now.UnixNano())
		}
	}
}

// filesAfter is how often a runtime may fail to answer until its files are read instead, after some 750 ms.
const filesAfter = 4

// lookUp asks everyone about one cgroup.
func (r *Resolver) lookUp(ctx context.Context, id uint64) {
	cgroup, asked, ok := r.table.waiting(id)
	if !ok {
		return
	}
	candidate := ParseCandidate(cgroup)
	failed := false
	for _, c := range r.clients {
		err := c.lookUp(ctx, candidate)
		failed = failed || err != nil
	}
	// Files know no image and not every name: they have to wait for a runtime that is there but does not answer yet.
	if _, _, ok := r.table.waiting(id); ok && (!failed || asked >= filesAfter) {
		asOf := r.now()
		for _, f := range r.files.lookUp(candidate, r.hasDocker()) {
			r.table.put(&r.files.source, f, asOf)
		}
	}
	r.table.asked(id, failed, r.now())
}

// verified adds the candidate's path to a container whose spec does not say it, as under a runtime that itself runs in
// a cgroup, if its first process is there. Anyone with a delegated cgroup can make one of the same name.
func (r *Resolver) verified(f found, candidate Candidate) found {
	if f.pid == 0 || f.ID != candidate.ID {
		return f
	}
	for _, p := range r.cgroupsOf(f.pid) {
		if below(p, candidate.Path) {
			f.paths = append(f.paths, candidate.Path)
			break
		}
	}
	return f
}

// placed finds the cgroups of a container whose spec has a relative path: its process is in them.
func (r *Resolver) placed(f found, relative string) found {
	for _, p := range r.cgroupsOf(f.pid) {
		for ; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
			if strings.HasSuffix(p, "/"+relative) {
				f.paths = append(f.paths, p)
			}
		}
	}
	return f
}

// cgroupsOf returns a process's cgroups, one per hierarchy.
func (r *Resolver) cgroupsOf(pid int) []string {
	data, err := os.ReadFile(filepath.Join(r.procfs, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) == 3 && strings.HasPrefix(fields[2], "/") {
			list = append(list, fields[2])
		}
	}
	return list
}

// listed notes that a runtime has said all it knows, or that it is not there to say anything.
func (r *Resolver) listed(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waitOn, c)
	if len(r.waitOn) == 0 {
		r.table.setSynced()
	}
}

func (r *Resolver) anyUp() bool {
	for _, c := range r.clients {
		if c.connected() != nil {
			return true
		}
	}
	return false
}

// Name is Workload for collectors: known is false while the series of the control group must be held back, because its
// runtime was not asked yet or its making has not been heard of.
func (r *Resolver) Name(cgroupID uint64) (w event.Workload, known bool) {
	w, state := r.Workload(cgroupID)
	return w, state == Known
}
