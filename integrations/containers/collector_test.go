package containers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/yagura-io/yagura/rules/event"
)

// unchecked makes a collector one that a registry takes.
type unchecked struct {
	t *testing.T
	c *Collector
}

func (unchecked) Describe(chan<- *prometheus.Desc) {}

func (u unchecked) Collect(ch chan<- prometheus.Metric) {
	if err := u.c.Update(u.t.Context(), ch); err != nil {
		u.t.Error(err)
	}
}

func TestCollector(t *testing.T) {
	t.Parallel()
	r := New(withSockets(func(c *Config) { c.Docker = []string{"/nowhere/docker.sock"} }))
	r.clients[0].down(fmt.Errorf("it is ill"))
	r.table.setSynced()
	pod := event.Workload{Namespace: "prod", Pod: "shop-7d9c5b8f6-abcde"}
	r.table.put(testSource, found{Container: event.Container{
		Workload: pod, ID: hexID2, Runtime: "containerd", Image: "pause", Sandbox: hexID2, IsSandbox: true, PodUID: podUID,
		Labels: map[string]string{"pod-template-hash": "7d9c5b8f6"}, Created: 1,
	}, paths: []string{"/p/s"}}, 1)
	pod.Container = "cart"
	r.table.put(testSource, found{Container: event.Container{
		Workload: pod, ID: "cart", Runtime: "containerd", Image: "shop/cart:1", ImageID: "sha256:1", Sandbox: hexID2, PodUID: podUID, Created: 2,
	}, paths: []string{"/p/c"}}, 1)
	r.table.put(testSource, says("stopped", "/default/stopped"), 1)
	r.AddCgroup(1, "/p/s")
	r.AddCgroup(2, "/p/c")
	r.AddCgroup(3, "/system.slice/a.service")
	r.AddCgroup(4, "/docker/"+hexID)

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(unchecked{t, NewCollector(r)})
	want := `
# HELP yagura_container_cgroups Control groups in the table that names them, by state: pending ones wait for a runtime's answer.
# TYPE yagura_container_cgroups gauge
yagura_container_cgroups{state="known"} 3
yagura_container_cgroups{state="pending"} 1
# HELP yagura_container_evictions_total Entries that were dropped or refused because a table was full.
# TYPE yagura_container_evictions_total counter
yagura_container_evictions_total{table="cgroups"} 0
yagura_container_evictions_total{table="containers"} 0
# HELP yagura_container_info What its runtime says of a container, for joins by the workload labels. Always 1.
# TYPE yagura_container_info gauge
yagura_container_info{container="",container_id="SANDBOX",image="pause",image_id="",namespace="prod",owner_kind="Deployment",owner_name="shop",pod="shop-7d9c5b8f6-abcde",pod_uid="UID",runtime="containerd",sandbox_id="SANDBOX",unit=""} 1
yagura_container_info{container="cart",container_id="cart",image="shop/cart:1",image_id="sha256:1",namespace="prod",owner_kind="Deployment",owner_name="shop",pod="shop-7d9c5b8f6-abcde",pod_uid="UID",runtime="containerd",sandbox_id="SANDBOX",unit=""} 1
# HELP yagura_container_lookup_misses_total Control groups named like a container's that were given to the host, by reason.
# TYPE yagura_container_lookup_misses_total counter
yagura_container_lookup_misses_total{reason="failed"} 0
yagura_container_lookup_misses_total{reason="no_runtime"} 0
yagura_container_lookup_misses_total{reason="queue_full"} 0
yagura_container_lookup_misses_total{reason="unclaimed"} 0
# HELP yagura_container_runtime_up Whether every socket of a container runtime that was found on this machine answers.
# TYPE yagura_container_runtime_up gauge
yagura_container_runtime_up{runtime="docker"} 0
# HELP yagura_containers Containers and pod sandboxes that run, or ran within the last minute, by runtime.
# TYPE yagura_containers gauge
yagura_containers{runtime="containerd"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(strings.NewReplacer("UID", podUID, "SANDBOX", hexID2).Replace(want))); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}
