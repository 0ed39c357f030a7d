package image

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
)

// Bounds of the files of an image that are read whole: registries take manifests of 4 MiB at most.
const (
	maxDocument  = 4 << 20
	maxDocuments = 64 << 20 // of all together
	maxFiles     = 100_000  // in an archive of an image
)

// A store is where the files of an image lie: its documents, and the blobs of its layers.
type store interface {
	// document returns a small file; fs.ErrNotExist if there is none.
	document(name string) ([]byte, error)
	// find returns the name of the file that a name leads to; fs.ErrNotExist if to none.
	find(name string) (string, error)
	// blobs calls read for each of the files that find has named, in an order of its own.
	blobs(names []string, read func(name string, r io.Reader) error) error
}

// A directoryStore is an OCI layout as it is on disk.
type directoryStore struct{ root *os.Root }

func (d directoryStore) document(name string) ([]byte, error) {
	f, err := openRegular(d.root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readDocument(name, f)
}

func (d directoryStore) find(name string) (string, error) {
	_, err := d.root.Stat(name)
	return name, err
}

func (d directoryStore) blobs(names []string, read func(string, io.Reader) error) error {
	for _, name := range names {
		f, err := openRegular(d.root, name)
		if err != nil {
			return err
		}
		err = read(name, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func readDocument(name string, r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxDocument:
		return nil, fmt.Errorf("%s: %w: %d bytes of a document", name, ErrTooMuch, maxDocument)
	}
	return text, nil
}

// An archive is an image in a tar file, compressed or not: an OCI layout, or what docker save writes.
type archive struct {
	reading   *reading
	open      func() (io.ReadCloser, error) // from its beginning, decompressed
	documents map[string][]byte
	total     int // bytes of documents
	sizes     map[string]int64
	links     map[string]string
	twice     map[string]bool
}

// imageNames are what images have in them, in a directory or an archive. In file systems something else comes soon.
var imageNames = regexp.MustCompile(`^(?:\.|blobs|oci-layout|index\.json|manifest\.json|repositories|(?:sha256:)?[0-9a-f]{64}(?:\.tar|\.tar\.gz|\.json)?)(?:/|$)`)

// errNoImage is of an archive that is a file system.
var errNoImage = errors.New("not an image")

// openArchive reads an archive once and keeps its documents; errNoImage if it is none of an image.
func openArchive(g *reading, open func() (io.ReadCloser, error)) (*archive, error) {
	a := &archive{reading: g, open: open, documents: map[string][]byte{}, sizes: map[string]int64{}, links: map[string]string{}, twice: map[string]bool{}}
	err := a.each(func(name string, h *tar.Header, r io.Reader) error {
		if !imageNames.MatchString(name) {
			if len(a.sizes) > 0 { // somebody has put something beside an image
				return nil
			}
			return errNoImage
		}
		if len(a.sizes)+len(a.links) >= maxFiles {
			return fmt.Errorf("%w: %d files in the archive of an image", ErrTooMuch, maxFiles)
		}
		return a.note(name, h, r)
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"index.json", "manifest.json"} {
		if _, err := a.find(name); !errors.Is(err, fs.ErrNotExist) {
			return a, nil
		}
	}
	return nil, errNoImage
}

// isImage says whether names at the top of a directory or an archive are those of an image: a list of what it is made of,
// and where that is.
func isImage(names []string) bool {
	has := func(name string) bool { return slices.Contains(names, name) }
	lists := has("index.json") && has("oci-layout") || has("index.json") && has("blobs") || has("manifest.json")
	return lists && slices.ContainsFunc(names, func(name string) bool {
		return name == "oci-layout" || name == "blobs" || len(name) >= sha256.Size*2 && imageNames.MatchString(name)
	})
}

func (a *archive) each(do func(name string, h *tar.Header, r io.Reader) error) error {
	f, err := a.open()
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if _, plain := f.(io.Seeker); !plain { // else what is not looked at is not read
		r = &counted{a.reading, f, &a.reading.unpacked}
	}
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return err
		}
		if err := do(path.Clean(h.Name), h, t); err != nil {
			return err
		}
	}
}

// note keeps what may be a document: they are JSON, and layers never look like it.
func (a *archive) note(name string, h *tar.Header, r io.Reader) error {
	if _, known := a.sizes[name]; known || a.links[name] != "" {
		a.twice[name] = true
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		a.links[name] = path.Join(path.Dir(name), h.Linkname)
		return nil
	case tar.TypeLink:
		a.links[name] = path.Clean(h.Linkname)
		return nil
	case tar.TypeReg:
	default:
		return nil
	}
	a.sizes[name] = h.Size
	if h.Size == 0 || h.Size > maxDocument {
		return nil
	}
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return err
	}
	if first[0] != '{' && first[0] != '[' {
		return nil
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	a.documents[name] = slices.Concat(first[:], rest)
	if a.total += len(a.documents[name]); a.total > maxDocuments {
		return fmt.Errorf("%w: %d bytes of documents in the archive of an image", ErrTooMuch, maxDocuments)
	}
	return nil
}

// find follows the links of an archive: docker save had one file for layers that are the same.
func (a *archive) find(name string) (string, error) {
	for range 8 {
		if a.twice[name] {
			return "", fmt.Errorf("%s: two files of that name: want one", name)
		}
		if _, ok := a.sizes[name]; ok {
			return name, nil
		}
		to, ok := a.links[name]
		if !ok {
			break
		}
		name = to
	}
	return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (a *archive) document(name string) ([]byte, error) {
	found, err := a.find(name)
	if err != nil {
		return nil, err
	}
	text, ok := a.documents[found]
	if !ok {
		return nil, fmt.Errorf("%s: want JSON of at most %d bytes", name, maxDocument)
	}
	return text, nil
}

// errRead ends a reading of an archive that has seen all it was for.
var errRead = errors.New("all is read")

func (a *archive) blobs(names []string, read func(string, io.Reader) error) error {
	left := len(names)
	err := a.each(func(name string, h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || !slices.Contains(names, name) {
			return nil
		}
		if err := read(name, r); err != nil {
			return err
		}
		if left--; left == 0 {
			return errRead
		}
		return nil
	})
	if err == errRead {
		return nil
	}
	return err
}
