package requests

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Library is one that speaks TLS, as a process has it mapped.
type Library struct {
	Name   string // openssl (also BoringSSL, under that name), gnutls, nss
	Path   string // as the process sees it, below its own root
	Device string // major:minor, in hexadecimal digits
	Inode  uint64
}

// Found is what a process can speak TLS with, as far as its files tell.
type Found struct {
	Libraries []Library
	Go        string // version of Go that built the executable, empty if none did
	GoTLS     bool   // it holds crypto/tls
	SSL       bool   // its own symbols name SSL_write: OpenSSL or BoringSSL is linked into it
}

// Readable says whether there is something that probes can be attached to: OpenSSL or BoringSSL, or crypto/tls.
func (f *Found) Readable() bool {
	return f.GoTLS || f.SSL || slices.ContainsFunc(f.Libraries, func(l Library) bool { return l.Name == openSSL })
}

const openSSL = "openssl"

// Bounds of what is read of other people's files.
const (
	maxMaps      = 4 << 20  // bytes of /proc/PID/maps
	maxNames     = 64 << 20 // bytes of one table of names in an executable
	maxLibraries = 16
)

// Libraries says which TLS libraries a process has. It reads files that others have chosen, which may take as long as
// their file system likes: do not call it while somebody waits.
func Libraries(procfs string, pid int) (Found, error) {
	dir := filepath.Join(procfs, strconv.Itoa(pid))
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return Found{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMaps))
	if err != nil {
		return Found{}, fmt.Errorf("read maps of process %d: %w", pid, err)
	}
	found := Found{Libraries: parseMaps(string(text))}
	exe, err := os.Open(filepath.Join(dir, "exe"))
	if err != nil {
		return found, err
	}
	defer exe.Close()
	return found, found.readExecutable(exe)
}

// parseMaps finds the libraries among the mapped files that may be executed.
func parseMaps(text string) (all []Library) {
	for line := range strings.Lines(text) {
		path, rest := mappedFile(strings.TrimSuffix(line, "\n"))
		name := libraryName(filepath.Base(path))
		if name == "" || len(rest) < 5 || len(rest[1]) != 4 || rest[1][2] != 'x' {
			continue
		}
		inode, err := strconv.ParseUint(rest[4], 10, 64)
		l := Library{name, path, rest[3], inode}
		if err == nil && !slices.Contains(all, l) && len(all) < maxLibraries {
			all = append(all, l)
		}
	}
	return all
}

// mappedFile splits a line into its path, which may hold spaces, and the five fields before.
func mappedFile(line string) (path string, rest []string) {
	i := strings.IndexByte(line, '/')
	if i < 0 {
		return "", nil
	}
	return strings.TrimSuffix(line[i:], " (deleted)"), strings.Fields(line[:i])
}

// libraryName knows TLS libraries by the names of their files, also those that bundle them under a name of their own:
// libssl-1a2b3c.so.1.1 of Python wheels. NSS calls its own libssl3.so.
func libraryName(file string) string {
	name, _, isShared := strings.Cut(file, ".so")
	switch {
	case !isShared:
		return ""
	case name == "libssl3":
		return "nss"
	case name == "libssl", strings.HasPrefix(name, "libssl-"):
		return openSSL
	case name == "libgnutls", strings.HasPrefix(name, "libgnutls-"):
		return "gnutls"
	}
	return ""
}

// readExecutable looks into the file itself: what is linked into it has no file of its own. A file that is no ELF is
// none that a kernel runs.
func (f *Found) readExecutable(file io.ReaderAt) error {
	exe, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("read the executable: %w", err)
	}
	defer exe.Close()
	if info, err := buildinfo.Read(file); err == nil {
		f.Go = info.GoVersion
	}
	for _, s := range exe.Sections {
		if s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
			continue
		}
		switch {
		case s.Type == elf.SHT_STRTAB && (s.Name == ".dynstr" || s.Name == ".strtab"):
			f.SSL = f.SSL || holds(s, "SSL_write\x00")
		case f.Go != "" && strings.HasSuffix(s.Name, ".gopclntab"):
			f.GoTLS = f.GoTLS || holds(s, "crypto/tls.(*Conn).Write\x00")
		}
	}
	return nil
}

// holds looks for a text in a section, a piece at a time.
func holds(s *elf.Section, text string) bool {
	r := io.NewSectionReader(s, 0, int64(min(s.FileSize, maxNames)))
	piece, kept := make([]byte, 256<<10), 0
	for {
		n, err := io.ReadFull(r, piece[kept:])
		if bytes.Contains(piece[:kept+n], []byte(text)) {
			return true
		}
		if err != nil {
			return false
		}
		kept = copy(piece, piece[len(piece)-len(text)+1:])
	}
}
