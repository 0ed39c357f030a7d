package dashboards

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yagura-io/yagura/alerts"
	"github.com/yagura-io/yagura/promql"
)

var update = flag.Bool("update", false, "write the JSON files anew")

// TestGolden compares the JSON files, which people import and the program carries, with what the boards make.
func TestGolden(t *testing.T) {
	want := map[string]bool{}
	for _, b := range All() {
		name := b.UID + ".json"
		want[name] = true
		text, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, text) {
			t.Errorf("%s is not what its board makes (%v): go test ./dashboards -run TestGolden -update", name, err)
		}
	}
	files, _ := filepath.Glob("*.json")
	for _, name := range files {
		if !want[name] {
			t.Errorf("%s has no board", name)
		}
	}
}

func TestSameBoardMakesSameBytes(t *testing.T) {
	for i, b := range All() {
		one, _ := b.JSON()
		other, _ := All()[i].JSON()
		if !bytes.Equal(one, other) {
			t.Errorf("%s is written in two ways", b.UID)
		}
	}
}

// TestLint has every board pass the checks that users' dashboards get.
func TestLint(t *testing.T) {
	boards := map[string]string{}
	for _, b := range All() {
		boards[b.UID] = b.UID + ".json"
	}
	for _, b := range All() {
		text, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range promql.LintDashboard(b.UID+".json", text, promql.LintOptions{Strict: true, Boards: boards}) {
			t.Errorf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Rule, f.Message)
		}
	}
}

// linksOf are all links of a board to boards.
func linksOf(b Board) (all []Link) {
	for _, r := range b.Rows {
		for _, p := range r.Panels {
			all = append(all, p.Links...)
			if table, ok := p.View.(Table); ok {
				for _, c := range table.Columns {
					all = append(all, c.Links...)
				}
			}
		}
	}
	return all
}

func (b Board) names() (names []string) {
	for _, v := range b.variables() {
		names = append(names, v.Name)
	}
	return names
}

// TestLinksSetVariablesThatAreThere follows every link from the board that has it.
func TestLinksSetVariablesThatAreThere(t *testing.T) {
	byUID := map[string]Board{}
	for _, b := range All() {
		byUID[b.UID] = b
	}
	for _, b := range All() {
		for _, l := range linksOf(b) {
			to, ok := byUID[l.Board]
			if !ok {
				t.Errorf("%s: %q leads to %s, which is not there", b.UID, l.Title, l.Board)
				continue
			}
			for name := range l.Set {
				if !slices.Contains(to.names(), name) {
					t.Errorf("%s: %q sets %s, which %s does not have", b.UID, l.Title, name, l.Board)
				}
			}
			for _, name := range l.Keep {
				if !slices.Contains(to.names(), name) || !slices.Contains(b.names(), name) {
					t.Errorf("%s: %q keeps %s, which both boards must have", b.UID, l.Title, name)
				}
			}
		}
	}
}

// TestTablesKeepWhatTheirLinksNeed: a link takes the labels of a row from its columns, and there are no others.
func TestTablesKeepWhatTheirLinksNeed(t *testing.T) {
	for _, b := range All() {
		for _, r := range b.Rows {
			for _, p := range r.Panels {
				table, ok := p.View.(Table)
				if !ok {
					continue
				}
				links, columns := slices.Clone(p.Links), []string{}
				for _, c := range table.Columns {
					links, columns = append(links, c.Links...), append(columns, c.Field)
				}
				for _, l := range links {
					for _, label := range l.Set {
						// A container has no unit, and a unit no namespace: then nothing is right.
						optional := slices.Contains(elsewhere, label) || label == "unit" && slices.Contains(columns, "container")
						if !optional && !slices.Contains(columns, label) {
							t.Errorf("%s, %s: the link %q takes %s from the row, which has only %v", b.UID, p.complete().Title, l.Title, label, columns)
						}
					}
				}
			}
		}
	}
}

// everywhere are queries about what belongs to no machine.
var everywhere = []string{"slo_promises", "alerts_firing", "alerts_firing_count"}

// TestQueriesObeyTheVariables: whoever chooses a machine must not see another.
func TestQueriesObeyTheVariables(t *testing.T) {
	for _, b := range All() {
		for _, q := range b.Questions() {
			if !strings.Contains(q.Expr, "$instance") && !slices.ContainsFunc(everywhere, func(name string) bool { return strings.HasSuffix(q.Where, ": "+name) }) {
				t.Errorf("%s does not choose by instance: %s", q.Where, q.Expr)
			}
		}
	}
}

// TestThresholdsAreThoseOfAlerts reads the files, not the boards, for three that work in different ways.
func TestThresholdsAreThoseOfAlerts(t *testing.T) {
	for _, test := range []struct{ board, panel, alert, color, below string }{
		{"yagura-workload", "CPU throttled", "WorkloadCPUThrottled", "orange", "green"},
		{"yagura-slo", "Burn rate, hours", "SLOErrorBudgetBurn14x", "red", "green"},
		{"yagura-overview", "Fullest file system", "NodeFilesystemFull", "orange", "red"},
	} {
		text, err := os.ReadFile(test.board + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var board dashboard
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(board.Panels, func(p panel) bool { return p.Title == test.panel })
		if i < 0 {
			t.Errorf("%s has no panel %q", test.board, test.panel)
			continue
		}
		steps := board.Panels[i].FieldConfig.Defaults.Thresholds.Steps
		at := slices.IndexFunc(steps, func(s step) bool { return s.Value != nil && *s.Value == alerts.Threshold(test.alert) })
		if at < 1 || steps[at].Color != test.color || steps[at-1].Color != test.below {
			t.Errorf("%s, %s: steps %+v, want %s from %v of %s, and %s before", test.board, test.panel, steps, test.color, alerts.Threshold(test.alert), test.alert, test.below)
		}
		if !strings.Contains(board.Panels[i].Description, "["+test.alert+"](https://") {
			t.Errorf("%s, %s: the description does not lead to the runbook: %s", test.board, test.panel, board.Panels[i].Description)
		}
	}
}

func TestLayoutFillsLinesFromLeftToRight(t *testing.T) {
	var b Board
	text := func(title string, w, h int) Panel { return Panel{Title: title, View: Text{}, Width: w, Height: h} }
	rows := []Row{
		{Panels: []Panel{text("a", 16, 3), text("b", 8, 5), text("c", 12, 2)}},
		{Title: "folded", Folded: true, Panels: []Panel{text("d", 24, 9)}},
		{Title: "open", Panels: []Panel{text("e", 24, 4)}},
	}
	want := map[string]grid{"a": {0, 0, 16, 3}, "b": {16, 0, 8, 5}, "c": {0, 5, 12, 2}, "folded": {0, 7, 24, 1}, "d": {0, 8, 24, 9}, "open": {0, 8, 24, 1}, "e": {0, 9, 24, 4}}
	y := 0
	for _, r := range rows {
		var panels []panel
		panels, y = b.row(r, y)
		for _, p := range panels {
			if p.Panels != nil {
				panels = append(panels, *p.Panels...)
			}
		}
		for _, p := range panels {
			if p.Grid != want[p.Title] {
				t.Errorf("%s lies at %+v, want %+v", p.Title, p.Grid, want[p.Title])
			}
			delete(want, p.Title)
		}
	}
	if len(want) > 0 || y != 13 {
		t.Errorf("not laid out: %v; the end is at %d, want 13", want, y)
	}
}

func TestPanelKeepsItsNumberWhenOthersCome(t *testing.T) {
	all := func(titles ...string) (ids []uint32) {
		var panels []Panel
		for _, title := range titles {
			panels = append(panels, Panel{Title: title, View: Text{}})
		}
		made, _ := Board{}.row(Row{Panels: panels}, 0)
		for _, p := range made {
			ids = append(ids, p.ID)
		}
		return ids
	}
	if before, after := all("one", "two"), all("new", "two", "one"); before[0] != after[2] || before[1] != after[1] || before[0] == before[1] {
		t.Errorf("numbers %v became %v", before, after)
	}
}

func TestLinkAddress(t *testing.T) {
	l := Link{Board: "yagura-rule", Set: map[string]string{"rule": "rule", "unit": "service"}, Keep: []string{"pod"}}
	const want = "/d/yagura-rule?${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${pod:queryparam}" +
		"&var-rule=${__data.fields.rule:percentencode}&var-unit=${__data.fields.service:percentencode}"
	if got := l.address("__data.fields"); got != want {
		t.Errorf("address %s\nwant    %s", got, want)
	}
}

func TestMistakesOfABoardPanic(t *testing.T) {
	for name, p := range map[string]Panel{
		"query":     {View: Stat{}, Queries: []Query{Q("no_such_query", "")}},
		"variable":  {View: Stat{}, Queries: []Query{Q("security_hits", "").With("nothing", "1")}},
		"unit":      {View: Stat{}, Unit: "furlongs", Queries: []Query{Q("security_hits", "")}},
		"alert":     {View: Stat{}, Thresholds: Above("NoSuchAlert"), Queries: []Query{Q("security_hits", "")}},
		"threshold": {View: Stat{}, Thresholds: Above("Watchdog"), Queries: []Query{Q("security_hits", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("nothing was said")
				}
			}()
			Board{}.panel(Row{}, p, grid{})
		})
	}
}

func TestQueryOfABoardLeavesOutWhatCannotBeChosen(t *testing.T) {
	with, without := Board{Variables: Workload()}, Board{}
	if expr := with.expr(Q("edge_coverage", "")); !strings.Contains(expr, `container=~"$container"`) {
		t.Errorf("with a choice: %s", expr)
	}
	if expr := without.expr(Q("edge_coverage", "")); strings.Contains(expr, "container") || !strings.Contains(expr, `instance=~"$instance"`) {
		t.Errorf("without a choice: %s", expr)
	}
}

func TestHandlerServesTheListAndEachBoard(t *testing.T) {
	const prefix = "/api/yagura/dashboards"
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		Handler(prefix).ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	var list struct {
		Data []struct{ UID, Title, Description string }
		Next *string
	}
	for _, path := range []string{prefix, prefix + "/"} {
		w := ask(http.MethodGet, path)
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != 200 || len(list.Data) != len(All()) || list.Next == nil {
			t.Fatalf("%s: %d %v: %s", path, w.Code, err, w.Body)
		}
	}
	for _, row := range list.Data {
		file, err := os.ReadFile(row.UID + ".json")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{prefix + "/" + row.UID, prefix + "/" + row.UID + ".json"} {
			if w := ask(http.MethodGet, path); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), file) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d %s, want the file", path, w.Code, w.Header())
			}
		}
	}
	for path, want := range map[string]int{prefix + "/none": 404, prefix + "/../dashboards.go": 404, prefix + "/yagura-node/x": 404} {
		if w := ask(http.MethodGet, path); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	if w := ask(http.MethodPost, prefix); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

// TestProvisioning: the files under deploy/grafana name what the boards ask for, and where their files are mounted.
func TestProvisioning(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile("../deploy/grafana/" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := read("provisioning/datasources/yagura.yaml"); !regexp.MustCompile(`(?m)^\s+type: prometheus$`).MatchString(text) {
		t.Errorf("no data source of the type that the boards choose among: %s", text)
	}
	folder := regexp.MustCompile(`(?m)^\s+path: (\S+)$`).FindStringSubmatch(read("provisioning/dashboards/yagura.yaml"))
	if folder == nil || !strings.Contains(read("compose.yaml"), ":"+folder[1]+":ro") {
		t.Errorf("the folder %v of the provider is not what compose.yaml mounts", folder)
	}
}
