package containers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// Surveys are the surveys of running containers and of their runtimes. What a container may do is the kernel's word, read from its
// processes; what only its runtime knows is asked of that. The Resolver need not Run.
func (r *Resolver) Surveys() []event.NamedSurvey {
	return []event.NamedSurvey{
		{Name: "containers", Kinds: []*event.FactKind{event.RunningContainer, event.ContainerMount}, Survey: r.surveyContainers},
		{Name: "container-runtimes", Kinds: []*event.FactKind{event.ContainerRuntime, event.ContainerNetwork}, Survey: r.surveyRuntimes},
	}
}

// SurveysOf are the surveys of containers if the machine is this one: elsewhere none runs.
func (r *Resolver) SurveysOf(m event.Machine) []event.NamedSurvey {
	if m.Procfs == "" {
		return nil
	}
	return r.Surveys()
}

// A survey is one look at all containers.
type survey struct {
	*Resolver
	proc    *host.Tree
	layout  host.CgroupLayout
	engines map[*client]engine
	opened  []engine // those that are closed in the end
	down    error    // why a runtime that is there does not answer
	host    hostView
	images  map[string]*imageConfig
}

// surveyContainers reports every container that runs.
func (r *Resolver) surveyContainers(ctx context.Context, report func(event.Fact)) error {
	s, err := r.newSurvey()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.discover(ctx); err != nil {
		return err
	}
	known := r.table.recorded()
	for _, group := range r.table.groups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if group.Container == nil || group.Container.IsSandbox {
			continue
		}
		s.container(ctx, group, known[group.Container], report)
	}
	s.unknown(report)
	return nil
}

func (r *Resolver) newSurvey() (*survey, error) {
	machine := &host.Surveys{Procfs: r.procfs}
	s := &survey{Resolver: r, proc: machine.Proc(), engines: map[*client]engine{}, images: map[string]*imageConfig{}}
	var err error
	if s.layout, err = host.Cgroups(r.procfs); err != nil {
		return nil, err
	}
	s.host, err = s.readHost()
	return s, err
}

func (s *survey) close() {
	for _, e := range s.opened {
		e.Close()
	}
}

// discover makes the table agree with the control groups and the runtimes as they are now, whether or not the Resolver runs.
func (s *survey) discover(ctx context.Context) error {
	begun, groups := s.clock(), map[uint64]string{}
	if err := s.layout.Walk(ctx, func(id uint64, path string) error { groups[id] = path; return nil }); err != nil {
		return err
	}
	s.Reconcile(begun, groups)
	s.connect(ctx, true)
	if s.allListed() {
		s.table.setSynced()
	}
	for _, id := range s.table.unnamed() {
		s.identify(ctx, id)
	}
	return ctx.Err()
}

// connect opens every runtime that is there and not yet connected, and lists its containers if that is wanted.
func (s *survey) connect(ctx context.Context, list bool) {
	for _, c := range s.clients {
		e := c.connected()
		if e == nil && c.present() {
			e = s.open(ctx, c, list)
		}
		if e != nil {
			s.engines[c] = e
		}
	}
}

func (s *survey) open(ctx context.Context, c *client, list bool) engine {
	e, err := c.open(ctx)
	if err != nil {
		s.down = errors.Join(s.down, err)
		return nil
	}
	s.opened = append(s.opened, e)
	if !list {
		return e
	}
	if err := c.list(ctx, e, reporter{s.Resolver, &c.source}); err != nil {
		s.down = errors.Join(s.down, err)
	}
	return e
}

// allListed says whether every runtime that is there has said all it knows: just now, or since the Resolver runs.
func (s *survey) allListed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.waitOn {
		if c.present() && (s.engines[c] == nil || c.connected() != nil) {
			return false
		}
	}
	return s.down == nil
}

// identify asks everybody about a control group that may be a container's, and at last the files of those that do not answer.
func (s *survey) identify(ctx context.Context, id uint64) {
	cgroup, _, ok := s.table.waiting(id)
	if !ok {
		return
	}
	candidate := ParseCandidate(cgroup)
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	for c, e := range s.engines {
		asOf := s.now()
		list, err := e.LookUp(ctx, candidate)
		if err != nil {
			s.down = errors.Join(s.down, err)
		}
		for _, f := range list {
			s.table.put(&c.source, s.verified(f, candidate), asOf)
		}
	}
	if _, _, waits := s.table.waiting(id); !waits {
		return
	}
	asOf := s.now()
	for _, f := range s.files.lookUp(candidate, s.hasDocker()) {
		s.table.put(&s.files.source, f, asOf)
	}
}

// unknown reports what looks like a container while its runtime does not answer: nothing can be said of it, least that all is well.
func (s *survey) unknown(report func(event.Fact)) {
	if s.down == nil {
		return
	}
	for _, id := range s.table.unnamed() {
		cgroup, _, ok := s.table.waiting(id)
		if candidate := ParseCandidate(cgroup); ok && candidate.Strict {
			f := event.RunningContainer.New(shortID(candidate.ID), "")
			report(f.Fail(fmt.Errorf("control group %s: it may be a container: %w", cgroup, s.down)))
		}
	}
}

// unnamed are the control groups that may yet be containers'.
func (t *table) unnamed() []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := slices.Collect(maps.Keys(t.pending))
	slices.Sort(ids)
	return ids
}

// recorded are what the runtimes say of each container, the most telling first.
func (t *table) recorded() map[*event.Container][]sighting {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[*event.Container][]sighting, len(t.records))
	for _, rec := range t.records {
		all[rec.container] = slices.Clone(rec.sightings)
	}
	return all
}

// subjectOf is how a container is called: as in Kubernetes namespace/pod/container, or by its name.
func subjectOf(c *event.Container) string {
	if c.Pod != "" {
		return c.Namespace + "/" + c.Pod + "/" + c.Workload.Container
	}
	return c.Workload.Container
}

// container reports one container and what it has of the host.
func (s *survey) container(ctx context.Context, group event.Group, known []sighting, report func(event.Fact)) {
	c := group.Container
	f := event.RunningContainer.New(subjectOf(c), "")
	f.Set("name", c.Workload.Container).Set("namespace", c.Namespace).Set("pod", c.Pod).Set("orchestrated", c.Pod != "")
	f.Set("id", c.ID).Set("runtime", c.Runtime).Set("cgroup", group.Path)
	setImage(f, c.Image)
	if c.Created > 0 {
		f.Set("age_days", daysSince(s.clock(), time.Unix(0, c.Created)))
	}
	in, err := s.begun(ctx, group)
	if in == nil && err == nil {
		return // it has ended meanwhile
	}
	if err == nil {
		err = s.kernelWord(ctx, f, in, group)
	}
	if gone(err) {
		return
	}
	if err != nil {
		report(f.Fail(err))
		return
	}
	s.runtimeWord(ctx, f, group, known)
	s.privileged(f, c)
	report(f)
	for _, m := range in.mounts.hosts {
		report(m.fact(subjectOf(c)))
	}
}

// A container that is only just being made still runs its runtime, which is not yet what it will be. It is waited for a little, and
// no longer: anybody can take that name.
const (
	makingName = "runc:["
	makingWait = 20 * time.Millisecond
	makingMost = 50 // times
)

// begun is the inside of a container, once its runtime has made it.
func (s *survey) begun(ctx context.Context, group event.Group) (*interior, error) {
	for tries := 0; ; tries++ {
		in, err := s.inside(ctx, group)
		if err != nil || in == nil || tries >= makingMost || !strings.HasPrefix(in.first.name, makingName) {
			return in, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(makingWait):
		}
	}
}

// privileged joins what the kernel shows with the runtime's word: either is enough.
func (s *survey) privileged(f event.Fact, c *event.Container) {
	everything, devices := f.Values["all_capabilities"] == true, f.Values["all_devices"] == true
	open := f.Values["proc_masked"] == false && f.Values["sys_writable"] == true && f.Values["seccomp"] != "filter"
	f.Set("privileged", c.Known && c.Privileged || everything && (devices || open))
}

// setImage sets what an image's name says.
func setImage(f event.Fact, image string) {
	if image == "" {
		return
	}
	tag, pinned := imageTag(image)
	f.Set("image", image).Set("image_tag", tag).Set("image_pinned", pinned).Set("image_latest", tag == "latest")
}

// imageTag is the tag that an image is asked for by, latest without one, and whether it is asked for by a digest. A digest alone is
// also how some runtimes write an image that has no name.
func imageTag(image string) (tag string, pinned bool) {
	name, digest, _ := strings.Cut(image, "@")
	if strings.HasPrefix(image, "sha256:") {
		return "", true
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[i+1:], digest != ""
	}
	if digest != "" {
		return "", true
	}
	return "latest", false
}

func daysSince(now, then time.Time) int64 { return max(0, int64(now.Sub(then)/(24*time.Hour))) }

// some joins the first of many names, in order, to one text.
func some(names []string, most int) string {
	names = slices.Clone(names)
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}

// groupDir is where in a directory of this process a control group of the tracked hierarchy is, if it can be seen.
func groupDir(l host.CgroupLayout, group string) (string, bool) {
	if l.Mount == "" {
		return "", false
	}
	if l.Root == "/" {
		return path.Join(l.Mount, group), true
	}
	rest, ok := strings.CutPrefix(group, l.Root)
	return path.Join(l.Mount, rest), ok && (rest == "" || rest[0] == '/')
}
