// Package host reads what the machine says of itself under root directories: its control groups, its processes, and
// what this process may do. It knows no metric, and nothing of containers.
package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Config bounds what the process table remembers.
type Config struct {
	MaxProcesses int           `yaml:"max_processes"` // entries; beyond, those that exited first go, then those not seen for longest
	Linger       time.Duration `yaml:"linger"`        // how long an entry outlives its process
}

// Default is used for every value that is zero.
var Default = Config{
	MaxProcesses: 65536,
	Linger:       30 * time.Second,
}

// maxFile bounds every file read whole. A mount table of a crowded node has a few megabytes.
const maxFile = 16 << 20

// read returns at most limit bytes of a file. Files of /proc have no size, so it cannot be asked for first.
func read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// gone reports whether an error only says that a process or control group has ended meanwhile.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}

// inode returns the number of a directory. In a cgroup file system it is the kernel's id of the control group.
func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// number parses one unsigned decimal number of a /proc file. The error names the field.
func number(field, s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number below 2^%d", field, s, bits)
	}
	return n, nil
}
