package signs

import (
	"strings"
	"testing"
)

var all = map[Sign]bool{Refusal: true, Truncated: true, InvalidJSON: true, Empty: true, Loop: true, Language: true, Unsure: true}

func german(string) string { return "de" }

func TestFind(t *testing.T) {
	long := strings.Repeat("The mitochondrion is where a cell makes most of its energy, and it has its own DNA. ", 1)
	for _, c := range []struct {
		name string
		a    Answer
		want Sign
	}{
		{"an answer", Answer{Text: []byte(long), Whole: true}, None},
		{"a refusal", Answer{Text: []byte("I’m sorry, but I can’t help with that.")}, Refusal},
		{"a refusal with emphasis", Answer{Text: []byte("**As an AI** language model")}, Refusal},
		{"a refusal in German", Answer{Text: []byte("Es tut mir leid, aber ich kann das nicht.")}, Refusal},
		{"a refusal of its own field", Answer{Refused: true}, Refusal},
		{"an answer about refusals", Answer{Text: []byte(`He said: "I can't help you", and left.`), Whole: true}, None},
		{"nothing", Answer{Text: []byte(" \n"), Whole: true}, Empty},
		{"nothing yet", Answer{Text: []byte(" \n")}, None},
		{"a call without text", Answer{Arguments: [][]byte{[]byte("{}")}, Whole: true}, None},
		{"a call without arguments", Answer{Arguments: [][]byte{nil}, Whole: true}, None},
		{"a call with broken arguments", Answer{Arguments: [][]byte{[]byte(`{"a":`)}, Whole: true}, InvalidJSON},
		{"a call whose arguments are on their way", Answer{Arguments: [][]byte{[]byte(`{"a":`)}}, None},
		{"JSON", Answer{Text: []byte(` {"a": [1]} `), JSON: true, Whole: true}, None},
		{"prose for JSON", Answer{Text: []byte("Here is the JSON: {}"), JSON: true, Whole: true}, InvalidJSON},
		{"cut", Answer{Text: []byte(long), Whole: true, Cut: true}, Truncated},
		{"a loop", Answer{Text: []byte("Sure. " + strings.Repeat("and then we go again, ", 6))}, Loop},
		{"a loop of a word", Answer{Text: []byte(strings.Repeat("the ", 30))}, Loop},
		{"a rule of dashes", Answer{Text: []byte("Title\n" + strings.Repeat("-", 90))}, None},
		{"a table's edge", Answer{Text: []byte("| a | b |\n" + strings.Repeat("|---", 30))}, None},
		{"a refrain", Answer{Text: []byte("row, row, row your boat gently down the stream, merrily merrily merrily")}, None},
		{"another language", Answer{Text: []byte(long), Asked: "en", Spoken: german}, Language},
		{"the same language", Answer{Text: []byte(long), Asked: "de", Spoken: german}, None},
		{"too short to tell", Answer{Text: []byte("Ja."), Asked: "en", Spoken: german}, None},
		{"not sure", Answer{Text: []byte(long), LogProb: -1.5, Tokens: 10}, Unsure},
		{"too few to tell", Answer{Text: []byte(long), LogProb: -1.5, Tokens: 3}, None},
	} {
		if got := c.a.Find(all); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := c.a.Find(nil); got != None {
			t.Errorf("%s: %q although nothing is wanted", c.name, got)
		}
	}
}

func TestLogProbs(t *testing.T) {
	sum, n := LogProbs([]byte(`{"content":[{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"a","logprob":-9}]},{"token":"b","logprob":-1.5}]}`))
	if sum != -2 || n != 2 {
		t.Errorf("sum %v of %d", sum, n)
	}
	for _, raw := range []string{"", "null", `{"content":null}`, `{"content":[{"logprob":"x"}]}`, `{"content":`} {
		if _, n := LogProbs([]byte(raw)); n != 0 {
			t.Errorf("%s: %d tokens", raw, n)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte("abc abc abc abc"), true, true)
	f.Fuzz(func(t *testing.T, text []byte, whole, json bool) {
		a := Answer{Text: text, Arguments: [][]byte{text}, Whole: whole, JSON: json, Asked: "en", Spoken: german}
		a.Find(all)
		LogProbs(text)
	})
}
