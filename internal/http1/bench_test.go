package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// both are this transport and the one that it stands in for.
func both(b *testing.B, f func(b *testing.B, rt http.RoundTripper)) {
	theirs := &http.Transport{DisableCompression: true, ReadBufferSize: 2 << 10, WriteBufferSize: 2 << 10}
	b.Cleanup(theirs.CloseIdleConnections)
	b.Run("net-http", func(b *testing.B) { f(b, theirs) })
	b.Run("http1", func(b *testing.B) { f(b, transport(b)) })
}

// A kilobyte there in memory, a kilobyte back.
func BenchmarkUnary(b *testing.B) {
	answer := []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\nDate: x\r\nServer: y\r\n\r\n%01024d", 0))
	s := serve(b, func(nc net.Conn, in *bufio.Reader) { lean(nc, in, answer) })
	payload := bytes.Repeat([]byte("x"), 1024)
	both(b, func(b *testing.B, rt http.RoundTripper) {
		buf := make([]byte, 2048)
		b.ReportAllocs()
		for b.Loop() {
			r := post(s.url+"/v1/chat/completions", "")
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(payload)), int64(len(payload))
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer k")
			r.Header["User-Agent"] = nil
			drain(b, rt, r, buf)
		}
	})
}

// A stream of a hundred events, each written alone.
func BenchmarkStream(b *testing.B) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"" + strings.Repeat("x", 100) + "\"}}]}\n\n"
	chunk := []byte(fmt.Sprintf("%x\r\n%s\r\n", len(event), event))
	s := serve(b, func(nc net.Conn, in *bufio.Reader) {
		for receive(in) != nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 100 {
				_, _ = nc.Write(chunk)
			}
			_, _ = io.WriteString(nc, "0\r\n\r\n")
		}
	})
	both(b, func(b *testing.B, rt http.RoundTripper) {
		buf := make([]byte, 2048)
		b.ReportAllocs()
		for b.Loop() {
			drain(b, rt, post(s.url, "x"), buf)
		}
	})
}

// lean answers posts of a kilobyte and does nothing else: the benchmark is not of servers.
func lean(nc net.Conn, in *bufio.Reader, answer []byte) {
	for {
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := in.Discard(1024); err != nil {
			return
		}
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
}

func drain(b *testing.B, rt http.RoundTripper, r *http.Request, buf []byte) {
	resp, err := rt.RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	resp.Body.Close()
	if err != io.EOF {
		b.Fatal(err)
	}
}
