package image

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
)

// Names that say something of layers below, by the image specification: .wh.NAME, and .wh..wh..opq for a directory. What
// else begins with .wh..wh. is AUFS' own.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// A reading is how files are read: what is looked for in them, and how much of that has been done.
type reading struct {
	ctx      context.Context
	sums     bool           // of all files
	scanner  *secretScanner // nil if nobody asks for secrets
	bytes    int64          // of layers that were read so far, decompressed
	expanded int64          // of files, whose holes take no place in an archive
	unpacked int64          // of archives around layers
	limit    int64          // of each of these
	room     int            // names that may still come
	progress func(bytes int64)
	told     int64 // bytes when progress was last called
	head     *bufio.Reader
	chunk    []byte
	sum      hash.Hash
}

const (
	headBytes = 64 << 10
	tellEvery = 16 << 20
)

func newReading(ctx context.Context, o Options) *reading {
	return &reading{ctx: ctx, limit: o.MaxBytes, room: o.MaxNames, progress: o.Progress, head: bufio.NewReaderSize(nil, headBytes),
		chunk: make([]byte, headBytes), sum: sha256.New()}
}

// count bounds what is read of all readers together: one fails once that is too much, or the context is done.
func (g *reading) count(r io.Reader) io.Reader { return &counted{g, r, &g.bytes} }

type counted struct {
	reading *reading
	r       io.Reader
	total   *int64
}

func (c *counted) Read(p []byte) (int, error) {
	g := c.reading
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if *c.total += int64(n); *c.total > g.limit {
		return n, fmt.Errorf("%w: %d bytes decompressed", ErrTooMuch, g.limit)
	}
	if g.progress != nil && g.bytes-g.told >= tellEvery {
		g.told = g.bytes
		g.progress(g.bytes)
	}
	return n, err
}

// layer reads a tar stream to the end of the archive, not of the stream. Whiteouts mean something in layers of images only.
func (g *reading) layer(r io.Reader, whiteouts bool) ([]entry, error) {
	var entries []entry
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, err
		}
		if g.room--; g.room < 0 {
			return nil, fmt.Errorf("%w: names", ErrTooMuch)
		}
		e, ok := entryOf(h, whiteouts)
		if !ok {
			continue
		}
		if e.kind == regular && h.Size > 0 {
			if err := g.content(&e, &counted{g, archive, &g.expanded}); err != nil {
				return nil, fmt.Errorf("%s: %w", printable(h.Name), err)
			}
		}
		entries = append(entries, e)
	}
}

// entryOf returns what a header says; false if it is of no name.
func entryOf(h *tar.Header, whiteouts bool) (entry, bool) {
	e := entry{name: h.Name, mode: uint16(h.Mode & 0o7777), uid: uint32(h.Uid), gid: uint32(h.Gid), size: h.Size,
		capabilities: h.PAXRecords["SCHILY.xattr.security.capability"]}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.kind = regular
	case tar.TypeDir:
		e.kind = directory
	case tar.TypeSymlink:
		e.kind, e.target = symlink, h.Linkname
	case tar.TypeLink:
		e.kind, e.target = hardLink, h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		e.kind = device
	case tar.TypeFifo:
		e.kind = fifo
	default:
		return e, false // extensions, which are of no file
	}
	dir, base := path.Split(strings.TrimRight(h.Name, "/"))
	switch {
	case !whiteouts || !strings.HasPrefix(base, whiteoutPrefix):
	case base == opaqueName:
		e.kind, e.name = opaque, strings.TrimRight(dir, "/")
	case strings.HasPrefix(base, whiteoutPrefix+whiteoutPrefix):
		return e, false
	default:
		e.kind, e.name = whiteout, dir+base[len(whiteoutPrefix):]
	}
	return e, true
}

// content reads a file.
func (g *reading) content(e *entry, r io.Reader) error {
	g.head.Reset(r)
	begin, _ := g.head.Peek(4) // what is wrong, reading on tells
	e.form = formOf(begin)
	var content io.Reader = g.head
	if g.sums {
		g.sum.Reset()
		content = io.TeeReader(content, g.sum)
	}
	name := path.Clean("/" + e.name)
	hasNames := name == "/etc/passwd" || name == "/etc/group"
	if hasNames {
		kept := &bounded{}
		content = io.TeeReader(content, kept)
		defer func() { e.text = kept.text }()
	}
	var err error
	switch {
	case isShadow(name):
		e.secrets, err = scanShadow(content)
	case g.scanner != nil:
		e.secrets, e.moreSecrets, err = g.scanner.scan(name, content)
	case g.sums || hasNames:
		_, err = io.CopyBuffer(io.Discard, onlyReader{content}, g.chunk)
	}
	if g.sums && err == nil {
		e.sum = (*[32]byte)(g.sum.Sum(nil))
	}
	return err
}

// bounded keeps the first bytes that are written to it.
type bounded struct{ text []byte }

const maxKept = 1 << 20

func (b *bounded) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), maxKept-len(b.text))]...)
	return len(p), nil
}

// onlyReader hides what else a reader can do, so that it is read in pieces of the given size.
type onlyReader struct{ io.Reader }

func formOf(begin []byte) form {
	switch {
	case string(begin) == "\x7fELF":
		return program
	case len(begin) >= 2 && string(begin[:2]) == "#!":
		return script
	}
	return otherForm
}
