package bpf

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The methods as the driver prints them: elements of enum http_method.
const (
	methodOther = iota
	methodGet
	methodHead
	methodPost
	methodPut
	methodDelete
	methodConnect
	methodOptions
	methodTrace
	methodPatch
)

// done is the line of a request that was answered.
func done(method, status int, end string, ns int, name string) string {
	return fmt.Sprintf("http method=%d status=%d %s %d ns %s", method, status, end, ns, name)
}

const (
	lost      = "unmatched http lost_framing"
	noRequest = "unmatched http no_request"
	isHTTP    = "is http"
)

// get is a request without a body, and okay an answer with one of 5 bytes.
const (
	get  = "GET /a HTTP/1.1\r\nHost: b\r\n\r\n"
	okay = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
)

// httpTalks are conversations, and what is to come of them however their calls are cut.
var httpTalks = []struct {
	name string
	talk []say
	want []string
}{
	{"one request", []say{asks(get), waits(1000), answers(okay)},
		[]string{done(methodGet, 200, "ok", 1000, "/a"), isHTTP}},
	{"kept alive", []say{asks(get), waits(10), answers(okay), waits(5), asks("GET /b?q=1 HTTP/1.1\r\n\r\n"), waits(20), answers(okay)},
		[]string{done(methodGet, 200, "ok", 10, "/a"), done(methodGet, 200, "ok", 20, "/b"), isHTTP}},
	{"pipelined and answered at once", []say{asks(get + get + "HEAD /c HTTP/1.1\r\n\r\n" + get), waits(7),
		answers(okay + okay + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + okay)},
		[]string{done(methodGet, 200, "ok", 7, "/a"), done(methodGet, 200, "ok", 7, "/a"), done(methodHead, 200, "ok", 7, "/c"),
			done(methodGet, 200, "ok", 7, "/a"), isHTTP}},
	{"pipelined and answered one by one", []say{asks(get + "GET /b HTTP/1.1\r\n\r\n"), waits(7), answers(okay), waits(7),
		answers("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")},
		[]string{done(methodGet, 200, "ok", 7, "/a"), done(methodGet, 404, "ok", 14, "/b"), isHTTP}},
	{"every method", []say{
		asks("POST / HTTP/1.1\r\n\r\n"), answers(okay), asks("PUT / HTTP/1.1\r\n\r\n"), answers(okay),
		asks("DELETE / HTTP/1.1\r\n\r\n"), answers(okay), asks("OPTIONS * HTTP/1.1\r\n\r\n"), answers(okay),
		asks("TRACE / HTTP/1.1\r\n\r\n"), answers(okay), asks("PATCH / HTTP/1.0\r\n\r\n"), answers(okay),
		asks("PROPFIND / HTTP/1.1\r\n\r\n"), answers(okay), asks("VERSION-CONTROL / HTTP/1.1\r\n\r\n"), answers(okay)},
		[]string{done(methodPost, 200, "ok", 0, "/"), done(methodPut, 200, "ok", 0, "/"), done(methodDelete, 200, "ok", 0, "/"),
			done(methodOptions, 200, "ok", 0, "*"), done(methodTrace, 200, "ok", 0, "/"), done(methodPatch, 200, "ok", 0, "/"),
			done(methodOther, 200, "ok", 0, "/"), done(methodOther, 200, "ok", 0, "/"), isHTTP}},
	{"statuses", []say{asks(get), answers("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n"),
		asks(get), answers("HTTP/1.0 400 Bad\r\nContent-Length: 0\r\n\r\n"), asks(get), answers("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
		asks(get), answers("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n")},
		[]string{done(methodGet, 301, "ok", 0, "/a"), done(methodGet, 400, "ok", 0, "/a"), done(methodGet, 500, "failed", 0, "/a"),
			done(methodGet, 999, "failed", 0, "/a"), isHTTP}},
	{"status lines without a reason", []say{asks(get), answers("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
		asks(get), answers("HTTP/1.1 201\r\nContent-Length: 0\r\n\r\n"), asks(get), answers("HTTP/1.1 202\nContent-Length: 0\n\n")},
		[]string{done(methodGet, 200, "ok", 0, "/a"), done(methodGet, 201, "ok", 0, "/a"), done(methodGet, 202, "ok", 0, "/a"), isHTTP}},
	{"no body by status or method", []say{
		asks("HEAD /a HTTP/1.1\r\n\r\n"), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		asks(get), answers("HTTP/1.1 204 No Content\r\n\r\n"), asks(get), answers("HTTP/1.1 304 Not Modified\r\nContent-Length: 12345\r\n\r\n"),
		asks(get), answers(okay)},
		[]string{done(methodHead, 200, "ok", 0, "/a"), done(methodGet, 204, "ok", 0, "/a"), done(methodGet, 304, "ok", 0, "/a"),
			done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"requests with bodies", []say{
		asks("POST /a HTTP/1.1\r\nContent-Length: 29\r\n\r\nGET /not/a/request HTTP/1.1\r\n"), answers(okay),
		asks("POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n"), answers(okay),
		asks("GET /c HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" + get), answers(okay + okay)},
		[]string{done(methodPost, 200, "ok", 0, "/a"), done(methodPost, 200, "ok", 0, "/b"), done(methodGet, 200, "ok", 0, "/c"),
			done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"an answer ends with its last byte", []say{asks(get), waits(10), answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
		waits(10), answers("l"), waits(10), answers("o")},
		[]string{done(methodGet, 200, "ok", 30, "/a"), isHTTP}},
	{"a chunked answer ends with its last byte", []say{asks(get), waits(10),
		answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), waits(10), answers("0\r\n"), waits(10), answers("\r\n")},
		[]string{done(methodGet, 200, "ok", 30, "/a"), isHTTP}},
	{"chunks", []say{asks(get), waits(3), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"5\r\nhello\r\nA;name=value; b=\"c;d\"\r\n0123456789\r\n000c \r\n0\r\n\r\nHTTP/1.\r\n1e\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 50\r\n" +
		"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n00000000;last\r\nTrailer: 0\r\n\tand more\r\nAnother-Long-Trailer-Field: of more than thirty-two bytes\r\n\r\n"),
		waits(4), asks(get), waits(5), answers("HTTP/1.1 200 OK\r\ntransfer-encoding:chunked\r\n\r\n0\r\nA: b\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")},
		[]string{done(methodGet, 200, "ok", 3, "/a"), done(methodGet, 200, "ok", 5, "/a"), noRequest, isHTTP}},
	{"a large chunk", []say{asks(get), waits(3), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" +
		strings.Repeat("HTTP/1.1 200 OK\r", 256) + "\r\n0\r\n\r\n"), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 3, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"coded before it is chunked", []say{asks(get), waits(3), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
		asks(get), waits(3), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
		asks(get), waits(3), answers("HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:\tx,Chunked\r\nContent-Length: 7\r\n\r\n1\r\na\r\n0\r\n\r\n")},
		[]string{done(methodGet, 200, "ok", 3, "/a"), done(methodGet, 200, "ok", 3, "/a"), done(methodGet, 200, "ok", 3, "/a"), isHTTP}},
	{"100-continue", []say{asks("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"), waits(10),
		answers("HTTP/1.1 100 Continue\r\n\r\n"), waits(10), asks("GET "), waits(10), answers("HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + okay)},
		[]string{done(methodPut, 200, "ok", 30, "/a"), isHTTP}},
	{"answered before its body has come", []say{asks("PUT /a HTTP/1.1\r\nContent-Length: 8\r\n\r\nGET "), waits(10), answers(okay), waits(10),
		asks("more" + get), waits(10), answers(okay)},
		[]string{done(methodPut, 200, "ok", 10, "/a"), done(methodGet, 200, "ok", 10, "/a"), isHTTP}},
	{"upgraded", []say{asks("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), waits(10),
		answers("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")},
		[]string{done(methodGet, 101, "ok", 10, "/ws"), "is tcp"}},
	{"a tunnel", []say{asks("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"), waits(10),
		answers("HTTP/1.1 200 Connection established\r\n\r\n")},
		[]string{done(methodConnect, 200, "ok", 10, "-"), "is tcp"}},
	{"no tunnel", []say{asks("CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n"), waits(10),
		answers("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"), asks(get), answers(okay)},
		[]string{done(methodConnect, 403, "ok", 10, "-"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"until it closes", []say{asks(get), waits(10), answers("HTTP/1.0 200 OK\r\nServer: old\r\n\r\n" + okay), waits(10), answers(okay), waits(10)},
		[]string{done(methodGet, 200, "ok", 30, "/a"), isHTTP}},
	{"closed without an answer", []say{asks(get), waits(10)},
		[]string{done(methodGet, 0, "closed", 10, "/a"), isHTTP}},
	{"a body that cannot be read", []say{asks(get), waits(10), answers("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"), answersUnread(60000), waits(10),
		answersUnread(40000), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 20, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"chunks that cannot be read", []say{asks(get), waits(10), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n"), answersUnread(65536),
		answers("\r\n0\r\n\r\n"), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 10, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"a request that cannot be read", []say{asks(get), answers(okay), asksUnread(50), answers(okay), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 0, "/a"), lost, noRequest, done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"odd but allowed", []say{asks("\r\nGET /a HTTP/1.1\r\nhOST: b\r\nA: b\r\n c: folded\r\n\tContent-Length: 3\r\n\r\n\r\n\n" + get), waits(1),
		answers("HTTP/1.1 200 OK\ncontent-LENGTH:5\n\nhello"), answers("HTTP/1.1 200 OK\r\nX: y\r\nCONTENT-length: \t 5 \t \r\n\r\nhello")},
		[]string{done(methodGet, 200, "ok", 1, "/a"), done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"fields that are like ours", []say{asks(get), answers("HTTP/1.1 200 OK\r\nContent-Lengthy: 3\r\nX-Content-Length: 4\r\nContent-Type: text/html\r\n" +
		"Content-Length-Of: 1\r\nTransfer-Encodings: chunked\r\nTransfer: x\r\ncontent-length: 5\r\n\r\nhello"), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 0, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"the same length twice", []say{asks("PUT /a HTTP/1.1\r\nContent-Length: 3\r\nX: y\r\ncontent-length: 3\r\n\r\nGET"), answers(okay), asks(get), answers(okay)},
		[]string{done(methodPut, 200, "ok", 0, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"two lengths of a request", []say{asks("PUT /a HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 28\r\n\r\n" + get), waits(1),
		answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), asks(get), answers(okay)},
		[]string{lost, done(methodPut, 400, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"two lengths of an answer", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 43\r\n\r\n" + okay), waits(1)},
		[]string{done(methodGet, 200, "ok", 2, "/a"), isHTTP}},
	{"a request that is coded otherwise", []say{asks("PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n" + get), waits(1),
		answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), asks(get), answers(okay)},
		[]string{lost, done(methodPut, 400, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"an answer that is coded otherwise", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 0\r\n\r\n" + okay), waits(1)},
		[]string{done(methodGet, 200, "ok", 2, "/a"), isHTTP}},
	{"a body whose length nobody knows, and none that comes", []say{asks("PUT /a HTTP/1.1\r\nContent-Length: x\r\n\r\n"), waits(1),
		answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), asks(get), answers(okay)},
		[]string{done(methodPut, 400, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"a length that goes on in the next line", []say{asks("PUT /a HTTP/1.1\r\nContent-Length: 1\r\n 2\r\n\r\n" + get), waits(1), answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"),
		asks("PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\t, x\r\n\r\n" + get), waits(1), answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), asks(get), answers(okay)},
		[]string{lost, done(methodPut, 400, "ok", 1, "/a"), lost, done(methodPut, 400, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"a status of four digits", []say{asks(get), waits(1), answers("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n")},
		[]string{lost, done(methodGet, 0, "closed", 1, "/a"), isHTTP}},
	{"a length that is too far on", []say{asks("PUT /a HTTP/1.1\r\nContent-Length:" + strings.Repeat(" ", 40) + "5\r\n\r\n" + get), waits(1),
		answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), asks(get), answers(okay)},
		[]string{lost, done(methodPut, 400, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"a coding that is like chunked", []say{asks("PUT /a HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n" + get), waits(1),
		answers("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), asks(get), answers(okay)},
		[]string{lost, done(methodPut, 400, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"an answer whose coding is like chunked", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), waits(1)},
		[]string{done(methodGet, 200, "ok", 2, "/a"), isHTTP}},
	{"a chunk without a size", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), waits(1), answers("\r\n"), waits(1), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 2, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"a trailer of one byte", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx\n"), waits(1), answers("\r\n"), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 2, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"no version", []say{asks("GET /a-path-that-is-longer-than-what-is-carried-over\r\n"), answers("<html>"), asks("GET http://a-host-without-a-path.example.org\r\n"),
		answers("<html>"), asks(get), waits(1), answers(okay)},
		[]string{lost, lost, lost, lost, done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"a line of one byte", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\nx\n\n")},
		[]string{lost, done(methodGet, 0, "closed", 1, "/a"), isHTTP}},
	{"many lines that begin like ours", []say{asks("PUT /a HTTP/1.1\r\n" + strings.Repeat("Content-A: b\r\n", 50) + "Content-Length: 3\r\n" +
		strings.Repeat("A:\r\n", 50) + strings.Repeat("Transfer: a\n", 20) + "\r\nGET"), answers(okay),
		asks("PUT /a HTTP/1.1\r\n" + strings.Repeat("Content-A: b\r\n", 5) + "Content-Length: 3\r\n" + strings.Repeat("Transfer: a\n", 30) + "\r\nGET"), answers(okay), asks(get), answers(okay)},
		[]string{done(methodPut, 200, "ok", 0, "/a"), done(methodPut, 200, "ok", 0, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"an empty chunk ends it, whatever its spelling", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00\n\n"), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"joined in an answer", []say{answers("body of an answer that began before\r\n"), asks(get), waits(1), answers(okay)},
		[]string{lost, done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"joined in a request", []say{asks("{\"body\": \"of a request that began before\"}"), waits(1), answers(okay), asks(get), waits(1), answers(okay)},
		[]string{lost, noRequest, done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"joined at an answer", []say{answers(okay), asks(get), waits(1), answers(okay)},
		[]string{noRequest, done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"joined at an answer until it closes, or to HEAD", []say{answers("HTTP/1.1 200 OK\r\nX: y\r\n\r\n"), asks(get), waits(1), answers(okay)},
		[]string{noRequest, done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"garbage between", []say{asks(get), waits(1), answers(okay), asks("\x16\x03\x01garbage garbage garbage garbage garbage garbage"),
		answers("\x00garbage garbage garbage garbage garbage"), asks(get), waits(1), answers(okay)},
		[]string{done(methodGet, 200, "ok", 1, "/a"), lost, lost, done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"a chunk that is none", []say{asks(get), waits(1), answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), waits(1), answers("z"), waits(1),
		asks("POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), asks("-1\r\n"), waits(1), answers(okay), asks(get), waits(1), answers(okay)},
		[]string{done(methodGet, 200, "ok", 2, "/a"), lost, done(methodPost, 200, "ok", 1, "/b"), done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
	{"absolute targets", []say{asks("GET http://example.org/users/42?x=/y HTTP/1.1\r\n\r\n"), answers(okay),
		asks("GET HTTPS://user:word@a-host-whose-name-is-longer-than-what-is-looked-at-at-once.example.org:8443/users/7 HTTP/1.1\r\n\r\n"), answers(okay),
		asks("GET http://example.org HTTP/1.1\r\n\r\n"), answers(okay), asks("GET http://example.org?a=/b HTTP/1.1\r\n\r\n"), answers(okay),
		asks("GET / HTTP/1.1\r\n\r\n"), answers(okay), asks("GET http:///a HTTP/1.1\r\n\r\n"), answers(okay), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 0, "/users/42"), done(methodGet, 200, "ok", 0, "/users/42"), done(methodGet, 200, "ok", 0, "/"),
			done(methodGet, 200, "ok", 0, "/"), done(methodGet, 200, "ok", 0, "/"), done(methodGet, 200, "ok", 0, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"a long query", []say{asks("GET /a?" + strings.Repeat("q=GET / HTTP/1.1&", 1000) + " HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET "), waits(1), answers(okay), asks(get), answers(okay)},
		[]string{done(methodGet, 200, "ok", 1, "/a"), done(methodGet, 200, "ok", 0, "/a"), isHTTP}},
	{"a long path", []say{asks("GET /" + strings.Repeat("a", 99) + "/b HTTP/1.1\r\n\r\n"), waits(1), answers(okay), asks("GET /" + strings.Repeat("a", 200) + " HTTP/1.1\r\n\r\n"), answers(okay)},
		[]string{done(methodGet, 200, "ok", 1, "/"+strings.Repeat("a", 63)), done(methodGet, 200, "ok", 0, "/"+strings.Repeat("a", 63)), isHTTP}},
	{"heads of 64 KiB", []say{
		asks("POST /a HTTP/1.1\r\n" + strings.Repeat("A: b\r\nCookie: c\r\n\tfolded\r\n", 1200) + "X: " + strings.Repeat("GET / HTTP/1.1 ", 2000) + "\r\nContent-Length: 4\r\n\r\nGET "), waits(1),
		answers("HTTP/1.1 200 " + strings.Repeat("OK ", 500) + "\r\nContent-Length: 5\r\n" + strings.Repeat("Set-Cookie: "+strings.Repeat("c", 700)+"\r\n", 90) + "\r\nhello"),
		asks(get), waits(1), answers(okay)},
		[]string{done(methodPost, 200, "ok", 1, "/a"), done(methodGet, 200, "ok", 1, "/a"), isHTTP}},
}

// expectTalk plays a conversation and compares what comes of it.
func expectTalk(t *testing.T, how, protocol string, talk []say, want []string) {
	t.Helper()
	if got := converse(t, protocol, talk...); !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", how, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// inBuffers makes of each call one of n buffers.
func inBuffers(talk []say, n int) []say {
	var all []say
	for _, s := range talk {
		if text := strings.Join(s.parts, ""); text != "" {
			s.parts = nil
			for i := range n {
				s.parts = append(s.parts, text[i*len(text)/n:(i+1)*len(text)/n])
			}
		}
		all = append(all, s)
	}
	return all
}

func TestNativeHTTP(t *testing.T) {
	t.Parallel()
	for _, c := range httpTalks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			expectTalk(t, "whole", "http", c.talk, c.want)
			for _, size := range []int{1, 2, 3, 7, 33} {
				expectTalk(t, fmt.Sprintf("cut into %d bytes", size), "http", cut(c.talk, size), c.want)
			}
			for _, n := range []int{2, 3} {
				expectTalk(t, fmt.Sprintf("in %d buffers", n), "http", inBuffers(c.talk, n), c.want)
			}
		})
	}
}

// pick returns one of its arguments.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// httpExchange makes up a request and an answer, whatever the protocol allows, and says how they end.
func httpExchange(r *rand.Rand) (request, answer, ends string) {
	body := func(word string) string {
		return strings.Repeat(pick(r, word, "HTTP/1.1 200 OK\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\n", "0\r\n\r\n"), r.IntN(40))
	}
	framed := func(body string) string {
		if r.IntN(2) == 0 {
			return fmt.Sprintf("%s:%s%d%s", pick(r, "Content-Length", "content-length", "CONTENT-LENGTH"), pick(r, "", " ", "\t "), len(body), pick(r, "", " ")) +
				"\r\nX-Last: y\r\n\r\n" + body
		}
		head := pick(r, "Transfer-Encoding: chunked", "transfer-encoding:CHUNKED", "Transfer-Encoding: gzip, deflate, br, chunked") + "\r\n\r\n"
		for body != "" {
			n := 1 + r.IntN(len(body))
			head += fmt.Sprintf("%x%s\r\n%s\r\n", n, pick(r, "", "", ";a=b", " ;a=\"b\""), body[:n])
			body = body[n:]
		}
		return head + "0\r\n" + pick(r, "", "", "X-Trailer: of some length, so that it is not carried over\r\n") + "\r\n"
	}
	fields := func() (all string) {
		for range r.IntN(12) {
			all += pick(r, "Host: example.org", "A: b", "Content-Type: text/html; charset=utf-8", "Cookie: "+strings.Repeat("c", r.IntN(700)), "Connection: keep-alive",
				"Transfer: x", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Date: today,\r\n folded", "X-Content-Length: 3") + "\r\n"
		}
		return all
	}
	paths := []string{"/", "/a", "/users", "/users/list/of/all", "/" + strings.Repeat("a", 38), "/" + strings.Repeat("a/", 20)}
	path := pick(r, paths...)
	method := pick(r, methodGet, methodPost, methodPut, methodDelete, methodHead)
	request = RequestMethods[method] + " " + pick(r, "", "http://example.org") + path + pick(r, "", "", "?"+strings.Repeat("q=/1&", r.IntN(200))) + " HTTP/1.1\r\n" + fields()
	if method == methodPost || method == methodPut {
		request += framed(body("POST"))
	} else {
		request += "\r\n"
	}
	status := pick(r, 200, 200, 201, 204, 302, 304, 404, 500, 503)
	for range r.IntN(2) {
		answer += "HTTP/1.1 100 Continue\r\n\r\n"
	}
	answer += fmt.Sprintf("HTTP/1.1 %d%s\r\n", status, pick(r, "", " ", " OK", " Some long reason, longer than what is carried")) + fields()
	if method == methodHead || status == 204 || status == 304 {
		answer += pick(r, "", "Content-Length: 7\r\n") + "\r\n"
	} else {
		answer += framed(body("body"))
	}
	end := "ok"
	if status >= 500 {
		end = "failed"
	}
	return request, answer, done(method, status, end, 0, path)
}

// TestNativeHTTPRandomTalks plays exchanges that are made up, kept alive on one connection, cut at random.
func TestNativeHTTPRandomTalks(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			var talk []say
			var want []string
			for range 150 {
				var requests, answered string
				for range 1 + r.IntN(4) {
					request, answer, end := httpExchange(r)
					requests += request
					answered += answer
					want = append(want, end)
				}
				talk = append(talk, asks(requests), answers(answered))
			}
			want = append(want, isHTTP)
			expectTalk(t, "whole", "http", talk, want)
			for range 4 {
				var pieces []say
				for _, s := range talk {
					for text := s.parts[0]; text != ""; {
						n := min(len(text), 1+r.IntN(pick(r, 10, 40, 600)))
						pieces = append(pieces, inBuffers([]say{{side: s.side, parts: []string{text[:n]}}}, 1+r.IntN(3))...)
						text = text[n:]
					}
				}
				expectTalk(t, "cut at random", "http", pieces, want)
			}
		})
	}
}

func TestNativeHTTPFailuresDependOnTheRole(t *testing.T) {
	t.Parallel()
	var talk []say
	for _, status := range []int{399, 400, 404, 499, 500} {
		talk = append(talk, asks(get), answers(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status)))
	}
	expectTalk(t, "server", "http 1", talk, []string{done(methodGet, 399, "ok", 0, "/a"), done(methodGet, 400, "ok", 0, "/a"), done(methodGet, 404, "ok", 0, "/a"),
		done(methodGet, 499, "ok", 0, "/a"), done(methodGet, 500, "failed", 0, "/a"), isHTTP})
	expectTalk(t, "client", "http 0", talk, []string{done(methodGet, 399, "ok", 0, "/a"), done(methodGet, 400, "failed", 0, "/a"), done(methodGet, 404, "failed", 0, "/a"),
		done(methodGet, 499, "failed", 0, "/a"), done(methodGet, 500, "failed", 0, "/a"), isHTTP})
}

func TestNativeHTTPIsRecognised(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first say
		want  bool
	}{
		"a request":                      {asks(get), true},
		"a request without its end":      {asks("DELETE /a/path/of/some/length"), true},
		"a request of 1.0":               {asks("POST /a HTTP/1.0\r\n\r\n"), true},
		"a line without CR":              {asks("GET / HTTP/1.1\n\n"), true},
		"an absolute target":             {asks("GET http://example.org/ HTTP/1.1\r\n\r\n"), true},
		"a tunnel":                       {asks("CONNECT [::1]:443 HTTP/1.1\r\n\r\n"), true},
		"options of the server":          {asks("OPTIONS * HTTP/1.1\r\n\r\n"), true},
		"an answer":                      {answers(okay), true},
		"not by 2":                       {asks("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), false},
		"not by an answer of 2":          {answers("HTTP/2 200\r\n\r\n"), false},
		"not by an answer of a client":   {asks(okay), false},
		"not by a request of a server":   {answers(get), false},
		"not by a status of two digits":  {answers("HTTP/1.1 20 OK\r\n"), false},
		"not by a status of letters":     {answers("HTTP/1.1 2x0 OK\r\n"), false},
		"not by a version and a hyphen":  {answers("HTTP/1.1-200 OK\r\n"), false},
		"not by a status that begins 0":  {answers("HTTP/1.1 020 OK\r\n"), false},
		"not by 0.9":                     {asks("GET /a\r\n"), false},
		"not by RTSP":                    {asks("OPTIONS rtsp://example.org/ RTSP/1.0\r\n\r\n"), false},
		"not by RTSP with a path":        {asks("GET / RTSP/1.0\r\n\r\n"), false},
		"not by SIP":                     {asks("OPTIONS sip:a@b SIP/2.0\r\n\r\n"), false},
		"not by CONNECT of NATS":         {asks("CONNECT {\"verbose\":false}\r\n"), false},
		"not by a command":               {asks("GET key\r\n"), false},
		"not by small letters":           {asks("get /a HTTP/1.1\r\n\r\n"), false},
		"not by a method that is longer": {asks("GETS /a HTTP/1.1\r\n\r\n"), false},
		"not by a method alone":          {asks("GET "), false},
		"not by a body":                  {asks("<html><body>GET / HTTP/1.1</body></html>\r\n"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", c.first)
			if is := got[len(got)-1] == isHTTP; is != c.want {
				t.Errorf("got %q, want it to be recognised: %v", got, c.want)
			}
		})
	}
}

func TestNativeHTTPIsRecognisedInTheMiddle(t *testing.T) {
	t.Parallel()
	expectTalk(t, "of a body", "auto", []say{asks("the rest of a body"), answers("HTTP/1.1 204 No Content\r\n\r\n"), asks(get), waits(1), answers(okay)},
		[]string{noRequest, done(methodGet, 200, "ok", 1, "/a"), isHTTP})
}

// TestNativeHTTPRoutes compares which paths have one name with the table that Route of exporter/requests is tested with.
func TestNativeHTTPRoutes(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("testdata/routes.txt")
	if err != nil {
		t.Fatal(err)
	}
	var talk []say
	var want []string
	first := ""
	for line := range strings.Lines(string(table)) {
		line = strings.TrimSuffix(line, "\n")
		path, isPath := strings.CutPrefix(line, "\t")
		if !isPath {
			first = ""
			continue
		}
		if first == "" { // that is how the driver spells all of the route
			first = printable(path[:min(len(path), 64)])
		}
		talk = append(talk, asks("GET "+path+" HTTP/1.1\r\n\r\n"), answers(okay))
		want = append(want, done(methodGet, 200, "ok", 0, first))
	}
	want = append(want, isHTTP)
	expectTalk(t, "whole", "http", talk, want)
	for _, size := range []int{1, 37, 50} {
		expectTalk(t, fmt.Sprintf("cut into %d bytes", size), "http", cut(talk, size), want)
	}
}

// printable is a text as the driver prints it.
func printable(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c <= ' ' || c >= 127 {
			b[i] = '.'
		}
	}
	return string(b)
}

// httpReader writes the verdict on each line's bytes, where a request begins.
const httpReader = `
#define L7_NATIVE
#include <stdio.h>
#include "l7_http.h"
int main(void)
{
	while (fgetc(stdin) != EOF) {
		static struct l7_look l; /* behind a message is what is left of the one before */
		struct l7_conn c = {};
		struct l7_verdict v = {};
		unsigned byte;
		l.have = 0;
		while (l.have < L7_WINDOW && scanf("%2x", &byte) == 1)
			l.bytes[l.have++] = byte;
		l.left = l.have;
		http_look(&c, &c.half[0], &l, &v);
		if (v.lost || !v.take)
			printf("%s\n", v.lost ? "lost" : "more");
		else
			printf("take=%llu begins=%d name=%.*s trace=%.*s\n", v.take, v.begins, v.name ? v.name_length : 0, l.bytes + v.name_at,
			       v.trace_at ? 32 : 0, l.bytes + v.trace_at);
	}
	return 0;
}
`

// readHTTP plays beginnings of messages to httpReader; what it says of each is a line.
func readHTTP(t *testing.T, messages ...string) []string {
	t.Helper()
	clang, err := exec.LookPath("clang-19")
	if err != nil {
		t.Skip("needs clang-19: make setup installs it")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "reader.c"), filepath.Join(dir, "reader")
	if err := os.WriteFile(source, []byte(httpReader), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(clang, append(slices.Clone(nativeFlags), "-Iinclude", "-fsanitize=address,undefined", "-o", program, source)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the reader: %v\n%s", err, text)
	}
	var in bytes.Buffer
	for _, m := range messages {
		fmt.Fprintf(&in, ">%s\n", hex.EncodeToString([]byte(m)))
	}
	read := exec.Command(program)
	read.Stdin = &in
	out, err := read.Output()
	if err != nil {
		t.Fatalf("run the reader: %v", err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestNativeHTTPTellsTracesAndPathsWithoutQueries(t *testing.T) {
	t.Parallel()
	const trace = "0af7651916cd43dd8448eb211c80319c"
	const first = "GET /a/b?secret=c HTTP/1.1\r\n"
	judged := func(take int, trace string) string {
		return fmt.Sprintf("take=%d begins=1 name=/a/b trace=%s", take, trace)
	}
	type test struct{ message, want string }
	traced := func(line, trace string) test {
		head := first + line + "\r\n\r\n"
		return test{head, judged(len(head), trace)}
	}
	cases := []test{
		traced("traceparent: 00-"+trace+"-b7ad6b7169203331-01", trace),
		traced("TraceParent:00-"+trace+"-b7ad6b7169203331-01", trace),
		{first + "traceparent:\r\n", judged(len(first)+14, "")}, // not with what is behind it of the message before
		traced("Host: a\r\ntraceparent: cc-"+trace+"-b7ad6b7169203331-01-more", trace),
		traced("traceparent: 00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", ""),
		traced("traceparent: 00-"+trace[:31]+"-b7ad6b7169203331-011", ""),
		traced("traceparent: 00-"+trace[:31]+"g-b7ad6b7169203331-01", ""),
		traced("traceparent: 00_"+trace+"_b7ad6b7169203331-01", ""),
		traced("traceparents: 00-"+trace+"-b7ad6b7169203331-01", ""),
		traced("tracestate: 00-"+trace+"-b7ad6b7169203331-01", ""),
		traced("traceparent: 00-", ""),
		{first + "traceparent: 00-" + trace + "-b7ad6b71", judged(len(first), "")}, // the line has no end yet
		{first, judged(len(first), "")},
		{first[:15], "more"},
		{"GET /a/b HTTP/1.1\r\n\r\n", judged(21, "")},
		{"GET /a/b ", "more"}, // whatever the message before went on with
		{"GET /a/b?secret=c&" + strings.Repeat("q", 20), judged(38, "")},
		{"GET /a/b?secret=c HTTP/2.0\r\n", "lost"},
		{"GET /a/b\r\n", "lost"},
		{"GET /a/b?cHTTP/1.1\r\n", "lost"},
		{"GET /a/bHTTP/1.1\r\n", "lost"},
		{"GET a/b HTTP/1.1\r\n", "lost"},
		{"\rGET /a/b HTTP/1.1\r\n", "lost"},
		{"GET\t/a/b HTTP/1.1\r\n", "lost"},
		{" GET /a/b HTTP/1.1\r\n", "lost"},
		{"CONNECT a:443 HTTP/1.1\r\n\r\n", "take=26 begins=1 name= trace="},
		{"CONNECT {} HTTP/1.1\r\n\r\n", "lost"},
	}
	var messages []string
	for _, c := range cases {
		messages = append(messages, c.message)
	}
	for i, got := range readHTTP(t, messages...) {
		if got != cases[i].want {
			t.Errorf("%q: got %q, want %q", messages[i], got, cases[i].want)
		}
	}
}

func TestNativeHTTPLengths(t *testing.T) {
	t.Parallel()
	bad := []string{"", "x", "5x", "+5", "-5", "0x5", "5,5", "5 5", "5.0", "5\r", "99999999999999999999", "                5", "        12345678"}
	good := map[string]int{"0": 0, "5": 5, "12345678": 12345678, "123456789": 123456789, "00000000000005": 5, "99999999999999": 99999999999999,
		" 7": 7, "\t7": 7, "7 \t": 7, "12345678 ": 12345678, "        1234567": 1234567}
	var messages, want []string
	judged := func(value string, n int) {
		head := "PUT /a/b HTTP/1.1\r\nContent-Length:" + value + "\r\n\r\n"
		messages = append(messages, head)
		want = append(want, fmt.Sprintf("take=%d begins=1 name=/a/b trace=", len(head)+n))
	}
	for _, value := range bad {
		judged(value, 0)
	}
	for value, n := range good {
		judged(value, n)
	}
	for i, got := range readHTTP(t, messages...) {
		if got != want[i] {
			t.Errorf("%q: got %q, want %q", messages[i], got, want[i])
		}
	}
}
