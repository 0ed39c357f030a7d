package fim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	bundleKey    = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	bundleHeader = BundleHeader{Created: time.Unix(1_700_000_000, 0).UTC(), Root: "/", Host: "image <one> & \"two\"", Sets: "sets"}
)

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// bundled is a baseline with all that is special about paths and records, complete and in part drifted.
func bundledStore(t testing.TB) (*Store, []Entry) {
	t.Helper()
	s := newStore(t)
	unread := record(9)
	unread.Summed, unread.Sum, unread.Unreadable = false, [32]byte{}, "larger than 1 GiB"
	fresh := record(10)
	fresh.Flags = Fresh | 0x10
	special := record(11)
	special.Mode |= fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	special.Attributes = map[string]string{"security.capability": "\x01\x00\xff", "user.\xff": "", "user.text": "text"}
	at := func(name string, r *Record) Entry { return Entry{Path{"", name}, r, r} }
	entries := []Entry{
		at("/", &Record{Mode: fs.ModeDir | 0o755, Links: 20, Size: 4096}),
		at("/a", record(1)), at("/a/b", record(2)), at("/a.b", record(3)),
		at("/block", &Record{Mode: fs.ModeDevice | 0o600, Target: "8:0"}),
		at("/char", &Record{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, Target: "1:3"}),
		at("/fifo", &Record{Mode: fs.ModeNamedPipe}),
		at("/fresh", fresh),
		at("/link", &Record{Mode: fs.ModeSymlink | 0o777, Target: "to\n\xff", Links: 1}),
		at("/new\nline", record(4)), at("/socket", &Record{Mode: fs.ModeSocket}), at("/special", special), at("/unread", unread), at("/\xff\xfe", record(5)),
	}
	must(t, s.Put(entries))
	must(t, s.Put([]Entry{{Path{"", "/created"}, nil, record(6)}, {Path{"", "/drifted"}, record(7), record(8)}, {Path{"other", "/x"}, record(1), nil}}))
	must(t, s.SetMeta("", func(m *Meta) { m.Completed = m.Created }))
	drifted := at("/drifted", record(7))
	return s, slices.Insert(entries, 6, drifted)
}

func export(t testing.TB, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := Export(t.Context(), &b, s, "", bundleHeader, bundleKey)
	must(t, err)
	return b.Bytes()
}

func TestBundleIsImportedAsItWasExported(t *testing.T) {
	from, want := bundledStore(t)
	bundle := export(t, from)
	to := newStore(t)
	must(t, to.Put([]Entry{settled("golden", "/before", 1)}))
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	h, n, err := Import(t.Context(), bytes.NewReader(bundle), to, "golden", []ed25519.PublicKey{public(other), public(bundleKey)})
	must(t, err)
	wantHeader := bundleHeader
	wantHeader.Version = 1
	if n != uint64(len(want)) || cmp.Diff(wantHeader, h) != "" {
		t.Errorf("%d paths, want %d\n%s", n, len(want), cmp.Diff(wantHeader, h))
	}
	got := all(t, to, Path{"golden", "/"})
	for i := range want { // what is of one machine only is not in it
		r := *want[i].Base
		r.Device, r.Inode, r.Changed, r.Flags = 0, 0, 0, r.Flags&^Fresh
		if r.Mode.IsDir() {
			r.Size, r.Links = 0, 0
		}
		want[i] = Entry{Path{"golden", want[i].Path.Name}, &r, &r}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i := range got {
		if d := Compare(want[i].Base, got[i].Base, Everything); d != 0 {
			t.Errorf("%q differs in %b", got[i].Path.Name, d)
		}
	}
	m, err := to.Meta("golden")
	must(t, err)
	if m.Origin != `/ of image <one> & "two", exported 2023-11-14T22:13:20Z` || m.Completed.IsZero() || m.Sets != "sets" || !m.Created.Equal(h.Created) {
		t.Errorf("%+v", m)
	}
	must(t, to.Verify(t.Context()))
	if again := export(t, from); !bytes.Equal(again, bundle) {
		t.Error("the same baseline is another bundle")
	}
}

// TestBundleOfATreeFitsItsCopy exports one tree's baseline and scans a copy of it, made by cp, with that.
func TestBundleOfATreeFitsItsCopy(t *testing.T) {
	golden := newTree(t)
	write(t, golden.in("etc/file"), "x")
	write(t, golden.in("etc/not UTF-8 \xff"), "y")
	must(t, os.Symlink("file", golden.in("etc/link")))
	golden.build()
	bundle := export(t, golden.o.Store)
	made := newTree(t)
	run(t, "cp", "-a", golden.root+"/.", made.root)
	_, _, err := Import(t.Context(), bytes.NewReader(bundle), made.o.Store, "", []ed25519.PublicKey{public(bundleKey)})
	must(t, err)
	_, told := made.scan(nil)
	made.wants("as it was made", told)
	write(t, made.in("etc/file"), "z")
	_, told = made.scan(nil)
	made.wants("and then changed", told, "/etc/file content")
	if again := export(t, made.o.Store); !bytes.Equal(again, bundle) {
		t.Errorf("what should be of the copy is another bundle:\n%s\n%s", again, bundle)
	}
}

// TestOpensslVerifiesABundle makes a key with openssl, and has it say that what was signed with it is.
func TestOpensslVerifiesABundle(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	run(t, "openssl", "genpkey", "-algorithm", "ed25519", "-out", in("key"))
	run(t, "openssl", "pkey", "-in", in("key"), "-pubout", "-out", in("public"))
	text, err := os.ReadFile(in("key"))
	must(t, err)
	key, err := ParsePrivateKey(text)
	must(t, err)
	text, err = os.ReadFile(in("public"))
	must(t, err)
	trusted, err := ParsePublicKeys(append(text, text...))
	must(t, err)
	if len(trusted) != 2 || !trusted[0].Equal(key.Public()) {
		t.Fatalf("%v", trusted)
	}
	s, _ := bundledStore(t)
	var b bytes.Buffer
	_, err = Export(t.Context(), &b, s, "", bundleHeader, key)
	must(t, err)
	lines := bytes.SplitAfter(b.Bytes(), []byte("\n"))
	var end bundleEndLine
	must(t, json.Unmarshal(lines[len(lines)-2], &end))
	content := bytes.Join(lines[:len(lines)-2], nil)
	must(t, os.WriteFile(in("content"), content, 0o600))
	sum := strings.Fields(run(t, "sha256sum", in("content")))[0]
	digest, err := hex.DecodeString(sum)
	must(t, err)
	must(t, os.WriteFile(in("signed"), append([]byte("yagura fim baseline 1\n"), digest...), 0o600))
	must(t, os.WriteFile(in("signature"), end.Signature, 0o600))
	if out := run(t, "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", in("public"), "-rawin", "-in", in("signed"), "-sigfile", in("signature")); !strings.Contains(out, "Verified Successfully") {
		t.Error(out)
	}
	if sum != end.SHA256 {
		t.Errorf("sha256 %s, want %s", end.SHA256, sum)
	}
	_, _, err = ReadBundle(t.Context(), &b, trusted, nil)
	must(t, err)
}

// signed makes a bundle of lines, with a signature that fits.
func signed(lines ...string) string {
	text := strings.Join(lines, "\n") + "\n"
	digest := sha256.Sum256([]byte(text))
	end, err := json.Marshal(bundleEndLine{End: true, Files: uint64(len(lines) - 1), SHA256: hex.EncodeToString(digest[:]), Key: public(bundleKey),
		Signature: ed25519.Sign(bundleKey, append([]byte(bundlePurpose), digest[:]...))})
	if err != nil {
		panic(err)
	}
	return text + string(end) + "\n"
}

func TestBundlesThatAreRefused(t *testing.T) {
	const header = `{"yagura_fim_baseline":1,"created":"2023-11-14T22:13:20Z","root":"/","host":"h"}`
	const file = `{"path":"/f","type":"file","mode":"0644","uid":0,"gid":0,"modified":0}`
	with := func(old, new string) string { return signed(header, strings.Replace(file, old, new, 1)) }
	sound := signed(header, file)
	for name, tt := range map[string]struct {
		bundle    string
		untrusted bool
		says      string
	}{
		"empty":                  {"", false, "line 1: it ends without a signature"},
		"no bundle":              {"PK\x03\x04\n", false, "line 1: want the header of a baseline"},
		"another version":        {signed(strings.Replace(header, ":1", ":2", 1)), false, "line 1: version 2: want 1"},
		"header with more":       {signed(strings.Replace(header, "{", `{"more":1,`, 1)), false, `unknown field "more"`},
		"without an end":         {header + "\n" + file + "\n", false, "line 3: it ends without a signature"},
		"cut in its end":         {sound[:len(sound)-10], false, "line 3: it ends without a signature"},
		"a line changed":         {strings.Replace(sound, "0644", "0666", 1), true, "line 3: the bundle cannot be trusted: its content has the SHA-256"},
		"the header changed":     {strings.Replace(sound, `"h"`, `"i"`, 1), true, "its content has the SHA-256"},
		"a line removed":         {strings.Replace(sound, file+"\n", "", 1), true, "line 2: the bundle cannot be trusted: it has 0 paths: want 1"},
		"more behind":            {sound + "\n", true, "line 4: the bundle cannot be trusted: something follows its end"},
		"another signature":      {strings.Replace(sound, `"signature":"`, `"signature":"AAAA`, 1), true, "its signature does not fit"},
		"another key":            {strings.Replace(sound, `"key":"`, `"key":"AAAA`, 1), true, "which is none of the 1 that are trusted"},
		"no key":                 {sound[:strings.Index(sound, `"key"`)] + `"key":"","signature":""}` + "\n", true, "which is none of the 1 that are trusted"},
		"a path twice":           {signed(header, file, file), false, `line 3: "/f" after "/f": want each path once, in the order of a walk`},
		"paths in another order": {signed(header, strings.Replace(file, "/f", "/f.a", 1), strings.Replace(file, "/f", "/f/a", 1)), false, `line 3: "/f/a" after "/f.a"`},
		"relative path":          {with(`"/f"`, `"f"`), false, `line 2: "f": want an absolute and clean path`},
		"path with ..":           {with(`"/f"`, `"/a/../f"`), false, "want an absolute and clean path"},
		"path with NUL":          {with(`"/f"`, `"/f\u0000"`), false, "want a path without NUL"},
		"no path":                {with(`"path":"/f",`, ""), false, "want an absolute and clean path"},
		"path that is a number":  {with(`"/f"`, "1"), false, "line 2: json"},
		"path in bad base64":     {with(`"/f"`, `{"base64":"*"}`), false, "line 2: illegal base64"},
		"type":                   {with(`"file"`, `"door"`), false, `line 2: "/f": type "door": want file, directory, link`},
		"mode":                   {with("0644", "10000"), false, `mode "10000": want an octal number of at most 7777`},
		"mode in words":          {with("0644", "rw-"), false, `mode "rw-": want an octal number`},
		"size":                   {with(`"uid"`, `"size":-1,"uid"`), false, "size -1: want 0 or more"},
		"sum":                    {with(`"uid"`, `"sha256":"12","uid"`), false, `sha256 "12": want 64 hexadecimal digits`},
		"flags":                  {with(`"uid"`, `"flags":2147483648,"uid"`), false, "want those of FS_IOC_GETFLAGS"},
		"attributes":             {with(`"uid"`, `"attributes":[{"name":"b","value":""},{"name":"a","value":""}],"uid"`), false, `attribute "a" after "b": want them in order`},
		"user that is too large": {with(`"uid":0`, `"uid":4294967296`), false, "line 2: json"},
		"two values":             {with("}", "}{}"), false, "line 2: want one value of JSON"},
		"a line without bounds":  {header + "\n" + strings.Repeat("x", maxBundleLine+100_000), false, "line 2: more than 4194304 bytes"},
	} {
		s := newStore(t)
		must(t, s.Put([]Entry{settled("", "/as it was", 1)}))
		_, _, err := Import(t.Context(), strings.NewReader(tt.bundle), s, "", []ed25519.PublicKey{public(bundleKey)})
		if err == nil || !strings.Contains(err.Error(), tt.says) || errors.Is(err, ErrUntrusted) != tt.untrusted {
			t.Errorf("%s: %v\nwant %q, untrusted %t", name, err, tt.says, tt.untrusted)
		}
		if got := names(all(t, s, Path{"", "/"})); !slices.Equal(got, []string{"/as it was"}) {
			t.Errorf("%s: the store has %q", name, got)
		}
	}
	if _, n, err := ReadBundle(t.Context(), strings.NewReader(sound), []ed25519.PublicKey{public(bundleKey)}, nil); err != nil || n != 1 {
		t.Errorf("what they were made of: %d, %v", n, err)
	}
	if _, _, err := ReadBundle(t.Context(), strings.NewReader(sound), nil, nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("without any key that is trusted: %v", err)
	}
}

// A replaced reader has other content once it is read again.
type replaced struct{ *strings.Reader }

func (r *replaced) Seek(offset int64, whence int) (int64, error) {
	r.Reader = strings.NewReader(signed(`{"yagura_fim_baseline":1,"created":"2023-11-14T22:13:20Z","root":"/","host":"h"}`) + "x")
	return 0, nil
}

// TestImportOfWhatIsReplacedIsNotComplete changes the file between the check and the import.
func TestImportOfWhatIsReplacedIsNotComplete(t *testing.T) {
	s := newStore(t)
	bundle := signed(`{"yagura_fim_baseline":1,"created":"2023-11-14T22:13:20Z","root":"/","host":"h"}`)
	_, _, err := Import(t.Context(), &replaced{strings.NewReader(bundle)}, s, "", []ed25519.PublicKey{public(bundleKey)})
	m, metaErr := s.Meta("")
	must(t, metaErr)
	if !errors.Is(err, ErrUntrusted) || !m.Completed.IsZero() || m.Origin == "" {
		t.Errorf("%v, %+v", err, m)
	}
}

func TestExportNeedsACompleteBaseline(t *testing.T) {
	s := newStore(t)
	must(t, s.Put([]Entry{settled("", "/x", 1)}))
	if _, err := Export(t.Context(), &bytes.Buffer{}, s, "", bundleHeader, bundleKey); !errors.Is(err, ErrIncomplete) {
		t.Errorf("%v", err)
	}
	s, _ = bundledStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Export(ctx, &bytes.Buffer{}, s, "", bundleHeader, bundleKey); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestKeysInPEM(t *testing.T) {
	dir := t.TempDir()
	rsa := filepath.Join(dir, "rsa")
	run(t, "openssl", "genrsa", "-out", rsa, "1024")
	run(t, "openssl", "pkey", "-in", rsa, "-pubout", "-out", rsa+".public")
	private, err := os.ReadFile(rsa)
	must(t, err)
	other, err := os.ReadFile(rsa + ".public")
	must(t, err)
	for name, text := range map[string][]byte{"nothing": nil, "no PEM": []byte("ssh-ed25519 AAAA"), "RSA": private, "damaged": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "public": other} {
		if _, err := ParsePrivateKey(text); err == nil {
			t.Errorf("ParsePrivateKey of %s: no error", name)
		}
		if _, err := ParsePublicKeys(text); err == nil {
			t.Errorf("ParsePublicKeys of %s: no error", name)
		}
	}
}

// FuzzReadBundle reads what nobody has written: it is refused, or is one that is signed.
func FuzzReadBundle(f *testing.F) {
	s, _ := bundledStore(f)
	f.Add(export(f, s))
	f.Add([]byte(signed(`{"yagura_fim_baseline":1}`, `{"path":{"base64":"Lw=="},"type":"fifo","mode":"0"}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var last []byte
		_, n, err := ReadBundle(t.Context(), bytes.NewReader(b), []ed25519.PublicKey{public(bundleKey)}, func(path string, r *Record) error {
			key, err := keyOf(Path{Name: path})
			if err != nil || bytes.Compare(key, last) <= 0 {
				t.Errorf("%q after %q: %v", path, nameOf(last), err)
			}
			last = key
			e := Entry{Path{"", path}, r, r}
			line, err := json.Marshal(bundleLineOf(&e))
			must(t, err)
			var l bundleLine
			must(t, json.Unmarshal(line, &l))
			if again, err := l.record(); err != nil || Compare(r, again, Everything) != 0 {
				t.Errorf("%s: %v", line, err)
			}
			return nil
		})
		if err == nil && !bytes.Contains(b, []byte(bundleEnd)) {
			t.Errorf("accepted without a signature: %d paths", n)
		}
	})
}
