package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// ReplayOptions say what is played, through what, and what is shown of it.
type ReplayOptions struct {
	Flags  *CommandLine // Recording: the folder that --record.path named, or a file of events in JSON lines
	Out    io.Writer
	Hits   func() (show func(*event.Event) error, err error) // writes the hits of rules instead of the events
	Table  *host.Table
	Walked func(begun time.Time, cgroups map[uint64]string)
	Sink   func(*event.Event) // the one of the live program
}

// Replay plays a recording. Of a folder the events are shown, or with --rules the hits; of a file always the hits: its
// events say themselves which process and container they are of.
func Replay(ctx context.Context, o ReplayOptions) error {
	info, err := os.Stat(o.Flags.Recording)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	show := o.showEvents()
	if !info.IsDir() || len(o.Flags.Rules) > 0 {
		if show, err = o.Hits(); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
	}
	if info.IsDir() {
		return o.playFolder(ctx, show)
	}
	file, err := os.Open(o.Flags.Recording)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer file.Close()
	return play(ctx, &event.Replay{R: file, Name: o.Flags.Recording}, show)
}

func play(ctx context.Context, source event.Source, show func(*event.Event) error) error {
	var failed error
	err := source.Run(ctx, func(ev *event.Event) {
		if failed == nil {
			failed = show(ev)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}

// showEvents writes each event as a line of JSON, in the form that rules are tested with: what it writes can be played
// again. Control groups, which no rule can ask for, have a form of their own, with a kind instead of a type.
func (o ReplayOptions) showEvents() func(*event.Event) error {
	var line []byte
	return func(ev *event.Event) (err error) {
		if ev.Type != event.TypeNone {
			line = ev.AppendRecord(line[:0], host.Redact)
		} else if line, err = ev.AppendJSON(line[:0], host.Redact); err != nil {
			return err
		}
		_, err = o.Out.Write(append(line, '\n'))
		return err
	}
}

func (o ReplayOptions) playFolder(ctx context.Context, show func(*event.Event) error) error {
	file, err := os.Open(filepath.Join(o.Flags.Recording, snapshotFile))
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer file.Close()
	snapshot, err := host.ReadSnapshot(file)
	if err != nil {
		return fmt.Errorf("replay %s: %w", file.Name(), err)
	}
	if err := o.Table.Load(snapshot); err != nil {
		return fmt.Errorf("replay %s: %w", file.Name(), err)
	}
	paths := map[uint64]string{}
	for _, c := range snapshot.Cgroups {
		paths[c.ID] = c.Path
	}
	o.Walked(time.Unix(0, snapshot.Taken), paths)
	events, err := os.Open(filepath.Join(o.Flags.Recording, eventsFile))
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer events.Close()
	return play(ctx, &bpf.Replay{R: events, Boot: snapshot.Boot}, func(ev *event.Event) error {
		o.Sink(ev)
		return show(ev)
	})
}
