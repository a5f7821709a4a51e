package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A shape says how the null upstream answers. The last part of a model's name chooses it, which survives a gateway's rewriting of the
// model: `bench-sse50`, `auto-sse50` and `up-sse50` are all answered with 50 events.
type shape struct {
	name   string
	bytes  int           // length of a JSON answer; 0 for a stream
	events int           // content chunks of a stream; usage and [DONE] come on top
	gap    time.Duration // between events; 0 = back to back
	wait   time.Duration // before a JSON answer
	toil   bool          // it is work, of which not much can be done at once
}

var shapes = []shape{
	{name: "450", bytes: 450},
	{name: "100k", bytes: 100 << 10},
	{name: "sse50", events: 50},
	{name: "sse500", events: 500},
	{name: "toil", bytes: 450, toil: true},
	{name: "paced20", events: 20, gap: 20 * time.Millisecond},
	{name: "paced50", events: 50, gap: 20 * time.Millisecond},
	{name: "10ms", bytes: 450, wait: 10 * time.Millisecond},
}

// frames is the number of SSE frames that a whole stream has: role, content, finish, usage, [DONE].
func (s shape) frames() int { return s.events + 4 }

// shapeOf finds the shape that a model's name asks for.
func shapeOf(model string) (shape, bool) {
	tail := model[strings.LastIndexByte(model, '-')+1:]
	for _, s := range shapes {
		if s.name == tail {
			return s, true
		}
	}
	return shape{}, false
}

// unaryAnswer is a chat completion of exactly s.bytes bytes.
func unaryAnswer(s shape) []byte {
	const head = `{"id":"chatcmpl-bench","object":"chat.completion","created":1767225600,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"`
	const tail = `"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":230,"completion_tokens":40,"total_tokens":270}}`
	return []byte(head + filler(s.bytes-len(head)-len(tail), 1) + tail)
}

// streamAnswer is the frames of a chat completion stream, one slice for each write and flush.
func streamAnswer(s shape) [][]byte {
	const head = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1767225600,"model":"up","choices":[`
	const choice = head + `{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}],"usage":null}` + "\n\n"
	frames := [][]byte{fmt.Appendf(nil, choice, `{"role":"assistant","content":""}`, "null")}
	for i := range s.events {
		frames = append(frames, fmt.Appendf(nil, choice, fmt.Sprintf(`{"content":" word%d"}`, i), "null"))
	}
	return append(frames,
		fmt.Appendf(nil, choice, `{}`, `"stop"`),
		fmt.Appendf(nil, head+`],"usage":{"prompt_tokens":230,"completion_tokens":%d,"total_tokens":%d}}`+"\n\n", s.events, 230+s.events),
		[]byte("data: [DONE]\n\n"))
}

// requests makes several chat requests of about size bytes that differ in their prompts, so that nobody answers from one warm entry.
func requests(model string, size int, stream bool) [][]byte {
	const variants = 32
	head := fmt.Sprintf(`{"model":%q,`, model)
	if stream {
		head += `"stream":true,"stream_options":{"include_usage":true},`
	}
	head += `"temperature":0.2,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"`
	const tail = `"}]}`
	bodies := make([][]byte, variants)
	for i := range bodies {
		bodies[i] = []byte(head + filler(size-len(head)-len(tail), uint64(i)+1) + tail)
	}
	return bodies
}

// filler is n bytes of words that need no JSON escape, the same for the same seed.
func filler(n int, seed uint64) string {
	words := strings.Fields("please summarise the following notes about our garden in two short lines and keep what was said of water light soil and the old pear tree")
	r := rand.New(rand.NewPCG(seed, 7))
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:max(0, n)]
}
