package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestVolumesAreWhatAContainerWasGiven(t *testing.T) {
	procfs := machine(t, map[string]string{
		"web/cgroup.procs": "42\n43\n", "empty/cgroup.procs": "", "late/cgroup.procs": "77\n",
		"42/mountinfo": `100 1 8:1 / / rw - ext4 /dev/sda1 rw
101 100 0:5 / /proc rw - proc proc rw
102 100 0:6 / /dev/shm rw - tmpfs shm rw
103 100 8:1 /run/hosts /etc/hosts rw - ext4 /dev/sda1 rw
104 100 8:2 /volumes/data /var/lib/my\040data rw - xfs /dev/sdb rw
105 100 0:7 / /mnt/share rw - nfs4 server:/x rw
106 100 8:3 / /dev/disk rw - ext4 /dev/sdc rw
`})
	layout := CgroupLayout{Mount: procfs, Root: "/"}
	got, err := layout.Volumes(procfs, "/web")
	want := []Volume{{"/var/lib/my data", procfs + "/42/root/var/lib/my data"}, {"/mnt/share", procfs + "/42/root/mnt/share"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("volumes = %v, %v, want %v", got, err, want)
	}
	for _, group := range []string{"/empty", "/late", "/gone"} {
		if got, err := layout.Volumes(procfs, group); got != nil || err != nil {
			t.Errorf("volumes of %s = %v, %v, want none and no error", group, got, err)
		}
	}
}

func TestFileSystemsAnswerBesideTheDead(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan string, 2*maxAsked)
	f := FileSystems{Ask: func(path string, to *unix.Statfs_t) error {
		asked <- path
		switch {
		case strings.HasPrefix(path, "dead"):
			<-release
		case path == "broken":
			return errors.New("I/O error")
		}
		to.Blocks = 7
		return nil
	}}
	got := f.Stat(t.Context(), []string{"dead1", "good", "broken", "dead2"})
	if got[0] != nil || got[1] == nil || got[1].Blocks != 7 || got[2] != nil || got[3] != nil {
		t.Errorf("answers = %v, want only the second", got)
	}
	if got := f.Stat(t.Context(), []string{"dead1", "good"}); got[0] != nil || got[1] == nil || f.Waiting() != 2 || len(asked) != 5 {
		t.Errorf("answers = %v, %d wait, %d questions, want the dead not to be asked again", got, f.Waiting(), len(asked))
	}
	var many []string
	for i := range 2 * maxAsked {
		many = append(many, fmt.Sprintf("dead of many %d", i))
	}
	f.Stat(t.Context(), many)
	if n := f.Waiting(); n != maxAsked {
		t.Errorf("%d wait, want %d at most", n, maxAsked)
	}
	close(release)
	for f.Waiting() > 0 {
		time.Sleep(time.Millisecond)
	}
}
