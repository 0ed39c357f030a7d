package rules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/rules/event"
	"github.com/yagura-io/yagura/rules/expr"
)

// someChecks are those of a text, which must load.
func someChecks(t testing.TB, text string) []*Check {
	t.Helper()
	checks, results := LoadChecks([]File{{Name: "checks.yaml", Text: []byte(text)}})
	if err := failureOf(results); err != nil {
		t.Fatal(err)
	}
	return checks
}

func fixtureChecks(t testing.TB) []*Check {
	t.Helper()
	text, err := os.ReadFile("testdata/posture/checks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return someChecks(t, string(text))
}

// checkOf is one check of files, with what a test is about.
func checkOf(t testing.TB, more string) *Check {
	t.Helper()
	return someChecks(t, "- check: one\n  title: t\n  severity: high\n  fact: file\n  risk: r\n  remediation: fix it\n"+more)[0]
}

func file(subject string, values ...any) event.Fact {
	f := event.File.New(subject, subject+":1")
	for i := 0; i < len(values); i += 2 {
		f.Set(values[i].(string), values[i+1])
	}
	return f
}

var today = time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)

func judged(c *Check, waivers []Waiver, tell func(e *Evaluation)) event.Verdict {
	e := NewEvaluation([]*Check{c}, waivers, today)
	tell(e)
	return e.Verdicts()[0]
}

func TestStatusOfAChecksFacts(t *testing.T) {
	t.Parallel()
	good, bad := file("good", "owner", "root", "size", int64(1)), file("bad", "owner", "alice", "size", int64(1))
	unreadable := file("unreadable").Fail(errors.New("open /x: permission denied"))
	other := file("other", "size", int64(2), "owner", "alice")
	kinds := []*event.FactKind{event.File}
	facts := func(all ...event.Fact) func(*Evaluation) {
		return func(e *Evaluation) {
			e.Surveyed(kinds)
			for _, f := range all {
				e.Fact(f)
			}
		}
	}
	failing := func(tell func(*Evaluation), do func(*Evaluation)) func(*Evaluation) {
		return func(e *Evaluation) { tell(e); do(e) }
	}
	broken := func(e *Evaluation) { e.Failed(kinds, "survey files: gone") }
	notLive := func(e *Evaluation) { e.NotLive(kinds) }
	const condition = "  where: file.size = 1\n  condition: file.owner = root\n"
	for _, x := range []struct {
		name, more string
		tell       func(*Evaluation)
		want       event.Status
		reason     string
	}{
		{"all satisfy it", "", facts(good, other), event.Pass, ""},
		{"one does not", "", facts(good, bad), event.Fail, ""},
		{"one cannot be read", "", facts(good, unreadable), event.Erroneous, "unreadable: open /x: permission denied"},
		{"one cannot be read and one fails", "", facts(bad, unreadable), event.Fail, "unreadable: open /x: permission denied"},
		{"what cannot be read is another", "", facts(good, file("unreadable", "size", int64(3)).Fail(errors.New("x"))), event.Pass, ""},
		{"what cannot be read is one of them", "", facts(good, file("u", "size", int64(1), "owner", "root").Fail(errors.New("x"))), event.Erroneous, "u: x"},
		{"the survey fails", "", failing(facts(good), broken), event.Erroneous, "survey files: gone"},
		{"the survey fails and one fails", "", failing(facts(bad), broken), event.Fail, "survey files: gone"},
		{"no kernel runs", "", failing(facts(), notLive), event.NotApplicable, event.ErrNotLive.Error()},
		{"no kernel runs and the files pass", "", failing(facts(good), notLive), event.NotApplicable, event.ErrNotLive.Error()},
		{"nobody surveys", "", func(*Evaluation) {}, event.NotApplicable, "nothing here knows of facts of kind file"},
		{"nobody surveys, and nothing would be bad", "  without: fail\n", func(*Evaluation) {}, event.NotApplicable, "nothing here knows of facts of kind file"},
		{"none", "", facts(other), event.NotApplicable, "there is nothing here that it is about"},
		{"none is good", "  without: pass\n", facts(other), event.Pass, ""},
		{"none is bad", "  without: fail\n", facts(other), event.Fail, ""},
		{"none is good, but one cannot be read", "  without: pass\n", facts(unreadable), event.Erroneous, "unreadable: open /x: permission denied"},
		{"any: one does", "  need: any\n", facts(bad, good), event.Pass, ""},
		{"any: none does", "  need: any\n", facts(bad, bad), event.Fail, ""},
		{"any: none does, but one cannot be read", "  need: any\n", facts(bad, unreadable), event.Erroneous, "unreadable: open /x: permission denied"},
		{"any: one does, but one cannot be read", "  need: any\n", facts(good, unreadable), event.Erroneous, "unreadable: open /x: permission denied"},
		{"what it asks for is absent", "", facts(file("f", "size", int64(1))), event.Fail, ""},
	} {
		v := judged(checkOf(t, condition+x.more), nil, x.tell)
		if v.Status != x.want || v.Reason != x.reason {
			t.Errorf("%s: %s, reason %q; want %s, %q", x.name, v.Status, v.Reason, x.want, x.reason)
		}
		if (v.Status == event.Fail) != (v.Failing > 0) || v.Failing != len(v.Objects) {
			t.Errorf("%s: %s with %d failing, %d objects", x.name, v.Status, v.Failing, len(v.Objects))
		}
	}
}

func TestNothingPassesBecauseItIsNotKnown(t *testing.T) {
	t.Parallel()
	empty := file("f")
	full := file("f", "owner", "root", "size", int64(5), "setuid", false)
	for condition, want := range map[string][2]event.Status{
		"not file.owner = alice":                                       {event.Fail, event.Pass},
		"not file.setuid = true":                                       {event.Fail, event.Pass},
		"file.owner != alice":                                          {event.Fail, event.Pass},
		"not (file.owner = root or file.size > 7)":                     {event.Fail, event.Fail},
		"not (file.owner = alice and file.size = 7)":                   {event.Fail, event.Pass},
		"not file.owner exists":                                        {event.Pass, event.Fail},
		"not file.owner exists or file.owner = root":                   {event.Pass, event.Pass},
		"not not file.owner = root":                                    {event.Fail, event.Pass},
		"file.subject = f and not file.source startswith /x":           {event.Pass, event.Pass},
		"not tolower(file.owner) = alice":                              {event.Fail, event.Pass},
		"not (file.size > 7 or file.subject = f) or file.subject != g": {event.Pass, event.Pass},
	} {
		c := checkOf(t, "  condition: "+condition+"\n")
		for i, f := range []event.Fact{empty, full} {
			if got := judged(c, nil, func(e *Evaluation) { e.Fact(f) }).Status; got != want[i] {
				t.Errorf("%s of %v: %s, want %s", condition, f.Values, got, want[i])
			}
		}
	}
}

func TestWhatOnlyAKernelTellsIsNotApplicableToAnImage(t *testing.T) {
	t.Parallel()
	port := &event.FactKind{Name: "port", Fields: []event.FactField{{Name: "open", Type: event.FactTruth}, {Name: "number", Type: event.FactNumber}}, Running: []string{"open"}}
	check := func(where, text string) *Check {
		l, c := newFactLanguage(port), &Check{kind: port, without: event.Pass}
		for _, x := range []struct {
			text string
			to   *factCondition
		}{{where, &c.where}, {text, &c.condition}} {
			n, err := expr.Parse(x.text)
			if err == nil {
				*x.to, err = l.compile(n)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	for _, x := range []struct {
		where, condition string
		image, live      event.Status
	}{
		{"port.number = 1", "port.open = false", event.NotApplicable, event.Fail},
		{"port.number = 1", "not port.open = true", event.NotApplicable, event.Fail},
		{"port.number = 1", "port.open = false or port.number = 1", event.Pass, event.Pass},
		{"port.number = 1", "port.open = false and port.number = 2", event.Fail, event.Fail},
		{"port.open = true", "port.number = 2", event.NotApplicable, event.Pass},
		{"port.open = true and port.number = 2", "port.number = 2", event.Pass, event.Pass},
	} {
		c := check(x.where, x.condition)
		for image, want := range map[bool]event.Status{true: x.image, false: x.live} {
			v := judged(c, nil, func(e *Evaluation) {
				e.image = image
				e.Fact(port.New("x", "").Set("number", int64(1)))
			})
			if v.Status != want {
				t.Errorf("%s where %s, image %v: %s, want %s", x.condition, x.where, image, v.Status, want)
			}
		}
	}
}

func TestFailingObjectsSayWhatWasExpected(t *testing.T) {
	t.Parallel()
	checks := fixtureChecks(t)
	v := judged(checks[0], nil, func(e *Evaluation) {
		e.Fact(file("/etc/shadow", "purpose", "shadow", "owner", "root", "group", "users", "other_read", false))
	})
	want := []event.Object{{Subject: "/etc/shadow", Source: "/etc/shadow:1", Expected: "file.group in (root, shadow) and file.group_write = false",
		Values: map[string]any{"file.owner": "root", "file.group": "users", "file.other_read": false, "file.group_write": nil}}}
	if diff := cmp.Diff(want, v.Objects); diff != "" {
		t.Error(diff)
	}
	v = judged(checks[1], nil, func(e *Evaluation) { e.Surveyed([]*event.FactKind{event.File}) })
	if want := []event.Object{{Expected: "a fact of kind file where file.purpose = log"}}; !cmp.Equal(want, v.Objects) || v.Status != event.Fail {
		t.Errorf("without any fact: %s, %+v", v.Status, v.Objects)
	}
	c := checkOf(t, "  condition: file.size = 1 or file.owner = root\n")
	if v := judged(c, nil, func(e *Evaluation) { e.Fact(file("x")) }); v.Objects[0].Expected != "file.size = 1 or file.owner = root" {
		t.Errorf("expected %q", v.Objects[0].Expected)
	}
	v = judged(c, nil, func(e *Evaluation) {
		for i := range 1000 {
			e.Fact(file(fmt.Sprint(i)))
		}
	})
	if len(v.Objects) != maxObjects || v.Failing != 1000 || v.Facts != 1000 {
		t.Errorf("%d objects of %d failing of %d", len(v.Objects), v.Failing, v.Facts)
	}
}

func TestWaiversHoldUntilTheirDay(t *testing.T) {
	t.Parallel()
	c := checkOf(t, "  condition: file.owner = root\n")
	waiver := func(until string, objects ...string) []Waiver {
		return []Waiver{{Check: "o*", Objects: objects, Reason: "r", Owner: "o", Until: until}}
	}
	for _, x := range []struct {
		waivers         []Waiver
		want            event.Status
		failing, waived int
	}{
		{nil, event.Fail, 2, 0},
		{waiver("2026-11-27", "all"), event.Pass, 0, 2},
		{waiver("2026-11-26", "all"), event.Pass, 0, 2},
		{waiver("2026-11-25", "all"), event.Fail, 2, 0},
		{waiver("2026-11-27", "/opt/*"), event.Fail, 1, 1},
		{waiver("2026-11-27", "/opt/?", "/etc/y"), event.Pass, 0, 2},
		{waiver("2026-11-27", "allx"), event.Fail, 2, 0},
	} {
		e := NewEvaluation([]*Check{c}, x.waivers, today)
		e.Fact(file("/opt/x"))
		e.Fact(file("/etc/y"))
		v := e.Verdicts()[0]
		if v.Status != x.want || v.Failing != x.failing || v.Waiving != x.waived || len(v.Waived) != x.waived {
			t.Errorf("%+v: %s, %d failing, %d waived", x.waivers, v.Status, v.Failing, v.Waiving)
		}
		if x.waived > 0 && (v.Waived[0].Waiver == nil || v.Waived[0].Waiver.Owner != "o") {
			t.Errorf("%+v: object is waived by %+v", x.waivers, v.Waived[0].Waiver)
		}
		for i, w := range e.Waivers() {
			if w.Expired != (x.waivers[i].Until < "2026-11-26") {
				t.Errorf("%+v: expired %v", x.waivers[i], w.Expired)
			}
		}
	}
}

// TestScoresOfThePage computes the worked examples of POSTURE.md.
func TestScoresOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("POSTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(page), "\n### Example: ")[1:]
	if len(sections) != 2 {
		t.Fatalf("%d worked examples, want 2", len(sections))
	}
	row := regexp.MustCompile(`(?m)^\| ([a-z-]+) \| ([a-z]+) \| ([a-z_]+) \| ([0-9.]+) \|$`)
	stated := regexp.MustCompile(`(?m)^> (.*)$`)
	for _, section := range sections {
		var verdicts []event.Verdict
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			severity, err := event.SeverityNamed(m[2])
			status := slices.Index(event.Statuses, m[3])
			if err != nil || status < 0 {
				t.Fatalf("row %q: %v", m[0], err)
			}
			verdicts = append(verdicts, event.Verdict{Status: event.Status(status),
				Check: &event.Check{ID: m[1], Severity: severity, Controls: []event.Control{{Framework: "f", ID: m[4]}}}})
		}
		s := Scores(verdicts)[0]
		got := fmt.Sprintf("score %.2f, coverage %.2f, grade %s, controls %d passed, %d failed, %d not assessed",
			s.Score, s.Coverage, s.Grade, s.Controls.Passed, s.Controls.Failed, s.Controls.Unassessed)
		if want := stated.FindStringSubmatch(section)[1]; got != want {
			t.Errorf("the page says %q, and the scores are %q", want, got)
		}
	}
}

func TestScoreOfNothingAssessedIsNone(t *testing.T) {
	t.Parallel()
	controls := []event.Control{{Framework: "f", ID: "1"}, {Framework: "f", ID: "2"}, {Framework: "e", ID: "1"}}
	scores := Scores([]event.Verdict{{Check: &event.Check{Controls: controls}, Status: event.Manual}})
	if len(scores) != 2 || scores[0].Framework != "e" || scores[1].Checks != 1 || scores[1].Grade != "" || scores[1].Assessed() != 0 || scores[1].Controls.Unassessed != 2 {
		t.Errorf("scores %+v", scores)
	}
}

func survey(name string, do func(ctx context.Context, report func(event.Fact)) error) event.NamedSurvey {
	return event.NamedSurvey{Name: name, Kinds: []*event.FactKind{event.File}, Survey: do}
}

// judge loads the checks of tests into a Posture.
func judge(t *testing.T, surveys ...event.NamedSurvey) *Posture {
	t.Helper()
	c := DefaultPosture
	c.Pack, c.Files, c.Timeout = false, []string{"testdata/posture/checks.yaml"}, 50*time.Millisecond
	p := NewPosture(PostureOptions{Config: c, Surveys: []event.Surveyor{func(event.Machine) []event.NamedSurvey { return surveys }}})
	if err := p.Load(c, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return p
}

func statuses(r *event.Posture) string {
	var all []string
	for _, v := range r.Verdicts {
		all = append(all, v.Check.ID+" "+v.Status.String())
	}
	return strings.Join(all, ", ")
}

func TestPostureJudgesWhatSurveysReport(t *testing.T) {
	t.Parallel()
	mode := false
	shadow := survey("shadow", func(_ context.Context, report func(event.Fact)) error {
		report(file("/etc/shadow", "purpose", "shadow", "owner", "root", "group", "shadow", "other_read", mode, "group_write", false))
		report(file("/var/log/x", "purpose", "log", "size", int64(7)))
		return nil
	})
	p := judge(t, shadow)
	r := p.Judge(t.Context())
	if got, want := statuses(r), "shadow-private pass, any-small-file pass, walk-the-site manual"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if len(r.Scores) != 3 || r.Scores[0].Framework != "cis_debian_12" || r.Scores[0].Score != 100 || r.Scores[0].Coverage != 0.5 || r.Facts != 2 {
		t.Errorf("scores %+v of %d facts", r.Scores, r.Facts)
	}
	mode = true
	if got, want := statuses(p.Judge(t.Context(), "user")), "shadow-private pass, any-small-file pass, walk-the-site manual"; got != want {
		t.Errorf("after facts of another kind: %s, want %s", got, want)
	}
	if got, want := statuses(p.Judge(t.Context(), "file")), "shadow-private fail, any-small-file pass, walk-the-site manual"; got != want {
		t.Errorf("after a change: %s, want %s", got, want)
	}
}

func TestASurveyThatFailsCostsItsOwnChecks(t *testing.T) {
	t.Parallel()
	p := judge(t, survey("panics", func(context.Context, func(event.Fact)) error { panic("oops") }))
	for _, v := range p.Judge(t.Context()).Verdicts[:2] {
		if v.Status != event.Erroneous || v.Reason != "survey panics: panic: oops" {
			t.Errorf("%s: %s, %q", v.Check.ID, v.Status, v.Reason)
		}
	}
	p = judge(t, survey("image", func(context.Context, func(event.Fact)) error { return fmt.Errorf("listeners: %w", event.ErrNotLive) }))
	if got, want := statuses(p.Judge(t.Context())), "shadow-private not_applicable, any-small-file not_applicable, walk-the-site manual"; got != want {
		t.Errorf("of an image: %s, want %s", got, want)
	}
}

func TestASurveyThatHangsIsLeftAlone(t *testing.T) {
	t.Parallel()
	release, ended := make(chan struct{}), make(chan struct{})
	runs := 0
	p := judge(t, survey("hangs", func(_ context.Context, report func(event.Fact)) error {
		if runs++; runs > 1 {
			return nil
		}
		<-release
		report(file("late", "purpose", "shadow"))
		close(ended)
		return nil
	}))
	for _, want := range []string{"survey hangs did not end in 50ms", "survey hangs of an earlier run has still not ended"} {
		if v := p.Judge(t.Context()).Verdicts[0]; v.Status != event.Erroneous || v.Reason != want {
			t.Errorf("%s, %q; want %q", v.Status, v.Reason, want)
		}
	}
	close(release)
	<-ended
	<-p.hanging["hangs"]
	if got, want := statuses(p.Judge(t.Context())), "shadow-private not_applicable, any-small-file fail, walk-the-site manual"; got != want {
		t.Errorf("afterwards: %s, want %s", got, want)
	}
}

func TestKindsOfAChangedFile(t *testing.T) {
	t.Parallel()
	reads := func(name string, files []string, kinds ...*event.FactKind) event.NamedSurvey {
		return event.NamedSurvey{Name: name, Kinds: kinds, Reads: func(file string) bool { return slices.Contains(files, file) }}
	}
	p := judge(t, reads("accounts", []string{"/etc/passwd"}, event.Account, event.File), reads("files", []string{"/etc/passwd", "/etc/shadow"}, event.File),
		event.NamedSurvey{Name: "kernel", Kinds: []*event.FactKind{event.Sysctl}})
	for file, want := range map[string]string{"/etc/passwd": "user file", "/etc/shadow": "file", "/etc/motd": ""} {
		if got := strings.Join(p.KindsOf(file), " "); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestLoadChangesAllOrNothing(t *testing.T) {
	t.Parallel()
	good, bad := errors.New("others do not load"), DefaultPosture
	p := judge(t)
	bad.Files = []string{"testdata/posture/none.yaml"}
	c := DefaultPosture
	c.Pack, c.Files, c.Checks, c.Interval = false, []string{"testdata/posture/checks.yaml"}, []string{"walk-the-site"}, time.Minute
	if err := p.Load(c, func() error { return good }); !errors.Is(err, good) {
		t.Errorf("error %v, want that of the others", err)
	}
	if err := p.Load(bad, func() error { t.Error("others are loaded, but the checks cannot be"); return nil }); err == nil || p.Check(bad) == nil {
		t.Error("checks load that are not there")
	}
	if n := len(p.Judge(t.Context()).Verdicts); n != 3 || p.Interval() != time.Hour {
		t.Errorf("%d checks at intervals of %v, want those before: 3, and 1h", n, p.Interval())
	}
	if err := p.Load(c, func() error { return nil }); err != nil || p.Check(c) != nil {
		t.Fatal(err)
	}
	if n := len(p.Judge(t.Context(), "user").Verdicts); n != 1 || p.Interval() != time.Minute {
		t.Errorf("%d checks at intervals of %v, want 1, and 1m", n, p.Interval())
	}
}

func TestLoadDoesNotWaitForARun(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	var p *Posture
	p = judge(t, survey("slow", func(context.Context, func(event.Fact)) error {
		close(begun)
		<-release
		return nil
	}))
	c := p.loaded.Load().config
	c.Timeout = time.Hour
	nothing := func() error { return nil }
	if err := p.Load(c, nothing); err != nil {
		t.Fatal(err)
	}
	done := make(chan *event.Posture)
	go func() { done <- p.Judge(t.Context()) }()
	<-begun
	if err := p.Load(c, nothing); err != nil {
		t.Fatal(err)
	}
	close(release)
	if r := <-done; r != nil {
		t.Errorf("a run tells of checks that are loaded no more: %s", statuses(r))
	}
}

func TestAPostureThatIsOffLoadsNoChecks(t *testing.T) {
	t.Parallel()
	p, others := NewPosture(PostureOptions{Off: true}), 0
	c := DefaultPosture
	c.Files = []string{"none"}
	if err := p.Load(c, func() error { others++; return nil }); err != nil || p.Check(c) != nil || p.On() || others != 1 {
		t.Errorf("%v, on %v, others were loaded %d times", err, p.On(), others)
	}
}

func TestBenchmarksOfOtherReleasesAreLeftOut(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "checks.yaml")
	text := `[{check: a, title: t, severity: low, risk: r, remediation: m, manual: true, frameworks: {cis_debian_12: [1], cis_ubuntu_2204: [2], cis_ubuntu_2404: [3], cis_docker_1.7: [4], soc2: [5]}}]`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		id, version string
		asked       []string
		want        string
	}{
		{"debian", "12", nil, "cis_debian_12 cis_docker_1.7 soc2"},
		{"ubuntu", "22.04", nil, "cis_ubuntu_2204 cis_docker_1.7 soc2"},
		{"debian", "13", nil, "cis_debian_12 cis_ubuntu_2204 cis_ubuntu_2404 cis_docker_1.7 soc2"},
		{"rhel", "9.4", nil, "cis_debian_12 cis_ubuntu_2204 cis_ubuntu_2404 cis_docker_1.7 soc2"},
		{"", "", nil, "cis_debian_12 cis_ubuntu_2204 cis_ubuntu_2404 cis_docker_1.7 soc2"},
		{"debian", "12", []string{"cis_ubuntu_2204"}, "cis_ubuntu_2204"},
	} {
		c := PostureConfig{Files: []string{file}, Timeout: time.Second}
		p := NewPosture(PostureOptions{Config: c, Release: func(event.Machine) (string, string) { return test.id, test.version }})
		r, err := p.Once(t.Context(), event.Machine{}, test.asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.Verdicts[0].Check.Frameworks(), " "); got != test.want {
			t.Errorf("%s %s, of %q: %q, want %q", test.id, test.version, test.asked, got, test.want)
		}
	}
}

func TestPostureConfigRefusesMistakes(t *testing.T) {
	t.Parallel()
	w := Waiver{Check: "shadow-private", Objects: Objects{"all"}, Reason: "r", Owner: "o", Until: "2027-01-01"}
	for want, change := range map[string]func(c *PostureConfig){
		"posture: interval: 1s: want at least 1m0s":                 func(c *PostureConfig) { c.Interval = time.Second },
		"posture: facts: there are no facts of kind fiel":           func(c *PostureConfig) { c.Facts = []string{"fiel"} },
		"posture: timeout: 0s":                                      func(c *PostureConfig) { c.Timeout = 0 },
		"posture: waivers: entry 1: until: \"tomorrow\"":            func(c *PostureConfig) { w := w; w.Until = "tomorrow"; c.Waivers = []Waiver{w} },
		"posture: waivers: entry 1: owner: want":                    func(c *PostureConfig) { w := w; w.Owner = ""; c.Waivers = []Waiver{w} },
		"posture: waivers: entry 1: reason: want":                   func(c *PostureConfig) { w := w; w.Reason = ""; c.Waivers = []Waiver{w} },
		"posture: waivers: entry 1: objects: want":                  func(c *PostureConfig) { w := w; w.Objects = nil; c.Waivers = []Waiver{w} },
		"posture: waivers: entry 1: check: want":                    func(c *PostureConfig) { w := w; w.Check = ""; c.Waivers = []Waiver{w} },
		"posture: waivers: entry 1: there is no check nme":          func(c *PostureConfig) { w := w; w.Check = "nme"; c.Waivers = []Waiver{w} },
		"posture: checks: there is no check x*":                     func(c *PostureConfig) { c.Checks = []string{"x*"} },
		"posture: except: there is no check y":                      func(c *PostureConfig) { c.Except = []string{"y"} },
		"posture: frameworks: no check is of framework cis_debian_": func(c *PostureConfig) { c.Frameworks = []string{"cis_debian_"} },
		"testdata/posture/none.yaml":                                func(c *PostureConfig) { c.Files = []string{"testdata/posture/none.yaml"} },
	} {
		c := DefaultPosture
		c.Pack, c.Files = false, []string{"testdata/posture/checks.yaml"}
		change(&c)
		err := c.Validate()
		if err == nil {
			_, err = c.Load()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for want, c := range map[string]PostureConfig{
		"shadow-private any-small-file walk-the-site": {},
		"shadow-private walk-the-site":                {Frameworks: []string{"cis-debian"}},
		"any-small-file":                              {Frameworks: []string{"NIST_800_53"}, Checks: []string{"a*"}},
		"walk-the-site":                               {Except: []string{"a*", "shadow-private"}},
	} {
		c.Files = []string{"testdata/posture/checks.yaml"}
		checks, err := c.Load()
		var ids []string
		for _, check := range checks {
			if strings.Join(c.Frameworks, "") == "cis-debian" && strings.Join(check.Frameworks(), " ") != "cis_debian_12" {
				t.Errorf("check %s is of %q", check.ID, check.Frameworks())
			}
			ids = append(ids, check.ID)
		}
		if got := strings.Join(ids, " "); got != want || err != nil {
			t.Errorf("selected %q, %v; want %q", got, err, want)
		}
	}
}

// BenchmarkEvaluate is of 500 checks over 20,000 facts.
func BenchmarkEvaluate(b *testing.B) {
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "- {check: c%d, title: t, severity: high, fact: file, risk: r, remediation: f, frameworks: {f: [%d]},\n", i, i)
		fmt.Fprintf(&text, "   where: file.purpose = p%d, condition: \"file.owner = root and file.other_write = false and file.mode in (384, 416)\"}\n", i)
	}
	checks := someChecks(b, text.String())
	facts := make([]event.Fact, 20_000)
	for i := range facts {
		facts[i] = file(fmt.Sprint("/f", i), "purpose", fmt.Sprint("p", i%500), "owner", "root", "other_write", i%7 == 0, "mode", int64(416))
	}
	b.ReportAllocs()
	for b.Loop() {
		e := NewEvaluation(checks, nil, today)
		for _, f := range facts {
			e.Fact(f)
		}
		Scores(e.Verdicts())
	}
}
