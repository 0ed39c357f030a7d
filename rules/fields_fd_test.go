package rules

import (
	"net/netip"
	"testing"

	"github.com/yagura-io/yagura/rules/event"
)

func TestDescriptorsOfFiles(t *testing.T) {
	testReadings(t, []reading{
		{"an open is named as it was asked for, made absolute and cleaned", `{"type": "openat", "args": {"name": "../etc//./passwd", "flags": "O_RDONLY"}, "dir": "/srv",
			"resolved": {"name": "/data/passwd"}, "fd": {"num": 7, "dev": 8388609, "ino": 12, "layer": "upper"}}`, `
			fd.num 7
			fd.type file
			fd.typechar f
			fd.name /etc/passwd
			fd.nameraw ../etc//./passwd
			fd.directory /etc
			fd.filename passwd
			fd.containername host:/etc/passwd
			fd.containerdirectory host:/etc
			fd.dev 2049
			fd.dev.major 8
			fd.dev.minor 1
			fd.ino 12
			fd.is_upper_layer true
			fd.is_lower_layer false
			fd.is_server false
			fd.connected false
			fd.uid 10007
			fd.types (file)
			fd.types[7] (file)
			fd.types[8] <NA>
			fd.l4proto <NA>
			fd.sockfamily <NA>
			fd.cip <NA>
			fd.sport <NA>
			yagura.fd.layer upper
			yagura.fd.created false`},
		{"below the root", `{"type": "open", "args": {"name": "/x"}}`, `
			fd.directory /
			fd.filename x`},
		{"a directory has no file name, and is its own directory", `{"type": "openat", "args": {"name": "/etc/", "flags": "O_RDONLY|O_DIRECTORY"}, "fd": {"type": "directory"}}`, `
			fd.name /etc
			fd.type directory
			fd.typechar d
			fd.directory /etc
			fd.filename <NA>`},
		{"a directory that was opened like a file is one", `{"type": "openat", "args": {"name": "/etc/ssh", "flags": "O_RDONLY"}, "fd": {"type": "directory"}}`, `
			fd.type file
			fd.typechar f
			fd.directory /etc
			fd.filename ssh`},
		{"an open that failed has the name that it asked for", `{"type": "openat", "args": {"name": "/etc/shadow"}, "res": "EACCES"}`, `
			fd.num <NA>
			fd.type <NA>
			fd.typechar f
			fd.name /etc/shadow
			fd.nameraw /etc/shadow
			fd.directory /etc
			fd.filename shadow
			fd.ino <NA>
			fd.is_upper_layer <NA>`},
		{"by handle the kernel's path", `{"type": "open_by_handle_at", "fd": {"num": 4, "name": "/etc/shadow"}}`, `
			fd.name /etc/shadow
			fs.path.name /etc/shadow
			yagura.path.resolved /etc/shadow`},
		{"another call has the kernel's path", `{"type": "write", "args": {"fd": 5}, "res": 3, "fd": {"num": 5, "name": "/var/log/auth.log"}}`, `
			fd.name /var/log/auth.log
			fd.nameraw /var/log/auth.log
			fd.directory /var/log
			fd.filename auth.log
			evt.category file
			yagura.path.resolved /var/log/auth.log
			yagura.path.directory /var/log
			yagura.path.basename auth.log`},
		{"a bad descriptor", `{"type": "close", "args": {"fd": 9}, "res": "EBADF"}`, `
			fd.num <NA>
			fd.typechar o
			fd.name <NA>`},
		{"a directory that a path starts from is not what the call is about", `{"type": "unlinkat", "args": {"dirfd": 4, "name": "x"}, "dir": "/tmp", "fd": {"num": 4, "type": "directory", "name": "/tmp"}}`, `
			fd.num <NA>
			fd.name <NA>
			fd.typechar <NA>
			fd.containername <NA>
			yagura.path.resolved /tmp/x`},
		{"a call without a descriptor", `{"type": "setuid", "args": {"uid": 0}}`, `
			fd.name <NA>
			fd.typechar <NA>
			fd.is_server <NA>
			fd.types <NA>`},
		{"others", `{"type": "read", "args": {"fd": 3}, "fd": {"num": 3, "type": "userfaultfd", "name": "[userfaultfd]"}}`, `
			fd.type userfaultfd
			fd.typechar u
			fd.directory <NA>
			fd.filename <NA>
			yagura.path.resolved <NA>`},
		{"packets", `{"type": "socket", "fd": {"num": 3, "type": "packet"}}`, `
			fd.type packet
			fd.typechar o
			fd.sockfamily <NA>
			fd.name <NA>`},
	})
}

func TestDescriptorsOfSockets(t *testing.T) {
	testReadings(t, []reading{
		{"a client", `{"type": "connect", "peer": "93.184.216.34:443", "fd": {"num": 5, "local": "10.0.0.5:40000", "proto": "tcp"}, "container": "web"}`, `
			fd.name 10.0.0.5:40000->93.184.216.34:443
			fd.containername 0123456789ab:10.0.0.5:40000->93.184.216.34:443
			fd.type ipv4
			fd.typechar 4
			fd.sockfamily ip
			fd.l4proto tcp
			fd.is_server false
			fd.connected true
			fd.cip 10.0.0.5
			fd.sip 93.184.216.34
			fd.lip 10.0.0.5
			fd.rip 93.184.216.34
			fd.cport 40000
			fd.sport 443
			fd.lport 40000
			fd.rport 443
			fd.cproto 40000
			fd.sproto 443
			fd.lproto 40000
			fd.rproto 443
			fd.ip 10.0.0.5,93.184.216.34
			fd.port 40000,443
			fd.net 10.0.0.5,93.184.216.34
			fd.snet 93.184.216.34
			fd.sip.name 93.184.216.34
			fd.nameraw <NA>
			fd.directory <NA>
			fd.filename <NA>
			yagura.path.resolved <NA>`},
		{"a connection that failed, whose socket has lost the port", `{"type": "connect", "res": "ECONNREFUSED", "peer": "10.0.0.9:6379", "fd": {"num": 5, "local": "10.0.0.5:40000", "remote": "10.0.0.9:0"}}`, `
			fd.name 10.0.0.5:40000->10.0.0.9:6379
			fd.sip 10.0.0.9
			fd.sport 6379
			fd.connected false`},
		{"a server", `{"type": "accept4", "res": 8, "fd": {"num": 8, "local": "10.0.0.5:80", "remote": "192.0.2.7:51000"}}`, `
			fd.name 192.0.2.7:51000->10.0.0.5:80
			fd.is_server true
			fd.cip 192.0.2.7
			fd.sip 10.0.0.5
			fd.lip 10.0.0.5
			fd.rip 192.0.2.7
			fd.lport 80
			fd.rport 51000`},
		{"what listens", `{"type": "listen", "args": {"fd": 3}, "fd": {"num": 3, "local": "0.0.0.0:8080"}}`, `
			fd.name 0.0.0.0:8080
			fd.is_server true
			fd.sip 0.0.0.0
			fd.sport 8080
			fd.lport 8080
			fd.cip <NA>
			fd.rip <NA>
			fd.rport <NA>
			fd.ip 0.0.0.0
			fd.port 8080`},
		{"a bind names our end, not the peer", `{"type": "bind", "args": {"fd": 3}, "peer": "127.0.0.1:4444", "fd": {"num": 3, "type": "ipv4"}}`, `
			fd.name 127.0.0.1:4444
			fd.sport 4444
			fd.rip <NA>`},
		{"a socket that nobody has named", `{"type": "socket", "fd": {"num": 3, "type": "ipv4", "proto": "udp", "local": "0.0.0.0:0"}}`, `
			fd.name <NA>
			fd.l4proto udp
			fd.ip <NA>
			fd.sip <NA>
			fd.connected false`},
		{"IPv6 without brackets", `{"type": "connect", "peer": "[2001:db8::1]:22", "fd": {"num": 3, "local": "[::1]:5"}}`, `
			fd.name ::1:5->2001:db8::1:22
			fd.typechar 6
			fd.type ipv6
			fd.sip 2001:db8::1`},
		{"an answer to a datagram comes from the lower port", `{"type": "sendto", "res": 9, "peer": "10.0.0.9:33333", "fd": {"num": 3, "local": "10.0.0.1:53", "proto": "udp", "name_changed": true}}`, `
			fd.name 10.0.0.9:33333->10.0.0.1:53
			fd.is_server true
			fd.name_changed true`},
		{"a datagram to a lower port is a client's", `{"type": "sendto", "res": 9, "peer": "10.0.0.1:53", "fd": {"num": 3, "local": "10.0.0.9:33333", "proto": "udp"}}`, `
			fd.name 10.0.0.9:33333->10.0.0.1:53
			fd.is_server false
			fd.name_changed false
			evt.category net`},
		{"a ping has no port", `{"type": "sendto", "res": 9, "peer": "10.0.0.1:0", "fd": {"num": 3, "local": "0.0.0.0:12", "sock_type": 2, "protocol": 1}}`, `
			fd.name 0.0.0.0:12->10.0.0.1:0
			fd.l4proto icmp
			fd.rip 10.0.0.1`},
		{"raw", `{"type": "sendto", "res": 9, "peer": "10.0.0.1:0", "fd": {"num": 3, "local": "0.0.0.0:0", "sock_type": 3, "protocol": 1}}`, `
			fd.l4proto raw`},
		{"unix", `{"type": "connect", "peer": "/run/docker.sock", "fd": {"num": 3, "type": "unix"}}`, `
			fd.name /run/docker.sock
			fd.type unix
			fd.typechar u
			fd.sockfamily unix
			fd.l4proto <NA>
			fd.ip <NA>
			fd.directory <NA>
			yagura.path.resolved <NA>`},
	})
}

func TestMappedAddressesAreOfIPv4(t *testing.T) {
	t.Parallel()
	connect, _ := event.TypeNamed("connect")
	r := NewRecord(nil, "")
	r.Reset(&event.Event{Kind: event.Syscall, Type: connect, FD: event.Descriptor{Num: 3, Type: event.IPv6Socket, Role: event.Client, Protocol: 6,
		Local: netip.MustParseAddrPort("[::ffff:10.0.0.1]:5"), Remote: netip.MustParseAddrPort("[::ffff:1.2.3.4]:80")}})
	for field, want := range map[string]string{"fd.typechar": "4", "fd.type": "ipv4", "fd.name": "10.0.0.1:5->1.2.3.4:80", "fd.sip": "1.2.3.4",
		"fd.ip": "10.0.0.1,1.2.3.4"} {
		if got := read(t, r, field); got != want {
			t.Errorf("%s = %q, want %q", field, got, want)
		}
	}
}

func TestConditionsOnBothSides(t *testing.T) {
	t.Parallel()
	r := recordOf(t, `{"type": "connect", "peer": "93.184.216.34:443", "fd": {"num": 5, "local": "10.0.0.5:40000"}}`)
	file := recordOf(t, `{"type": "open", "args": {"name": "/x"}}`)
	for condition, want := range map[string]bool{
		`fd.ip = 10.0.0.5`:                      true,
		`fd.ip = 93.184.216.34`:                 true,
		`fd.ip = 10.0.0.6`:                      false,
		`fd.ip != 10.0.0.5`:                     false,
		`fd.ip != 10.0.0.6`:                     true,
		`fd.net in (10.0.0.0/8)`:                true,
		`fd.net != 10.0.0.0/8`:                  false,
		`fd.snet in (10.0.0.0/8)`:               false,
		`fd.cnet = 10.0.0.0/8`:                  true,
		`fd.port in (443, 80)`:                  true,
		`fd.port != 443`:                        false,
		`fd.proto = https`:                      true,
		`fd.sport = https`:                      true,
		`fd.typechar in (4, 6)`:                 true,
		`fd.types in (ipv4)`:                    true,
		`fd.types intersects (file)`:            false,
		`fd.sip exists and not fd.ino = 1`:      true,
		`fd.name startswith "10.0.0.5:40000->"`: true,
	} {
		if got := holds(t, r, condition); got != want {
			t.Errorf("%s: %v of a connection, want %v", condition, got, want)
		}
	}
	for _, condition := range []string{`fd.ip = 10.0.0.5`, `fd.ip != 10.0.0.5`, `fd.port != 443`, `fd.ip exists`} {
		if holds(t, file, condition) {
			t.Errorf("%s: true of a file", condition)
		}
	}
}

func TestUserDevice(t *testing.T) {
	t.Parallel()
	// makedev(259, 300): the low 8 bits of the minor number, 12 of the major one, and the rest of the minor one.
	if got, want := userDevice(259, 300), uint32(300&0xff|259<<8|1<<20); got != want {
		t.Errorf("userDevice(259, 300) = %#x, want %#x", got, want)
	}
}
