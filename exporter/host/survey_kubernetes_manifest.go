package host

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds of static pods: files of a directory, containers of a pod.
const (
	maxKubeManifests  = 200
	maxKubeContainers = 50
)

// kubeManifestDirs are where kubelets of well-known distributions read static pods.
var kubeManifestDirs = []string{"/etc/kubernetes/manifests", "/etc/kubernetes/static-pods", "/var/lib/rancher/rke2/agent/pod-manifests", "/var/lib/rancher/k3s/agent/pod-manifests"}

// A kubeMount is where a file of the machine is in a container.
type kubeMount struct{ inside, outside string }

// A kubeContainer is a container of a static pod that runs a program of Kubernetes.
type kubeContainer struct {
	program string
	args    []string
	at      string // file:line
	file    string
	image   string
	mounts  []kubeMount
	env     map[string]string
}

// kubeManifests reads the static pods of some directories: the containers in them that run a program of ours, and what cannot be read,
// by the program that its name is like.
func (s *Surveys) kubeManifests(dirs []string) (all []kubeContainer, troubles []kubeTrouble) {
	for _, dir := range dirs {
		names, err := s.readDir(dir)
		if Absent(err) {
			continue
		}
		if err != nil {
			troubles = append(troubles, kubeTrouble{"", dir, err})
			continue
		}
		looked := 0
		for _, n := range names {
			if n.Name[0] == '.' || n.Type == "directory" {
				continue // as the kubelet does
			}
			file := path.Join(dir, n.Name)
			if looked++; looked > maxKubeManifests {
				troubles = append(troubles, kubeTrouble{"", dir, fmt.Errorf("%s: it has more than %d files", dir, maxKubeManifests)})
				break
			}
			found, err := s.kubeManifest(file)
			if err != nil {
				troubles = append(troubles, kubeTrouble{programLike(n.Name), file, err})
			}
			all = append(all, found...)
		}
	}
	return all, troubles
}

// programLike is the program whose name a file's begins with, empty if it is none.
func programLike(name string) string {
	for _, program := range kubePrograms {
		if strings.HasPrefix(name, program) {
			return program
		}
	}
	return ""
}

func (s *Surveys) kubeManifest(file string) ([]kubeContainer, error) {
	pod, err := s.kubeYAML(file)
	if err != nil {
		return nil, err
	}
	return podPrograms(file, pod)
}

// podPrograms are the containers of a pod that run a program of ours.
func podPrograms(file string, pod *kubeValue) (all []kubeContainer, err error) {
	if pod.get("kind").string() != "Pod" {
		return nil, nil
	}
	containers := pod.get("spec", "containers").items()
	if len(containers) > maxKubeContainers {
		return nil, fmt.Errorf("%s: want at most %d containers", file, maxKubeContainers)
	}
	volumes := map[string]string{}
	for _, v := range pod.get("spec", "volumes").items() {
		if dir := v.get("hostPath", "path").string(); dir != "" {
			volumes[v.get("name").string()] = dir
		}
	}
	for _, c := range containers {
		if c == nil {
			continue
		}
		one := kubeContainer{file: file, at: c.at, image: c.get("image").string(), env: map[string]string{}}
		for _, e := range c.get("env").items() {
			one.env[e.get("name").string()] = e.get("value").string()
		}
		one.program, one.args = programOf(one.expand(c.get("command").strings()), one.expand(c.get("args").strings()), one.image)
		if one.program == "" {
			continue
		}
		for _, m := range c.get("volumeMounts").items() {
			if dir := volumes[m.get("name").string()]; dir != "" {
				one.mounts = append(one.mounts, kubeMount{path.Clean("/" + m.get("mountPath").string()), path.Join(dir, m.get("subPath").string())})
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// expand puts the container's variables in the place of $(NAME).
func (c *kubeContainer) expand(words []string) []string {
	for i := range words {
		if !strings.Contains(words[i], "$(") {
			continue
		}
		for name, value := range c.env {
			words[i] = strings.ReplaceAll(words[i], "$("+name+")", value)
		}
	}
	return words
}

// kubeLaunchers are programs that do nothing but start another, which their arguments name.
var kubeLaunchers = []string{"go-runner", "tini", "dumb-init", "catatonit", "env", "nice", "exec"}

// programOf is the program of ours that a command line starts, and its arguments. Without a command it is the image's own.
func programOf(command, args []string, image string) (program string, rest []string) {
	if len(command) == 0 {
		name := path.Base(image)
		name, _, _ = strings.Cut(name, "@")
		name, _, _ = strings.Cut(name, ":")
		for _, arch := range []string{"", "-amd64", "-arm64"} {
			if p := strings.TrimSuffix(name, arch); slices.Contains(kubePrograms, p) {
				if len(args) > 0 && path.Base(args[0]) == p {
					args = args[1:]
				}
				return p, args
			}
		}
	}
	words := slices.Concat(command, args)
	if len(words) == 0 {
		return "", nil
	}
	if name := path.Base(words[0]); name == "sh" || name == "bash" || name == "ash" || name == "dash" {
		words = kubeShellCommand(words)
	}
	for i, word := range words {
		if slices.Contains(kubePrograms, path.Base(word)) && !strings.HasPrefix(word, "-") {
			return path.Base(word), words[i+1:]
		}
		if i == 0 && !slices.Contains(kubeLaunchers, path.Base(word)) {
			return "", nil
		}
	}
	return "", nil
}

// kubeShellCommand are the words that sh -c TEXT starts at last, as in "exec kube-apiserver --a=b 1>>/var/log/file 2>&1".
func kubeShellCommand(words []string) []string {
	at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") && strings.HasSuffix(w, "c") })
	if at < 0 || at+1 >= len(words) {
		return nil
	}
	text := words[at+1]
	for _, divider := range []string{"&&", ";", "\n"} {
		if i := strings.LastIndex(strings.TrimRight(text, " ;\n"), divider); i >= 0 {
			text = text[i+len(divider):]
		}
	}
	all := shellWords(strings.TrimSpace(text))
	if end := slices.IndexFunc(all, func(w string) bool { return strings.ContainsAny(w, "<>|&") && !strings.HasPrefix(w, "-") }); end >= 0 {
		all = all[:end]
	}
	if len(all) > 0 && all[0] == "exec" {
		all = all[1:]
	}
	return all
}
