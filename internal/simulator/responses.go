package simulator

import (
	"encoding/json"
	"maps"
	"strings"
)

type responsesRequest struct {
	Input           json.RawMessage `json:"input"`
	Instructions    string          `json:"instructions"`
	Stream          bool            `json:"stream"`
	MaxOutputTokens int             `json:"max_output_tokens"`
}

// responses answers POST /v1/responses with a text. Tools and stored responses are not simulated.
func (x *exchange) responses() error {
	var req responsesRequest
	if err := x.decode(&req); err != nil {
		return err
	}
	asked, in, err := responsesInput(req.Input)
	if err != nil {
		return err
	}
	in += 3 + tokens(len(req.Instructions))
	x.call.note(func(c *Call) { c.TokensIn = in })
	id := digest(x.model(), string(req.Input))
	pieces, cut := truncate(x.say(asked, id), req.MaxOutputTokens)
	status, incomplete := "completed", any(nil)
	if cut {
		status, incomplete = "incomplete", object{"reason": "max_output_tokens"}
	}
	base := object{"id": "resp_sim" + id, "object": "response", "created_at": created, "model": x.model(), "error": nil,
		"incomplete_details": nil, "instructions": nil, "metadata": object{}, "parallel_tool_calls": true, "tool_choice": "auto",
		"tools": []any{}, "temperature": 1.0, "top_p": 1.0, "output": []any{}, "usage": nil, "status": "in_progress"}
	if req.Instructions != "" {
		base["instructions"] = req.Instructions
	}
	final := maps.Clone(base)
	final["status"], final["incomplete_details"] = status, incomplete
	final["output"] = []object{responsesItem(id, status, strings.Join(pieces, ""))}
	final["usage"] = object{"input_tokens": in, "input_tokens_details": object{"cached_tokens": 0}, "output_tokens": len(pieces),
		"output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": in + len(pieces)}
	if x.fault.emptyChoices {
		final["output"] = []object{}
	}
	if req.Stream {
		return x.responsesStream(base, final, id, pieces)
	}
	return x.unary(final, len(pieces))
}

func responsesItem(id, status, text string) object {
	return object{"id": "msg_sim" + id, "type": "message", "status": status, "role": "assistant",
		"content": []object{{"type": "output_text", "text": text, "annotations": []any{}}}}
}

// responsesInput reads the input: a string, or items of which the messages count.
func responsesInput(raw json.RawMessage) (asked string, in int, err error) {
	if len(raw) > 0 && string(raw) != "null" && json.Unmarshal(raw, &asked) == nil {
		return asked, 3 + tokens(len(asked)), nil
	}
	var items []chatMessage
	if json.Unmarshal(raw, &items) != nil || len(items) == 0 {
		return "", 0, badRequest("input", "input must be a string or an array of items")
	}
	for _, item := range items {
		text, extra := partsText(item.Content)
		in += 3 + tokens(len(text)) + extra
		if item.Role == "user" {
			asked = text
		}
	}
	return asked, in, nil
}

// responsesStream sends the typed events of the Responses API; its last event carries the usage and there is no [DONE].
func (x *exchange) responsesStream(base, final object, id string, pieces []string) error {
	t, err := x.openStream()
	if err != nil {
		return err
	}
	seq := 0
	event := func(kind string, fields object) object {
		e := object{"type": kind, "sequence_number": seq}
		maps.Copy(e, fields)
		seq++
		return e
	}
	send := func(kind string, fields object) {
		if err == nil {
			err = t.event(kind, event(kind, fields))
		}
	}
	text, item := strings.Join(pieces, ""), "msg_sim"+id
	place := func(more object) object {
		o := object{"item_id": item, "output_index": 0, "content_index": 0}
		maps.Copy(o, more)
		return o
	}
	part := func(text string) object { return object{"type": "output_text", "text": text, "annotations": []any{}} }
	opening := responsesItem(id, "in_progress", "")
	opening["content"] = []any{}
	send("response.created", object{"response": base})
	send("response.in_progress", object{"response": base})
	send("response.output_item.added", object{"output_index": 0, "item": opening})
	send("response.content_part.added", place(object{"part": part("")}))
	for _, p := range pieces {
		if err == nil {
			const kind = "response.output_text.delta"
			err = t.content(kind, event(kind, place(object{"delta": p, "logprobs": []any{}})), 1)
		}
	}
	if err == nil {
		err = t.contentEnd()
	}
	send("response.output_text.done", place(object{"text": text, "logprobs": []any{}}))
	send("response.content_part.done", place(object{"part": part(text)}))
	send("response.output_item.done", object{"output_index": 0, "item": responsesItem(id, final["status"].(string), text)})
	if err != nil || x.fault.noDone {
		return err
	}
	kind := "response." + final["status"].(string)
	return t.last(kind, marshal(event(kind, object{"response": final})))
}
