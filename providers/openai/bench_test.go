package openai

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/llm"
)

// jsonAnswer is a chat.completion whose text is about n bytes long, with a line break (an escape) every few hundred bytes if escaped is set.
func jsonAnswer(n int, escaped bool) []byte {
	piece := strings.Repeat("All happy families are alike, each unhappy one in its own way. ", 6)
	if escaped {
		piece += `\n`
	}
	text := strings.Repeat(piece, n/len(piece)+1)[:n]
	text = strings.TrimSuffix(text, `\`)
	return []byte(`{"id":"chatcmpl-A1","object":"chat.completion","created":1795349339,"model":"gpt-5.5-2026-04-23","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		text + `","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":40,"total_tokens":49,"prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_1"}`)
}

// streamAnswer is a chat stream of n text frames as OpenAI writes them.
func streamAnswer(n int) []byte {
	var b bytes.Buffer
	chunk := func(delta, finish string) {
		b.WriteString(`data: {"id":"chatcmpl-A1","object":"chat.completion.chunk","created":1795349339,"model":"gpt-5.5-2026-04-23","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":` +
			delta + `,"logprobs":null,"finish_reason":` + finish + `}],"obfuscation":"x8Kq2"}` + "\n\n")
	}
	chunk(`{"role":"assistant","content":"","refusal":null}`, "null")
	for i := range n {
		chunk(`{"content":" word`+strconv.Itoa(i)+`"}`, "null")
	}
	chunk(`{}`, `"stop"`)
	b.WriteString(done)
	return b.Bytes()
}

// decodeIn runs an answer through a decoder in chunks of the size, as the proxy does.
func decodeIn(tb testing.TB, events []llm.Event, stream bool, answer []byte, size int) []llm.Event {
	d := Codec{}.NewDecoder(llm.OpChat, stream)
	for rest := answer; ; {
		n := min(size, len(rest))
		var err error
		if events, err = d.Append(events[:0], rest[:n], n == len(rest)); err != nil {
			tb.Fatal(err)
		}
		if rest = rest[n:]; len(rest) == 0 {
			Recycle(d)
			return events
		}
	}
}

func BenchmarkJSONAnswer(b *testing.B) {
	for _, c := range []struct {
		name    string
		n       int
		escaped bool
	}{{"300B", 0, false}, {"1KB", 700, true}, {"100KB", 100 << 10, false}, {"100KBEscaped", 100 << 10, true}} {
		b.Run(c.name, func(b *testing.B) {
			answer := jsonAnswer(c.n, c.escaped)
			b.ReportAllocs()
			b.SetBytes(int64(len(answer)))
			var events []llm.Event
			for b.Loop() {
				events = decodeIn(b, events, false, answer, 32<<10)
			}
		})
	}
}

func BenchmarkStreamAnswer(b *testing.B) {
	for _, size := range []int{280, 4 << 10, 32 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			answer := streamAnswer(500)
			b.ReportAllocs()
			b.SetBytes(int64(len(answer)))
			var events []llm.Event
			for b.Loop() {
				events = decodeIn(b, events, true, answer, size)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/503, "ns/event")
		})
	}
}
