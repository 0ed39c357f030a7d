package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// leaky has in each of its layers something for the checks, and hides some of it.
func leaky(t testing.TB) testImage {
	setuidLink := hard("usr/bin/other", "usr/bin/helper")
	setuidLink.Mode = 0o4755
	key := "-----BEGIN FAKE-----\n"
	return testImage{layers: [][]byte{
		pack(t, dir("etc", 0o755), dir("etc/ssh", 0o755), file("etc/ssh/ssh_host_rsa_key", key, 0o600), dir("tmp", 0o1777), dir("usr", 0o755), dir("usr/bin", 0o755),
			file("usr/bin/helper", "#!/bin/sh\n", 0o4755), file("usr/bin/passwd", "\x7fELF", 0o4755), dir("srv", 0o755), file("srv/.env", "A=1\n", 0o644)),
		pack(t, file("etc/ssh/.wh.ssh_host_rsa_key", "", 0), file("tmp/run.sh", "#!/bin/sh\n", 0o755), file("srv/data", "x", 0o666)),
		pack(t, file("srv/.wh..wh..opq", "", 0), file("srv/data", "x", 0o644), setuidLink),
	}}
}

var leakyWant = []string{
	"env-file /srv/.env -",
	"executable-in-temporary /tmp/run.sh",
	"setuid /usr/bin/helper",
	"setuid /usr/bin/other",
	"ssh-host-key /etc/ssh/ssh_host_rsa_key -",
}

func TestEveryFormatGivesTheSameReport(t *testing.T) {
	i := leaky(t)
	oci := ociLayout(t, i, gzipped)
	save := dockerSave(t, i)
	both := files{}
	for name, data := range oci {
		both[name] = data
	}
	config := i.config("amd64")
	names := []string{}
	for _, l := range i.layers {
		names = append(names, "blobs/sha256/"+strings.TrimPrefix(digestOf(gzipped(t, l)), "sha256:"))
	}
	both["manifest.json"], _ = json.Marshal([]any{map[string]any{"Config": "blobs/sha256/" + strings.TrimPrefix(digestOf(config), "sha256:"), "RepoTags": nil, "Layers": names}})
	newerDockers := files{} // an archive with nothing but manifest.json over blobs
	for name, data := range both {
		if name != "index.json" && name != "oci-layout" {
			newerDockers[name] = data
		}
	}
	for _, test := range []struct{ name, target string }{
		{"an OCI layout", oci.write(t)},
		{"an OCI layout of plain layers", ociLayout(t, i, plain).write(t)},
		{"an OCI layout of zstd layers", ociLayout(t, i, zstdPacked).write(t)},
		{"an OCI archive", written(t, oci.archive(t))},
		{"an OCI archive, gzip", written(t, gzipped(t, oci.archive(t)))},
		{"an OCI archive, zstd", written(t, zstdPacked(t, oci.archive(t)))},
		{"docker save", written(t, save.archive(t))},
		{"docker save, gzip", written(t, gzipped(t, save.archive(t)))},
		{"docker save of today", written(t, both.archive(t))},
		{"manifest.json over blobs", written(t, newerDockers.archive(t))},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := checked(t, test.target, Checks{}, Options{})
			if diff := cmp.Diff(leakyWant, lines(r)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if r.Kind != "image" || r.Image == nil || len(r.Image.Layers) != 3 || r.Image.Platform != "linux/amd64" {
				t.Errorf("kind %q, image %+v; want an image of three layers for linux/amd64", r.Kind, r.Image)
			}
			for _, f := range r.Findings {
				want := map[string]string{"ssh-host-key": "step 1", "env-file": "step 1", "executable-in-temporary": "step 2"}[f.Check]
				if f.Path == "/usr/bin/other" {
					want = "step 3"
				} else if f.Check == "setuid" {
					want = "step 1"
				}
				if f.CreatedBy != want || !strings.HasPrefix(f.Layer, "sha256:") {
					t.Errorf("%s %s was brought by %q (%s), want %q", f.Check, f.Path, f.CreatedBy, f.Layer, want)
				}
			}
		})
	}
}

func TestLayersAreToldByTheDigestOfTheManifest(t *testing.T) {
	i := testImage{layers: [][]byte{pack(t, file("tmp/x", "#!", 0o755))}}
	r := checked(t, ociLayout(t, i, gzipped).write(t), Checks{}, Options{})
	if want := digestOf(gzipped(t, i.layers[0])); len(r.Findings) != 1 || r.Findings[0].Layer != want || r.Image.Layers[0].DiffID != digestOf(i.layers[0]) {
		t.Errorf("findings %+v of layers %+v, want the layer %s", r.Findings, r.Image.Layers, want)
	}
	r = checked(t, written(t, dockerSave(t, i).archive(t)), Checks{}, Options{})
	if want := digestOf(i.layers[0]); len(r.Findings) != 1 || r.Findings[0].Layer != want {
		t.Errorf("findings %+v, want the layer %s", r.Findings, want)
	}
}

func TestFileSystemsInTarFilesHaveNoWhiteouts(t *testing.T) {
	content := pack(t, dir("./tmp", 0o1777), file("./tmp/a", "#!", 0o755), file("./tmp/.wh.a", "#!", 0o755))
	want := []string{"executable-in-temporary /tmp/.wh.a", "executable-in-temporary /tmp/a"}
	for _, test := range []struct {
		name string
		data []byte
	}{{"plain", content}, {"gzip", gzipped(t, content)}, {"zstd", zstdPacked(t, content)}, {"two gzip streams", slices.Concat(gzipped(t, content[:700]), gzipped(t, content[700:]))}} {
		r := checked(t, written(t, test.data), Checks{}, Options{})
		if diff := cmp.Diff(want, lines(r)); diff != "" || r.Kind != "tar" || r.Image != nil {
			t.Errorf("%s: a %s (-want +got):\n%s", test.name, r.Kind, diff)
		}
	}
}

func TestDirectoriesAreFileSystems(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"tmp/a": 0o755, "tmp/b": 0o644, "usr/bin/odd": 0o755 | os.ModeSetuid} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "id_rsa"), []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(outside, filepath.Join(root, "root.ssh")), os.Symlink("/", filepath.Join(root, "all")), os.Symlink("loop", filepath.Join(root, "loop")),
		syscall.Mkfifo(filepath.Join(root, "tmp/fifo"), 0o644)); err != nil {
		t.Fatal(err)
	}
	r := checked(t, root, Checks{}, Options{})
	if diff := cmp.Diff([]string{"executable-in-temporary /tmp/a", "setuid /usr/bin/odd"}, lines(r)); diff != "" || r.Kind != "directory" {
		t.Errorf("a %s (-want +got):\n%s", r.Kind, diff)
	}
}

func TestWhatCannotBeReadIsAFailure(t *testing.T) {
	root := t.TempDir()
	for _, err := range []error{os.Chmod(filepath.Dir(root), 0o755), os.WriteFile(filepath.Join(root, "secret"), []byte("x"), 0), os.Mkdir(filepath.Join(root, "vault"), 0), os.WriteFile(filepath.Join(root, "x"), nil, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer asNobody(t)()
	r := checked(t, root, Checks{}, Options{})
	if want := []Skipped{{"/secret", "permission denied"}, {"/vault", "permission denied"}}; !slices.Equal(r.Unread, want) || r.ExitStatus(never) != Failure || r.Files != 3 {
		t.Errorf("unread %v of %d files, exit status %d; want %v of 3 and %d", r.Unread, r.Files, r.ExitStatus(never), want, Failure)
	}
}

// asNobody takes root's rights to files from this thread until the function that it returns is called.
func asNobody(t *testing.T) func() {
	t.Helper()
	const nobody = 65534
	if os.Geteuid() != 0 {
		return func() {}
	}
	runtime.LockOSThread()
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := unix.SetfsuidRetUid(0); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
	}
}

func TestPlatforms(t *testing.T) {
	f := files{}
	var manifests []map[string]any
	for _, p := range []platform{{"linux", "amd64", ""}, {"linux", "arm64", "v8"}, {"linux", "arm", "v6"}, {"linux", "arm", "v7"}, {"windows", "amd64", ""}} {
		d := f.manifest(t, testImage{layers: [][]byte{pack(t, file("tmp/"+p.Architecture+p.Variant, "#!", 0o755))}}, p.Architecture, plain)
		d["platform"] = map[string]string{"os": p.OS, "architecture": p.Architecture, "variant": p.Variant}
		manifests = append(manifests, d)
	}
	attestation := f.blob([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json"},"layers":[]}`), ociManifest)
	attestation["platform"] = map[string]string{"os": "unknown", "architecture": "unknown"}
	attestation["annotations"] = map[string]string{referenceType: "attestation-manifest"}
	nested, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": append(manifests, attestation)})
	flat := f.index(append(slices.Clone(manifests), attestation)...).write(t)
	deep := f.index(f.blob(nested, ociIndex)).write(t)
	for _, test := range []struct{ platform, want string }{
		{"linux/amd64", "/tmp/amd64"},
		{"linux/arm64", "/tmp/arm64v8"},
		{"linux/arm64/v8", "/tmp/arm64v8"},
		{"linux/arm/v7", "/tmp/armv7"},
		{"linux/arm/v6", "/tmp/armv6"},
		{"linux/s390x", "no image for linux/s390x: want one of linux/amd64, linux/arm64/v8, linux/arm/v6, linux/arm/v7, windows/amd64"},
		{"linux/arm/v5", "no image for linux/arm/v5: want one of linux/amd64, linux/arm64/v8, linux/arm/v6, linux/arm/v7, windows/amd64"},
		{"linux", `platform "linux": want os/architecture or os/architecture/variant, such as linux/amd64`},
		{"a/b/c/d", `platform "a/b/c/d": want os/architecture or os/architecture/variant, such as linux/amd64`},
	} {
		for _, target := range []string{flat, deep} {
			r, err := Check(context.Background(), target, Checks{}, Options{Platform: test.platform})
			got := ""
			if err != nil {
				got = strings.TrimPrefix(err.Error(), target+": ")
			} else if len(r.Findings) == 1 {
				got = r.Findings[0].Path
			}
			if got != test.want {
				t.Errorf("for %s: %q, want %q", test.platform, got, test.want)
			}
		}
	}
	one := ociLayout(t, leaky(t), plain).write(t)
	if _, err := Check(context.Background(), one, Checks{}, Options{Platform: "linux/arm64"}); err == nil || !strings.HasSuffix(err.Error(), "no image for linux/arm64: want one of linux/amd64") {
		t.Errorf("an image for amd64, asked for arm64: %v", err)
	}
	if _, err := Check(context.Background(), one, Checks{}, Options{Platform: "linux/amd64"}); err != nil {
		t.Errorf("an image for amd64, asked for amd64: %v", err)
	}
}

func TestReferences(t *testing.T) {
	f := files{}
	var manifests []map[string]any
	for _, name := range []string{"1.0", "2.0"} {
		d := f.manifest(t, testImage{layers: [][]byte{pack(t, file("tmp/"+name, "#!", 0o755))}}, "amd64", plain)
		d["annotations"] = map[string]string{containerdName: "registry.example/shop/cart:" + name, refName: name}
		manifests = append(manifests, d)
	}
	oci := f.index(manifests...).write(t)
	saved := dockerSave(t, testImage{layers: [][]byte{pack(t, file("tmp/2.0", "#!", 0o755))}})
	var one []map[string]any
	if err := json.Unmarshal(saved["manifest.json"], &one); err != nil {
		t.Fatal(err)
	}
	one[0]["RepoTags"] = []string{"registry.example/shop/cart:2.0"}
	other := map[string]any{"Config": "x.json", "RepoTags": []string{"registry.example/shop/cart:1.0"}, "Layers": []string{}}
	saved["manifest.json"], _ = json.Marshal([]any{other, one[0]})
	for _, target := range []string{oci, written(t, saved.archive(t))} {
		for _, reference := range []string{"registry.example/shop/cart:2.0", "cart:2.0"} {
			r := checked(t, target, Checks{}, Options{Reference: reference})
			if r.Image.Reference != "registry.example/shop/cart:2.0" || len(r.Findings) != 1 || r.Findings[0].Path != "/tmp/2.0" {
				t.Errorf("%s is %q with %v", reference, r.Image.Reference, lines(r))
			}
		}
		for reference, want := range map[string]string{
			"":    `2 images: want the reference of one, of "registry.example/shop/cart:1.0", "registry.example/shop/cart:2.0"`,
			"3.0": `no image "3.0": want one of "registry.example/shop/cart:1.0", "registry.example/shop/cart:2.0"`,
		} {
			if _, err := Check(context.Background(), target, Checks{}, Options{Reference: reference}); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("reference %q: %v, want %s", reference, err, want)
			}
		}
	}
}

// TestBrokenImages shows that what does not fit together is noticed, and where.
func TestBrokenImages(t *testing.T) {
	i := leaky(t)
	manifestOf := func(f files) (string, map[string]any) {
		var in struct{ Manifests []descriptor }
		if err := json.Unmarshal(f["index.json"], &in); err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(f[in.Manifests[0].Digest.file()], &m); err != nil {
			t.Fatal(err)
		}
		return in.Manifests[0].Digest.file(), m
	}
	layerOf := func(f files, n int) string {
		_, m := manifestOf(f)
		return digest(m["layers"].([]any)[n].(map[string]any)["digest"].(string)).file()
	}
	changed := func(change func(m map[string]any)) func(f files) {
		return func(f files) {
			_, m := manifestOf(f)
			change(m)
			text, _ := json.Marshal(m)
			f.index(f.blob(text, ociManifest))
		}
	}
	for _, test := range []struct {
		name   string
		break_ func(f files)
		want   string
	}{
		{"a byte of a layer", func(f files) { l := f[layerOf(f, 1)]; l[len(l)-600]++ }, "layer 2 of 3 (blobs/sha256/"},
		{"a byte behind a layer", func(f files) { name := layerOf(f, 0); f[name] = append(slices.Clone(f[name]), 0) }, ", not sha256:"},
		{"a layer cut short", func(f files) { name := layerOf(f, 2); f[name] = f[name][:len(f[name])-1000] }, "layer 3 of 3"},
		{"no layer", func(f files) { delete(f, layerOf(f, 2)) }, "layer 3 of 3: "},
		{"no manifest", func(f files) { name, _ := manifestOf(f); delete(f, name) }, "no such file"},
		{"a byte of the manifest", func(f files) {
			name, _ := manifestOf(f)
			f[name] = bytes.Replace(f[name], []byte("layers"), []byte("Layers"), 1)
		}, "its content is sha256:"},
		{"another size of the manifest", func(f files) {
			f["index.json"] = bytes.Replace(f["index.json"], []byte(`"size":`), []byte(`"size":1`), 1)
		}, "as its descriptor says"},
		{"index.json is no JSON", func(f files) { f["index.json"] = []byte("{") }, "index.json: unexpected end of JSON input"},
		{"index.json without manifests", func(f files) { f["index.json"] = []byte("{}") }, "no manifest of an image in it"},
		{"another size of a layer", changed(func(m map[string]any) { m["layers"].([]any)[0].(map[string]any)["size"] = 7 }), "as its descriptor says"},
		{"a layer fewer", changed(func(m map[string]any) { m["layers"] = m["layers"].([]any)[1:] }), "config: 3 diff_ids: want as many as the manifest has layers, 2"},
		{"layers in another order", changed(func(m map[string]any) { slices.Reverse(m["layers"].([]any)) }), "decompressed: its content is sha256:"},
		{"a digest that is a path", changed(func(m map[string]any) {
			m["layers"].([]any)[0].(map[string]any)["digest"] = "sha256:../../../etc/passwd"
		}), "want sha256: or sha512:"},
		{"an algorithm that nobody knows", changed(func(m map[string]any) {
			m["layers"].([]any)[0].(map[string]any)["digest"] = "md5:" + strings.Repeat("0", 32)
		}), "want sha256: or sha512:"},
		{"no image", changed(func(m map[string]any) {
			m["config"].(map[string]any)["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
		}), "want the manifest of an image"},
		{"no config", changed(func(m map[string]any) { delete(m, "config") }), "want the manifest of an image"},
		{"an encrypted layer", func(f files) {
			l := f.blob(bytes.Repeat([]byte("noise"), 200), "application/vnd.oci.image.layer.v1.tar+encrypted")
			changed(func(m map[string]any) { m["layers"].([]any)[0] = l })(f)
		}, "application/vnd.oci.image.layer.v1.tar+encrypted: archive/tar: invalid tar header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := ociLayout(t, i, plain)
			for name, data := range f {
				f[name] = slices.Clone(data)
			}
			test.break_(f)
			for _, target := range []string{f.write(t), written(t, f.archive(t)), written(t, gzipped(t, f.archive(t)))} {
				_, err := Check(context.Background(), target, Checks{}, Options{})
				if err == nil || !strings.Contains(strings.Replace(err.Error(), "file does not exist", "no such file or directory", 1), test.want) || !strings.HasPrefix(err.Error(), target+": ") {
					t.Errorf("%v, want %q", err, test.want)
				}
			}
		})
	}
	saved := func(change func(f files)) error {
		f := dockerSave(t, i)
		change(f)
		_, err := Check(context.Background(), written(t, f.archive(t)), Checks{}, Options{})
		return err
	}
	for _, test := range []struct {
		name   string
		change func(f files)
		want   string
	}{
		{"a layer of docker save is another one", func(f files) {
			for name := range f {
				if strings.HasSuffix(name, "layer.tar") {
					f[name] = pack(t)
				}
			}
		}, "decompressed: its content is sha256:"},
		{"the config is not what it is named after", func(f files) {
			for name, data := range f {
				if strings.HasSuffix(name, ".json") && name != "manifest.json" {
					f[name] = append(data, ' ')
				}
			}
		}, "not what it is named after"},
		{"no config", func(f files) {
			for name := range f {
				if strings.HasSuffix(name, ".json") && name != "manifest.json" {
					delete(f, name)
				}
			}
		}, "config: open "},
		{"nothing saved", func(f files) { f["manifest.json"] = []byte("[]") }, "manifest.json: no image in it"},
		{"not a list", func(f files) { f["manifest.json"] = []byte("{}") }, "manifest.json: json: cannot unmarshal object"},
	} {
		if err := saved(test.change); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestTwoFilesOfOneNameInAnArchiveAreNotChosenFrom(t *testing.T) {
	f := dockerSave(t, leaky(t))
	archive := append(f.archive(t)[:len(f.archive(t))-1024], pack(t, file("manifest.json", "[]", 0o644))...)
	_, err := Check(context.Background(), written(t, archive), Checks{}, Options{})
	if err == nil || !strings.HasSuffix(err.Error(), "manifest.json: two files of that name: want one") {
		t.Errorf("%v, want an error about two files", err)
	}
}

func TestLayersOfDockerSaveMayBeLinks(t *testing.T) {
	layer := pack(t, file("tmp/x", "#!", 0o755))
	i := testImage{layers: [][]byte{layer, layer}}
	f := dockerSave(t, i)
	first, second := fmt.Sprintf("%064x/layer.tar", 1000), fmt.Sprintf("%064x/layer.tar", 999)
	delete(f, second)
	for _, l := range []tar.Header{link(second, "../"+first), hard(second, first)} {
		archive := append(f.archive(t)[:len(f.archive(t))-1024], pack(t, l)...)
		r := checked(t, written(t, archive), Checks{}, Options{})
		if want := []string{"executable-in-temporary /tmp/x"}; !slices.Equal(lines(r), want) || len(r.Image.Layers) != 2 {
			t.Errorf("%v in %d layers, want %v in 2", lines(r), len(r.Image.Layers), want)
		}
	}
}

// TestImagesAreNeverTakenForFileSystems: nothing would be found in the files that layers are.
func TestImagesAreNeverTakenForFileSystems(t *testing.T) {
	i := leaky(t)
	oci, save := ociLayout(t, i, gzipped), dockerSave(t, i)
	for _, f := range []files{oci, save} {
		f["zz-readme"] = []byte("hello")
		behind := f.archive(t)
		for name, target := range map[string]string{"in a directory": f.write(t), "behind it": written(t, behind)} {
			r := checked(t, target, Checks{}, Options{})
			if diff := cmp.Diff(leakyWant, lines(r)); diff != "" {
				t.Errorf("something %s (-want +got):\n%s", name, diff)
			}
		}
		before := append(pack(t, file("a-readme", "hello", 0o644))[:1024], behind...)
		if _, err := Check(context.Background(), written(t, before), Checks{}, Options{}); err == nil || !strings.Contains(err.Error(), "the files of an image behind a-readme: want an archive of nothing else") {
			t.Errorf("something before it: %v", err)
		}
	}
	delete(oci, "oci-layout")
	if r := checked(t, oci.write(t), Checks{}, Options{}); r.Kind != "image" {
		t.Errorf("without its file oci-layout it is a %s", r.Kind)
	}
	for _, names := range [][]string{{"etc", "usr", "manifest.json"}, {"index.json", "x"}, {"blobs", "usr"}, {"oci-layout"}, nil} {
		if isImage(names) {
			t.Errorf("%q are taken for an image", names)
		}
	}
}

func TestNoTargets(t *testing.T) {
	empty := t.TempDir()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		target string
		o      Options
		want   string
	}{
		{filepath.Join(empty, "none"), Options{}, "no such file or directory"},
		{written(t, []byte("hello")), Options{}, "unexpected EOF"},
		{written(t, bytes.Repeat([]byte("hello"), 1000)), Options{}, "archive/tar: invalid tar header"},
		{written(t, []byte("\x1f\x8bhello, this is no gzip")), Options{}, "gzip: "},
		{written(t, []byte("\x28\xb5\x2f\xfdhello, this is no zstd")), Options{}, ""},
		{fifo, Options{}, "want a directory or a regular file"},
		{empty, Options{Platform: "linux/amd64"}, "a directory with a file system has neither platforms nor references"},
	} {
		_, err := Check(context.Background(), test.target, Checks{}, test.o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
	if r := checked(t, empty, Checks{}, Options{}); len(r.Findings) != 0 || r.Files != 0 {
		t.Errorf("an empty directory: %+v", r)
	}
}

func TestACancelledCheckEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, target := range []string{ociLayout(t, leaky(t), gzipped).write(t), written(t, leaky(t).layers[0]), written(t, gzipped(t, leaky(t).layers[0]))} {
		if _, err := Check(ctx, target, Checks{}, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	}
}

func TestOtherFileSystemsAreSkipped(t *testing.T) {
	root := t.TempDir()
	inside := filepath.Join(root, "tmp")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: a mount of its own")
	}
	if err := unix.Mount("none", inside, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs mount(2): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(inside, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(inside, "x"), []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := checked(t, root, Checks{}, Options{})
	if want := []Skipped{{"/tmp", "another file system is mounted there"}}; !slices.Equal(r.Skipped, want) || slices.Contains(lines(r), "executable-in-temporary /tmp/x") || r.ExitStatus(never) != Clean {
		t.Errorf("skipped %v, found %v; want %v and nothing of it", r.Skipped, lines(r), want)
	}
}

func TestDirectoriesThatAreTooDeepAreTold(t *testing.T) {
	root := t.TempDir()
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := r
	for range maxOpen + 2 {
		if err := at.Mkdir("d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := at.OpenRoot("d")
		if err != nil {
			t.Fatal(err)
		}
		if at != r {
			at.Close()
		}
		at = next
	}
	at.Close()
	got := checked(t, root, Checks{}, Options{})
	if want := []Skipped{{strings.Repeat("/d", maxOpen), "more than 500 directories in one another"}}; !slices.Equal(got.Unread, want) || got.ExitStatus(never) != Failure {
		t.Errorf("unread %.300v, want %.100v", got.Unread, want)
	}
}

func TestManifestsOfOtherPlatformsMayBeMissing(t *testing.T) {
	f := files{}
	here := f.manifest(t, leaky(t), "amd64", plain)
	here["platform"] = map[string]string{"os": "linux", "architecture": "amd64"}
	there := map[string]any{"mediaType": ociManifest, "digest": digestOf([]byte("elsewhere")), "size": 9, "platform": map[string]string{"os": "linux", "architecture": "arm64"}}
	r := checked(t, f.index(there, here).write(t), Checks{}, Options{})
	if diff := cmp.Diff(leakyWant, lines(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDigestsOfSHA512(t *testing.T) {
	f := ociLayout(t, leaky(t), plain)
	var in struct{ Manifests []descriptor }
	if err := json.Unmarshal(f["index.json"], &in); err != nil {
		t.Fatal(err)
	}
	text := f[in.Manifests[0].Digest.file()]
	sum := fmt.Sprintf("sha512:%x", sha512.Sum512(text))
	f[digest(sum).file()] = text
	f.index(map[string]any{"mediaType": ociManifest, "digest": sum, "size": len(text)})
	if r := checked(t, f.write(t), Checks{}, Options{}); r.Image.Manifest != sum {
		t.Errorf("the manifest is %s, want %s", r.Image.Manifest, sum)
	}
	f[digest(sum).file()] = append(text, ' ')
	if _, err := Check(context.Background(), f.write(t), Checks{}, Options{}); err == nil || !strings.Contains(err.Error(), "its content is sha512:") {
		t.Errorf("%v, want an error about the content", err)
	}
}

func TestIndexesInIndexesHaveABound(t *testing.T) {
	f := files{}
	d := f.manifest(t, leaky(t), "amd64", plain)
	for range maxNesting + 1 {
		text, _ := json.Marshal(map[string]any{"manifests": []any{d}})
		d = f.blob(text, ociIndex)
	}
	if _, err := Check(context.Background(), f.index(d).write(t), Checks{}, Options{}); err == nil || !strings.Contains(err.Error(), "more than 4 indexes in one another") {
		t.Errorf("%v, want an error about indexes", err)
	}
}
