package containers

import (
	"path"
	"strings"
)

// maxLabel bounds a label value: no runtime, Kubernetes or systemd name is longer.
const maxLabel = 255

// Unit returns the systemd unit that a path of the host belongs to: the first service or scope below its slices, which
// is how systemd itself reads a path. What lies deeper was named by the unit's own processes.
//
// Its values are bounded: all a user runs, in login sessions or under the user's manager, is user@UID.service; a number
// that systemd counts up for every start is written *; a scope named for a container is no unit of the host.
func Unit(cgroup string) string {
	user := ""
	for name := range strings.SplitSeq(cgroup, "/") {
		if uid, ok := cutAround(name, "user-", ".slice"); ok && isNumber(uid) {
			user = "user@" + uid + ".service"
		}
		if !strings.HasSuffix(name, ".service") && !strings.HasSuffix(name, ".scope") {
			continue
		}
		if user != "" {
			return user
		}
		if c := leafCandidate(name); c.ID != "" {
			return ""
		}
		return label(boundedUnit(name))
	}
	return ""
}

// boundedUnit writes * for the part of a unit's name that differs at every start: transient units of systemd-run, and
// instances of sockets that accept, which carry a counter and the addresses of the connection.
func boundedUnit(name string) string {
	dot := strings.LastIndexByte(name, '.')
	stem, suffix := name[:dot], name[dot:]
	if prefix, instance, ok := strings.Cut(stem, "@"); ok {
		// COUNTER-LOCAL:PORT-REMOTE:PORT, or COUNTER-PID-UID for a unix socket. postgresql@15-main is a name.
		if f := strings.SplitN(instance, "-", 3); len(f) == 3 && isNumber(f[0]) && (isNumber(f[1]) || strings.Contains(f[1], ":")) {
			return prefix + "@*" + suffix
		}
		return name
	}
	if rest, ok := strings.CutPrefix(stem, "run-"); ok && len(rest) > 1 && strings.ContainsRune("urp", rune(rest[0])) {
		if strings.Trim(rest[1:], "0123456789abcdef-i") == "" {
			return "run-*" + suffix
		}
	}
	return name
}

// PodUID returns the pod that a cgroup path of the kubelet names, in either driver's spelling, or "".
func PodUID(cgroup string) string {
	for name := range strings.SplitSeq(cgroup, "/") {
		if uid, ok := strings.CutPrefix(name, "pod"); ok && isPodUID(uid) {
			return uid
		}
		// The last dash of a slice's name stands for a level of the tree, so the dashes of a uid are escaped.
		if !strings.HasPrefix(name, "kubepods") {
			continue
		}
		name, _, _ = strings.Cut(name, ".slice")
		if i := strings.LastIndex(name, "-pod"); i >= 0 {
			if uid := strings.ReplaceAll(name[i+len("-pod"):], "_", "-"); isPodUID(uid) {
				return uid
			}
		}
	}
	return ""
}

// A Candidate is a container that a cgroup path may belong to. It is a question to the runtimes, never an answer.
type Candidate struct {
	Path      string
	ID        string
	Runtime   string // whose spelling it is; empty if several runtimes write it so
	Namespace string // containerd's, where the path has one
	PodUID    string
	Strict    bool // no host service is named like this
}

// ParseCandidate returns what to ask the runtimes about the last element of a path; its ID is empty if no runtime makes
// such a path. Plain names, as ctr makes them, are two elements: /NAMESPACE/ID.
func ParseCandidate(cgroup string) Candidate {
	dir, leaf := path.Split(cgroup)
	c := leafCandidate(leaf)
	if c.ID == "" && isPlain(leaf) {
		ns := strings.Trim(dir, "/")
		if ns != "" && ns != "kubepods" && !strings.Contains(ns, "/") && isPlain(ns) {
			c = Candidate{ID: leaf, Runtime: "containerd", Namespace: ns}
		}
	}
	c.Path = cgroup
	if c.ID != "" {
		c.PodUID = PodUID(dir + leaf)
	}
	return c
}

// runtimeOf tells whose prefix stands before an id. The monitors beside a container (crio-conmon, libpod-conmon) are
// not the container.
var runtimeOf = map[string]string{
	"docker":         "docker",
	"cri-containerd": "containerd",
	"nerdctl":        "containerd",
	"crio":           "cri-o",
	"libpod":         "podman",
}

func leafCandidate(leaf string) Candidate {
	// A runtime that was given slice:prefix:id and does not drive systemd takes it for a name.
	if fields := strings.Split(leaf, ":"); len(fields) == 3 && isID(fields[2]) {
		return Candidate{ID: fields[2], Runtime: runtimeOf[fields[1]], Strict: true}
	}
	name := strings.TrimSuffix(leaf, ".scope")
	if isID(name) {
		return Candidate{ID: name, Strict: true}
	}
	i := strings.LastIndexByte(name, '-')
	if i < 0 || !isID(name[i+1:]) || strings.HasSuffix(name[:i], "-conmon") {
		return Candidate{}
	}
	return Candidate{ID: name[i+1:], Runtime: runtimeOf[name[:i]], Strict: true}
}

// scopePaths returns where runc and crun put a container whose OCI spec says cgroupsPath. It returns nothing if that
// depends on where the runtime itself runs.
func scopePaths(cgroupsPath string) []string {
	if strings.HasPrefix(cgroupsPath, "/") {
		if p := path.Clean(cgroupsPath); p != "/" {
			return []string{p}
		}
		return nil
	}
	fields := strings.Split(cgroupsPath, ":")
	if len(fields) != 3 || fields[2] == "" || strings.Contains(cgroupsPath, "/") {
		return nil
	}
	slice, ok := expandSlice(fields[0])
	if !ok {
		return nil
	}
	name := fields[2]
	switch {
	case strings.HasSuffix(name, ".slice"):
	case fields[1] == "":
		name += ".scope"
	default:
		name = fields[1] + "-" + name + ".scope"
	}
	return []string{path.Join(slice, name)}
}

// expandSlice returns the directory of a slice: a-b.slice lies in a.slice.
func expandSlice(slice string) (string, bool) {
	if slice == "" {
		slice = "system.slice"
	}
	stem, ok := strings.CutSuffix(slice, ".slice")
	if !ok {
		return "", false
	}
	if stem == "-" {
		return "/", true
	}
	dir := ""
	for i := 0; i < len(stem); i++ {
		if stem[i] != '-' {
			continue
		}
		if i == 0 || i == len(stem)-1 || stem[i-1] == '-' {
			return "", false
		}
		dir += "/" + stem[:i] + ".slice"
	}
	return dir + "/" + slice, true
}

// isHostPath tells that no runtime makes a path like this, so there is nobody to ask.
func isHostPath(cgroup string) bool {
	leaf := path.Base(cgroup)
	return leaf == "/" || leafCandidate(leaf).ID == "" && !isPlain(leaf)
}

// isPlain tells a name that is not a systemd unit's.
func isPlain(name string) bool {
	if name == "" || strings.HasPrefix(name, ".") {
		return false
	}
	switch path.Ext(name) {
	case ".service", ".scope", ".slice", ".mount", ".socket", ".swap":
		return false
	}
	return true
}

// isID tells a container id of Docker, the CRI runtimes and Podman: 256 random bits.
func isID(s string) bool { return len(s) == 64 && isHex(s) }

func isPodUID(s string) bool {
	switch len(s) {
	case 32: // a static pod: the hash of its manifest
		return isHex(s)
	case 36:
		return s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' && isHex(strings.ReplaceAll(s, "-", "")) &&
			strings.Count(s, "-") == 4
	}
	return false
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func cutAround(s, prefix, suffix string) (string, bool) {
	s, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, suffix)
}

// label returns s as a label value: valid UTF-8 of bounded length.
func label(s string) string { return cut(s, maxLabel) }

// cut returns s as valid UTF-8 of at most so many bytes.
func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
