package library

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/yagura-io/yagura/alerts"
)

// testdata/recorded.txt.gz is what the store of a real Yagura held after testdata/record.sh: a series on each line, with its value at
// each scrape, as promtool's unit tests write them. Where a new query asks for what it has not, record again.
var record = flag.String("record", "", "write the recording anew from the store in this directory: see testdata/record.sh")

const (
	recording = "testdata/recorded.txt.gz"
	step      = 15 * time.Second
	ending    = 1 // scrapes at the end that are left out, as the load may have ended
)

var begin = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// bulk are series that no query needs, or not all of: they would make the recording large.
var bulk = regexp.MustCompile(`^(yagura_syscall_duration.*|ALERTS.*|.*:.*|yagura_posture_fact.*|go_(gc|mem|sched|info).*|prometheus_tsdb_(compaction|tombstone|sample|stale|selected|head_gc).*)$`)

func TestRecord(t *testing.T) {
	if *record == "" {
		return // the recording stays as it is
	}
	all, steps := readStore(t, *record)
	out, err := os.Create(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	packed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(packed, "%s%s\n", name, notation(all[name], steps))
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d series of %d scrapes", len(all), steps)
}

// readStore reads a store: the text of each series, and the text of its value at each scrape.
func readStore(t *testing.T, dir string) (map[string]map[int]string, int) {
	t.Helper()
	db, err := tsdb.OpenDBReadOnly(dir, t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	scrapes := times(t, q)
	scrapes = scrapes[:len(scrapes)-ending]
	all := map[string]map[int]string{}
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	for set.Next() {
		s := set.At()
		if bulk.MatchString(s.Labels().Get(labels.MetricName)) {
			continue
		}
		values, it := map[int]string{}, s.Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone && it.AtT() <= scrapes[len(scrapes)-1]; kind = it.Next() {
			at, _ := slices.BinarySearch(scrapes, it.AtT()) // where counters are said to have begun, there is no scrape
			if _, taken := values[at]; taken && at > 0 {
				values[at-1] = values[at]
			}
			values[at] = valueOf(it, kind)
		}
		all[s.Labels().String()] = values
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return all, len(scrapes)
}

// times are those of all scrapes.
func times(t *testing.T, q storage.Querier) []int64 {
	t.Helper()
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "up"))
	if !set.Next() {
		t.Fatal("the store has no series up")
	}
	var all []int64
	for it := set.At().Iterator(nil); it.Next() != chunkenc.ValNone; {
		all = append(all, it.AtT())
	}
	return all
}

func valueOf(it chunkenc.Iterator, kind chunkenc.ValueType) string {
	if kind == chunkenc.ValFloat {
		_, v := it.At()
		if value.IsStaleNaN(v) {
			return "stale"
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	_, h := it.AtFloatHistogram(nil)
	if value.IsStaleNaN(h.Sum) {
		return "stale"
	}
	return h.TestExpression()
}

// notation writes values as promtool's unit tests do: 5x3 is four times 5, _ none.
func notation(values map[int]string, steps int) string {
	var b strings.Builder
	for i := 0; i < steps; {
		v, ok := values[i]
		if !ok {
			v = "_"
		}
		n := 1
		for i+n < steps && (values[i+n] == v || !ok && values[i+n] == "") {
			n++
		}
		i += n
		switch {
		case n == 1 || v == "stale" || v == "NaN":
			b.WriteString(strings.Repeat(" "+v, n))
		case v == "_":
			fmt.Fprintf(&b, " _x%d", n)
		default:
			fmt.Fprintf(&b, " %sx%d", v, n-1)
		}
	}
	return b.String()
}

// A kind of store is what a Prometheus can be told to keep of histograms.
type kind struct {
	name string
	keep func(name string, h *histogram.FloatHistogram, native map[string]bool) bool
}

var kinds = []kind{
	{"both", func(string, *histogram.FloatHistogram, map[string]bool) bool { return true }},
	{"classic", func(_ string, h *histogram.FloatHistogram, _ map[string]bool) bool { return h == nil }},
	{"native", func(name string, h *histogram.FloatHistogram, native map[string]bool) bool {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && native[base] {
				return false
			}
		}
		return true
	}},
}

// A sequence is a series and its values.
type sequence struct {
	labels labels.Labels
	values []parser.SequenceValue
}

// sequences reads the recording.
func sequences(t *testing.T) (all []sequence, native map[string]bool) {
	t.Helper()
	in, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	unpacked, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	native = map[string]bool{}
	lines := bufio.NewReader(unpacked)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return all, native
		}
		if err != nil {
			t.Fatal(err)
		}
		l, values, err := language.ParseSeriesDesc(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("%s:%d: %v", recording, n, err)
		}
		all = append(all, sequence{l, values})
		if slices.ContainsFunc(values, func(v parser.SequenceValue) bool { return v.Histogram != nil }) {
			native[l.Get(labels.MetricName)] = true
		}
	}
}

// fill makes a store of the recording, as one of a kind would have it, and returns when it ends.
func fill(t *testing.T, k kind, all []sequence, native map[string]bool) (*tsdb.DB, time.Time) {
	t.Helper()
	o := tsdb.DefaultOptions()
	o.StripeSize = 1024
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	app := db.Appender(context.Background())
	end := begin
	for _, s := range all {
		var ref storage.SeriesRef
		for i, v := range s.values {
			if v.Omitted || !k.keep(s.labels.Get(labels.MetricName), v.Histogram, native) {
				continue
			}
			at := begin.Add(time.Duration(i) * step)
			if v.Histogram != nil {
				ref, err = app.AppendHistogram(ref, s.labels, at.UnixMilli(), nil, v.Histogram)
			} else {
				ref, err = app.Append(ref, s.labels, at.UnixMilli(), v.Value)
			}
			if err != nil {
				t.Fatalf("%s: %v", s.labels, err)
			}
			if at.After(end) {
				end = at
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	return db, end
}

func engine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{Logger: slog.New(slog.DiscardHandler), MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: language})
}

// evaluate lets the rules of all packs run over the end of the recording, so that there are alerts and what rules record.
func evaluate(t *testing.T, db *tsdb.DB, e *promql.Engine, end time.Time) {
	t.Helper()
	texts, err := alerts.Default.Rules(0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var names []string
	for name, text := range texts {
		names = append(names, filepath.Join(dir, name))
		if err := os.WriteFile(names[len(names)-1], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := rules.NewManager(&rules.ManagerOptions{Appendable: db, Queryable: db, QueryFunc: rules.EngineQueryFunc(e, db), Context: t.Context(),
		Logger: slog.New(slog.DiscardHandler), Parser: language, NotifyFunc: func(context.Context, string, ...*rules.Alert) {}})
	groups, errs := m.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, names...)
	if errs != nil {
		t.Fatal(errs)
	}
	sorted := slices.Sorted(maps.Keys(groups))
	for _, name := range sorted {
		for _, alert := range groups[name].AlertingRules() {
			alert.SetRestored(true) // there is nothing to restore, and before that nothing is written
		}
	}
	for back := 10 * time.Minute; back >= 0; back -= 2 * time.Minute {
		for _, name := range sorted {
			groups[name].Eval(t.Context(), end.Add(-back))
		}
	}
}

// values are those that are other than the defaults, as the recording is of minutes only, and nothing in it got slower by itself.
var values = map[string]string{"before": "4m", "window": "3m", "factor": "0.1"}

func TestQueriesAnswerOnTheRecording(t *testing.T) {
	all, native := sequences(t)
	if len(all) < 3000 || len(native) < 15 {
		t.Fatalf("the recording has %d series, %d histograms: make it anew", len(all), len(native))
	}
	why := silence(t)
	for name := range why {
		if _, ok := Find(name); !ok {
			t.Errorf("testdata/silent.yaml: there is no query %q", name)
		}
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			db, end := fill(t, k, all, native)
			e := engine()
			evaluate(t, db, e, end)
			for _, q := range All() {
				if k.name == "native" && strings.HasSuffix(q.Name, "_latency_buckets") {
					continue // what a heatmap shows of classic histograms, bucket by bucket
				}
				n, err := answers(t, e, db, q, end)
				switch {
				case err != nil:
					t.Errorf("%s: %v", q.Name, err)
				case n == 0 && why[q.Name] == "":
					t.Errorf("%s: no answer, and testdata/silent.yaml does not say why", q.Name)
				case n > 0 && why[q.Name] != "" && k.name == "both":
					t.Errorf("%s: %d answers: take it out of testdata/silent.yaml", q.Name, n)
				}
			}
		})
	}
}

// answers is how many values other than NaN a query has at the end of the recording. What the engine is not content with is an error.
func answers(t *testing.T, e *promql.Engine, db *tsdb.DB, q Query, at time.Time) (int, error) {
	t.Helper()
	set := map[string]string{}
	for name, v := range values {
		if _, ok := q.Variables[name]; ok {
			set[name] = v
		}
	}
	text, err := q.Expand(set)
	if err != nil {
		return 0, err
	}
	query, err := e.NewInstantQuery(t.Context(), db, nil, text, at)
	if err != nil {
		return 0, err
	}
	defer query.Close()
	result := query.Exec(t.Context())
	if result.Err != nil {
		return 0, result.Err
	}
	for _, warning := range result.Warnings.AsErrors() {
		// Of names it can only guess; TestQueriesAskForWhatThereIs knows.
		if !errors.Is(warning, annotations.PossibleNonCounterInfo) {
			return 0, fmt.Errorf("the engine says: %w", warning)
		}
	}
	if s, ok := result.Value.(promql.Scalar); ok {
		return map[bool]int{true: 0, false: 1}[math.IsNaN(s.V)], nil
	}
	vector, err := result.Vector()
	n := 0
	for _, s := range vector {
		if s.H != nil || !math.IsNaN(s.F) {
			n++
		}
	}
	return n, err
}
