package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// merged returns what a container would see of layers, as tar's letters would tell it: type, mode, owner, path, and the
// layer that brought it; and what was odd.
func merged(t testing.TB, layers ...[]byte) (seen, odd []string) {
	t.Helper()
	g := newReading(context.Background(), Default)
	tree := newTree(10_000)
	tree.odd = func(layer int, e *entry, _, why string) {
		odd = append(odd, fmt.Sprintf("%d %s: %s", layer, e.name, why))
	}
	for i, l := range layers {
		entries, err := g.layer(bytes.NewReader(l), true)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.apply(i, entries); err != nil {
			t.Fatal(err)
		}
	}
	for path, n := range tree.all() {
		line := fmt.Sprintf("%c%04o %d:%d %s", "-dlhcp"[n.kind], n.mode, n.uid, n.gid, path)
		if n.kind == symlink {
			line += " -> " + n.target
		}
		seen = append(seen, fmt.Sprintf("%s (%d)", line, n.layer))
		if n.path() != path {
			t.Errorf("the path of %s is %s", path, n.path())
		}
	}
	return seen, odd
}

func wh(name string) tar.Header { return file(name, "", 0) }

type layerCase struct {
	name   string
	layers [][]byte
	want   []string
}

// oddCases are those of which containerd makes something else, or nothing, and what is said of them.
var oddCases = map[string]string{
	"a whiteout hides only what is below: behind the file": "1 a/z: a whiteout behind the name that it is for, in one layer",
	"a directory is deleted and made anew":                 "1 a/b/: a directory in place of its whiteout, in one layer",
	"a directory is made anew, the whiteout last":          "1 a/b: a whiteout behind the name that it is for, in one layer",
	"an opaque root": "1 : an opaque root, which overlayfs does not know",
}

// layerCases are the specification of image layers, case by case.
func layerCases(t testing.TB) []layerCase {
	base := pack(t, dir("a", 0o755), dir("a/b", 0o755), file("a/b/x", "x", 0o644), file("a/b/y", "y", 0o644), file("a/z", "z", 0o644))
	whole := []string{"d0755 0:0 /a (0)", "d0755 0:0 /a/b (0)", "-0644 0:0 /a/b/x (0)", "-0644 0:0 /a/b/y (0)", "-0644 0:0 /a/z (0)"}
	return []layerCase{
		{"one layer", [][]byte{base}, whole},
		{"an empty layer", [][]byte{base, pack(t)}, whole},
		{"a file is replaced", [][]byte{base, pack(t, file("a/z", "new", 0o600))}, []string{whole[0], whole[1], whole[2], whole[3], "-0600 0:0 /a/z (1)"}},
		{"the last of two in one layer counts", [][]byte{pack(t, file("a", "1", 0o600), file("a", "2", 0o644))}, []string{"-0644 0:0 /a (0)"}},
		{"a directory named again is as it was", [][]byte{base, pack(t, dir("a", 0o755), file("a/z", "new", 0o600))},
			[]string{whole[0], whole[1], whole[2], whole[3], "-0600 0:0 /a/z (1)"}},
		{"a directory changes its mode and keeps what is in it", [][]byte{base, pack(t, owned(dir("a", 0o700), 5, 6))},
			[]string{"d0700 5:6 /a (1)", whole[1], whole[2], whole[3], whole[4]}},
		{"a whiteout of a file", [][]byte{base, pack(t, wh("a/b/.wh.x"))}, []string{whole[0], whole[1], whole[3], whole[4]}},
		{"a whiteout of a directory", [][]byte{base, pack(t, wh("a/.wh.b"))}, []string{whole[0], whole[4]}},
		{"a whiteout of nothing", [][]byte{base, pack(t, wh("a/.wh.none"))}, whole},
		{"a whiteout at the root", [][]byte{base, pack(t, wh(".wh.a"))}, nil},
		{"a whiteout hides only what is below: before the file", [][]byte{base, pack(t, wh("a/.wh.z"), file("a/z", "new", 0o600))},
			[]string{whole[0], whole[1], whole[2], whole[3], "-0600 0:0 /a/z (1)"}},
		{"a whiteout hides only what is below: behind the file", [][]byte{base, pack(t, file("a/z", "new", 0o600), wh("a/.wh.z"))},
			[]string{whole[0], whole[1], whole[2], whole[3], "-0600 0:0 /a/z (1)"}},
		{"a directory is deleted and made anew", [][]byte{base, pack(t, wh("a/.wh.b"), dir("a/b", 0o700), file("a/b/new", "", 0o644))},
			[]string{whole[0], "d0700 0:0 /a/b (1)", "-0644 0:0 /a/b/new (1)", whole[4]}},
		{"a directory is made anew, the whiteout last", [][]byte{base, pack(t, dir("a/b", 0o700), file("a/b/new", "", 0o644), wh("a/.wh.b"))},
			[]string{whole[0], "d0700 0:0 /a/b (1)", "-0644 0:0 /a/b/new (1)", whole[4]}},
		{"an opaque directory", [][]byte{base, pack(t, dir("a/b", 0o755), wh("a/b/.wh..wh..opq"), file("a/b/new", "", 0o644))},
			[]string{whole[0], whole[1], "-0644 0:0 /a/b/new (1)", whole[4]}},
		{"an opaque directory, told last", [][]byte{base, pack(t, dir("a/b", 0o755), file("a/b/new", "", 0o644), wh("a/b/.wh..wh..opq"))},
			[]string{whole[0], whole[1], "-0644 0:0 /a/b/new (1)", whole[4]}},
		{"an opaque directory above one of this layer", [][]byte{base, pack(t, file("a/b/new", "", 0o644), wh("a/.wh..wh..opq"))},
			[]string{whole[0], whole[1], "-0644 0:0 /a/b/new (1)"}},
		{"an opaque root", [][]byte{base, pack(t, wh(".wh..wh..opq"), file("new", "", 0o644))}, []string{"-0644 0:0 /new (1)"}},
		{"a file comes back", [][]byte{base, pack(t, wh("a/.wh.z")), pack(t, file("a/z", "back", 0o644))},
			[]string{whole[0], whole[1], whole[2], whole[3], "-0644 0:0 /a/z (2)"}},
		{"what AUFS keeps for itself", [][]byte{pack(t, dir(".wh..wh.plnk", 0o700), file(".wh..wh.aufs", "", 0o444), file("a", "", 0o644))}, []string{"-0644 0:0 /a (0)"}},
		{"a file in a directory's place", [][]byte{base, pack(t, file("a/b", "", 0o644))}, []string{whole[0], "-0644 0:0 /a/b (1)", whole[4]}},
		{"a directory in a file's place", [][]byte{base, pack(t, dir("a/z", 0o755), file("a/z/in", "", 0o644))},
			append(append([]string{}, whole[:4]...), "d0755 0:0 /a/z (1)", "-0644 0:0 /a/z/in (1)")},
		{"a directory that is not named", [][]byte{pack(t, file("x/y", "", 0o600))}, []string{"d0755 0:0 /x (0)", "-0600 0:0 /x/y (0)"}},
		{"a hard link", [][]byte{base, pack(t, file("f", "f", 0o640), hard("g", "f"))}, append(append([]string{}, whole...), "-0644 0:0 /f (1)", "-0644 0:0 /g (1)")},
		{"a hard link to a layer below", [][]byte{base, pack(t, hard("g", "a/z"))}, append(append([]string{}, whole...), "-0644 0:0 /g (1)")},
		{"a hard link outlives what it was made of", [][]byte{base, pack(t, hard("g", "a/z")), pack(t, wh("a/.wh.z"))},
			append(append([]string{}, whole[:4]...), "-0644 0:0 /g (1)")},
		{"a hard link to a symbolic link", [][]byte{pack(t, link("s", "nowhere"), hard("g", "s"))}, []string{"l0777 0:0 /g -> nowhere (0)", "l0777 0:0 /s -> nowhere (0)"}},
		{"a hard link to itself", [][]byte{pack(t, file("a", "", 0o644), hard("a", "a"))}, []string{"-0644 0:0 /a (0)"}},
		{"through a symbolic link", [][]byte{base, pack(t, link("l", "a/b"), file("l/new", "", 0o644))},
			append(append([]string{}, whole[0], whole[1], "-0644 0:0 /a/b/new (1)"), append(whole[2:5:5], "l0777 0:0 /l -> a/b (1)")...)},
		{"through one that leads out", [][]byte{base, pack(t, link("l", "../../../../a"), file("l/new", "", 0o644))},
			append(append([]string{}, whole[:4]...), "-0644 0:0 /a/new (1)", whole[4], "l0777 0:0 /l -> ../../../../a (1)")},
		{"through an absolute one", [][]byte{base, pack(t, link("a/l", "/a/b"), wh("a/l/.wh.x"))},
			[]string{whole[0], whole[1], whole[3], "l0777 0:0 /a/l -> /a/b (1)", whole[4]}},
		{"a symbolic link is replaced, not followed", [][]byte{base, pack(t, link("l", "a/z")), pack(t, file("l", "", 0o600))},
			append(append([]string{}, whole...), "-0600 0:0 /l (2)")},
		{"a directory in a symbolic link's place", [][]byte{base, pack(t, link("l", "a")), pack(t, dir("l", 0o700))},
			append(append([]string{}, whole...), "d0700 0:0 /l (2)")},
		{"names with dots and slashes", [][]byte{pack(t, file("./a//b/./c", "", 0o644), file("/d", "", 0o644))}, []string{"d0755 0:0 /a (0)", "d0755 0:0 /a/b (0)", "-0644 0:0 /a/b/c (0)", "-0644 0:0 /d (0)"}},
		{"the root's own mode", [][]byte{pack(t, dir(".", 0o700), file("a", "", 0o644))}, []string{"-0644 0:0 /a (0)"}},
		{"setuid and sticky", [][]byte{pack(t, file("s", "", 0o6755), dir("t", 0o1777))}, []string{"-6755 0:0 /s (0)", "d1777 0:0 /t (0)"}},
		{"devices and fifos", [][]byte{pack(t, tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3}, tar.Header{Typeflag: tar.TypeBlock, Name: "sda", Mode: 0o660}, tar.Header{Typeflag: tar.TypeFifo, Name: "p", Mode: 0o600})},
			[]string{"c0666 0:0 /null (0)", "p0600 0:0 /p (0)", "c0660 0:0 /sda (0)"}},
		{"whiteouts of whiteouts' names", [][]byte{pack(t, file("a", "", 0o644), file("wh.a", "", 0o644)), pack(t, wh(".wh.wh.a"))}, []string{"-0644 0:0 /a (0)"}},
	}
}

func TestLayersMakeOneFileSystem(t *testing.T) {
	for _, test := range layerCases(t) {
		t.Run(test.name, func(t *testing.T) {
			got, odd := merged(t, test.layers...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := strings.Join(odd, ", "); got != oddCases[test.name] {
				t.Errorf("odd: %q, want %q", got, oddCases[test.name])
			}
		})
	}
}

func TestNamesThatNobodyShouldUnpack(t *testing.T) {
	long := strings.Repeat("n", 256)
	deep := strings.Repeat("d/", 2040)
	var circle []tar.Header
	for i := range 50 {
		circle = append(circle, link(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
	}
	for _, test := range []struct {
		name   string
		layers [][]byte
		want   []string
	}{
		{"out of the root", [][]byte{pack(t, file("../../etc/passwd", "x", 0o644), file("a/../../b", "x", 0o644))},
			[]string{"0 ../../etc/passwd: a path with .. in it", "0 a/../../b: a path with .. in it"}},
		{"dots in names are no way up", [][]byte{pack(t, file("..a/b..", "x", 0o644), file("...", "x", 0o644))}, nil},
		{"a hard link out of the root", [][]byte{pack(t, hard("h", "../../etc/shadow"))}, []string{"0 h: a hard link to ../../etc/shadow, with .. in it"}},
		{"a hard link to nothing", [][]byte{pack(t, hard("h", "etc/shadow"))}, []string{"0 h: a hard link to etc/shadow, which is not there"}},
		{"a hard link to what a whiteout hides", [][]byte{pack(t, file("a", "", 0o644)), pack(t, wh(".wh.a"), hard("h", "a"))}, []string{"1 h: a hard link to a, which is not there"}},
		{"a hard link to a directory", [][]byte{pack(t, dir("d", 0o755), hard("h", "d"))}, []string{"0 h: a hard link to d, a directory"}},
		{"through a file", [][]byte{pack(t, file("f", "", 0o644), file("f/g", "", 0o644))}, []string{"0 f/g: a path through /f, which is a file"}},
		{"through a circle", [][]byte{pack(t, link("l", "l"), file("l/x", "", 0o644))}, []string{"0 l/x: a path through more than 40 symbolic links, or of more than 4096 bytes with them"}},
		{"through many links", [][]byte{pack(t, append(circle, file("l0/x", "", 0o644))...)}, []string{"0 l0/x: a path through more than 40 symbolic links, or of more than 4096 bytes with them"}},
		{"a long name", [][]byte{pack(t, file(long, "", 0o644), file(long+"/x", "", 0o644), file(long[1:], "", 0o644))},
			[]string{"0 " + long + ": a name of 256 bytes", "0 " + long + "/x: a name of 256 bytes"}},
		{"a long path", [][]byte{pack(t, file(strings.Repeat("d/", 2050)+"x", "", 0o644))}, []string{"0 " + strings.Repeat("d/", 2050) + "x: a path of 4101 bytes"}},
		{"a deep path", [][]byte{pack(t, link("l", deep), file(deep+"x", "", 0o644), file("l/a/b/c/d/e/f/g/h/i", "", 0o644))},
			[]string{"0 l/a/b/c/d/e/f/g/h/i: a path of more than 2048 directories"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, got := merged(t, test.layers...); cmp.Diff(test.want, got) != "" {
				t.Errorf("(-want +got):\n%s", cmp.Diff(test.want, got))
			}
		})
	}
}

func TestOddNamesAreFindingsAndTheirSecretsToo(t *testing.T) {
	layer := pack(t, file("../../root/.aws/credentials", "aws_secret = \"ghp_"+letters(36, 1)+"\"\n", 0o600))
	r := checked(t, written(t, layer), Checks{}, Options{})
	want := []string{"secret/github-pat /../../root/.aws/credentials", "unsafe-entry /../../root/.aws/credentials"}
	if diff := cmp.Diff(want, lines(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPathsDoNotMultiply shows that a small archive cannot make the tree large: each name may add thousands of directories.
func TestPathsDoNotMultiply(t *testing.T) {
	var layer []tar.Header
	for i := range 100 {
		layer = append(layer, file(fmt.Sprintf("%d/%sx", i, strings.Repeat("d/", 1000)), "", 0o644))
	}
	_, err := Check(context.Background(), written(t, pack(t, layer...)), Checks{}, Options{})
	if !errors.Is(err, ErrTooMuch) {
		t.Errorf("100 names of 1000 directories each: %v, want ErrTooMuch", err)
	}
	layer = []tar.Header{link("l", strings.Repeat("d/", 1000)), dir(strings.Repeat("d/", 1000), 0o755)}
	for i := range 300 {
		layer = append(layer, file(fmt.Sprintf("l/%d", i), "", 0o644))
	}
	_, err = Check(context.Background(), written(t, pack(t, layer...)), Checks{}, Options{})
	if !errors.Is(err, ErrTooMuch) {
		t.Errorf("300 names through a link of 1000 directories: %v, want ErrTooMuch", err)
	}
}
