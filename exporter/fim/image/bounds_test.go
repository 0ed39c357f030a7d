package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// A pattern repeats a text for ever.
type repeated struct {
	text string
	at   int
}

func (p *repeated) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		c := copy(b[n:], p.text[p.at:])
		n, p.at = n+c, (p.at+c)%len(p.text)
	}
	return n, nil
}

// TestMemoryDoesNotGrowWithALayer reads a layer of one large file, which is made while it is read: 1 GiB where YAGURA_SOAK
// is set, an eighth of it otherwise.
func TestMemoryDoesNotGrowWithALayer(t *testing.T) {
	length := int64(128 << 20)
	if os.Getenv("YAGURA_SOAK") != "" {
		length = 1 << 30
	}
	const allowed = 16 << 20 // bytes of heap beyond what was there
	var before, now runtime.MemStats
	rules, err := secretRules()
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	o := Options{MaxBytes: 2 << 30, MaxNames: 10, Progress: func(int64) {
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
	}}
	g := newReading(context.Background(), o)
	g.scanner, g.sums = newSecretScanner(rules), true
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "large", Size: length, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	content := &repeated{text: "\x7fELF\x00\x01\x02" + strings.Repeat(letters(997, 1)+"\x00", 50)}
	stream := io.MultiReader(&header, io.LimitReader(content, length), bytes.NewReader(make([]byte, 1024)))
	entries, err := g.layer(g.count(stream), true)
	if err != nil || len(entries) != 1 || entries[0].size != length || entries[0].sum == nil {
		t.Fatalf("%+v, %v; want one file of %d bytes", entries, err, length)
	}
	if peak == 0 || peak > allowed {
		t.Errorf("%d bytes of heap while %d were read, want some and at most %d", peak, length, allowed)
	}
	t.Logf("%d bytes were read with %d KiB of heap", length, peak>>10)
}

func TestBombsAreRefused(t *testing.T) {
	zeros := make([]byte, 12<<20)
	file := pack(t, tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: int64(len(zeros)), Mode: 0o644, Linkname: string(zeros)})
	twice := gzipped(t, ociLayout(t, testImage{layers: [][]byte{file}}, plain).archive(t))
	for _, test := range []struct{ name, target string }{
		{"a tar file", written(t, file)},
		{"a gzip tar file", written(t, gzipped(t, file))},
		{"a zstd tar file", written(t, zstdPacked(t, file))},
		{"a gzip layer", ociLayout(t, testImage{layers: [][]byte{file}}, gzipped).write(t)},
		{"a zstd layer", ociLayout(t, testImage{layers: [][]byte{file}}, zstdPacked).write(t)},
		{"a gzip archive of layers", written(t, twice)},
		{"a sparse file", written(t, sparseTar(t, 1<<50))},
	} {
		_, err := Check(context.Background(), test.target, Checks{}, Options{MaxBytes: 4 << 20})
		if !errors.Is(err, ErrTooMuch) {
			t.Errorf("%s: %v, want ErrTooMuch", test.name, err)
		}
	}
	var names []tar.Header
	for i := range 100 {
		names = append(names, dir(fmt.Sprint(i), 0o755))
	}
	if _, err := Check(context.Background(), written(t, pack(t, names...)), Checks{}, Options{MaxNames: 50}); !errors.Is(err, ErrTooMuch) {
		t.Errorf("100 names where 50 are allowed: %v, want ErrTooMuch", err)
	}
	if _, err := Check(context.Background(), written(t, pack(t, names...)), Checks{}, Options{MaxNames: 100}); err != nil {
		t.Errorf("100 names where 100 are allowed: %v", err)
	}
	// A window of 2 GiB, which zstd may ask for in its first bytes: RFC 8878, 3.1.1.1.2.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00}
	if _, err := Check(context.Background(), written(t, frame), Checks{}, Options{}); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("a window of 2 GiB: %v, want an error about it", err)
	}
}

// sparseTar is a file that is all hole, in GNU's old format: a header of type S, whose true size is at 483.
func sparseTar(t testing.TB, length uint64) []byte {
	t.Helper()
	h := make([]byte, 512)
	copy(h, "hole")
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x000000000\x0000000000000\x0000000000000\x00")
	h[156] = 'S'
	copy(h[257:], "ustar  \x00")
	number := func(at int, n uint64) { h[at] = 0x80; binary.BigEndian.PutUint64(h[at+4:], n) }
	number(386, length)
	number(398, 0)
	number(483, length)
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	data := append(h, make([]byte, 1024)...)
	if got, err := tar.NewReader(bytes.NewReader(data)).Next(); err != nil || got.Size != int64(length) {
		t.Fatalf("%+v, %v; want a file of %d bytes", got, err, length)
	}
	return data
}

func TestDocumentsHaveABound(t *testing.T) {
	f := ociLayout(t, leaky(t), plain)
	f["index.json"] = append(f["index.json"], bytes.Repeat([]byte(" "), maxDocument)...)
	for _, target := range []string{f.write(t), written(t, f.archive(t))} {
		if _, err := Check(context.Background(), target, Checks{}, Options{}); err == nil || !strings.Contains(err.Error(), "4194304 bytes") {
			t.Errorf("%v, want an error about 4194304 bytes", err)
		}
	}
}
