package event

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

func played(t *testing.T, text string) (events []*Event, err error) {
	t.Helper()
	p := &Replay{R: strings.NewReader(text), Name: "x.jsonl"}
	err = p.Run(t.Context(), func(ev *Event) { events = append(events, ev.Clone()) })
	return events, err
}

func TestReplayNumbersEvents(t *testing.T) {
	t.Parallel()
	events, err := played(t, "{\"type\":\"open\"}\n\n  \r\n{\"type\":\"close\"}\r\n{\"type\":\"read\",\"num\":70}\n{\"type\":\"write\"}")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name string
		num  uint64
	}{{"open", 1}, {"close", 2}, {"read", 70}, {"write", 4}}
	if len(events) != len(want) {
		t.Fatalf("%d events, want %d", len(events), len(want))
	}
	for i, w := range want {
		if got := events[i]; got.Type.String() != w.name || got.Num != w.num {
			t.Errorf("event %d is %s number %d, want %s number %d", i, got.Type, got.Num, w.name, w.num)
		}
	}
}

func TestReplayPointsAtErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"{\"type\":\"open\"}\n\n{\"type\":\"é\",\"cpu\":\"x\"}", `x.jsonl:3:9: type: unknown event type "é"`},
		{"{\"type\":\"read\",\"data\":\"é\",\"cpu\":\"x\"}", `x.jsonl:1:33: cpu: want a whole number from 0 to 65535, got "x"`},
		{"{\"type\":\"open\"}\n{\"type\":", "x.jsonl:2:9: type: the text ends within the event"},
		{"{\"type\":\"open\"}\n" + strings.Repeat(" ", maxLine+1), "x.jsonl:2: want at most 1048576 bytes"},
	} {
		events, err := played(t, c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%.60s: %v, want %s", c.text, err, c.want)
		}
		if strings.HasPrefix(c.want, "x.jsonl:2") && len(events) != 1 {
			t.Errorf("%.60s: %d events before the error, want 1", c.text, len(events))
		}
	}
	var form *FormError
	if err := (&Replay{R: strings.NewReader("{}")}).Run(t.Context(), nil); !errors.As(err, &form) || err.Error() != "line 1:1: want type: the event's evt.type" {
		t.Errorf("without a name: %v", err)
	}
	broken := errors.New("broken")
	if err := (&Replay{R: iotest.ErrReader(broken)}).Run(t.Context(), nil); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
}

func TestReplayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := (&Replay{R: strings.NewReader(strings.Repeat("{\"type\":\"open\"}\n", 5))}).Run(ctx, func(*Event) {
		if n++; n == 2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || n != 2 {
		t.Errorf("%d events and %v, want 2 and that it was cancelled", n, err)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte("{\"type\":\"open\"}\n{\"type\":\"close\",\"res\":\"EBADF\"}\n"))
	f.Add([]byte("\n{\"type\":\"open\"\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := 0
		err := (&Replay{R: bytes.NewReader(raw), Name: "x"}).Run(t.Context(), func(ev *Event) {
			if n++; ev == nil || ev.Type == TypeNone {
				t.Fatal("an event without a type")
			}
		})
		if err == nil {
			lines := 0
			for line := range bytes.Lines(raw) {
				if len(bytes.TrimSpace(line)) > 0 {
					lines++
				}
			}
			if lines != n {
				t.Fatalf("%d events of %d lines", n, lines)
			}
		} else if !strings.HasPrefix(err.Error(), "x:") {
			t.Fatalf("%v does not say where", err)
		}
	})
}
