package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
)

// small are bounds at which a fuzzer notices what grows.
var small = Options{MaxBytes: 1 << 20, MaxNames: 1000}

// FuzzLayers reads two layers of any bytes and puts them on top of one another.
func FuzzLayers(f *testing.F) {
	for _, c := range layerCases(f) {
		f.Add(c.layers[0], c.layers[len(c.layers)-1])
	}
	f.Add(gzipped(f, pack(f, file("a", "x", 0o644))), zstdPacked(f, pack(f, file("a", "x", 0o644))))
	sparse := tar.Header{Typeflag: tar.TypeReg, Name: "s", Size: 0, Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01"}}
	f.Add(pack(f, sparse), []byte{})
	rules, err := secretRules()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		g := newReading(context.Background(), small)
		g.scanner, g.sums = newSecretScanner(rules), true
		x, err := newExaminer(Checks{}, rules)
		if err != nil {
			t.Fatal(err)
		}
		var all [][]entry
		for _, data := range [][]byte{one, two} {
			z, _, err := decompress(bytes.NewReader(data))
			if err != nil {
				return
			}
			entries, err := g.layer(g.count(z), true)
			z.Close()
			if err != nil {
				return
			}
			all = append(all, entries)
		}
		r := &Report{}
		if err := x.layers(r, g, all); err != nil {
			if !errors.Is(err, ErrTooMuch) {
				t.Errorf("putting layers on top of one another: %v", err)
			}
			return
		}
		x.finish(r)
		for name, n := range x.tree.all() {
			if n.path() != name || path.Clean(name) != name || len(n.base) > maxName || n.depth > maxDepth+1 || slices.Contains([]string{"", ".", ".."}, n.base) {
				t.Errorf("a name %q of depth %d at %q", n.base, n.depth, name)
			}
		}
		for _, finding := range r.Findings {
			if strings.ContainsFunc(finding.Path+finding.Found, func(r rune) bool { return r < ' ' }) {
				t.Errorf("a finding with control characters: %+v", finding)
			}
		}
	})
}

// A mapStore is a layout in memory.
type mapStore files

func (m mapStore) document(name string) ([]byte, error) {
	data, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return data, nil
}

func (m mapStore) find(name string) (string, error) {
	_, err := m.document(name)
	return name, err
}

func (m mapStore) blobs(names []string, read func(string, io.Reader) error) error {
	for _, name := range names {
		if err := read(name, bytes.NewReader(m[name])); err != nil {
			return err
		}
	}
	return nil
}

// FuzzDocuments plans an image from an index, a manifest and a configuration of any text; what they say of one another's
// digests is made true, as else nothing would be read.
func FuzzDocuments(f *testing.F) {
	i := leaky(f)
	in := ociLayout(f, i, plain)
	saved := dockerSave(f, i)
	f.Add([]byte(`{"manifests":[{"digest":"MANIFEST","size":0}]}`), []byte(`{"config":{"digest":"CONFIG","size":0},"layers":[]}`), i.config("amd64"), "linux/amd64")
	f.Add(in["index.json"], []byte(`{"manifests":[{"digest":"MANIFEST"}]}`), []byte(`{"rootfs":{"diff_ids":["sha256:x"]},"history":[{},{}]}`), "")
	f.Add([]byte(`{"manifests":[{"digest":"MANIFEST","platform":{"os":"linux","architecture":"arm64"}},{"digest":"MANIFEST"}]}`), saved["manifest.json"], []byte("{}"), "linux/arm64/v8")
	f.Fuzz(func(t *testing.T, index, manifest, config []byte, platform string) {
		store := mapStore{"manifest.json": manifest, "config.json": config}
		file := func(data []byte) string {
			d := digestOf(data)
			store[digest(d).file()] = data
			return d
		}
		manifest = bytes.ReplaceAll(manifest, []byte("CONFIG"), []byte(file(config)))
		store["index.json"] = bytes.ReplaceAll(index, []byte("MANIFEST"), []byte(file(manifest)))
		for _, o := range []Options{{Platform: platform}, {Reference: "x"}, {}} {
			p, err := planImage(store, o)
			if err == nil && (len(p.layers) != len(p.image.Layers) || len(p.layers) != len(p.config.RootFS.DiffIDs)) {
				t.Errorf("%d layers, %d of them told, %d diff_ids", len(p.layers), len(p.image.Layers), len(p.config.RootFS.DiffIDs))
			}
			delete(store, "index.json") // then manifest.json is read
		}
	})
}

// FuzzArchive reads an archive of any bytes as an image.
func FuzzArchive(f *testing.F) {
	i := leaky(f)
	f.Add(ociLayout(f, i, gzipped).archive(f))
	f.Add(dockerSave(f, i).archive(f))
	f.Add(pack(f, link("manifest.json", "manifest.json"), hard("index.json", "x")))
	f.Add(gzipped(f, dockerSave(f, i).archive(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newReading(context.Background(), small)
		a, err := openArchive(g, func() (io.ReadCloser, error) {
			z, _, err := decompress(bytes.NewReader(data))
			return z, err
		})
		if err != nil {
			return
		}
		p, err := planImage(a, small)
		if err != nil {
			return
		}
		if all, err := p.readLayers(g, a); err == nil && len(all) != len(p.layers) {
			t.Errorf("%d layers read, want %d", len(all), len(p.layers))
		}
	})
}

// FuzzChecksFile shows that what is wrong with one is told in one line with its place, and that what is right can be used.
func FuzzChecksFile(f *testing.F) {
	for _, text := range []string{
		"", "defaults: false\n", "checks:\n- id: a\n  paths: [/x, '**/y']\n  mode: 0644\n  owner: root\n", "disable: [secret/jwt]\nseverity: {env-file: low}\n",
		"ignore: [{check: secret, paths: config:env:*, fingerprint: abcdef}]\n", "checks: &a [*a]\n", "? {a: b}\n: c\n", "<<: {defaults: true}\n", "---\n...\n---\n", "%YAML 9\n", "checks:\n\t- x\n",
		"checks:\n- {id: a, names: ['(a|b)*'], types: [file], layers: any, absent: true, except: ['/**/{a,b}/[!x]?']}\n",
	} {
		f.Add(text)
	}
	rules, err := secretRules()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checks, err := parse([]byte(text))
		var placed *placedError
		switch {
		case err == nil:
			if _, err := newExaminer(checks, rules); err != nil {
				t.Errorf("%q was read, and cannot be used: %v", text, err)
			}
		case !errors.As(err, &placed) || placed.line < 1 || placed.column < 1 || strings.ContainsAny(err.Error(), "\r\n"):
			t.Errorf("%q: %v; want one line that begins with its place", text, err)
		}
	})
}

// FuzzGlobs compares globs with a matcher that tries everything.
func FuzzGlobs(f *testing.F) {
	for _, s := range [][2]string{{"/a/**/b", "/a/x/y/b"}, {"/**", "/a"}, {"/*.x?", "/a.xy"}, {"/**/*/a", "/a/a"}, {"/a*b*c", "/aabbc"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		g, err := newGlob(text)
		if err != nil || len(path) > 100 || len(text) > 50 || strings.ContainsAny(text, `\[]{},`) {
			return
		}
		if got, want := g.match(path), matchSlowly(g.text, path); got != want {
			t.Errorf("%q matches %q: %t, want %t", text, path, got, want)
		}
	})
}

func matchSlowly(glob, path string) bool {
	switch {
	case glob == "":
		return path == ""
	case strings.HasPrefix(glob, "/**/"):
		rest := glob[len("/**"):]
		for i := range len(path) {
			if path[i] == '/' && matchSlowly(rest, path[i:]) && path[0] == '/' {
				return true
			}
		}
		return false
	case glob == "/**":
		return len(path) > 1 && path[0] == '/'
	case glob[0] == '*':
		for i := range len(path) + 1 {
			if matchSlowly(glob[1:], path[i:]) {
				return true
			}
			if i < len(path) && path[i] == '/' {
				return false
			}
		}
		return false
	case path == "":
		return false
	case glob[0] == '?':
		_, size := firstLetter(path)
		return path[0] != '/' && matchSlowly(glob[1:], path[size:])
	}
	return glob[0] == path[0] && matchSlowly(glob[1:], path[1:])
}

func firstLetter(s string) (rune, int) {
	for i, r := range s {
		if i > 0 {
			return r, i
		}
	}
	return 0, len(s)
}

// twoScanners are one that looks near keywords, and one that looks at all of a text that has them.
func twoScanners(t testing.TB) (fast, reference *secretScanner) {
	t.Helper()
	rules, err := secretRules()
	if err != nil {
		t.Fatal(err)
	}
	slow := *rules
	slow.rules = nil
	for _, r := range rules.rules {
		everywhere := *r
		if r.kind != onlyPath {
			everywhere.kind, everywhere.first, everywhere.behind, everywhere.atStart = nearKeyword, nil, nil, nil
		}
		slow.rules = append(slow.rules, &everywhere)
	}
	return newSecretScanner(rules), newSecretScanner(&slow)
}

// TestLookingNearKeywordsMissesNothing puts together texts of secrets, halves of them, and what is near secrets.
func TestLookingNearKeywordsMissesNothing(t *testing.T) {
	fast, reference := twoScanners(t)
	r := mathrand.New(mathrand.NewPCG(1, 2))
	total := 0
	for range 5 {
		var text strings.Builder
		for text.Len() < 4000 {
			seed := r.Uint64()
			parts := []string{
				"ghp_" + letters(36, seed), "AKIA" + pick(16, seed, base32), "glpat-" + letters(20, seed), "sk_live_" + letters(24, seed), "npm_" + pick(36, seed, hexDigits), "xoxb-" + pick(12, seed, "0123456789") + "-" + pick(12, seed, "0123456789") + letters(24, seed),
				"api_key = \"" + letters(20+int(seed%400), seed) + "\"", "password: " + letters(12, seed), "SECRET_TOKEN=" + letters(32, seed), "heroku_key=" + pick(8, seed, hexDigits) + "-" + pick(4, seed, hexDigits) + "-4" + pick(3, seed, hexDigits) + "-a" + pick(3, seed, hexDigits) + "-" + pick(12, seed, hexDigits),
				"discord_token = '" + letters(32, seed) + "'", "ey" + letters(20, seed) + ".ey" + letters(40, seed+1) + "." + letters(43, seed+2), "SK" + pick(32, seed, hexDigits), "facebook", pick(15, seed, "0123456789") + "|" + letters(30, seed),
				"airtable", "pat" + letters(14, seed) + "." + pick(64, seed, hexDigits), "-----BEGIN EC PRIVATE KEY-----\n", letters(64, seed) + "\n", "-----END EC PRIVATE KEY-----\n", "curl -u me:" + letters(12, seed) + " https://example.com\n",
				"key", "token", "secret", "auth", " = ", ": ", "=>", "'", "\"", "\n", " ", " ", "The quick brown fox. ", "http://", "kind: Secret\ndata:\n  a: " + letters(16, seed), letters(int(seed%50), seed),
			}
			text.WriteString(parts[r.IntN(len(parts))])
			if r.IntN(3) == 0 {
				text.WriteString([]string{" ", "\n", ";"}[r.IntN(3)])
			}
		}
		for _, path := range []string{"/app/a", "/app/a.yaml"} {
			got, _, err := fast.scan(path, strings.NewReader(text.String()))
			want, _, err2 := reference.scan(path, strings.NewReader(text.String()))
			if err != nil || err2 != nil || !slices.Equal(got, want) {
				t.Errorf("in %q\nfound %+v\n want %+v (%v, %v)", text.String(), got, want, err, err2)
			}
			total += len(want)
		}
	}
	if total < 25 {
		t.Errorf("%d secrets in all texts, want at least 25", total)
	}
}

// FuzzSecrets compares what is found near keywords with what all of the text holds.
func FuzzSecrets(f *testing.F) {
	for _, text := range []string{
		"AKIA" + pick(16, 1, base32), "key = '" + letters(30, 1) + "'", "ghp_ghp_" + letters(36, 2) + " ghp_" + letters(36, 3), "ey" + letters(20, 1) + ".ey" + letters(20, 2) + "." + letters(20, 3) + "\n",
		"-----BEGIN RSA PRIVATE KEY-----\n" + letters(64, 1) + "\n" + letters(64, 2) + "\n-----END RSA PRIVATE KEY-----\n", "curl -u user:" + letters(20, 4) + " https://x\n",
		"adafruit_key: \"" + pick(32, 5, hexDigits) + "\"", "SK" + pick(32, 1, hexDigits), "sk-proj-" + letters(74, 1) + "T3BlbkFJ" + letters(74, 2) + " ",
		"facebook " + pick(15, 1, "0123456789") + "|" + letters(30, 3) + "\n", "access_token=" + letters(20, 1) + "&secret=" + letters(20, 2) + "\nauth: " + letters(40, 3) + ";",
	} {
		f.Add(text)
	}
	fast, reference := twoScanners(f)
	f.Fuzz(func(t *testing.T, text string) {
		// Of letters beyond ASCII only, no secret is made; what is no text is looked at otherwise; and what is very long is cut.
		ascii := strings.Map(func(r rune) rune { return max(r%128, 1) }, text)
		if len(ascii) > minReach {
			return
		}
		got, _, err := fast.scan("/a", strings.NewReader(ascii))
		want, _, err2 := reference.scan("/a", strings.NewReader(ascii))
		if err != nil || err2 != nil || !slices.Equal(got, want) {
			t.Errorf("%q: found %+v, want %+v (%v, %v)", ascii, got, want, err, err2)
		}
	})
}

// FuzzShadow reads any file of accounts.
func FuzzShadow(f *testing.F) {
	f.Add([]byte("root:$6$x$y:1:0:99999:7:::\n"))
	f.Add([]byte(":::\n\n::" + strings.Repeat("x", 5000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		found, err := scanShadow(bytes.NewReader(text))
		if err != nil || len(found) > bytes.Count(text, []byte("\n"))+1 {
			t.Errorf("%d findings in %q (%v)", len(found), text, err)
		}
	})
}
