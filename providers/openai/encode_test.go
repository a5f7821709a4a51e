package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// transcode runs an answer through a decoder and an encoder.
func transcode(t *testing.T, op llm.Op, stream bool, answer []byte, enc llm.Encoder) string {
	t.Helper()
	d := Codec{}.NewDecoder(op, stream)
	var out []byte
	var events []llm.Event
	for len(answer) > 0 {
		n := min(17, len(answer))
		var err error
		events, err = d.Append(events[:0], answer[:n], n == len(answer))
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			out = enc.Append(out, &events[i])
		}
		answer = answer[n:]
	}
	return string(out)
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestPassEncoder(t *testing.T) {
	whole := string(read(t, "openai.stream"))
	if got := transcode(t, llm.OpChat, true, []byte(whole), NewPassEncoder(true)); got != whole {
		t.Errorf("got %q", got)
	}
	frames := strings.SplitAfter(whole, "\n\n")
	want := strings.Join(append(frames[:len(frames)-3:len(frames)-3], frames[len(frames)-2]), "")
	if got := transcode(t, llm.OpChat, true, []byte(whole), NewPassEncoder(false)); got != want {
		t.Errorf("without usage: got %q\nwant %q", got, want)
	}
	if got := string(NewPassEncoder(false).AppendError(nil, &llm.Error{Message: "a\nb", Type: "t", Code: "stream_interrupted"})); got != `data: {"error":{"message":"a\nb","type":"t","param":null,"code":"stream_interrupted"}}`+"\n\n" {
		t.Errorf("error event is %q", got)
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		file string
		op   llm.Op
		want string
	}{
		{"openai.stream", llm.OpChat, `{"id":"chatcmpl-A1","object":"chat.completion","created":1795349339,"model":"gpt-5.5-2026-04-23","choices":[{"index":0,"message":{"role":"assistant","content":"Hello \"wörld\" 😀\n","refusal":null},"logprobs":null,"finish_reason":"stop"}],
			"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}`},
		{"openai-tools.stream", llm.OpChat, `{"id":"chatcmpl-A1","object":"chat.completion","created":1795349339,"model":"gpt-5.5-2026-04-23","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[
			{"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}},{"id":"call_b","type":"function","function":{"name":"time","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls"}]}`},
		{"vllm-reasoning.stream", llm.OpChat, `{"id":"chatcmpl-v","object":"chat.completion","created":1795349339,"model":"Qwen/Qwen3-8B","choices":[{"index":0,"message":{"role":"assistant","content":"42","reasoning_content":"Let me see.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":11}}`},
		{"refusal.stream", llm.OpChat, `{"id":"chatcmpl-A1","object":"chat.completion","created":1795349339,"model":"gpt-5.5-2026-04-23","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":"I cannot."},"logprobs":null,"finish_reason":"stop"}]}`},
	} {
		t.Run(c.file, func(t *testing.T) {
			sameJSON(t, transcode(t, c.op, true, read(t, c.file), Codec{}.NewEncoder(c.op, false)), c.want)
		})
	}
}

// TestFoldRecorded: a stream of a real server with two choices and logprobs folds to what its unary answer has.
func TestFoldRecorded(t *testing.T) {
	got := transcode(t, llm.OpChat, true, read(t, "llamacpp-n2-logprobs.stream"), Codec{}.NewEncoder(llm.OpChat, false))
	var body struct {
		Choices []struct {
			Index    int
			Message  struct{ Content string }
			Logprobs struct {
				Content []struct{ Token string }
			}
			FinishReason string `json:"finish_reason"`
		}
	}
	if err := json.Unmarshal([]byte(got), &body); err != nil {
		t.Fatal(err)
	}
	if len(body.Choices) != 2 {
		t.Fatalf("%d choices: %s", len(body.Choices), got)
	}
	for i, c := range body.Choices {
		tokens := ""
		for _, p := range c.Logprobs.Content {
			tokens += p.Token
		}
		if c.Index != i || c.FinishReason != "length" || len(c.Logprobs.Content) != 3 || c.Message.Content == "" || tokens != c.Message.Content {
			t.Errorf("choice %d: %+v", i, c)
		}
	}
	text := transcode(t, llm.OpCompletions, true, read(t, "llamacpp-completions.stream"), Codec{}.NewEncoder(llm.OpCompletions, false))
	if !strings.Contains(text, `"object":"text_completion"`) || !json.Valid([]byte(text)) || strings.Contains(text, `"text":""`) {
		t.Errorf("completions: %s", text)
	}
}

// TestStreamEncoderRoundTrip: what the stream encoder writes reads back as the same answer.
func TestStreamEncoderRoundTrip(t *testing.T) {
	for _, file := range []string{"openai.stream", "openai-tools.stream", "vllm-reasoning.stream", "refusal.stream", "llamacpp-n2-logprobs.stream", "llamacpp.json"} {
		t.Run(file, func(t *testing.T) {
			op, stream := opOf(file)
			rendered := transcode(t, op, stream, read(t, file), Codec{}.NewEncoder(op, true))
			want := transcode(t, op, stream, read(t, file), Codec{}.NewEncoder(op, false))
			sameJSON(t, transcode(t, op, true, []byte(rendered), Codec{}.NewEncoder(op, false)), want)
			if !strings.HasSuffix(rendered, done) || strings.Count(rendered, done) != 1 {
				t.Errorf("no end: %q", rendered)
			}
		})
	}
}

func TestUsageRendered(t *testing.T) {
	e := llm.Event{Kind: llm.EventUsage, Usage: llm.Usage{Input: 5, Output: 3, Cached: 2, CacheWrite: 1, Reasoning: 1}}
	if u := readUsage(jsonedit.Parse(appendUsage(nil, &e))); u != e.Usage {
		t.Errorf("got %+v, want %+v", u, e.Usage)
	}
}

func TestModels(t *testing.T) {
	got := string(AppendModels(nil, []string{"auto", `a"b`}, 5, "sluice"))
	sameJSON(t, got, `{"object":"list","data":[{"id":"auto","object":"model","created":5,"owned_by":"sluice"},{"id":"a\"b","object":"model","created":5,"owned_by":"sluice"}]}`)
	sameJSON(t, string(AppendModels(nil, nil, 5, "s")), `{"object":"list","data":[]}`)
}

func TestRequestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name string
		op   llm.Op
		body string
	}{
		{"chat", llm.OpChat, `{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","name":"bob","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","detail":"low"}}]},
			{"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","content":"42","tool_call_id":"c1"}],
			"stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"temperature":0.5,"top_p":1,"seed":7,"stop":["x","y"],"n":2,"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}}],
			"tool_choice":"auto","response_format":{"type":"json_object"},"reasoning_effort":"low","logit_bias":{"1":2},"user":"u"}`},
		{"completions", llm.OpCompletions, `{"model":"m","prompt":"once","stop":"end","suffix":"x"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Codec{}.Decode(scan(t, c.op, c.body))
			if err != nil {
				t.Fatal(err)
			}
			out, lost, err := Codec{}.AppendRequest(nil, r)
			if err != nil || len(lost) > 0 {
				t.Fatal(lost, err)
			}
			sameJSON(t, string(out), c.body)
		})
	}
	// From another dialect there is no raw JSON to keep.
	out, lost, err := Codec{}.AppendRequest(nil, &llm.Request{Op: llm.OpChat, Model: "m", Tools: []llm.Tool{{Name: "f", Parameters: []byte(`{}`)}},
		Messages: []llm.Message{{Role: "user", Parts: []llm.Part{{Text: "a"}, {Kind: llm.PartImage, URL: "https://x/y.png"}, {Kind: llm.PartAudio}}}}})
	if err != nil || len(lost) != 1 || lost[0] != "messages[0].content[2]" {
		t.Errorf("lost %v, %v", lost, err)
	}
	sameJSON(t, string(out), `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}`)
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"Incorrect API key provided: sk-abcde***************wxyz. You can find your API key at https://platform.openai.com/account/api-keys.": "Incorrect API key provided: ***. You can find your API key at https://platform.openai.com/account/api-keys.",
		"bad token: abc123def": "bad token: ***",
		"Authorization: Bearer gsk_0123456789abcdefghijkl refused":           "Authorization: Bearer *** refused",
		"api_key=AIzaSyA0123456789abcdefghijklmnop":                          "api_key=***",
		"The model `meta-llama/Llama-3.3-70B-Instruct-Turbo` does not exist": "The model `meta-llama/Llama-3.3-70B-Instruct-Turbo` does not exist",
		"This model's maximum context length is 4096 tokens.":                "This model's maximum context length is 4096 tokens.",
		"key a8f5f167f44f4964e6c998dee827110c invalid":                       "key *** invalid",
		"Invalid value for 'messages[0].role'":                               "Invalid value for 'messages[0].role'",
		"":                                                                   "",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
		if again := Redact(Redact(in)); again != Redact(in) {
			t.Errorf("striking twice changes %q", again)
		}
	}
}
