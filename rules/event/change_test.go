package event

import (
	"strings"
	"testing"
)

func TestDecodeReadsChangesOfFiles(t *testing.T) {
	t.Parallel()
	ev := decoded(t, `{"type":"filechange","change":{"path":"/usr/bin/x","kinds":["content","mode"],"before":{},"after":{"mode":"4711","size":7}},
		"process":{"name":"cp","uid":5,"euid":0,"gid":6},"container":"web"}`)
	c := ev.Change
	if ev.Kind != Change || ev.Type.Source() != ChangeSource || c == nil || !ev.HasActor() || !ev.HasCaller() {
		t.Fatalf("the event is %+v", ev)
	}
	if c.Path != "/usr/bin/x" || strings.Join(c.Kinds, " ") != "content mode" || c.Severity != Warning || c.Actor != "user" || c.Confidence != "path" || c.Expected {
		t.Errorf("the change is %+v", c)
	}
	if b := c.Before; b.Type != "file" || b.Mode != 0o644 || b.UID != 0 || b.Size != 0 || b.Capabilities != 0 {
		t.Errorf("before it was %+v", b)
	}
	if a := c.After; a.Mode != 0o4711 || a.Size != 7 {
		t.Errorf("after it is %+v", a)
	}
	if w := ev.Caller; w.UID != 5 || w.EUID != 0 || w.EGID != 6 || ev.UID != 5 || ev.PID != 1000 || ev.Process.Name() != "cp" || ev.Container == nil {
		t.Errorf("it was %+v, process %+v", w, ev.Process)
	}
}

func TestChangeMayBeNobodys(t *testing.T) {
	t.Parallel()
	for _, process := range []string{``, `,"process":null`} {
		ev := decoded(t, `{"type":"filechange","change":{"path":"/a","kinds":["deleted"]}`+process+`}`)
		if ev.HasActor() || ev.PID != 0 || ev.TID != 0 || ev.Process != nil || ev.Caller.LoginUID != 4294967295 || ev.Change.Actor != "unknown" || ev.Change.Confidence != "none" {
			t.Errorf("%s: the event is %+v, the change %+v", process, ev, ev.Change)
		}
		if line := string(ev.AppendRecord(nil, nil)); strings.Contains(line, "process") || strings.Contains(line, "pid") {
			t.Errorf("it is written with somebody: %s", line)
		}
	}
}

func TestChangesAreNoSystemCalls(t *testing.T) {
	t.Parallel()
	for i := range Types[1:] {
		typ := Type(i + 1)
		if want := map[bool]string{true: "fim", false: "syscall"}[typ.String() == "filechange"]; typ.Source() != want {
			t.Errorf("%s is of source %s, want %s", typ, typ.Source(), want)
		}
	}
	for _, k := range Kinds {
		if k == Change {
			t.Error("the kernel tells of changes of files")
		}
	}
}

func TestRecordsHideSecretsOfTexts(t *testing.T) {
	t.Parallel()
	ev := decoded(t, `{"type":"filechange","change":{"path":"/etc/x","kinds":["content"],"diff":"-a\n+key=secret"}}`)
	line := string(ev.AppendRecord(nil, func(words []string) (out []string) {
		for _, w := range words {
			out = append(out, strings.ReplaceAll(w, "secret", "hidden"))
		}
		return out
	}))
	if !strings.Contains(line, `"diff":"-a\n+key=hidden"`) || ev.Change.Diff != "-a\n+key=secret" {
		t.Errorf("want the secret hidden, and the event as it was: %s", line)
	}
}

func TestModesHaveFourDigits(t *testing.T) {
	t.Parallel()
	for mode, want := range map[uint32]string{0: "0000", 0o644: "0644", 0o4755: "4755", 0o7777: "7777"} {
		if got := string((&FileState{Mode: mode}).AppendMode(nil)); got != want {
			t.Errorf("mode %o is written as %s, want %s", mode, got, want)
		}
	}
}
