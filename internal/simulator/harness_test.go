package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// rig is a simulator and a client of it.
type rig struct {
	t      *testing.T
	sim    *Server
	client *http.Client
	url    string
}

// overTCP serves over a loopback connection, where resets and HTTP/2 are real.
func overTCP(t *testing.T, o Options) *rig {
	sim := New(o)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	return &rig{t, sim, web.Client(), web.URL}
}

// overPipes serves over in-memory connections, which virtual time can see through. It must be called inside the bubble.
func overPipes(t *testing.T, o Options) *rig {
	sim := New(o)
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	web := &http.Server{Handler: sim}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	transport := &http.Transport{DialContext: l.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		web.Close()
		<-served
	})
	return &rig{t, sim, &http.Client{Transport: transport}, "http://simulator"}
}

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// answer is a response as the client saw it.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of the request, or of reading the body
}

// do sends a request; header pairs follow the body.
func (r *rig) do(ctx context.Context, method, path, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

func (r *rig) post(path, body string, header ...string) answer {
	r.t.Helper()
	return r.do(r.t.Context(), "POST", path, body, header...)
}

// last is the newest call in the log.
func (r *rig) last() Call {
	r.t.Helper()
	calls := r.sim.Log()
	if len(calls) == 0 {
		r.t.Fatal("the log is empty")
	}
	return calls[len(calls)-1]
}

// awaitEnding waits until the newest call has ended so.
func (r *rig) awaitEnding(want Ending) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	err := r.sim.Await(ctx, func(calls []Call) bool { return len(calls) > 0 && calls[len(calls)-1].Ending == want })
	if err != nil {
		r.t.Fatalf("no call ended as %q: %v; the log is %+v", want, err, r.sim.Log())
	}
}

// decode reads a JSON answer with status 200.
func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if a.err != nil || a.status != 200 {
		t.Fatalf("status %d, error %v: %s", a.status, a.err, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

// events are the data lines of a stream.
func events(t *testing.T, a answer) []string {
	t.Helper()
	var data []string
	for frame := range strings.SplitSeq(strings.TrimSuffix(a.body, "\n\n"), "\n\n") {
		for line := range strings.SplitSeq(frame, "\n") {
			if d, ok := strings.CutPrefix(line, "data: "); ok {
				data = append(data, d)
			}
		}
	}
	return data
}

// chunkT is a chat chunk or completion as a client reads it.
type chunkT struct {
	ID      string
	Object  string
	Model   string
	Choices []struct {
		Index   int
		Delta   messageT
		Message messageT
		Text    string
		Finish  *string         `json:"finish_reason"`
		Log     json.RawMessage `json:"logprobs"`
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
	Error *struct{ Message, Type, Code string }
}

type messageT struct {
	Role      string
	Content   *string
	Reasoning string `json:"reasoning_content"`
	Tools     []struct {
		ID, Type string
		Function struct{ Name, Arguments string }
	} `json:"tool_calls"`
}

// folded is what a client makes of a stream of chat chunks, by choice.
type folded struct {
	text, reasoning, tool, args, finish map[int]string
	usage                               *chunkT
	done, bad                           bool
}

func fold(t *testing.T, a answer) folded {
	t.Helper()
	f := folded{map[int]string{}, map[int]string{}, map[int]string{}, map[int]string{}, map[int]string{}, nil, false, false}
	for _, data := range events(t, a) {
		if data == "[DONE]" {
			f.done = true
			continue
		}
		var c chunkT
		if json.NewDecoder(bytes.NewReader([]byte(data))).Decode(&c) != nil {
			f.bad = true
			continue
		}
		for _, ch := range c.Choices {
			if ch.Delta.Content != nil {
				f.text[ch.Index] += *ch.Delta.Content
			}
			f.text[ch.Index] += ch.Text
			f.reasoning[ch.Index] += ch.Delta.Reasoning
			for _, tc := range ch.Delta.Tools {
				f.tool[ch.Index] += tc.Function.Name
				f.args[ch.Index] += tc.Function.Arguments
			}
			if ch.Finish != nil {
				f.finish[ch.Index] += *ch.Finish
			}
		}
		if c.Usage != nil {
			f.usage = &c
		}
	}
	return f
}
