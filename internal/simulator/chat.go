package simulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// chatRequest holds what the simulator understands of a chat request; all else is accepted and ignored, as many providers do.
type chatRequest struct {
	Messages      json.RawMessage `json:"messages"`
	Stream        bool            `json:"stream"`
	StreamOptions *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Tools               []tool          `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	ResponseFormat      *responseFormat `json:"response_format"`
	N                   int             `json:"n"`
	MaxTokens           int             `json:"max_tokens"`
	MaxCompletionTokens int             `json:"max_completion_tokens"`
	Logprobs            bool            `json:"logprobs"`
}

type chatMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
	} `json:"function"`
}

type responseFormat struct {
	Type       string `json:"type"`
	JSONSchema struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

// chatAnswer is what will be said, before it is known whether it is said at once or in events.
type chatAnswer struct {
	id        string
	choices   int
	reasoning []string
	pieces    []string // of the text, or of the tool's arguments
	tool      string   // the function called; "" for a text
	finish    string
	logprobs  bool
	prompt    int // tokens
}

func (a *chatAnswer) usage() usage {
	return newUsage(a.prompt, a.choices*(len(a.pieces)+len(a.reasoning)), a.choices*len(a.reasoning))
}

// chat answers POST /v1/chat/completions.
func (x *exchange) chat() error {
	var req chatRequest
	if err := x.decode(&req); err != nil {
		return err
	}
	a, err := x.chatAnswer(&req)
	if err != nil {
		return err
	}
	x.call.note(func(c *Call) { c.TokensIn = a.prompt })
	if req.Stream {
		return x.chatStream(a, req.StreamOptions != nil && req.StreamOptions.IncludeUsage)
	}
	return x.unary(x.completion(a), a.usage().CompletionTokens)
}

func (x *exchange) chatAnswer(req *chatRequest) (*chatAnswer, error) {
	messages, id, prefix, err := x.conversation(req.Messages)
	if err != nil {
		return nil, err
	}
	if req.N < 0 || req.N > 128 {
		return nil, badRequest("n", "n must be from 1 to 128")
	}
	a := &chatAnswer{id: id, choices: max(req.N, 1), prompt: 3, finish: "stop", logprobs: req.Logprobs}
	asked, user := "", false
	for _, m := range messages {
		text, extra := partsText(m.Content)
		a.prompt += 3 + tokens(len(text)) + extra
		if user = m.Role == "user"; user {
			asked = text
		}
	}
	for _, t := range req.Tools {
		a.prompt += tokens(len(t.Function.Name) + len(t.Function.Parameters))
	}
	for i := range x.fault.reasoning {
		a.reasoning = append(a.reasoning, fmt.Sprintf("simulated reasoning %d. ", i+1))
	}
	call, err := toolFor(req, asked, user)
	switch {
	case err != nil:
		return nil, err
	case call != nil:
		args, err := instanceJSON(call.Function.Parameters)
		if err != nil {
			return nil, badRequest("tools", "the simulator cannot fill in %s: %v", call.Function.Name, err)
		}
		a.tool, a.finish, a.pieces = call.Function.Name, "tool_calls", slice(args, x.fault.events)
	default:
		if a.pieces, err = x.textAnswer(req, asked, a.id); err != nil {
			return nil, err
		}
	}
	a.resume(prefix)
	var cut bool
	if a.pieces, cut = truncate(a.pieces, max(req.MaxTokens, req.MaxCompletionTokens)); cut {
		a.finish = "length"
	}
	return a, nil
}

// textAnswer makes the text in the form that response_format asks for.
func (x *exchange) textAnswer(req *chatRequest, asked, id string) ([]string, error) {
	switch f := req.ResponseFormat; {
	case f == nil, f.Type == "text", f.Type == "":
		return x.say(asked, id), nil
	case f.Type == "json_object":
		answer := object{"simulated": true, "model": x.model(), "answer": strings.Join(x.say(asked, id), "")}
		return slice(string(marshal(answer)), x.fault.events), nil
	case f.Type == "json_schema":
		text, err := instanceJSON(f.JSONSchema.Schema)
		if err != nil {
			return nil, badRequest("response_format", "the simulator cannot satisfy the schema: %v", err)
		}
		return slice(text, x.fault.events), nil
	default:
		return nil, badRequest("response_format", "unknown response_format type %q", f.Type)
	}
}

// toolFor decides which tool is called, nil for none: the one that tool_choice forces, else one that the last turn asks for, where
// that is the user's: by a function's name, or by the word tool or function.
func toolFor(req *chatRequest, asked string, user bool) (*tool, error) {
	var mode string
	var named struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if len(req.ToolChoice) > 0 && json.Unmarshal(req.ToolChoice, &mode) != nil && json.Unmarshal(req.ToolChoice, &named) != nil {
		return nil, badRequest("tool_choice", "tool_choice must be a string or an object")
	}
	byName := func(name string) int {
		return slices.IndexFunc(req.Tools, func(t tool) bool { return t.Function.Name == name })
	}
	if name := named.Function.Name; name != "" {
		if i := byName(name); i >= 0 {
			return &req.Tools[i], nil
		}
		return nil, badRequest("tool_choice", "tool_choice names %q, which is not in tools", name)
	}
	if mode == "required" && len(req.Tools) == 0 {
		return nil, badRequest("tool_choice", "tool_choice is required, but there are no tools")
	}
	if mode == "none" || len(req.Tools) == 0 {
		return nil, nil
	}
	asked = strings.ToLower(asked)
	for i, t := range req.Tools {
		if user && t.Function.Name != "" && strings.Contains(asked, strings.ToLower(t.Function.Name)) {
			return &req.Tools[i], nil
		}
	}
	if mode == "required" || user && (strings.Contains(asked, "tool") || strings.Contains(asked, "function")) {
		return &req.Tools[0], nil
	}
	return nil, nil
}

type functionCall struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

type toolCall struct {
	Index    *int         `json:"index,omitempty"` // on streams only
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionCall `json:"function"`
}

type message struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	Refusal   *string    `json:"refusal"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

// delta is a message in which what is absent is not written at all.
type delta struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

type choice struct {
	Index    int      `json:"index"`
	Message  *message `json:"message,omitempty"`
	Delta    *delta   `json:"delta,omitempty"`
	Logprobs any      `json:"logprobs"`
	Finish   *string  `json:"finish_reason"`
}

// chatBody is a chat completion or a chunk of one.
type chatBody struct {
	ID          string   `json:"id"`
	Object      string   `json:"object"`
	Created     int64    `json:"created"`
	Model       string   `json:"model"`
	Fingerprint string   `json:"system_fingerprint"`
	Choices     []choice `json:"choices"`
	Usage       any      `json:"usage,omitempty"`
}

func (x *exchange) chatBody(a *chatAnswer, kind string, choices ...choice) chatBody {
	if choices == nil {
		choices = []choice{}
	}
	return chatBody{"chatcmpl-sim" + a.id, kind, created, x.model(), "fp_simulator", choices, nil}
}

func (a *chatAnswer) callID(choice int) string { return fmt.Sprintf("call_sim%s%d", a.id[:8], choice) }

// completion is the answer in one piece.
func (x *exchange) completion(a *chatAnswer) chatBody {
	body := x.chatBody(a, "chat.completion")
	for i := range a.choices {
		m := &message{Role: "assistant", Reasoning: strings.Join(a.reasoning, "")}
		var probs any
		if a.tool != "" {
			m.ToolCalls = []toolCall{{ID: a.callID(i), Type: "function", Function: functionCall{a.tool, strings.Join(a.pieces, "")}}}
		} else {
			m.Content = new(strings.Join(choiceText(a.pieces, a.distinct(i)), ""))
			probs = a.probs(choiceText(a.pieces, a.distinct(i))...)
		}
		body.Choices = append(body.Choices, choice{Index: i, Message: m, Logprobs: probs, Finish: &a.finish})
	}
	if x.fault.emptyChoices {
		body.Choices = []choice{}
	}
	body.Usage = x.told(a.usage())
	return body
}

// distinct is the number that marks a choice's text; JSON, whose first piece begins with a bracket of its own, is left alone.
func (a *chatAnswer) distinct(i int) int {
	if len(a.pieces) == 0 || !strings.HasPrefix(a.pieces[0], "[simulated") {
		return 0
	}
	return i
}

func (a *chatAnswer) probs(pieces ...string) any {
	if !a.logprobs {
		return nil
	}
	content := []object{}
	for _, p := range pieces {
		content = append(content, object{"token": p, "logprob": -0.25, "bytes": bytesOf(p), "top_logprobs": []any{}})
	}
	return object{"content": content, "refusal": nil}
}

// bytesOf is what logprobs want: an array of numbers, which a []byte is not in JSON.
func bytesOf(s string) []int {
	ints := make([]int, len(s))
	for i := range len(s) {
		ints[i] = int(s[i])
	}
	return ints
}

// chatStream sends the answer in events: a role chunk for each choice, the content, a finish chunk for each, usage, [DONE].
func (x *exchange) chatStream(a *chatAnswer, withUsage bool) error {
	t, err := x.openStream()
	if err != nil {
		return err
	}
	chunk := func(choices ...choice) any {
		body := x.chatBody(a, "chat.completion.chunk", choices...)
		if withUsage {
			body.Usage = json.RawMessage("null")
		}
		return body
	}
	if x.fault.emptyChoices {
		if err := t.content("", chunk(), 0); err != nil {
			return err
		}
		return t.done()
	}
	for i := range a.choices {
		first := &delta{Role: "assistant", Content: new("")}
		if a.tool != "" {
			first = &delta{Role: "assistant"}
		}
		if err := t.event("", chunk(choice{Index: i, Delta: first})); err != nil {
			return err
		}
	}
	if err := x.chatDeltas(t, a, chunk); err != nil {
		return err
	}
	for i := range a.choices {
		if err := t.event("", chunk(choice{Index: i, Delta: &delta{}, Finish: &a.finish})); err != nil {
			return err
		}
	}
	if withUsage && !x.fault.noUsage {
		body := x.chatBody(a, "chat.completion.chunk")
		body.Usage = x.told(a.usage())
		if err := t.event("", body); err != nil {
			return err
		}
	}
	return t.done()
}

// chatDeltas sends the content events, choice by choice in each step as providers do.
func (x *exchange) chatDeltas(t *stream, a *chatAnswer, chunk func(...choice) any) error {
	for _, r := range a.reasoning {
		for i := range a.choices {
			if err := t.content("", chunk(choice{Index: i, Delta: &delta{Reasoning: r}}), 1); err != nil {
				return err
			}
		}
	}
	for k := range a.pieces {
		for i := range a.choices {
			d, probs := &delta{}, any(nil)
			if a.tool != "" {
				call := toolCall{Index: new(0), Function: functionCall{Arguments: a.pieces[k]}}
				if k == 0 {
					call.ID, call.Type, call.Function.Name = a.callID(i), "function", a.tool
				}
				d.ToolCalls = []toolCall{call}
			} else {
				piece := choiceText(a.pieces, a.distinct(i))[k]
				d.Content, probs = &piece, a.probs(piece)
			}
			if err := t.content("", chunk(choice{Index: i, Delta: d, Logprobs: probs}), 1); err != nil {
				return err
			}
		}
	}
	return t.contentEnd()
}
