package openai

import (
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// scanned is an envelope with what it needs to be edited and the room for the usual conversation, in one allocation.
type scanned struct {
	llm.Envelope
	doc   jsonedit.Doc
	turns [8]llm.Turn
	texts [12]string
}

// scanner reads a body into an envelope. The first thing that is not as the dialect has it stays in err.
type scanner struct {
	e     *llm.Envelope
	texts []string
	err   *llm.Error

	prompts, bestOf int // of a text completion
	outbid          int // a limit that some servers know, and take before the usual one
}

// Scan admits a body strictly and reads what routing needs of it. The error is an *llm.Error, status 400, with the byte offset or the
// parameter that is wrong. An opaque operation's body needs no model; its text is read as chat's is, wherever its dialect keeps it.
func (Codec) Scan(op llm.Op, body []byte) (*llm.Envelope, error) {
	s := new(scanned)
	e := &s.Envelope
	if err := s.doc.Reset(body, maxDepth); err != nil {
		return nil, refusal(err)
	}
	e.Op, e.Body, e.N, e.Doc = op, body, 1, &s.doc
	e.Turns = s.turns[:0]
	sc := scanner{e: e, texts: s.texts[:0]}
	s.doc.EachMember(func(key string, v jsonedit.Value) bool {
		if v.Kind() != jsonedit.Null {
			sc.member(key, v)
		}
		return sc.err == nil
	})
	if sc.err == nil {
		sc.complete(&s.doc)
	}
	if sc.err != nil {
		return nil, sc.err
	}
	return e, nil
}

// refusal is the client's error for a body that is not admitted.
func refusal(err error) *llm.Error {
	e := &llm.Error{
		Source: llm.SourceClient, Class: llm.ClassClient, Status: http.StatusBadRequest,
		Type: "invalid_request_error", Code: "invalid_json", Message: "the request body was refused: " + err.Error(), Err: err,
	}
	var syntax *jsonedit.SyntaxError
	if !errors.As(err, &syntax) {
		e.Message = "the request body was refused"
	}
	return e
}

// member reads one top-level member, which is not null.
func (s *scanner) member(key string, v jsonedit.Value) {
	e := s.e
	switch key {
	case "model":
		if s.want(v, jsonedit.String, key) {
			e.Model, e.ModelIsString = v.String(), true
		}
	case "stream":
		e.Stream = s.flag(v, key)
	case "stream_options":
		if s.want(v, jsonedit.Object, key) {
			s.streamOptions(v)
		}
	case "max_tokens", "max_completion_tokens": // which one counts is the server's choice
		e.MaxTokens = max(e.MaxTokens, s.count(v, key))
	case "n":
		if e.N = s.count(v, key); e.N == 0 {
			e.N = 1
		}
	case "temperature":
		if s.want(v, jsonedit.Number, key) {
			e.Temperature, e.HasTemp = v.Float(), true
		}
	case "logprobs":
		e.Logprobs = v.Kind() != jsonedit.False
	case "messages":
		if s.want(v, jsonedit.Array, key) {
			s.messages(v, key)
		}
	case "prompt":
		s.prompt(v)
	case "input":
		s.input(v)
	case "system", "instructions":
		if e.Op == llm.OpOpaque {
			s.turn("system", v, key)
		}
	case "tools":
		if s.want(v, jsonedit.Array, key) {
			e.Tools += v.Len()
			e.ToolBytes += len(v.Raw())
		}
	case "functions":
		e.Tools += v.Len()
		e.ToolBytes += len(v.Raw())
		e.Unfoldable = key
	default:
		s.rare(key, v)
	}
}

// rare reads members that few requests have.
func (s *scanner) rare(key string, v jsonedit.Value) {
	e := s.e
	switch key {
	case "response_format":
		switch v.Field("type").String() {
		case "json_object":
			e.JSON = true
		case "json_schema":
			e.JSON, e.Grammar = true, true
		}
	case "text":
		if f := v.Field("format").Field("type").String(); e.Op == llm.OpOpaque && (f == "json_schema" || f == "json_object") {
			e.JSON, e.Grammar = true, f == "json_schema"
		}
	case "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "structural_tag", "grammar", "json_schema", "regex", "ebnf":
		e.Grammar = true
		e.JSON = e.JSON || key == "guided_json" || key == "json_schema"
	case "modalities":
		v.Each(func(m jsonedit.Value) bool {
			if m.String() == "audio" {
				e.Audio++
				e.Unfoldable = key
			}
			return true
		})
	case "function_call", "audio", "web_search_options", "prompt_logprobs", "return_token_ids", "kv_transfer_params", "suffix":
		e.Unfoldable = key
	case "echo":
		if v.Bool() {
			e.Unfoldable = key
		}
	case "max_output_tokens", "n_predict":
		s.outbid = max(s.outbid, s.count(v, key))
	case "best_of":
		if s.bestOf = s.count(v, key); s.bestOf > 1 {
			e.Unfoldable = key
		}
	}
}

// complete asks for what an operation cannot be without.
func (s *scanner) complete(doc *jsonedit.Doc) {
	e := s.e
	e.Answers = max(1, s.prompts) * max(e.N, s.bestOf)
	if e.MaxTokens > 0 || e.Op == llm.OpOpaque {
		e.MaxTokens = max(e.MaxTokens, s.outbid)
	}
	if e.Op != llm.OpOpaque && !e.ModelIsString {
		s.fail("model", "you must provide a model parameter")
		return
	}
	if e.ModelIsString && e.Model == "" {
		s.fail("model", "model is empty")
		return
	}
	needs := ""
	switch e.Op {
	case llm.OpChat:
		needs = "messages"
	case llm.OpCompletions:
		needs = "prompt"
	case llm.OpEmbeddings:
		needs = "input"
	default:
		return
	}
	switch doc.Value(needs).Kind() {
	case jsonedit.Absent, jsonedit.Null:
		if e.Op != llm.OpCompletions { // where the default is the end-of-text token
			s.fail(needs, "missing required parameter: '"+needs+"'")
		}
	}
}

func (s *scanner) streamOptions(v jsonedit.Value) {
	switch u := v.Field("include_usage"); u.Kind() {
	case jsonedit.True:
		s.e.UsageAsked = true
	case jsonedit.False:
		s.e.UsageRefused = true
	case jsonedit.Absent, jsonedit.Null:
	default:
		s.fail("stream_options.include_usage", "include_usage must be true or false")
	}
}

func (s *scanner) messages(list jsonedit.Value, param string) {
	i := 0
	list.Each(func(m jsonedit.Value) bool {
		if m.Kind() != jsonedit.Object {
			s.fail(fmt.Sprintf("%s[%d]", param, i), "a message must be an object")
			return false
		}
		s.message(m, param, i)
		i++
		return s.err == nil
	})
}

// message reads one turn of messages or one item of the Responses API's input.
func (s *scanner) message(m jsonedit.Value, param string, i int) {
	e := s.e
	var role, kind string
	var content, output, summary jsonedit.Value
	var called []string
	m.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "role":
			role = v.String()
		case "type":
			kind = v.String()
		case "content":
			content = v
		case "output":
			output = v
		case "tool_calls":
			v.Each(func(c jsonedit.Value) bool {
				called = append(called, function(c))
				return true
			})
		case "summary":
			summary = v
		}
		return true
	})
	switch kind {
	case "function_call", "custom_tool_call":
		role, called = "assistant", append(called, m.Field("name").Raw(), m.Field("arguments").Raw(), m.Field("input").Raw())
	case "function_call_output", "custom_tool_call_output":
		role, content = "tool", output
	case "reasoning":
		role, content = "assistant", summary
	}
	at := len(s.texts)
	switch content.Kind() {
	case jsonedit.Object, jsonedit.Number, jsonedit.True, jsonedit.False:
		if e.Op == llm.OpChat {
			s.fail(fmt.Sprintf("%s[%d].content", param, i), "content must be a string or an array of parts")
			return
		}
	}
	answers := s.content(content, role)
	e.ToolTurn = role == "tool" || role == "function" || answers
	e.Turns = append(e.Turns, llm.Turn{Role: role, Text: s.texts[at:len(s.texts):len(s.texts)], Calls: called})
}

// function is what a call of a tool names and hands over: its id is another one each time.
func function(call jsonedit.Value) string {
	if call.Field("type").String() == "custom" {
		return call.Field("custom").Raw()
	}
	return call.Field("function").Raw()
}

// turn reads a turn that is a member by itself: the Responses API's instructions, Anthropic's system.
func (s *scanner) turn(role string, v jsonedit.Value, param string) {
	at := len(s.texts)
	s.content(v, role)
	s.e.Turns = append(s.e.Turns, llm.Turn{Role: role, Text: s.texts[at:len(s.texts):len(s.texts)]})
}

// content reads a string or a list of parts. True means that it holds a tool's result, as Anthropic's user turns do.
func (s *scanner) content(v jsonedit.Value, role string) (answers bool) {
	switch v.Kind() {
	case jsonedit.String:
		s.text(v.String(), role)
	case jsonedit.Array:
		v.Each(func(p jsonedit.Value) bool {
			answers = s.part(p, role) || answers
			return true
		})
	}
	return answers
}

// part reads one part of a content.
func (s *scanner) part(p jsonedit.Value, role string) (answers bool) {
	if p.Kind() == jsonedit.String {
		s.text(p.String(), role)
		return false
	}
	var kind, result jsonedit.Value
	var texts [3]jsonedit.Value
	p.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "type":
			kind = v
		case "content":
			result = v
		case "text":
			texts[0] = v
		case "refusal":
			texts[1] = v
		case "thinking":
			texts[2] = v
		default:
			s.medium(key, v, p)
		}
		return true
	})
	switch kind.String() {
	case "image_url", "input_image", "image":
		s.e.Images++
	case "input_audio", "audio", "audio_url":
		s.e.Audio++
	case "file", "input_file", "document":
		s.e.Files++
	case "tool_result":
		s.content(result, role)
		return true
	}
	for _, t := range texts {
		if t.Kind() == jsonedit.String {
			s.text(t.String(), role)
		}
	}
	return false
}

// medium notes a member of a part that holds an image, a sound or a file, or names one.
func (s *scanner) medium(key string, v, part jsonedit.Value) {
	m := llm.Medium{Kind: llm.MediumFile}
	switch key {
	case "image_url", "image":
		m.Kind = llm.MediumImage
	case "input_audio", "audio_url", "audio":
		m.Kind = llm.MediumAudio
	case "source":
		if part.Field("type").String() == "image" {
			m.Kind = llm.MediumImage
		}
	case "file", "file_data", "file_id", "file_url", "video", "video_url":
	default:
		return
	}
	m.From, m.To = v.Offset()
	s.e.Media = append(s.e.Media, m)
}

func (s *scanner) text(t, role string) {
	s.texts = append(s.texts, t)
	s.e.ContentBytes += len(t)
	if role == "system" || role == "developer" {
		s.e.SystemBytes += len(t)
	}
}

// prompt reads the prompts of a text completion: each is a user's turn. Token ids count four bytes each.
func (s *scanner) prompt(v jsonedit.Value) {
	if v.Kind() == jsonedit.Array {
		v.Each(func(p jsonedit.Value) bool {
			if p.Kind() != jsonedit.Number {
				s.prompts++
			}
			if p.Kind() == jsonedit.Array {
				s.e.ContentBytes += 4 * p.Len()
			} else {
				s.single(p)
			}
			return true
		})
		return
	}
	s.single(v)
}

// single reads one prompt or one input that is a turn of its own.
func (s *scanner) single(v jsonedit.Value) {
	if v.Kind() == jsonedit.String {
		s.turn("user", v, "")
		return
	}
	s.e.ContentBytes += 4
}

// input reads what is to be embedded, or the Responses API's input: a string or a list of items that are messages.
func (s *scanner) input(v jsonedit.Value) {
	e := s.e
	switch v.Kind() {
	case jsonedit.String:
		e.Input = 1
		s.single(v)
		return
	case jsonedit.Array:
	default:
		if e.Op == llm.OpEmbeddings {
			s.fail("input", "input must be a string or an array")
		}
		return
	}
	ids := 0
	i := 0
	v.Each(func(item jsonedit.Value) bool {
		switch item.Kind() {
		case jsonedit.String:
			e.Input++
			s.single(item)
		case jsonedit.Array:
			e.Input++
			e.ContentBytes += 4 * item.Len()
		case jsonedit.Object:
			e.Input++
			s.message(item, "input", i)
		default:
			ids++
		}
		i++
		return s.err == nil
	})
	if ids > 0 {
		e.Input++
		e.ContentBytes += 4 * ids
	}
}

// want notes an error unless the value is of the kind.
func (s *scanner) want(v jsonedit.Value, k jsonedit.Kind, param string) bool {
	if v.Kind() == k {
		return true
	}
	names := [...]string{jsonedit.Number: "a number", jsonedit.String: "a string", jsonedit.Object: "an object", jsonedit.Array: "an array"}
	at, _ := v.Offset()
	s.fail(param, fmt.Sprintf("%s must be %s (at byte %d)", param, names[k], at))
	return false
}

func (s *scanner) flag(v jsonedit.Value, param string) bool {
	if k := v.Kind(); k != jsonedit.True && k != jsonedit.False {
		at, _ := v.Offset()
		s.fail(param, fmt.Sprintf("%s must be true or false (at byte %d)", param, at))
	}
	return v.Bool()
}

// count reads a number of tokens or choices.
func (s *scanner) count(v jsonedit.Value, param string) int {
	n, ok := v.Integer()
	if !ok || n < 0 || n > math.MaxInt32 {
		at, _ := v.Offset()
		s.fail(param, fmt.Sprintf("%s must be a whole number that is not negative (at byte %d)", param, at))
		return 0
	}
	return int(n)
}

func (s *scanner) fail(param, message string) {
	if s.err == nil {
		s.err = invalid(param, message)
	}
}
