package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hello = `{"model":"big","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hello there"}]}`

// with adds members to the hello request.
func with(members string) string { return strings.TrimSuffix(hello, "}") + "," + members + "}" }

func TestChatSaysThatItIsSimulatedAndIsDeterministic(t *testing.T) {
	r := overTCP(t, Options{Name: "west"})
	first := r.post("/v1/chat/completions", hello)
	c := decode[chunkT](t, first)
	text := *c.Choices[0].Message.Content
	if !strings.HasPrefix(text, "[simulated answer of big] west ") || !strings.Contains(text, "Hello there") {
		t.Errorf("text %q", text)
	}
	if c.Object != "chat.completion" || c.Model != "big" || *c.Choices[0].Finish != "stop" {
		t.Errorf("%+v", c)
	}
	if c.Usage.Prompt != 3+3+2+3+3 || c.Usage.Total != c.Usage.Prompt+c.Usage.Completion || c.Usage.Completion == 0 {
		t.Errorf("usage %+v", *c.Usage)
	}
	if again := r.post("/v1/chat/completions", hello); again.body != first.body {
		t.Errorf("another answer:\n%s\n%s", again.body, first.body)
	}
	if other := r.post("/v1/chat/completions", strings.Replace(hello, "Hello", "Adieu", 1)); other.body == first.body {
		t.Error("the same answer to another prompt")
	}
	call := r.last()
	want := Call{Seq: 3, Method: "POST", Path: "/v1/chat/completions", Model: "big", Status: 200, Ending: Completed,
		Size: int64(len(hello)), TokensIn: c.Usage.Prompt, TokensOut: c.Usage.Completion}
	if call.Started.IsZero() || call.Ended.Before(call.Started) || call.Header.Get("Content-Type") != "application/json" ||
		string(call.Body) != strings.Replace(hello, "Hello", "Adieu", 1) {
		t.Errorf("call %+v", call)
	}
	call.Started, call.Ended, call.Header, call.Body = want.Started, want.Ended, nil, nil
	if d := cmp.Diff(want, call); d != "" {
		t.Error(d)
	}
}

func TestChatStreamFoldsToTheUnaryAnswer(t *testing.T) {
	r := overTCP(t, Options{})
	for _, more := range []string{
		`"n":1`, `"n":3`, `"max_tokens":2`, `"max_completion_tokens":4`, `"response_format":{"type":"json_object"}`,
		`"tools":[{"type":"function","function":{"name":"weather"}}],"tool_choice":"required"`, `"logprobs":true`,
	} {
		for _, spec := range []string{"", "events=5", "reasoning=2"} {
			t.Run(more+" "+spec, func(t *testing.T) {
				unary := decode[chunkT](t, r.post("/v1/chat/completions", with(more), faultHeader, spec))
				a := r.post("/v1/chat/completions", with(more+`,"stream":true,"stream_options":{"include_usage":true}`), faultHeader, spec)
				f := fold(t, a)
				if a.err != nil || !f.done || f.bad || a.header.Get("Content-Type") != "text/event-stream" {
					t.Fatalf("error %v, %s", a.err, a.body)
				}
				for i, ch := range unary.Choices {
					text, tool, args := "", "", ""
					if ch.Message.Content != nil {
						text = *ch.Message.Content
					}
					for _, tc := range ch.Message.Tools {
						tool, args = tc.Function.Name, tc.Function.Arguments
					}
					got := []string{f.text[i], f.reasoning[i], f.tool[i], f.args[i], f.finish[i]}
					if d := cmp.Diff([]string{text, ch.Message.Reasoning, tool, args, *ch.Finish}, got); d != "" {
						t.Errorf("choice %d: %s", i, d)
					}
				}
				if d := cmp.Diff(unary.Usage, f.usage.Usage); d != "" {
					t.Error(d)
				}
				if c := r.last(); c.TokensOut != unary.Usage.Completion || c.Events != c.TokensOut || !c.Stream {
					t.Errorf("call %+v, usage %+v", c, unary.Usage)
				}
			})
		}
	}
}

func TestChatStreamUsageOnlyWhenAsked(t *testing.T) {
	r := overTCP(t, Options{})
	if a := r.post("/v1/chat/completions", with(`"stream":true`)); strings.Contains(a.body, `"usage"`) {
		t.Errorf("usage in %s", a.body)
	}
	a := r.post("/v1/chat/completions", with(`"stream":true,"stream_options":{"include_usage":true}`))
	data := events(t, a)
	if !strings.Contains(data[0], `"usage":null`) || !strings.Contains(data[len(data)-2], `"choices":[],"usage":{"prompt_tokens"`) {
		t.Errorf("%s", a.body)
	}
}

func TestEventsAndTokenLimits(t *testing.T) {
	r := overTCP(t, Options{})
	for _, n := range []int{1, 2, 7, 60} {
		a := r.post("/v1/chat/completions", strings.Replace(with(`"stream":true`), `"big"`, fmt.Sprintf(`"big+fault=events=%d"`, n), 1))
		if c := r.last(); c.Events != n || !strings.HasPrefix(fold(t, a).text[0], "[simulated answer of big]") {
			t.Errorf("%d events for %d: %s", c.Events, n, a.body)
		}
	}
	c := decode[chunkT](t, r.post("/v1/chat/completions", with(`"max_tokens":1`)))
	if *c.Choices[0].Finish != "length" || *c.Choices[0].Message.Content != "[simulated answer of big]" || c.Usage.Completion != 1 {
		t.Errorf("%+v", c)
	}
}

func TestTools(t *testing.T) {
	const tools = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}},
		{"type":"function","function":{"name":"clock"}}]`
	ask := func(text string) string { return `{"role":"user","content":"` + text + `"}` }
	cases := []struct{ name, messages, more, want string }{
		{"forced", ask("hi"), tools + `,"tool_choice":"required"`, "weather"},
		{"named", ask("hi"), tools + `,"tool_choice":{"type":"function","function":{"name":"clock"}}`, "clock"},
		{"asked by name", ask("What does the CLOCK say?"), tools, "clock"},
		{"asked in general", ask("Please use a tool."), tools, "weather"},
		{"not asked", ask("hi"), tools, ""},
		{"forbidden", ask("Please use a tool."), tools + `,"tool_choice":"none"`, ""},
		{"after the result", ask("Use the clock") + `,{"role":"assistant","tool_calls":[]},{"role":"tool","content":"12:00"}`, tools, ""},
		{"none given", ask("Please use a tool."), `"n":1`, ""},
	}
	r := overTCP(t, Options{})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := decode[chunkT](t, r.post("/v1/chat/completions", `{"model":"m","messages":[`+c.messages+`],`+c.more+`}`)).Choices[0]
			if c.want == "" {
				if len(got.Message.Tools) != 0 || *got.Finish != "stop" {
					t.Errorf("%+v", got)
				}
				return
			}
			call := got.Message.Tools[0]
			if call.Function.Name != c.want || call.ID == "" || call.Type != "function" || *got.Finish != "tool_calls" || got.Message.Content != nil {
				t.Errorf("%+v", got)
			}
			if want := map[string]string{"weather": `{"city":"simulated"}`, "clock": `{}`}[c.want]; call.Function.Arguments != want {
				t.Errorf("arguments %s, want %s", call.Function.Arguments, want)
			}
		})
	}
}

func TestLogprobs(t *testing.T) {
	c := decode[chunkT](t, overTCP(t, Options{}).post("/v1/chat/completions", with(`"logprobs":true`)))
	var logs struct {
		Content []struct {
			Token string
			Bytes []int
		}
	}
	if err := json.Unmarshal(c.Choices[0].Log, &logs); err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, p := range logs.Content {
		text += p.Token
	}
	if text != *c.Choices[0].Message.Content || len(logs.Content[0].Bytes) != len(logs.Content[0].Token) {
		t.Errorf("%s", c.Choices[0].Log)
	}
}

func TestCompletions(t *testing.T) {
	r := overTCP(t, Options{})
	for prompt, choices := range map[string]int{`"Once"`: 2, `["a","b"]`: 4, `[1,2,3]`: 2, `[[1,2],[3]]`: 4} {
		body := `{"model":"m","n":2,"prompt":` + prompt
		c := decode[chunkT](t, r.post("/v1/completions", body+`}`))
		f := fold(t, r.post("/v1/completions", body+`,"stream":true,"stream_options":{"include_usage":true}}`))
		if len(c.Choices) != choices || !f.done {
			t.Errorf("%s: %+v", prompt, c)
		}
		for i, ch := range c.Choices {
			if ch.Text != f.text[i] || !strings.HasPrefix(ch.Text, "[simulated answer of m]") || f.finish[i] != "stop" {
				t.Errorf("%s: %q, streamed %q", prompt, ch.Text, f.text[i])
			}
		}
		if d := cmp.Diff(c.Usage, f.usage.Usage); d != "" {
			t.Error(d)
		}
	}
}

func TestEmbeddings(t *testing.T) {
	r := overTCP(t, Options{Dimensions: 32})
	get := func(body string) []json.RawMessage {
		v := decode[struct {
			Data []struct {
				Index     int
				Embedding json.RawMessage
			}
			Usage struct {
				Prompt int `json:"prompt_tokens"`
			}
		}](t, r.post("/v1/embeddings", body))
		var all []json.RawMessage
		for i, d := range v.Data {
			if d.Index != i || v.Usage.Prompt == 0 {
				t.Errorf("%+v", v)
			}
			all = append(all, d.Embedding)
		}
		return all
	}
	vector := func(raw json.RawMessage) []float32 {
		var v []float32
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	dot := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	all := get(`{"model":"e","input":["the cat sat","the cat sits","tax return 2024"]}`)
	cat, cats, tax := vector(all[0]), vector(all[1]), vector(all[2])
	if len(cat) != 32 || math.Abs(dot(cat, cat)-1) > 1e-5 || dot(cat, cats) <= dot(cat, tax) {
		t.Errorf("%d numbers, length %v, near %v, far %v", len(cat), dot(cat, cat), dot(cat, cats), dot(cat, tax))
	}
	var text string
	if err := json.Unmarshal(get(`{"model":"e","input":"the cat sat","encoding_format":"base64"}`)[0], &text); err != nil {
		t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	decoded := make([]float32, len(b)/4)
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, decoded); err != nil || !cmp.Equal(decoded, cat) {
		t.Errorf("%v: %v, want %v", err, decoded, cat)
	}
	if got := vector(get(`{"model":"e","input":[[1,2,3]],"dimensions":5}`)[0]); len(got) != 5 {
		t.Errorf("%v", got)
	}
}

func TestResponses(t *testing.T) {
	r := overTCP(t, Options{})
	type response struct {
		ID, Status string
		Output     []struct {
			Content []struct{ Type, Text string }
		}
		Usage struct {
			In    int `json:"input_tokens"`
			Out   int `json:"output_tokens"`
			Total int `json:"total_tokens"`
		}
	}
	for more, status := range map[string]string{"": "completed", `,"max_output_tokens":2`: "incomplete"} {
		body := `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]}]` + more
		unary := decode[response](t, r.post("/v1/responses", body+"}"))
		text := unary.Output[0].Content[0].Text
		if unary.Status != status || !strings.HasPrefix(text, "[simulated answer of m]") || unary.Usage.Total != unary.Usage.In+unary.Usage.Out {
			t.Errorf("%+v", unary)
		}
		a := r.post("/v1/responses", body+`,"stream":true}`)
		deltas, seen := "", response{}
		for i, data := range events(t, a) {
			var e struct {
				Type     string
				Seq      int `json:"sequence_number"`
				Delta    string
				Response response
			}
			if err := json.Unmarshal([]byte(data), &e); err != nil || e.Seq != i || !strings.Contains(a.body, "event: "+e.Type+"\n") {
				t.Fatalf("%v in event %d: %s", err, i, data)
			}
			if deltas += e.Delta; e.Type == "response."+status {
				seen = e.Response
			}
		}
		if d := cmp.Diff(unary, seen); d != "" || deltas != text {
			t.Errorf("%s; deltas %q", d, deltas)
		}
	}
	if d := decode[response](t, r.post("/v1/responses", `{"model":"m","input":"Hi"}`)); d.Status != "completed" {
		t.Errorf("%+v", d)
	}
}

// form is a multipart body whose file comes first.
func form(t *testing.T, file []byte, fields ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if file != nil {
		p, err := w.CreateFormFile("file", "talk.wav")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(file); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestTranscription(t *testing.T) {
	r := overTCP(t, Options{})
	body, kind := form(t, make([]byte, 3_000_000), "model", "whisper")
	v := decode[struct{ Text, Model string }](t, r.post("/v1/audio/transcriptions", body, "Content-Type", kind))
	if v.Model != "whisper" || !strings.HasPrefix(v.Text, "[simulated answer of whisper]") || !strings.Contains(v.Text, "3000000 bytes") {
		t.Errorf("%+v", v)
	}
	if c := r.last(); c.Size != int64(len(body)) || len(c.Body) != keptBody || c.Model != "whisper" {
		t.Errorf("size %d, kept %d, model %q", c.Size, len(c.Body), c.Model)
	}
	body, kind = form(t, []byte("x"), "model", "whisper+fault=status=503")
	if a := r.post("/v1/audio/transcriptions", body, "Content-Type", kind); a.status != 503 {
		t.Errorf("a fault in the form's model: %+v", a)
	}
	for _, fields := range [][]string{{}, {"model", "whisper"}} {
		file := []byte("x")
		if len(fields) > 0 {
			file = nil
		}
		body, kind = form(t, file, fields...)
		if a := r.post("/v1/audio/transcriptions", body, "Content-Type", kind); a.status != 400 {
			t.Errorf("%v: %+v", fields, a)
		}
	}
}

func TestEchoTellsWhatArrived(t *testing.T) {
	r := overTCP(t, Options{})
	for _, method := range []string{"GET", "POST", "DELETE"} {
		v := decode[map[string]any](t, r.do(t.Context(), method, "/v1/files/a%20b?x=1", "hello", "Content-Type", "application/octet-stream"))
		want := map[string]any{"simulated": true, "method": method, "path": "/v1/files/a b", "query": "x=1", "bytes": 5.0, "by": "the simulator", "model": "",
			"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "content_type": "application/octet-stream"}
		if d := cmp.Diff(want, v); d != "" {
			t.Error(d)
		}
	}
}

func TestModels(t *testing.T) {
	r := overTCP(t, Options{Models: []string{"a", "org/b"}})
	for path, want := range map[string]string{
		"/v1/models":             `{"data":[{"created":1760000000,"id":"a","object":"model","owned_by":"simulator"},{"created":1760000000,"id":"org/b","object":"model","owned_by":"simulator"}],"object":"list"}`,
		"/v1/models/org/b":       `{"created":1760000000,"id":"org/b","object":"model","owned_by":"simulator"}`,
		"/openai/v1/models/a":    `{"created":1760000000,"id":"a","object":"model","owned_by":"simulator"}`,
		"/health":                `{"status":"ok"}`,
		"/v1/models/c":           `{"error":{"code":"model_not_found","message":"The model 'c' does not exist","param":"model","type":"invalid_request_error"}}`,
		"/v2/models":             `{"error":{"code":"unknown_url","message":"Unknown request URL.","param":null,"type":"invalid_request_error"}}`,
		"/v1/chat/completions":   `{"error":{"code":"method_not_allowed","message":"Only POST is allowed here.","param":null,"type":"invalid_request_error"}}`,
		"/v1/responses?stream=1": `{"error":{"code":"method_not_allowed","message":"Only POST is allowed here.","param":null,"type":"invalid_request_error"}}`,
	} {
		if a := r.do(t.Context(), "GET", path, ""); a.body != want {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

func TestKey(t *testing.T) {
	r := overTCP(t, Options{Key: "k-1"})
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"Authorization", "Bearer k-1", 200}, {"Authorization", "bearer k-1", 200}, {"x-api-key", "k-1", 200}, {"api-key", "k-1", 200},
		{"Authorization", "Bearer k-2", 401}, {"Authorization", "Basic k-1", 401}, {"x-other", "k-1", 401},
	} {
		a := r.post("/v1/chat/completions", hello, c.header, c.value)
		if a.status != c.status || c.status == 401 && !strings.Contains(a.body, `"code":"invalid_api_key"`) {
			t.Errorf("%s: %s: %d %s", c.header, c.value, a.status, a.body)
		}
		if a := r.do(t.Context(), "GET", "/_sim/log", "", c.header, c.value); a.status != c.status || strings.Contains(a.body, "k-1") {
			t.Errorf("log with %s: %d %s", c.header, a.status, a.body)
		}
	}
}

func TestBadRequests(t *testing.T) {
	r := overTCP(t, Options{})
	for _, c := range []struct{ path, body, param string }{
		{"chat/completions", `{`, ""}, {"chat/completions", ``, ""}, {"chat/completions", `[]`, ""}, {"chat/completions", `null`, ""},
		{"chat/completions", `{"messages":[]}`, "model"}, {"chat/completions", `{"model":"m"}`, "messages"},
		{"chat/completions", `{"model":"m","messages":"x"}`, "messages"}, {"chat/completions", with(`"n":-1`), "n"}, {"chat/completions", with(`"n":"1"`), "n"},
		{"chat/completions", with(`"tool_choice":"required"`), "tool_choice"}, {"chat/completions", with(`"tool_choice":1`), "tool_choice"},
		{"chat/completions", with(`"tool_choice":{"function":{"name":"x"}}`), "tool_choice"},
		{"chat/completions", with(`"response_format":{"type":"xml"}`), "response_format"},
		{"chat/completions", with(`"response_format":{"type":"json_schema","json_schema":{"schema":false}}`), "response_format"},
		{"completions", `{"model":"m"}`, "prompt"}, {"completions", `{"model":"m","prompt":[]}`, "prompt"}, {"completions", `{"model":"m","prompt":[{}]}`, "prompt"},
		{"embeddings", `{"model":"m"}`, "input"}, {"embeddings", `{"model":"m","input":"x","dimensions":5000}`, "dimensions"},
		{"embeddings", `{"model":"m","input":"x","encoding_format":"hex"}`, "encoding_format"},
		{"responses", `{"model":"m"}`, "input"}, {"responses", `{"model":"m","input":null}`, "input"}, {"audio/transcriptions", `{"model":"m"}`, "file"},
	} {
		a := r.post("/v1/"+c.path, c.body)
		var e struct {
			Error struct {
				Message, Type string
				Param         *string
			}
		}
		if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != 400 || e.Error.Type != "invalid_request_error" || e.Error.Message == "" {
			t.Errorf("%s %s: %d %s", c.path, c.body, a.status, a.body)
			continue
		}
		if got := e.Error.Param; c.param != "" && (got == nil || *got != c.param) {
			t.Errorf("%s %s: %s", c.path, c.body, a.body)
		}
	}
	if c := r.last(); c.Status != 400 || c.Ending != Completed || c.TokensOut != 0 {
		t.Errorf("%+v", c)
	}
}

func TestLogEndpointStrikesCredentialsOut(t *testing.T) {
	r := overTCP(t, Options{})
	r.post("/v1/chat/completions", hello, "Authorization", "Bearer canary-1", "x-api-key", "canary-2")
	a := r.do(t.Context(), http.MethodGet, "/_sim/log", "")
	calls := decode[[]struct {
		Seq      int
		Model    string
		Body     string
		Ending   string
		TokensIn int `json:"tokens_in"`
	}](t, a)
	if len(calls) != 1 || calls[0].Model != "big" || calls[0].Body != hello || calls[0].Ending != "completed" || calls[0].TokensIn == 0 {
		t.Errorf("%s", a.body)
	}
	if strings.Contains(a.body, "canary") || r.last().Header.Get("Authorization") != "Bearer canary-1" {
		t.Errorf("%s", a.body)
	}
	if a := r.do(t.Context(), http.MethodDelete, "/_sim/log", ""); a.status != 204 || len(r.sim.Log()) != 0 {
		t.Errorf("%+v", a)
	}
	if a := r.do(t.Context(), http.MethodPut, "/_sim/log", ""); a.status != 405 {
		t.Errorf("%+v", a)
	}
}

func TestLogIsBounded(t *testing.T) {
	r := overTCP(t, Options{LogCalls: 3})
	for range 5 {
		r.post("/v1/chat/completions", hello)
	}
	if calls := r.sim.Log(); len(calls) != 3 || calls[0].Seq != 3 || calls[2].Seq != 5 {
		t.Errorf("%d calls", len(calls))
	}
	log := callLog{limit: 1000}
	for range 70 {
		e := log.begin(&http.Request{URL: &url.URL{Path: "/"}})
		e.note(func(c *Call) { c.Body = make([]byte, keptBody) })
	}
	if n := len(log.snapshot()); n != keptBodies/keptBody {
		t.Errorf("%d bodies of 1 MiB are kept", n)
	}
	r.sim.Reset()
	if calls := r.sim.Log(); len(calls) != 0 {
		t.Errorf("%d calls after Reset", len(calls))
	}
}
