//go:build real

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

const bodyPolicy = `version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1"}
models:
  m: {provider: p, name: upstream-model}
routes:
  auto: {rules: [{use: [m]}]}
`

// TestBodiesLeaveAsTheyCame sends bytes and compares what left: nothing but the named edits may differ.
func TestBodiesLeaveAsTheyCame(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{})
	g := serve(t, fmt.Sprintf(bodyPolicy, addr))
	const model, edited = `"auto"`, `"upstream-model"`
	for _, tc := range []struct {
		name, body string
		edits      []string // old and new in turn; none = the model's name
	}{
		{name: "plain", body: `{"model":"auto","messages":[{"role":"user","content":"hi"}]}`},
		{name: "odd spacing", body: "\r\n {\t\"messages\" :[ {\"content\":\"hi\",\n\n\"role\" : \"user\"} ] ,\"model\"\n:\t\"auto\"  }\n \t"},
		{name: "unknown fields and key order", body: `{"zeta":{"b":[],"a":{}},"model":"auto","x-\u0041":null,"messages":[{"vendor":[1,{"deep":[[[]]]}],"role":"user","content":"hi"}],"":""}`},
		{name: "numbers", body: `{"temperature":1.0E+0,"seed":12345678901234567890123,"top_p":0.10000,"big":1e999,"neg":-0,"model":"auto","messages":[{"role":"user","content":"hi"}]}`},
		{name: "escapes", body: `{"messages":[{"role":"user","content":"\u0068\u00e9\/\ud83d\ude00 é 😀 \u2028 \\u0000 <>& \u007f"}],"model":"auto","user":"a\/b"}`},
		{name: "escaped model", body: `{"model":"\u0061ut\u006f","messages":[{"role":"user","content":"auto"}]}`, edits: []string{`"\u0061ut\u006f"`, edited}},
		{name: "escaped name of the model's key", body: `{"mod\u0065l":"auto","messages":[{"role":"user","content":"hi"}]}`},
		{name: "the model's name elsewhere", body: `{"messages":[{"role":"user","content":"\"model\":\"auto\""}],"metadata":{"model":"auto2"},"model":"auto"}`},
		{name: "usage unasked", body: `{"model":"auto","stream":true,"stream_options":{"include_usage" : false, "more":1},"messages":[{"role":"user","content":"hi"}]}`,
			edits: []string{model, edited, `: false, "more"`, `: true, "more"`}},
		{name: "usage asked", body: `{"model":"auto","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`},
		{name: "64 deep", body: `{"model":"auto","messages":[{"role":"user","content":"hi"}],"x":` + nested(63) + `}`},
		{name: "2 MB", body: `{"messages":[{"role":"user","content":"` + strings.Repeat("lorem \\u0069psum ", 50_000) + `"}],"model":"auto"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want, edits := tc.body, tc.edits
			if edits == nil {
				edits = []string{model, edited}
			}
			for i := 0; i < len(edits); i += 2 {
				if strings.Count(want, edits[i]) != 1 {
					t.Fatalf("%q is in the body %d times", edits[i], strings.Count(want, edits[i]))
				}
				want = strings.Replace(want, edits[i], edits[i+1], 1)
			}
			sim.Reset()
			w := dial(t, g)
			w.send(tc.body)
			if err := w.answer().complete(); err != nil {
				t.Fatal(err)
			}
			calls := sim.Log()
			if len(calls) != 1 {
				t.Fatalf("%d upstream requests", len(calls))
			}
			got := calls[0].Body
			if calls[0].Size != int64(len(want)) || !bytes.Equal(got, []byte(want)[:min(len(want), len(got))]) {
				t.Errorf("left as (%d bytes)\n%.2000s\nwant (%d bytes)\n%.2000s", calls[0].Size, got, len(want), want)
			}
		})
	}
	t.Run("a stream's options are added", func(t *testing.T) {
		sim.Reset()
		body := "{ \"model\" : \"auto\",\n \"stream\":true, \"odd\" : [ ] ,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
		w := dial(t, g)
		w.send(body)
		a := w.answer()
		if err := a.complete(); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(a.body, []byte(`"usage":{`)) {
			t.Errorf("a usage chunk that nobody asked for:\n%s", a.body)
		}
		got := string(sim.Log()[0].Body)
		const added = `"stream_options":{"include_usage":true}`
		bare := strings.NewReplacer(","+added, "", added+",", "", edited, model).Replace(got)
		if strings.Count(got, added) != 1 || bare != body {
			t.Errorf("left as\n%s\nwant %s added to\n%s", got, added, body)
		}
	})
}

// nested is an array n deep.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// TestBadBodies: what two parsers could read differently is refused, and nothing of it reaches an upstream.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{})
	g := serve(t, fmt.Sprintf(bodyPolicy, addr))
	const messages = `"messages":[{"role":"user","content":"hi"}]`
	for _, tc := range []struct{ name, body string }{
		{"model twice", `{"model":"auto","model":"other",` + messages + `}`},
		{"model twice, escaped", `{"model":"auto",` + messages + `,"mo\u0064el":"other"}`},
		{"model twice, long escape", `{"\u006d\u006F\u0064\u0065\u006c":"auto",` + messages + `,"model":"other"}`},
		{"messages twice", `{"model":"auto",` + messages + `,` + messages + `}`},
		{"twice far below", `{"model":"auto",` + messages + `,"a":[{"b":{"c":1,"d":2,"\u0063":3}}]}`},
		{"invalid UTF-8 in a value", `{"model":"auto","user":"` + "\xff" + `",` + messages + `}`},
		{"invalid UTF-8 in a name", `{"model":"auto","` + "\xc0\xaf" + `":1,` + messages + `}`},
		{"a surrogate in UTF-8", `{"model":"auto","user":"` + "\xed\xa0\x80" + `",` + messages + `}`},
		{"half a surrogate pair", `{"model":"auto","user":"\ud800 ",` + messages + `}`},
		{"65 deep", `{"model":"auto",` + messages + `,"x":` + nested(64) + `}`},
		{"very deep", `{"model":"auto",` + messages + `,"x":` + strings.Repeat("[", 1<<20)},
		{"cut", `{"model":"auto","messages":[{"role":"user"`},
		{"two values", `{"model":"auto",` + messages + `}{}`},
		{"a comment", `{"model":"auto",/* */` + messages + `}`},
		{"a bare control character", "{\"model\":\"auto\",\"user\":\"a\x01b\"," + messages + "}"},
		{"not a number", `{"model":"auto","temperature":NaN,` + messages + `}`},
		{"an array", `[{"model":"auto"}]`},
		{"a byte order mark", "\ufeff" + `{"model":"auto",` + messages + `}`},
		{"nothing", ``},
		{"no model", `{` + messages + `}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := dial(t, g)
			w.send(tc.body)
			a := w.answer()
			if a.err != nil || a.status != http.StatusBadRequest {
				t.Fatalf("got %.300v, want a 400", a)
			}
			a.code(t)
			if !bytes.Contains(a.body, []byte(`"invalid_request_error"`)) {
				t.Errorf("type of %s", a.body)
			}
		})
	}
	if calls := sim.Log(); len(calls) != 0 {
		t.Errorf("%d refused requests reached the upstream, the first: %.500s", len(calls), calls[0].Body)
	}
}

// TestBodyTooLarge sends 33 MB in the three ways that clients have: all of it in the end gets a 413 that can be read.
func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{})
	g := serve(t, fmt.Sprintf(bodyPolicy, addr))
	const size = 33 << 20
	body := append([]byte(`{"model":"auto","messages":[{"role":"user","content":"`), bytes.Repeat([]byte("a"), size)...)
	check := func(t *testing.T, a *answer) {
		t.Helper()
		if a.status != http.StatusRequestEntityTooLarge || a.code(t) != "request_too_large" {
			t.Errorf("got %.300v, want a 413", a)
		}
		if r := g.Exchange(t, a.id()); r.Text("outcome") != "client_error" {
			t.Errorf("record %v", r)
		}
	}
	t.Run("with its length", func(t *testing.T) {
		w := dial(t, g)
		w.head(fmt.Sprintf("Content-Length: %d\r\n", len(body)))
		_, _ = w.conn.Write(body) // a client that writes on and reads afterwards; the gateway may have stopped listening
		check(t, w.answer())
	})
	t.Run("chunked", func(t *testing.T) {
		w := dial(t, g)
		w.head("Transfer-Encoding: chunked\r\n")
		for piece := range slices.Chunk(body, 1<<20) {
			if _, err := fmt.Fprintf(w.conn, "%x\r\n%s\r\n", len(piece), piece); err != nil {
				break
			}
		}
		_, _ = io.WriteString(w.conn, "0\r\n\r\n")
		check(t, w.answer())
	})
	t.Run("length only", func(t *testing.T) {
		w := dial(t, g)
		w.head(fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n", len(body)))
		check(t, w.answer())
	})
	t.Run("a client that says which body it has", func(t *testing.T) {
		a := chat(t.Context(), newClient(t), g, string(body))
		check(t, a)
	})
	if n := len(sim.Log()); n != 0 {
		t.Errorf("%d of them reached the upstream", n)
	}
}

// TestUnauthenticatedBodiesAreNotRead: the 401 comes although not one byte of the announced body does.
func TestUnauthenticatedBodiesAreNotRead(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{})
	const pepper = "a pepper for this test"
	key, hash := harness.NewKey(t, binary(), pepper, "acme", "web")
	g := serve(t, fmt.Sprintf(bodyPolicy, addr)+fmt.Sprintf("auth: {pepper: {env: SLUICE_PEPPER}}\ntenants:\n  acme: {keys: [{id: web, hash: %q}]}\n", hash), "SLUICE_PEPPER="+pepper)
	for _, credential := range []string{"", "Authorization: Bearer " + key + "x\r\n", "Authorization: Bearer sk-none\r\n", "x-api-key: " + key[:len(key)-1] + "\r\n"} {
		for _, length := range []string{"Content-Length: 10000000\r\n", "Content-Length: 10000000\r\nExpect: 100-continue\r\n", "Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"} {
			w := dial(t, g)
			w.head(credential + length)
			a := w.answer()
			if a.status != http.StatusUnauthorized || a.code(t) != "invalid_api_key" {
				t.Errorf("%q %q: %v, want a 401", credential, length, a)
			}
			if rest, err := io.ReadAll(w.r); len(rest) != 0 || err != nil {
				t.Errorf("%q %q: the connection stays open or says more: %q, %v", credential, length, rest, err)
			}
		}
	}
	for _, header := range []string{"Authorization", "x-api-key", "api-key", "x-goog-api-key"} {
		value := key
		if header == "Authorization" {
			value = "bearer " + key
		}
		if err := chat(t.Context(), newClient(t), g, chatBody("auto", "hi", false, ""), header, value).complete(); err != nil {
			t.Errorf("%s: %v", header, err)
		}
	}
	for _, c := range sim.Log() {
		for name, values := range c.Header {
			if strings.Contains(strings.Join(values, " "), key) {
				t.Errorf("the client's key went upstream in %s", name)
			}
		}
	}
}

// TestSlowBodies: a client that sends its body byte by byte is served, and one that leaves in the middle disturbs nobody.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{})
	g := serve(t, fmt.Sprintf(bodyPolicy, addr))
	body := chatBody("auto", "byte by byte", false, "")
	w := dial(t, g)
	w.head(fmt.Sprintf("Content-Length: %d\r\n", len(body)))
	for i := range len(body) {
		if _, err := io.WriteString(w.conn, body[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.answer().complete(); err != nil {
		t.Error(err)
	}
	w = dial(t, g)
	w.head("Content-Length: 1000\r\n")
	if _, err := io.WriteString(w.conn, body[:20]); err != nil {
		t.Fatal(err)
	}
	if err := w.conn.Close(); err != nil {
		t.Fatal(err)
	}
	harness.Poll(t, "a record of the client that left", func() error {
		for _, r := range g.Err.Records("exchange") {
			if r.Text("outcome") == "client_gone" {
				return nil
			}
		}
		return errors.New("none")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sim.Await(ctx, func(calls []simulator.Call) bool { return len(calls) == 1 }); err != nil {
		t.Errorf("%d upstream requests, want 1", len(sim.Log()))
	}
}
