package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// usage is OpenAI's usage object. A token out is a content event; a token in is four bytes of text, with three for each message.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
	PromptDetails    struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		ReasoningTokens int `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

func newUsage(in, out, reasoning int) usage {
	u := usage{PromptTokens: in, CompletionTokens: out, TotalTokens: in + out}
	u.CompletionDetails.ReasoningTokens = reasoning
	return u
}

// tokens estimates the tokens of n bytes of text.
func tokens(n int) int { return (n + 3) / 4 }

// digest is the short name of a request, the same for the same model and prompt however the rest of the request looks.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// say makes the pieces of a text answer. The first is the whole marker, so that even an answer of one token says that it is simulated.
func (x *exchange) say(prompt, id string) []string {
	text := fmt.Sprintf(" %s was asked %q and computed nothing. (request %s)", x.s.opts.Name, shorten(prompt), id[:8])
	pieces := []string{"[simulated answer of " + x.voice() + "]"}
	for word := range strings.SplitSeq(text[1:], " ") {
		pieces = append(pieces, " "+word)
	}
	return refit(pieces, x.fault.events)
}

// refit makes n pieces of them (0: as they are): what is too much goes into the last one, what is missing is counted up.
func refit(pieces []string, n int) []string {
	if n <= 0 {
		return pieces
	}
	if len(pieces) > n {
		return append(pieces[:n-1:n-1], strings.Join(pieces[n-1:], ""))
	}
	for i := len(pieces); i < n; i++ {
		pieces = append(pieces, fmt.Sprintf(" word%d", i+1))
	}
	return pieces
}

// slice cuts a text that must not change, as JSON must not, into pieces of a few bytes, n of them where n is set and the text allows it.
func slice(text string, n int) []string {
	size := 8
	if n > 0 {
		size = max(1, (len(text)+n-1)/n)
	}
	var pieces []string
	for len(text) > 0 {
		end := min(size, len(text))
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end++
		}
		pieces, text = append(pieces, text[:end]), text[end:]
	}
	return pieces
}

// truncate keeps at most limit pieces and says whether that took any away. A limit of 0 is none.
func truncate(pieces []string, limit int) ([]string, bool) {
	if limit > 0 && len(pieces) > limit {
		return pieces[:limit], true
	}
	return pieces, false
}

// shorten is the beginning of a prompt on one line.
func shorten(s string) string {
	words := strings.Fields(s)
	if len(words) > 8 {
		words = append(words[:8:8], "…")
	}
	short := []rune(strings.Join(words, " "))
	if len(short) > 80 {
		short = append(short[:79:79], '…')
	}
	return string(short)
}

// model is the name of the answering model: the request's, without a fault.
func (x *exchange) model() string {
	name, _, _ := strings.Cut(x.in.model, faultMark)
	return name
}

// voice is the name of the answering model as texts say it.
func (x *exchange) voice() string {
	if x.fault.voice != "" {
		return x.fault.voice
	}
	return x.model()
}

// told is the usage as the answer tells it.
func (x *exchange) told(u usage) any {
	switch {
	case x.fault.noUsage:
		return nil
	case x.fault.zeroUsage:
		return usage{}
	}
	return u
}

// choiceText tells the choices of one answer apart.
func choiceText(pieces []string, choice int) []string {
	if choice == 0 || len(pieces) == 0 {
		return pieces
	}
	own := append([]string(nil), pieces...)
	own[0] += fmt.Sprintf(" (choice %d)", choice+1)
	return own
}

// partsText is the text of a content field: a string, or an array of parts. extra counts the tokens of parts that are no text.
func partsText(raw json.RawMessage) (text string, extra int) {
	if json.Unmarshal(raw, &text) == nil {
		return text, 0
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", tokens(len(raw))
	}
	var texts []string
	for _, p := range parts {
		if strings.HasSuffix(p.Type, "text") {
			texts = append(texts, p.Text)
		} else {
			extra += 85 // what a provider counts for a small image
		}
	}
	return strings.Join(texts, "\n"), extra
}
