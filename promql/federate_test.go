package promql

import (
	"fmt"
	"math"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	stalemarker "github.com/prometheus/prometheus/model/value"
)

func federate(t *testing.T, s *Store, accept string, selectors ...string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/federate?"+url.Values{"match[]": selectors}.Encode(), nil)
	r.Header.Set("Accept", accept)
	s.Handler().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestFederationShowsTheNewestSamples(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{Path: t.TempDir(), Self: nothing(), Config: Config{ExternalLabels: map[string]string{"site": "north", "pod": "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	now := time.Now()
	a, b := labels.FromStrings("__name__", "b", "A", "1", "instance", "i"), labels.FromStrings("__name__", "a", "pod", "p")
	old, ended := labels.FromStrings("__name__", "old"), labels.FromStrings("__name__", "ended")
	for _, c := range []struct {
		ago time.Duration
		v   float64
		ls  labels.Labels
	}{
		{6 * time.Minute, 9, old}, {2 * time.Minute, 1, a}, {time.Minute, 2, a}, {time.Minute, 3, b},
		{time.Minute, 4, ended}, {time.Second, 0, ended},
	} {
		v := c.v
		if c.ago == time.Second {
			v = stale()
		}
		if err := put(s, now.Add(-c.ago), v, c.ls); err != nil {
			t.Fatal(err)
		}
	}
	at := now.Add(-time.Minute).UnixMilli()
	want := fmt.Sprintf(`# TYPE a untyped
a{pod="p",site="north",instance=""} 3 %d
# TYPE b untyped
b{A="1",instance="i",pod="x",site="north"} 2 %d
`, at, at)
	// The second selector matches what the first does: nothing is shown twice.
	if code, got := federate(t, s, "", `{__name__=~"a|b|old|ended"}`, `a`); code != 200 || got != want {
		t.Errorf("%d\n%s\nwant\n%s", code, got, want)
	}
	for selector, want := range map[string]string{"": "none given", "sum(a)": "parse error", `{a=`: "parse error"} {
		code, got := federate(t, s, "", strings.Fields(selector)...)
		if code != 400 || !strings.Contains(got, want) {
			t.Errorf("%q: %d %s, want 400 and %q", selector, code, got, want)
		}
	}
}

func stale() float64 { return math.Float64frombits(stalemarker.StaleNaN) }
