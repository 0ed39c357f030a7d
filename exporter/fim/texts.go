package fim

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// MaxText is how many bytes a file may have for its text to be kept.
const MaxText = 64 << 10

// Why the text of a file is not kept.
const (
	TextLarge      = "large"      // more than MaxText bytes, or a path of more than 4 KiB
	TextBinary     = "binary"     // not UTF-8, or with NUL
	TextSecret     = "secret"     // a file of nothing but secrets, by its name
	TextFull       = "full"       // so many others are kept
	TextChanged    = "changed"    // not what the record says any more
	TextUnreadable = "unreadable" // it could not be read
)

// TextReasons are all of them.
var TextReasons = []string{TextLarge, TextBinary, TextSecret, TextFull, TextChanged, TextUnreadable}

// TextOptions say how texts are shown.
type TextOptions struct {
	// Redact takes secrets out of a line. It is also asked about a line with what follows it, and may be called by many at once.
	Redact func(text string) string
	Log    *slog.Logger // nil is silence
}

// TextStats are what is kept, and what is not.
type TextStats struct {
	Kept    int               // texts
	Bytes   int64             // of them, compressed
	NotKept map[string]uint64 // files, by one of TextReasons: a file that was refused twice counts twice
}

// Texts keeps the content of small files in a file of its own, readable by its owner only, so that people can be shown what has
// changed in them. It serves for nothing else, and is not authenticated: each text is held against the SHA-256 that a record
// has, and records come from a store that is. What is kept is what the files had, with the secrets in it; they are taken out
// of what is shown.
//
// What is kept is written a second later, or once much waits: a process that is killed loses that, and the next Fill makes up
// for it. A file of texts that is corrupt is set aside, and begun anew. Texts is safe for concurrent use.
type Texts struct {
	path     string
	redact   func(string) string
	log      *slog.Logger
	packer   *zstd.Encoder
	unpacker *zstd.Decoder
	begun    chan struct{} // something waits to be written
	stop     chan struct{}
	stopped  sync.WaitGroup

	mu           sync.Mutex // guards what follows
	db           *bbolt.DB  // nil once it is closed, or was corrupt too often
	why          error      // why it is nil
	file         *os.File
	replaced     int               // files that were set aside
	waiting      map[string][]byte // values to be written by key, nil of what is to be forgotten
	waitingBytes int
	kept         int // with what waits
	bytes        int64
	notKept      map[string]uint64
}

// Bounds of what is kept.
const (
	maxTexts        = 20_000
	maxTextBytes    = 64 << 20 // of values
	maxTextName     = 4 << 10  // bytes of a path
	maxTextsFile    = 1 << 30  // bytes of a file that is opened
	maxWaiting      = 500
	maxWaitingBytes = 2 << 20
	waitToWrite     = time.Second
	maxReplaced     = 3   // files of texts set aside, after which there is something wrong with the disk
	chunkTexts      = 512 // keys that are read at once
)

// A value is a version, the SHA-256 of a text, and the text in Zstandard.
const (
	textVersion = 1
	valueSum    = 1
	valueText   = valueSum + sha256.Size
)

var (
	textsBucket   = []byte("texts")
	emptySum      = sha256.Sum256(nil)
	errTexts      = errors.New("the texts are corrupt")
	errTextsShut  = errors.New("the texts are closed")
	errNoRedactor = errors.New("want a function that takes secrets out of what is shown")
)

// secretFiles are those of nothing but secrets, by their last names. A line of them does not look like one.
var secretFiles = []string{"shadow", "shadow-", "shadow.*", "gshadow", "gshadow-", "gshadow.*", "master.passwd", "opasswd", "opasswd.*",
	"*-secrets", "*.secrets", "*.key", "*.psk", "*.keytab", "*.htpasswd", ".netrc", ".pgpass", ".git-credentials", "token", ".vault-token"}

// OpenTexts opens a file of texts, or makes one. Errors are of what nothing can be done about here: a directory that cannot be
// written to, a full disk, or with ErrInUse another process.
func OpenTexts(path string, o TextOptions) (*Texts, error) {
	if o.Redact == nil {
		return nil, fmt.Errorf("open the texts %s: %w", path, errNoRedactor)
	}
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(2*MaxText), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxText), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	t := &Texts{path: path, redact: o.Redact, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), packer: packer, unpacker: unpacker,
		begun: make(chan struct{}, 1), stop: make(chan struct{}), waiting: map[string][]byte{}, notKept: map[string]uint64{}}
	err = t.open()
	if errors.Is(err, errTexts) {
		err = t.beginAnew(err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the texts %s: %w", path, err)
	}
	t.stopped.Go(t.writeWaiting)
	return t, nil
}

// Close writes what waits, and gives the file back.
func (t *Texts) Close() error {
	err := t.shut()
	t.stopped.Wait()
	return err
}

func (t *Texts) shut() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why == errTextsShut {
		return nil
	}
	err := t.flush()
	if t.db != nil {
		err = errors.Join(err, guardedTexts(t.db.Close))
	}
	t.db, t.why = nil, errTextsShut
	close(t.stop)
	return err
}

// Stats returns what is kept, and what has not been since the texts were opened.
func (t *Texts) Stats() TextStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TextStats{Kept: t.kept, Bytes: t.bytes, NotKept: maps.Clone(t.notKept)}
}

// Keep keeps the text of a regular file, in place of what was kept of it. What is no text, or not what the record says, is
// counted and not kept, which is no error; nor is what was kept before. Most calls write nothing to disk.
func (t *Texts) Keep(p Path, r *Record, content []byte) error {
	_, err := t.keep(p, r, content)
	return err
}

// Forget forgets the text of a file, if it is kept.
func (t *Texts) Forget(p Path) error { return t.Keep(p, nil, nil) }

// ForgetContainer forgets the texts of all files of a container, or with "" of the host.
func (t *Texts) ForgetContainer(container string) error {
	return t.each(container, func(p Path, _ [32]byte) error { return t.Forget(p) })
}

// Has says whether a file's text of that SHA-256 is kept.
func (t *Texts) Has(p Path, sum [32]byte) bool {
	if sum == emptySum {
		return true
	}
	value, err := t.value(p)
	return err == nil && len(value) > valueText && [32]byte(value[valueSum:]) == sum
}

// keep says why a text is not kept; it says nothing of what is no regular file.
func (t *Texts) keep(p Path, r *Record, content []byte) (why string, err error) {
	if err := checkName(p.Name); err != nil {
		return "", fmt.Errorf("keep the text of %s: %w", whose(p), err)
	}
	var value []byte
	if hasContent(r) && len(content)+int(r.Size) > 0 {
		if why = refusal(p, r, content); why == "" {
			value = t.pack(r.Sum, content)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	full, err := t.put(textKey(p), value)
	if full {
		why = TextFull
	}
	if why != "" {
		t.notKept[why]++
	}
	if err != nil {
		return why, fmt.Errorf("keep the text of %s: %w", whose(p), err)
	}
	return why, nil
}

// count counts a text that was not even read.
func (t *Texts) count(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notKept[why]++
}

// hasContent says whether a record is of a file whose content is known.
func hasContent(r *Record) bool { return r != nil && r.Mode.IsRegular() && r.Summed }

// refusal says why a text is not to be kept, if it is not.
func refusal(p Path, r *Record, content []byte) string {
	switch {
	case isUnkept(p, r) != "":
		return isUnkept(p, r)
	case len(content) > MaxText:
		return TextLarge
	case sha256.Sum256(content) != r.Sum:
		return TextChanged
	case !isText(content):
		return TextBinary
	}
	return ""
}

// isUnkept is a refusal before the content is read.
func isUnkept(p Path, r *Record) string {
	switch {
	case r.Size > MaxText || len(p.Name) > maxTextName || len(p.Container) > maxContainer:
		return TextLarge
	case isSecretFile(p.Name):
		return TextSecret
	}
	return ""
}

func isSecretFile(name string) bool {
	base := path.Base(name)
	return slices.ContainsFunc(secretFiles, func(pattern string) bool {
		ok, _ := path.Match(pattern, base)
		return ok
	})
}

func isText(content []byte) bool {
	return len(content) <= MaxText && utf8.Valid(content) && !slices.Contains(content, 0)
}

func (t *Texts) pack(sum [32]byte, content []byte) []byte {
	value := make([]byte, valueText, valueText+len(content)/2+64)
	value[0] = textVersion
	copy(value[valueSum:], sum[:])
	return t.packer.EncodeAll(content, value)
}

// text returns the kept text of that SHA-256.
func (t *Texts) text(p Path, sum [32]byte) (content []byte, ok bool) {
	if sum == emptySum {
		return nil, true
	}
	value, err := t.value(p)
	if err != nil || len(value) < valueText || value[0] != textVersion || [32]byte(value[valueSum:]) != sum {
		return nil, false
	}
	content, err = t.unpacker.DecodeAll(value[valueText:], nil)
	return content, err == nil && sha256.Sum256(content) == sum && isText(content)
}

// value returns a copy of what is kept of a file, nil if nothing is.
func (t *Texts) value(p Path) (value []byte, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = t.get(textKey(p), func(v []byte) { value = slices.Clone(v) })
	return value, err
}

// get hands out what is kept under a key, nil if nothing is; it is valid only meanwhile.
func (t *Texts) get(key string, read func(value []byte)) error {
	if value, ok := t.waiting[key]; ok {
		read(value)
		return nil
	}
	return t.ask(false, func(b *bbolt.Bucket) error {
		read(b.Get([]byte(key)))
		return nil
	})
}

// put has a value written soon, in place of what is there; nil forgets that. Beyond what may be kept it does so too.
func (t *Texts) put(key string, value []byte) (full bool, err error) {
	old, same := 0, false
	err = t.get(key, func(v []byte) {
		old, same = len(v), len(v) >= valueText && value != nil && string(v[:valueText]) == string(value[:valueText])
	})
	if err != nil || same {
		return false, err
	}
	kept, bytes := t.kept, t.bytes-int64(old)
	if old > 0 {
		kept--
	}
	if value != nil && (kept+1 > maxTexts || bytes+int64(len(value)) > maxTextBytes) {
		value, full = nil, true
	}
	if value == nil && old == 0 {
		return full, nil
	}
	if value != nil {
		kept++
	}
	t.kept, t.bytes = kept, bytes+int64(len(value))
	t.waiting[key] = value
	t.waitingBytes += len(key) + len(value)
	if len(t.waiting) >= maxWaiting || t.waitingBytes >= maxWaitingBytes {
		return full, t.flush()
	}
	select {
	case t.begun <- struct{}{}:
	default:
	}
	return full, nil
}

// isFull says whether there is no room for another text, however small.
func (t *Texts) isFull() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept >= maxTexts || t.bytes > maxTextBytes-valueText
}

// writeWaiting writes what has waited long enough, until the texts are closed.
func (t *Texts) writeWaiting() {
	for {
		select {
		case <-t.stop:
			return
		case <-t.begun:
		}
		select {
		case <-t.stop:
			return
		case <-time.After(waitToWrite):
		}
		t.mu.Lock()
		err := t.flush()
		t.mu.Unlock()
		if err != nil && !errors.Is(err, errTextsShut) {
			t.log.Warn("texts of files were not kept: what changes in them is not shown", "path", t.path, "err", err)
		}
	}
}

// flush writes what waits. What cannot be written is given up, for the next Fill.
func (t *Texts) flush() error {
	if len(t.waiting) == 0 {
		return nil
	}
	err := t.ask(true, func(b *bbolt.Bucket) error {
		for _, key := range slices.Sorted(maps.Keys(t.waiting)) {
			err := b.Delete([]byte(key))
			if value := t.waiting[key]; value != nil {
				err = b.Put([]byte(key), value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	clear(t.waiting)
	t.waitingBytes = 0
	if err != nil {
		return errors.Join(err, t.recount())
	}
	return nil
}

// each calls fn with the path and SHA-256 of each text of a container. The texts may be changed meanwhile.
func (t *Texts) each(container string, fn func(p Path, sum [32]byte) error) error {
	type found struct {
		key string
		sum [32]byte
	}
	prefix := textKey(Path{Container: container})
	for last, all := prefix, make([]found, chunkTexts); len(all) == chunkTexts; {
		all = all[:0]
		t.mu.Lock()
		err := cmp.Or(t.flush(), t.ask(false, func(b *bbolt.Bucket) error {
			all = all[:0]
			c := b.Cursor()
			for key, value := c.Seek([]byte(last)); strings.HasPrefix(string(key), prefix) && len(all) < chunkTexts; key, value = c.Next() {
				if string(key) != last && len(value) >= valueText {
					all = append(all, found{string(key), [32]byte(value[valueSum:])})
				}
			}
			return nil
		}))
		t.mu.Unlock()
		if err != nil {
			return err
		}
		for _, f := range all {
			if err := fn(Path{container, f.key[len(prefix):]}, f.sum); err != nil {
				return err
			}
			last = f.key
		}
	}
	return nil
}

// textKey is the key of a path: the length of its container's id, the id, and the name.
func textKey(p Path) string {
	key := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(p.Container)+len(p.Name)), uint16(min(len(p.Container), 1<<16-1)))
	return string(key) + p.Container + p.Name
}

// ask runs a transaction. If the texts turn out to be corrupt, it runs it again on new ones.
func (t *Texts) ask(write bool, do func(b *bbolt.Bucket) error) error {
	for t.db != nil {
		err := t.transact(write, do)
		if !errors.Is(err, errTexts) {
			return err
		}
		if err := t.beginAnew(err); err != nil {
			return err
		}
	}
	return t.why
}

func (t *Texts) transact(write bool, do func(b *bbolt.Bucket) error) error {
	if err := checkTexts(t.file.Stat()); err != nil {
		return err
	}
	run := t.db.View
	if write {
		run = t.db.Update
	}
	return guardedTexts(func() error {
		return run(func(tx *bbolt.Tx) error {
			b := tx.Bucket(textsBucket)
			if b == nil {
				return fmt.Errorf("%w: it has none", errTexts)
			}
			return do(b)
		})
	})
}

// checkTexts notices what is no file of ours, before a read of what is missing from it can fault.
func checkTexts(fi fs.FileInfo, err error) error {
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%w: want a regular file, not %v", errTexts, fi.Mode().Type())
	case fi.Size() > 0 && fi.Size() < int64(4*os.Getpagesize()), fi.Size() > maxTextsFile:
		return fmt.Errorf("%w: the file has %d bytes", errTexts, fi.Size())
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Nlink == 0 {
		return fmt.Errorf("%w: the file was removed while it was in use", errTexts)
	}
	return nil
}

// open opens the file, and counts what is in it.
func (t *Texts) open() error {
	if err := checkTexts(os.Lstat(t.path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	options := bbolt.Options{Timeout: inUseTimeout, NoStatistics: true, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(path string, flags int, mode os.FileMode) (file *os.File, err error) {
			t.file, err = os.OpenFile(path, flags|unix.O_NOFOLLOW, mode)
			return t.file, err
		}}
	err := guardedTexts(func() (err error) {
		t.db, err = bbolt.Open(t.path, 0o600, &options)
		if err != nil {
			return err
		}
		if err := t.file.Chmod(0o600); err != nil {
			return err
		}
		return t.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(textsBucket)
			return err
		})
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		err = ErrInUse
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrIncompatibleValue):
		err = fmt.Errorf("%w: %w", errTexts, err)
	case err == nil:
		err = t.recountOnce()
	}
	if err != nil {
		t.abandon(err)
	}
	return err
}

// recount counts what there is, with what waits.
func (t *Texts) recount() error {
	if t.db == nil {
		t.kept, t.bytes = 0, 0
		return t.why
	}
	err := t.recountOnce()
	if errors.Is(err, errTexts) {
		return t.beginAnew(err)
	}
	return err
}

func (t *Texts) recountOnce() error {
	return t.transact(false, func(b *bbolt.Bucket) error {
		t.kept, t.bytes = 0, 0
		for _, value := range t.waiting {
			if value != nil {
				t.kept, t.bytes = t.kept+1, t.bytes+int64(len(value))
			}
		}
		c := b.Cursor()
		for key, value := c.First(); key != nil; key, value = c.Next() {
			if _, ok := t.waiting[string(key)]; ok {
				continue
			}
			t.kept, t.bytes = t.kept+1, t.bytes+int64(len(value))
			if len(value) < valueText || t.kept > maxTexts+maxWaiting || t.bytes > maxTextBytes+maxWaitingBytes {
				return fmt.Errorf("%w: %d texts of %d bytes", errTexts, t.kept, t.bytes)
			}
		}
		return nil
	})
}

// beginAnew sets the file aside, in place of one that was set aside before.
func (t *Texts) beginAnew(cause error) error {
	t.abandon(cause)
	if t.replaced++; t.replaced > maxReplaced {
		return cause
	}
	aside := t.path + ".corrupt-"
	others, _ := os.ReadDir(filepath.Dir(t.path))
	for _, other := range others {
		if strings.HasPrefix(other.Name(), filepath.Base(aside)) {
			os.Remove(filepath.Join(filepath.Dir(t.path), other.Name())) // if it fails there is one more
		}
	}
	aside += time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Rename(t.path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.why = err
		return err
	}
	t.log.Warn("the texts of files were set aside, and are collected anew: what has changed in them is not shown meanwhile",
		"path", t.path, "aside", aside, "err", cause)
	t.why = nil
	return t.open()
}

// abandon gives the lock of a file back that can be used no more. After a panic, locks within db may be held for ever, so that it
// stays as it is; maxReplaced bounds how often.
func (t *Texts) abandon(cause error) {
	t.db, t.why, t.kept, t.bytes = nil, cause, 0, 0
	if t.file != nil {
		unix.Flock(int(t.file.Fd()), unix.LOCK_UN) // which closing does not do, as long as the file is mapped
		t.file.Close()
	}
}

// guardedTexts makes errors of the panics and faults of bbolt.
func guardedTexts(do func() error) error {
	fault, err := caught(do)
	if fault != nil {
		return fmt.Errorf("%w: %v", errTexts, fault)
	}
	return err
}
