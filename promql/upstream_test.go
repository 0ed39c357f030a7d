package promql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// Upstream's own PromQL tests run against our API: their samples go into a store of ours, and their queries are asked over
// HTTP. Every answer is read back from its JSON, and compared with what the tests expect.
//
// What JSON cannot say is asked of upstream's engine over the same store, and the two answers must be the same JSON:
//   - native histograms, which it shows as buckets without schema, spans and reset hints.
//
// The store differs from one of a user's in that it keeps blocks of a day, and start timestamps in the new encoding for
// chunks: a user's are read by every Prometheus.

// overHTTP is an engine that asks the API of a store.
type overHTTP struct {
	url   string
	store *Store
	at    *switched

	mu            sync.Mutex
	asked, beside int
}

// newOverHTTP opens a store whose API can be set before another database: to build the API takes longer than most tests.
func newOverHTTP(t *testing.T) *overHTTP {
	t.Helper()
	s, err := Open(Options{Path: t.TempDir(), Config: Config{EvaluationInterval: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	e := &overHTTP{store: s, at: &switched{}}
	s.queryable = e.at
	e.url = serve(t, s.Handler())
	t.Cleanup(plain.CloseIdleConnections)
	return e
}

// A switched queryable is that of the store that was opened last.
type switched struct{ *Store }

func (w *switched) Querier(from, to int64) (storage.Querier, error) {
	return w.queryable.Querier(from, to)
}

func (w *switched) ChunkQuerier(from, to int64) (storage.ChunkQuerier, error) {
	return w.queryable.ChunkQuerier(from, to)
}

// fresh opens a store for one part of a test file, as long-lived and as exact as upstream's own for them.
func (e *overHTTP) fresh(t testing.TB) storage.Storage {
	s, err := Open(Options{
		Path: t.TempDir(),
		adjust: func(o *tsdb.Options) {
			o.MinBlockDuration, o.MaxBlockDuration = (24 * time.Hour).Milliseconds(), (24 * time.Hour).Milliseconds()
			o.RetentionDuration = 0
			o.EnableSTAsZeroSample, o.EnableSTStorage, o.EnableHistogramSTEncoding = false, true, true
			o.FloatChunkEncoding = chunkenc.EncXOR2
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.at.Store = s
	return &opened{s.local, s}
}

// An opened store is closed with its database.
type opened struct {
	storage.Storage
	store *Store
}

// Close closes the store.
func (o *opened) Close() error { return o.store.Close() }

func (e *overHTTP) NewInstantQuery(_ context.Context, q storage.Queryable, _ promql.QueryOpts, text string, at time.Time) (promql.Query, error) {
	return e.ask("query", url.Values{"query": {text}, "time": {atSecond(at)}}, func(ctx context.Context) (promql.Query, error) {
		return e.store.engine.NewInstantQuery(ctx, q, nil, text, at)
	})
}

func (e *overHTTP) NewRangeQuery(_ context.Context, q storage.Queryable, _ promql.QueryOpts, text string, start, end time.Time, step time.Duration) (promql.Query, error) {
	return e.ask("query_range", url.Values{"query": {text}, "start": {atSecond(start)}, "end": {atSecond(end)}, "step": {fmt.Sprint(step.Seconds())}},
		func(ctx context.Context) (promql.Query, error) {
			return e.store.engine.NewRangeQuery(ctx, q, nil, text, start, end, step)
		})
}

func atSecond(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64)
}

// plain is a client that does not spend its time on compression.
var plain = &http.Client{Transport: &http.Transport{DisableCompression: true}}

// ask sends a query, and has upstream's engine run it too where the answer is not all in JSON.
func (e *overHTTP) ask(path string, query url.Values, beside func(context.Context) (promql.Query, error)) (promql.Query, error) {
	reply, err := plain.PostForm(e.url+"/api/v1/"+path, query)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	var answer apiAnswer
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s %v: %d: %w", path, query, reply.StatusCode, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	switch {
	case answer.ErrorType == "bad_data":
		return nil, errors.New(strings.TrimPrefix(answer.Error, `invalid parameter "query": `))
	case answer.Status != "success":
		return &answered{result: promql.Result{Err: errors.New(answer.Error)}}, nil
	}
	result := promql.Result{Warnings: answer.annotations()}
	if !strings.Contains(string(answer.Data), `"histogram`) {
		result.Value, err = answer.value()
		return &answered{result: result}, err
	}
	e.beside++
	result.Value, err = e.compare(answer, beside)
	return &answered{result: result}, err
}

// compare runs a query on upstream's engine, and returns its value if it looks as the API's does.
func (e *overHTTP) compare(a apiAnswer, beside func(context.Context) (promql.Query, error)) (parser.Value, error) {
	q, err := beside(context.Background())
	if err != nil {
		return nil, err
	}
	want := q.Exec(context.Background())
	if want.Err != nil {
		return nil, fmt.Errorf("the API has an answer, upstream has none: %w", want.Err)
	}
	text, err := v1.JSONCodec{}.Encode(&v1.Response{Status: "success", Data: &v1.QueryData{ResultType: want.Value.Type(), Result: want.Value}})
	if err != nil {
		return nil, err
	}
	var wanted apiAnswer
	if err := json.Unmarshal(text, &wanted); err != nil {
		return nil, err
	}
	var x, y any
	if err := errors.Join(json.Unmarshal(a.Data, &x), json.Unmarshal(wanted.Data, &y)); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(x, y) {
		return nil, fmt.Errorf("the API says %s, upstream %s", a.Data, wanted.Data)
	}
	return want.Value, nil
}

// answered is a query whose result is known.
type answered struct{ result promql.Result }

func (a *answered) Exec(context.Context) *promql.Result { return &a.result }
func (*answered) Close()                                {}
func (*answered) Statement() parser.Statement           { return nil }
func (*answered) Stats() *stats.Statistics              { return nil }
func (*answered) Cancel()                               {}
func (*answered) String() string                        { return "" }

// An apiAnswer is what the API says.
type apiAnswer struct {
	Status, Error, ErrorType string
	Warnings, Infos          []string
	Data                     json.RawMessage
}

// A note is an annotation that the API has sent as text.
type note struct {
	text string
	kind error
}

func (n note) Error() string { return n.text }
func (n note) Unwrap() error { return n.kind }

func (a apiAnswer) annotations() annotations.Annotations {
	all := annotations.New()
	for _, w := range a.Warnings {
		all.Add(note{w, annotations.PromQLWarning})
	}
	for _, i := range a.Infos {
		all.Add(note{i, annotations.PromQLInfo})
	}
	return *all
}

// A point is a time and a value.
type point [2]any

func (p point) read() (t int64, v float64, err error) {
	at, _ := p[0].(float64)
	text, _ := p[1].(string)
	v, err = strconv.ParseFloat(text, 64)
	return int64(at*1000 + map[bool]float64{true: 0.5, false: -0.5}[at >= 0]), v, err
}

func (a apiAnswer) value() (parser.Value, error) {
	var kind struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := json.Unmarshal(a.Data, &kind); err != nil {
		return nil, err
	}
	switch kind.ResultType {
	case "scalar":
		var p point
		err := json.Unmarshal(kind.Result, &p)
		t, v, bad := p.read()
		return promql.Scalar{T: t, V: v}, errors.Join(err, bad)
	case "string":
		var p point
		err := json.Unmarshal(kind.Result, &p)
		at, _ := p[0].(float64)
		text, _ := p[1].(string)
		return promql.String{T: int64(at * 1000), V: text}, err
	}
	var all []struct {
		Metric map[string]string
		Value  point
		Values []point
	}
	if err := json.Unmarshal(kind.Result, &all); err != nil {
		return nil, err
	}
	if kind.ResultType == "vector" {
		vector := promql.Vector{}
		for _, one := range all {
			t, v, err := one.Value.read()
			if err != nil {
				return nil, err
			}
			vector = append(vector, promql.Sample{Metric: labels.FromMap(one.Metric), T: t, F: v})
		}
		return vector, nil
	}
	matrix := promql.Matrix{}
	for _, one := range all {
		s := promql.Series{Metric: labels.FromMap(one.Metric)}
		for _, p := range one.Values {
			t, v, err := p.read()
			if err != nil {
				return nil, err
			}
			s.Floats = append(s.Floats, promql.FPoint{T: t, F: v})
		}
		matrix = append(matrix, s)
	}
	return matrix, nil
}

func TestUpstreamsOwnTests(t *testing.T) {
	t.Parallel()
	e := newOverHTTP(t)
	promqltest.RunBuiltinTestsWithStorage(t, e, e.fresh)
	t.Logf("%d queries asked over HTTP; %d of their answers hold native histograms and were compared as JSON", e.asked, e.beside)
	if e.asked < 1000 {
		t.Errorf("only %d queries: where are the tests?", e.asked)
	}
}

// wrongHelper is set for a test binary that is to run one test of upstream's kind with that expectation.
const wrongHelper = "YAGURA_TEST_EXPECTS"

// A test that expects what is wrong must fail, or the one above shows nothing.
func TestUpstreamsOwnTestsCanFail(t *testing.T) {
	if want := os.Getenv(wrongHelper); want != "" {
		e := newOverHTTP(t)
		promqltest.RunTestWithStorage(t, "load 1m\n  a 1 2 3\n\neval instant at 2m sum(a)\n  {} "+want+"\n", e, e.fresh)
		return
	}
	t.Parallel()
	for want, right := range map[string]bool{"3": true, "4": false} {
		helper := exec.Command(os.Args[0], "-test.run=^TestUpstreamsOwnTestsCanFail$")
		helper.Env = append(os.Environ(), wrongHelper+"="+want)
		out, err := helper.CombinedOutput()
		if (err == nil) != right || !right && !strings.Contains(string(out), "expected 4") {
			t.Errorf("a test that expects 3 to be %s: %v\n%s", want, err, out)
		}
	}
}
