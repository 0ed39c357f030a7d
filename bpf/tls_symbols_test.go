package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// goProgram is the smallest that has crypto/tls linked in.
const goProgram = `package main

import ("crypto/tls"; "os")

func main() {
	c, err := tls.Dial("tcp", os.Args[1], nil)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	c.Write([]byte("hello"))
	tls.Server(c, nil).Read(make([]byte, 10))
}
`

// buildGo builds a program with the flags and environment of the test.
func buildGo(t testing.TB, source string, env []string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command: builds a program to look into")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), filepath.Join(dir, "main.go"))...)
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	return out
}

type instruction struct {
	at   uint64
	text string
}

// disassembled returns a function's instructions, as the Go tools see them.
func disassembled(t testing.TB, file, function string) []instruction {
	t.Helper()
	out, err := exec.Command("go", "tool", "objdump", "-s", "^"+regexp.QuoteMeta(function)+"$", file).CombinedOutput()
	if err != nil {
		t.Fatalf("disassemble: %v\n%s", err, out)
	}
	var all []instruction
	line := regexp.MustCompile(`^\s+\S+:\d+\s+0x([0-9a-f]+)\s+[0-9a-f]+\s+(.*?)\s*$`)
	for text := range strings.Lines(string(out)) {
		if m := line.FindStringSubmatch(text); m != nil {
			at, err := strconv.ParseUint(m[1], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, instruction{at, m[2]})
		}
	}
	return all
}

func openForPlaces(t testing.TB, path string) (*os.File, *elf.File) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	f, err := elf.NewFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, f
}

// TestGoPlacesAreWhereTheDisassemblerSees compares with another reading of the same program: every return, and the first
// instruction behind the check of the stack.
func TestGoPlacesAreWhereTheDisassemblerSees(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		env   []string
		flags []string
	}{
		{"amd64", []string{"GOARCH=amd64", "CGO_ENABLED=0"}, nil},
		{"amd64 position-independent", []string{"GOARCH=amd64", "CGO_ENABLED=0"}, []string{"-buildmode=pie"}},
		{"arm64", []string{"GOARCH=arm64", "CGO_ENABLED=0"}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := buildGo(t, goProgram, c.env, c.flags...)
			file, f := openForPlaces(t, path)
			places, err := goPlaces(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []place
			for _, fn := range goFunctions {
				entry, returns := entryAndReturns(t, f, disassembled(t, path, fn.name))
				if fn.entry != "" {
					want = append(want, place{fn.entry, entry, false})
					continue
				}
				if len(returns) < 2 {
					t.Fatalf("%s returns at %#x, want more than one", fn.name, returns)
				}
				for _, at := range returns {
					want = append(want, place{fn.returns, at, false})
				}
			}
			if !slices.Equal(places, want) {
				t.Errorf("places are %v, want %v", places, want)
			}
		})
	}
}

// deepens matches the instruction that makes the stack deeper. Where it is a push it is the place itself, else the one
// behind it.
var deepens = regexp.MustCompile(`^(PUSHQ BP|SUBQ \$\S+, SP|MOVD\.W R30, -.*|MOVD R\d+, RSP)$`)

func entryAndReturns(t testing.TB, f *elf.File, code []instruction) (entry uint64, returns []uint64) {
	t.Helper()
	offset := func(i int) uint64 {
		at, err := fileOffset(f, code[i].at)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	first := slices.IndexFunc(code, func(i instruction) bool { return deepens.MatchString(i.text) })
	if first < 0 {
		t.Fatalf("the disassembler shows no instruction like %s among %d", deepens, len(code))
	}
	if code[first].text != "PUSHQ BP" {
		first++
	}
	for i := range code {
		if strings.HasPrefix(code[i].text, "RET") {
			returns = append(returns, offset(i))
		}
	}
	return offset(first), returns
}

// TestGoPlacesOfStrippedPrograms: whatever is left out of a program, the same code is found in it.
func TestGoPlacesOfStrippedPrograms(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		env   []string
		flags []string
	}{
		{"static", []string{"CGO_ENABLED=0"}, nil},
		{"position-independent", []string{"CGO_ENABLED=0"}, []string{"-buildmode=pie"}},
		{"linked by the C linker", []string{"CGO_ENABLED=1"}, []string{"-ldflags=-linkmode=external"}},
		{"linked by the C linker, position-independent", []string{"CGO_ENABLED=1"}, []string{"-buildmode=pie", "-ldflags=-linkmode=external"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if slices.Contains(c.env, "CGO_ENABLED=1") {
				if _, err := exec.LookPath("gcc"); err != nil {
					t.Skip("needs gcc: links with it")
				}
			}
			source := goProgram
			if slices.Contains(c.env, "CGO_ENABLED=1") {
				source = strings.Replace(source, "import (", "import \"C\"\nimport (", 1)
			}
			full := buildGo(t, source, c.env, c.flags...)
			stripped := filepath.Join(t.TempDir(), "stripped")
			if out, err := exec.Command("strip", "-o", stripped, full).CombinedOutput(); err != nil {
				t.Skipf("needs strip: %v: %s", err, out)
			}
			if _, f := openForPlaces(t, stripped); f.Section(".symtab") != nil {
				t.Fatal("the stripped program has symbols")
			}
			want := codeAtPlaces(t, full)
			got := codeAtPlaces(t, stripped)
			if !slices.Equal(got, want) {
				t.Errorf("places in the stripped program are %q, want %q", got, want)
			}
		})
	}
}

// codeAtPlaces returns each place's program and the code that stands there.
func codeAtPlaces(t testing.TB, path string) []string {
	t.Helper()
	file, _ := openForPlaces(t, path)
	places, err := goPlaces(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range places {
		code := make([]byte, 16)
		if _, err := file.ReadAt(code, int64(p.offset)); err != nil {
			t.Fatal(err)
		}
		all = append(all, p.program+" "+string(code))
	}
	return all
}

func TestPlacesRefuseOtherFiles(t *testing.T) {
	t.Parallel()
	noTLS := buildGo(t, "package main\nfunc main() {}\n", []string{"CGO_ENABLED=0"})
	own, err := os.ReadFile(noTLS)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name  string
		bytes []byte
		err   string
	}{
		{"text", []byte("#!/bin/sh\n"), "read ELF headers"},
		{"a Go program without crypto/tls", own, "want crypto/tls linked in"},
		{"half of a program", own[:len(own)/2], ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := goPlaces(bytes.NewReader(c.bytes))
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("goPlaces: %v, want an error with %q", err, c.err)
			}
			if _, err := opensslPlaces(bytes.NewReader(c.bytes)); err == nil {
				t.Error("opensslPlaces finds OpenSSL")
			}
		})
	}
}

// TestGoPlacesOfOlderTables: a table with another magic number is of a Go that passes arguments otherwise, or unknown.
func TestGoPlacesOfOlderTables(t *testing.T) {
	t.Parallel()
	path := buildGo(t, goProgram, []string{"CGO_ENABLED=0"})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, f := openForPlaces(t, path)
	at := f.Section(".gopclntab").Offset
	for magic, ok := range map[uint32]bool{0xfffffffb: false, 0xfffffff0: true, 0xfffffff1: true, 0xfffffff2: false} {
		binary.LittleEndian.PutUint32(data[at:], magic)
		_, err := goPlaces(bytes.NewReader(data))
		if (err == nil) != ok {
			t.Errorf("table %#x: %v, want success %v", magic, err, ok)
		}
		if !ok && !strings.Contains(err.Error(), "want that of Go 1.17 or newer") {
			t.Errorf("table %#x: %v, want what is wanted", magic, err)
		}
	}
}

// FuzzGoPlaces: files are of workloads, which may mean ill.
func FuzzGoPlaces(f *testing.F) {
	path := buildGo(f, "package main\nimport _ \"crypto/tls\"\nfunc main() {}\n", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w")
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	_, e := openForPlaces(f, path)
	table := e.Section(".gopclntab")
	f.Add(uint32(0), uint64(0))
	f.Add(uint32(8), uint64(1<<60))
	f.Fuzz(func(t *testing.T, at uint32, word uint64) {
		changed := slices.Clone(data)
		where := table.Offset + uint64(at)%(table.FileSize-8)
		if at%3 == 0 {
			where = uint64(at) % 4096 // of the headers
		}
		binary.LittleEndian.PutUint64(changed[where:], word)
		goPlaces(bytes.NewReader(changed))
		opensslPlaces(bytes.NewReader(changed))
	})
}

// TestOpenSSLPlacesAreTheSymbols compares with what the symbol table says by another reader.
func TestOpenSSLPlacesAreTheSymbols(t *testing.T) {
	t.Parallel()
	path := opensslHere(t)
	file, f := openForPlaces(t, path)
	places, err := opensslPlaces(file)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, fn := range opensslFunctions {
		var want []place
		for _, s := range symbols {
			if s.Name != fn.symbol || s.Section == elf.SHN_UNDEF {
				continue
			}
			offset, err := fileOffset(f, s.Value)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, place{fn.program, offset, false})
			if fn.returns {
				want = append(want, place{"openssl_returned", offset, true})
			}
		}
		var got []place
		for _, p := range places {
			if slices.ContainsFunc(want, func(w place) bool { return w.offset == p.offset }) {
				got = append(got, p)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: places %v, want %v", fn.symbol, got, want)
		}
	}
}

// opensslHere is the library that this machine's programs use.
func opensslHere(t testing.TB) string {
	t.Helper()
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, dir := range []string{"/usr/lib/" + machine + "-linux-gnu", "/usr/lib64", "/usr/lib"} {
		for _, name := range []string{"libssl.so.3", "libssl.so.1.1"} {
			if path := filepath.Join(dir, name); exists(path) {
				return path
			}
		}
	}
	t.Skip("needs libssl: no libssl.so.3 or libssl.so.1.1 here")
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
