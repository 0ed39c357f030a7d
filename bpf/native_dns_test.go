package bpf

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Pieces of DNS messages, by RFC 1035.

const (
	dnsAsks    = 0x0100 // recursion is desired
	dnsAnswers = 0x8180 // and available

	dnsA, dnsSOA, dnsAAAA, dnsOPT, dnsAXFR = 1, 6, 28, 41, 252
)

// dnsName is a name on the wire, of labels with dots between them.
func dnsName(name string) string {
	var wire string
	for label := range strings.SplitSeq(name, ".") {
		wire += amqpText(label)
	}
	return wire + "\x00"
}

func dnsQuestion(name string, kind uint16) string { return dnsName(name) + be16(kind) + be16(1) }

// dnsMessage has one question.
func dnsMessage(id, flags uint16, name string, kind uint16, answers ...string) string {
	return be16(id) + be16(flags) + be16(1) + be16(uint16(len(answers))) + be16(0) + be16(0) + dnsQuestion(name, kind) + strings.Join(answers, "")
}

// dnsRecord is an address of the name that is asked for.
func dnsRecord(address string) string {
	return "\xc0\x0c" + be16(dnsA) + be16(1) + be32(300) + be16(uint16(len(address))) + address
}

func dnsSized(message string) string { return be16(uint16(len(message))) + message }

func TestNativeDNSOverTCP(t *testing.T) {
	t.Parallel()
	ask := func(id uint16, name string) say { return asks(dnsSized(dnsMessage(id, dnsAsks, name, dnsA))) }
	answer := func(id, code uint16, name string, records ...string) say {
		return answers(dnsSized(dnsMessage(id, dnsAnswers|code, name, dnsA, records...)))
	}
	for name, c := range map[string]struct {
		talk []say
		want []string
	}{
		"questions and answers": {
			[]say{ask(7, "example.com"), waits(3), answer(7, 0, "example.com", dnsRecord("\x0a\x00\x00\x01")), ask(0, "example.org"), waits(4), answer(0, 0, "example.org")},
			[]string{"dns method=0 status=0 ok 3 ns -", "dns method=0 status=0 ok 4 ns -"},
		},
		"answers in another order": {
			[]say{asks(dnsSized(dnsMessage(1, dnsAsks, "a.example", dnsA)), dnsSized(dnsMessage(2, dnsAsks, "b.example", dnsAAAA))), waits(1), answer(2, 3, "b.example"), waits(1), answer(1, 0, "a.example")},
			[]string{"dns method=0 status=3 failed 1 ns -", "dns method=0 status=0 ok 2 ns -"},
		},
		"a server that fails": {
			[]say{ask(1, "example.com"), waits(1), answers(dnsSized(be16(1) + be16(dnsAnswers|2) + strings.Repeat("\x00", 8)))},
			[]string{"dns method=0 status=2 failed 1 ns -"},
		},
		"a zone's transfer takes many messages": {
			[]say{asks(dnsSized(dnsMessage(9, 0, "example.com", dnsAXFR))), waits(2), answers(dnsSized(dnsMessage(9, 0x8400, "example.com", dnsAXFR, strings.Repeat("r", 500)))),
				waits(2), answers(dnsSized(be16(9) + be16(0x8400) + strings.Repeat("\x00", 8) + strings.Repeat("r", 500))), asks(dnsSized(dnsMessage(9, 0, "example.com", dnsSOA))), waits(1), answer(9, 0, "example.com")},
			[]string{"dns method=0 status=0 ok 2 ns -", "dns method=0 status=0 ok 1 ns -"},
		},
		"an update": {
			[]say{asks(dnsSized(be16(1) + be16(5<<11) + be16(1) + be16(0) + be16(1) + be16(1) + dnsQuestion("example.com", dnsSOA) + strings.Repeat("u", 90))), waits(1), answers(dnsSized(be16(1) + be16(0x8000|5<<11|9) + strings.Repeat("\x00", 8)))},
			[]string{"dns method=0 status=9 failed 1 ns -"},
		},
		"what nobody asked": {
			[]say{answer(5, 0, "example.com"), ask(6, "example.com")},
			[]string{"unmatched dns no_request", "dns method=0 status=0 closed 0 ns -"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyCut(t, "dns", c.talk, append(c.want, "is dns")...)
		})
	}
}

func TestNativeDNSOverTCPIsRecognised(t *testing.T) {
	t.Parallel()
	good := dnsMessage(1, dnsAsks|0x0030, "www.example.com", dnsAAAA)
	for name, c := range map[string]struct {
		talk say
		want bool
	}{
		"by a question":                     {asks(dnsSized(good)), true},
		"by an answer":                      {answers(dnsSized(dnsMessage(1, 0x8583, "www.example.com", dnsA, dnsRecord("\x0a\x00\x00\x01")))), true},
		"by a question with an option":      {asks(dnsSized(good[:10] + be16(1) + good[12:] + "\x00" + be16(dnsOPT) + be16(1232) + be32(0) + be16(0))), true},
		"not by an asking server":           {answers(dnsSized(good)), false},
		"not without a length":              {asks(good), false},
		"not with a length of 16":           {asks(be16(16) + good), false},
		"not with a question of a kilobyte": {asks(be16(1024) + good), false},
		"not by a question with answers":    {asks(dnsSized(dnsMessage(1, dnsAsks, "example.com", dnsA, dnsRecord("\x0a\x00\x00\x01")))), false},
		"not by two questions":              {asks(dnsSized(good[:4] + be16(2) + good[6:])), false},
		"not by another class":              {asks(dnsSized(good[:len(good)-2] + be16(3))), false},
		"not by a question with a code":     {asks(dnsSized(dnsMessage(1, dnsAsks|3, "example.com", dnsA))), false},
		"not by a bit that is to be 0":      {answers(dnsSized(dnsMessage(1, dnsAnswers|0x40, "example.com", dnsA))), false},
		"not by a code of tomorrow":         {answers(dnsSized(dnsMessage(1, dnsAnswers|12, "example.com", dnsA))), false},
		"not by an update":                  {answers(dnsSized(dnsMessage(1, dnsAnswers|5<<11, "example.com", dnsA))), false},
		"not by a name that is compressed":  {asks(dnsSized(good[:12] + "\xc0\x0c" + be16(dnsA) + be16(1))), false},
		"not by a name without an end":      {asks(dnsSized(good[:12] + "\x3fexample")), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", c.talk)
			if is := got[len(got)-1] == "is dns"; is != c.want {
				t.Errorf("got %q, want it to be recognised: %v", got, c.want)
			}
		})
	}
}

func TestNativeDNSOverTCPFindsItselfAgain(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string]string{
		"text":                 "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"zeros":                strings.Repeat("\x00", 30),
		"an unknown operation": dnsSized(dnsMessage(1, 6<<11, "example.com", dnsA)),
		"the other direction":  dnsSized(dnsMessage(1, dnsAnswers, "example.com", dnsA)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "dns", asks(garbage), answers(dnsSized(dnsMessage(1, dnsAnswers, "example.com", dnsA))),
				asks(dnsSized(dnsMessage(2, dnsAsks, "example.com", dnsA))), waits(1), answers(dnsSized(dnsMessage(2, dnsAnswers, "example.com", dnsA))))
			want := []string{"unmatched dns lost_framing", "unmatched dns no_request", "dns method=0 status=0 ok 1 ns -", "is dns"}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// dnsReader writes what dns_is and dns_read make of each line's bytes, of which the first byte is no part of the message.
const dnsReader = `
#define L7_NATIVE
#include <stdio.h>
#include "l7_dns.h"
int main(void)
{
	unsigned byte;
	for (int end = 0; end != EOF;) {
		static struct l7_look l; /* behind a message is what is left of the one before */
		l.have = 0;
		while ((end = fgetc(stdin)) == '-' && scanf("%2x", &byte) == 1)
			l.bytes[l.have++] = byte;
		if (end == EOF)
			break;
		struct dns_head h;
		bool is = dns_is(&l, 1), read = dns_read(&l, 1, &h);
		printf("is=%d read=%d id=%u response=%d opcode=%u rcode=%u type=%u question=%08x\n", is, read, h.id, h.response, h.opcode, h.rcode, h.type, h.question);
	}
	return 0;
}
`

// readDNS plays datagrams to dnsReader; what it says of each is a line.
func readDNS(t *testing.T, messages ...string) []string {
	t.Helper()
	clang, err := exec.LookPath("clang-19")
	if err != nil {
		t.Skip("needs clang-19: make setup installs it")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "reader.c"), filepath.Join(dir, "reader")
	if err := os.WriteFile(source, []byte(dnsReader), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(clang, append(slices.Clone(nativeFlags), "-Iinclude", "-fsanitize=address,undefined", "-o", program, source)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the reader: %v\n%s", err, text)
	}
	var in bytes.Buffer
	for _, m := range messages {
		for _, b := range []byte("." + m) {
			fmt.Fprintf(&in, "-%02x", b)
		}
		in.WriteByte('\n')
	}
	read := exec.Command(program)
	read.Stdin = &in
	out, err := read.Output()
	if err != nil {
		t.Fatalf("run the reader: %v", err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestNativeDNSDatagrams(t *testing.T) {
	t.Parallel()
	arpa := strings.Repeat("0.", 32) + "ip6.arpa"
	long := strings.Repeat(strings.Repeat("l", 62)+".", 3) + strings.Repeat("l", 59)
	whole := dnsMessage(1, dnsAsks, "www.example.com", dnsA)
	cases := []struct{ message, want string }{
		{dnsMessage(0x1234, dnsAsks, "www.example.com", dnsAAAA), "is=1 read=1 id=4660 response=0 opcode=0 rcode=0 type=28"},
		{dnsMessage(0xffff, dnsAnswers|3, "x", dnsA), "is=1 read=1 id=65535 response=1 opcode=0 rcode=3 type=1"},
		{dnsMessage(1, dnsAsks, arpa, 12), "is=1 read=1 id=1 response=0 opcode=0 rcode=0 type=12"},
		{dnsMessage(1, dnsAsks, long, dnsA), "is=1 read=1 id=1 response=0 opcode=0 rcode=0 type=1"},
		{be16(1) + be16(dnsAsks) + be16(1) + strings.Repeat("\x00", 6) + "\x00" + be16(2) + be16(1), "is=1 read=1 id=1 response=0 opcode=0 rcode=0 type=2"}, // the root's name servers
		{whole, "is=1 read=1 id=1 response=0 opcode=0 rcode=0 type=1"},
		{whole[:27], "is=0 read=1 id=1 response=0 opcode=0 rcode=0 type=0"}, // cut in the name
		{whole[:30], "is=0 read=1 id=1 response=0 opcode=0 rcode=0 type=0"}, // in the type
		{whole[:31], "is=0 read=1 id=1 response=0 opcode=0 rcode=0 type=1"}, // and before the class
		{whole[:12] + "\xc0" + strings.Repeat("a", 192) + "\x00" + be16(dnsA) + be16(1), "is=0 read=1 id=1 response=0 opcode=0 rcode=0 type=0"},
		{be16(1) + be16(0x8000|dnsAnswers|2) + strings.Repeat("\x00", 8), "is=1 read=1 id=1 response=1 opcode=0 rcode=2 type=0"}, // without its question
		{dnsMessage(1, 4<<11, "example.com", dnsSOA), "is=0 read=1 id=1 response=0 opcode=4 rcode=0 type=6"},                     // a notification
		{dnsMessage(1, dnsAsks, "www.example.com", dnsA)[:11], "is=0 read=0"},
		{dnsMessage(1, 3<<11, "example.com", dnsA), "is=0 read=0"},
		{dnsMessage(1, dnsAsks|0x40, "example.com", dnsA), "is=0 read=0"},
		{"a datagram of another kind", "is=0 read=0"},
	}
	var messages []string
	for _, c := range cases {
		messages = append(messages, c.message)
	}
	for i, got := range readDNS(t, messages...) {
		if !strings.HasPrefix(got, cases[i].want) {
			t.Errorf("%s: got %q, want %q", hex.EncodeToString([]byte(messages[i])), got, cases[i].want)
		}
	}
}

func TestNativeDNSQuestionsAreToldApart(t *testing.T) {
	t.Parallel()
	names := []string{"example.com", "example.org", "wexample.com", "www.example.com", "w.ww.example.com", "ww.w.example.com", "examplecom",
		"a", "b", "aa", "aaaaaaa", "aaaaaaaa", "aaaaaaaaa", "1234567.aaaaaaaa.aaaaaaa", "1234567.aaaaaaaa.aaaaaab", "7234561.aaaaaaaa.aaaaaaa"}
	var messages []string
	for _, name := range names {
		messages = append(messages, dnsMessage(1, dnsAsks, name, dnsA), dnsMessage(9, dnsAnswers, strings.ToUpper(name), dnsAAAA, dnsRecord("\x01\x02\x03\x04")))
	}
	lines := readDNS(t, messages...)
	seen := map[string]string{}
	for i, name := range names {
		_, lower, _ := strings.Cut(lines[2*i], "question=")
		_, upper, _ := strings.Cut(lines[2*i+1], "question=")
		if lower == "00000000" || lower != upper {
			t.Errorf("%s is %s, and %s in capitals: want the same number", name, lower, upper)
		}
		if other, ok := seen[lower]; ok {
			t.Errorf("%s and %s are both %s", name, other, lower)
		}
		seen[lower] = name
	}
}
