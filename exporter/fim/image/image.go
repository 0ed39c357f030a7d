// Package image checks what is in a container image, a tarball or a directory before it is shipped: files that must or
// must not be there, their content, mode and owner, programs in odd places, and secrets. It unpacks nothing and runs
// nothing; it knows neither registries nor vulnerabilities.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Options say what to look at of a target, and how much of it at most.
type Options struct {
	Platform  string            // of an image for several: os/architecture[/variant]; else its only one, or Linux on this architecture
	Reference string            // name of the image, where there are several in one place
	MaxBytes  int64             // read of all layers together, decompressed; 0 for Default's
	MaxNames  int               // in all layers together, and in the file system that they make; 0 for Default's
	Progress  func(bytes int64) // if not nil, called now and then with how many bytes were read
}

// Default bounds suit images of any size that is pushed anywhere. A name takes some 300 bytes of memory.
var Default = Options{MaxBytes: 64 << 30, MaxNames: 1_000_000}

// Check reads the target, which is a directory with a file system or an OCI layout, or a tar file, plain or compressed by
// gzip or zstd, with a file system, an OCI layout or what docker save writes. An image's layers are put on top of one another
// as a container would see them, and verified by their digests. An error means that it could not be read.
func Check(ctx context.Context, target string, checks Checks, o Options) (Report, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = Default.MaxBytes
	}
	if o.MaxNames == 0 {
		o.MaxNames = Default.MaxNames
	}
	rules, err := secretRules()
	if err != nil {
		return Report{}, err
	}
	examiner, err := newExaminer(checks, rules)
	if err != nil {
		return Report{}, err
	}
	g := newReading(ctx, o)
	g.sums = examiner.needsSums()
	if !checks.Secrets.Off {
		g.scanner = newSecretScanner(rules)
		g.scanner.everywhere = checks.Secrets.Everywhere
	}
	r, err := readTarget(g, target, examiner, o)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", target, err)
	}
	r.Schema, r.Target, r.Bytes = Schema, printable(target), g.bytes
	examiner.finish(r)
	return *r, nil
}

func readTarget(g *reading, target string, x *examiner, o Options) (*Report, error) {
	info, err := os.Stat(target)
	if err != nil {
		return nil, withoutPath(err)
	}
	if info.IsDir() {
		return readDirectory(g, target, x, o)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("want a directory or a regular file")
	}
	open := func() (io.ReadCloser, error) { return openTar(target) }
	a, err := openArchive(g, open)
	if errors.Is(err, errNoImage) {
		return readTar(g, open, x)
	}
	if err != nil {
		return nil, err
	}
	return readImage(g, a, x, o)
}

func withoutPath(err error) error {
	var in *os.PathError
	if errors.As(err, &in) {
		return in.Err
	}
	return err
}

func readDirectory(g *reading, target string, x *examiner, o Options) (*Report, error) {
	root, err := os.OpenRoot(target)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer root.Close()
	names, err := topOf(root)
	if err != nil {
		return nil, withoutPath(err)
	}
	if isImage(names) {
		return readImage(g, directoryStore{root}, x, o)
	}
	if o.Platform != "" || o.Reference != "" {
		return nil, errors.New("a directory with a file system has neither platforms nor references")
	}
	w, err := walkDirectory(g, root)
	if err != nil {
		return nil, err
	}
	r := &Report{Kind: "directory", Skipped: w.skipped, Unread: w.unread}
	return r, x.layers(r, g, [][]entry{w.entries})
}

// topOf lists a directory as far as an image may be told by it.
func topOf(root *os.Root) ([]string, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(maxFiles)
	if err == io.EOF {
		err = nil // it is empty
	}
	return names, err
}

func readTar(g *reading, open func() (io.ReadCloser, error), x *examiner) (*Report, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := g.layer(g.count(f), false)
	if err != nil {
		return nil, err
	}
	var top []string
	for _, e := range entries {
		name, _, _ := strings.Cut(path.Clean(e.name), "/")
		top = append(top, name)
	}
	if isImage(top) { // then what was looked at are its layers, of which nothing can be seen
		return nil, fmt.Errorf("the files of an image behind %s: want an archive of nothing else", printable(top[0]))
	}
	r := &Report{Kind: "tar"}
	return r, x.layers(r, g, [][]entry{entries})
}

func readImage(g *reading, s store, x *examiner, o Options) (*Report, error) {
	p, err := planImage(s, o)
	if err != nil {
		return nil, err
	}
	all, err := p.readLayers(g, s)
	if err != nil {
		return nil, err
	}
	r := &Report{Kind: "image", Image: &p.image}
	if err := x.configuration(p); err != nil {
		return nil, err
	}
	return r, x.layers(r, g, all)
}

// openTar opens a tar file, decompressed. What is not compressed can be sought in.
func openTar(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	z, packed, err := decompress(f)
	if err == nil && !packed {
		_, err = f.Seek(0, io.SeekStart)
	}
	switch {
	case err != nil:
		f.Close()
		return nil, err
	case !packed:
		return f, nil
	}
	return &closers{z, f}, nil
}

// closers is a stream that was decompressed, and the file below.
type closers struct {
	io.ReadCloser
	below io.Closer
}

func (c *closers) Close() error { return errors.Join(c.ReadCloser.Close(), c.below.Close()) }
