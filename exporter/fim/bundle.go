package fim

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A bundle is a baseline as a file: lines of JSON, one for each path in the order of a walk, between a header and an end that
// holds an Ed25519 signature. The same baseline with the same header and key is the same file. What is only so on one
// machine (device, inode, time of status change) is left out, so that a golden image's bundle fits all that are made of it.

// A BundleHeader says what a bundle is of.
type BundleHeader struct {
	Version int       `json:"yagura_fim_baseline"` // 1; Export sets it
	Created time.Time `json:"created"`
	Root    string    `json:"root"` // what the paths were beneath when they were looked at
	Host    string    `json:"host"` // or image
	Sets    string    `json:"sets,omitempty"`
}

const (
	bundleVersion = 1
	maxBundleLine = 4 << 20 // bytes

	// What is signed is this and the 32 bytes of the SHA-256 of all lines before the end, so that no signature made for
	// another purpose fits.
	bundlePurpose = "yagura fim baseline 1\n"
	bundleEnd     = `{"end":`
)

// ErrUntrusted is wrapped if a bundle's signature does not fit, or was made with a key that is not trusted.
var ErrUntrusted = errors.New("the bundle cannot be trusted")

type bundleLine struct {
	Path       octets            `json:"path"`
	Type       string            `json:"type"`
	Mode       string            `json:"mode"` // octal, with setuid, setgid and sticky
	UID        uint32            `json:"uid"`
	GID        uint32            `json:"gid"`
	Size       int64             `json:"size,omitempty"`
	Modified   int64             `json:"modified"` // ns since 1970
	Links      uint32            `json:"links,omitempty"`
	Target     octets            `json:"target,omitempty"`
	Attributes []bundleAttribute `json:"attributes,omitempty"`
	Flags      uint32            `json:"flags,omitempty"` // as FS_IOC_GETFLAGS has them
	SHA256     string            `json:"sha256,omitempty"`
	Unreadable string            `json:"unreadable,omitempty"`
}

type bundleAttribute struct {
	Name  octets `json:"name"`
	Value []byte `json:"value"`
}

type bundleEndLine struct {
	End       bool   `json:"end"`
	Files     uint64 `json:"files"`
	SHA256    string `json:"sha256"` // of all lines before
	Key       []byte `json:"key"`    // the public one
	Signature []byte `json:"signature"`
}

// octets are any bytes: a string in JSON if they are UTF-8, else {"base64": "…"}.
type octets string

// MarshalJSON writes a string, or an object.
func (o octets) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(o)) {
		return json.Marshal(string(o))
	}
	return json.Marshal(map[string][]byte{"base64": []byte(o)})
}

// UnmarshalJSON reads either.
func (o *octets) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(b, []byte("{")) {
		return json.Unmarshal(b, (*string)(o))
	}
	var encoded struct {
		Base64 []byte `json:"base64"`
	}
	if err := strictJSON(b, &encoded); err != nil {
		return err
	}
	*o = octets(encoded.Base64)
	return nil
}

var bundleTypes = map[string]fs.FileMode{"file": 0, "directory": fs.ModeDir, "link": fs.ModeSymlink, "fifo": fs.ModeNamedPipe, "socket": fs.ModeSocket,
	"block": fs.ModeDevice, "char": fs.ModeDevice | fs.ModeCharDevice, "irregular": fs.ModeIrregular}

func bundleLineOf(e *Entry) bundleLine {
	r := e.Base
	l := bundleLine{Path: octets(e.Path.Name), UID: r.UID, GID: r.GID, Modified: r.Modified, Target: octets(r.Target), Flags: r.Flags &^ Fresh, Unreadable: r.Unreadable}
	for name, mode := range bundleTypes {
		if mode == r.Mode.Type() {
			l.Type = name
		}
	}
	mode := uint64(r.Mode.Perm())
	for i, bit := range [...]fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if r.Mode&bit != 0 {
			mode |= 0o1000 << i
		}
	}
	l.Mode = fmt.Sprintf("%04o", mode)
	if r.Mode.IsRegular() {
		l.Size = r.Size
	}
	if !r.Mode.IsDir() {
		l.Links = r.Links
	}
	if r.Summed {
		l.SHA256 = hex.EncodeToString(r.Sum[:])
	}
	for name, value := range r.Attributes {
		l.Attributes = append(l.Attributes, bundleAttribute{octets(name), []byte(value)})
	}
	slices.SortFunc(l.Attributes, func(a, b bundleAttribute) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return l
}

func (l *bundleLine) record() (*Record, error) {
	r := &Record{UID: l.UID, GID: l.GID, Size: l.Size, Modified: l.Modified, Links: l.Links, Target: string(l.Target), Flags: l.Flags, Unreadable: l.Unreadable}
	kind, ok := bundleTypes[l.Type]
	if !ok {
		return nil, fmt.Errorf("type %q: want file, directory, link, fifo, socket, block, char or irregular", l.Type)
	}
	mode, err := strconv.ParseUint(l.Mode, 8, 16)
	if err != nil || mode > 0o7777 {
		return nil, fmt.Errorf("mode %q: want an octal number of at most 7777", l.Mode)
	}
	r.Mode = kind | fs.FileMode(mode&0o777)
	for i, bit := range [...]fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if mode&(0o1000<<i) != 0 {
			r.Mode |= bit
		}
	}
	if l.Size < 0 {
		return nil, fmt.Errorf("size %d: want 0 or more", l.Size)
	}
	if l.Flags&Fresh != 0 {
		return nil, fmt.Errorf("flags %#x: want those of FS_IOC_GETFLAGS", l.Flags)
	}
	if l.SHA256 != "" {
		sum, err := hex.DecodeString(l.SHA256)
		if err != nil || len(sum) != len(r.Sum) {
			return nil, fmt.Errorf("sha256 %q: want 64 hexadecimal digits", l.SHA256)
		}
		r.Sum, r.Summed = [32]byte(sum), true
	}
	for i, a := range l.Attributes {
		if i == 0 {
			r.Attributes = map[string]string{}
		} else if a.Name <= l.Attributes[i-1].Name {
			return nil, fmt.Errorf("attribute %q after %q: want them in order", a.Name, l.Attributes[i-1].Name)
		}
		r.Attributes[string(a.Name)] = string(a.Value)
	}
	return r, nil
}

// Export writes what should be of a container, or with "" of the host, and returns of how many paths. What has drifted is
// written as it should be.
func Export(ctx context.Context, w io.Writer, s *Store, container string, h BundleHeader, key ed25519.PrivateKey) (uint64, error) {
	meta, err := s.Meta(container)
	if err != nil {
		return 0, err
	}
	if meta.Completed.IsZero() {
		return 0, fmt.Errorf("export the baseline of %s: %w", whose(Path{Container: container}), ErrIncomplete)
	}
	h.Version = bundleVersion
	out := bufio.NewWriter(w)
	sum := sha256.New()
	if err := writeLine(io.MultiWriter(out, sum), h); err != nil {
		return 0, err
	}
	end := bundleEndLine{End: true, Key: key.Public().(ed25519.PublicKey)}
	err = s.Each(Path{container, "/"}, func(e *Entry) error {
		if e.Base == nil {
			return ctx.Err()
		}
		end.Files++
		if err := writeLine(io.MultiWriter(out, sum), bundleLineOf(e)); err != nil {
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return end.Files, err
	}
	digest := sum.Sum(nil)
	end.SHA256, end.Signature = hex.EncodeToString(digest), ed25519.Sign(key, append([]byte(bundlePurpose), digest...))
	if err := writeLine(out, end); err != nil {
		return end.Files, err
	}
	return end.Files, out.Flush()
}

func writeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// Import makes a bundle the baseline of a container, or with "" of the host, in place of what is known of it. The whole bundle
// is checked before anything is changed. Until it is all there, the baseline is incomplete: killed meanwhile, import again.
// Nothing is known of inodes yet, so that the next scan reads all content.
func Import(ctx context.Context, r io.ReadSeeker, s *Store, container string, trusted []ed25519.PublicKey) (BundleHeader, uint64, error) {
	h, _, err := ReadBundle(ctx, r, trusted, nil)
	if err != nil {
		return h, 0, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return h, 0, fmt.Errorf("read the bundle again: %w", err)
	}
	if err := s.Forget(container); err != nil {
		return h, 0, err
	}
	origin := fmt.Sprintf("%s of %s, exported %s", h.Root, h.Host, h.Created.Format(time.RFC3339))
	if err := s.SetMeta(container, func(m *Meta) { *m = Meta{Created: h.Created, Origin: origin, Sets: h.Sets} }); err != nil {
		return h, 0, err
	}
	var batch []Entry
	h, n, err := ReadBundle(ctx, r, trusted, func(path string, r *Record) error {
		if batch = append(batch, Entry{Path: Path{container, path}, Base: r, Now: r}); len(batch) < batchEntries {
			return nil
		}
		err := s.Put(batch)
		batch = batch[:0]
		return err
	})
	if err == nil {
		err = s.Put(batch)
	}
	if err == nil {
		err = s.SetMeta(container, func(m *Meta) { m.Completed = time.Now().UTC() })
	}
	return h, n, err
}

// ReadBundle reads a bundle and checks its signature, with one of the keys that are trusted. If each is not nil, it is called
// for every path, in order, before the signature can be known to fit: what it has done is only good if no error is returned.
func ReadBundle(ctx context.Context, r io.Reader, trusted []ed25519.PublicKey, each func(path string, r *Record) error) (BundleHeader, uint64, error) {
	b := bundleReader{in: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	files, err := b.read(ctx, trusted, each)
	if err != nil {
		return b.header, files, fmt.Errorf("read the bundle: line %d: %w", b.line, err)
	}
	return b.header, files, nil
}

type bundleReader struct {
	in     *bufio.Reader
	sum    hash.Hash
	line   int
	header BundleHeader
}

func (b *bundleReader) read(ctx context.Context, trusted []ed25519.PublicKey, each func(path string, r *Record) error) (files uint64, err error) {
	line, err := b.next()
	if err != nil {
		return 0, err
	}
	if err := strictJSON(line, &b.header); err != nil {
		return 0, fmt.Errorf("want the header of a baseline: %w", err)
	}
	if b.header.Version != bundleVersion {
		return 0, fmt.Errorf("version %d: want %d", b.header.Version, bundleVersion)
	}
	b.sum.Write(line)
	for last := []byte(nil); ; files++ {
		if err := ctx.Err(); err != nil {
			return files, err
		}
		line, err := b.next()
		if err != nil {
			return files, err
		}
		if bytes.HasPrefix(line, []byte(bundleEnd)) {
			return files, b.end(line, files, trusted)
		}
		b.sum.Write(line)
		var l bundleLine
		if err := strictJSON(line, &l); err != nil {
			return files, err
		}
		key, err := keyOf(Path{Name: string(l.Path)})
		if err != nil {
			return files, err
		}
		if bytes.Compare(key, last) <= 0 {
			return files, fmt.Errorf("%q after %q: want each path once, in the order of a walk", l.Path, nameOf(last))
		}
		last = key
		r, err := l.record()
		if err != nil {
			return files, fmt.Errorf("%q: %w", l.Path, err)
		}
		if each != nil {
			if err := each(string(l.Path), r); err != nil {
				return files, err
			}
		}
	}
}

// end checks the last line.
func (b *bundleReader) end(line []byte, files uint64, trusted []ed25519.PublicKey) error {
	var end bundleEndLine
	if err := strictJSON(line, &end); err != nil {
		return err
	}
	digest := b.sum.Sum(nil)
	switch {
	case end.Files != files:
		return fmt.Errorf("%w: it has %d paths: want %d", ErrUntrusted, files, end.Files)
	case end.SHA256 != hex.EncodeToString(digest):
		return fmt.Errorf("%w: its content has the SHA-256 %x: want %s", ErrUntrusted, digest, end.SHA256)
	case !slices.ContainsFunc(trusted, func(k ed25519.PublicKey) bool {
		return len(k) == ed25519.PublicKeySize && k.Equal(ed25519.PublicKey(end.Key))
	}):
		return fmt.Errorf("%w: it was signed with the key %s, which is none of the %d that are trusted", ErrUntrusted, base64.StdEncoding.EncodeToString(end.Key), len(trusted))
	case !ed25519.Verify(end.Key, append([]byte(bundlePurpose), digest...), end.Signature):
		return fmt.Errorf("%w: its signature does not fit", ErrUntrusted)
	}
	b.line++
	if _, err := b.in.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: something follows its end", ErrUntrusted)
	}
	return nil
}

// next returns a line with its newline, valid until the one after.
func (b *bundleReader) next() ([]byte, error) {
	b.line++
	line, err := b.in.ReadSlice('\n')
	if err == nil {
		return line, nil
	}
	for long := bytes.Clone(line); ; {
		if err == io.EOF {
			return nil, errors.New("it ends without a signature")
		}
		if err != bufio.ErrBufferFull {
			return nil, err
		}
		if len(long) > maxBundleLine {
			return nil, fmt.Errorf("more than %d bytes", maxBundleLine)
		}
		line, err = b.in.ReadSlice('\n')
		if long = append(long, line...); err == nil {
			return long, nil
		}
	}
}

// strictJSON decodes one value, all of whose fields must be known.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("want one value of JSON")
	}
	return nil
}

// ParsePrivateKey reads an Ed25519 key to sign with, as openssl genpkey -algorithm ed25519 writes it: PKCS #8 in PEM.
func ParsePrivateKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("want a PRIVATE KEY in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, ok := key.(ed25519.PrivateKey); ok {
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T: want one of Ed25519", key)
}

// ParsePublicKeys reads the keys that are trusted, as openssl pkey -pubout writes them, one after the other.
func ParsePublicKeys(text []byte) ([]ed25519.PublicKey, error) {
	var all []ed25519.PublicKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("a %s in PEM: want a PUBLIC KEY", block.Type)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("a key of type %T: want one of Ed25519", parsed)
		}
		all = append(all, key)
	}
	if len(all) == 0 {
		return nil, errors.New("want one or more PUBLIC KEYs in PEM")
	}
	return all, nil
}
