package bpf

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// nativeFlags compile the parsers for this machine, with what finds reads and writes out of bounds.
var nativeFlags = []string{"-Inative", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
	"-Wno-unused-parameter", "-Wno-unused-variable", "-fno-sanitize-recover=all"}

// compileNative compiles bpf/native/driver.c. A machine without the compiler skips, as BPF objects are committed.
func compileNative(t testing.TB, out string, flags ...string) {
	t.Helper()
	clang, err := exec.LookPath("clang-19")
	if err != nil {
		t.Skip("needs clang-19: make setup installs it")
	}
	for _, pattern := range []string{"include/*.h", "native/*"} { // so that go test runs again when one changes
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files: %v", pattern, len(files), err)
		}
		for _, name := range files {
			if _, err := os.Stat(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.Command(clang, append(slices.Concat(nativeFlags, flags), "-o", out, "native/driver.c")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the parsers: %v\n%s", err, text)
	}
}

// native is the parsers as a program, compiled once for all tests of a run.
var native = sync.OnceValue(func() *driver {
	dir, err := os.MkdirTemp("", "yagura-native-")
	if err != nil {
		panic(err)
	}
	nativeDir = dir
	return &driver{path: filepath.Join(dir, "driver")}
})

// nativeDir is where it is; TestMain removes it.
var nativeDir string

type driver struct {
	path    string
	compile sync.Once
}

// A say is one system call of one side of a connection: ">" is the client's, "<" the server's bytes, each part a buffer
// of its own; or time that passes, or bytes that the call moved but nobody can read.
type say struct {
	side   string
	parts  []string
	ns     int
	unread int
	weighs bool // from now on the parsers say how large bodies are
}

func asks(parts ...string) say    { return say{side: ">", parts: parts} }
func answers(parts ...string) say { return say{side: "<", parts: parts} }
func waits(ns int) say            { return say{ns: ns} }
func asksUnread(n int) say        { return say{side: ">", unread: n} }
func answersUnread(n int) say     { return say{side: "<", unread: n} }

// cut makes of each call as many calls as it has bytes: what a parser makes of a conversation may not depend on where it
// is cut.
func cut(conversation []say, size int) []say {
	var all []say
	for _, s := range conversation {
		text := strings.Join(s.parts, "")
		if text == "" {
			all = append(all, s)
		}
		for len(text) > 0 {
			n := min(size, len(text))
			all = append(all, say{side: s.side, parts: []string{text[:n]}})
			text = text[n:]
		}
	}
	return all
}

// converse plays a conversation to the parsers and returns what they made of it, one line for each request that ended and
// for each thing that did not fit, and at last "is PROTOCOL". Protocol "auto" has it recognised.
func converse(t testing.TB, protocol string, conversation ...say) []string {
	t.Helper()
	d := native()
	d.compile.Do(func() { compileNative(t, d.path, "-fsanitize=address,undefined") })
	var in bytes.Buffer
	fmt.Fprintf(&in, "open %s 1\n", protocol)
	for _, s := range conversation {
		switch {
		case s.weighs:
			in.WriteString("weigh\n")
		case s.ns > 0:
			fmt.Fprintf(&in, "wait %d\n", s.ns)
		case s.unread > 0:
			fmt.Fprintf(&in, "unread %s %d\n", s.side, s.unread)
		default:
			var parts []string
			for _, p := range s.parts {
				parts = append(parts, hex.EncodeToString([]byte(p)))
			}
			fmt.Fprintf(&in, "%s %s\n", s.side, strings.Join(parts, "|"))
		}
	}
	in.WriteString("close\n")
	cmd := exec.Command(d.path)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the parsers end with %v:\n%s", err, stderr.String())
	}
	var lines []string
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		if scan.Text() != "." {
			lines = append(lines, scan.Text())
		}
	}
	return lines
}

func TestNativeExchangesOfAnUnknownProtocol(t *testing.T) {
	t.Parallel()
	var talk []say
	for range 4 {
		talk = append(talk, asks("\x01\x02\x03\x04"), waits(1000), answers("\x05"))
	}
	got := converse(t, "auto", talk...)
	want := []string{"tcp method=0 status=0 ok 1000 ns -", "is tcp"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q: told from the sixth change of direction on", got, want)
	}
}

// TestNativeFuzz lets libFuzzer play random conversations to every parser for a short while.
func TestNativeFuzz(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := filepath.Join(dir, "fuzz")
	compileNative(t, target, "-DFUZZ", "-fsanitize=fuzzer,address,undefined")
	seconds := "10"
	if os.Getenv("YAGURA_SOAK") != "" {
		seconds = "300"
	}
	cmd := exec.Command(target, "-max_total_time="+seconds, "-rss_limit_mb=1024", "-max_len=4096", "-print_final_stats=1", "-artifact_prefix="+dir+"/")
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !bytes.Contains(text, []byte("stat::number_of_executed_units")) {
		t.Errorf("libFuzzer does not tell what it did:\n%s", text)
	}
}
