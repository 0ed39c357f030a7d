package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/yagura-io/yagura/rules/event"
)

// A teller is an engine that says more of a container than who it is.
type teller interface {
	// tell says what only the runtime knows of a container. What it does not know stays nil.
	tell(ctx context.Context, s *survey, f found) (told, error)
}

// told is what only a runtime knows of a container.
type told struct {
	image         *imageConfig
	ports         []string // ADDRESS:PORT of the host
	portsKnown    bool
	restart       string // no, always, unless-stopped or on-failure
	retries       int64
	bridge        *bool
	health        *bool
	logDriver     string
	usualCgroup   *bool
	everyDevice   *bool
	userSpecified string
}

// An imageConfig is the configuration of an image, as far as it is read.
type imageConfig struct {
	Created time.Time `json:"created"`
	Config  struct {
		User         string
		Env          []string
		ExposedPorts map[string]struct{}
		Healthcheck  *struct{ Test []string }
	} `json:"config"`
}

// runtimeWord sets what only the runtime knows. A runtime that does not answer leaves it unknown: it is a fact of its own that it
// does not.
func (s *survey) runtimeWord(ctx context.Context, f event.Fact, group event.Group, known []sighting) {
	c := group.Container
	for _, sighted := range known {
		for client, e := range s.engines {
			if &client.source != sighted.from {
				continue
			}
			if t, ok := e.(teller); ok {
				ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
				word, err := t.tell(ctx, s, sighted.found)
				cancel()
				if err == nil {
					s.set(f, group, &word)
				}
			}
		}
	}
	if c.Healthcheck != "" || c.Liveness != "" || c.Readiness != "" {
		f.Set("healthcheck", true)
	}
	if f.Values["cgroup_usual"] == nil && c.Pod != "" {
		f.Set("cgroup_usual", strings.HasPrefix(group.Path, "/kubepods") || strings.Contains(group.Path, "/kubepods"))
	}
}

// set sets what was told and nobody has told before.
func (s *survey) set(f event.Fact, group event.Group, t *told) {
	set := func(field string, value any, known bool) {
		if _, before := f.Values[field]; known && !before {
			f.Set(field, value)
		}
	}
	if t.image != nil {
		s.setImageConfig(f, t.image)
	}
	if t.portsKnown {
		low, open := portsOf(t.ports)
		set("ports", some(t.ports, 50), true)
		set("low_ports", some(low, 50), true)
		set("open_ports", some(open, 50), true)
	}
	set("restart", t.restart, t.restart != "")
	set("restart_bounded", t.restart == "no" || t.restart == "on-failure" && t.retries > 0 && t.retries <= 5, t.restart != "")
	set("log_driver", t.logDriver, t.logDriver != "")
	for field, truth := range map[string]*bool{"default_bridge": t.bridge, "healthcheck": t.health, "cgroup_usual": t.usualCgroup, "all_devices": t.everyDevice} {
		if truth != nil {
			set(field, *truth, true)
		}
	}
	if tag := f.Values["image_tag"]; t.userSpecified != "" && (tag == nil || tag == "") {
		setImage(f, t.userSpecified)
	}
}

func (s *survey) setImageConfig(f event.Fact, image *imageConfig) {
	if f.Values["image_user"] != nil {
		return
	}
	user, _, _ := strings.Cut(image.Config.User, ":")
	health := image.Config.Healthcheck
	f.Set("image_user", label(image.Config.User)).Set("image_user_root", user == "" || user == "root" || strings.Trim(user, "0") == "")
	f.Set("image_healthcheck", health != nil && commandLine(health.Test) != "").Set("image_secret_env", some(secretVariables(image.Config.Env), 50))
	f.Set("image_ports", some(slices.Collect(maps.Keys(image.Config.ExposedPorts)), 50))
	if image.Created.Year() >= 2000 { // builds that are to be the same every time write 1970 or 1980
		f.Set("image_age_days", daysSince(s.clock(), image.Created))
	}
}

// portsOf are those of some ports of the host that are below 1024, and those on all addresses.
func portsOf(ports []string) (low, open []string) {
	for _, p := range ports {
		i := strings.LastIndexByte(p, ':')
		if n, err := strconv.Atoi(p[i+1:]); err == nil && n < 1024 {
			low = append(low, p)
		}
		if host := strings.Trim(p[:max(i, 0)], "[]"); host == "" || host == "0.0.0.0" || host == "::" {
			open = append(open, p)
		}
	}
	return low, open
}

// A dockerGiven is the rest of the reply to an inspection.
type dockerGiven struct {
	Image      string
	Config     struct{ Image string }
	HostConfig struct {
		CgroupParent, NetworkMode string
		RestartPolicy             struct {
			Name              string
			MaximumRetryCount int64
		}
		LogConfig  struct{ Type string }
		Privileged bool
	}
	NetworkSettings struct {
		Ports map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string
		}
	}
}

func (e *docker) tell(ctx context.Context, s *survey, f found) (t told, err error) {
	var c dockerGiven
	if err := e.get(ctx, "/containers/"+url.PathEscape(f.ID)+"/json", nil, &c); err != nil {
		return t, err
	}
	t.portsKnown, t.restart, t.retries = true, c.HostConfig.RestartPolicy.Name, c.HostConfig.RestartPolicy.MaximumRetryCount
	if t.restart == "" {
		t.restart = "no"
	}
	for _, name := range slices.Sorted(maps.Keys(c.NetworkSettings.Ports)) {
		for _, at := range c.NetworkSettings.Ports[name] {
			t.ports = append(t.ports, address(at.HostIP, at.HostPort))
		}
	}
	bridge := c.HostConfig.NetworkMode == "default" || c.HostConfig.NetworkMode == "bridge"
	health, usual := f.Healthcheck != "", c.HostConfig.CgroupParent == ""
	t.health, t.usualCgroup, t.logDriver, t.userSpecified = &health, &usual, c.HostConfig.LogConfig.Type, c.Config.Image
	if e.name == "docker" {
		t.bridge = &bridge
	}
	if c.HostConfig.Privileged {
		t.everyDevice = &c.HostConfig.Privileged
	}
	t.image, err = s.image(e.name+" "+c.Image, func() (*imageConfig, error) { return e.image(ctx, c.Image) })
	return t, err
}

func address(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// image reads an image's configuration once.
func (s *survey) image(key string, read func() (*imageConfig, error)) (*imageConfig, error) {
	if c, ok := s.images[key]; ok {
		return c, nil
	}
	c, err := read()
	if err == nil {
		s.images[key] = c
	}
	return c, err
}

func (e *docker) image(ctx context.Context, id string) (*imageConfig, error) {
	var c imageConfig
	err := e.get(ctx, "/images/"+url.PathEscape(id)+"/json", nil, &c)
	if errors.Is(err, errNotFound) { // it was removed by force while a container of it runs
		return nil, nil
	}
	return &c, err
}

// A nerdctlPort is one of the label nerdctl/ports, a criPort one that the kubelet asks for.
type (
	nerdctlPort struct {
		HostPort int
		HostIP   string
	}
	criPort struct {
		HostPort int    `json:"host_port"`
		HostIP   string `json:"host_ip"`
	}
	criPorts struct {
		Metadata struct {
			Config struct {
				PortMappings []criPort `json:"port_mappings"`
			}
		}
	}
)

func (e *containerd) tell(ctx context.Context, s *survey, f found) (t told, err error) {
	reply, err := e.containers.Get(inNamespace(ctx, f.scope), &containersapi.GetContainerRequest{ID: f.ID})
	if err != nil {
		return t, err
	}
	c := reply.GetContainer()
	labels := c.GetLabels()
	if text := labels["nerdctl/ports"]; text != "" {
		var ports []nerdctlPort
		if json.Unmarshal([]byte(text), &ports) == nil {
			t.portsKnown = true
			for _, p := range ports {
				t.ports = append(t.ports, address(p.HostIP, strconv.Itoa(p.HostPort)))
			}
		}
	}
	t.restart, t.retries = restartPolicy(labels)
	if f.Pod != "" {
		e.podPorts(ctx, f, &t)
	}
	usual := slices.Contains(f.paths, "/"+f.scope+"/"+f.ID)
	if f.Pod == "" {
		t.usualCgroup = &usual
	}
	var given ociGrant
	if json.Unmarshal(c.GetSpec().GetValue(), &given) == nil && given.Linux != nil {
		every := allDevices(given.Linux.Resources.Devices)
		t.everyDevice = &every
	}
	if c.GetImage() == "" {
		return t, nil
	}
	t.image, err = s.image("containerd "+f.scope+" "+c.GetImage(), func() (*imageConfig, error) { return e.imageConfig(inNamespace(ctx, f.scope), c.GetImage()) })
	return t, err
}

// restartPolicy reads containerd's own label: always, unless-stopped, on-failure:3.
func restartPolicy(labels map[string]string) (string, int64) {
	name, retries, _ := strings.Cut(labels["containerd.io/restart.policy"], ":")
	if name == "" && labels["containerd.io/restart.status"] != "" {
		name = "always"
	}
	n, err := strconv.ParseInt(retries, 10, 64)
	if err != nil {
		n = 0
	}
	return name, n
}

// podPorts reads the ports of the host that the pod asks for: they are its sandbox's.
func (e *containerd) podPorts(ctx context.Context, f found, t *told) {
	reply, err := e.containers.Get(inNamespace(ctx, f.scope), &containersapi.GetContainerRequest{ID: f.Sandbox})
	if err != nil {
		return
	}
	var noted criPorts
	data := reply.GetContainer().GetExtensions()["io.cri-containerd.sandbox.metadata"].GetValue()
	if len(data) == 0 || json.Unmarshal(data, &noted) != nil {
		return
	}
	t.portsKnown = true
	for _, p := range noted.Metadata.Config.PortMappings {
		if p.HostPort > 0 {
			t.ports = append(t.ports, address(p.HostIP, strconv.Itoa(p.HostPort)))
		}
	}
}

// Bounds of what is read of an image.
const (
	maxBlob  = 4 << 20
	maxIndex = 4 // indexes and manifests between an image's name and its configuration
)

// A contentRef points to content, and an imageManifest, which may be an index, is content that points to more.
type contentRef struct {
	Digest   string `json:"digest"`
	Platform *struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	} `json:"platform"`
}

type imageManifest struct {
	Config    *contentRef  `json:"config"`
	Manifests []contentRef `json:"manifests"`
}

// imageConfig reads an image's configuration of the content store.
func (e *containerd) imageConfig(ctx context.Context, name string) (*imageConfig, error) {
	reply, err := e.images.Get(ctx, &imagesapi.GetImageRequest{Name: name})
	if err != nil {
		return nil, err
	}
	digest := reply.GetImage().GetTarget().GetDigest()
	for range maxIndex {
		data, err := e.blob(ctx, digest)
		if err != nil {
			return nil, err
		}
		var m imageManifest
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		if m.Config != nil && m.Config.Digest != "" {
			return e.configBlob(ctx, m.Config.Digest)
		}
		if digest = e.present(ctx, m.Manifests); digest == "" {
			return nil, fmt.Errorf("image %s: no manifest of it is here", name)
		}
	}
	return nil, fmt.Errorf("image %s: too many indexes", name)
}

func (e *containerd) configBlob(ctx context.Context, digest string) (*imageConfig, error) {
	data, err := e.blob(ctx, digest)
	if err != nil {
		return nil, err
	}
	var c imageConfig
	return &c, json.Unmarshal(data, &c)
}

// present is the first of some manifests that is on this machine: that of its platform.
func (e *containerd) present(ctx context.Context, all []contentRef) string {
	for _, d := range all {
		if d.Platform != nil && d.Platform.OS == "unknown" {
			continue // an attestation
		}
		if _, err := e.content().Info(ctx, &contentapi.InfoRequest{Digest: d.Digest}); err == nil {
			return d.Digest
		}
	}
	return ""
}

func (e *containerd) content() contentapi.ContentClient { return contentapi.NewContentClient(e.conn) }

func (e *containerd) blob(ctx context.Context, digest string) ([]byte, error) {
	stream, err := e.content().Read(ctx, &contentapi.ReadContentRequest{Digest: digest})
	if err != nil {
		return nil, err
	}
	var data []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if data = append(data, part.GetData()...); len(data) > maxBlob {
			return nil, fmt.Errorf("content %s has more than %d bytes", digest, maxBlob)
		}
	}
}

func (e *cri) tell(ctx context.Context, s *survey, f found) (t told, err error) {
	if f.Pod != "" && f.Sandbox != "" {
		reply, err := e.api.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: f.Sandbox, Verbose: true})
		if err == nil {
			t.portsKnown = criSandboxPorts(reply.GetInfo(), &t)
		}
	}
	t.image, err = s.image("cri "+f.ImageID, func() (*imageConfig, error) { return e.image(ctx, f.ImageID) })
	return t, err
}

// criSandboxPorts reads the ports of a verbose status. The text is not part of the interface: without ports nothing is known.
func criSandboxPorts(info map[string]string, t *told) bool {
	var parsed struct {
		Config *struct {
			PortMappings []criPort `json:"port_mappings"`
		} `json:"config"`
	}
	if json.Unmarshal([]byte(info["info"]), &parsed) != nil || parsed.Config == nil {
		return false
	}
	for _, p := range parsed.Config.PortMappings {
		if p.HostPort > 0 {
			t.ports = append(t.ports, address(p.HostIP, strconv.Itoa(p.HostPort)))
		}
	}
	return true
}

// image reads an image's configuration of the verbose status: containerd and CRI-O both write it.
func (e *cri) image(ctx context.Context, id string) (*imageConfig, error) {
	client := runtimeapi.NewImageServiceClient(e.conn)
	reply, err := client.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: id}, Verbose: true})
	if err != nil {
		return nil, err
	}
	var info struct {
		ImageSpec *imageConfig `json:"imageSpec"`
	}
	if err := json.Unmarshal([]byte(reply.GetInfo()["info"]), &info); err != nil || info.ImageSpec == nil {
		return nil, err
	}
	return info.ImageSpec, nil
}

// surveyRuntimes reports the runtimes whose socket is there, and Docker's networks.
func (r *Resolver) surveyRuntimes(ctx context.Context, report func(event.Fact)) error {
	s := &survey{Resolver: r, engines: map[*client]engine{}}
	defer s.close()
	s.connect(ctx, false)
	for _, c := range r.clients {
		if !c.present() {
			continue
		}
		status := c.report()
		f := event.ContainerRuntime.New(status.Runtime+" "+c.socket, "")
		f.Set("name", status.Runtime).Set("socket", c.socket).Set("up", s.engines[c] != nil)
		if status.Version != "" {
			f.Set("version", label(status.Version))
		}
		if e, ok := s.engines[c].(counter); ok {
			if err := e.count(ctx, f); err != nil {
				f.Fail(err)
			}
		}
		report(f)
		if e, ok := s.engines[c].(*docker); ok {
			if err := e.networks(ctx, report); err != nil {
				report(event.ContainerNetwork.New(c.socket, "").Fail(err))
			}
		}
	}
	return ctx.Err()
}

// A counter is an engine that counts its containers and images.
type counter interface {
	count(ctx context.Context, f event.Fact) error
}

// countTimeout bounds the counting: of thousands of images it takes a while.
const countTimeout = 10 * time.Second

func (e *docker) count(ctx context.Context, f event.Fact) error {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	var all []struct{ ImageID, State string }
	if err := e.get(ctx, "/containers/json", url.Values{"all": {"true"}}, &all); err != nil {
		return err
	}
	var images []struct {
		ID string `json:"Id"`
	}
	if err := e.get(ctx, "/images/json", nil, &images); err != nil {
		return err
	}
	used, running := map[string]bool{}, 0
	for _, c := range all {
		used[c.ImageID] = true
		if c.State == "running" || c.State == "paused" || c.State == "restarting" {
			running++
		}
	}
	unused := 0
	for _, image := range images {
		if !used[image.ID] {
			unused++
		}
	}
	setCounts(f, running, len(all)-running, len(images), unused)
	return nil
}

func setCounts(f event.Fact, running, stopped, images, unused int) {
	f.Set("running", int64(running)).Set("stopped", int64(stopped)).Set("images", int64(images)).Set("unused_images", int64(unused))
}

func (e *containerd) count(ctx context.Context, f event.Fact) error {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	namespaces, err := e.namespaceNames(ctx)
	if err != nil {
		return err
	}
	running, stopped := 0, 0
	images, used := map[string]bool{}, map[string]bool{}
	for _, ns := range namespaces {
		if e.isDockers(ns) {
			continue
		}
		in := inNamespace(ctx, ns)
		containers, err := e.containers.List(in, &containersapi.ListContainersRequest{})
		if err != nil {
			return err
		}
		tasks, err := e.tasks.List(in, &tasksapi.ListTasksRequest{})
		if err != nil {
			return err
		}
		list, err := e.images.List(in, &imagesapi.ListImagesRequest{})
		if err != nil {
			return err
		}
		targets := map[string]string{}
		for _, i := range list.GetImages() {
			targets[i.GetName()] = i.GetTarget().GetDigest()
			images[ns+" "+i.GetTarget().GetDigest()] = true
		}
		for _, c := range containers.GetContainers() {
			used[ns+" "+targets[c.GetImage()]] = true
		}
		alive := 0
		for _, t := range tasks.GetTasks() {
			if slices.Contains([]string{"RUNNING", "PAUSED", "PAUSING"}, t.GetStatus().String()) {
				alive++
			}
		}
		running, stopped = running+alive, stopped+max(0, len(containers.GetContainers())-alive)
	}
	unused := 0
	for name := range images {
		if !used[name] {
			unused++
		}
	}
	setCounts(f, running, stopped, len(images), unused)
	return nil
}

// A dockerNetwork is one of the list of networks, as far as it is read.
type dockerNetwork struct {
	Name, Driver, Scope string
	Internal, Ingress   bool
	Options             map[string]string
}

func (e *docker) networks(ctx context.Context, report func(event.Fact)) error {
	if e.name != "docker" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	var all []dockerNetwork
	if err := e.get(ctx, "/networks", nil, &all); err != nil {
		return err
	}
	for _, n := range all[:min(len(all), 1000)] {
		if n.Driver == "host" || n.Driver == "null" {
			continue
		}
		f := event.ContainerNetwork.New(label(n.Name), "")
		f.Set("driver", label(n.Driver)).Set("scope", n.Scope).Set("internal", n.Internal).Set("ingress", n.Ingress)
		if n.Driver == "overlay" {
			_, encrypted := n.Options["encrypted"]
			f.Set("encrypted", encrypted && n.Options["encrypted"] != "false")
		}
		if n.Driver == "bridge" {
			f.Set("icc", n.Options["com.docker.network.bridge.enable_icc"] != "false")
		}
		report(f)
	}
	return nil
}
