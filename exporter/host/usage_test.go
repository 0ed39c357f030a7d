package host

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
)

// login is one record of utmp.
func login(kind uint16, user, line, from string, at uint32) []byte {
	b := make([]byte, utmpSize)
	binary.LittleEndian.PutUint16(b, kind)
	binary.LittleEndian.PutUint32(b[4:], 77)
	copy(b[8:], line)
	copy(b[44:], user)
	copy(b[76:], from)
	binary.LittleEndian.PutUint32(b[340:], at)
	return b
}

func TestParseUtmp(t *testing.T) {
	data := append(login(2, "reboot", "~", "6.1", 1), login(userProcess, "root", "pts/0", "10.0.0.1", 1700000000)...)
	got, err := parseUtmp(data)
	want := Session{User: "root", Line: "pts/0", From: "10.0.0.1", PID: 77, Login: time.Unix(1700000000, 0)}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("sessions = %+v, %v, want only %+v", got, err, want)
	}
	if got, err = parseUtmp(append(data, 1, 2, 3)); err == nil || len(got) != 1 || !strings.Contains(err.Error(), "3 bytes after the last record") {
		t.Errorf("of a file that is cut: %+v, %v", got, err)
	}
}

func TestParseFileLimit(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units\n"
	for text, want := range map[string]uint64{
		head + "Max open files            1024                 1048576              files\n": 1024,
		head + "Max open files            unlimited            unlimited            files\n": 1<<63 - 1,
	} {
		if got, err := parseFileLimit([]byte(text)); got != want || err != nil {
			t.Errorf("limit = %d, %v, want %d", got, err, want)
		}
	}
	for _, text := range []string{"", head, head + "Max open files\n", head + "Max open files many 5 files\n"} {
		if got, err := parseFileLimit([]byte(text)); err == nil {
			t.Errorf("limit of %q = %d, want an error", text, got)
		}
	}
}

func FuzzParseUtmp(f *testing.F) {
	f.Add(login(userProcess, "root", "pts/0", "host", 1))
	f.Add([]byte{7, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseUtmp(data)
		if len(list) > len(data)/utmpSize || (err != nil) != (len(data)%utmpSize != 0) {
			t.Errorf("%d sessions and %v of %d bytes", len(list), err, len(data))
		}
		parseFileLimit(data)
	})
}
