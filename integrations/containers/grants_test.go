package containers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

// ownSpaces are those of a container that shares nothing.
const ownSpaces = `{"type":"mount"},{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"}`

// specOf returns a whole spec.
func specOf(capabilities, namespaces, devices, masked, mounts string) string {
	return fmt.Sprintf(`{"ociVersion":"1.1.0","process":{"args":["x"],"capabilities":{"bounding":[%s]}},"mounts":[%s],`+
		`"linux":{"namespaces":[%s],"maskedPaths":[%s],"resources":{"devices":[%s]}}}`, capabilities, mounts, namespaces, masked, devices)
}

func TestWhatASpecGives(t *testing.T) {
	t.Parallel()
	const (
		admin  = `"CAP_CHOWN","CAP_SYS_ADMIN"`
		all    = `{"allow":true,"access":"rwm"}`
		none   = `{"allow":false,"access":"rwm"}`
		null   = `{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}`
		masked = `"/proc/kcore"`
	)
	for _, tt := range []struct {
		name, spec string
		want       event.Container
	}{
		{"no spec", ``, event.Container{}},
		{"one without a process", `{"linux":{"namespaces":[]}}`, event.Container{}},
		{"one without Linux", `{"process":{}}`, event.Container{}},
		{"one that is none", `{"process":{},"linux":{"namespaces":{}}}`, event.Container{}},
		{"nothing", specOf(``, ownSpaces, none, masked, ``), event.Container{Known: true}},

		{"all of the host", specOf(admin, ownSpaces, none+","+all, ``, ``), event.Container{Known: true, Privileged: true}},
		{"all devices, spelled out", specOf(admin, ownSpaces, `{"allow":true,"type":"a","major":-1,"minor":-1,"access":"rwm"}`, ``, ``),
			event.Container{Known: true, Privileged: true}},
		{"only the capability", specOf(admin, ownSpaces, none+","+null, ``, ``), event.Container{Known: true}},
		{"no word on devices", specOf(admin, ownSpaces, ``, ``, ``), event.Container{Known: true}},
		{"all but the capability", specOf(`"CAP_CHOWN"`, ownSpaces, all, ``, ``), event.Container{Known: true}},
		{"all but what is masked", specOf(admin, ownSpaces, all, masked, ``), event.Container{Known: true}},
		{"all devices, and then none", specOf(admin, ownSpaces, all+","+none, ``, ``), event.Container{Known: true}},
		{"all devices but one", specOf(admin, ownSpaces, all+`,{"allow":false,"type":"b","major":8,"access":"w"}`, ``, ``), event.Container{Known: true}},
		{"all devices for reading", specOf(admin, ownSpaces, `{"allow":true,"type":"a","access":"r"}`, ``, ``), event.Container{Known: true}},
		{"all character devices", specOf(admin, ownSpaces, `{"allow":true,"type":"c","access":"rwm"}`, ``, ``), event.Container{Known: true}},
		{"all devices of a driver", specOf(admin, ownSpaces, `{"allow":true,"major":8,"access":"rwm"}`, ``, ``), event.Container{Known: true}},

		{"the host's pid name space", specOf(``, `{"type":"network"},{"type":"ipc"}`, none, masked, ``), event.Container{Known: true, HostPID: true}},
		{"the host's network", specOf(``, `{"type":"pid"},{"type":"ipc"}`, none, masked, ``), event.Container{Known: true, HostNetwork: true}},
		{"the host's ipc name space by its path", specOf(``, `{"type":"pid"},{"type":"network"},{"type":"ipc","path":"/proc/1/ns/ipc"}`, none, masked, ``),
			event.Container{Known: true, HostIPC: true}},
		{"another's network", specOf(``, `{"type":"pid","path":"/proc/11/ns/pid"},{"type":"network","path":"/run/netns/a"},{"type":"ipc"}`, none, masked, ``),
			event.Container{Known: true}},
		{"no name space at all", specOf(``, ``, none, masked, ``), event.Container{Known: true, HostPID: true, HostNetwork: true, HostIPC: true}},

		{"mounts", specOf(``, ownSpaces, none, masked, `{"destination":"/proc","type":"proc","source":"proc","options":["nosuid"]},`+
			`{"destination":"/a","type":"bind","source":"/srv/a","options":["rbind","ro","rslave"]},`+
			`{"destination":"/b","type":"none","source":"/srv/b","options":["bind"]},`+
			`{"destination":"/c","type":"bind","source":"/srv/c"},`+
			`{"destination":"/d","source":"tmpfs","type":"tmpfs","options":["ro"]}`),
			event.Container{Known: true, Mounts: []event.Mount{
				{Source: "/srv/a", Dest: "/a", Mode: "rbind,ro,rslave", Propagation: "rslave"},
				{Source: "/srv/b", Dest: "/b", Mode: "bind", Writable: true, Propagation: "rprivate"},
				{Source: "/srv/c", Dest: "/c", Writable: true, Propagation: "rprivate"},
			}}},
	} {
		var got event.Container
		grant(&got, []byte(tt.spec))
		if !sameContainer(&got, &tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// What the kubelet asked for counts where a spec does not tell, but not for the sandbox: it says there what is to come.
func TestPrivilegedAsTheKubeletSays(t *testing.T) {
	t.Parallel()
	plain := specOf(``, ownSpaces, ``, `"/proc/kcore"`, ``)
	for _, tt := range []struct {
		name, info string
		want       bool
	}{
		{"CRI-O says so", `{"privileged":true,"runtimeSpec":` + plain + `}`, true},
		{"CRI-O says not", `{"privileged":false,"runtimeSpec":` + plain + `}`, false},
		{"containerd was asked so", `{"config":{"linux":{"security_context":{"privileged":true}}},"runtimeSpec":` + plain + `}`, true},
		{"containerd was not", `{"config":{"linux":{"security_context":{}}},"runtimeSpec":` + plain + `}`, false},
		{"nobody was asked", `{"runtimeSpec":` + plain + `}`, false},
	} {
		var got event.Container
		parseGrant(map[string]string{"info": tt.info}).give(&got)
		if got.Privileged != tt.want || !got.Known {
			t.Errorf("%s: privileged = %v, known = %v, want %v, true", tt.name, got.Privileged, got.Known, tt.want)
		}
	}
	var noted criRecord
	noted.Metadata.Config.Linux.SecurityContext.Privileged, noted.Metadata.IP = true, "10.0.0.1"
	sandbox, inside := event.Container{IsSandbox: true}, event.Container{}
	noted.give(&sandbox)
	noted.give(&inside)
	if sandbox.Privileged || sandbox.IP != "10.0.0.1" || !inside.Privileged || inside.IP != "" {
		t.Errorf("sandbox = %+v, container = %+v, want the address for the one and privileges for the other", sandbox, inside)
	}
}

func TestHealthcheckIsACommandLine(t *testing.T) {
	t.Parallel()
	for want, test := range map[string][]string{
		"curl -f localhost":    {"CMD", "curl", "-f", "localhost"},
		"curl -f $HOST || err": {"CMD-SHELL", "curl -f $HOST || err"},
	} {
		if got := commandLine(test); got != want {
			t.Errorf("commandLine(%q) = %q, want %q", test, got, want)
		}
	}
	for _, test := range [][]string{nil, {"NONE"}, {"CMD"}, {"what", "else"}} {
		if got := commandLine(test); got != "" {
			t.Errorf("commandLine(%q) = %q, want none", test, got)
		}
	}
}

func TestGrantsAreBounded(t *testing.T) {
	t.Parallel()
	f := says("web", "/default/web")
	f.Healthcheck, f.IP, f.Liveness, f.Readiness = strings.Repeat("h", 5000), strings.Repeat("9", 5000), strings.Repeat("l", 5000), "\xff"
	for range 1000 {
		f.Mounts = append(f.Mounts, event.Mount{Source: "/s", Dest: "/d"})
	}
	f.PodLabels = map[string]string{"big": strings.Repeat("x", maxLabelBytes), "app": "web"}
	given := f.Mounts
	f.clean()
	if len(f.Healthcheck) != 1024 || len(f.IP) != 1024 || len(f.Liveness) != 1024 || f.Readiness != "\uFFFD" || len(f.Mounts) != 256 || len(f.PodLabels) != 1 {
		t.Errorf("%d, %d, %d bytes, %q, %d mounts, %d labels", len(f.Healthcheck), len(f.IP), len(f.Liveness), f.Readiness, len(f.Mounts), len(f.PodLabels))
	}
	if len(given) != 1000 {
		t.Errorf("the caller's mounts were cut to %d", len(given))
	}
	f.Mounts = slices.Repeat([]event.Mount{{Source: strings.Repeat("s", 5000), Dest: strings.Repeat("d", 900), Mode: "rw"}}, 100)
	f.clean()
	if n := len(f.Mounts); n != maxMountBytes/(1024+900+2) || len(f.Mounts[0].Source) != 1024 {
		t.Errorf("%d mounts of %d bytes, want as many as fit into %d", n, len(f.Mounts[0].Source), maxMountBytes)
	}
}

func TestGrantsOfTwoSourcesAreNotMixed(t *testing.T) {
	t.Parallel()
	r := New(offline())
	r.AddCgroup(1, "/docker/"+hexID)
	low := says(hexID, "/docker/"+hexID)
	low.Known, low.HostPID, low.Mounts, low.IP = true, true, []event.Mount{{Source: "/low"}}, "10.0.0.1"
	r.table.put(testSource, low, 1)
	if got := r.Container(1); !got.Known || !got.HostPID || len(got.Mounts) != 1 {
		t.Errorf("container = %+v, want what containerd says", got)
	}
	docker := &source{rank: rankDocker}
	high := says(hexID, "/docker/"+hexID)
	r.table.put(docker, high, 1)
	if got := r.Container(1); !got.Known || !got.HostPID || len(got.Mounts) != 1 || got.IP != "10.0.0.1" {
		t.Errorf("container = %+v, want what containerd says, as Docker says nothing", got)
	}
	high.Known, high.Privileged = true, true
	r.table.put(docker, high, 2)
	if got := r.Container(1); !got.Privileged || got.HostPID || len(got.Mounts) != 0 {
		t.Errorf("container = %+v, want what Docker says and no more", got)
	}
	before := r.Container(1)
	r.table.put(docker, high, 3)
	if r.Container(1) != before {
		t.Error("the same reply made a new container")
	}
}
