package simulator

import (
	"encoding/json"
	"strings"
)

type completionRequest struct {
	Prompt        json.RawMessage `json:"prompt"`
	Stream        bool            `json:"stream"`
	StreamOptions *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	N         int `json:"n"`
	MaxTokens int `json:"max_tokens"`
}

// completionBody is a text completion or a chunk of one.
type completionBody struct {
	ID      string             `json:"id"`
	Object  string             `json:"object"`
	Created int64              `json:"created"`
	Model   string             `json:"model"`
	Choices []completionChoice `json:"choices"`
	Usage   any                `json:"usage,omitempty"`
}

type completionChoice struct {
	Index    int     `json:"index"`
	Text     string  `json:"text"`
	Logprobs any     `json:"logprobs"`
	Finish   *string `json:"finish_reason"`
}

// completions answers POST /v1/completions.
func (x *exchange) completions() error {
	var req completionRequest
	if err := x.decode(&req); err != nil {
		return err
	}
	prompts, err := inputs("prompt", req.Prompt)
	if err != nil {
		return err
	}
	if req.N < 0 || req.N > 128 {
		return badRequest("n", "n must be from 1 to 128")
	}
	in, out, finish, n := 0, 0, "stop", max(req.N, 1)
	var texts [][]string // by choice: n for each prompt
	for _, p := range prompts {
		in += p.tokens
		pieces, cut := truncate(x.say(p.text, digest(x.model(), p.text)), req.MaxTokens)
		if cut {
			finish = "length"
		}
		for i := range n {
			texts = append(texts, choiceText(pieces, i))
			out += len(pieces)
		}
	}
	x.call.note(func(c *Call) { c.TokensIn = in })
	body := completionBody{"cmpl-sim" + digest(x.model(), string(req.Prompt)), "text_completion", created, x.model(), []completionChoice{}, nil}
	if req.Stream {
		var total any
		if req.StreamOptions != nil && req.StreamOptions.IncludeUsage {
			total = newUsage(in, out, 0)
		}
		return x.completionStream(body, texts, finish, total)
	}
	for i, pieces := range texts {
		if !x.fault.emptyChoices {
			body.Choices = append(body.Choices, completionChoice{Index: i, Text: strings.Join(pieces, ""), Finish: &finish})
		}
	}
	body.Usage = newUsage(in, out, 0)
	return x.unary(body, out)
}

// completionStream sends the texts one after the other. total is the usage to send at the end, nil for none.
func (x *exchange) completionStream(body completionBody, texts [][]string, finish string, total any) error {
	t, err := x.openStream()
	if err != nil {
		return err
	}
	chunk := func(c ...completionChoice) completionBody {
		b := body
		b.Choices = append([]completionChoice{}, c...)
		if total != nil {
			b.Usage = json.RawMessage("null")
		}
		return b
	}
	if x.fault.emptyChoices {
		if err := t.content("", chunk(), 0); err != nil {
			return err
		}
		return t.done()
	}
	for i, pieces := range texts {
		for _, p := range pieces {
			if err := t.content("", chunk(completionChoice{Index: i, Text: p}), 1); err != nil {
				return err
			}
		}
	}
	if err := t.contentEnd(); err != nil {
		return err
	}
	for i := range texts {
		if err := t.event("", chunk(completionChoice{Index: i, Finish: &finish})); err != nil {
			return err
		}
	}
	if total != nil {
		b := chunk()
		b.Usage = total
		if err := t.event("", b); err != nil {
			return err
		}
	}
	return t.done()
}

// input is one text, or one array of token numbers in its JSON spelling.
type input struct {
	text   string
	tokens int
}

// inputs reads a prompt or embedding input: a string, strings, token numbers, or arrays of token numbers.
func inputs(param string, raw json.RawMessage) ([]input, error) {
	var one string
	var many []json.RawMessage
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, badRequest(param, "you must provide %s", param)
	case json.Unmarshal(raw, &one) == nil:
		return []input{{one, tokens(len(one))}}, nil
	case json.Unmarshal(raw, &many) != nil || len(many) == 0:
		return nil, badRequest(param, "%s must be a string or an array that is not empty", param)
	}
	var ids []int
	if json.Unmarshal(raw, &ids) == nil {
		return []input{{string(raw), len(ids)}}, nil
	}
	var all []input
	for _, m := range many {
		var text string
		switch {
		case json.Unmarshal(m, &text) == nil:
			all = append(all, input{text, tokens(len(text))})
		case json.Unmarshal(m, &ids) == nil:
			all = append(all, input{string(m), len(ids)})
		default:
			return nil, badRequest(param, "%s holds something that is neither a text nor token numbers", param)
		}
	}
	return all, nil
}
