//go:build real

package envoyplane

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/llm"
)

const (
	counted = `{"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}`
	done    = "data: [DONE]\n\n"
	// What a model says about usage is not usage: as text, in another object, under another name.
	talk = `data: {"id":"c","choices":[{"delta":{"content":"\"usage\": {\"prompt_tokens\": 77} \\"}}],"more":{"usage":{"prompt_tokens":78}},"usages":{"prompt_tokens":79}}` + "\n\n"
)

// said has what is no usage of the answer, but for its last bracket; long is more than is kept of an answer.
var (
	said = `{"choices":[{"message":{"content":"\"usage\": {\"prompt_tokens\": 77} \\"}}],"more":{"usage":{"prompt_tokens":78}},"usages":{"prompt_tokens":79}`
	long = `"data":"` + strings.Repeat("a", 90_000) + `"`
)

// answer is what a provider may send, and the figures that are to be read of it; none = it is estimated.
type answer struct {
	name, text string
	zipped     bool
	want       *llm.Usage
}

var streams = []answer{
	{"plain", "data: " + counted + "\n\n" + done, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"CRLF", strings.ReplaceAll("data: "+counted+"\n\n"+done, "\n", "\r\n"), false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"no space, spaces within", `data:{ "usage" : { "completion_tokens" : 3 , "prompt_tokens" : 9 } , "choices" : [ ] }` + "\n\n" + done, false, &llm.Usage{Input: 9, Output: 3}},
	{"no end of line at the end", "data: " + counted, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"what is said about usage", talk + "data: " + counted + "\n\n" + talk + done, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"only what is said about usage", talk + done, false, nil},
	{"null until the last one", `data: {"choices":[],"usage":null}` + "\n\ndata: " + counted + "\n\n" + done, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"several: the last one", `data: {"usage":{"prompt_tokens":8,"completion_tokens":1}}` + "\n\ndata: " + counted + "\n\n" + done, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"comments and other fields", ": " + counted + "\n\nevent: x\nid: {\"usage\":{\"prompt_tokens\":5}}\ndata: " + counted + "\n\n" + done, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"not JSON", "data: {\"usage\": {nonsense\n\ndata: \"usage\": {\"prompt_tokens\":5}\n\ndata: {\"a\":\"\\\n\n" + done, false, nil},
	{"a line that is too long, then the figures", `data: {"choices":[{"delta":{"content":"` + strings.Repeat("a", 100_000) + `"}}]}` + "\n\ndata: " + counted + "\n\n" + done,
		false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"compressed all the same", "data: " + counted + "\n\n" + done, true, nil},
}

// wholes are the same in one piece of JSON.
var wholes = []answer{
	{"plain", counted, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"spaces", " {\n  \"usage\" : {\r\n \"completion_tokens\" : 3 , \"prompt_tokens\" : 9 } , \"choices\" : [ ] }\n", false, &llm.Usage{Input: 9, Output: 3}},
	{"what is said about usage", said + `,` + counted[1:], false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"only what is said about usage", said + "}", false, nil},
	{"null", `{"choices":[],"usage":null}`, false, nil},
	{"not JSON", `{"usage": {nonsense "usage": {"prompt_tokens":5}`, false, nil},
	{"an array", `[` + counted + `]`, false, nil},
	{"none", "", false, nil},
	{"long, then the figures", `{` + long + `,` + counted[1:], false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"long, then the figures and more", `{` + long + `,"usage":{"prompt_tokens":9,"completion_tokens":3},"more":[{"a":"}"}], "x" : 1 } `, false, &llm.Usage{Input: 9, Output: 3}},
	{"the figures, then long", counted[:len(counted)-1] + `,` + long + `}`, false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"figures where the beginning ends", `{` + long[:65_480] + `",` + counted[1:], false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"very long, then the figures", `{"data":"` + strings.Repeat("a", 20<<20) + `",` + counted[1:], false, &llm.Usage{Input: 9, Output: 3, Cached: 2}},
	{"long, then only what is said", `{` + long + `,` + said[1:] + `,"usage\"":1,"last":{"usage":{"prompt_tokens":78}}}`, false, nil},
	{"figures only, at the end", `{"choices":[],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens" : 3} }`, false, &llm.Usage{Input: 9, Output: 3}},
	{"figures and a text, at the end", `{"choices":[],"usage":{"note":"\"prompt_tokens\":7","prompt_tokens":9}}`, false, &llm.Usage{Input: 9}},
	{"of another object, at the end", `{"choices":[],"more":{"usage":{"prompt_tokens":78}}}`, false, nil},
	{"of a name that ends alike, at the end", `{"choices":[],"a\"usage":{"prompt_tokens":78}}`, false, nil},
	{"compressed all the same", counted, true, nil},
}

// TestUsage: the figures of answers that Envoy carries; a stream is cut into chunks at every byte, and none of them is held back.
func TestUsage(t *testing.T) {
	var parts [][]byte
	header := http.Header{}
	next := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		for _, part := range parts {
			_, _ = w.Write(part)
			_ = http.NewResponseController(w).Flush()
			if len(parts) == 1 || w.Header().Get("Content-Type") == "application/json" { // the client has it when it is whole
				continue
			}
			select {
			case <-next: // the client has it, so Envoy has seen it as a chunk of its own
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(upstream.Close)
	p := Start(t, Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Policy: Compile(t, fmt.Appendf(nil, `version: 1
providers:
  p: {dialect: openai, base_url: %q}
models:
  m: {provider: p, name: m}
routes:
  auto: {rules: [{use: [m]}], carrier: envoy}
`, upstream.URL+"/v1"))})
	c := http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(c.CloseIdleConnections)
	asked := 0
	stream := func(t *testing.T, cut ...[]byte) {
		t.Helper()
		parts = cut
		r, err := c.Post(p.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"auto","stream":true,"messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		for i, part := range cut {
			got := make([]byte, len(part))
			if _, err := io.ReadFull(r.Body, got); err != nil || !bytes.Equal(got, part) {
				t.Fatalf("part %d: %q, want %q: %v", i, got, part, err)
			}
			if len(cut) > 1 && header.Get("Content-Type") != "application/json" {
				next <- struct{}{}
			}
		}
		if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 {
			t.Fatalf("%q %v", rest, err)
		}
		asked++
	}
	check := func(t *testing.T, from int, want *llm.Usage) {
		t.Helper()
		for _, rec := range p.Settled(asked)[from:] {
			switch {
			case rec.Carried != "envoy" || rec.Outcome != "ok":
				t.Errorf("%s by %s", rec.Outcome, rec.Carried)
			case want == nil && rec.UsageKind != llm.UsageEstimated, want != nil && (rec.UsageKind != llm.UsageReported || rec.Usage != *want):
				t.Errorf("%s %+v, want %+v", rec.UsageKind, rec.Usage, want)
			}
		}
	}
	for kind, answers := range map[string][]answer{"text/event-stream": streams, "application/json": wholes} {
		for _, a := range answers {
			t.Run(kind+"/"+a.name, func(t *testing.T) {
				text := []byte(a.text)
				header.Set("Content-Type", kind)
				header.Del("Content-Encoding")
				if a.zipped {
					var b bytes.Buffer
					z := gzip.NewWriter(&b)
					_, _ = z.Write(text)
					_ = z.Close()
					text = b.Bytes()
					header.Set("Content-Encoding", "gzip")
				}
				from := asked
				stream(t, text)
				if len(text) > 65_550 {
					stream(t, text[:60_000], text[60_000:])
					stream(t, text[:65_500], text[65_500:65_550], text[65_550:])
				} else if kind != "application/json" {
					stream(t, slices.Collect(slices.Chunk(text, 1))...)
					for at := 1; at < len(text); at++ {
						stream(t, text[:at], text[at:])
					}
				}
				check(t, from, a.want)
			})
		}
	}
}
