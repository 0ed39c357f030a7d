package host

import (
	"fmt"
	"slices"
	"strings"
)

// A mount is one line of /proc/PID/mountinfo.
type mount struct {
	Root    string // the directory of the file system that is shown
	Point   string // where it is shown, below the root of the process
	Type    string
	Options []string // of the file system, not of this mount
}

// parseMountinfo reads /proc/PID/mountinfo:
//
//	35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
func parseMountinfo(data []byte) ([]mount, error) {
	var mounts []mount
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		fields := strings.Split(line, " ")
		dash := slices.Index(fields, "-")
		// Between the sixth field and the dash stand any number of optional ones.
		if dash < 6 || len(fields) < dash+4 {
			return nil, fmt.Errorf("mountinfo line %d: %d fields before the dash and %d in all, want 6 and 10", number, dash, len(fields))
		}
		mounts = append(mounts, mount{
			Root:    unescape(fields[3]),
			Point:   unescape(fields[4]),
			Type:    fields[dash+1],
			Options: strings.Split(fields[dash+3], ","),
		})
	}
	return mounts, nil
}

// unescape undoes the kernel's octal escapes for blanks and backslashes: \040 is a space.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }
