package fim

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrChanged is wrapped by errors that say that a file is not what it was when it was looked at.
var ErrChanged = errors.New("the file has changed")

// ReadText returns the content of a regular file beneath the looker's root that has this SHA-256 and at most MaxText bytes. It
// opens as Look does. Errors wrap fs.ErrNotExist if nothing is there, and ErrChanged if something else is.
func ReadText(l *Looker, name string, sum [32]byte) ([]byte, error) {
	content, err := l.readSmall(name)
	if err == nil && sha256.Sum256(content) != sum {
		err = ErrChanged
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	return content, nil
}

// readSmall reads as many bytes as the file says it has: none of /proc can keep it waiting.
func (l *Looker) readSmall(name string) ([]byte, error) {
	fd, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	st, err := statAt(fd, "")
	switch {
	case err != nil:
		return nil, notThere(err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%w: want a regular file", ErrChanged)
	case st.Size > MaxText:
		return nil, fmt.Errorf("%w: it has %d bytes, want at most %d", ErrChanged, st.Size, MaxText)
	}
	opened, err := openQuietly(unix.AT_FDCWD, descriptor(fd), 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(opened), name)
	defer f.Close()
	content := make([]byte, st.Size)
	n, err := io.ReadFull(f, content)
	l.read += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = ErrChanged
	}
	return content, err
}

// Fill brings the texts of a container, or with "" of the host, up to what the store last saw: of each small regular file of a
// set with Diff, and of no other. Files whose text is kept are not read. read returns a file's content if it has that SHA-256,
// as ReadText does; its errors are counted. The result counts what this walk has found; Kept and Bytes are of all texts.
func (t *Texts) Fill(ctx context.Context, store *Store, sets *Sets, container string,
	read func(name string, sum [32]byte) ([]byte, error)) (TextStats, error) {
	f := filling{Texts: t, ctx: ctx, store: store, sets: sets, inside: container != "", read: read, notKept: map[string]uint64{}}
	for i := range sets.Len() {
		if sets.Set(i).Diff {
			f.shown |= 1 << i
		}
	}
	err := t.each(container, f.forget)
	for _, root := range rootsOf(&sets.matcher(f.inside).paths.node, "", f.shown) {
		if err == nil {
			err = store.Each(Path{container, root}, f.fill)
		}
	}
	if err == nil {
		err = t.write()
	}
	if err != nil {
		err = fmt.Errorf("collect the texts of %s: %w", whose(Path{Container: container}), err)
	}
	stats := t.Stats()
	stats.NotKept = f.notKept
	return stats, err
}

// write has what waits written now.
func (t *Texts) write() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flush()
}

// A filling is one walk.
type filling struct {
	*Texts
	ctx     context.Context // of Fill, which it does not outlive
	store   *Store
	sets    *Sets
	shown   Watches // with Diff
	inside  bool    // a container
	read    func(name string, sum [32]byte) ([]byte, error)
	notKept map[string]uint64
}

// forget forgets a text that is not that of a watched file as it is now.
func (f *filling) forget(p Path, sum [32]byte) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	e, err := f.store.Get(p)
	if err != nil {
		return err
	}
	if hasContent(e.Now) && e.Now.Sum == sum && f.sets.Match(f.inside, p.Name)&f.shown != 0 {
		return nil
	}
	return f.Forget(p)
}

// fill keeps the text of a file.
func (f *filling) fill(e *Entry) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	if !hasContent(e.Now) || e.Now.Size == 0 || f.sets.Match(f.inside, e.Path.Name)&f.shown == 0 || f.Has(e.Path, e.Now.Sum) {
		return nil
	}
	why := isUnkept(e.Path, e.Now)
	if why == "" && f.isFull() {
		why = TextFull
	}
	var content []byte
	if why == "" {
		var err error
		content, err = f.read(e.Path.Name, e.Now.Sum)
		switch {
		case f.ctx.Err() != nil:
			return f.ctx.Err()
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrChanged):
			why = TextChanged
		case err != nil:
			why = TextUnreadable
		}
	}
	if why != "" {
		f.notKept[why]++
		f.count(why)
		return nil
	}
	why, err := f.keep(e.Path, e.Now, content)
	if why != "" {
		f.notKept[why]++
	}
	return err
}

// rootsOf are the paths beneath a node below which all files of some sets are, none of them below another.
func rootsOf(n *node, at string, of Watches) (roots []string) {
	ends := n.marks[wholly] | n.marks[flatly]
	if (ends|n.below)&of == 0 {
		return nil
	}
	branches := ends&of != 0 || n.deep != nil && n.deep.leads(of)
	for i := range n.globs {
		branches = branches || n.globs[i].node.leads(of)
	}
	if branches {
		return []string{max(at, "/")}
	}
	for name, next := range n.plain {
		roots = append(roots, rootsOf(next, at+"/"+name, of)...)
	}
	return roots
}

// leads says whether patterns of some sets end at a node, or go on from there.
func (n *node) leads(of Watches) bool { return (n.marks[wholly]|n.marks[flatly]|n.below)&of != 0 }
