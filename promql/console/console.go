// Package console is the page at /, for a machine without Grafana: static files that ask the other endpoints. It is built from
// src by `npm ci && npm run build`, and what came of that is committed in dist and embedded. It knows nothing of what is asked.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/yagura-io/yagura/promql/library"
)

//go:embed dist
var dist embed.FS

// policy lets the page have scripts, styles and pictures of its own, ask its own server, and nothing else: no other site, no inline
// script or style, nothing that frames it. Styles that the editor makes are constructed, which is no matter of this policy.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// types are those of the files that the build makes. mime.TypeByExtension asks the machine, and machines differ.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// A file is one of the console's, compressed as it is embedded. The rare client that cannot unpack it has that done here.
type file struct {
	compressed []byte
	kind       string
	etag       string // without quotes
	forever    bool   // the name says the content
	plain      func() ([]byte, error)
}

// Handler serves the console at / and its parts below /console/; every other path is not found. The version of the program is a part
// of the page's entity tag.
func Handler(version string) http.Handler {
	files := sync.OnceValues(func() (map[string]*file, error) { return load(dist, version) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, err := files()
		if err != nil {
			http.Error(w, "the console cannot be read: "+err.Error(), http.StatusInternalServerError)
			return
		}
		protect(w.Header())
		f := all[r.URL.Path]
		switch {
		case f == nil:
			http.Error(w, r.URL.Path+" is not here; the console is at /", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, r.Method+": want GET or HEAD", http.StatusMethodNotAllowed)
		default:
			f.serve(w, r)
		}
	})
}

// protect sets the headers of every answer.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// load reads what the build has made, by the path of its address.
func load(built fs.FS, version string) (map[string]*file, error) {
	files := map[string]*file{}
	err := fs.WalkDir(built, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(built, name)
		if err != nil {
			return err
		}
		address := strings.TrimSuffix(strings.TrimPrefix(name, "dist"), ".gz")
		kind, known := types[path.Ext(address)]
		if !known || !strings.HasSuffix(name, ".gz") {
			return fmt.Errorf("%s: want a compressed file of a known type", name)
		}
		files[address] = newFile(data, kind, version)
		return nil
	})
	if page := files["/index.html"]; page != nil {
		page.forever = false
		delete(files, "/index.html")
		files["/"] = page
	} else if err == nil {
		err = fmt.Errorf("dist/index.html.gz: %w", fs.ErrNotExist)
	}
	return files, err
}

func newFile(compressed []byte, kind, version string) *file {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q", version)
	sum.Write(compressed)
	return &file{
		compressed: compressed, kind: kind, forever: true, etag: hex.EncodeToString(sum.Sum(nil)[:12]),
		plain: sync.OnceValues(func() ([]byte, error) { return unpack(compressed) }),
	}
}

func unpack(compressed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h, body, etag := w.Header(), f.compressed, f.etag+"-gzip"
	h.Set("Vary", "Accept-Encoding")
	if takesGzip(r.Header.Values("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
	} else {
		plain, err := f.plain()
		if err != nil {
			http.Error(w, "the console cannot be unpacked: "+err.Error(), http.StatusInternalServerError)
			return
		}
		body, etag = plain, f.etag
	}
	h.Set("ETag", strconv.Quote(etag))
	h.Set("Cache-Control", "no-cache") // to be asked for again, which mostly answers 304
	if f.forever {
		h.Set("Cache-Control", "max-age=31536000, immutable")
	}
	if matches(r.Header.Values("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who asked may have gone
	}
}

// takesGzip says whether a client unpacks gzip: it names it, or all there are, and not with a quality of 0.
func takesGzip(accepted []string) bool {
	best, any := -1.0, -1.0
	for _, one := range strings.Split(strings.Join(accepted, ","), ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(one), ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			best = quality(parameters)
		case "*":
			any = quality(parameters)
		}
	}
	return best > 0 || best < 0 && any > 0
}

// quality is the q of parameters; 1 without one, 0 for one that cannot be read.
func quality(parameters string) float64 {
	for _, p := range strings.Split(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return 0
			}
			return q
		}
	}
	return 1
}

// matches says whether a client has what it asks for already.
func matches(tags []string, etag string) bool {
	for _, one := range strings.Split(strings.Join(tags, ","), ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || one == strconv.Quote(etag) {
			return true
		}
	}
	return false
}

// Mount adds the console at /, and the library of queries that it asks at /api/yagura/library.
func Mount(mux *http.ServeMux, version string) {
	mux.Handle("/", Handler(version))
	mux.Handle("/api/yagura/library", library.Handler())
	mux.HandleFunc("/graph", toExplorer)
}

// toExplorer leads to the explorer with the question for which Prometheus would show its graph: alerts have such a link.
func toExplorer(w http.ResponseWriter, r *http.Request) {
	question := url.Values{"expr": {r.URL.Query().Get("g0.expr")}}
	http.Redirect(w, r, "./#/explore?"+question.Encode(), http.StatusFound)
}
