package fim

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// apk's database is a text (apk-tools, doc/apk-v2.5.scd and src/database.c): a paragraph for each package of lines with a
// letter and a colon. P is the name, V the version, A the architecture, f flags; F opens a directory, M is its owner and
// mode; R is a file in it, a its owner and mode, and Z the sum of its content or, of a link, of where it leads.
var apkFiles = []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"}

// An apkFile is what a paragraph says of one directory or file.
type apkFile struct {
	name      string // without the first slash
	dir       bool
	algorithm crypto.Hash
	sum       []byte
	uid, gid  uint32
	mode      fs.FileMode
}

// An apkParser takes the lines of paragraphs.
type apkParser struct {
	pkg       Package
	directory string
	truncated bool // sums are the first 160 bits of a SHA-256, as apk 3 has them
	file      *apkFile
	count     uint32 // of directories and files, with the current one
}

// line returns true once a directory or file has begun: p.file is it, until the next one begins.
func (p *apkParser) line(line []byte) (begun bool, err error) {
	if len(line) < 2 || line[1] != ':' {
		return false, fmt.Errorf("want a letter and a colon, got %.80q", line)
	}
	value := line[2:]
	switch line[0] {
	case 'P':
		p.pkg.Name = string(value)
	case 'V':
		p.pkg.Version = string(value)
	case 'A':
		p.pkg.Arch = string(value)
	case 'f':
		p.truncated = bytes.ContainsRune(value, 'S')
	case 'F':
		p.directory = string(value)
		p.begin(apkFile{name: p.directory, dir: true, mode: 0o755})
		return true, nil
	case 'R':
		p.begin(apkFile{name: strings.TrimPrefix(p.directory+"/"+string(value), "/"), mode: 0o644})
		return true, nil
	case 'M', 'a':
		if p.file == nil || p.file.dir != (line[0] == 'M') {
			return false, fmt.Errorf("want %c after its file or directory", line[0])
		}
		return false, p.file.access(string(value))
	case 'Z':
		if p.file == nil || p.file.dir {
			return false, errors.New("want Z after its file")
		}
		return false, p.file.checksum(value, p.truncated)
	}
	return false, nil
}

func (p *apkParser) begin(f apkFile) {
	p.file = &f
	p.count++
}

// access reads "UID:GID:MODE", or that and the sum of extended attributes.
func (f *apkFile) access(value string) error {
	fields := strings.Split(value, ":")
	if len(fields) < 3 {
		return fmt.Errorf("want UID:GID:MODE, got %.40q", value)
	}
	uid, err := strconv.ParseUint(fields[0], 10, 32)
	gid, err2 := strconv.ParseUint(fields[1], 10, 32)
	mode, err3 := strconv.ParseUint(fields[2], 8, 16)
	f.uid, f.gid, f.mode = uint32(uid), uint32(gid), unixMode(uint32(mode))
	return errors.Join(err, err2, err3)
}

// checksum reads "Q1" and base64, "X1" and hexadecimal, or the bare hexadecimal MD5 of apk 1, which nothing is compared with.
func (f *apkFile) checksum(value []byte, truncated bool) (err error) {
	f.algorithm = crypto.SHA1
	if truncated {
		f.algorithm = crypto.SHA256
	}
	switch {
	case bytes.HasPrefix(value, []byte("Q1")):
		f.sum, err = base64.StdEncoding.AppendDecode(nil, value[2:])
	case bytes.HasPrefix(value, []byte("X1")):
		f.sum, err = hex.AppendDecode(nil, value[2:])
	default:
		f.algorithm = 0
		return nil
	}
	if err == nil && len(f.sum) != 20 {
		err = errors.New("wrong length")
	}
	if err != nil {
		return fmt.Errorf("want a sum of 20 bytes, got %.80q: %w", value, err)
	}
	return nil
}

func loadAPK(l *packageLoader) error {
	for i, name := range apkFiles {
		if state := l.root.state(name); state == (fileState{}) || i > 0 && state == l.root.state(apkFiles[0]) {
			continue
		}
		if l.db.path == "" {
			l.db.path = "/" + name
		}
		if err := l.apkInstalled(name, uint8(i)); err != nil {
			return err
		}
	}
	return nil
}

// apkInstalled adds the packages of one database. A package's place is where its paragraph begins.
func (l *packageLoader) apkInstalled(name string, source uint8) error {
	var p apkParser
	var pkg uint32
	begin, at, known := int64(0), int64(0), false
	know := func() (err error) {
		if !known && p.pkg.Name != "" {
			pkg, err = l.addPackage(packageEntry{Package: p.pkg, where: uint64(begin), source: source})
			known = true
		}
		return err
	}
	err := l.root.lines(name, func(line []byte) error {
		at += int64(len(line)) + 1
		if len(line) == 0 {
			err := know()
			p, begin, known = apkParser{}, at, false
			return err
		}
		begun, err := p.line(line)
		if err != nil || !begun {
			return err
		}
		if err := know(); err != nil {
			return err
		}
		if !known {
			return errors.New("want P before the first F")
		}
		if p.file.name == "" {
			return nil // the root
		}
		return l.add([]byte(p.file.name), pkg, p.count-1)
	})
	return cmp.Or(err, know())
}

// apkContents are one package's directories and files, in their order.
type apkContents []apkFile

var errParagraphEnds = errors.New("the paragraph ends")

func apkDetails(l *packageLoader, entry *packageEntry) (packageDetails, error) {
	name := apkFiles[entry.source]
	f, err := l.root.open(name, maxPackageText)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var p apkParser
	var all apkContents
	from := io.NewSectionReader(f, int64(entry.where), maxPackageText)
	err = eachLine(from, "/"+name, func(line []byte) error {
		if len(line) == 0 {
			return errParagraphEnds
		}
		begun, err := p.line(line)
		if begun {
			all = append(all, apkFile{})
		}
		if len(all) > maxPackageFiles {
			return fmt.Errorf("more than %d files of one package", maxPackageFiles)
		}
		if p.file != nil {
			all[len(all)-1] = *p.file
		}
		return err
	})
	p.pkg.Manager = "apk"
	if err != nil && !errors.Is(err, errParagraphEnds) || p.pkg != entry.Package {
		return nil, errors.Join(errPackageMoved, err)
	}
	return slices.Clip(all), nil
}

func (c apkContents) size() int { return 160 * len(c) }

// expect says that what lies below /etc may be changed: the default of apk's protected paths, from which it excepts what is
// below etc/apk and, but for links, etc/init.d.
func (c apkContents) expect(file packageFile) expectation {
	if int(file.file) >= len(c) {
		return expectation{why: errPackageMoved.Error()}
	}
	f := &c[file.file]
	e := expectation{algorithm: f.algorithm, sum: f.sum, targetSum: true, mode: f.mode, hasMode: true,
		user: strconv.FormatUint(uint64(f.uid), 10), group: strconv.FormatUint(uint64(f.gid), 10)}
	if f.dir {
		e.kind, e.hasKind = fs.ModeDir, true
		return e
	}
	e.config = strings.HasPrefix(f.name, "etc/") && !strings.HasPrefix(f.name, "etc/apk/") && !strings.HasPrefix(f.name, "etc/init.d/")
	return e
}
