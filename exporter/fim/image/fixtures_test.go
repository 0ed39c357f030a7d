package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// file, dir, link and the like are entries of a tar archive as tar's own tools write them.
func file(name, content string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), Linkname: content}
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}
}

func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}
}

func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644}
}

func owned(h tar.Header, uid, gid int) tar.Header {
	h.Uid, h.Gid = uid, gid
	return h
}

// pack writes a tar archive. The content of files is in their Linkname.
func pack(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Linkname = ""
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstdPacked(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// A testImage is an image before it is written in one of the formats.
type testImage struct {
	layers  [][]byte // tar archives
	env     []string
	labels  map[string]string
	history []map[string]any // one per layer if nil
	name    string
}

// config is the image's configuration for a platform.
func (i testImage) config(architecture string) []byte {
	history := i.history
	ids := []string{}
	for n, l := range i.layers {
		ids = append(ids, digestOf(l))
		if i.history == nil {
			history = append(history, map[string]any{"created_by": fmt.Sprintf("step %d", n+1)})
		}
	}
	text, _ := json.Marshal(map[string]any{"architecture": architecture, "os": "linux", "config": map[string]any{"Env": i.env, "Labels": i.labels},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}, "history": history})
	return text
}

// files are those of an OCI layout or of docker save, by name.
type files map[string][]byte

// blob adds one and returns its descriptor.
func (f files) blob(data []byte, mediaType string) map[string]any {
	d := digestOf(data)
	f["blobs/sha256/"+strings.TrimPrefix(d, "sha256:")] = data
	return map[string]any{"mediaType": mediaType, "digest": d, "size": len(data)}
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// manifest adds the image's blobs, packed by pack, and returns the descriptor of its manifest.
func (f files) manifest(t testing.TB, i testImage, architecture string, packed func(testing.TB, []byte) []byte) map[string]any {
	layers := []any{}
	for _, l := range i.layers {
		data, mediaType := packed(t, l), ociLayer
		switch data[0] {
		case 0x1f:
			mediaType += "+gzip"
		case 0x28:
			mediaType += "+zstd"
		}
		layers = append(layers, f.blob(data, mediaType))
	}
	text, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociManifest, "config": f.blob(i.config(architecture), ociConfig), "layers": layers})
	return f.blob(text, ociManifest)
}

func (f files) index(manifests ...map[string]any) files {
	f["oci-layout"] = []byte(`{"imageLayoutVersion": "1.0.0"}`)
	f["index.json"], _ = json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": manifests})
	return f
}

func plain(_ testing.TB, data []byte) []byte { return data }

func ociLayout(t testing.TB, i testImage, packed func(testing.TB, []byte) []byte) files {
	f := files{}
	d := f.manifest(t, i, "amd64", packed)
	if i.name != "" {
		d["annotations"] = map[string]string{refName: i.name}
	}
	return f.index(d)
}

// dockerSave is what docker save wrote before it knew OCI: layers in folders of their own.
func dockerSave(t testing.TB, i testImage) files {
	f := files{}
	config := i.config("amd64")
	name := strings.TrimPrefix(digestOf(config), "sha256:") + ".json"
	f[name] = config
	layers := []string{}
	for n, l := range i.layers {
		at := fmt.Sprintf("%064x/layer.tar", 1000-n) // so that the archive has them the other way round
		f[at] = l
		layers = append(layers, at)
	}
	f["manifest.json"], _ = json.Marshal([]any{map[string]any{"Config": name, "RepoTags": []string{"shop/cart:1"}, "Layers": layers}})
	return f
}

// archive writes the files as a tar archive, in the order of names.
func (f files) archive(t testing.TB) []byte {
	var headers []tar.Header
	for _, name := range sortedKeys(f) {
		headers = append(headers, file(name, string(f[name]), 0o644))
	}
	return pack(t, headers...)
}

func (f files) write(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range f {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func sortedKeys[T any](m map[string]T) []string {
	keys := []string{}
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func written(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// checked returns the report on a target, which must be readable.
func checked(t testing.TB, target string, checks Checks, o Options) Report {
	t.Helper()
	r, err := Check(context.Background(), target, checks, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines are the findings in short: check, path, and - if a later layer hides it.
func lines(r Report) []string {
	all := []string{}
	for _, f := range r.Findings {
		line := f.Check + " " + f.Path
		if f.Removed {
			line += " -"
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

// onlyOwn are checks of the caller's alone.
func onlyOwn(all ...Expectation) Checks {
	return Checks{WithoutDefaults: true, Secrets: Secrets{Off: true}, Own: all}
}
