package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// serveLean runs the yardstick: the least that any gateway must do. It reads the body, finds the model, looks the target up, asks it over
// a keep-alive pool and hands the answer on, one flush for what each read brought. It checks, counts and logs nothing.
func serveLean(args []string, stdin io.Reader) error {
	fs := flag.NewFlagSet("lean", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "loopback address, or unix: and a path")
	upstream := fs.String("upstream", "", "base URL of the upstream")
	if err := fs.Parse(args); err != nil {
		return err
	}
	u, err := url.Parse(*upstream)
	if err != nil {
		return err
	}
	return serve(*listen, newLean(u, newTransport(256)), stdin)
}

// leanProxy forwards by model. net/http sets TCP_NODELAY on both sides.
type leanProxy struct {
	targets map[string]*url.URL
	pool    http.RoundTripper
	buffers sync.Pool
}

func newLean(upstream *url.URL, pool http.RoundTripper) *leanProxy {
	p := &leanProxy{targets: map[string]*url.URL{}, pool: pool}
	for _, route := range routes {
		for _, s := range shapes {
			p.targets[route+"-"+s.name] = upstream
		}
	}
	p.buffers.New = func() any { b := make([]byte, 32<<10); return &b }
	return p
}

func (p *leanProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path == "/readyz" {
		return
	}
	body, err := readBody(r)
	if err != nil {
		http.Error(w, "unreadable body", http.StatusBadRequest)
		return
	}
	model, err := modelOf(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	target, ok := p.targets[model]
	if !ok {
		http.Error(w, "no such model", http.StatusNotFound)
		return
	}
	resp, err := p.ask(r, target, body)
	if err != nil {
		http.Error(w, "upstream failed", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	copyHeader(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if p.copyBody(w, resp) != nil {
		panic(http.ErrAbortHandler) // a broken answer must not look whole
	}
}

func (p *leanProxy) ask(r *http.Request, target *url.URL, body []byte) (*http.Response, error) {
	u := *r.URL
	u.Scheme, u.Host = target.Scheme, target.Host
	out, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	copyHeader(out.Header, r.Header)
	return p.pool.RoundTrip(out)
}

func (p *leanProxy) copyBody(w http.ResponseWriter, resp *http.Response) error {
	buf := p.buffers.Get().(*[]byte)
	defer p.buffers.Put(buf)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	flush := kind == "text/event-stream"
	out := http.NewResponseController(w)
	for {
		n, err := resp.Body.Read(*buf)
		if n > 0 {
			if _, err := w.Write((*buf)[:n]); err != nil {
				return err
			}
			if flush {
				if err := out.Flush(); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyHeader copies all but the hop-by-hop fields.
func copyHeader(dst, src http.Header) {
	for k, v := range src {
		switch k {
		case "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Te", "Trailer":
		default:
			dst[k] = v
		}
	}
}

// modelOf reads the top-level model of a JSON object and stops there.
func modelOf(body []byte) (string, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return "", errors.New("body is not a JSON object")
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return "", err
		}
		if name.String() != "model" {
			if err := d.SkipValue(); err != nil {
				return "", err
			}
			continue
		}
		if d.PeekKind() != '"' {
			return "", errors.New("model is not a string")
		}
		v, err := d.ReadToken()
		if err != nil {
			return "", err
		}
		return v.String(), nil
	}
	return "", errors.New("body has no model")
}
