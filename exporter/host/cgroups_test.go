package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// machine builds a root directory of files. A name that ends in a slash is a directory, a text that begins with ->
// a link. In texts @ stands for the root.
func machine(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		text = strings.ReplaceAll(text, "@", root)
		if target, link := strings.CutPrefix(text, "->"); link {
			err = os.Symlink(target, path)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const v1Cgroups = `#subsys_name	hierarchy	num_cgroups	enabled
cpuset	3	1	1
cpu	2	40	1
cpuacct	2	40	1
memory	4	80	1
pids	8	44	1
`

func TestCgroups(t *testing.T) {
	t.Parallel()
	initial := "->" + initialCgroupNamespace
	tests := []struct {
		name   string
		procfs string
		files  map[string]string
		want   CgroupLayout // Mount below the root; Note is only whether there is one
	}{
		{
			name: "v1 on the host",
			files: map[string]string{
				"proc/self/cgroup":    "4:memory:/user.slice\n2:cpu,cpuacct:/\n1:name=systemd:/user.slice/session-1.scope\n",
				"proc/self/mountinfo": "30 20 0:29 / @/cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 / @/cg/memory rw,relatime shared:9 master:1 - cgroup cgroup rw,memory\n",
				"proc/cgroups":        v1Cgroups,
				"proc/self/ns/cgroup": initial,
				"cg/memory/":          "", "cg/cpu,cpuacct/": "",
			},
			want: CgroupLayout{Version: 1, Controller: "memory", HierarchyID: 4, Mount: "cg/memory", Root: "/", Namespace: "/"},
		},
		{
			name: "v1 without the memory controller",
			files: map[string]string{
				"proc/self/cgroup":    "2:cpu,cpuacct:/\n",
				"proc/self/mountinfo": "30 20 0:29 / @/cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
				"proc/cgroups":        "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\ncpu\t2\t3\t1\ncpuacct\t2\t3\t1\n",
				"proc/self/ns/cgroup": initial,
				"cg/cpu,cpuacct/":     "",
			},
			want: CgroupLayout{Version: 1, Controller: "cpu", HierarchyID: 2, Mount: "cg/cpu,cpuacct", Root: "/", Namespace: "/"},
		},
		{
			name: "hybrid without /proc/cgroups",
			files: map[string]string{
				"proc/self/cgroup":    "8:pids:/a\n4:memory:/a\n0::/\n",
				"proc/self/mountinfo": "31 23 0:28 / @/cg rw - tmpfs  rw\n35 31 0:32 / @/cg/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / @/cg/unified rw - cgroup2 cgroup2 rw\n",
				"proc/self/ns/cgroup": initial,
				"cg/memory/":          "", "cg/unified/": "",
			},
			want: CgroupLayout{Version: 1, Hybrid: true, Controller: "memory", HierarchyID: 4, Mount: "cg/memory", Root: "/", Namespace: "/"},
		},
		{
			name: "v2 with odd names",
			files: map[string]string{
				"proc/self/cgroup":    "0::/init.scope\n",
				"proc/self/mountinfo": `26 23 0:23 / @/c\040g rw - cgroup2 cgroup2 rw,nsdelegate` + "\n",
				"proc/cgroups":        "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t80\t1\n",
				"proc/self/ns/cgroup": initial,
				"c g/init.scope/":     "",
			},
			want: CgroupLayout{Version: 2, Mount: "c g", Root: "/", Namespace: "/"},
		},
		{
			name:   "v1 docker container with the host under /host",
			procfs: "host/proc",
			files: map[string]string{
				"host/proc/self/cgroup": "4:memory:/docker/abc\n",
				"host/proc/self/mountinfo": "50 40 0:32 /docker/abc @/cg/memory ro - cgroup cgroup rw,memory\n" +
					"60 40 0:32 / @/host/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
				"host/proc/cgroups":        v1Cgroups,
				"host/proc/self/ns/cgroup": initial,
				"cg/memory/":               "", "host/sys/fs/cgroup/memory/docker/abc/": "",
			},
			want: CgroupLayout{Version: 1, Controller: "memory", HierarchyID: 4, Mount: "host/sys/fs/cgroup/memory", Root: "/", Namespace: "/"},
		},
		{
			name:   "host mounts known from its first process only",
			procfs: "host/proc",
			files: map[string]string{
				"host/proc/1/cgroup":          "0::/init.scope\n",
				"host/proc/1/mountinfo":       "26 23 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
				"host/proc/1/ns/cgroup":       initial,
				"host/sys/fs/cgroup/a.slice/": "",
			},
			want: CgroupLayout{Version: 2, Mount: "host/sys/fs/cgroup", Root: "/", Namespace: "/"},
		},
		{
			name: "v1 docker container by itself",
			files: map[string]string{
				"proc/self/cgroup":    "4:memory:/docker/abc\n",
				"proc/self/mountinfo": "50 40 0:32 /docker/abc @/cg/memory ro - cgroup cgroup rw,memory\n",
				"proc/cgroups":        v1Cgroups,
				"proc/self/ns/cgroup": initial,
				"cg/memory/":          "",
			},
			want: CgroupLayout{Version: 1, Controller: "memory", HierarchyID: 4, Mount: "cg/memory", Root: "/docker/abc", Namespace: "/", Note: "yes"},
		},
		{
			name:   "v2 pod with its own namespace and the host's mount",
			procfs: "host/proc",
			files: map[string]string{
				"host/proc/self/cgroup": "0::/\n",
				"host/proc/self/mountinfo": "50 40 0:32 / @/cg ro - cgroup2 cgroup rw\n" +
					"60 40 0:32 /../../.. @/host/sys/fs/cgroup ro - cgroup2 cgroup2 rw\n",
				"host/proc/self/ns/cgroup": "->cgroup:[4026532800]",
				"cg":                       "->@/host/sys/fs/cgroup/kubepods.slice/pod1/c1", // the same directory, as a second mount of it is
				"host/sys/fs/cgroup/kubepods.slice/pod1/c1/": "", "host/sys/fs/cgroup/init.scope/": "",
			},
			want: CgroupLayout{Version: 2, Mount: "host/sys/fs/cgroup", Root: "/", Namespace: "/kubepods.slice/pod1/c1"},
		},
		{
			name: "v2 pod with its own namespace by itself",
			files: map[string]string{
				"proc/self/cgroup":    "0::/\n",
				"proc/self/mountinfo": "50 40 0:32 / @/cg ro - cgroup2 cgroup rw\n",
				"proc/self/ns/cgroup": "->cgroup:[4026532800]",
				"cg/":                 "",
			},
			want: CgroupLayout{Version: 2, Mount: "cg", Root: "/", Note: "yes"},
		},
		{
			name: "nothing mounted",
			files: map[string]string{
				"proc/self/cgroup":    "0::/\n",
				"proc/self/mountinfo": "22 27 0:21 / /proc rw - proc proc rw\n",
				"proc/self/ns/cgroup": initial,
			},
			want: CgroupLayout{Version: 2, Root: "/", Namespace: "/", Note: "yes"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root := machine(t, test.files)
			got, err := Cgroups(filepath.Join(root, cmpOr(test.procfs, "proc")))
			if err != nil {
				t.Fatal(err)
			}
			if (got.Note != "") != (test.want.Note != "") {
				t.Errorf("Note = %q, want %q", got.Note, test.want.Note)
			}
			if test.want.Mount != "" {
				test.want.Mount = filepath.Join(root, test.want.Mount)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(CgroupLayout{}, "Note")); diff != "" {
				t.Errorf("layout (-want +got):\n%s", diff)
			}
		})
	}
}

func cmpOr(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

func TestCgroupsErrors(t *testing.T) {
	t.Parallel()
	f := func(want string, files map[string]string) {
		t.Helper()
		_, err := Cgroups(filepath.Join(machine(t, files), "proc"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Cgroups() = %v, want %q", err, want)
		}
	}
	f("no control groups", map[string]string{"proc/self/": ""})
	f("no control groups: neither", map[string]string{"proc/self/cgroup": "1:name=systemd:/\n"})
	f(`cgroup line 2: hierarchy: "x" is not a number`, map[string]string{"proc/self/cgroup": "0::/\nx:memory:/\n"})
	f(`cgroup line 1: 2 fields`, map[string]string{"proc/self/cgroup": "0:/\n"})
	f(`cgroups line 1: 2 fields`, map[string]string{"proc/self/cgroup": "0::/\n", "proc/cgroups": "memory 4"})
	f(`mountinfo line 1: 5 fields before the dash and 9 in all`, map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": "1 2 0:1 / /x - tmpfs tmpfs rw\n"})
	_, err := Cgroups(filepath.Join(machine(t, map[string]string{"proc/self/": ""}), "proc"))
	if !errors.Is(err, ErrNoCgroups) {
		t.Errorf("Cgroups() = %v, want ErrNoCgroups", err)
	}
}

func TestParseProcCgroup(t *testing.T) {
	t.Parallel()
	f := func(l CgroupLayout, text, want string) {
		t.Helper()
		got, err := l.ParseProcCgroup([]byte(text))
		if err != nil || got != want {
			t.Errorf("ParseProcCgroup(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	v1 := CgroupLayout{Version: 1, Controller: "memory", HierarchyID: 4, Namespace: "/"}
	v2 := CgroupLayout{Version: 2, Namespace: "/"}
	f(v1, "8:pids:/x\n4:memory:/docker/0123\n0::/\n", "/docker/0123")
	f(v1, "12:pids:/a\n4:memory:/kubepods/burstable/pod1/c\n", "/kubepods/burstable/pod1/c")
	f(v1, "4:memory:/system.slice:cri-containerd:0123\n", "/system.slice:cri-containerd:0123")
	f(v1, "4:memory:/x (deleted)\n", "/x (deleted)") // a name like any other
	f(v2, "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-0123.scope\n", "/kubepods.slice/kubepods-pod1.slice/cri-containerd-0123.scope")
	f(v2, "0::/system.slice/ssh.service (deleted)\n", "/system.slice/ssh.service")
	f(v2, "1:name=systemd:/a\n0::/", "/")
	own := CgroupLayout{Version: 2, Namespace: "/kubepods.slice/pod1/c1"}
	f(own, "0::/\n", "/kubepods.slice/pod1/c1")
	f(own, "0::/sub\n", "/kubepods.slice/pod1/c1/sub")
	f(own, "0::/../c2\n", "/kubepods.slice/pod1/c2")
	f(own, "0::/../../../init.scope\n", "/init.scope")
	f(CgroupLayout{Version: 2}, "0::/../c2\n", "/../c2")
	if _, err := v1.ParseProcCgroup([]byte("0::/\n")); err == nil || !strings.Contains(err.Error(), "no line for hierarchy 4") {
		t.Errorf("ParseProcCgroup() = %v", err)
	}
}

func TestWalk(t *testing.T) {
	t.Parallel()
	root := machine(t, map[string]string{"cg/a/b/": "", "cg/a/tasks": "1", "cg/c/": ""})
	walk := func(l CgroupLayout) (paths []string) {
		err := l.Walk(t.Context(), func(id uint64, path string) error {
			if want, err := l.ID(path); err != nil || want != id {
				t.Errorf("ID(%q) = %d, %v, walked %d", path, want, err, id)
			}
			if path == "/a" { // and it is gone before it is read
				os.RemoveAll(filepath.Join(root, "cg/c"))
			}
			paths = append(paths, path)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return paths
	}
	mount := filepath.Join(root, "cg")
	if got, want := walk(CgroupLayout{Mount: mount, Root: "/"}), []string{"/", "/a", "/a/b"}; !slices.Equal(got, want) {
		t.Errorf("Walk = %q, want %q", got, want)
	}
	if got, want := walk(CgroupLayout{Mount: mount, Root: "/docker/x"}), []string{"/docker/x", "/docker/x/a", "/docker/x/a/b"}; !slices.Equal(got, want) {
		t.Errorf("Walk = %q, want %q", got, want)
	}
	if _, err := (CgroupLayout{Mount: mount, Root: "/docker/x"}).ID("/docker/xy"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ID of a path that is not shown: %v", err)
	}
	if err := (CgroupLayout{Note: "nowhere"}).Walk(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("Walk without a mount: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (CgroupLayout{Mount: mount, Root: "/"}).Walk(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Walk after its end: %v", err)
	}
}

func TestWalkEndsAtItsDepth(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, strings.Repeat("d/", maxCgroupDepth+5)), 0o755); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := CgroupLayout{Mount: root, Root: "/"}.Walk(t.Context(), func(uint64, string) error { n++; return nil })
	if err != nil || n != maxCgroupDepth+1 {
		t.Errorf("Walk = %v after %d control groups, want %d", err, n, maxCgroupDepth+1)
	}
}

// TestLiveCgroups holds what /proc says of this process against the hierarchy.
func TestLiveCgroups(t *testing.T) {
	t.Parallel()
	l, err := Cgroups("/proc")
	if errors.Is(err, ErrNoCgroups) {
		t.Skip("needs a kernel with control groups")
	}
	if err != nil {
		t.Fatal(err)
	}
	if l.Mount == "" {
		t.Skip("needs a mounted control group hierarchy: " + l.Note)
	}
	path, err := l.CgroupPath("/proc", uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	id, err := l.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	err = l.Walk(t.Context(), func(walked uint64, at string) error {
		found = found || walked == id && at == path
		return nil
	})
	if err != nil || !found {
		t.Errorf("%+v: own control group %s (%d) not walked: %v", l, path, id, err)
	}
	if l.Root == "/" && l.Note == "" {
		if root, err := l.ID("/"); err != nil || root != rootCgroupID {
			t.Errorf("the root's id is %d, %v, want %d", root, err, rootCgroupID)
		}
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add([]byte("35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"))
	f.Add([]byte(`26 23 0:23 /../.. /c\040g\ rw - cgroup2  rw` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		mounts, err := parseMountinfo(data)
		if err != nil && !strings.HasPrefix(err.Error(), "mountinfo line ") {
			t.Errorf("error %q does not name the line", err)
		}
		var l CgroupLayout
		for _, m := range mounts {
			l.place([]cgroupMount{{m, 1}}, false)
		}
	})
}

func FuzzParseProcCgroup(f *testing.F) {
	f.Add([]byte("4:memory:/docker/x\n0::/../a (deleted)\n"), "/a/b")
	f.Fuzz(func(t *testing.T, data []byte, namespace string) {
		l := CgroupLayout{Version: 2, Namespace: namespace}
		path, err := l.ParseProcCgroup(data)
		if err == nil && namespace == "/" && !strings.HasPrefix(path, "/") {
			t.Errorf("path %q does not begin with a slash", path)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "cgroup") {
			t.Errorf("error %q does not name the file", err)
		}
	})
}

func FuzzParseCgroups(f *testing.F) {
	f.Add([]byte(v1Cgroups))
	f.Fuzz(func(t *testing.T, data []byte) {
		bound, err := parseCgroups(data)
		if err != nil && !strings.HasPrefix(err.Error(), "cgroups line ") {
			t.Errorf("error %q does not name the line", err)
		}
		for name, id := range bound {
			if id <= 0 {
				t.Errorf("%s is bound to hierarchy %d", name, id)
			}
		}
	})
}
