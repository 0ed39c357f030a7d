package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

const twoRules = `
- rule: first
  desc: the first one
  condition: evt.type = openat and fd.name startswith /etc
  output: "opened %fd.name by %proc.cmdline"
  priority: WARNING
  tags: [host]
- rule: second
  desc: the second one
  condition: evt.type in (openat, unlink) and proc.name = cat
  output: "%proc.name again"
  priority: NOTICE
- rule: off
  desc: not evaluated
  condition: evt.type = openat
  output: "off"
  priority: NOTICE
  enabled: false
`

// heard is what an engine heard.
type heard struct {
	counts map[string]int
	hits   []*event.Hit
}

func engine(t testing.TB, text string, change func(*Config, *EngineOptions)) (*Evaluator, *heard) {
	t.Helper()
	set, languages := loadPack(t, File{Name: "test.yaml", Text: []byte(text)})
	got := &heard{counts: map[string]int{}}
	c := Default
	c.Rate = Rate{PerSecond: 1, Burst: 5}
	o := EngineOptions{Count: func(r *event.Rule, _ *event.Event) { got.counts[r.Name]++ }, Tell: func(h *event.Hit) { got.hits = append(got.hits, h) }}
	if change != nil {
		change(&c, &o)
	}
	e := NewEngine(o)
	if err := e.Compile(languages, set, c); err != nil {
		t.Fatal(err)
	}
	return e.Evaluator(), got
}

func decode(t testing.TB, text string) *event.Event {
	t.Helper()
	ev, err := event.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

const catReadsPasswd = `{"type": "openat", "args": {"name": "/etc/passwd", "flags": "O_RDONLY"}, "process": {"name": "cat", "args": ["cat", "--password=hunter2", "/etc/passwd"], "parents": ["bash", "sshd"]}}`

func TestFirstMatchIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	v, got := engine(t, twoRules, nil)
	v.Eval(decode(t, catReadsPasswd))
	if got.counts["first"] != 1 || got.counts["second"] != 0 || len(got.hits) != 1 {
		t.Errorf("counts %v and %d hits, want only the first rule", got.counts, len(got.hits))
	}
	v, got = engine(t, twoRules, func(c *Config, _ *EngineOptions) { c.Matching = "all" })
	v.Eval(decode(t, catReadsPasswd))
	if got.counts["first"] != 1 || got.counts["second"] != 1 || got.counts["off"] != 0 {
		t.Errorf("counts %v, want both rules that are on", got.counts)
	}
}

func TestHitShowsFieldsWithoutSecrets(t *testing.T) {
	t.Parallel()
	v, got := engine(t, twoRules, func(c *Config, o *EngineOptions) {
		o.Redact = func(args []string) []string {
			out := make([]string, len(args))
			for i, a := range args {
				out[i] = strings.ReplaceAll(a, "hunter2", "[redacted]")
			}
			return out
		}
		c.AppendOutput = []AppendOutput{{ExtraOutput: "of %proc.pname", ExtraFields: []any{"proc.aname[2]", map[string]any{"who": "%proc.pname/%proc.aname[2]"}}}}
	})
	v.Eval(decode(t, catReadsPasswd))
	if len(got.hits) != 1 {
		t.Fatalf("%d hits, want 1", len(got.hits))
	}
	h := got.hits[0]
	want := "opened /etc/passwd by cat --password=[redacted] /etc/passwd container_id=host container_name=host" +
		" container_image_repository=<NA> container_image_tag=<NA> k8s_pod_name=<NA> k8s_ns_name=<NA> of bash"
	if h.Output != want {
		t.Errorf("output %q\nwant   %q", h.Output, want)
	}
	fields := map[string]any{}
	for _, f := range h.Fields {
		fields[f.Name] = f.Value
	}
	for name, want := range map[string]any{"fd.name": "/etc/passwd", "proc.pname": "bash", "proc.aname[2]": "sshd", "who": "bash/sshd", "k8s.ns.name": nil, "container.id": "host"} {
		if got, ok := fields[name]; !ok || got != want {
			t.Errorf("field %s is %v (given: %v), want %v", name, got, ok, want)
		}
	}
	if h.Rule.Name != "first" || h.Rule.Line != 2 || h.ID == "" || h.Event.Process.Parent.Name() != "bash" {
		t.Errorf("hit %+v of rule %+v", h, h.Rule)
	}
}

func TestRateBoundsWhatIsToldNotWhatIsCounted(t *testing.T) {
	t.Parallel()
	v, got := engine(t, twoRules, nil)
	ev := decode(t, catReadsPasswd)
	for range 1000 {
		v.Eval(ev)
	}
	if got.counts["first"] != 1000 || len(got.hits) != 5 {
		t.Errorf("%d counted and %d told, want 1000 and a burst of 5", got.counts["first"], len(got.hits))
	}
	held := map[string]uint64{}
	v.engine.Suppressed(func(rule string, n uint64) { held[rule] = n })
	if held["first"] != 995 || held["second"] != 0 {
		t.Errorf("held back %v, want 995 of the first", held)
	}
	ev.Time += int64(3 * time.Second)
	for range 10 {
		v.Eval(ev)
	}
	if len(got.hits) != 8 {
		t.Errorf("%d told, want 3 more after 3 s at 1 a second", len(got.hits))
	}
}

func TestScopeBoundsRulesWithoutEditingThem(t *testing.T) {
	t.Parallel()
	in := func(ns string) *event.Event {
		return decode(t, fmt.Sprintf(`{"type": "openat", "args": {"name": "/etc/passwd"}, "process": "cat", "container": {"name": "c", "namespace": %q, "pod": "p", "image": "docker.io/library/nginx:1"}}`, ns))
	}
	onHost := decode(t, catReadsPasswd)
	for _, test := range []struct {
		scope            Scope
		prod, test, host bool
	}{
		{Scope{Namespaces: []string{"prod-*"}}, true, false, false},
		{Scope{Namespaces: []string{"prod-*"}, Host: true}, true, false, true},
		{Scope{Namespaces: []string{"prod-*"}, Except: true}, false, true, true},
		{Scope{Host: true}, false, false, true},
		{Scope{Images: []string{"docker.io/library/*"}, Namespaces: []string{"*"}}, true, true, false},
		{Scope{Match: Match{Rule: "sec*"}, Containers: []string{"none"}}, true, true, true},
	} {
		v, got := engine(t, twoRules, func(c *Config, _ *EngineOptions) { c.Scope = []Scope{test.scope} })
		for _, x := range []struct {
			ev   *event.Event
			want bool
		}{{in("prod-1"), test.prod}, {in("test"), test.test}, {onHost, test.host}} {
			before := got.counts["first"]
			v.Eval(x.ev)
			if hit := got.counts["first"] > before; hit != x.want {
				t.Errorf("scope %+v: hit in %v is %v, want %v", test.scope, x.ev.Container, hit, x.want)
			}
		}
	}
}

func TestMissCostsNoAllocation(t *testing.T) {
	set, languages := loadPack(t)
	e := NewEngine(EngineOptions{})
	if err := e.Compile(languages, set, Default); err != nil {
		t.Fatal(err)
	}
	v := e.Evaluator()
	for _, text := range []string{
		`{"type": "openat", "args": {"name": "/srv/data/file.txt", "flags": "O_RDWR|O_CREAT"}, "process": {"name": "app", "args": ["app", "-x"], "parents": ["sh", "systemd"]}}`,
		`{"type": "execve", "process": {"name": "true", "path": "/usr/bin/true", "args": ["true", "-x"], "parents": ["make", "bash", "systemd"]}}`,
		`{"type": "connect", "peer": "10.1.2.3:8080", "process": {"name": "app", "parents": ["systemd"]}, "container": "app"}`,
		`{"type": "renameat2", "args": {"oldpath": "/srv/a", "newpath": "/srv/b"}, "process": {"name": "app", "parents": ["systemd"]}}`,
	} {
		ev := decode(t, text)
		v.Eval(ev)
		if n := testing.AllocsPerRun(200, func() { v.Eval(ev) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", text, n)
		}
	}
}

func BenchmarkEvalPack(b *testing.B) {
	set, languages := loadPack(b)
	e := NewEngine(EngineOptions{})
	if err := e.Compile(languages, set, Default); err != nil {
		b.Fatal(err)
	}
	v := e.Evaluator()
	for _, test := range []struct{ name, text string }{
		{"open", `{"type": "openat", "args": {"name": "/srv/data/file.txt", "flags": "O_RDWR|O_CREAT"}, "process": {"name": "app", "args": ["app", "-x"], "parents": ["sh", "systemd"]}}`},
		{"exec", `{"type": "execve", "process": {"name": "true", "path": "/usr/bin/true", "args": ["true", "-x"], "parents": ["make", "bash", "systemd"]}}`},
		{"connect", `{"type": "connect", "peer": "10.1.2.3:8080", "process": {"name": "app", "parents": ["systemd"]}, "container": "app"}`},
		{"rename", `{"type": "renameat2", "args": {"oldpath": "/srv/a", "newpath": "/srv/b"}, "process": {"name": "app", "parents": ["systemd"]}}`},
		{"unlink", `{"type": "unlinkat", "args": {"name": "/srv/a"}, "process": {"name": "app", "parents": ["systemd"]}}`},
		{"exit", `{"type": "procexit", "process": {"name": "app", "parents": ["systemd"]}}`},
	} {
		b.Run(test.name, func(b *testing.B) {
			ev := decode(b, test.text)
			b.ReportAllocs()
			for b.Loop() {
				v.Eval(ev)
			}
		})
	}
}

func TestDeltaIsToTheEventBefore(t *testing.T) {
	t.Parallel()
	v, got := engine(t, `
- rule: slow
  desc: nothing happened for a while
  condition: evt.type = openat and evt.deltatime >= 1500000000
  output: "after %evt.deltatime.s s and %evt.deltatime.ns ns"
  priority: NOTICE
`, nil)
	at := func(text string, after time.Duration) {
		ev := decode(t, text)
		ev.Time += int64(after)
		v.Eval(ev)
	}
	at(catReadsPasswd, 0)
	at(catReadsPasswd, time.Second)
	at(`{"type": "close"}`, 2*time.Second) // no rule asks for it, and it counts
	at(catReadsPasswd, 3*time.Second)
	at(catReadsPasswd, 5*time.Second+7)
	if len(got.hits) != 1 || !strings.HasPrefix(got.hits[0].Output, "after 2 s and 7 ns") {
		t.Errorf("hits %+v, want one after 2 s and 7 ns", got.hits)
	}
}

func TestFailedCompileChangesNoRate(t *testing.T) {
	t.Parallel()
	v, got := engine(t, twoRules, nil)
	set, languages := loadPack(t, File{Name: "test.yaml", Text: []byte(twoRules)})
	wider := Default
	wider.Rate = Rate{PerSecond: 1, Burst: 500}
	set.Rules[1].Output = "%no.such"
	if err := v.engine.Compile(languages, set, wider); err == nil {
		t.Fatal("a rule whose output cannot be written compiles")
	}
	ev := decode(t, catReadsPasswd)
	for range 100 {
		v.Eval(ev)
	}
	if got.counts["first"] != 100 || len(got.hits) != 5 {
		t.Errorf("%d counted and %d told, want 100 and the burst of 5 that was before", got.counts["first"], len(got.hits))
	}
}
