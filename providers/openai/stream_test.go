package openai

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/llm"
)

// decode runs an answer through a decoder in chunks of the size and returns its events as text, one a line, and all their bytes.
func decode(op llm.Op, stream bool, answer []byte, size int) (lines []string, raw []byte, err error) {
	d := Codec{}.NewDecoder(op, stream)
	var events []llm.Event
	for {
		n := min(size, len(answer))
		chunk := bytes.Clone(answer[:n])
		answer = answer[n:]
		events, err = d.Append(events[:0], chunk, len(answer) == 0)
		for i := range events {
			lines = append(lines, line(&events[i]))
			raw = append(raw, events[i].Raw...)
		}
		for i := range chunk {
			chunk[i] = 'X' // a view of the caller's bytes would show
		}
		if err != nil || len(answer) == 0 {
			return lines, raw, err
		}
	}
}

var kinds = [...]string{"other", "comment", "start", "text", "reasoning", "refusal", "tool", "data", "finish", "usage", "error", "end"}

func line(e *llm.Event) string {
	s := fmt.Sprintf("%s %d", kinds[e.Kind], e.Choice)
	switch e.Kind {
	case llm.EventStart:
		s += fmt.Sprintf(" id=%s model=%s created=%d", e.ID, e.Model, e.Created)
	case llm.EventText, llm.EventReasoning, llm.EventRefusal:
		s += fmt.Sprintf(" %q", e.Text)
	case llm.EventTool:
		s += fmt.Sprintf(" %d id=%s name=%s %q", e.Tool, e.ToolID, e.ToolName, e.Text)
	case llm.EventFinish:
		s += " " + e.Finish
	case llm.EventUsage:
		s += fmt.Sprintf(" in=%d out=%d cached=%d write=%d reasoning=%d only=%v", e.Usage.Input, e.Usage.Output, e.Usage.Cached, e.Usage.CacheWrite, e.Usage.Reasoning, e.UsageOnly)
	case llm.EventError:
		s += fmt.Sprintf(" %s %d %s", e.Err.Class, e.Err.Status, e.Err.Message)
	}
	if e.Logprobs != nil {
		s += " logprobs=" + string(e.Logprobs)
	}
	if e.Raw != nil {
		s += " raw"
	}
	return s
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordedStreams(t *testing.T) {
	for _, c := range []struct {
		file string
		want []string
	}{
		{"openai.stream", []string{
			"start 0 id=chatcmpl-A1 model=gpt-5.5-2026-04-23 created=1795349339 raw", `text 0 "Hello" raw`, `text 0 " \"wörld\" 😀\n" raw`, "finish 0 stop raw",
			"usage 0 in=9 out=4 cached=2 write=0 reasoning=1 only=true raw", "end 0 raw",
		}},
		{"openai-tools.stream", []string{
			"start 0 id=chatcmpl-A1 model=gpt-5.5-2026-04-23 created=1795349339 raw", `tool 0 0 id=call_a name=weather ""`,
			`tool 0 0 id= name= "{\"city\":" raw`, `tool 0 0 id= name= "\"Bern\"}" raw`, `tool 0 1 id=call_b name=time "" raw`, `tool 0 1 id= name= "{}" raw`, "finish 0 tool_calls raw", "end 0 raw",
		}},
		{"vllm-reasoning.stream", []string{
			"start 0 id=chatcmpl-v model=Qwen/Qwen3-8B created=1795349339 raw",
			`reasoning 0 "Let me" raw`, "usage 0 in=5 out=2 cached=0 write=0 reasoning=0 only=false",
			`reasoning 0 " see." raw`, "usage 0 in=5 out=4 cached=0 write=0 reasoning=0 only=false",
			`text 0 "42" raw`, "usage 0 in=5 out=5 cached=0 write=0 reasoning=0 only=false",
			"finish 0 stop raw", "usage 0 in=5 out=6 cached=0 write=0 reasoning=0 only=false",
			"usage 0 in=5 out=6 cached=0 write=0 reasoning=0 only=true raw", "end 0 raw",
		}},
		{"groq.stream", []string{
			"start 0 id=chatcmpl-g model=llama-3.3-70b-versatile created=1795349339 raw", `text 0 "Hi" raw`,
			"finish 0 stop raw", "usage 0 in=36 out=2 cached=0 write=0 reasoning=0 only=false", "end 0 raw",
		}},
		{"deepseek.stream", []string{
			"comment 0 raw", "comment 0 raw", "start 0 id=d-1 model=deepseek-v4 created=1795349339 raw", `reasoning 0 "Hm" raw`, `text 0 "Yes" raw`,
			"finish 0 stop raw", "usage 0 in=10 out=3 cached=8 write=0 reasoning=0 only=false", "end 0 raw",
		}},
		{"openrouter.stream", []string{
			"comment 0 raw", "start 0 id=gen-1 model=x/y created=1795349339 raw", `reasoning 0 "Thinking"`, `text 0 "ok" raw`, "finish 0 stop raw",
			"usage 0 in=4 out=2 cached=0 write=0 reasoning=0 only=true raw", "end 0 raw",
		}},
		{"mistral-thinking.stream", []string{
			"start 0 id=m model=magistral created=1795349339 raw", `reasoning 0 "hm" raw`, `text 0 "so" raw`, "finish 0 stop raw",
			"usage 0 in=1 out=2 cached=0 write=0 reasoning=0 only=false", "end 0 raw",
		}},
		{"azure.stream", []string{"other 0 raw", "start 0 id=chatcmpl-z model=gpt-5.5 created=1795349339 raw", `text 0 "Hi" raw`, "finish 0 stop raw", "end 0 raw"}},
		{"refusal.stream", []string{"start 0 id=chatcmpl-A1 model=gpt-5.5-2026-04-23 created=1795349339 raw", `refusal 0 "I can" raw`, `refusal 0 "not." raw`, "finish 0 stop raw", "end 0 raw"}},
		{"no-done.stream", []string{"start 0 id=n model=m created=1795349339 raw", `text 0 "a"`, "finish 0 length raw", "end 0 raw"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			got, raw, err := decode(llm.OpChat, true, read(t, c.file), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
			want := string(read(t, c.file))
			if c.file == "no-done.stream" {
				want += "\n\n" + string(doneFrame)
			}
			if string(raw) != want {
				t.Error("joined bytes are not the upstream's")
			}
		})
	}
}

// TestChunking: what a decoder makes of an answer does not depend on where its bytes were cut.
func TestChunking(t *testing.T) {
	files, _ := filepath.Glob("testdata/*")
	if len(files) < 10 {
		t.Fatal("fixtures are missing")
	}
	for _, f := range files {
		op, stream := opOf(f)
		if op == llm.OpModels {
			continue
		}
		answer := read(t, filepath.Base(f))
		for _, cut := range []int{len(answer), len(answer) / 2} {
			want, raw, wantErr := decode(op, stream, answer[:cut], len(answer)+1)
			for _, size := range []int{1, 2, 3, 7, 64, 1000} {
				got, gotRaw, err := decode(op, stream, answer[:cut], size)
				if d := cmp.Diff(want, got); d != "" || !bytes.Equal(raw, gotRaw) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
					t.Fatalf("%s cut at %d in chunks of %d: %v, %v\n%s", f, cut, size, wantErr, err, d)
				}
			}
		}
	}
}

func opOf(file string) (llm.Op, bool) {
	stream := strings.HasSuffix(file, ".stream")
	switch {
	case !stream && !strings.HasSuffix(file, ".json"):
		return llm.OpModels, false
	case strings.Contains(file, "completions"):
		return llm.OpCompletions, stream
	case strings.Contains(file, "responses"):
		return llm.OpOpaque, stream
	case strings.Contains(file, "embeddings"):
		return llm.OpEmbeddings, stream
	}
	return llm.OpChat, stream
}

const (
	roleChunk = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	textChunk = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}` + "\n\n"
	stopChunk = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	done      = "data: [DONE]\n\n"
)

func TestStreamFailures(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		want         string // last event, or "broken"
	}{
		{"empty", "", "broken"},
		{"only done", done, "broken"},
		{"role then cut", roleChunk, "broken"},
		{"text then cut", roleChunk + textChunk, "broken"},
		{"cut within an event", roleChunk + textChunk + stopChunk[:40], "broken"},
		{"cut after the finish", roleChunk + textChunk + stopChunk + `data: {"id":"c","usa`, "end 0 raw"},
		{"garbage after the finish", roleChunk + textChunk + stopChunk + "data: {\"id\": nope\n\n" + done, "end 0 raw"},
		{"error after the finish", roleChunk + textChunk + stopChunk + `data: {"error":{"message":"The server is overloaded","code":503}}` + "\n\n", "end 0 raw"},
		{"no done", roleChunk + textChunk + stopChunk, "end 0 raw"},
		{"done without finish", roleChunk + textChunk + done, "end 0 raw"},
		{"one of two choices finished", roleChunk + strings.ReplaceAll(textChunk, `"index":0`, `"index":1`) + stopChunk, "broken"},
		{"garbage", roleChunk + "data: {\"choices\":[{]}\n\n" + done, "broken"},
		{"text event", roleChunk + "data: hello\n\n" + done, "broken"},
		{"comments only", ": ping\n\n: ping\n\n", "broken"},
		{"html", "<html><body>502 Bad Gateway</body></html>", "broken"},
		{"html after blanks", "\n\n <html>", "broken"},
		{"json error", `{"error":{"message":"The server is overloaded","type":"server_error","code":503}}`, "error 0 capacity 502 the provider cannot take the request now raw"},
		{"error first", `data: {"error":{"message":"The request queue is full.","code":503}}` + "\n\n", "error 0 capacity 502 the provider cannot take the request now raw"},
		{"error event", roleChunk + "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", "error 0 capacity 502 the provider cannot take the request now raw"},
		{"error text", roleChunk + `data: {"error":"boom"}` + "\n\n", "error 0 transient 502 the provider failed (502) raw"},
		{"error null", roleChunk + textChunk + strings.Replace(stopChunk, `"id"`, `"error":null,"id"`, 1) + done, "end 0 raw"},
		{"after done", roleChunk + textChunk + done + "data: garbage\n\n", "end 0 raw"},
		{"ping event", "event: ping\ndata: {}\n\n" + roleChunk + textChunk + done, "end 0 raw"},
		{"deep", "data: " + strings.Repeat("[", 5000) + "\n\n", "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 1 << 20} {
				got, _, err := decode(llm.OpChat, true, []byte(c.answer), size)
				var e *llm.Error
				if err != nil && (!errors.As(err, &e) || e.Class != llm.ClassStreamBroken) {
					t.Fatalf("error %v is not of class stream_broken", err)
				}
				switch {
				case c.want == "broken" && err == nil && !strings.HasPrefix(strings.Join(got, "\n"), "error"):
					t.Errorf("got %q, want it broken", got)
				case c.want != "broken" && (len(got) == 0 || !contains([]string{c.want}, strings.Join(got, "\n"))):
					t.Errorf("got %q, %v; want %q in it", got, err, c.want)
				case strings.HasPrefix(c.want, "end") && err != nil:
					t.Error(err)
				}
			}
		})
	}
}

func TestOpaqueStreams(t *testing.T) {
	ev := func(kind, rest string) string {
		return "event: " + kind + "\ndata: {\"type\":\"" + kind + "\"" + rest + "}\n\n"
	}
	created := ev("response.created", `,"response":{"id":"resp_1","model":"gpt","created_at":5,"error":null,"usage":null}`)
	delta := ev("response.output_text.delta", `,"delta":"hi"`)
	completed := ev("response.completed", `,"response":{"id":"resp_1","error":null,"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":5}}`)
	for _, c := range []struct {
		name, answer string
		want         []string
		broken       bool
	}{
		{"responses", created + delta + delta + completed, []string{"start 0 id=resp_1 model=gpt created=5 raw", "data 0 raw", "other 0 raw", "other 0 raw", "usage 0 in=3 out=2 cached=1 write=0 reasoning=1 only=false", "end 0"}, false},
		{"responses cut", created + delta, []string{"start 0 id=resp_1 model=gpt created=5 raw", "data 0 raw"}, true},
		{"responses failed", created + ev("response.failed", `,"response":{"id":"resp_1","error":{"code":"server_error","message":"boom"}}`), []string{"start 0 id=resp_1 model=gpt created=5 raw", "error 0 transient 502 the provider failed (502) raw", "end 0"}, false},
		{"anthropic", ev("message_start", `,"message":{"id":"msg_1","model":"c","usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":1}}`) + ev("content_block_delta", `,"delta":{"text":"x"}`) + ev("message_delta", `,"usage":{"output_tokens":9}`) + ev("message_stop", ""), []string{
			"start 0 id=msg_1 model=c created=0 raw", "usage 0 in=5 out=1 cached=3 write=0 reasoning=0 only=false", "data 0 raw", "other 0 raw", "usage 0 in=5 out=9 cached=3 write=0 reasoning=0 only=false", "other 0 raw", "end 0",
		}, false},
		{"unknown kind", "data: {\"a\":1}\n\ndata: text\n\n", []string{"data 0 raw", "other 0 raw", "end 0"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := decode(llm.OpOpaque, true, []byte(c.answer), 11)
			if d := cmp.Diff(c.want, got); d != "" || (err != nil) != c.broken {
				t.Errorf("error %v, events (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestJSONAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		op     llm.Op
		answer string
		want   []string // nil = broken
	}{
		{"chat", llm.OpChat, "\n\n" + `{"id":"i","model":"m","created":7,"choices":[{"index":0,"message":{"role":"assistant","content":"a\u00e9","reasoning_content":"r"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`,
			[]string{"start 0 id=i model=m created=7 raw", `reasoning 0 "r"`, `text 0 "aé"`, "finish 0 stop", "usage 0 in=1 out=2 cached=0 write=0 reasoning=0 only=false", "end 0"}},
		{"tools", llm.OpChat, `{"choices":[{"index":0,"message":{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"g","arguments":{"x":1}}}]},"finish_reason":"tool_calls"}]}`,
			[]string{"start 0 id= model= created=0 raw", `tool 0 0 id=a name=f "{}"`, `tool 0 1 id=b name=g "{\"x\":1}"`, "finish 0 tool_calls", "end 0"}},
		{"completions", llm.OpCompletions, `{"id":"i","choices":[{"index":0,"text":"x","finish_reason":"length"},{"index":1,"text":"y","finish_reason":"stop"}]}`,
			[]string{"start 0 id=i model= created=0 raw", `text 0 "x"`, "finish 0 length", `text 1 "y"`, "finish 1 stop", "end 0"}},
		{"embeddings", llm.OpEmbeddings, `{"object":"list","data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}`, []string{"data 0 raw", "usage 0 in=3 out=0 cached=0 write=0 reasoning=0 only=false", "end 0"}},
		{"opaque", llm.OpOpaque, `{"id":"r","error":{"code":"x","message":"y"}}`, []string{"data 0 raw", "end 0"}},
		{"error in a 200", llm.OpChat, `{"error":{"code":429,"message":"slow"}}`, []string{"error 0 throttle 429 the provider's rate limit is used up raw"}},
		{"no choices", llm.OpChat, `{"choices":[]}`, nil},
		{"cut", llm.OpChat, `{"choices":[{"index":0,"message":{"content":"a"`, nil},
		{"empty", llm.OpChat, "  ", nil},
		{"html", llm.OpEmbeddings, "<html>", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, raw, err := decode(c.op, false, []byte(c.answer), 5)
			if c.want == nil {
				if err == nil {
					t.Fatalf("got %q, want an error", got)
				}
				return
			}
			if d := cmp.Diff(c.want, got); d != "" || err != nil {
				t.Fatalf("%v (-want +got):\n%s", err, d)
			}
			if string(raw) != c.answer {
				t.Error("bytes are not the upstream's")
			}
		})
	}
}

func TestPassAllocatesNothing(t *testing.T) {
	frame := []byte(`data: {"id":"chatcmpl-A1","object":"chat.completion.chunk","created":1795349339,"model":"gpt-5.5","choices":[{"index":0,"delta":{"content":" \"w\u00f6rld\""},"logprobs":null,"finish_reason":null}]}` + "\n\n")
	d, enc := Codec{}.NewDecoder(llm.OpChat, true), NewPassEncoder(false)
	var events []llm.Event
	var out []byte
	pass := func() {
		var err error
		if events, err = d.Append(events[:0], frame, false); err != nil {
			t.Fatal(err)
		}
		out = out[:0]
		for i := range events {
			out = enc.Append(out, &events[i])
		}
	}
	pass()
	if n := testing.AllocsPerRun(100, pass); n > 0 {
		t.Errorf("a passing event costs %v allocations, want none", n)
	}
	if !bytes.Equal(out, frame) || events[0].Kind != llm.EventText {
		t.Errorf("passed %q as %v", out, events[0].Kind)
	}
}

func BenchmarkPassEvent(b *testing.B) {
	d, enc := Codec{}.NewDecoder(llm.OpChat, true), NewPassEncoder(false)
	var events []llm.Event
	var out []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(textChunk)))
	frame := []byte(textChunk)
	for b.Loop() {
		events, _ = d.Append(events[:0], frame, false)
		out = out[:0]
		for i := range events {
			out = enc.Append(out, &events[i])
		}
	}
}

func FuzzDecoder(f *testing.F) {
	files, _ := filepath.Glob("testdata/*")
	for _, name := range files {
		op, stream := opOf(name)
		f.Add(read(f, filepath.Base(name)), uint8(op), stream, 3)
	}
	f.Add([]byte(roleChunk+textChunk+stopChunk[:50]), uint8(1), true, 1)
	f.Fuzz(func(t *testing.T, answer []byte, op uint8, stream bool, size int) {
		o := llm.Op(op % 4)
		want, raw, wantErr := decode(o, stream, answer, len(answer)+1)
		if size < 1 || size > len(answer) {
			size = 1
		}
		got, gotRaw, err := decode(o, stream, answer, size)
		if d := cmp.Diff(want, got); d != "" || !bytes.Equal(raw, gotRaw) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("chunks of %d differ: %v, %v\n%s", size, wantErr, err, d)
		}
	})
}

// An error behind the end of one of two choices is one: the other may never have begun.
func TestErrorBeforeAnotherChoice(t *testing.T) {
	for _, behind := range []string{`data: {"error":{"message":"The server is overloaded","code":503}}` + "\n\n", "data: {\"id\": nope\n\n"} {
		d := Codec{}.NewDecoder(llm.OpChat, true)
		ExpectChoices(d, 2)
		events, err := d.Append(nil, []byte(roleChunk+textChunk+stopChunk+behind), false)
		if last := events[len(events)-1].Kind; err == nil && last != llm.EventError {
			t.Errorf("%q: ends with %s", behind, kinds[last])
		}
	}
}
