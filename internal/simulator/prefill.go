package simulator

import (
	"encoding/json"
	"strings"
)

// conversation reads the messages. An assistant's message at the end is the beginning of the answer: it is taken off, so that the answer's text and
// id are those that the conversation has without it, and returned as prefix where the answer is to continue it.
func (x *exchange) conversation(raw json.RawMessage) (messages []chatMessage, id, prefix string, err error) {
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil || json.Unmarshal(raw, &messages) != nil || len(messages) == 0 {
		return nil, "", "", badRequest("messages", "messages must be an array of at least one message")
	}
	last := len(messages) - 1
	if text, _ := partsText(messages[last].Content); last > 0 && messages[last].Role == "assistant" && text != "" {
		switch x.fault.prefill {
		case "reject":
			return nil, "", "", badRequest("messages", "This model does not support assistant message prefill. The conversation must end with a user message.")
		case "ignore":
		default:
			prefix = text
		}
		parts, messages = parts[:last], messages[:last]
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = string(p)
	}
	return messages, digest(x.voice(), "["+strings.Join(texts, ",")+"]"), prefix, nil
}

// resume drops from a text answer what its prefix has said already. A prefix that is not the answer's own beginning is nothing to continue.
func (a *chatAnswer) resume(prefix string) {
	if prefix == "" || a.tool != "" {
		return
	}
	a.prompt += tokens(len(prefix))
	text := strings.Join(a.pieces, "")
	if !strings.HasPrefix(text, prefix) {
		return
	}
	a.reasoning = nil
	said := len(prefix)
	for len(a.pieces) > 0 && said >= len(a.pieces[0]) {
		said -= len(a.pieces[0])
		a.pieces = a.pieces[1:]
	}
	if said > 0 {
		a.pieces = append([]string{a.pieces[0][said:]}, a.pieces[1:]...)
	}
}
