package bpf

import (
	"fmt"
	"slices"
	"testing"
)

// TestNativeSizesOfBodies: what counts is the body as the other end reads it, however it is framed and cut.
func TestNativeSizesOfBodies(t *testing.T) {
	t.Parallel()
	const get, head, post = "GET /a HTTP/1.1\r\n\r\n", "HEAD /a HTTP/1.1\r\n\r\n", "POST /a HTTP/1.1\r\n"
	for _, c := range []struct {
		name string
		talk []say
		want []string // bytes of each request and its response
	}{
		{"neither has one", []say{asks(get), answers("HTTP/1.1 204 No Content\r\n\r\n")}, []string{"0 and 0"}},
		{"lengths", []say{asks(post + "Content-Length: 11\r\n\r\nhello world"), answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")}, []string{"11 and 5"}},
		{"a length that is of no body", []say{asks(head), answers("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")}, []string{"0 and 0"}},
		{"chunks", []say{asks(post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\n\r\n"),
			answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nTrailer: no body\r\n\r\n")}, []string{"19 and 3"}},
		{"until the end", []say{asks(get), answers("HTTP/1.0 200 OK\r\n\r\n0123456"), answers("789")}, []string{"0 and 10"}},
		{"a body that has to be asked for", []say{asks(post + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"), answers("HTTP/1.1 100 Continue\r\n\r\n"),
			asks("abc"), answers("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")}, []string{"3 and 1"}},
		{"one after the other", []say{asks(post + "Content-Length: 1\r\n\r\na"), answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), waits(5),
			asks(get), answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")}, []string{"1 and 2", "0 and 3"}},
		{"at once, of the same name: each has the same part", []say{asks(post + "Content-Length: 1\r\n\r\na" + post + "Content-Length: 3\r\n\r\nabc"),
			answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")}, []string{"2 and 2", "2 and 3"}},
	} {
		for _, size := range []int{0, 1, 2, 3, 7} {
			t.Run(fmt.Sprint(c.name, "/", size), func(t *testing.T) {
				t.Parallel()
				talk := c.talk
				if size > 0 {
					talk = cut(talk, size)
				}
				var got []string
				for _, line := range converse(t, "http", append([]say{{weighs: true}}, talk...)...) {
					var name string
					var method, status, request, response int
					var end string
					var ns int
					if n, _ := fmt.Sscanf(line, "http method=%d status=%d %s %d ns %s %d and %d bytes", &method, &status, &end, &ns, &name, &request, &response); n == 7 {
						got = append(got, fmt.Sprint(request, " and ", response))
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("bodies of %q, want %q", got, c.want)
				}
			})
		}
	}
}
