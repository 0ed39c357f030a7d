package requests

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const mapsOfAProcess = `555555554000-5555555a0000 r-xp 00000000 fd:01 1001                       /usr/sbin/nginx
7f0000000000-7f0000030000 r--p 00000000 fd:01 2001                       /usr/lib/x86_64-linux-gnu/libssl.so.3
7f0000030000-7f0000090000 r-xp 00030000 fd:01 2001                       /usr/lib/x86_64-linux-gnu/libssl.so.3
7f0000090000-7f00000a0000 rw-p 00090000 fd:01 2001                       /usr/lib/x86_64-linux-gnu/libssl.so.3
7f0000100000-7f0000200000 r-xp 00000000 fd:01 2002                       /usr/lib/x86_64-linux-gnu/libcrypto.so.3
7f0000300000-7f0000310000 r-xp 00000000 fd:01 2003                       /usr/lib/libssl3.so
7f0000400000-7f0000410000 r-xp 00000000 fd:01 2004                       /opt/my app/psycopg2_binary.libs/libssl-6f9b1e2c.so.1.1 (deleted)
7f0000500000-7f0000510000 r-xp 00000000 fd:01 2005                       /usr/lib/x86_64-linux-gnu/libgnutls.so.30.34.3
7f0000600000-7f0000610000 r--s 00000000 fd:01 2006                       /tmp/libssl.so.3
7f0000700000-7f0000710000 r-xp 00000000 00:00 0                          [vdso]
7f0000800000-7f0000810000 r-xp 00000000 fd:01 2007                       /usr/lib/libsslx.so.1
7f0000900000-7f0000910000 r-xp 00000000 fd:01 2008                       /srv/libssl.txt
`

func TestMapsTellLibrariesOfTLS(t *testing.T) {
	want := []Library{
		{"openssl", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "fd:01", 2001},
		{"nss", "/usr/lib/libssl3.so", "fd:01", 2003},
		{"openssl", "/opt/my app/psycopg2_binary.libs/libssl-6f9b1e2c.so.1.1", "fd:01", 2004},
		{"gnutls", "/usr/lib/x86_64-linux-gnu/libgnutls.so.30.34.3", "fd:01", 2005},
	}
	if got := parseMaps(mapsOfAProcess); !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	var many strings.Builder
	for i := range 1000 {
		many.WriteString(strings.Replace("7f00-7f01 r-xp 0 fd:01 N /lib/libssl.so.3\n", "N", string(rune('0'+i%10))+strings.Repeat("1", i%18), 1))
	}
	if got := parseMaps(many.String()); len(got) != maxLibraries {
		t.Errorf("%d libraries of a process that has a thousand", len(got))
	}
}

func FuzzMaps(f *testing.F) {
	f.Add(mapsOfAProcess)
	f.Add("7f00 r-xp / libssl.so.3")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseMaps(text) {
			if l.Name == "" || !strings.HasPrefix(l.Path, "/") {
				t.Errorf("%+v", l)
			}
		}
	})
}

// linked keeps the method that is looked for in this very program.
var linked = (*tls.Conn).Write

func TestLibrariesOfAGoProgramAreInIt(t *testing.T) {
	if reflect.ValueOf(linked).IsNil() {
		t.Fatal("crypto/tls is not linked")
	}
	got, err := Libraries("/proc", os.Getpid())
	if err != nil || got.Go != runtime.Version() || !got.GoTLS || got.SSL || !got.Readable() {
		t.Errorf("this program: %+v, %v", got, err)
	}
	if _, err := Libraries("/proc", 1<<30); !os.IsNotExist(err) {
		t.Errorf("no process: %v", err)
	}
}

func executable(t *testing.T, path string) Found {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Skipf("needs %s", path)
	}
	defer file.Close()
	var f Found
	if err := f.readExecutable(file); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return f
}

func TestGoProgramWithoutTLSHasNone(t *testing.T) {
	if got := executable(t, filepath.Join(runtime.GOROOT(), "bin/gofmt")); got.Go == "" || got.GoTLS || got.Readable() {
		t.Errorf("gofmt: %+v", got)
	}
	if got := executable(t, "/bin/sh"); got.Go != "" || got.Readable() {
		t.Errorf("sh: %+v", got)
	}
}

func TestLibrariesOfARunningProcess(t *testing.T) {
	const python = "/usr/bin/python3"
	cmd := exec.Command(python, "-c", `import ssl; print("ready", flush=True); input()`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("needs %s: %v", python, err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	got, err := Libraries("/proc", cmd.Process.Pid)
	if err != nil || len(got.Libraries) != 1 || got.Libraries[0].Name != "openssl" || got.Go != "" || !got.Readable() {
		t.Fatalf("%+v, %v", got, err)
	}
	// The path is the process's own: below its root it is the file that is mapped.
	if _, err := os.Stat(filepath.Join("/proc/self/root", got.Libraries[0].Path)); err != nil {
		t.Error(err)
	}
}

func TestOpenSSLThatIsLinkedInIsFoundByItsSymbols(t *testing.T) {
	dir := t.TempDir()
	source, with, without := filepath.Join(dir, "x.c"), filepath.Join(dir, "with"), filepath.Join(dir, "without")
	if err := os.WriteFile(source, []byte("int SSL_write(void) { return 0; }\nint main(void) { return SSL_write(); }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, flag := range map[string]string{with: "-g0", without: "-s"} {
		if out, err := exec.Command("cc", "-O0", flag, "-o", path, source).CombinedOutput(); err != nil {
			t.Skipf("needs cc: %v\n%s", err, out)
		}
	}
	if got := executable(t, with); !got.SSL || !got.Readable() {
		t.Errorf("with symbols: %+v", got)
	}
	if got := executable(t, without); got.SSL || got.Readable() {
		t.Errorf("stripped: %+v", got)
	}
}

// A text that lies across two pieces is found too.
func TestHoldsFindsATextAnywhere(t *testing.T) {
	const text = "SSL_write\x00"
	for _, at := range []int{0, 1, 256<<10 - len(text) + 1, 256<<10 - 1, 256 << 10, 600_000} {
		data := bytes.Repeat([]byte{'S'}, 700_000)
		copy(data[at:], text)
		s := &elf.Section{SectionHeader: elf.SectionHeader{FileSize: uint64(len(data))}, ReaderAt: bytes.NewReader(data)}
		if !holds(s, text) {
			t.Errorf("not found at %d", at)
		}
		if data[at]++; holds(s, text) {
			t.Errorf("found at %d, though it is not there", at)
		}
	}
}

func FuzzExecutable(f *testing.F) {
	if data, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(data)
	}
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var found Found
		_ = found.readExecutable(bytes.NewReader(data))
	})
}
