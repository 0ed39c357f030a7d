package exporter

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/yagura-io/yagura/rules/event"
)

// aPosture has a verdict of each status, and what an attacker may name.
func aPosture() *event.Posture {
	check := func(id string, severity event.Severity, controls ...event.Control) *event.Check {
		return &event.Check{ID: id, Title: "It is <good>", Severity: severity, Kind: "file", Risk: "R & D", Remediation: "chmod 600 x\nchown root x",
			References: []string{"https://man7.org/x", "man x"}, Controls: controls}
	}
	cis := func(id string) event.Control { return event.Control{Framework: "cis_debian_12", ID: id} }
	nist := func(id string) event.Control { return event.Control{Framework: "nist_800_53", ID: id} }
	until := time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	waiver := event.Waiver{Check: "waived", Reason: "agreed", Owner: "alice", Until: until}
	hostile := "/tmp/\x1b[2J<script>alert(1)</script>\xff\x00\n"
	r := &event.Posture{Time: time.Unix(1_790_000_000, 0), Took: 1500 * time.Millisecond, Facts: 9, Prepared: map[string]time.Time{"file systems": time.Unix(1_789_000_000, 0)}, Waivers: []event.Waiver{waiver, {Check: "old", Owner: "bob", Until: until, Expired: true}},
		Verdicts: []event.Verdict{
			{Check: check("good", event.SeverityHigh, cis("1.1"), nist("AC-6")), Facts: 1},
			{Check: check("bad", event.SeverityCritical, cis("1.2"), cis("1.3")), Status: event.Fail, Failing: 3, Facts: 4, Objects: []event.Object{
				{Subject: hostile, Source: "/etc/a b:7", Values: map[string]any{"file.owner": "alice", "file.mode": int64(420), "file.group": nil, "file.list": []string{"a", "b"}}, Expected: "file.owner = root"},
				{Subject: "other", Expected: "x"}}},
			{Check: check("unread", event.SeverityLow, cis("1.4")), Status: event.Erroneous, Reason: "open /x: permission denied"},
			{Check: check("look", event.SeverityMedium, nist("AC-7")), Status: event.Manual},
			{Check: check("gone", event.SeverityMedium, nist("AC-8")), Status: event.NotApplicable, Reason: "nothing here"},
			{Check: check("waived", event.SeverityLow), Waiving: 1, Waived: []event.Object{{Subject: "w", Expected: "y", Waiver: &waiver}}},
		}}
	r.Known = []event.Fact{
		event.Sysctl.New("net.ipv4.ip_forward", "").Set("exists", true).Set("number", int64(1)).Set("value", "1").Set("lasting", false),
		event.AccountGroup.New("sudo", "/etc/group:2").Set("members", []string{"alice", "bob"}),
	}
	r.Unknown = 4
	r.Scores = []event.Score{
		{Framework: "cis_debian_12", Score: 100 * 5. / 15, Resources: 75, Coverage: 2. / 3, Grade: "F", Checks: 3, Statuses: [5]int{1, 1, 1, 0, 0}},
		{Framework: "nist_800_53", Coverage: 0, Checks: 2, Statuses: [5]int{0, 0, 0, 1, 1}},
	}
	return r
}

// A fixedJudge always says the same, and remembers what it was asked.
type fixedJudge struct {
	off        bool
	takes      time.Duration
	containers atomic.Value // of []*event.Container
	result     *event.Posture
	err        error
	runs       [][]string
	at         []time.Duration
	begin      time.Time
	machine    event.Machine
	frameworks []string
}

func (j *fixedJudge) On() bool { return !j.off }
func (j *fixedJudge) Judge(_ context.Context, kinds ...string) *event.Posture {
	j.runs = append(j.runs, kinds)
	j.at = append(j.at, time.Since(j.begin))
	time.Sleep(j.takes)
	return j.result
}
func (j *fixedJudge) KindsOf(file string) []string {
	return map[string][]string{"/etc/ssh/sshd_config": {"sshd"}}[file]
}
func (j *fixedJudge) Prepare(ctx context.Context, _ func(...string)) { <-ctx.Done() }

func (j *fixedJudge) Interval() time.Duration { return time.Hour }
func (j *fixedJudge) Once(_ context.Context, m event.Machine, frameworks []string) (*event.Posture, error) {
	j.machine, j.frameworks = m, frameworks
	return j.result, j.err
}
func (j *fixedJudge) List([]string) ([]*event.Check, error) {
	var all []*event.Check
	for _, v := range j.result.Verdicts {
		all = append(all, v.Check)
	}
	return all, j.err
}

func postureOf(j *fixedJudge) *Posture {
	return NewPosture(PostureOptions{Judge: func() PostureJudge { return j }, Containers: func() []*event.Container {
		running, _ := j.containers.Load().([]*event.Container)
		return running
	}})
}

func TestPostureSeries(t *testing.T) {
	t.Parallel()
	p := postureOf(&fixedJudge{})
	e := New(Options{Collectors: []Entry{p.Entry()}})
	if _, text := scrapeText(e, "/metrics"); strings.Contains(text, "yagura_posture_") {
		t.Error("there are series before the first run")
	}
	p.result.Store(aPosture())
	_, text := scrapeText(e, "/metrics")
	expect(t, text, map[string]string{
		`yagura_posture_score{framework="cis_debian_12"}`:                                               "33.333333333333336",
		`yagura_posture_score_weighted_by_resources{framework="cis_debian_12"}`:                         "75",
		`yagura_posture_fact{fact="sysctl",field="number",subject="net.ipv4.ip_forward"}`:               "1",
		`yagura_posture_fact{fact="sysctl",field="lasting",subject="net.ipv4.ip_forward"}`:              "0",
		`yagura_posture_fact{fact="group",field="members",subject="sudo"}`:                              "2",
		`yagura_posture_fact_info{fact="sysctl",field="value",subject="net.ipv4.ip_forward",value="1"}`: "1",
		`yagura_posture_facts_dropped`:                                                                  "4",
		`yagura_posture_coverage_ratio{framework="cis_debian_12"}`:                                      "0.6666666666666666",
		`yagura_posture_coverage_ratio{framework="nist_800_53"}`:                                        "0",
		`yagura_posture_check_result{check="good",severity="high"}`:                                     "1",
		`yagura_posture_check_result{check="bad",severity="critical"}`:                                  "0",
		`yagura_posture_check_info{check="bad",control="1.3",framework="cis_debian_12"}`:                "1",
		`yagura_posture_check_info{check="look",control="AC-7",framework="nist_800_53"}`:                "1",
		`yagura_posture_check_status{check="unread",status="error"}`:                                    "1",
		`yagura_posture_check_status{check="look",status="manual"}`:                                     "1",
		`yagura_posture_check_status{check="gone",status="not_applicable"}`:                             "1",
		`yagura_posture_failing_objects{check="bad"}`:                                                   "3",
		`yagura_posture_failing_objects{check="good"}`:                                                  "0",
		`yagura_posture_waivers{state="active"}`:                                                        "1",
		`yagura_posture_waivers{state="expired"}`:                                                       "1",
		`yagura_posture_last_run_timestamp_seconds`:                                                     "1.79e+09",
		`yagura_posture_run_duration_seconds`:                                                           "1.5",
		`yagura_posture_survey_timestamp_seconds{survey="file systems"}`:                                "1.789e+09",
	})
	for _, absent := range []string{`yagura_posture_score{framework="nist_800_53"}`, `check_result{check="unread"`, `check_result{check="look"`,
		`check_result{check="gone"`, `check_status{check="good"`, `check_status{check="bad"`, `failing_objects{check="unread"`, `check_info{check="gone"`} {
		if strings.Contains(text, absent) {
			t.Errorf("there is a series %s", absent)
		}
	}
}

// runs has a collector run for as long as do does, each of whose runs takes a second, and returns when they were, of which kinds.
func runs(t *testing.T, do func(p *Posture)) (all []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		j := &fixedJudge{result: aPosture(), begin: time.Now(), takes: time.Second}
		p := postureOf(j)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		do(p)
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for i, kinds := range j.runs {
			all = append(all, fmt.Sprint(j.at[i], kinds))
		}
	})
	return all
}

func TestPostureRunsAtStartAtIntervalsAndOnDemand(t *testing.T) {
	t.Parallel()
	const sshd = "/etc/ssh/sshd_config"
	got := runs(t, func(p *Posture) {
		time.Sleep(time.Minute)
		p.Changed(sshd)
		time.Sleep(time.Second)
		p.Rerun("file", "sshd")
		p.Changed("/etc/motd") // which no check reads
		time.Sleep(3 * time.Second)
		p.Changed(sshd) // at 64 s, after a run that has ended at 63 s
		time.Sleep(6 * time.Second)
		p.Rerun() // at 70 s, after one that has ended at 69 s
		time.Sleep(2*time.Hour + time.Minute)
	})
	want := []string{"10s []", "1m2s [sshd file]", "1m8s [sshd]", "1m14s []", "1h1m14s []", "2h1m14s []"}
	if !slices.Equal(got, want) {
		t.Errorf("runs %q, want %q", got, want)
	}
}

func TestPostureJudgesContainersThatAreNew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &fixedJudge{result: aPosture(), begin: time.Now()}
		j.containers.Store([]*event.Container{{ID: "a"}})
		p := postureOf(j)
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(2*time.Minute + 20*time.Second)
		j.containers.Store([]*event.Container{{ID: "b"}}) // at 2m20s; it looks a minute after the first run, and every minute
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := []time.Duration{10 * time.Second, 3*time.Minute + 12*time.Second}; !slices.Equal(j.at, want) || !slices.Equal(j.runs[1], []string{"container", "container_mount"}) {
			t.Errorf("runs %q at %v, want one of all and one of containers, at %v", j.runs, j.at, want)
		}
	})
}

func TestPostureMissesNoChangeDuringTheFirstRun(t *testing.T) {
	t.Parallel()
	got := runs(t, func(p *Posture) {
		time.Sleep(5 * time.Second)
		p.Changed("/etc/motd") // which the first run will see
		time.Sleep(5500 * time.Millisecond)
		p.Changed("/etc/motd") // which it may have read before
		time.Sleep(30 * time.Second)
	})
	if want := []string{"10s []", "16s []"}; !slices.Equal(got, want) {
		t.Errorf("runs %q, want %q", got, want)
	}
}

func TestPostureThatIsOffJudgesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &fixedJudge{result: aPosture()}
		j.off = true
		p := postureOf(j)
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		p.Changed("/etc/ssh/sshd_config")
		p.Rerun()
		if err := p.Run(ctx); err != nil || len(j.runs) > 0 {
			t.Errorf("%d runs, %v", len(j.runs), err)
		}
	})
}

func TestPostureRows(t *testing.T) {
	t.Parallel()
	p := postureOf(&fixedJudge{})
	p.result.Store(aPosture())
	get := func(query string) []postureRow {
		t.Helper()
		w := httptest.NewRecorder()
		p.Rows().ServeHTTP(w, httptest.NewRequest("GET", "/api/yagura/posture"+query, nil))
		var page struct {
			Data []struct {
				postureRow
				Status   string `json:"status"`
				Severity string `json:"severity"`
			} `json:"data"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d, %v, %s", query, w.Code, err, w.Body)
		}
		var rows []postureRow
		for _, r := range page.Data {
			r.postureRow.Status = event.Status(slices.Index(event.Statuses, r.Status))
			r.postureRow.Severity, _ = event.SeverityNamed(r.Severity)
			rows = append(rows, r.postureRow)
		}
		return rows
	}
	for query, want := range map[string]string{
		"":                                     "good 1.1 pass, good AC-6 pass, bad 1.2 fail, bad 1.3 fail, unread 1.4 error, look AC-7 manual, gone AC-8 not_applicable, waived  pass",
		"?status=fail":                         "bad 1.2 fail, bad 1.3 fail",
		"?check=good&framework=nist_800_53":    "good AC-6 pass",
		"?control=1.4":                         "unread 1.4 error",
		"?severity=critical&limit=1":           "bad 1.2 fail",
		"?since=1790000001":                    "",
		"?status=fail&until=1790000000":        "bad 1.2 fail, bad 1.3 fail",
		"?status=pass&severity=low&cursor=0":   "waived  pass",
		"?status=not_applicable&container=web": "",
	} {
		var got []string
		for _, r := range get(query) {
			got = append(got, fmt.Sprintf("%s %s %s", r.Check, r.Control, r.Status))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	bad := get("?check=bad&limit=1")[0]
	if len(bad.Objects) != 2 || bad.Failing != 3 || bad.Objects[0].Expected != "file.owner = root" || bad.Objects[0].Fact["file.owner"] != "alice" || bad.Remediation == "" {
		t.Errorf("row of what fails: %+v", bad)
	}
}

// run runs the command over a result, and returns what it prints and its exit status.
func runPosture(t *testing.T, j *fixedJudge, ask askFunc, args ...string) (string, int) {
	t.Helper()
	app := kingpin.New("yagura", "")
	var out bytes.Buffer
	code := 0
	c := &postureCommand{judge: func() PostureJudge { return j }, flags: &CommandLine{Rootfs: "/host", Procfs: "/host/proc", Sysfs: "/host/sys"},
		out: &out, exit: func(status int) { code = status }}
	c.add(app, func(*kingpin.CmdClause) askFunc { return ask }, func(do func(context.Context) error) kingpin.Action {
		return func(*kingpin.ParseContext) error { return do(t.Context()) }
	})
	if _, err := app.Parse(append([]string{"posture"}, args...)); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return out.String(), code
}

func TestPostureCommandExits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, x := range []struct {
		args []string
		want int
	}{
		{nil, 0},
		{[]string{"--fail-on", "critical"}, 1},
		{[]string{"--fail-on", "low"}, 1},
		{[]string{"--min-score", "33"}, 0},
		{[]string{"--min-score", "34"}, 1},
		{[]string{"--min-score", "0"}, 0},
		{[]string{"--min-score", "1", "--framework", "nist_800_53"}, 1},
		{[]string{"run", "--root", dir, "--min-score=50"}, 1},
	} {
		if _, code := runPosture(t, &fixedJudge{result: aPosture()}, nil, x.args...); code != x.want {
			t.Errorf("%q: exit status %d, want %d", x.args, code, x.want)
		}
	}
	if out, code := runPosture(t, &fixedJudge{err: errors.New("no such framework")}, nil); code != 2 || out != "" {
		t.Errorf("of an error: exit status %d, output %q", code, out)
	}
	j := &fixedJudge{result: aPosture()}
	runPosture(t, j, nil, "--framework", "cis", "--framework", "soc2")
	if want := (event.Machine{Root: "/host", Procfs: "/host/proc", Sysfs: "/host/sys"}); !cmp.Equal(j.machine, want) || !slices.Equal(j.frameworks, []string{"cis", "soc2"}) {
		t.Errorf("judged %+v by %q", j.machine, j.frameworks)
	}
	runPosture(t, j, nil, "--root", dir)
	if want := (event.Machine{Root: dir}); !cmp.Equal(j.machine, want) {
		t.Errorf("judged %+v, want %+v", j.machine, want)
	}
}

func report(t *testing.T, format string, args ...string) string {
	t.Helper()
	out, code := runPosture(t, &fixedJudge{result: aPosture()}, nil, append([]string{"--format", format}, args...)...)
	if code != 0 {
		t.Fatalf("%s: exit status %d", format, code)
	}
	return out
}

func TestPostureAsJSON(t *testing.T) {
	t.Parallel()
	var got struct {
		Scores []map[string]any `json:"scores"`
		Checks []map[string]any `json:"checks"`
	}
	d := json.NewDecoder(strings.NewReader(report(t, "json")))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, c := range got.Checks {
		if len(c) != 5 {
			t.Errorf("a check has other members than it should: %v", c)
		}
		rows = append(rows, fmt.Sprint(c["id"], " ", c["framework"], " ", c["status"], " ", c["severity"], " ", len(c["objects"].([]any))))
	}
	want := []string{"waived  pass low 0", "good cis_debian_12 pass high 0", "bad cis_debian_12 fail critical 2", "unread cis_debian_12 error low 1",
		"good nist_800_53 pass high 0", "look nist_800_53 manual medium 0", "gone nist_800_53 not_applicable medium 0"}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	if got.Scores[0]["framework"] != "cis_debian_12" || got.Scores[0]["grade"] != "F" || got.Scores[1]["score"] != nil {
		t.Errorf("scores %v", got.Scores)
	}
	object := got.Checks[2]["objects"].([]any)[0].(map[string]any)
	if object["expected"] != "file.owner = root" || object["remediation"] != "chmod 600 x\nchown root x" || object["source"] != "/etc/a b:7" {
		t.Errorf("object %v", object)
	}
}

func TestPostureAsTable(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/posture/table.txt", regexp.MustCompile(`Posture of .*, `).ReplaceAll([]byte(report(t, "table")), []byte("Posture of HOST, ")))
}

func TestPostureAsCSV(t *testing.T) {
	t.Parallel()
	rows, err := csv.NewReader(strings.NewReader(report(t, "csv"))).ReadAll()
	if err != nil || len(rows) != 8 || rows[3][1] != "1.2 1.3" || rows[3][6] != "3" {
		t.Errorf("%v: %q", err, rows)
	}
}

func TestPostureAsSARIF(t *testing.T) {
	t.Parallel()
	text := report(t, "sarif")
	var log sarifLog
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if log.Version != "2.1.0" || len(run.Tool.Driver.Rules) != 6 || len(run.Results) != 8 {
		t.Errorf("version %s, %d rules, %d results", log.Version, len(run.Tool.Driver.Rules), len(run.Results))
	}
	suppressed := 0
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || r.Message.Text == "" {
			t.Errorf("result %+v is not of its rule, or has no message", r)
		}
		if !slices.Contains([]string{"pass", "fail", "open", "review", "notApplicable"}, r.Kind) || (r.Kind == "fail") == (r.Level == "none") {
			t.Errorf("kind %s with level %s", r.Kind, r.Level)
		}
		suppressed += len(r.Suppressions)
	}
	fail := run.Results[1]
	at := fail.Locations[0].Physical
	if fail.Level != "error" || at.Artifact.URI != "file:///etc/a%20b" || at.Region.Line != 7 || suppressed != 1 {
		t.Errorf("what fails: %+v at %+v, %d suppressed", fail, at, suppressed)
	}
}

func TestPostureAsJUnit(t *testing.T) {
	t.Parallel()
	var got junitSuites
	if err := xml.Unmarshal([]byte(report(t, "junit")), &got); err != nil {
		t.Fatal(err)
	}
	cis := got.Suites[1]
	if got.Tests != 7 || got.Failures != 1 || got.Errors != 1 || got.Skipped != 2 || len(got.Suites) != 3 || cis.Name != "cis_debian_12" || len(cis.Cases) != 3 {
		t.Errorf("%+v", got)
	}
	if f := cis.Cases[1].Failure; f == nil || f.Type != "critical" || !strings.Contains(f.Text, "and 1 more") || !strings.Contains(f.Text, "chown root x") {
		t.Errorf("what fails: %+v", f)
	}
}

func TestPostureAsHTMLNeedsAndRunsNothing(t *testing.T) {
	t.Parallel()
	text := report(t, "html")
	for _, bad := range []string{"<script", "<link", "<img", "@import", "onload=", "\x1b"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"cis_debian_12", "33.3", "It is &lt;good&gt;", "alice", "and 1 more", "permission denied", `href="https://man7.org/x"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, append(xml.HTMLAutoClose, "meta"), xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPostureAsOpenMetrics(t *testing.T) {
	t.Parallel()
	text := report(t, "openmetrics")
	if !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("it ends with %q", text[len(text)-20:])
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || families["yagura_posture_check_result"] == nil || families["yagura_series"] != nil {
		t.Errorf("%d families, %v", len(families), err)
	}
	p, n := textparse.NewOpenMetricsParser([]byte(text), labels.NewSymbolTable()), 0
	for {
		entry, err := p.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry == textparse.EntrySeries {
			n++
		}
	}
	if n < 15 {
		t.Errorf("%d series", n)
	}
}

func TestPostureList(t *testing.T) {
	t.Parallel()
	out, code := runPosture(t, &fixedJudge{result: aPosture()}, nil, "list")
	if code != 0 || !strings.Contains(out, "good    high      file  It is <good>  cis_debian_12 nist_800_53") || !strings.HasSuffix(out, "\n6 checks\n") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
	out, _ = runPosture(t, &fixedJudge{result: aPosture()}, nil, "list", "--format", "json")
	var all []listedCheck
	if err := json.Unmarshal([]byte(strings.ReplaceAll(out, `"severity": "`, `"-": "`)), &all); err != nil || len(all) != 6 || all[1].Frameworks["cis_debian_12"][1] != "1.3" {
		t.Errorf("%v: %+v", err, all)
	}
}

func TestPostureDiff(t *testing.T) {
	t.Parallel()
	sample := func(labels string, v float64) string {
		return fmt.Sprintf(`{"metric":{%s},"value":[1790000000,"%g"]}`, labels, v)
	}
	answers := map[string]string{
		"yagura_posture_check_result 24h": sample(`"check":"a","severity":"high"`, 1) + "," + sample(`"check":"b","severity":"low"`, 0) + "," +
			sample(`"check":"c","severity":"low"`, 1) + "," + sample(`"check":"d","severity":"low"`, 1),
		"yagura_posture_check_result ": sample(`"check":"a","severity":"high"`, 0) + "," + sample(`"check":"b","severity":"low"`, 1) + "," + sample(`"check":"d","severity":"low"`, 1),
		"yagura_posture_score 24h":     sample(`"framework":"soc2"`, 50.5),
		"yagura_posture_score ":        sample(`"framework":"soc2"`, 40) + "," + sample(`"framework":"gdpr"`, 1),
	}
	ask := func(_ context.Context, w io.Writer, expr, at string) error {
		_, err := fmt.Fprintf(w, `{"resultType":"vector","result":[%s]}`, answers[expr+" "+at])
		return err
	}
	out, code := runPosture(t, nil, ask, "diff", "--from", "24h")
	golden(t, "testdata/posture/diff.txt", []byte(out))
	if code != 0 {
		t.Errorf("exit status %d", code)
	}
	out, _ = runPosture(t, nil, ask, "diff", "--from", "24h", "--format", "json")
	var got struct {
		Checks []postureChange `json:"checks"`
		Scores []scoreChange   `json:"scores"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Checks) != 3 || got.Checks[0] != (postureChange{"", "a", "high", "pass", "fail"}) || len(got.Scores) != 2 {
		t.Errorf("%v: %s", err, out)
	}
	if _, code := runPosture(t, nil, ask, "diff", "--from", "48h"); code != 2 {
		t.Errorf("of a time of which nothing is known: exit status %d", code)
	}
	failing := func(context.Context, io.Writer, string, string) error { return errors.New("connection refused") }
	if _, code := runPosture(t, nil, failing, "diff", "--from", "48h"); code != 2 {
		t.Errorf("without an answer: exit status %d", code)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"/etc/a b": "/etc/a b", "\x1b[2J": `\x1b[2J`, "a\nb": `a\nb`, "é\u202e": `é\u202e`, "\xff": "\ufffd"} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}
