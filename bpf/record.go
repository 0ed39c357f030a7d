package bpf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/yagura-io/yagura/rules/event"
)

// recordMagic begins a recording; its last byte is the version of the wire format.
const recordMagic = "yagura events\x00\x01"

// maxRecord bounds one record of a recording; the longest event is under 22 KiB.
const maxRecord = 64 << 10

// A Recorder writes the bytes of events as the ring buffer gave them, but without secrets: the
// magic, then each record behind its length (a little-endian uint32).
type Recorder struct {
	w      *bufio.Writer
	redact func(args []string) []string
}

// NewRecorder begins a recording.
func NewRecorder(w io.Writer, redact func(args []string) []string) (*Recorder, error) {
	b := bufio.NewWriterSize(w, 1<<16)
	if _, err := b.WriteString(recordMagic); err != nil {
		return nil, fmt.Errorf("begin the recording: %w", err)
	}
	return &Recorder{b, redact}, nil
}

// Record appends one record.
func (r *Recorder) Record(raw []byte) error {
	raw = r.withoutSecrets(raw)
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(raw)))
	_, err := r.w.Write(length[:])
	if err == nil {
		_, err = r.w.Write(raw)
	}
	return err
}

// withoutSecrets returns the record without what people hide in it, a copy if there is any: command lines are redacted,
// environments and what was read or written are left out.
func (r *Recorder) withoutSecrets(raw []byte) []byte {
	if len(raw) < sizeOf[yaguraHeader]() {
		return raw
	}
	switch event.Kind(as[yaguraHeader](raw).Kind) {
	case event.Exec:
		return r.withoutCommand(raw)
	case event.Syscall:
		return withoutData(raw)
	}
	return raw
}

func (r *Recorder) withoutCommand(raw []byte) []byte {
	if len(raw) < sizeOf[yaguraExecEvent]() {
		return raw
	}
	raw = bytes.Clone(raw)
	e := as[yaguraExecEvent](raw)
	tail := sections(raw[sizeOf[yaguraExecEvent]():])
	path, args, _, cwd := tail.next(e.PathLen), tail.next(e.ArgsLen), tail.next(e.EnvLen), tail.next(e.CwdLen)
	if tail == nil && e.ArgsLen+e.EnvLen > 0 {
		return raw[:sizeOf[yaguraHeader]()] // torn: nothing in it can be trusted
	}
	var text string
	if len(args) > 0 {
		text = strings.Join(r.redact(strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")), "\x00") + "\x00"
	}
	e.ArgsLen, e.EnvLen = uint32(len(text)), 0
	return slices.Concat(raw[:sizeOf[yaguraExecEvent]()], path, []byte(text), cwd)
}

func withoutData(raw []byte) []byte {
	if len(raw) < sizeOf[yaguraCallEvent]() || as[yaguraCallEvent](raw).Lengths[sectionData] == 0 {
		return raw
	}
	raw = bytes.Clone(raw)
	e := as[yaguraCallEvent](raw)
	end := max(len(raw)-int(e.Lengths[sectionData]), sizeOf[yaguraCallEvent]()) // they stand last
	e.Lengths[sectionData] = 0
	return raw[:end]
}

// Flush writes what is buffered.
func (r *Recorder) Flush() error { return r.w.Flush() }

// Replay plays a recording. It is an event.Source that needs neither a kernel nor root.
type Replay struct {
	R    io.Reader
	Boot int64 // Unix nanoseconds at boot of the machine that recorded; see host.Snapshot
}

// Run reports every event of the recording to sink.
func (p *Replay) Run(ctx context.Context, sink func(*event.Event)) error {
	r := bufio.NewReaderSize(p.R, 1<<16)
	magic := make([]byte, len(recordMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != recordMagic {
		return fmt.Errorf("not a recording of this version: it begins with %q, want %q", magic, recordMagic)
	}
	d := decoder{boot: p.Boot}
	var buf [maxRecord / 8]uint64 // aligned, as the ring buffer's records are
	for n, at := 1, int64(len(recordMagic)); ctx.Err() == nil; n++ {
		raw, err := readRecord(r, bytesIn(&buf))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("record %d at byte %d: %w", n, at, err)
		}
		ev, err := d.decode(raw)
		if err != nil {
			return fmt.Errorf("record %d at byte %d: %w", n, at, err)
		}
		sink(ev)
		at += 4 + int64(len(raw))
	}
	return ctx.Err()
}

// readRecord returns the next record; io.EOF only where one could begin.
func readRecord(r io.Reader, buf []byte) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n > maxRecord {
		return nil, fmt.Errorf("length %d: want at most %d", n, maxRecord)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return nil, fmt.Errorf("want %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	return buf[:n], nil
}

var _ event.Source = (*Replay)(nil)
