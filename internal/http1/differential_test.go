package http1

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// script is what a server says to the first request of a connection.
type script struct {
	name   string
	answer string
	hangUp bool   // after it, the connection is closed; else the next request gets plainOK
	method string // "" = POST
	once   bool   // the connection must not be used again
}

func scripts() []script {
	ok := func(fields, body string) string { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body }
	const chunked = "Transfer-Encoding: chunked\r\n"
	big := strings.Repeat("b", 1<<20)
	return []script{
		{name: "plain", answer: plainOK},
		{name: "empty", answer: ok("Content-Length: 0\r\n", "")},
		{name: "fields", answer: ok("content-type: a/b\r\nX-A: 1\r\nx-a:2\r\nX-B:  \t sp \t\r\nContent-Length: 1\r\n", "x")},
		{name: "folded field", answer: ok("X-A: 1\r\n 2\r\nContent-Length: 1\r\n", "x")},
		{name: "bare line feeds", answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
		{name: "no reason", answer: "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"},
		{name: "error status", answer: "HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy"},
		{name: "unknown status", answer: "HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\nok"},
		{name: "status below 100", answer: "HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nok", once: true},
		{name: "large", answer: ok("Content-Length: 1048576\r\n", big)},
		{name: "close", answer: ok("Connection: close\r\nContent-Length: 2\r\n", "ok"), once: true},
		{name: "close among others", answer: ok("Connection: x, Close\r\nContent-Length: 2\r\n", "ok"), once: true},
		{name: "by its end", answer: ok("", "until the end"), hangUp: true, once: true},
		{name: "empty by its end", answer: ok("", ""), hangUp: true, once: true},
		{name: "1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", once: true},
		{name: "1.0 kept", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"},
		{name: "1.0 by its end", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok", hangUp: true, once: true},
		{name: "1.0 chunked", answer: "HTTP/1.0 200 OK\r\n" + chunked + "\r\n2\r\nok\r\n0\r\n\r\n", hangUp: true, once: true},
		{name: "chunked", answer: ok(chunked, "2\r\nok\r\n0\r\n\r\n")},
		{name: "chunks", answer: ok(chunked, "1\r\no\r\n0001\r\nk\r\nA\r\n0123456789\r\n0\r\n\r\n")},
		{name: "no chunk", answer: ok(chunked, "0\r\n\r\n")},
		{name: "large chunk", answer: ok(chunked, fmt.Sprintf("%X\r\n%s\r\n0\r\n\r\n", len(big), big))},
		{name: "chunk extensions", answer: ok(chunked, "2;a=b;c=\"d\"\r\nok\r\n0;e\r\n\r\n")},
		{name: "chunk extensions without end", answer: ok(chunked, strings.Repeat("1;"+strings.Repeat("e", 1000)+"\r\nx\r\n", 100)), hangUp: true, once: true},
		{name: "trailers", answer: ok(chunked+"Trailer: X-T\r\n", "2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n")},
		{name: "trailers unannounced", answer: ok(chunked, "2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")},
		{name: "forbidden trailer", answer: ok(chunked+"Trailer: Content-Length\r\n", "0\r\n\r\n"), once: true},
		{name: "long trailer", answer: ok(chunked, "0\r\nX-T: "+strings.Repeat("t", 5000)+"\r\n\r\n"), once: true},
		{name: "length and chunked", answer: ok(chunked+"Content-Length: 99\r\n", "2\r\nok\r\n0\r\n\r\n")},
		{name: "equal lengths", answer: ok("Content-Length: 2\r\nContent-Length: 2\r\n", "ok")},
		{name: "different lengths", answer: ok("Content-Length: 2\r\nContent-Length: 3\r\n", "ok?"), once: true},
		{name: "lengths in a list", answer: ok("Content-Length: 2, 2\r\n", "ok"), once: true},
		{name: "negative length", answer: ok("Content-Length: -1\r\n", "ok"), once: true},
		{name: "signed length", answer: ok("Content-Length: +2\r\n", "ok"), once: true},
		{name: "empty length", answer: ok("Content-Length:\r\n", "ok"), once: true},
		{name: "length beyond numbers", answer: ok("Content-Length: 99999999999999999999\r\n", "ok"), once: true},
		{name: "chunked twice", answer: ok(chunked+chunked, "0\r\n\r\n"), once: true},
		{name: "gzip and chunked", answer: ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), once: true},
		{name: "identity", answer: ok("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "ok"), once: true},
		{name: "no content", answer: "HTTP/1.1 204 No\r\n\r\n"},
		{name: "no content with a length", answer: "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"},
		{name: "not modified", answer: "HTTP/1.1 304 Not\r\nContent-Length: 5\r\nETag: x\r\n\r\n"},
		{name: "not modified, chunked", answer: "HTTP/1.1 304 Not\r\n" + chunked + "\r\n"},
		{name: "head", method: "HEAD", answer: ok("Content-Length: 5\r\n", "")},
		{name: "head, chunked", method: "HEAD", answer: ok(chunked, "")},
		{name: "head without a length", method: "HEAD", answer: ok("", "")},
		{name: "head and close", method: "HEAD", answer: ok("Connection: close\r\n", ""), once: true},
		{name: "body of no content", answer: "HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nok", once: true},
		{name: "body of head", method: "HEAD", answer: plainOK, once: true},
		{name: "garbage after the body", answer: plainOK + "\r\n", once: true},
		{name: "an answer after the answer", answer: plainOK + plainOK, once: true},
		{name: "garbage after chunks", answer: ok(chunked, "2\r\nok\r\n0\r\n\r\nx"), once: true},
		{name: "interim", answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + plainOK},
		{name: "many interim", answer: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100) + plainOK},
		{name: "interim with a length", answer: "HTTP/1.1 102 Processing\r\nContent-Length: 2\r\n\r\n" + plainOK},
		{name: "interim with a body", answer: "HTTP/1.1 102 Processing\r\nContent-Length: 2\r\n\r\nok" + plainOK, once: true},
		{name: "interim and the end", answer: "HTTP/1.1 100 Continue\r\n\r\n", hangUp: true, once: true},
		{name: "interim without end", answer: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 60_000), once: true},
		{name: "nothing", hangUp: true, once: true},
		{name: "half a status line", answer: "HTTP/1.1 20", hangUp: true, once: true},
		{name: "half a head", answer: "HTTP/1.1 200 OK\r\nContent-Len", hangUp: true, once: true},
		{name: "a head without end", answer: ok("X-A: "+strings.Repeat("a", 2<<20)+"\r\n", ""), once: true},
		{name: "fields without end", answer: ok(strings.Repeat("X-A: a\r\n", 200_000), ""), once: true},
		{name: "not HTTP", answer: "SSH-2.0-x\r\n", hangUp: true, once: true},
		{name: "status of letters", answer: "HTTP/1.1 abc x\r\n\r\n", once: true},
		{name: "status of two digits", answer: "HTTP/1.1 20 x\r\n\r\n", once: true},
		{name: "no status", answer: "HTTP/1.1\r\n\r\n", once: true},
		{name: "version without a number", answer: "HTTP/x 200 OK\r\n\r\n", once: true},
		{name: "field without a colon", answer: ok("X-A\r\n", ""), once: true},
		{name: "space before a colon", answer: ok("Content-Length : 2\r\n", "ok"), hangUp: true, once: true},
		{name: "NUL in a field", answer: ok("X-A: \x00\r\n", ""), once: true},
		{name: "truncated", answer: ok("Content-Length: 5\r\n", "ok"), hangUp: true, once: true},
		{name: "truncated at once", answer: ok("Content-Length: 5\r\n", ""), hangUp: true, once: true},
		{name: "chunks without end", answer: ok(chunked, "2\r\nok\r\n"), hangUp: true, once: true},
		{name: "half a chunk", answer: ok(chunked, "5\r\nok"), hangUp: true, once: true},
		{name: "half a chunk's size", answer: ok(chunked, "2\r\nok\r\n1"), hangUp: true, once: true},
		{name: "end without its line", answer: ok(chunked, "2\r\nok\r\n0\r\n"), hangUp: true, once: true},
		{name: "half a trailer", answer: ok(chunked, "2\r\nok\r\n0\r\nX-T: "), hangUp: true, once: true},
		{name: "chunk size of letters", answer: ok(chunked, "2\r\nok\r\nxyz\r\n"), once: true},
		{name: "chunk size with a sign", answer: ok(chunked, "-2\r\nok\r\n"), once: true},
		{name: "chunk size beyond numbers", answer: ok(chunked, "ffffffffffffffff1\r\nok\r\n"), once: true},
		{name: "chunk longer than its size", answer: ok(chunked, "1\r\nok\r\n0\r\n\r\n"), once: true},
		{name: "chunk line of line feeds", answer: ok(chunked, "2\nok\n0\n\n"), once: true},
		{name: "long chunk line", answer: ok(chunked, "2;"+strings.Repeat("e", 5000)+"\r\nok\r\n0\r\n\r\n"), once: true},
	}
}

// What both transports make of the same bytes is the same.
func TestLikeNetHTTP(t *testing.T) {
	out := log.Writer()
	log.SetOutput(io.Discard) // net/http complains of bytes that it did not ask for
	t.Cleanup(func() { log.SetOutput(out) })
	for _, c := range scripts() {
		t.Run(c.name, func(t *testing.T) {
			theirs := &http.Transport{DisableCompression: true, ReadBufferSize: 2 << 10, MaxResponseHeaderBytes: maxHead}
			defer theirs.CloseIdleConnections()
			want := outcome(theirs, c.request(serve(t, c.play).url))
			ours := transport(t)
			s := serve(t, c.play)
			if got := outcome(ours, c.request(s.url)); got != want {
				t.Errorf("outcome:\n%.2000s\nof net/http:\n%.2000s", got, want)
			}
			mustAsk(t, ours, post(s.url, "again"), "ok")
			if n := s.conns.Load(); (n == 2) != c.once {
				t.Errorf("%d connections for two requests; used once = %v", n, c.once)
			}
		})
	}
}

func (c *script) request(url string) *http.Request {
	r := post(url, "hello")
	if c.method != "" {
		r.Method, r.Body, r.GetBody, r.ContentLength = c.method, nil, nil, 0
	}
	return r
}

// play answers a connection's first request, unless that is the one which asks whether the connection lives.
func (c *script) play(nc net.Conn, in *bufio.Reader) {
	r := receive(in)
	if r == nil {
		return
	}
	if b, _ := io.ReadAll(r.Body); string(b) != "again" {
		if _, err := io.WriteString(nc, c.answer); err != nil || c.hangUp {
			return
		}
		if receive(in) == nil {
			return
		}
	}
	_, _ = io.WriteString(nc, plainOK)
	answers(plainOK)(nc, in)
}

// outcome says all that a caller can learn from a transport, but for the errors' words.
func outcome(rt http.RoundTripper, r *http.Request) string {
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return "no answer"
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	_, again := resp.Body.Read(make([]byte, 1))
	var s strings.Builder
	fmt.Fprintf(&s, "%s %q %d\nlength %d %q close=%v request=%v\nbody of %d, whole=%v, sticky=%v\n",
		resp.Proto, resp.Status, resp.StatusCode, resp.ContentLength, resp.TransferEncoding, resp.Close, resp.Request == r, len(b), err == nil, again != nil)
	for _, h := range []http.Header{resp.Header, resp.Trailer} {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			fmt.Fprintf(&s, "%s: %q\n", name, h[name])
		}
	}
	return s.String() + string(b)
}
