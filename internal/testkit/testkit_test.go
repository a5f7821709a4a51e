package testkit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/telemetry"
)

// connected returns both ends of a connection.
func connected(t *testing.T, cut int) (dialer, accepter *Conn) {
	t.Helper()
	n := NewNet()
	n.Cut = cut
	l := n.Listen("a.test:1")
	c, err := n.Dial(t.Context(), "tcp", "a.test:1")
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return c.(*Conn), d.(*Conn)
}

func TestConnEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		end   func(*Conn)
		read  string // what the other side still reads
		err   error  // and then
		write error  // of the other side's next write
	}{
		{"close", func(c *Conn) { c.Close() }, "hello", io.EOF, syscall.EPIPE},
		{"close write", func(c *Conn) { c.CloseWrite() }, "hello", io.EOF, nil},
		{"reset", func(c *Conn) { c.Reset() }, "", syscall.ECONNRESET, syscall.ECONNRESET},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := connected(t, 0)
			if _, err := a.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			c.end(a)
			got := make([]byte, 16)
			n, err := b.Read(got)
			if string(got[:n]) != c.read {
				t.Errorf("read %q, want %q", got[:n], c.read)
			}
			if c.read != "" {
				_, err = b.Read(got)
			}
			if !errors.Is(err, c.err) {
				t.Errorf("read error %v, want %v", err, c.err)
			}
			if _, err := b.Write([]byte("x")); !errors.Is(err, c.write) {
				t.Errorf("write error %v, want %v", err, c.write)
			}
		})
	}
}

func TestConnDeadlinesAndWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connected(t, 0)
		start := time.Now()
		_ = a.SetReadDeadline(start.Add(3 * time.Second))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
		_ = a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write(make([]byte, 2*window))
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a writer that nobody reads from: %d, %v", n, err)
		}
		if got, err := io.ReadFull(b, make([]byte, window)); got != window || err != nil {
			t.Errorf("reader: %d, %v", got, err)
		}
	})
}

func TestConnCut(t *testing.T) {
	a, b := connected(t, 3)
	if _, err := b.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, _ := a.Read(make([]byte, 16)); n != 3 {
		t.Errorf("read %d bytes at once", n)
	}
}

func TestRefused(t *testing.T) {
	_, err := NewNet().Dial(context.Background(), "tcp", "nobody.test:1")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
}

func TestScript(t *testing.T) {
	s, err := parseScript([]byte("!delay 2s\nHTTP/1.1 200 OK\nA: b\n\none\n!crlf\ntwo\n!bytes \"\\xff\"\n!repeat 3 ab\n!cut\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(s.body()), "one\ntwo\r\n\xffababab"; got != want {
		t.Errorf("body %q, want %q", got, want)
	}
	if s.whole() || len(s.head) != 2 || s.steps[0].delay != 2*time.Second {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"!nonsense\n", "!delay soon\n", "!bytes x\n", "!repeat many x\n"} {
		if _, err := parseScript([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// A script's upstream and its client through a real HTTP client: what is said arrives, and what nobody asked for is told.
func TestUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNet()
		u := NewUpstreams(n)
		for _, s := range []string{"!refuse\n", "HTTP/1.1 201 Created\n\nhello\n", "HTTP/1.1 200 OK\n\nhal\n!cut\n", "!hang\n"} {
			if err := u.Script("up.test:80", []byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		client := &http.Client{Transport: &http.Transport{DialContext: n.Dial}, Timeout: 5 * time.Second}
		ask := func() (status int, body string, err error) {
			resp, err := client.Post("http://up.test/x?y=1", "text/plain", strings.NewReader("question"))
			if err != nil {
				return 0, "", err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			return resp.StatusCode, string(b), err
		}
		if _, _, err := ask(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("refused: %v", err)
		}
		if status, body, err := ask(); status != 201 || body != "hello\n" || err != nil {
			t.Errorf("whole: %d %q %v", status, body, err)
		}
		if _, body, err := ask(); body != "hal\n" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut: %q %v", body, err)
		}
		seen := u.Seen()
		if len(seen) != 2 || seen[0].Target != "/x?y=1" || string(seen[0].Body) != "question" {
			t.Errorf("seen %+v", seen)
		}
		if f := u.Faults(); len(f) != 1 {
			t.Errorf("one answer is left, faults %q", f)
		}
		client.CloseIdleConnections()
		n.Close()
		u.Wait()
	})
}

func TestBroken(t *testing.T) {
	sse := http.Header{"Content-Type": {"text/event-stream"}}
	good := func() (*Answer, *telemetry.Record) {
		return &Answer{Status: 200, Header: sse, Body: []byte("data: {}\n\ndata: [DONE]\n\n")},
			&telemetry.Record{Outcome: "ok", Status: 200, Attempts: []telemetry.Attempt{{Class: "transient", End: time.Unix(1, 0)}, {End: time.Unix(1, 0)}}}
	}
	if a, r := good(); len(Broken(a, r)) != 0 {
		t.Errorf("a good one: %q", Broken(a, r))
	}
	for name, spoil := range map[string]func(*Answer, *telemetry.Record){
		"no outcome":        func(_ *Answer, r *telemetry.Record) { r.Outcome = "" },
		"other status":      func(a *Answer, _ *telemetry.Record) { a.Status = 201 },
		"open attempt":      func(_ *Answer, r *telemetry.Record) { r.Attempts[0].End = time.Time{} },
		"two successes":     func(_ *Answer, r *telemetry.Record) { r.Attempts[0].Class = "" },
		"failed and ok":     func(_ *Answer, r *telemetry.Record) { r.Attempts[1].Class = "timeout" },
		"half an event":     func(a *Answer, _ *telemetry.Record) { a.Body = []byte("data: {") },
		"two end marks":     func(a *Answer, _ *telemetry.Record) { a.Body = append(a.Body, "data: [DONE]\n\n"...) },
		"after the end":     func(a *Answer, _ *telemetry.Record) { a.Body = append(a.Body, "data: {}\n\n"...) },
		"error and no word": func(a *Answer, _ *telemetry.Record) { a.Body = []byte("data: {\"code\":\"stream_interrupted\"}\n\n") },
	} {
		t.Run(name, func(t *testing.T) {
			a, r := good()
			if spoil(a, r); len(Broken(a, r)) == 0 {
				t.Error("not seen")
			}
		})
	}
}

func TestTranscriptFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.txtar")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{
		"-- policy.yaml --\nx\n-- request --\nGET /\n",                         // no comment
		"what it shows\n-- policy.yaml --\nx\n",                                // no request
		"what it shows\n-- policy.yaml --\nx\n-- request --\nGET /\n-- x --\n", // a section that nobody reads
		"what it shows\n-- policy.yaml --\nx\n-- request --\nGET\n",            // no target
	} {
		write(bad)
		if _, err := ReadTranscript(path); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	write("what it shows\n-- policy.yaml --\nx\n-- request --\nGET /\n-- want-response --\nold\n")
	tr, err := ReadTranscript(path)
	if err != nil {
		t.Fatal(err)
	}
	var got Sections
	got.Add("want-response", "new\n")
	if tr.Wants().Diff(got) == "" {
		t.Error("a difference was not seen")
	}
	if err := tr.Update(path, got); err != nil {
		t.Fatal(err)
	}
	if tr, err = ReadTranscript(path); err != nil || tr.Wants().Diff(got) != "" {
		t.Errorf("after the update: %v, %s", err, tr.Wants().Diff(got))
	}
}

// FuzzScript looks for texts that break the reader of scripts.
func FuzzScript(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\nA: b\n\nbody\n!cut\n"))
	f.Add([]byte("!leave 1s\nPOST /v1 HTTP/1.1\n\n!bytes \"a\"\n!crlf\nb"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<10 || strings.Contains(string(text), "!repeat") {
			return
		}
		if s, err := parseScript(text); err == nil && len(s.body()) > 2*len(text)+2 {
			t.Errorf("%d bytes became %d", len(text), len(s.body()))
		}
		_, _ = ParseRequest(text)
	})
}
