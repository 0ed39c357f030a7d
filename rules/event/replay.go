package event

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line of a recording.
const maxLine = 1 << 20

// A Replay plays a recording of events in their JSON form, one a line; empty lines do not count. It is an event.Source
// that needs neither a kernel nor root.
type Replay struct {
	R    io.Reader
	Name string // of the recording, for errors; empty for none
}

// Run reports the events. An error names the line, and the column where it is known.
func (p *Replay) Run(ctx context.Context, sink func(*Event)) error {
	lines := bufio.NewScanner(p.R)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	num := uint64(0)
	line := 1
	for ; lines.Scan(); line++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw := bytes.TrimSpace(lines.Bytes())
		if len(raw) == 0 {
			continue
		}
		num++
		ev, err := decode(lines.Bytes(), num)
		if err != nil {
			return p.fault(line, lines.Bytes(), err)
		}
		sink(ev)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return p.fault(line, nil, fmt.Errorf("want at most %d bytes", maxLine))
	} else if err != nil {
		return p.fault(line, nil, fmt.Errorf("read: %w", err))
	}
	return nil
}

// fault says where in the recording an error is.
func (p *Replay) fault(line int, raw []byte, err error) error {
	name := p.Name
	if name == "" {
		name = "line "
	} else {
		name += ":"
	}
	var form *FormError
	if !errors.As(err, &form) {
		return fmt.Errorf("%s%d: %w", name, line, err)
	}
	column := 1 + len([]rune(string(raw[:min(form.At, len(raw))])))
	return fmt.Errorf("%s%d:%d: %w", name, line, column, err)
}

var _ Source = (*Replay)(nil)
