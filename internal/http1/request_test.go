package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

func request(method, rawurl string, header http.Header, body io.ReadCloser, size int64) *http.Request {
	u, err := url.Parse(rawurl)
	if err != nil {
		panic(err)
	}
	return &http.Request{Method: method, URL: u, Header: header, Body: body, ContentLength: size}
}

// What is written, byte for byte.
func TestWire(t *testing.T) {
	inMemory := func(r *http.Request) *http.Request {
		r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("not needed") }
		return r
	}
	text := func(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
	long := strings.Repeat("0123456789abcdef", 5000)
	slow := func(parts ...string) io.ReadCloser {
		return io.NopCloser(reader(func(p []byte) (int, error) {
			if len(parts) == 0 {
				return 0, io.EOF
			}
			n := copy(p, parts[0])
			parts = parts[1:]
			return n, nil
		}))
	}
	const end = "\r\n\r\n"
	cases := []struct {
		name string
		r    *http.Request
		want string
	}{
		{"get", request("GET", "http://a.test/p?q=1#f", nil, nil, 0), "GET /p?q=1 HTTP/1.1\r\nHost: a.test" + end},
		{"no method", request("", "http://a.test", nil, nil, 0), "GET / HTTP/1.1\r\nHost: a.test" + end},
		{"fields in order", request("GET", "http://a.test/", http.Header{"B": {"2", " 3\t"}, "A": {""}, "User-Agent": nil}, nil, 0), "GET / HTTP/1.1\r\nHost: a.test\r\nA: \r\nB: 2\r\nB: 3" + end},
		{"framing is ours", request("GET", "http://a.test/", http.Header{"content-length": {"5"}, "Transfer-encoding": {"chunked"}, "HOST": {"b"}, "Connection": {"x"}, "trailer": {"y"}}, nil, 0), "GET / HTTP/1.1\r\nHost: a.test" + end},
		{"post without a body", request("POST", "http://a.test/", nil, nil, 0), "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0" + end},
		{"put of nothing", request("PUT", "http://a.test/", nil, http.NoBody, 0), "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0" + end},
		{"delete without a body", request("DELETE", "http://a.test/", nil, nil, 0), "DELETE / HTTP/1.1\r\nHost: a.test" + end},
		{"in memory", inMemory(request("POST", "http://a.test/", nil, text("hello"), 5)), "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5" + end + "hello"},
		{"in memory and long", inMemory(request("POST", "http://a.test/", nil, text(long), int64(len(long)))), "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 80000" + end + long},
		{"a long head", inMemory(request("POST", "http://a.test/", http.Header{"A": {long}}, text("hello"), 5)), "POST / HTTP/1.1\r\nHost: a.test\r\nA: " + long + "\r\nContent-Length: 5" + end + "hello"},
		{"as it comes", request("POST", "http://a.test/", nil, slow("hel", "lo"), 5), "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5" + end + "hello"},
		{"chunked", request("POST", "http://a.test/", nil, slow("hel", "", "lo and on, on, on"), -1), "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked" + end + "3\r\nhel\r\n11\r\nlo and on, on, on\r\n0" + end},
		{"length 0 and a body", request("POST", "http://a.test/", nil, text("hi"), 0), "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked" + end + "2\r\nhi\r\n0" + end},
		{"large chunks", request("POST", "http://a.test/", nil, text(long), -1), "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked" + end +
			"7ff8\r\n" + long[:0x7ff8] + "\r\n7ff8\r\n" + long[0x7ff8:2*0x7ff8] + "\r\n3890\r\n" + long[2*0x7ff8:] + "\r\n0" + end},
		{"close", func() *http.Request { r := request("GET", "http://a.test/", nil, nil, 0); r.Close = true; return r }(), "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close" + end},
		{"other host", func() *http.Request {
			r := request("GET", "http://a.test/", nil, nil, 0)
			r.Host = "b.test:81"
			return r
		}(), "GET / HTTP/1.1\r\nHost: b.test:81" + end},
		{"zone", request("GET", "http://[fe80::1%25eth0]:81/", nil, nil, 0), "GET / HTTP/1.1\r\nHost: [fe80::1]:81" + end},
		{"punycode", request("GET", "http://bücher.test/ä", nil, nil, 0), "GET /%C3%A4 HTTP/1.1\r\nHost: xn--bcher-kva.test" + end},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := written(t, c.r, len(c.want))
			if got != c.want {
				t.Errorf("wrote %.300q, want %.300q", got, c.want)
			}
		})
	}
}

// written sends a request to a peer that answers after n bytes, and returns what that has read once the transport is done.
func written(t *testing.T, r *http.Request, n int) string {
	ours, theirs := net.Pipe()
	tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
	got := make(chan string, 1)
	go func() {
		defer theirs.Close()
		b := make([]byte, n)
		k, _ := io.ReadFull(theirs, b)
		_, _ = io.WriteString(theirs, plainOK)
		more, _ := io.ReadAll(theirs)
		got <- string(b[:k]) + string(more)
	}()
	mustAsk(t, tr, r, "ok")
	return <-got
}

// What could be read in two ways does not leave: nothing is dialed for it, and the body is closed.
func TestRefused(t *testing.T) {
	with := func(f func(r *http.Request)) *http.Request {
		r := request("POST", "http://a.test/p", http.Header{"A": {"b"}}, nil, 0)
		f(r)
		return r
	}
	memory := func(r *http.Request, s string, size int64) {
		r.Body, r.ContentLength = newBody(strings.NewReader(s)), size
		r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("not needed") }
	}
	cases := map[string]*http.Request{
		"line feed in a value":       with(func(r *http.Request) { r.Header.Set("A", "b\nHost: c") }),
		"carriage return in a value": with(func(r *http.Request) { r.Header.Set("A", "b\rc") }),
		"NUL in a value":             with(func(r *http.Request) { r.Header.Set("A", "b\x00c") }),
		"line feed in a name":        with(func(r *http.Request) { r.Header["A\nB"] = []string{"c"} }),
		"colon in a name":            with(func(r *http.Request) { r.Header["A:B"] = []string{"c"} }),
		"space after a name":         with(func(r *http.Request) { r.Header["Content-Length "] = []string{"5"} }),
		"empty name":                 with(func(r *http.Request) { r.Header[""] = []string{"c"} }),
		"space in a method":          with(func(r *http.Request) { r.Method = "GET /x HTTP/1.1\r\nA:" }),
		"NUL in a method":            with(func(r *http.Request) { r.Method = "G\x00T" }),
		"line feed in a host":        with(func(r *http.Request) { r.Host = "a\nb" }),
		"space in a host":            with(func(r *http.Request) { r.Host = "a b" }),
		"slash in a host":            with(func(r *http.Request) { r.Host = "a/b" }),
		"line feed in a query":       with(func(r *http.Request) { r.URL.RawQuery = "a\nb" }),
		"space in a query":           with(func(r *http.Request) { r.URL.RawQuery = "a b" }),
		"DEL in a query":             with(func(r *http.Request) { r.URL.RawQuery = "a\x7fb" }),
		"opaque":                     with(func(r *http.Request) { r.URL.Opaque = "//b.test/x y" }),
		"path without a root":        with(func(r *http.Request) { r.URL.Path = "p" }),
		"https":                      with(func(r *http.Request) { r.URL.Scheme = "https" }),
		"no URL":                     with(func(r *http.Request) { r.URL = nil }),
		"no host":                    with(func(r *http.Request) { r.URL.Host = ":80"; r.Host = "a" }),
		"host that is no name":       with(func(r *http.Request) { r.URL.Host = "ü b.test" }),
		"length beyond everything":   with(func(r *http.Request) { memory(r, "four", 1<<63-1) }),
		"length without a body":      with(func(r *http.Request) { r.ContentLength = 5 }),
		"length of nothing":          with(func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 5 }),
		"short body in memory":       with(func(r *http.Request) { memory(r, "four", 5) }),
		"no bytes in memory":         with(func(r *http.Request) { memory(r, "", 5) }),
		"long body in memory":        with(func(r *http.Request) { memory(r, "sixsix", 5) }),
		"line feed and a body":       with(func(r *http.Request) { r.Header.Set("A", "\n"); memory(r, "hello", 5) }),
	}
	for name, r := range cases {
		t.Run(name, func(t *testing.T) {
			tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) {
				t.Error("dialed")
				return nil, errors.New("no")
			}}
			resp, err := tr.RoundTrip(r)
			if err == nil {
				t.Errorf("answer %v", resp)
			}
			if errors.Is(err, io.EOF) || errors.Is(err, errUnsent) {
				t.Errorf("error %v", err)
			}
			if b, ok := r.Body.(*body); ok && b.times.Load() != 1 {
				t.Errorf("the body was closed %d times", b.times.Load())
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"http://a.test":               "a.test:80",
		"http://a.test:":              "a.test:80",
		"http://a.test:8000/x":        "a.test:8000",
		"http://user:pw@a.test":       "a.test:80",
		"http://127.0.0.1":            "127.0.0.1:80",
		"http://[::1]":                "[::1]:80",
		"http://[::1]:81":             "[::1]:81",
		"http://[fe80::1%25eth0]":     "[fe80::1%eth0]:80",
		"http://[fe80::1%25eth0]:81/": "[fe80::1%eth0]:81",
		"http://bücher.test":          "xn--bcher-kva.test:80",
		"http://BÜCHER.test:81":       "xn--bcher-kva.test:81",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := address(u); err != nil || got != want {
			t.Errorf("%s is reached at %q, %v; want %q", in, got, err, want)
		}
	}
}

// A head that is written is read as what was meant, or it is not written.
func FuzzHead(f *testing.F) {
	f.Add("POST", "a.test:80", "", "/v1/chat", "x=1", "Content-Type", "application/json", "X", "y", int64(5), false)
	f.Add("", "a.test", "b.test", "", "", "", "", "", "", int64(0), true)
	f.Add("GET", "[::1%25lo]:1", "", "/a b", "%zz&=", "Host", "evil", "transfer-encoding", "chunked", int64(-1), false)
	f.Add("G T", "a\r\n", "x y", "//x", "a b", "A\n", "b", "A", "b\r\nC: d", int64(0), false)
	f.Add("PRI", "a", "é", "*", "#", "Pragma", "no-cache", "Cookie", "a\x00b", int64(1), false)
	f.Add("CONNECT", "ü.test", "", "/\xff", "\x85", "a", " \tv\t ", "A", "\xff\xfe", int64(1<<40), true)
	f.Fuzz(func(t *testing.T, method, urlHost, host, path, query, name1, value1, name2, value2 string, size int64, closes bool) {
		r := &http.Request{Method: method, Host: host, ContentLength: size, Close: closes, Header: http.Header{},
			URL: &url.URL{Scheme: "http", Host: urlHost, Path: path, RawQuery: query}}
		r.Header[name1] = append(r.Header[name1], value1)
		r.Header[name2] = append(r.Header[name2], value2)
		if size != 0 {
			r.Body = io.NopCloser(strings.NewReader(""))
		}
		head, err := appendHead(nil, r)
		if err != nil {
			return
		}
		in := bufio.NewReader(bytes.NewReader(head))
		got, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q is not read: %v", head, err)
		}
		if in.Buffered() != 0 {
			t.Errorf("%q has something left behind it", head)
		}
		wantHost, _ := httpguts.PunycodeHostPort(first(host, urlHost))
		if got.Method != first(method, "GET") || got.RequestURI != r.URL.RequestURI() || got.Host != withoutZone(wantHost) {
			t.Errorf("%q is read as method %q, URI %q, host %q", head, got.Method, got.RequestURI, got.Host)
		}
		if want := int64(size); size > 0 && got.ContentLength != want || size < 0 && got.ContentLength != -1 || size == 0 && got.ContentLength != 0 {
			t.Errorf("%q is read with %d bytes, want %d", head, got.ContentLength, size)
		}
		if got.Close != closes {
			t.Errorf("%q is read with close=%v", head, got.Close)
		}
		compareFields(t, head, got.Header, r.Header)
	})
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func compareFields(t *testing.T, head []byte, got, sent http.Header) {
	want := http.Header{}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		if isFraming(name) {
			continue
		}
		for _, v := range sent[name] {
			want.Add(name, textproto.TrimString(v))
		}
	}
	if want.Get("Pragma") == "no-cache" && want["Cache-Control"] == nil { // which http.ReadRequest adds
		want.Set("Cache-Control", "no-cache")
	}
	got.Del("Connection")
	got.Del("Content-Length")
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%q is read with %q, want %q", head, got, want)
	}
}
