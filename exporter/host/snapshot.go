package host

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/yagura-io/yagura/rules/event"
)

const (
	snapshotVersion  = 1
	maxSnapshotLine  = 1 << 20
	maxSnapshotLines = 1 << 21
)

// A Snapshot is the state of a machine that a recording of events begins with.
type Snapshot struct {
	Kernel    string // its release, as uname gives it
	Boot      int64  // Unix nanoseconds at boot: what to add to nanoseconds since boot
	Taken     int64  // Unix nanoseconds
	Layout    CgroupLayout
	Cgroups   []Cgroup
	Processes []event.Process // without parents: Table.Load finds them
}

// A Cgroup is one control group of the tracked hierarchy.
type Cgroup struct {
	ID   uint64
	Path string
}

// snapshotLine is one line of the file: exactly one of its members is set. The first line is a Header, the last an End.
type snapshotLine struct {
	Header  *snapshotHeader  `json:"yagura_snapshot,omitempty"`
	Cgroup  *cgroupLine      `json:"cgroup,omitempty"`
	Process *snapshotProcess `json:"process,omitempty"`
	End     *snapshotEnd     `json:"end,omitempty"`
}

type snapshotHeader struct {
	Version int
	Kernel  string
	Boot    int64
	Taken   int64
	Layout  CgroupLayout
}

type cgroupLine struct {
	ID   uint64
	Path text
}

// snapshotProcess spells what may hold any bytes as text.
type snapshotProcess struct {
	event.Task
	Comm text
	Path text   `json:",omitempty"`
	Args []text `json:",omitempty"`
	Cwd  text   `json:",omitempty"`
}

// snapshotEnd tells a whole file from a cut one.
type snapshotEnd struct {
	Cgroups, Processes int
}

// text is a string that survives JSON even if it is not UTF-8.
type text string

func (s text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(s)) {
		return json.Marshal(string(s))
	}
	return json.Marshal(struct{ Base64 string }{base64.StdEncoding.EncodeToString([]byte(s))})
}

func (s *text) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, (*string)(s))
	}
	var encoded struct{ Base64 string }
	if err := json.Unmarshal(data, &encoded); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(encoded.Base64)
	*s = text(raw)
	return err
}

// WriteSnapshot writes the processes and control groups of the machine as JSON lines. Every command line passes
// redact first; nil means Redact.
func WriteSnapshot(w io.Writer, procfs string, layout CgroupLayout, redact func(args []string) []string) error {
	if redact == nil {
		redact = Redact
	}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := writeSnapshot(enc, procfs, layout, redact); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

func writeSnapshot(enc *json.Encoder, procfs string, layout CgroupLayout, redact func(args []string) []string) error {
	header, err := readHeader(procfs, layout)
	if err != nil {
		return err
	}
	if err := enc.Encode(snapshotLine{Header: header}); err != nil {
		return err
	}
	var end snapshotEnd
	if layout.Mount != "" {
		err = layout.Walk(context.Background(), func(id uint64, path string) error {
			end.Cgroups++
			return enc.Encode(snapshotLine{Cgroup: &cgroupLine{id, text(path)}})
		})
		if err != nil {
			return err
		}
	}
	processes, err := readProcesses(procfs, &layout)
	if err != nil {
		return err
	}
	for _, p := range processes {
		end.Processes++
		line := snapshotProcess{Task: p.Task, Comm: text(p.Name()), Path: text(p.Path), Cwd: text(p.Cwd)}
		for _, arg := range redact(p.Args) {
			line.Args = append(line.Args, text(arg))
		}
		if err := enc.Encode(snapshotLine{Process: &line}); err != nil {
			return err
		}
	}
	return enc.Encode(snapshotLine{End: &end})
}

func readHeader(procfs string, layout CgroupLayout) (*snapshotHeader, error) {
	release, err := read(filepath.Join(procfs, "sys/kernel/osrelease"), 256)
	if err != nil {
		return nil, err
	}
	boot, err := BootTime()
	if err != nil {
		return nil, err
	}
	return &snapshotHeader{
		Version: snapshotVersion,
		Kernel:  strings.TrimSpace(string(release)),
		Boot:    boot,
		Taken:   time.Now().UnixNano(),
		Layout:  layout,
	}, nil
}

// BootTime returns the Unix time at boot in nanoseconds. It moves when somebody sets the clock.
func BootTime() (int64, error) {
	var wall, boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &wall); err != nil {
		return 0, fmt.Errorf("read wall clock: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, fmt.Errorf("read time since boot: %w", err)
	}
	return wall.Nano() - boot.Nano(), nil
}

// ReadSnapshot reads what WriteSnapshot wrote. Errors name the line.
func ReadSnapshot(r io.Reader) (*Snapshot, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxSnapshotLine)
	var s snapshotReader
	for in.Scan() {
		s.line++
		if err := s.read(in.Bytes()); err != nil {
			return nil, fmt.Errorf("snapshot line %d: %w", s.line, err)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("snapshot line %d: %w", s.line+1, err)
	}
	if !s.ended {
		return nil, fmt.Errorf("snapshot line %d: the file ends here, but not the snapshot", s.line)
	}
	return &s.snapshot, nil
}

type snapshotReader struct {
	snapshot Snapshot
	line     int
	ended    bool
}

func (s *snapshotReader) read(data []byte) error {
	if s.line > maxSnapshotLines {
		return fmt.Errorf("more than %d lines", maxSnapshotLines)
	}
	if s.ended {
		return errors.New("something follows the end")
	}
	var line snapshotLine
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&line); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one value")
	}
	if (s.line == 1) != (line.Header != nil) {
		return errors.New("want a yagura_snapshot header on the first line, and only there")
	}
	switch {
	case line.Header != nil:
		return s.header(line.Header)
	case line.Cgroup != nil:
		s.snapshot.Cgroups = append(s.snapshot.Cgroups, Cgroup{line.Cgroup.ID, string(line.Cgroup.Path)})
	case line.Process != nil:
		return s.process(line.Process)
	case line.End != nil:
		return s.end(line.End)
	default:
		return errors.New("neither cgroup, process nor end")
	}
	return nil
}

func (s *snapshotReader) header(h *snapshotHeader) error {
	if h.Version != snapshotVersion {
		return fmt.Errorf("version %d, this program reads %d", h.Version, snapshotVersion)
	}
	s.snapshot.Kernel, s.snapshot.Boot, s.snapshot.Taken, s.snapshot.Layout = h.Kernel, h.Boot, h.Taken, h.Layout
	return nil
}

func (s *snapshotReader) process(line *snapshotProcess) error {
	p := event.Process{Task: line.Task, Path: string(line.Path), Cwd: string(line.Cwd)}
	if len(line.Comm) >= len(p.Comm) {
		return fmt.Errorf("process %d: Comm has %d bytes, at most %d are possible", p.PID, len(line.Comm), len(p.Comm)-1)
	}
	copy(p.Comm[:], line.Comm)
	for _, arg := range line.Args {
		p.Args = append(p.Args, string(arg))
	}
	s.snapshot.Processes = append(s.snapshot.Processes, p)
	return nil
}

func (s *snapshotReader) end(end *snapshotEnd) error {
	if end.Cgroups != len(s.snapshot.Cgroups) || end.Processes != len(s.snapshot.Processes) {
		return fmt.Errorf("%d control groups and %d processes were written, but %d and %d read",
			end.Cgroups, end.Processes, len(s.snapshot.Cgroups), len(s.snapshot.Processes))
	}
	s.ended = true
	return nil
}
