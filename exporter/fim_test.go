package exporter

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/bpf"
	"github.com/yagura-io/yagura/exporter/fim"
	"github.com/yagura-io/yagura/exporter/host"
	"github.com/yagura-io/yagura/rules/event"
)

// newTestFIM returns a collector of two watch sets that is told changes by hand, and what it logs.
func newTestFIM(t *testing.T) (*FIM, *bytes.Buffer, *[]*event.Event) {
	t.Helper()
	c := fim.DefaultConfig
	c.Defaults, c.Store = false, t.TempDir()+"/fim.db"
	c.Watches = []fim.WatchConfig{{Name: "etc", Paths: []string{"/etc"}, Kinds: []string{"created", "content"}}, {Name: "bin", Paths: []string{"/bin"}}}
	log, seen := &bytes.Buffer{}, &[]*event.Event{}
	f, err := NewFIM(FIMOptions{Config: c, Flags: &CommandLine{Rootfs: "/", Procfs: "/proc"},
		Node:   &Node{Agent: &bpf.Agent{}, Table: host.NewTable(host.TableOptions{Procfs: "/proc", Config: host.Default})},
		Redact: host.Redact, Detect: func(ev *event.Event) { *seen = append(*seen, ev) },
		Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return f, log, seen
}

func TestChangedFilesOfTheHostArePassedOn(t *testing.T) {
	f, _, _ := newTestFIM(t)
	var passed []string
	f.o.Changed = func(path string) { passed = append(passed, path) }
	moved, inside := theChange(1<<fim.Renamed, true), theChange(1<<fim.ContentChanged, false)
	moved.From = "/etc/old"
	inside.Path.Container = "c0ffee"
	for _, c := range []*fim.Change{theChange(1<<fim.ContentChanged, false), moved, inside} {
		f.Tell(c)
	}
	if got := strings.Join(passed, " "); got != "/etc/a /etc/a /etc/old" {
		t.Errorf("passed on: %s", got)
	}
}

func theChange(kinds fim.KindSet, expected bool) *fim.Change {
	return &fim.Change{Time: time.Unix(1_800_000_000, 0), Path: fim.Path{Name: "/etc/a"}, Kinds: kinds, Watches: 1, Severity: event.Warning, By: fim.ByUser,
		Expected: expected, Why: "because", Confidence: fim.ByPath,
		After: &fim.Record{Mode: 0o644 | os.ModeSetuid, Size: 3, Summed: true, Sum: [32]byte{1}},
		Actor: &fim.Actor{PID: 7, Exe: "/bin/sh", Comm: "sh", Args: []string{"sh", "--password=secret"}, LoginUID: ^uint32(0),
			Workload:  event.Workload{Unit: "ssh.service"},
			Ancestors: []fim.Ancestor{{Exe: "/sbin/init"}}}}
}

func TestEveryWatchSetKindAndVerdictIsThereFromTheStart(t *testing.T) {
	f, _, _ := newTestFIM(t)
	e := New(Options{Collectors: []Entry{f.Entry()}, Log: slog.New(slog.DiscardHandler)})
	_, body := ask(e.Handler(), "GET", "/metrics")
	for _, want := range []string{
		`yagura_fim_changes_total{expected="false",kind="created",watch="etc"} 0`,
		`yagura_fim_changes_total{expected="true",kind="content",watch="etc"} 0`,
		`yagura_fim_changes_total{expected="false",kind="mounted",watch="bin"} 0`,
		`yagura_fim_unreconciled_events 0`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	for _, unwanted := range []string{`kind="deleted",watch="etc"`, "yagura_workload_fim_changes_total{", "yagura_fim_baseline_age_seconds "} {
		if strings.Contains(body, unwanted) {
			t.Errorf("there is %s", unwanted)
		}
	}
}

func TestChangesAreCountedByWatchSetAndByWorkload(t *testing.T) {
	f, log, seen := newTestFIM(t)
	f.Tell(theChange(1<<fim.Created|1<<fim.ContentChanged, false))
	f.Tell(theChange(1<<fim.ContentChanged, true))
	e := New(Options{Collectors: []Entry{f.Entry()}, Log: slog.New(slog.DiscardHandler)})
	_, body := ask(e.Handler(), "GET", "/metrics")
	for _, want := range []string{
		`yagura_fim_changes_total{expected="false",kind="created",watch="etc"} 1`,
		`yagura_fim_changes_total{expected="false",kind="content",watch="etc"} 1`,
		`yagura_fim_changes_total{expected="true",kind="content",watch="etc"} 1`,
		`yagura_workload_fim_changes_total{actor="user",container="",kind="content",namespace="",pod="",unit="ssh.service",watch="etc"} 2`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("there is no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, "/etc/a") {
		t.Error("a path is in the series")
	}
	if n := strings.Count(log.String(), "a watched file has changed"); n != 1 {
		t.Errorf("%d changes were logged, want the unexpected one only:\n%s", n, log)
	}
	for _, want := range []string{"path=/etc/a", "kinds=created,content", "exe=/bin/sh", "setuid", "why=because"} {
		if want == "setuid" {
			want = `after="file 4644 0:0 3 bytes sha256:01`
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log has a secret:\n%s", log)
	}
	if len(*seen) != 2 || (*seen)[0].Change == nil || (*seen)[0].PID != 7 {
		t.Errorf("rules have seen %d changes, want 2, the first of process 7", len(*seen))
	}
}

func TestChangesAreServedWithTheirFilters(t *testing.T) {
	f, _, _ := newTestFIM(t)
	first, second := theChange(1<<fim.Created, false), theChange(1<<fim.ContentChanged, true)
	second.Path.Name, second.By = "/etc/b", fim.ByPackage
	f.Tell(first)
	f.Tell(second)
	for query, want := range map[string][]string{
		"":                  {"/etc/b", "/etc/a"}, // the latest first
		"?kind=created":     {"/etc/a"},
		"?expected=true":    {"/etc/b"},
		"?actor=package":    {"/etc/b"},
		"?watch=bin":        {},
		"?path=/etc/a":      {"/etc/a"},
		"?id=" + first.ID:   {"/etc/a"},
		"?unit=ssh.service": {"/etc/b", "/etc/a"},
		"?unit=other":       {},
		"?until=1":          {},
	} {
		status, body := ask(f.Changes(), "GET", "/api/yagura/fim"+query)
		if status != http.StatusOK || strings.Count(body, `"path":`) != len(want) {
			t.Errorf("%q: status %d, %s; want %q", query, status, body, want)
		}
		at := 0
		for _, path := range want {
			i := strings.Index(body[at:], `"path":"`+path+`"`)
			if i < 0 {
				t.Errorf("%q: %s; want %q in this order", query, body, want)
				break
			}
			at += i
		}
	}
	if status, _ := ask(f.Changes(), "GET", "/api/yagura/fim?nmae=x"); status != http.StatusBadRequest {
		t.Errorf("status %d of an unknown parameter, want 400", status)
	}
	_, body := ask(f.Changes(), "GET", "/api/yagura/fim?id="+first.ID)
	for _, want := range []string{`"mode":"4644"`, `"command":["sh","--password=[redacted]"]`, `"confidence":"path"`, `"severity":"Warning"`, `"ancestors":["/sbin/init"]`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s has no %s", body, want)
		}
	}
	if strings.Contains(body, "login_uid") {
		t.Errorf("%s says who logged in, and nobody did", body)
	}
}

// Of names that JSON cannot have, the bytes are beside them.
func TestNamesThatAreNoTextAreToldByTheirBytes(t *testing.T) {
	f, _, _ := newTestFIM(t)
	log := &bytes.Buffer{}
	f.o.Log = slog.New(slog.NewJSONHandler(log, nil))
	c := theChange(1<<fim.Created, false)
	c.Path.Name, c.From = "/etc/\xff\n", "/etc/caf\xe9"
	f.Tell(c)
	f.Tell(theChange(1<<fim.Created, false))
	// printf '/etc/\377\n' | base64, and of /etc/caf\351
	want := []string{`"path":"/etc/\ufffd\n"`, `"path_bytes":"L2V0Yy//Cg=="`, `"from_bytes":"L2V0Yy9jYWbp"`}
	for query, n := range map[string]int{"": 2, "?path=" + url.QueryEscape(c.Path.Name): 1} {
		_, body := ask(f.Changes(), "GET", "/api/yagura/fim"+query)
		for of, text := range map[string]string{"the row": body, "the log": log.String()} {
			for _, w := range want {
				if strings.Count(text, w) != 1 {
					t.Errorf("%s of %q has not one %s: %s", of, query, w, text)
				}
			}
			if strings.Count(text, "_bytes") != 2 {
				t.Errorf("%s has bytes of names that are text: %s", of, text)
			}
		}
		if got := strings.Count(body, `"path":`); got != n {
			t.Errorf("%d rows of %q, want %d", got, query, n)
		}
	}
}

func TestRecentChangesAreBounded(t *testing.T) {
	f, log, _ := newTestFIM(t)
	for range keptRecent + 500 {
		f.Tell(theChange(1<<fim.ContentChanged, false))
	}
	if len(f.recent.latest()) != keptRecent {
		t.Errorf("%d changes are kept, want %d", len(f.recent.latest()), keptRecent)
	}
	logged := strings.Count(log.String(), "a watched file has changed")
	if f.unlogged == 0 || logged+int(f.unlogged) != keptRecent+500 {
		t.Errorf("%d changes were logged and %d were not, of %d", logged, f.unlogged, keptRecent+500)
	}
}
