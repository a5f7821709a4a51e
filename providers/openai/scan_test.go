package openai

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/llm"
)

func scan(t *testing.T, op llm.Op, body string) *llm.Envelope {
	t.Helper()
	e, err := Codec{}.Scan(op, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestScanReads(t *testing.T) {
	for _, c := range []struct {
		name string
		op   llm.Op
		body string
		want llm.Envelope
	}{
		{"chat", llm.OpChat, `{"model":"au\u0074o","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"max_completion_tokens":1e2,"n":2,"temperature":0,"logprobs":true,
			"response_format":{"type":"json_schema","json_schema":{}},"tools":[{},{}],"messages":[
			{"role":"system","content":"be \"brief\""},
			{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:"}},{"type":"input_audio","input_audio":{}},{"type":"file","file":{}}]},
			{"role":"assistant","content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"custom","custom":{"name":"g","input":"x"}}]},
			{"role":"tool","tool_call_id":"a","content":"42"}]}`,
			llm.Envelope{Model: "auto", ModelIsString: true, Stream: true, UsageAsked: true, MaxTokens: 100, N: 2, HasTemp: true, Logprobs: true, JSON: true, Grammar: true, Tools: 2, ToolBytes: 7, Images: 1, Audio: 1, Files: 1,
				SystemBytes: 10, ContentBytes: 16, ToolTurn: true, Turns: []llm.Turn{{Role: "system", Text: []string{`be "brief"`}}, {Role: "user", Text: []string{"look"}}, {Role: "assistant", Text: []string{}, Calls: []string{`{"name":"f","arguments":"{}"}`, `{"name":"g","input":"x"}`}}, {Role: "tool", Text: []string{"42"}}}}},
		{"nulls", llm.OpChat, `{"model":"m","stream":null,"max_tokens":null,"n":null,"messages":[]}`, llm.Envelope{Model: "m", ModelIsString: true, N: 1}},
		{"usage refused", llm.OpChat, `{"model":"m","messages":[],"stream_options":{"include_usage":false}}`, llm.Envelope{Model: "m", ModelIsString: true, N: 1, UsageRefused: true}},
		{"many turns", llm.OpChat, `{"model":"m","messages":[` + strings.Repeat(`{"role":"user","content":"a"},`, 20) + `{"role":"user","content":"b"}]}`,
			llm.Envelope{Model: "m", ModelIsString: true, N: 1, ContentBytes: 21, Turns: append(repeat(llm.Turn{Role: "user", Text: []string{"a"}}, 20), llm.Turn{Role: "user", Text: []string{"b"}})}},
		{"unfoldable", llm.OpChat, `{"model":"m","messages":[],"modalities":["text","audio"]}`, llm.Envelope{Model: "m", ModelIsString: true, N: 1, Audio: 1, Unfoldable: "modalities"}},
		{"grammar", llm.OpChat, `{"model":"m","messages":[],"guided_regex":"a+"}`, llm.Envelope{Model: "m", ModelIsString: true, N: 1, Grammar: true}},
		{"completions", llm.OpCompletions, `{"model":"m","prompt":["a","bc"],"best_of":3}`,
			llm.Envelope{Model: "m", ModelIsString: true, N: 1, ContentBytes: 3, Unfoldable: "best_of", Turns: []llm.Turn{{Role: "user", Text: []string{"a"}}, {Role: "user", Text: []string{"bc"}}}}},
		{"embeddings", llm.OpEmbeddings, `{"model":"m","input":["a","b"]}`,
			llm.Envelope{Model: "m", ModelIsString: true, N: 1, Input: 2, ContentBytes: 2, Turns: []llm.Turn{{Role: "user", Text: []string{"a"}}, {Role: "user", Text: []string{"b"}}}}},
		{"token ids", llm.OpEmbeddings, `{"model":"m","input":[1,2,3]}`, llm.Envelope{Model: "m", ModelIsString: true, N: 1, Input: 1, ContentBytes: 12}},
		{"responses", llm.OpOpaque, `{"model":"m","instructions":"sys","max_output_tokens":5,"input":[{"role":"user","content":[{"type":"input_text","text":"hi"},{"type":"input_image"}]},{"type":"function_call","name":"f","arguments":"{}"},{"type":"function_call_output","output":"7"}]}`,
			llm.Envelope{Model: "m", ModelIsString: true, N: 1, MaxTokens: 5, Input: 3, Images: 1, SystemBytes: 3, ContentBytes: 6, ToolTurn: true,
				Turns: []llm.Turn{{Role: "system", Text: []string{"sys"}}, {Role: "user", Text: []string{"hi"}}, {Role: "assistant", Text: []string{}, Calls: []string{`"f"`, `"{}"`, ""}}, {Role: "tool", Text: []string{"7"}}}}},
		{"anthropic", llm.OpOpaque, `{"model":"m","system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"out"}]}]}]}`,
			llm.Envelope{Model: "m", ModelIsString: true, N: 1, SystemBytes: 1, ContentBytes: 4, ToolTurn: true, Turns: []llm.Turn{{Role: "system", Text: []string{"s"}}, {Role: "user", Text: []string{"out"}}}}},
		{"no model", llm.OpOpaque, `{"a":1}`, llm.Envelope{N: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := *scan(t, c.op, c.body)
			if string(got.Body) != c.body || got.Op != c.op {
				t.Error("body or operation changed")
			}
			got.Body, got.Doc, got.Op = nil, nil, 0
			if len(got.Turns) == 0 {
				got.Turns = nil
			}
			got.Media, got.Answers = nil, 0 // TestScanCounts
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// What a budget has to know: how many answers of which length there may be, and what of the prompt is no text.
func TestScanCounts(t *testing.T) {
	for _, c := range []struct {
		name, body         string
		op                 llm.Op
		maxTokens, answers int
		media              string
	}{
		{"choices", `{"model":"m","messages":[],"n":3,"max_tokens":9}`, llm.OpChat, 9, 3, ""},
		{"prompts", `{"model":"m","prompt":["a","b"],"n":2,"max_tokens":9}`, llm.OpCompletions, 9, 4, ""},
		{"prompts of ids", `{"model":"m","prompt":[[1,2],[3]],"max_tokens":9}`, llm.OpCompletions, 9, 2, ""},
		{"a prompt of ids", `{"model":"m","prompt":[1,2,3],"max_tokens":9}`, llm.OpCompletions, 9, 1, ""},
		{"candidates", `{"model":"m","prompt":"a","n":2,"best_of":5,"max_tokens":9}`, llm.OpCompletions, 9, 5, ""},
		{"two limits", `{"model":"m","messages":[],"max_completion_tokens":3,"max_tokens":9}`, llm.OpChat, 9, 1, ""},
		{"a limit that only llama.cpp knows, and takes", `{"model":"m","messages":[],"max_tokens":3,"n_predict":9}`, llm.OpChat, 9, 1, ""},
		{"and alone", `{"model":"m","messages":[],"n_predict":9}`, llm.OpChat, 0, 1, ""},
		{"a limit of another API", `{"model":"m","messages":[],"max_output_tokens":9}`, llm.OpChat, 0, 1, ""},
		{"the Responses API's", `{"model":"m","input":"a","max_output_tokens":9}`, llm.OpOpaque, 9, 1, ""},
		{"media", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"data:"},{"type":"image_url","image_url":{"url":"data:"}},{"image_url":"b"},{"type":"input_audio","input_audio":{}},{"type":"file","file":7}]}]}`,
			llm.OpChat, 0, 1, `0{"url":"data:"} 0"b" 1{} 27`},
		{"a tool's media", `{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{}},{"type":"document","source":{}}]}]}]}`, llm.OpOpaque, 0, 1, "0{} 2{}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := scan(t, c.op, c.body)
			var media []string
			for _, m := range e.Media {
				media = append(media, strconv.Itoa(int(m.Kind))+c.body[m.From:m.To])
			}
			if got := strings.Join(media, " "); e.MaxTokens != c.maxTokens || e.Answers != c.answers || got != c.media {
				t.Errorf("%d tokens, %d answers, media %s", e.MaxTokens, e.Answers, got)
			}
		})
	}
}

func repeat(t llm.Turn, n int) (all []llm.Turn) {
	for range n {
		all = append(all, t)
	}
	return all
}

func TestScanRefuses(t *testing.T) {
	deep := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	for _, c := range []struct {
		name, body string
		op         llm.Op
		param, has string
	}{
		{"duplicate", `{"model":"a","model":"b"}`, llm.OpChat, "", `duplicate key "model" at byte 13`},
		{"duplicate by escape", `{"model":"a","m\u006fdel":"b"}`, llm.OpChat, "", "duplicate key"},
		{"utf-8", "{\"model\":\"\xff\"}", llm.OpChat, "", "at byte"},
		{"surrogate", `{"model":"\ud800"}`, llm.OpChat, "", "at byte"},
		{"depth", `{"model":"a","x":` + deep + `}`, llm.OpChat, "", "nesting deeper than 64"},
		{"trailing", `{"model":"a"}{}`, llm.OpChat, "", "at byte 13"},
		{"array", `[]`, llm.OpChat, "", "object"},
		{"empty", ``, llm.OpChat, "", "unexpected end"},
		{"model missing", `{"messages":[]}`, llm.OpChat, "model", "model"},
		{"model null", `{"model":null,"messages":[]}`, llm.OpChat, "model", "model"},
		{"model empty", `{"model":"","messages":[]}`, llm.OpChat, "model", "model"},
		{"model number", `{"model":1,"messages":[]}`, llm.OpChat, "model", "must be a string"},
		{"opaque model number", `{"model":1}`, llm.OpOpaque, "model", "must be a string"},
		{"stream string", `{"model":"m","stream":"true","messages":[]}`, llm.OpChat, "stream", "true or false"},
		{"messages object", `{"model":"m","messages":{}}`, llm.OpChat, "messages", "an array"},
		{"messages missing", `{"model":"m"}`, llm.OpChat, "messages", "missing"},
		{"message string", `{"model":"m","messages":[{},"x"]}`, llm.OpChat, "messages[1]", "object"},
		{"content number", `{"model":"m","messages":[{"role":"user","content":3}]}`, llm.OpChat, "messages[0].content", "string"},
		{"max_tokens negative", `{"model":"m","messages":[],"max_tokens":-1}`, llm.OpChat, "max_tokens", "whole number"},
		{"max_tokens fraction", `{"model":"m","messages":[],"max_tokens":1.5}`, llm.OpChat, "max_tokens", "whole number"},
		{"max_tokens huge", `{"model":"m","messages":[],"max_tokens":1e400}`, llm.OpChat, "max_tokens", "whole number"},
		{"max_tokens string", `{"model":"m","messages":[],"max_completion_tokens":"9"}`, llm.OpChat, "max_completion_tokens", "whole number"},
		{"stream_options", `{"model":"m","messages":[],"stream_options":[]}`, llm.OpChat, "stream_options", "object"},
		{"include_usage", `{"model":"m","messages":[],"stream_options":{"include_usage":1}}`, llm.OpChat, "stream_options.include_usage", "true or false"},
		{"input missing", `{"model":"m"}`, llm.OpEmbeddings, "input", "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Codec{}.Scan(c.op, []byte(c.body))
			var e *llm.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *llm.Error", err)
			}
			if e.Status != 400 || e.Type != "invalid_request_error" || e.Param != c.param || e.Class != llm.ClassClient || !strings.Contains(e.Message, c.has) {
				t.Errorf("got %+v, want param %q and %q", *e, c.param, c.has)
			}
		})
	}
}

func TestRewrite(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name, body string
		op         llm.Op
		ed         Edits
		want       string // "" = untouched
	}{
		{"nothing", `{"model":"m","messages":[]}`, llm.OpChat, Edits{Model: "m", AskUsage: true, MaxTokensCap: 9}, ""},
		{"model", ` { "x" : 1e2, "model"	:"auto" ,"messages":[ ], "y":"\u00e9" } `, llm.OpChat, Edits{Model: "gpt"}, ` { "x" : 1e2, "model"	:"gpt" ,"messages":[ ], "y":"\u00e9" } `},
		{"usage", `{"model":"m","stream":true,"messages":[]}`, llm.OpChat, Edits{AskUsage: true}, `{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}`},
		{"usage asked", `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`, llm.OpChat, Edits{AskUsage: true}, ""},
		{"usage refused", `{"model":"m","stream":true,"stream_options":{"a":1, "include_usage": false},"messages":[]}`, llm.OpChat, Edits{AskUsage: true}, `{"model":"m","stream":true,"stream_options":{"a":1, "include_usage": true},"messages":[]}`},
		{"fold", `{"model":"m","stream":false,"messages":[]}`, llm.OpChat, Edits{Stream: &yes, AskUsage: true}, `{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}`},
		{"fold without stream", `{"model":"m","messages":[]}`, llm.OpChat, Edits{Stream: &yes, AskUsage: true}, `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{"unstream", `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`, llm.OpChat, Edits{Stream: &no, AskUsage: true}, `{"model":"m","stream":false,"messages":[]}`},
		{"cap", `{"model":"m","max_completion_tokens":50,"messages":[]}`, llm.OpChat, Edits{MaxTokensDefault: 5, MaxTokensCap: 9}, `{"model":"m","max_completion_tokens":9,"messages":[]}`},
		{"below the cap", `{"model":"m","max_tokens":5,"messages":[]}`, llm.OpChat, Edits{MaxTokensDefault: 7, MaxTokensCap: 9}, ""},
		{"default", `{"model":"m","max_tokens":null,"messages":[]}`, llm.OpChat, Edits{MaxTokensDefault: 7}, `{"model":"m","max_tokens":7,"messages":[]}`},
		{"default named", `{"model":"m","messages":[]}`, llm.OpChat, Edits{MaxTokensDefault: 7, MaxTokensCap: 6, MaxTokensField: "max_completion_tokens"}, `{"model":"m","messages":[],"max_completion_tokens":6}`},
		{"cap on all limits", `{"model":"m","max_tokens":1,"n_predict":50,"messages":[]}`, llm.OpChat, Edits{MaxTokensCap: 9}, `{"model":"m","max_tokens":1,"n_predict":9,"messages":[]}`},
		{"default beside a limit that few know", `{"model":"m","n_predict":50,"messages":[]}`, llm.OpChat, Edits{MaxTokensDefault: 5, MaxTokensCap: 9}, `{"model":"m","n_predict":9,"messages":[],"max_tokens":5}`},
		{"opaque", `{"input":"x","model":"auto","max_output_tokens":99}`, llm.OpOpaque, Edits{Model: "g", AskUsage: true, MaxTokensDefault: 5, MaxTokensCap: 50}, `{"input":"x","model":"g","max_output_tokens":50}`},
		{"embeddings", `{"input":"x","model":"auto"}`, llm.OpEmbeddings, Edits{Model: "e", MaxTokensDefault: 5}, `{"input":"x","model":"e"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := scan(t, c.op, c.body)
			for range 2 { // an attempt that fails leaves the body fit for the next
				got, err := Rewrite(nil, e, c.ed)
				if err != nil || string(got) != c.want || c.want == "" && got != nil {
					t.Fatalf("got  %s, %v\nwant %s", got, err, c.want)
				}
			}
			if string(e.Body) != c.body {
				t.Error("the client's body changed")
			}
		})
	}
}

func TestScanAllocatesLittle(t *testing.T) {
	body := []byte(`{"model":"auto","stream":true,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hello there"}],"temperature":0.2,"max_tokens":100}`)
	n := testing.AllocsPerRun(100, func() {
		if _, err := (Codec{}).Scan(llm.OpChat, body); err != nil {
			t.Fatal(err)
		}
	})
	if n > 4 && pooled {
		t.Errorf("a scan costs %v allocations, want at most 4", n)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"input":[1,[2],"x",{}],"prompt":[[1]],"stream_options":{}}`), uint8(1))
	f.Add([]byte(`{"model":"m","messages":[],"stream":true,"stream_options":null,"max_tokens":7}`), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, op uint8) {
		o := llm.Op(op % 4)
		e, err := Codec{}.Scan(o, body)
		if err != nil {
			return
		}
		stream := true
		out, err := Rewrite(nil, e, Edits{Model: "other", Stream: &stream, AskUsage: true, MaxTokensDefault: 3, MaxTokensCap: 4})
		if err != nil {
			t.Fatal(err)
		}
		if out == nil {
			return
		}
		again, err := Codec{}.Scan(o, out)
		if err != nil {
			t.Fatalf("%s is not admitted: %v", out, err)
		}
		if again.Model != "other" || !again.Stream || len(again.Turns) != len(e.Turns) || o.Generates() && (!again.UsageAsked || again.MaxTokens > 4) {
			t.Fatalf("%s became %s", body, out)
		}
	})
}

// conversation is a chat request of about n bytes. Its turns have line breaks and quotes, as code has, if escaped is set.
func conversation(n int, escaped bool) []byte {
	text := strings.Repeat("Some further text of the turn. ", 20)
	if escaped {
		text = strings.Repeat(`Some \"further\" text.\n`, 25)
	}
	turn := `{"role":"user","content":"` + text + `"},{"role":"assistant","content":[{"type":"text","text":"` + text + `"}]},`
	turns := strings.Repeat(turn, n/len(turn)+1)
	return []byte(`{"model":"auto","messages":[` + turns[:len(turns)-1] + `],"temperature":0.2,"max_tokens":100}`)
}

func BenchmarkScan(b *testing.B) {
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"1KB", []byte(`{"model":"auto","messages":[{"role":"user","content":"` + strings.Repeat("word ", 190) + `"}],"temperature":0.2,"max_tokens":100}`)},
		{"32KB", conversation(32<<10, false)}, {"32KBEscaped", conversation(32<<10, true)},
		{"400KB", conversation(400<<10, false)}, {"400KBEscaped", conversation(400<<10, true)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				if _, err := (Codec{}).Scan(llm.OpChat, c.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRewrite(b *testing.B) {
	for _, n := range []int{1 << 10, 32 << 10, 400 << 10} {
		b.Run(strconv.Itoa(n>>10)+"KB", func(b *testing.B) {
			e, err := Codec{}.Scan(llm.OpChat, conversation(n, false))
			if err != nil {
				b.Fatal(err)
			}
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				if out, err = Rewrite(out[:0], e, Edits{Model: "gpt-5.5", AskUsage: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
