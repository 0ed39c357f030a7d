package fim

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
)

// rpm keeps a header for each package: docs/manual/format_header.md and hregions.md of rpm, without the magic that a package
// file has in front. Where the headers lie is the business of packages_rpmdb.go.
const (
	maxRPMHeader  = 64 << 20 // bytes; that of linux-firmware has 1 MiB
	maxRPMEntries = 65_535
)

// Tags of headers: include/rpm/rpmtag.h.
const (
	rpmTagName         = 1000
	rpmTagVersion      = 1001
	rpmTagRelease      = 1002
	rpmTagEpoch        = 1003
	rpmTagInstalled    = 1008 // s since 1970
	rpmTagArch         = 1022
	rpmTagOldNames     = 1027 // before rpm 4
	rpmTagModes        = 1030
	rpmTagDigests      = 1035
	rpmTagLinks        = 1036
	rpmTagFlags        = 1037
	rpmTagUsers        = 1039
	rpmTagGroups       = 1040
	rpmTagVerify       = 1045
	rpmTagStates       = 1029
	rpmTagDirectory    = 1116 // of each file, which of rpmTagDirectories
	rpmTagBasenames    = 1117
	rpmTagDirectories  = 1118
	rpmTagTransaction  = 1128 // s since 1970, when the transaction began
	rpmTagDigestMethod = 5011
)

var rpmTags = map[uint32]bool{rpmTagName: true, rpmTagVersion: true, rpmTagRelease: true, rpmTagEpoch: true, rpmTagInstalled: true, rpmTagArch: true,
	rpmTagOldNames: true, rpmTagModes: true, rpmTagDigests: true, rpmTagLinks: true, rpmTagFlags: true, rpmTagUsers: true, rpmTagGroups: true, rpmTagVerify: true,
	rpmTagStates: true, rpmTagDirectory: true, rpmTagBasenames: true, rpmTagDirectories: true, rpmTagTransaction: true, rpmTagDigestMethod: true}

// Types of headers' values, and what one takes in bytes; strings end with NUL.
var rpmTypeSizes = [...]int{0: 0, 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 1, 9: 1}

const (
	rpmTypeChar        = 1
	rpmTypeInt8        = 2
	rpmTypeInt16       = 3
	rpmTypeInt32       = 4
	rpmTypeString      = 6
	rpmTypeStringArray = 8
	rpmTypeI18NString  = 9
)

// Flags of files, of what rpm is to verify of them, and states of files: include/rpm/rpmfiles.h, rpmvf.h.
const (
	rpmConfig      = 1 << 0
	rpmMissingOK   = 1 << 3
	rpmGhost       = 1 << 6
	rpmVerifySum   = 1 << 0
	rpmVerifyLink  = 1 << 2
	rpmVerifyUser  = 1 << 3
	rpmVerifyGroup = 1 << 4
	rpmVerifyMode  = 1 << 6
	rpmReplaced    = 1
)

// rpmAlgorithms are numbered as OpenPGP does (RFC 9580, 9.5); no number at all is MD5.
var rpmAlgorithms = map[uint32]crypto.Hash{0: crypto.MD5, 1: crypto.MD5, 2: crypto.SHA1, 8: crypto.SHA256, 9: crypto.SHA384,
	10: crypto.SHA512, 11: crypto.SHA224, 12: crypto.SHA3_256, 14: crypto.SHA3_512}

// An rpmHeader is one package's. Values are slices of what it was parsed from.
type rpmHeader map[uint32]rpmValue

type rpmValue struct {
	kind, count uint32
	data        []byte // from the value's beginning on
}

var errRPMHeaderShort = errors.New("rpm header ends too early")

// parseRPMHeader reads the index and checks that each value lies within the data. A tag that comes twice has been changed when
// the package was installed: the last one counts.
func parseRPMHeader(b []byte) (rpmHeader, error) {
	if len(b) < 8 {
		return nil, errRPMHeaderShort
	}
	entries, size := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if entries > maxRPMEntries || int64(size) > maxRPMHeader {
		return nil, fmt.Errorf("rpm header has %d entries and %d bytes, more than %d and %d", entries, size, maxRPMEntries, maxRPMHeader)
	}
	if index := 8 + 16*int(entries); len(b) < index+int(size) {
		return nil, errRPMHeaderShort
	}
	h, index, data := rpmHeader{}, b[8:8+16*entries], b[8+16*int(entries):][:size]
	for ; len(index) > 0; index = index[16:] {
		tag, kind := binary.BigEndian.Uint32(index), binary.BigEndian.Uint32(index[4:])
		offset, count := int32(binary.BigEndian.Uint32(index[8:])), binary.BigEndian.Uint32(index[12:])
		if !rpmTags[tag] {
			continue
		}
		if kind >= uint32(len(rpmTypeSizes)) || offset < 0 || int(offset) > len(data) {
			return nil, fmt.Errorf("rpm header: tag %d has type %d at %d of %d", tag, kind, offset, len(data))
		}
		if int64(count)*int64(rpmTypeSizes[kind]) > int64(len(data)-int(offset)) {
			return nil, fmt.Errorf("rpm header: tag %d has %d values, which do not fit at %d of %d", tag, count, offset, len(data))
		}
		h[tag] = rpmValue{kind, count, data[offset:]}
	}
	return h, nil
}

func (h rpmHeader) text(tag uint32) string {
	v := h[tag]
	if v.count == 0 || v.kind != rpmTypeString && v.kind != rpmTypeStringArray && v.kind != rpmTypeI18NString {
		return ""
	}
	s, _, _ := bytes.Cut(v.data, []byte{0})
	return string(s)
}

func (h rpmHeader) number(tag uint32) (uint32, bool) {
	n := h.numbers(tag)
	if n.len() == 0 {
		return 0, false
	}
	return n.at(0), true
}

// texts returns the strings of an array, which must all be there.
func (h rpmHeader) texts(tag uint32) ([][]byte, error) {
	v := h[tag]
	if v.count == 0 || v.kind != rpmTypeStringArray {
		return nil, nil
	}
	all, rest := make([][]byte, v.count), v.data
	for i := range all {
		var ok bool
		if all[i], rest, ok = bytes.Cut(rest, []byte{0}); !ok {
			return nil, fmt.Errorf("rpm header: tag %d has %d strings, want %d", tag, i, v.count)
		}
	}
	return all, nil
}

// rpmNumbers are the values of a tag, of whatever width.
type rpmNumbers struct {
	width int
	data  []byte
}

func (h rpmHeader) numbers(tag uint32) rpmNumbers {
	v := h[tag]
	switch v.kind {
	case rpmTypeChar, rpmTypeInt8, rpmTypeInt16, rpmTypeInt32:
		width := rpmTypeSizes[v.kind]
		return rpmNumbers{width, v.data[:width*int(v.count)]}
	}
	return rpmNumbers{1, nil}
}

func (n rpmNumbers) len() int { return len(n.data) / max(n.width, 1) }

// at is 0 beyond the end.
func (n rpmNumbers) at(i int) uint32 {
	if i >= n.len() {
		return 0
	}
	switch b := n.data[i*n.width:]; n.width {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.BigEndian.Uint16(b))
	default:
		return binary.BigEndian.Uint32(b)
	}
}

func (h rpmHeader) pkg() packageEntry {
	version := h.text(rpmTagVersion) + "-" + h.text(rpmTagRelease)
	if epoch, ok := h.number(rpmTagEpoch); ok {
		version = strconv.FormatUint(uint64(epoch), 10) + ":" + version
	}
	installed, _ := h.number(rpmTagInstalled)
	run, _ := h.number(rpmTagTransaction)
	return packageEntry{Package: Package{Manager: "rpm", Name: h.text(rpmTagName), Version: version, Arch: h.text(rpmTagArch)},
		changed: int64(installed), run: int64(run)}
}

// eachPath calls do with the path of each file, which is valid until do returns.
func (h rpmHeader) eachPath(do func(i int, name []byte) error) error {
	if old, err := h.texts(rpmTagOldNames); err != nil || len(old) > 0 {
		for i, name := range old {
			if err == nil {
				err = do(i, name)
			}
		}
		return err
	}
	bases, err := h.texts(rpmTagBasenames)
	directories, err2 := h.texts(rpmTagDirectories)
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	which := h.numbers(rpmTagDirectory)
	if which.len() != len(bases) {
		return fmt.Errorf("rpm header: %d names of files, in %d directories", len(bases), which.len())
	}
	var name []byte
	for i, base := range bases {
		dir := which.at(i)
		if int64(dir) >= int64(len(directories)) {
			return fmt.Errorf("rpm header: file %d is in directory %d of %d", i, dir, len(directories))
		}
		if len(directories[dir])+len(base) > maxPackagePath {
			return fmt.Errorf("rpm header: file %d has a path of %d bytes, want at most %d", i, len(directories[dir])+len(base), maxPackagePath)
		}
		name = append(append(name[:0], directories[dir]...), base...)
		if err := do(i, name); err != nil {
			return err
		}
	}
	return nil
}

// loadRPM reads again if somebody has written meanwhile, a few times.
func loadRPM(l *packageLoader) (err error) {
	for range 3 {
		l.db.packages, l.db.files, l.db.problems, l.db.unsaid = nil, l.db.files[:0], nil, 0
		if err = loadRPMHeaders(l); !errors.Is(err, errPackageMoved) {
			break
		}
	}
	return err
}

func loadRPMHeaders(l *packageLoader) error {
	store, err := openRPM(l)
	if err != nil || store == nil {
		return err
	}
	defer store.Close()
	total := int64(0)
	return store.each(func(where uint64, blob []byte) error {
		if total += int64(len(blob)); total > maxRPMDatabase {
			return fmt.Errorf("%s: headers of more than %d bytes, %d packages; they overlap", l.db.path, maxRPMDatabase, len(l.db.packages))
		}
		h, err := parseRPMHeader(blob)
		if err != nil {
			l.problem(fmt.Errorf("%s: package at %d: %w", l.db.path, where, err))
			return nil
		}
		entry := h.pkg()
		entry.where = where
		if entry.Name == "" {
			l.problem(fmt.Errorf("%s: package at %d: it has no name", l.db.path, where))
			return nil
		}
		pkg, err := l.addPackage(entry)
		if err != nil {
			return err
		}
		err = h.eachPath(func(i int, name []byte) error { return l.add(name, pkg, uint32(i)) })
		if err != nil && len(l.db.files) < maxPackagePaths {
			l.problem(fmt.Errorf("%s: package %s: %w", l.db.path, entry.Name, err))
			return nil
		}
		return err
	})
}

// rpmContents are one package's files.
type rpmContents struct {
	bytes                              int
	algorithm                          crypto.Hash
	digests, links, users, groups      [][]byte
	modes, flags, verify, states, dirs rpmNumbers
	verifies                           bool
}

func rpmDetails(l *packageLoader, entry *packageEntry) (packageDetails, error) {
	store, err := openRPM(l)
	if err != nil {
		return nil, err
	}
	if store == nil {
		return nil, errPackageMoved
	}
	defer store.Close()
	blob, err := store.blob(entry.where)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPackageMoved, err)
	}
	h, err := parseRPMHeader(blob)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errPackageMoved, l.db.path, err)
	}
	if now := h.pkg(); now.Package != entry.Package || now.changed != entry.changed {
		return nil, errPackageMoved
	}
	return h.contents(len(blob))
}

func (h rpmHeader) contents(size int) (*rpmContents, error) {
	c := &rpmContents{bytes: size, modes: h.numbers(rpmTagModes), flags: h.numbers(rpmTagFlags), verify: h.numbers(rpmTagVerify),
		states: h.numbers(rpmTagStates)}
	_, c.verifies = h[rpmTagVerify]
	method, _ := h.number(rpmTagDigestMethod)
	c.algorithm = rpmAlgorithms[method]
	var errs [4]error
	c.digests, errs[0] = h.texts(rpmTagDigests)
	c.links, errs[1] = h.texts(rpmTagLinks)
	c.users, errs[2] = h.texts(rpmTagUsers)
	c.groups, errs[3] = h.texts(rpmTagGroups)
	c.bytes += 24 * (len(c.digests) + len(c.links) + len(c.users) + len(c.groups))
	return c, errors.Join(errs[:]...)
}

func (c *rpmContents) size() int { return c.bytes }

func (c *rpmContents) expect(file packageFile) (e expectation) {
	i := int(file.file)
	flags, state := c.flags.at(i), int8(c.states.at(i))
	e.config, e.ghost = flags&rpmConfig != 0, flags&rpmGhost != 0
	e.superseded = state == rpmReplaced
	e.absent = state != 0 && !e.superseded || flags&rpmMissingOK != 0 // documentation left out, of another architecture
	verify := uint32(math.MaxUint32)
	if c.verifies {
		verify = c.verify.at(i)
	}
	if mode := c.modes.at(i); mode != 0 {
		e.mode, e.hasMode = unixMode(mode), verify&rpmVerifyMode != 0 && !e.ghost
		e.kind, e.hasKind = e.mode.Type(), !e.ghost
	}
	if verify&rpmVerifyUser != 0 && !e.ghost {
		e.user = string(rpmTextAt(c.users, i))
	}
	if verify&rpmVerifyGroup != 0 && !e.ghost {
		e.group = string(rpmTextAt(c.groups, i))
	}
	switch {
	case e.ghost:
		e.why = "the package only names the file"
	case e.kind == fs.ModeSymlink:
		e.target, e.hasTarget = string(rpmTextAt(c.links, i)), verify&rpmVerifyLink != 0
	case verify&rpmVerifySum == 0:
		e.why = "the package says that the content need not be verified"
	case e.kind == 0:
		e.digest(c.algorithm, rpmTextAt(c.digests, i))
	}
	return e
}

func (e *expectation) digest(algorithm crypto.Hash, text []byte) {
	sum := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(sum, text); err != nil || algorithm == 0 || len(sum) != algorithm.Size() {
		e.why = cmp.Or(e.why, fmt.Sprintf("the database's sum is none that is known: %.16q", text))
		return
	}
	e.algorithm, e.sum = algorithm, sum
}

func rpmTextAt(all [][]byte, i int) []byte {
	if i >= len(all) {
		return nil
	}
	return all[i]
}

// rpmPlaces are where distributions have the database; the first that is there counts.
var rpmPlaces = [...]string{"usr/lib/sysimage/rpm", "var/lib/rpm"}

// An rpmFormat is one of the ways in which rpm keeps headers.
type rpmFormat struct {
	file string
	open func(r packageRoot, name string) (rpmStore, error)
}

var rpmFormats = [...]rpmFormat{{"rpmdb.sqlite", openSQLite}, {"Packages.db", openNDB}, {"Packages", openBDB}}

var rpmFiles = func() (all []string) {
	for _, place := range rpmPlaces {
		for _, f := range rpmFormats {
			all = append(all, place+"/"+f.file)
		}
		all = append(all, place+"/rpmdb.sqlite-wal")
	}
	return all
}()

// An rpmStore is an open database of headers. A header is only valid until the next one is asked for.
type rpmStore interface {
	each(do func(where uint64, blob []byte) error) error
	blob(where uint64) ([]byte, error)
	Close() error
}

// openRPM opens the database that is there; none is no error.
func openRPM(l *packageLoader) (rpmStore, error) {
	for _, place := range rpmPlaces {
		for _, format := range rpmFormats {
			store, err := format.open(l.root, place+"/"+format.file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if l.db.path == "" {
				l.db.path = "/" + place + "/" + format.file
			}
			return store, err
		}
	}
	return nil, nil
}
