package containers

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/yagura-io/yagura/rules/event"
)

// maxSpec bounds a file of a runtime that is read: specs are some 20 KiB.
const maxSpec = 4 << 20

// files reads what runtimes leave on disk of their running containers. Only root writes there. It helps where no socket
// may be used, and for what runs without a daemon.
type files struct {
	source
	bundles []string
	storage []string
}

func newFiles(bundles, storage []string) *files {
	return &files{source: source{rank: rankFiles}, bundles: bundles, storage: storage}
}

// lookUp returns the containers with the candidate's id, less those that Docker has better names for.
func (fs *files) lookUp(candidate Candidate, hasDocker bool) []found {
	var list []found
	for _, dir := range fs.bundles {
		namespaces := []string{candidate.Namespace}
		if candidate.Strict {
			namespaces = subdirectories(dir)
		}
		for _, ns := range namespaces {
			if ns == moby && hasDocker {
				continue
			}
			for _, f := range readPod(candidate.ID, func(id string) string { return filepath.Join(dir, ns, id, "config.json") }) {
				f.scope = ns
				f.Runtime = "containerd"
				if ns == moby {
					f.Runtime = "docker"
				}
				list = append(list, f)
			}
		}
	}
	if !candidate.Strict {
		return list
	}
	for _, dir := range fs.storage {
		list = append(list, readPod(candidate.ID, func(id string) string { return filepath.Join(dir, id, "userdata", "config.json") })...)
	}
	return list
}

// readPod reads a container's spec, and its sandbox's, which knows of the pod.
func readPod(id string, place func(id string) string) []found {
	f, ok := readBundle(place(id), id)
	if !ok {
		return nil
	}
	if f.Sandbox != id && isID(f.Sandbox) {
		if sandbox, ok := readBundle(place(f.Sandbox), f.Sandbox); ok {
			return []found{sandbox, f}
		}
	}
	return []found{f}
}

func subdirectories(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// readBundle reads a container's spec. That it is not there, or half written, says nothing.
func readBundle(path, id string) (found, bool) {
	file, err := os.Open(path)
	if err != nil {
		return found{}, false
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSpec))
	if err != nil {
		return found{}, false
	}
	spec, err := parseSpec(data)
	if err != nil {
		return found{}, false
	}
	f := found{Container: event.Container{ID: id, Runtime: "podman"}, paths: scopePaths(spec.cgroupsPath())}
	if spec.Annotations["io.kubernetes.cri-o.ContainerType"] != "" || spec.Annotations["io.kubernetes.cri-o.ContainerID"] != "" {
		f.Runtime = "cri-o"
		if json.Unmarshal([]byte(spec.Annotations["io.kubernetes.cri-o.Labels"]), &f.Labels) != nil {
			f.Labels = nil
		}
		f.IP = spec.Annotations["io.kubernetes.cri-o.IP.0"]
	}
	grant(&f.Container, data)
	describe(&f.Container, f.Labels, spec.Annotations)
	return f, true
}
