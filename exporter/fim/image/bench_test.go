package image

import (
	"archive/tar"
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// corpus is what the machine has of text, which is Go's own source, and of programs.
func corpus(b *testing.B, root string, limit int) []byte {
	b.Helper()
	var headers []tar.Header
	total := 0
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		data = data[:min(len(data), limit-total)]
		headers = append(headers, file("app"+path, string(data), 0o644))
		if total += len(data); total >= limit {
			return fs.SkipAll
		}
		return nil
	})
	if total < limit {
		b.Skipf("needs %d bytes below %s", limit, root)
	}
	return pack(b, headers...)
}

// BenchmarkCheck reads images of one layer, with and without looking for secrets.
func BenchmarkCheck(b *testing.B) {
	const length = 16 << 20
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skipf("needs go: %v", err)
	}
	text := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	for _, kind := range []struct{ name, root string }{{"text", text}, {"programs", "/usr/bin"}} {
		layer := corpus(b, kind.root, length)
		for _, packing := range []struct {
			name   string
			packed func(testing.TB, []byte) []byte
		}{{"tar", plain}, {"gzip", gzipped}, {"zstd", zstdPacked}} {
			target := ociLayout(b, testImage{layers: [][]byte{layer}}, packing.packed).write(b)
			for _, secrets := range []struct {
				name string
				off  bool
			}{{"secrets", false}, {"none", true}} {
				b.Run(kind.name+"/"+packing.name+"/"+secrets.name, func(b *testing.B) {
					b.SetBytes(int64(len(layer)))
					for b.Loop() {
						if _, err := Check(context.Background(), target, Checks{Secrets: Secrets{Off: secrets.off}}, Options{}); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkKeywords is the part of looking for secrets that every byte takes.
func BenchmarkKeywords(b *testing.B) {
	rules, err := secretRules()
	if err != nil {
		b.Fatal(err)
	}
	text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog.\n"), 20_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		rules.keywords.find(0, text, func(uint16, int) {})
	}
}
