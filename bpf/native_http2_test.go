package bpf

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An h2 is one side of a connection of HTTP/2: frames with fields as golang.org/x/net encodes them.
type h2 struct {
	out, block bytes.Buffer
	fields     *hpack.Encoder
	frames     *http2.Framer
}

func newH2() *h2 {
	p := &h2{}
	p.fields = hpack.NewEncoder(&p.block)
	p.frames = http2.NewFramer(&p.out, nil)
	p.frames.AllowIllegalWrites = true
	return p
}

// encode makes a block of names and values.
func (p *h2) encode(fields ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := p.fields.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			panic(err)
		}
	}
	return bytes.Clone(p.block.Bytes())
}

// sent returns the frames that were written by f.
func (p *h2) sent(f func()) string {
	p.out.Reset()
	f()
	return p.out.String()
}

func (p *h2) headers(stream uint32, end bool, fields ...string) string {
	return p.sent(func() {
		wrote(p.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encode(fields...), EndStream: end, EndHeaders: true}))
	})
}

func (p *h2) data(stream uint32, end bool, n int) string {
	return p.sent(func() { wrote(p.frames.WriteData(stream, end, bytes.Repeat([]byte{0xEE}, n))) })
}

// message is a frame with one message of gRPC.
func (p *h2) message(stream uint32, end bool, n int) string {
	text := append([]byte{0, 0, 0, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xEE}, n)...)
	return p.sent(func() { wrote(p.frames.WriteData(stream, end, text)) })
}

func (p *h2) reset(stream uint32, code http2.ErrCode) string {
	return p.sent(func() { wrote(p.frames.WriteRSTStream(stream, code)) })
}

func (p *h2) settings(all ...http2.Setting) string {
	return p.sent(func() { wrote(p.frames.WriteSettings(all...)) })
}

// http2Get and grpcCall are the fields of requests, grpcFields and grpcEnd those of responses.
func http2Get(path string) []string {
	return []string{":method", "GET", ":scheme", "http", ":path", path, ":authority", "shop.example", "user-agent", "test/1.0", "accept", "*/*"}
}

func grpcCall(method string) []string {
	return []string{":method", "POST", ":scheme", "http", ":path", method, ":authority", "shop.example", "content-type", "application/grpc",
		"user-agent", "grpc-go/1.83.2", "te", "trailers", "grpc-timeout", "99999u"}
}

func grpcFields() []string { return []string{":status", "200", "content-type", "application/grpc"} }

func grpcEnd(status string) []string {
	return []string{"grpc-status", status, "grpc-message", ""}
}

func wrote(err error) {
	if err != nil {
		panic(err)
	}
}

const asClient, asServer = "http2 0", "http2 1" // whose socket is seen, for converse

// sameHoweverCut plays a conversation whole and cut into pieces, and expects the same of all.
func sameHoweverCut(t *testing.T, protocol string, want []string, conversation ...say) {
	t.Helper()
	if got := converse(t, protocol, conversation...); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, size := range []int{1, 2, 3, 7, 40} {
		if got := converse(t, protocol, cut(conversation, size)...); !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: got %q\nwant %q", size, got, want)
		}
	}
	if got := converse(t, protocol, inThreeParts(conversation)...); !slices.Equal(got, want) {
		t.Errorf("in parts: got %q\nwant %q", got, want)
	}
}

// inThreeParts gives each call three buffers.
func inThreeParts(conversation []say) []say {
	random := rand.New(rand.NewPCG(1, 2))
	var all []say
	for _, s := range conversation {
		if text := strings.Join(s.parts, ""); len(text) > 2 {
			a := 1 + random.IntN(len(text)-2)
			b := a + 1 + random.IntN(len(text)-a-1)
			s.parts = []string{text[:a], text[a:b], text[b:]}
		}
		all = append(all, s)
	}
	return all
}

// opening is what both sides say first.
func opening(c, s *h2) []say {
	return []say{
		asks(http2.ClientPreface + c.settings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}) + c.sent(func() { wrote(c.frames.WriteWindowUpdate(0, 1<<20)) })),
		answers(s.settings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 250}) + s.sent(func() { wrote(s.frames.WriteSettingsAck()) })),
		asks(c.sent(func() { wrote(c.frames.WriteSettingsAck()) })),
	}
}

func TestHTTP2Conversations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, side string
		talk       func(c, s *h2) []say
		want       []string
	}{
		{"a response without a body", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), waits(500), answers(s.headers(1, true, ":status", "204"))}
		}, []string{"http2 method=1 status=204 ok 500 ns /a"}},
		{"a response with a body ends with the body", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), waits(500), answers(s.headers(1, false, ":status", "200", "content-length", "40000")),
				waits(500), answers(s.data(1, false, 16384) + s.data(1, false, 16384)), waits(500), answers(s.data(1, true, 7232))}
		}, []string{"http2 method=1 status=200 ok 1500 ns /a"}},
		{"the last frame may be empty", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, false, ":status", "200") + s.data(1, false, 100)), waits(500), answers(s.data(1, true, 0))}
		}, []string{"http2 method=1 status=200 ok 500 ns /a"}},
		{"the response may come before the request is whole", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, ":method", "PUT", ":scheme", "http", ":path", "/upload", ":authority", "a") + c.data(1, false, 10000)),
				answers(s.headers(1, true, ":status", "413")), asks(c.data(1, true, 10000)), asks(c.headers(3, true, http2Get("/a")...)), answers(s.headers(3, true, ":status", "200"))}
		}, []string{"http2 method=4 status=413 ok 0 ns /upload", "http2 method=1 status=200 ok 0 ns /a"}},
		{"interleaved responses, in another order", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/one")...) + c.headers(3, true, http2Get("/two")...)), waits(100), asks(c.headers(5, true, http2Get("/three")...)), waits(100),
				answers(s.headers(5, false, ":status", "404") + s.headers(1, false, ":status", "200") + s.data(1, false, 600) + s.data(5, true, 600)), waits(100),
				answers(s.headers(3, true, ":status", "302")), waits(100), answers(s.data(1, true, 700))}
		}, []string{"http2 method=1 status=404 ok 100 ns /three", "http2 method=1 status=302 ok 300 ns /two", "http2 method=1 status=200 ok 400 ns /one"}},
		{"a server fails from 500 on", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, true, ":status", "500")), asks(c.headers(3, true, http2Get("/a")...)), answers(s.headers(3, true, ":status", "503")),
				asks(c.headers(5, true, http2Get("/a")...)), answers(s.headers(5, true, ":status", "499"))}
		}, []string{"http2 method=1 status=500 failed 0 ns /a", "http2 method=1 status=503 failed 0 ns /a", "http2 method=1 status=499 ok 0 ns /a"}},
		{"a client from 400 on", asClient, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, true, ":status", "400")), asks(c.headers(3, true, http2Get("/a")...)), answers(s.headers(3, true, ":status", "399"))}
		}, []string{"http2 method=1 status=400 failed 0 ns /a", "http2 method=1 status=399 ok 0 ns /a"}},
		{"methods", asServer, func(c, s *h2) []say {
			var all []say
			for i, m := range append(slices.Clone(RequestMethods[1:]), "PROPFIND", "G", "GETS") {
				id := uint32(2*i + 1)
				all = append(all, asks(c.headers(id, true, ":method", m, ":path", "/a", ":scheme", "http")), answers(s.headers(id, true, ":status", "200")))
			}
			return all
		}, func() (want []string) {
			for _, m := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0} {
				want = append(want, fmt.Sprintf("http2 method=%d status=200 ok 0 ns /a", m))
			}
			return want
		}()},
		{"the query is no part of the name", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/search?q=secret&page=1")...)), answers(s.headers(1, true, ":status", "200")),
				asks(c.headers(3, true, http2Get("/search")...)), answers(s.headers(3, true, ":status", "200")),
				asks(c.headers(5, true, http2Get("/search?"+strings.Repeat("q=secret&", 300))...)), answers(s.headers(5, true, ":status", "200"))}
		}, []string{"http2 method=1 status=200 ok 0 ns /search", "http2 method=1 status=200 ok 0 ns /search", "http2 method=1 status=200 ok 0 ns /search"}},
		{"numbers in paths are folded", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/users/12345/orders")...)), answers(s.headers(1, true, ":status", "200")),
				asks(c.headers(3, true, http2Get("/users/98765/orders")...)), answers(s.headers(3, true, ":status", "200"))}
		}, []string{"http2 method=1 status=200 ok 0 ns /users/12345/orders", "http2 method=1 status=200 ok 0 ns /users/12345/orders"}},
		{"the paths of the static table", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/")...)), answers(s.headers(1, true, ":status", "200")), asks(c.headers(3, true, http2Get("/index.html")...)), answers(s.headers(3, true, ":status", "304"))}
		}, []string{"http2 method=1 status=200 ok 0 ns /", "http2 method=1 status=304 ok 0 ns /index.html"}},
		{"what precedes a response is none", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), waits(100), answers(s.headers(1, false, ":status", "100")), waits(100), answers(s.headers(1, false, ":status", "103", "link", "</a.css>")),
				waits(100), answers(s.headers(1, false, ":status", "200") + s.data(1, true, 5))}
		}, []string{"http2 method=1 status=200 ok 300 ns /a"}},
		{"nor has it a status", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, false, ":status", "103")), asks(c.reset(1, http2.ErrCodeCancel))}
		}, []string{"http2 method=1 status=0 cancelled 0 ns /a"}},
		{"trailers of both sides", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, http2Get("/a")...) + c.data(1, false, 100) + c.headers(1, true, "checksum", "1234")), waits(100),
				answers(s.headers(1, false, ":status", "200") + s.data(1, false, 100) + s.headers(1, true, "checksum", "5678"))}
		}, []string{"http2 method=1 status=200 ok 100 ns /a"}},
		{"a reset cancels, from either side", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, false, ":status", "200")), waits(100), asks(c.reset(1, http2.ErrCodeCancel)),
				asks(c.headers(3, true, http2Get("/b")...)), waits(100), answers(s.reset(3, http2.ErrCodeRefusedStream))}
		}, []string{"http2 method=1 status=200 cancelled 100 ns /a", "http2 method=1 status=0 cancelled 100 ns /b"}},
		{"a reset behind the end says nothing", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, http2Get("/a")...)), answers(s.headers(1, true, ":status", "200") + s.reset(1, http2.ErrCodeNo)), asks(c.reset(1, http2.ErrCodeCancel))}
		}, []string{"http2 method=1 status=200 ok 0 ns /a"}},
		{"what is pushed is no response", asServer, func(c, s *h2) []say {
			push := s.sent(func() {
				wrote(s.frames.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: s.encode(http2Get("/pushed")...), EndHeaders: true, PadLength: 3}))
			})
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(push + s.headers(1, false, ":status", "201", "etag", "x") + s.data(1, true, 10)),
				answers(s.headers(2, false, ":status", "200", "etag", "x") + s.data(2, true, 10)), asks(c.headers(3, true, http2Get("/b")...)), answers(s.headers(3, true, ":status", "201", "etag", "x"))}
		}, []string{"http2 method=1 status=201 ok 0 ns /a", "http2 method=1 status=201 ok 0 ns /b"}},
		{"padding and priority", asServer, func(c, s *h2) []say {
			all := []say{}
			for i, padding := range []uint8{0, 1, 8, 255} {
				id := uint32(2*i + 1)
				all = append(all, asks(c.sent(func() {
					wrote(c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(http2Get("/padded")...), EndHeaders: true, PadLength: padding,
						Priority: http2.PriorityParam{StreamDep: 0, Exclusive: true, Weight: 200}}))
					wrote(c.frames.WriteDataPadded(id, true, []byte("body"), make([]byte, padding)))
					wrote(c.frames.WritePriority(id, http2.PriorityParam{StreamDep: 0, Weight: 3}))
				})), answers(s.sent(func() {
					wrote(s.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.encode(":status", "418"), EndHeaders: true, PadLength: padding}))
					wrote(s.frames.WriteDataPadded(id, true, []byte("body"), make([]byte, padding)))
				})))
			}
			return all
		}, slices.Repeat([]string{"http2 method=1 status=418 ok 0 ns /padded"}, 4)},
		{"frames that say nothing", asServer, func(c, s *h2) []say {
			noise := func(p *h2) string {
				return p.sent(func() {
					wrote(p.frames.WritePing(false, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}))
					wrote(p.frames.WriteWindowUpdate(0, 100))
					wrote(p.frames.WriteWindowUpdate(1, 100))
					wrote(p.frames.WritePing(true, [8]byte{1, 1, 1, 1, 1, 1, 1, 1}))
					wrote(p.frames.WriteRawFrame(0x0a, 0, 1, []byte("an alternative service"))) // ALTSVC
					wrote(p.frames.WriteRawFrame(0x10, 0, 0, []byte("a priority")))             // PRIORITY_UPDATE
					wrote(p.frames.WriteRawFrame(0xb5, 0xff, 7, make([]byte, 1000)))            // anything
					wrote(p.frames.WriteSettings())
				})
			}
			return []say{asks(noise(c) + c.headers(1, true, http2Get("/a")...) + noise(c)), answers(noise(s) + s.headers(1, false, ":status", "200") + noise(s) + s.data(1, true, 10) + noise(s)),
				answers(s.sent(func() { wrote(s.frames.WriteGoAway(1, http2.ErrCodeNo, []byte("enough for today"))) })), asks(noise(c))}
		}, []string{"http2 method=1 status=200 ok 0 ns /a"}},
		{"more frames in one call than are passed at once", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, false, ":status", "200") + strings.Repeat(s.data(1, false, 3), 100)), waits(5),
				answers(strings.Repeat(s.data(1, false, 3), 8) + s.frame(http2.FrameData, http2.FlagDataEndStream, 1, "")), waits(5),
				asks(strings.Repeat(c.settings(), 8) + c.headers(3, true, http2Get("/b")...)), answers(strings.Repeat(s.settings(), 8) + s.headers(3, true, ":status", "200"))}
		}, []string{"http2 method=1 status=200 ok 5 ns /a", "http2 method=1 status=200 ok 0 ns /b"}},
		{"a status that nonsense follows is told", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, false, ":status", "200") + s.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x80"))}
		}, []string{"unmatched http2 lost_framing", "http2 method=1 status=200 closed 0 ns /a"}},
		{"fields that were missed leave the table unknown", asServer, func(c, s *h2) []say {
			one := c.headers(1, true, http2Get("/one")...)
			c.headers(3, true, http2Get("/two")...) // which is lost
			return []say{asks(one), asks(strings.Repeat("nonsense", 20)), answers(s.headers(1, true, ":status", "200")), asks(c.headers(5, true, http2Get("/one")...)), answers(s.headers(5, true, ":status", "200"))}
		}, []string{"unmatched http2 lost_framing", "http2 method=1 status=200 ok 0 ns /one", "unmatched http2 header_table", "http2 method=1 status=200 ok 0 ns -"}},
		{"what has not ended when the connection does is closed", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, http2Get("/a")...)), waits(100), answers(s.headers(1, false, ":status", "200") + s.data(1, false, 100))}
		}, []string{"http2 method=1 status=200 closed 100 ns /a"}},
		{"a frame of 16 MB", asServer, func(c, s *h2) []say {
			huge := string([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1})
			return []say{asks(c.headers(1, false, http2Get("/a")...) + huge), asksUnread(1<<24 - 1), asks(c.data(1, true, 3)), answers(s.headers(1, true, ":status", "200"))}
		}, []string{"http2 method=1 status=200 ok 0 ns /a"}},
		{"a frame of 128 KB, all in all", asServer, func(c, s *h2) []say {
			large := string([]byte{0x01, 0xff, 0xf7, 0, 0, 0, 0, 0, 1}) // as a place it has once been taken for a mistake
			return []say{asks(c.headers(1, false, http2Get("/a")...)), asks(large), asksUnread(1<<17 - 9), asks(c.data(1, true, 3)), answers(s.headers(1, true, ":status", "200"))}
		}, []string{"http2 method=1 status=200 ok 0 ns /a"}},
		{"a body by sendfile", asServer, func(c, s *h2) []say {
			body := s.data(1, true, 9000)
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, false, ":status", "200") + body[:9]), answersUnread(5000), answersUnread(4000),
				asks(c.headers(3, true, http2Get("/a")...)), answers(s.headers(3, true, ":status", "200"))}
		}, []string{"http2 method=1 status=200 ok 0 ns /a", "http2 method=1 status=200 ok 0 ns /a"}},
		{"to a client a response ends with its last byte", asClient, func(c, s *h2) []say {
			body := s.data(1, true, 9000)
			return []say{asks(c.headers(1, true, http2Get("/a")...)), answers(s.headers(1, false, ":status", "200") + body[:5000]), waits(100), answers(body[5000:9008]), waits(100), answers(body[9008:])}
		}, []string{"http2 method=1 status=200 ok 200 ns /a"}},
		{"the trace of a request", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, append(http2Get("/a"), "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")...)), answers(s.headers(1, true, ":status", "200"))}
		}, []string{"trace 4bf92f3577b34da6a3ce929d0e0e4736", "http2 method=1 status=200 ok 0 ns /a"}},
		{"a trace that another one has followed is not told", asServer, func(c, s *h2) []say {
			traced := func(id uint32, trace string) say {
				return asks(c.headers(id, true, append(http2Get("/a"), "traceparent", "00-"+strings.Repeat(trace, 32)+"-00f067aa0ba902b7-01")...))
			}
			return []say{traced(1, "a"), traced(3, "b"), traced(5, "a"), answers(s.headers(1, true, ":status", "200") + s.headers(3, true, ":status", "200") + s.headers(5, true, ":status", "200"))}
		}, append([]string{"trace " + strings.Repeat("a", 32), "trace " + strings.Repeat("b", 32)}, slices.Repeat([]string{"http2 method=1 status=200 ok 0 ns /a"}, 3)...)},
		{"what is no trace", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, append(http2Get("/a"), "traceparent", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01")...) +
				c.headers(3, true, append(http2Get("/a"), "traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01")...) +
				c.headers(5, true, append(http2Get("/a"), "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736")...)),
				answers(s.headers(1, true, ":status", "200") + s.headers(3, true, ":status", "200") + s.headers(5, true, ":status", "200"))}
		}, slices.Repeat([]string{"http2 method=1 status=200 ok 0 ns /a"}, 3)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, s := newH2(), newH2()
			sameHoweverCut(t, test.side, append(test.want, "is http2"), append(opening(c, s), test.talk(c, s)...)...)
		})
	}
}

func TestGRPCConversations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, side string
		talk       func(c, s *h2) []say
		want       []string
	}{
		{"a call", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, grpcCall("/shop.v1.Cart/Add")...) + c.message(1, true, 20)), waits(300),
				answers(s.headers(1, false, grpcFields()...) + s.message(1, false, 30) + s.headers(1, true, grpcEnd("0")...))}
		}, []string{"grpc method=3 status=0 ok 300 ns /shop.v1.Cart/Add"}},
		{"an error has trailers only", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, grpcCall("/shop.v1.Cart/Add")...) + c.message(1, true, 20)), waits(300),
				answers(s.headers(1, true, append(grpcFields(), grpcEnd("13")...)...))}
		}, []string{"grpc method=3 status=13 failed 300 ns /shop.v1.Cart/Add"}},
		{"a stream ends with its trailers", asServer, func(c, s *h2) []say {
			all := []say{asks(c.headers(1, false, grpcCall("/shop.v1.Cart/Watch")...) + c.message(1, false, 20)), answers(s.headers(1, false, grpcFields()...))}
			for range 50 {
				all = append(all, waits(10), answers(s.message(1, false, 300)+s.message(1, false, 10)), asks(c.message(1, false, 40)))
			}
			return append(all, asks(c.data(1, true, 0)), waits(10), answers(s.headers(1, true, grpcEnd("0")...)))
		}, []string{"grpc method=3 status=0 ok 510 ns /shop.v1.Cart/Watch"}},
		{"calls of several methods at once", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, grpcCall("/a.B/One")...) + c.headers(3, false, grpcCall("/a.B/Two")...) + c.message(3, true, 9) + c.message(1, true, 9)), waits(100),
				answers(s.headers(3, false, grpcFields()...) + s.headers(1, false, grpcFields()...) + s.message(3, false, 4) + s.headers(3, true, grpcEnd("0")...)), waits(100),
				answers(s.headers(1, true, grpcEnd("5")...))}
		}, []string{"grpc method=3 status=0 ok 100 ns /a.B/Two", "grpc method=3 status=5 ok 200 ns /a.B/One"}},
		{"a call that is cancelled has no status", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, grpcCall("/a.B/One")...) + c.message(1, true, 9)), answers(s.headers(1, false, grpcFields()...)), waits(100), asks(c.reset(1, http2.ErrCodeCancel))}
		}, []string{"grpc method=3 status=65535 cancelled 100 ns /a.B/One"}},
		{"nor has one that ends without any", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, grpcCall("/a.B/One")...) + c.message(1, true, 9)), answers(s.headers(1, false, grpcFields()...)), answers(s.message(1, true, 10))}
		}, []string{"grpc method=3 status=65535 ok 0 ns /a.B/One"}},
		{"nor one whose connection ends", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, false, grpcCall("/a.B/One")...) + c.message(1, true, 9)), waits(5)}
		}, []string{"grpc method=3 status=65535 closed 5 ns /a.B/One"}},
		{"types of gRPC, and others that look alike", asServer, func(c, s *h2) []say {
			var all []say
			for i, kind := range []string{"application/grpc+proto", "application/grpc;charset=utf-8", "application/grpc-web", "application/grpcs", "application/grp", "application/json"} {
				id := uint32(2*i + 1)
				all = append(all, asks(c.headers(id, true, ":method", "POST", ":path", "/a.B/C", "content-type", kind)), answers(s.headers(id, true, ":status", "200", "content-type", kind)))
			}
			return all
		}, []string{"grpc method=3 status=65535 ok 0 ns /a.B/C", "grpc method=3 status=65535 ok 0 ns /a.B/C", "http2 method=3 status=200 ok 0 ns /a.B/C",
			"http2 method=3 status=200 ok 0 ns /a.B/C", "http2 method=3 status=200 ok 0 ns /a.B/C", "http2 method=3 status=200 ok 0 ns /a.B/C"}},
		{"both kinds on one connection", asServer, func(c, s *h2) []say {
			return []say{asks(c.headers(1, true, grpcCall("/a.B/C")...) + c.headers(3, true, http2Get("/health")...)), answers(s.headers(3, true, ":status", "200") + s.headers(1, true, append(grpcFields(), grpcEnd("0")...)...))}
		}, []string{"http2 method=1 status=200 ok 0 ns /health", "grpc method=3 status=0 ok 0 ns /a.B/C"}},
		{"a proxy answers for a server that is away", asClient, func(c, s *h2) []say {
			var all []say
			for i, status := range []string{"503", "404", "401", "500", "403", "429", "400", "302"} {
				id := uint32(2*i + 1)
				all = append(all, asks(c.headers(id, false, grpcCall("/a.B/C")...)+c.message(id, true, 9)), answers(s.headers(id, false, ":status", status, "content-type", "text/html")+s.data(id, true, 200)))
			}
			return append(all, asks(c.headers(101, true, grpcCall("/a.B/C")...)), answers(s.headers(101, true, ":status", "502")))
		}, func() (want []string) {
			for _, code := range []int{14, 12, 16, 2, 7, 14, 13, 2, 14} {
				want = append(want, fmt.Sprintf("grpc method=3 status=%d failed 0 ns /a.B/C", code))
			}
			return want
		}()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, s := newH2(), newH2()
			sameHoweverCut(t, test.side, append(test.want, "is http2"), append(opening(c, s), test.talk(c, s)...)...)
		})
	}
}

// TestGRPCStatuses expects what https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ calls an error of either side.
func TestGRPCStatuses(t *testing.T) {
	t.Parallel()
	faults := []int{2, 4, 12, 13, 14, 15}
	for _, side := range []string{asClient, asServer} {
		c, s := newH2(), newH2()
		talk := opening(c, s)
		var want []string
		for code := range 17 {
			id := uint32(2*code + 1)
			talk = append(talk, asks(c.headers(id, false, grpcCall("/a.B/C")...)+c.message(id, true, 9)),
				answers(s.headers(id, false, grpcFields()...)+s.message(id, false, 3)+s.headers(id, true, grpcEnd(fmt.Sprint(code))...)))
			end := "ok"
			if slices.Contains(faults, code) || (side == asClient && code != 0) {
				end = "failed"
			}
			want = append(want, fmt.Sprintf("grpc method=3 status=%d %s 0 ns /a.B/C", code, end))
		}
		sameHoweverCut(t, side, append(want, "is http2"), talk...)
	}
}

// TestHTTP2DynamicTable has the encoders of golang.org/x/net refer back to what they have sent, with tables so small that
// they evict all the time, and of sizes that change.
func TestHTTP2DynamicTable(t *testing.T) {
	t.Parallel()
	methods := []string{"/shop.v1.Cart/Add", "/shop.v1.Cart/Remove", "/shop.v1.Stock/Reserve", "/health.v1.Health/Check"}
	for _, size := range []uint32{0, 64, 150, 400, 4096} {
		c, s := newH2(), newH2()
		c.fields.SetMaxDynamicTableSize(size)
		s.fields.SetMaxDynamicTableSize(size)
		talk := opening(c, s)
		var want []string
		for i := range 100 {
			id := uint32(2*i + 1)
			if i%10 == 9 && size > 0 { // an update, of which the smallest one is told too
				c.fields.SetMaxDynamicTableSize(size / 2)
				c.fields.SetMaxDynamicTableSize(size)
				s.fields.SetMaxDynamicTableSize(0)
				s.fields.SetMaxDynamicTableSize(size)
			}
			custom := []string{fmt.Sprintf("x-request-%d", i%3), fmt.Sprint(i), "x-tenant", "blue"}
			switch i % 4 {
			case 0, 1, 2:
				method, code := methods[i*7%4], []string{"0", "0", "5", "14"}[i*3%4]
				talk = append(talk, asks(c.headers(id, false, append(grpcCall(method), custom...)...)+c.message(id, true, 9)),
					answers(s.headers(id, false, append(grpcFields(), custom...)...)+s.message(id, false, 3)+s.headers(id, true, append(grpcEnd(code), custom...)...)))
				end := map[string]string{"0": "ok", "5": "ok", "14": "failed"}[code]
				want = append(want, fmt.Sprintf("grpc method=3 status=%s %s 0 ns %s", code, end, method))
			case 3:
				path, status := []string{"/", "/metrics", "/about/us"}[i%3], []string{"200", "301", "404", "422"}[i/4%4]
				talk = append(talk, asks(c.headers(id, true, append(http2Get(path), custom...)...)), answers(s.headers(id, true, append([]string{":status", status}, custom...)...)))
				want = append(want, fmt.Sprintf("http2 method=1 status=%s ok 0 ns %s", status, path))
			}
		}
		sameHoweverCut(t, asServer, append(want, "is http2"), talk...)
	}
}

// plain makes a field that is not in the Huffman code: first is 0x40 for one that is inserted, 0x00 or 0x10 for one that is not.
func plain(first byte, name, value string) string {
	return string([]byte{first, byte(len(name))}) + name + string([]byte{byte(len(value))}) + value
}

// TestHTTP2EncodersWithoutTables has fields as the simplest encoders write them.
func TestHTTP2EncodersWithoutTables(t *testing.T) {
	t.Parallel()
	for _, first := range []byte{0x40, 0x00, 0x10} {
		for _, huffman := range []bool{false, true} {
			field := func(name, value string) string {
				if !huffman {
					return plain(first, name, value)
				}
				n, v := hpack.AppendHuffmanString(nil, name), hpack.AppendHuffmanString(nil, value)
				return string([]byte{first, 0x80 | byte(len(n))}) + string(n) + string([]byte{0x80 | byte(len(v))}) + string(v)
			}
			c, s := newH2(), newH2()
			frame := func(p *h2, stream uint32, end bool, block string) string {
				return p.sent(func() {
					wrote(p.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(block), EndStream: end, EndHeaders: true}))
				})
			}
			talk := append(opening(c, s),
				asks(frame(c, 1, true, field(":method", "DELETE")+field(":scheme", "http")+field(":path", "/carts/mine")+field("x-unknown", "value"))),
				answers(frame(s, 1, true, field(":status", "410")+field("server", "test"))),
				asks(frame(c, 3, true, field(":method", "POST")+field(":path", "/a.B/C")+field("content-type", "application/grpc"))),
				answers(frame(s, 3, false, field(":status", "200")+field("content-type", "application/grpc"))+frame(s, 3, true, field("grpc-status", "8"))))
			sameHoweverCut(t, asServer, []string{"http2 method=5 status=410 ok 0 ns /carts/mine", "grpc method=3 status=8 ok 0 ns /a.B/C", "is http2"}, talk...)
		}
	}
}

// TestHTTP2Continuation splits a block of literal fields at every place, and into frames of a few bytes.
func TestHTTP2Continuation(t *testing.T) {
	t.Parallel()
	split := func(p *h2, stream uint32, block []byte, size ...int) string {
		return p.sent(func() {
			n := min(size[0], len(block))
			wrote(p.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:n], EndStream: true, EndHeaders: n == len(block), PadLength: 3}))
			for i, block := 1, block[n:]; len(block) > 0; i++ {
				n := min(size[min(i, len(size)-1)], len(block))
				wrote(p.frames.WriteContinuation(stream, n == len(block), block[:n]))
				block = block[n:]
			}
		})
	}
	c, s := newH2(), newH2()
	c.fields.SetMaxDynamicTableSize(0)
	s.fields.SetMaxDynamicTableSize(0)
	request := append(grpcCall("/shop.v1.Cart/AddWithAName"), "x-long", strings.Repeat("long", 20), "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	response := append(grpcFields(), grpcEnd("7")...)
	sizes := [][]int{{1}, {2}, {0, 1}, {0, 0, 0, 3}, {2, 3}, {40, 1, 1, 50}}
	for i := range len(c.encode(request...)) {
		sizes = append(sizes, []int{i, 1 << 14})
	}
	talk := opening(c, s)
	var want []string
	for i, size := range sizes {
		id := uint32(2*i + 1)
		talk = append(talk, asks(split(c, id, c.encode(request...), size...)), answers(split(s, id, s.encode(response...), size...)))
		want = append(want, "trace 4bf92f3577b34da6a3ce929d0e0e4736", "grpc method=3 status=7 ok 0 ns /shop.v1.Cart/AddWithAName")
	}
	sameHoweverCut(t, asServer, append(want, "is http2"), cut(talk, 600)...) // whose tiny frames are more than one call can have
}

// frame makes a frame of any kind.
func (p *h2) frame(kind http2.FrameType, flags http2.Flags, stream uint32, payload string) string {
	return p.sent(func() { wrote(p.frames.WriteRawFrame(kind, flags, stream, []byte(payload))) })
}

// TestHTTP2JoinedInTheMiddle begins to look when the tables of both sides have long been filled.
func TestHTTP2JoinedInTheMiddle(t *testing.T) {
	t.Parallel()
	trailers := func(code string) []string { return append(grpcEnd(code), "x-served-by", "a") }
	exchange := func(c, s *h2, id uint32, method, code string) []say {
		return []say{asks(c.headers(id, false, grpcCall(method)...) + c.message(id, true, 9)),
			answers(s.headers(id, false, grpcFields()...) + s.message(id, false, 3) + s.headers(id, true, trailers(code)...))}
	}
	c, s := newH2(), newH2()
	exchange(c, s, 1, "/a.B/Old", "0") // which nobody sees, like all that was said before
	blind := []string{"unmatched http2 header_table", "unmatched http2 header_table", "grpc method=3 status=65535 ok 0 ns -"}
	var talk []say
	var want []string
	for i := range 4 {
		talk = append(talk, exchange(c, s, uint32(2*i+3), "/a.B/Old", "0")...)
		want = append(want, blind...)
	}
	for i := range 4 { // the path is literal at first; its code has a name that nobody has seen
		talk = append(talk, exchange(c, s, uint32(2*i+21), "/a.B/New", "5")...)
		want = append(want, "unmatched http2 header_table", "grpc method=3 status=65535 ok 0 ns /a.B/New")
	}
	sameHoweverCut(t, asServer, append(want, "is http2"), talk...)
	if got := converse(t, "auto", talk...); !slices.Equal(got, append(want, "is http2")) {
		t.Errorf("without being told the protocol: got %q, want %q", got, want)
	}

	c, s = newH2(), newH2()
	exchange(c, s, 1, "/a.B/Old", "0")
	c.headers(3, true, http2Get("/old")...)
	talk = []say{asks(c.headers(5, true, http2Get("/old")...)), answers(s.headers(5, true, ":status", "404")),
		asks(c.headers(7, true, http2Get("/new")...)), answers(s.headers(7, true, ":status", "201")),
		asks(c.headers(9, true, http2Get("/new")...)), answers(s.headers(9, true, ":status", "201")),
		answers(s.data(11, true, 4000))} // the end of what was asked before
	want = []string{"unmatched http2 header_table", "http2 method=1 status=404 ok 0 ns -", "http2 method=1 status=201 ok 0 ns /new", "http2 method=1 status=201 ok 0 ns /new",
		"unmatched http2 no_request", "is http2"}
	sameHoweverCut(t, asServer, want, talk...)
}

// TestHTTP2IsRecognised by the first bytes that are seen of a connection.
func TestHTTP2IsRecognised(t *testing.T) {
	t.Parallel()
	fields := func(p *h2, fields ...string) string { return p.headers(7, true, fields...) }
	for _, test := range []struct {
		name  string
		first func(p *h2) say
		want  bool
	}{
		{"the preface", func(p *h2) say { return asks(http2.ClientPreface + p.settings()) }, true},
		{"the preface alone", func(p *h2) say { return asks(http2.ClientPreface) }, true},
		{"settings of a server", func(p *h2) say { return answers(p.settings(http2.Setting{ID: 3, Val: 100})) }, true},
		{"a request", func(p *h2) say { return asks(fields(p, http2Get("/a")...)) }, true},
		{"a request that begins with its path", func(p *h2) say { return asks(fields(p, ":path", "/a", ":method", "GET")) }, true},
		{"a response", func(p *h2) say { return answers(fields(p, ":status", "200")) }, true},
		{"a response of a rare status", func(p *h2) say { return answers(fields(p, ":status", "418")) }, true},
		{"trailers", func(p *h2) say { return answers(fields(p, grpcEnd("0")...)) }, true},
		{"a ping", func(p *h2) say { return asks(p.sent(func() { wrote(p.frames.WritePing(false, [8]byte{1})) })) }, true},
		{"a window", func(p *h2) say { return asks(p.sent(func() { wrote(p.frames.WriteWindowUpdate(3, 900)) })) }, true},
		{"a message of gRPC", func(p *h2) say { return asks(p.message(9, false, 90)) }, true},
		{"any data", func(p *h2) say { return asks(p.data(9, false, 90)) }, false},
		{"a frame of an unknown type", func(p *h2) say { return asks(p.frame(0x77, 0, 0, "12345678")) }, false},
		{"fields of stream 2", func(p *h2) say {
			return asks(p.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, "\x82\x84\x86"))
		}, false},
		{"zeros", func(p *h2) say { return asks(strings.Repeat("\x00", 100)) }, false},
		{"eight bytes", func(p *h2) say { return asks("\x00\x00\x04\x08\x00\x00\x00\x00") }, false},
		{"half a preface", func(p *h2) say { return asks("PRI * HT") }, false},
		{"another preface", func(p *h2) say { return asks("PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n") }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := converse(t, "auto", test.first(newH2()))
			if is := got[len(got)-1] == "is http2"; is != test.want {
				t.Errorf("got %q, want HTTP/2: %v", got, test.want)
			}
		})
	}
}

// TestHTTP2Nonsense has sides say what the protocol forbids, or what is meant to exhaust who reads it. The next request is
// understood, and is all that is told.
func TestHTTP2Nonsense(t *testing.T) {
	t.Parallel()
	const headers, all = http2.FrameHeaders, http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream
	long := func(n int) string { // an integer of n in a string's length, behind a name
		var b bytes.Buffer
		b.WriteString("\x40\x01x\x7f")
		for n -= 127; n >= 128; n >>= 7 {
			b.WriteByte(byte(n&127 | 128))
		}
		b.WriteByte(byte(n))
		return b.String()
	}
	for _, test := range []struct {
		name  string
		bytes func(c *h2) string
		want  []string // without the request that follows
	}{
		{"an index of 0", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x80\x84\x86") }, []string{"unmatched http2 lost_framing"}},
		{"an index beyond the table", func(c *h2) string { return c.frame(headers, all, 1, "\x82\xff\x80\x7f\x86") },
			[]string{"unmatched http2 header_table", "http2 method=1 status=0 closed 0 ns -"}},
		{"a name beyond the table", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x7f\x80\x7f\x01x\x84") }, []string{"http2 method=1 status=0 closed 0 ns /"}},
		{"an integer without an end", func(c *h2) string { return c.frame(headers, all, 1, "\x82\xff"+strings.Repeat("\xff", 40)+"\x00") }, []string{"unmatched http2 lost_framing"}},
		{"an integer beyond 32 bits", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x40\x01x\x7f\xff\xff\xff\xff\x7f") }, []string{"unmatched http2 lost_framing"}},
		{"a string that is longer than its block", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x84"+long(5000)+"short") }, []string{"unmatched http2 lost_framing"}},
		{"a name that is longer than its block", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x84\x40\x0bgrpc-st") }, []string{"unmatched http2 lost_framing"}},
		{"a block that ends before a value", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x84\x40\x01x") }, []string{"unmatched http2 lost_framing"}},
		{"fields within others", func(c *h2) string {
			return c.frame(headers, 0, 1, "\x82\x84") + c.frame(headers, all, 3, "\x82\x84")
		}, []string{"unmatched http2 lost_framing"}},
		{"data within fields", func(c *h2) string { return c.frame(headers, 0, 1, "\x82\x84") + c.data(1, true, 10) }, []string{"unmatched http2 lost_framing"}},
		{"fields that go on with those of another stream", func(c *h2) string {
			return c.frame(headers, 0, 1, "\x82\x84") + c.frame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 3, "\x86")
		}, []string{"unmatched http2 lost_framing"}},
		{"fields that go on with none", func(c *h2) string {
			return c.frame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 3, "\x86")
		},
			[]string{"unmatched http2 lost_framing"}},
		{"more padding than there are bytes", func(c *h2) string { return c.frame(headers, all|http2.FlagHeadersPadded, 1, "\x04\x82\x84") }, []string{"unmatched http2 lost_framing"}},
		{"less than a priority", func(c *h2) string {
			return c.frame(headers, all|http2.FlagHeadersPriority, 1, "\x82\x84\x86\x87") + c.settings()
		},
			[]string{"unmatched http2 lost_framing"}},
		{"a promise of a client", func(c *h2) string {
			return c.frame(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, "\x00\x00\x00\x02\x82\x84")
		},
			[]string{"unmatched http2 lost_framing"}},
		{"data of no stream", func(c *h2) string { return c.data(0, false, 10) }, []string{"unmatched http2 lost_framing"}},
		{"data of no stream behind more frames than are passed at once", func(c *h2) string { return strings.Repeat(c.settings(), 8) + c.data(0, false, 10) },
			[]string{"unmatched http2 lost_framing"}},
		{"settings of a stream", func(c *h2) string { return c.frame(http2.FrameSettings, 0, 1, "") }, []string{"unmatched http2 lost_framing"}},
		{"a ping of five bytes", func(c *h2) string { return c.frame(http2.FramePing, 0, 0, "12345") }, []string{"unmatched http2 lost_framing"}},
		{"a large frame of an unknown type", func(c *h2) string { return c.frame(0x99, 0, 1, strings.Repeat("x", 20000)) }, []string{"unmatched http2 lost_framing"}},
		{"no HTTP/2", func(c *h2) string { return strings.Repeat("This is a text that nobody takes for frames. ", 20) }, []string{"unmatched http2 lost_framing"}},
		{"six thousand fields", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x84"+strings.Repeat("\x86", 6000)) },
			[]string{"http2 method=1 status=0 closed 0 ns /"}},
		{"as many fields as a frame can hold", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x84"+strings.Repeat("\x86", 16000)) },
			[]string{"http2 method=1 status=0 closed 0 ns /"}},
		{"a field of a quarter of a megabyte, in many frames", func(c *h2) string {
			text := c.frame(headers, http2.FlagHeadersEndStream, 1, "\x82\x84"+long(1<<18))
			for range 1 << 6 {
				text += c.frame(http2.FrameContinuation, 0, 1, strings.Repeat("x", 1<<12))
			}
			return text + c.frame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, "\x86")
		}, []string{"http2 method=1 status=0 closed 0 ns /"}},
		{"a path of 16 KB", func(c *h2) string {
			return c.headers(1, true, ":method", "GET", ":path", "/"+strings.Repeat("a", 16000))
		},
			[]string{"http2 method=1 status=0 closed 0 ns /" + strings.Repeat("a", 63)}},
		{"an empty path, and empty names", func(c *h2) string { return c.frame(headers, all, 1, "\x82\x04\x00\x40\x00\x00\x00\x00\x00") },
			[]string{"http2 method=1 status=0 closed 0 ns -"}},
		{"bytes in a path that no path has", func(c *h2) string { return c.headers(1, true, ":method", "GET", ":path", "/a\xff\x01\u00e4") },
			[]string{"http2 method=1 status=0 closed 0 ns /a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, s := newH2(), newH2()
			before, after := newH2(), []string{"http2 method=2 status=200 ok 0 ns /after", "is http2"}
			talk := append(opening(before, s), asks(test.bytes(c)), answers(s.settings()), asks(newH2().headers(101, true, ":method", "HEAD", ":path", "/after")),
				answers(s.headers(101, true, ":status", "200")))
			var want []string
			for _, line := range test.want {
				if strings.HasPrefix(line, "unmatched") {
					want = append(want, line)
				}
			}
			want = append(want, after[0])
			for _, line := range test.want {
				if !strings.HasPrefix(line, "unmatched") {
					want = append(want, line)
				}
			}
			want = append(want, after[1])
			if got := converse(t, asServer, talk...); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if strings.Contains(test.name, "one call") {
				return // several calls may
			}
			if got := converse(t, asServer, cut(talk, 7)...); !slices.Equal(got, want) {
				t.Errorf("in pieces of 7: got %q, want %q", got, want)
			}
		})
	}
}

// TestHTTP2WithoutMemory has no room for header fields: requests are counted, and nobody knows what they were.
func TestHTTP2WithoutMemory(t *testing.T) {
	t.Parallel()
	c, s := newH2(), newH2()
	split := c.encode(http2Get("/b")...)
	talk := append(opening(c, s),
		asks(c.headers(1, false, grpcCall("/a.B/C")...)+c.message(1, true, 9)), waits(10),
		answers(s.headers(1, false, grpcFields()...)+s.message(1, false, 3)+s.headers(1, true, grpcEnd("13")...)),
		asks(c.frame(http2.FrameHeaders, http2.FlagHeadersEndStream, 3, string(split[:9]))+c.frame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 3, string(split[9:]))),
		answers(s.headers(3, false, ":status", "100")+s.headers(3, false, ":status", "500")+s.data(3, true, 100)))
	sameHoweverCut(t, "http2 1\ntableless", []string{"unmatched http2 no_room", "http2 method=0 status=0 ok 10 ns -", "unmatched http2 no_room", "http2 method=0 status=0 ok 0 ns -", "is http2"}, talk...)

	short := c.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersPriority, 5, "\x82")
	sameHoweverCut(t, "http2 1\ntableless", []string{"unmatched http2 lost_framing", "is http2"}, append(opening(newH2(), newH2()), asks(short+c.settings()+c.settings()))...)
}

// TestHTTP2RandomConversations has many streams at once, with whatever fields, frames and cuts there may be.
func TestHTTP2RandomConversations(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			talk, want := randomConversation(rand.New(rand.NewPCG(seed, 7)))
			if got := converse(t, asServer, talk...); !slices.Equal(got, want) {
				i := 0
				for i < min(len(got), len(want)) && got[i] == want[i] {
					i++
				}
				t.Errorf("got %d lines, want %d; from line %d on %q, want %q", len(got), len(want), i, got[i:min(len(got), i+3)], want[i:min(len(want), i+3)])
			}
		})
	}
}

// A talker says frames of one side of a random conversation.
type talker struct {
	*h2
	*rand.Rand
}

// headersOf makes frames of fields: padded or not, with a priority or not, of one or of several frames.
func (p *talker) headersOf(stream uint32, end bool, fields ...string) string {
	if p.IntN(20) == 0 {
		p.fields.SetMaxDynamicTableSize(uint32(p.IntN(3) * 300))
	}
	block := p.encode(fields...)
	for range p.IntN(3) { // fields as others encode them, of which no table takes note
		value := strings.Repeat(string(rune('a'+p.IntN(26))), p.IntN(120))
		block = append(block, plain([]byte{0x00, 0x10}[p.IntN(2)], "x-more", value)...)
	}
	first := len(block)
	if p.IntN(4) == 0 {
		first = p.IntN(len(block))
	}
	param := http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:first], EndStream: end, EndHeaders: first == len(block)}
	if p.IntN(4) == 0 {
		param.PadLength = uint8(p.IntN(256))
	}
	if p.IntN(4) == 0 {
		param.Priority = http2.PriorityParam{StreamDep: 0, Weight: 100}
	}
	return p.sent(func() {
		wrote(p.frames.WriteHeaders(param))
		for block = block[first:]; len(block) > 0; {
			n := min(len(block), 1+p.IntN(100))
			wrote(p.frames.WriteContinuation(stream, n == len(block), block[:n]))
			block = block[n:]
		}
	})
}

func (p *talker) noise() string {
	return p.sent(func() {
		switch p.IntN(6) {
		case 0:
			wrote(p.frames.WritePing(false, [8]byte{}))
		case 1:
			wrote(p.frames.WriteWindowUpdate(0, 77))
		case 2:
			wrote(p.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
		case 3:
			wrote(p.frames.WriteRawFrame(0x33, 0xff, 5, make([]byte, p.IntN(100))))
		}
	})
}

// An exchange is one request of a random conversation, and its response.
type exchange struct {
	id         uint32
	grpc       bool
	path, code string
	begun      bool // the response has
}

// line is what is told when it ends.
func (x *exchange) line(cancelled bool) string {
	protocol, method, status, end := "http2", 1, x.code, "ok"
	if x.grpc {
		protocol, method = "grpc", 3
	}
	if x.code == "13" || x.code >= "500" {
		end = "failed"
	}
	if cancelled {
		end = "cancelled"
	}
	if cancelled && x.grpc {
		status = "65535"
	}
	return fmt.Sprintf("%s method=%d status=%s %s 0 ns %s", protocol, method, status, end, x.path)
}

// randomExchange makes one, and the fields of its request.
func randomExchange(random *rand.Rand, id uint32) (x *exchange, fields []string) {
	x = &exchange{id: id, grpc: random.IntN(2) == 0, path: fmt.Sprintf("/shop.v%c.Cart/Method%c", 'A'+random.IntN(3), 'A'+random.IntN(20))}
	fields, codes := http2Get(x.path), []string{"200", "204", "404", "418", "500", "503"}
	if x.grpc {
		fields, codes = grpcCall(x.path), []string{"0", "0", "5", "13", "16"}
	}
	x.code = codes[random.IntN(len(codes))]
	for range random.IntN(4) {
		fields = append(fields, fmt.Sprintf("x-%d", random.IntN(40)), fmt.Sprint(random.IntN(50)))
	}
	return x, fields
}

// randomConversation makes a conversation and says what comes of it.
func randomConversation(random *rand.Rand) (talk []say, want []string) {
	c, s := &talker{newH2(), random}, &talker{newH2(), random}
	talk = opening(c.h2, s.h2)
	tell := func(side, text string) { // in one call with what was said before, or in several
		last := &talk[len(talk)-1]
		if last.side == side && random.IntN(2) == 0 {
			last.parts[0] += text
			return
		}
		for len(text) > 0 {
			n := len(text)
			if random.IntN(3) == 0 {
				n = 1 + random.IntN(n)
			}
			talk = append(talk, say{side: side, parts: []string{text[:n]}})
			text = text[n:]
		}
	}
	var open []*exchange
	for next := uint32(1); len(want) < 150; {
		if len(open) == 0 || len(open) < 12 && random.IntN(3) > 0 {
			x, fields := randomExchange(random, next)
			next += 2
			tell(">", c.headersOf(x.id, !x.grpc, fields...)+c.noise())
			if x.grpc {
				tell(">", c.message(x.id, true, random.IntN(2000)))
			}
			open = append(open, x)
			continue
		}
		i := random.IntN(len(open))
		x, ends, cancelled := open[i], false, false
		switch fields := []string{"x-id", fmt.Sprint(x.id), "server", "random"}; {
		case !x.begun && x.grpc:
			tell("<", s.headersOf(x.id, false, append(grpcFields(), fields...)...))
		case !x.begun:
			tell("<", s.headersOf(x.id, false, append([]string{":status", x.code}, fields...)...)+s.noise())
		case random.IntN(2) == 0:
			tell("<", s.message(x.id, false, random.IntN(3000))+s.noise())
		case random.IntN(10) == 0:
			ends, cancelled = true, true
			tell(">", c.reset(x.id, http2.ErrCodeCancel))
		case x.grpc:
			ends = true
			tell("<", s.headersOf(x.id, true, append(grpcEnd(x.code), fields...)...))
		default:
			ends = true
			tell("<", s.data(x.id, true, random.IntN(1000)))
		}
		x.begun = true
		if ends {
			open = slices.Delete(open, i, i+1)
			want = append(want, x.line(cancelled))
		}
	}
	for _, x := range open {
		end := []string{":status", x.code}
		if x.grpc {
			end = append(grpcFields(), grpcEnd(x.code)...)
		}
		tell("<", s.headersOf(x.id, true, end...))
		want = append(want, x.line(false))
	}
	return talk, append(want, "is http2")
}

// A recorder is a client's connection that notes what it writes and reads.
type recorder struct {
	net.Conn
	mu   sync.Mutex
	talk []say
}

func (r *recorder) note(s say) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.talk = append(r.talk, s)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.note(asks(string(p)))
	return r.Conn.Write(p)
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if n > 0 {
		r.note(answers(string(p[:n])))
	}
	return n, err
}

// recorded is what was said so far.
func (r *recorder) recorded() []say {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.talk)
}

var durations = regexp.MustCompile(` \d+ ns`)

// expectAnyOrder plays a recorded conversation whole and cut. What ends at about the same time may end in any order.
func expectAnyOrder(t *testing.T, side string, want []string, talk []say) {
	t.Helper()
	slices.Sort(want)
	for name, conversation := range map[string][]say{"whole": talk, "by one": cut(talk, 1), "by three": cut(talk, 3), "by 1000": cut(talk, 1000)} {
		got := converse(t, side, conversation...)
		for i := range got {
			got[i] = durations.ReplaceAllString(got[i], "")
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q\nwant %q", name, got, want)
		}
	}
}

// cart is a service of any method: Watch answers with as many messages as it is asked for, others with one, or with the
// status that they are asked for.
func cart(_ any, stream grpc.ServerStream) error {
	var n wrapperspb.Int32Value
	method, _ := grpc.MethodFromServerStream(stream)
	if err := stream.RecvMsg(&n); err != nil {
		return err
	}
	switch {
	case strings.HasSuffix(method, "/Watch"):
		for range n.Value {
			if err := stream.SendMsg(wrapperspb.String(strings.Repeat("item", 20))); err != nil {
				return err
			}
		}
		return nil
	case strings.HasSuffix(method, "/Wait"):
		<-stream.Context().Done()
		return stream.Context().Err()
	case n.Value != 0:
		return status.Error(codes.Code(n.Value), "as you like it")
	}
	return stream.SendMsg(wrapperspb.String("an item"))
}

// TestGRPCRecorded records a client and a server of grpc-go.
func TestGRPCRecorded(t *testing.T) {
	t.Parallel()
	l := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnknownServiceHandler(cart))
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	defer serving.Wait()
	defer server.Stop()
	r := &recorder{}
	conn, err := grpc.NewClient("passthrough:cart", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := l.DialContext(ctx)
			r.Conn = c
			return r, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "blue")
	call := func(method string, code int32) {
		var out wrapperspb.StringValue
		if err := conn.Invoke(ctx, method, wrapperspb.Int32(code), &out); status.Code(err) != codes.Code(code) {
			t.Errorf("%s ends with %v, want code %d", method, err, code)
		}
	}
	var ofClient, ofServer []string
	expect := func(method string, code int, ofC, ofS string) {
		ofClient = append(ofClient, fmt.Sprintf("grpc method=3 status=%d %s %s", code, ofC, method))
		ofServer = append(ofServer, fmt.Sprintf("grpc method=3 status=%d %s %s", code, ofS, method))
	}
	for i := range 60 {
		method := fmt.Sprintf("/shop.v1.Cart/Method%d", i%7)
		call(method, 0)
		expect(method, 0, "ok", "ok")
	}
	for code := range int32(16) {
		call("/shop.v1.Cart/Fail", code+1)
		end := "ok"
		if slices.Contains([]int32{2, 4, 12, 13, 14, 15}, code+1) {
			end = "failed"
		}
		expect("/shop.v1.Cart/Fail", int(code+1), "failed", end)
	}
	var calls sync.WaitGroup
	for i := range 40 {
		method := fmt.Sprintf("/shop.v1.Stock/Method%d", i%3)
		calls.Go(func() { call(method, 0) })
		expect(method, 0, "ok", "ok")
	}
	calls.Wait()

	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/shop.v1.Cart/Watch")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(wrapperspb.Int32(100)); err != nil {
		t.Fatal(err)
	}
	stream.CloseSend()
	for err = nil; err == nil; {
		err = stream.RecvMsg(&wrapperspb.StringValue{})
	}
	if err != io.EOF {
		t.Fatalf("Watch ends with %v", err)
	}
	expect("/shop.v1.Cart/Watch", 0, "ok", "ok")

	given, giveUp := context.WithCancel(ctx)
	if stream, err = conn.NewStream(given, &grpc.StreamDesc{ServerStreams: true}, "/shop.v1.Cart/Wait"); err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(wrapperspb.Int32(0)); err != nil {
		t.Fatal(err)
	}
	giveUp()
	stream.RecvMsg(&wrapperspb.StringValue{})
	expect("/shop.v1.Cart/Wait", 65535, "cancelled", "cancelled")
	call("/shop.v1.Cart/Last", 0) // behind the reset, on the wire
	expect("/shop.v1.Cart/Last", 0, "ok", "ok")

	talk := r.recorded()
	expectAnyOrder(t, asClient, append(ofClient, "is http2"), talk)
	expectAnyOrder(t, asServer, append(ofServer, "is http2"), talk)
}

// TestHTTP2Recorded records a client and a server of golang.org/x/net/http2.
func TestHTTP2Recorded(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	r := &recorder{Conn: near}
	mux := http.NewServeMux()
	mux.HandleFunc("/users/{id}/orders", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 70_000)) })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, q *http.Request) { io.Copy(w, q.Body) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) })
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Checksum")
		io.WriteString(w, "a body")
		w.Header().Set("Checksum", "1234")
	})
	var serving sync.WaitGroup
	serving.Go(func() { (&http2.Server{}).ServeConn(far, &http2.ServeConnOpts{Handler: mux}) })
	defer serving.Wait()
	defer near.Close()
	client, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(r)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	do := func(method, path string, body io.Reader, line string) {
		q, err := http.NewRequestWithContext(t.Context(), method, "http://shop.example"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Cookie", strings.Repeat("a=b; ", 300))
		answer, err := client.RoundTrip(q)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		want = append(want, line)
	}
	for i := range 20 {
		do("GET", fmt.Sprintf("/users/%d/orders", 1000+i), nil, "http2 method=1 status=204 ok /users/1000/orders")
	}
	do("GET", "/large", nil, "http2 method=1 status=200 ok /large")
	do("HEAD", "/large", nil, "http2 method=2 status=200 ok /large")
	do("POST", "/upload?name=secret", strings.NewReader(strings.Repeat("x", 50_000)), "http2 method=3 status=200 ok /upload")
	do("PUT", "/upload", strings.NewReader(""), "http2 method=4 status=200 ok /upload")
	do("DELETE", "/nowhere", nil, "http2 method=5 status=404 ok /nowhere")
	do("PATCH", "/broken", nil, "http2 method=9 status=500 failed /broken")
	do("GET", "/trailers", nil, "http2 method=1 status=200 ok /trailers")
	expectAnyOrder(t, asServer, append(want, "is http2"), r.recorded())
}
