package host

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"strings"
)

// An sshKey is a public key, as it stands in a line of a file.
type sshKey struct {
	kind        string // rsa, dsa, ecdsa, ed25519, sk-ecdsa, sk-ed25519, or as the file has it
	bits        int64  // 0 if the kind is not known
	fingerprint string
	options     []string // their names, in small letters
}

// weak says whether the key can be broken, or nearly so.
func (k sshKey) weak() bool { return k.kind == "dsa" || k.kind == "rsa" && k.bits < 2048 }

// parseSSHKey reads a line: options if any, a type, a key, and a comment that is not looked at.
func parseSSHKey(line string) (key sshKey, ok bool) {
	line, _, _ = strings.Cut(strings.TrimLeft(line, " \t"), "\n")
	kind, rest, _ := strings.Cut(line, " ")
	blob, ok := sshBlob(kind, rest)
	if !ok {
		var after string
		key.options, after = sshKeyOptions(line)
		kind, rest, _ = strings.Cut(strings.TrimLeft(after, " \t"), " ")
		if blob, ok = sshBlob(kind, rest); !ok {
			return sshKey{}, false
		}
	}
	sum := sha256.Sum256(blob)
	key.fingerprint = "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	key.kind, key.bits = sshKeySize(kind, blob)
	return key, true
}

// sshBlob decodes a key, which names its type once more.
func sshBlob(kind, rest string) ([]byte, bool) {
	text, _, _ := strings.Cut(strings.TrimLeft(rest, " \t"), " ")
	blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || kind == "" {
		return nil, false
	}
	name, _, ok := sshString(blob)
	return blob, ok && string(name) == kind
}

// sshString takes a string with its length before it.
func sshString(blob []byte) (value, rest []byte, ok bool) {
	if len(blob) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(blob)
	if uint64(n) > uint64(len(blob)-4) {
		return nil, nil, false
	}
	return blob[4 : 4+n], blob[4+n:], true
}

func sshKeySize(kind string, blob []byte) (short string, size int64) {
	short = strings.TrimSuffix(strings.TrimSuffix(kind, "-cert-v01@openssh.com"), "@openssh.com")
	_, rest, _ := sshString(blob)
	switch {
	case kind == "ssh-rsa": // exponent, modulus
		_, rest, _ = sshString(rest)
		modulus, _, _ := sshString(rest)
		return "rsa", bitLength(modulus)
	case kind == "ssh-dss":
		modulus, _, _ := sshString(rest)
		return "dsa", bitLength(modulus)
	case strings.HasPrefix(short, "ecdsa-sha2-nistp"):
		return "ecdsa", numberOr(strings.TrimPrefix(short, "ecdsa-sha2-nistp"), 0)
	case short == "sk-ecdsa-sha2-nistp256":
		return "sk-ecdsa", 256
	case short == "ssh-ed25519":
		return "ed25519", 256
	case short == "sk-ssh-ed25519":
		return "sk-ed25519", 256
	}
	return short, 0
}

func bitLength(number []byte) int64 {
	for len(number) > 0 && number[0] == 0 {
		number = number[1:]
	}
	if len(number) == 0 {
		return 0
	}
	return int64(len(number)-1)*8 + int64(bits.Len8(number[0]))
}

// sshKeyOptions takes the options from the beginning of a line: names, some with quoted values, divided by commas.
func sshKeyOptions(line string) (names []string, rest string) {
	quoted, begin := false, 0
	add := func(end int) {
		name, _, _ := strings.Cut(line[begin:end], "=")
		names = append(names, strings.ToLower(name))
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			add(i)
			begin = i + 1
		case (c == ' ' || c == '\t') && !quoted:
			add(i)
			return names, line[i:]
		}
	}
	return nil, ""
}
