package console

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/yagura-io/yagura/promql/library"
)

// budget is what all parts may weigh together, as they travel.
const budget = 200_000

func get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	return ask(t, http.MethodGet, path, header...)
}

func ask(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler("1.2.3").ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// parts are the addresses that the page names, and what is named by these again.
func parts(t *testing.T) map[string][]byte {
	t.Helper()
	found := map[string][]byte{"/": body(t, get(t, "/"))}
	address := regexp.MustCompile(`(?:\./|console/)?[A-Za-z_.]+-[A-Za-z0-9_-]{8}\.(?:js|css|svg)`)
	for again := true; again; {
		again = false
		for _, text := range found {
			for _, name := range address.FindAllString(string(text), -1) {
				path := "/console/" + name[strings.LastIndex(name, "/")+1:]
				if found[path] == nil {
					r := get(t, path)
					if r.StatusCode != http.StatusOK {
						t.Fatalf("%s, which another part names: %s", path, r.Status)
					}
					found[path], again = body(t, r), true
				}
			}
		}
	}
	return found
}

func TestPageNamesAllPartsAndNoOther(t *testing.T) {
	found := parts(t)
	files, err := load(dist, "")
	if err != nil {
		t.Fatal(err)
	}
	for path := range files {
		if found[path] == nil {
			t.Errorf("%s is embedded, and nothing leads to it", path)
		}
	}
	for _, kind := range []string{".js", ".css", ".svg"} {
		if !strings.Contains(string(found["/"]), kind) {
			t.Errorf("the page names no %s", kind)
		}
	}
}

func TestWeightIsWithinBudget(t *testing.T) {
	files, err := load(dist, "")
	if err != nil {
		t.Fatal(err)
	}
	sum, first := 0, 0
	for path, f := range files {
		sum += len(f.compressed)
		if !strings.Contains(path, "editor") && !strings.Contains(path, "uPlot") && !strings.Contains(path, "explore") {
			first += len(f.compressed)
		}
		t.Logf("%7d %s", len(f.compressed), path)
	}
	t.Logf("%7d in all, %d of them at first", sum, first)
	if sum >= budget {
		t.Errorf("all parts weigh %d bytes, want less than %d", sum, budget)
	}
}

func TestPolicyLetsNothingInline(t *testing.T) {
	for _, path := range []string{"/", "/nothing"} {
		h := get(t, path).Header
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(policy, want+";") {
				t.Errorf("%s: the policy %q has no %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
			t.Errorf("%s: the policy %q lets others in", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	page := string(body(t, get(t, "/")))
	if regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|<script[^>]*>[^<]|https?://`).MatchString(page) {
		t.Errorf("the page has what the policy forbids:\n%s", page)
	}
}

// No part may ask another site: names of XML are the only addresses in them, and those of documentation in texts.
func TestPartsAskNobodyElse(t *testing.T) {
	harmless := regexp.MustCompile(`^https?://(www\.w3\.org/|prometheus\.io|codemirror\.net|github\.com|developer\.mozilla\.org)`)
	for path, text := range parts(t) {
		for _, address := range regexp.MustCompile(`https?://[a-zA-Z0-9][^\s"'\x60)<>\\]*`).FindAllString(string(text), -1) {
			if !harmless.MatchString(address) {
				t.Errorf("%s names %s", path, address)
			}
		}
	}
}

func TestPartsAreKeptForeverAndThePageIsAskedFor(t *testing.T) {
	for path := range parts(t) {
		r := get(t, path)
		want := "max-age=31536000, immutable"
		if path == "/" {
			want = "no-cache"
		}
		if got := r.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control is %q, want %q", path, got, want)
		}
		if r.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: Vary is %q", path, r.Header.Get("Vary"))
		}
		again := get(t, path, "If-None-Match", `"other", W/`+r.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified || len(body(t, again)) > 0 {
			t.Errorf("%s: known already, and the answer is %s", path, again.Status)
		}
		if packed := get(t, path, "Accept-Encoding", "gzip", "If-None-Match", r.Header.Get("ETag")); packed.StatusCode != http.StatusOK {
			t.Errorf("%s: the plain form is known, and the packed one answers %s", path, packed.Status)
		}
	}
}

func TestEntityTagsDifferByVersion(t *testing.T) {
	tag := func(version string) string {
		w := httptest.NewRecorder()
		Handler(version).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w.Header().Get("ETag")
	}
	if tag("1") == tag("2") || tag("1") != tag("1") || tag("1") == "" {
		t.Errorf("entity tags %s of version 1, %s of version 2", tag("1"), tag("2"))
	}
}

func TestGzipIsNegotiated(t *testing.T) {
	plain := body(t, get(t, "/"))
	for _, c := range []struct {
		accept string
		want   bool
	}{
		{"", false}, {"gzip", true}, {"br, gzip;q=0.8", true}, {"GZIP", true}, {"x-gzip", true}, {"*", true}, {"deflate, *;q=0.5", true},
		{"gzip;q=0", false}, {"*, gzip;q=0", false}, {"*;q=0", false}, {"br", false}, {"gzip;q=nonsense", false}, {"gzip; q=0.000", false}, {"gzip;q=7", false}, {"identity", false},
	} {
		var header []string
		if c.accept != "" {
			header = []string{"Accept-Encoding", c.accept}
		}
		r := get(t, "/", header...)
		if got := r.Header.Get("Content-Encoding") == "gzip"; got != c.want {
			t.Errorf("Accept-Encoding %q: packed is %t, want %t", c.accept, got, c.want)
			continue
		}
		data := body(t, r)
		if c.want {
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(data, plain) {
			t.Errorf("Accept-Encoding %q: the page is another", c.accept)
		}
	}
}

func TestOnlyTheConsoleIsServedAndOnlyRead(t *testing.T) {
	for path, want := range map[string]int{"/": 200, "/index.html": 404, "/console": 404, "/console/": 404, "/console/../console.go": 404, "/console/nothing.js": 404, "/x": 404} {
		if got := get(t, path).StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	r := ask(t, http.MethodPost, "/")
	if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s, Allow %q", r.Status, r.Header.Get("Allow"))
	}
	head := ask(t, http.MethodHead, "/")
	if head.StatusCode != http.StatusOK || len(body(t, head)) > 0 || head.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %s, length %q", head.Status, head.Header.Get("Content-Length"))
	}
}

func TestWhatTheBuildShouldNotMakeIsRefused(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"no page":        {"dist/console/a-12345678.js.gz": {}},
		"not compressed": {"dist/index.html.gz": {}, "dist/console/a.js": {}},
		"unknown type":   {"dist/index.html.gz": {}, "dist/console/a.map.gz": {}},
		"nothing":        {},
	} {
		if _, err := load(fs.FS(files), ""); err == nil {
			t.Errorf("%s: it is served", name)
		}
	}
}

// A query that somebody renames would leave a hole in a page that only a browser shows. Nor does the library keep what nobody asks.
func TestQueriesOfPagesAreInTheLibrary(t *testing.T) {
	called := regexp.MustCompile(`(?:\b(?:ask|first|over|graph)\(|\bquery: )'([a-z0-9_]+)'`)
	asked := map[string]bool{}
	err := fs.WalkDir(os.DirFS("src"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".tsx") && !strings.HasSuffix(name, ".ts") {
			return err
		}
		text, err := os.ReadFile("src/" + name)
		for _, m := range called.FindAllStringSubmatch(string(text), -1) {
			asked[m[1]] = true
			if _, ok := library.Find(m[1]); !ok {
				t.Errorf("%s asks %s, which is not in the library", name, m[1])
			}
		}
		return err
	})
	if err != nil || len(asked) < 20 {
		t.Errorf("%d queries found, error %v", len(asked), err)
	}
	ours := slices.DeleteFunc(library.All(), func(q library.Query) bool { return !strings.HasPrefix(q.Name, "console_") })
	for _, q := range ours {
		if !asked[q.Name] {
			t.Errorf("%s is in the library for the console, which does not ask it", q.Name)
		}
	}
}

func TestLinksOfAlertsLeadToTheExplorer(t *testing.T) {
	mux := http.NewServeMux()
	Mount(mux, "1.2.3")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/graph?g0.expr=up%7Ba%3D%22%26%23%22%7D&g0.tab=1", nil))
	if got, want := w.Header().Get("Location"), "/#/explore?expr=up%7Ba%3D%22%26%23%22%7D"; w.Code != http.StatusFound || got != want {
		t.Errorf("%d to %q, want %q", w.Code, got, want)
	}
}
