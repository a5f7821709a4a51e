package llm

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// The weights of each class of text, as it stands in JSON. e2e's TestPromptBound holds the sum against a real tokenizer.
func TestWeigh(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       float64 // tokens
	}{
		{"nothing", "", 0},
		{"a word of all vocabularies", "information", 1},
		{"words", "is the information", 3},
		{"a word within one", "xinformation informationx", 2*(2+10*.75) + .5},
		{"a word beside digits", "is2", 2.75},
		{"a word in capitals", "THE", 3},
		{"a word that begins a sentence", "The", 2.75},
		{"letters that follow each other", "erestin", 1 + 6*.75},
		{"letters that do not", "qxzjvkw", 7},
		{"letters that would follow each other, were they not words", " ck ck", 2 * (.5 + 1 + .75)},
		{"capitals and letters in turn", "YtYt", 4},
		{"digits", "31415", 5},
		{"hex", "d41d8cd98f", 10},
		{"punctuation", `{}=><;`, 6},
		{"blanks before a word", "    is", 1 + 2*.125 + 1},
		{"blanks before a digit", "    7", 1 + 2*.125 + 1 + 1},
		{"a line's end", `is\nis`, 3},
		{"escapes", `\"\\\/\t`, 4},
		{"an escaped letter", `\u0041\u00e9`, 2},
		{"an escaped character that few have", `\u1234`, 3},
		{"an escaped emoji", `\ud83d\ude00`, 4},
		{"an emoji", "😀", 4},
		{"Chinese", "人人生而自由", 18},
		{"Russian", "все люди", 8},
		{"Russian capitals", "ВСЕ", 1 + 2 + 2},
		{"German", "für", 2.875 + .125},
		{"quotes", "„“”’", 3 + 3},
		{"control characters", `\u0000\u001f`, 2},
	} {
		if got := float64(weigh([]byte(c.text))) / whole; got != c.want {
			t.Errorf("%s: %v tokens, want %v", c.name, got, c.want)
		}
	}
}

// All that a request says counts, and media apart.
func TestBound(t *testing.T) {
	long := strings.Repeat("4711 ", 1000)
	for _, c := range []struct {
		name string
		e    Envelope
		want Bound
	}{
		{"a prompt", Envelope{Op: OpCompletions, Body: []byte(`{"prompt":"a b"}`)}, Bound{Text: 15}},
		{"a conversation", Envelope{Op: OpChat, Body: []byte(`7`)}, Bound{Text: 1 + templateTokens}},
		{"tools", Envelope{Op: OpChat, Tools: 2, Body: []byte(`7`)}, Bound{Text: 1 + templateTokens + toolsTokens}},
		{"their definitions", Envelope{Op: OpOpaque, Body: []byte(long)}, Bound{Text: 5000}},
		{"an image", Envelope{Op: OpOpaque, Body: []byte("77" + long + "7"), Media: []Medium{{MediumImage, 2, 5002}}}, Bound{Text: 3 + 1, Images: 1}},
		{"a sound and a file", Envelope{Op: OpOpaque, Body: []byte("7" + long + "7" + long), Media: []Medium{{MediumAudio, 1, 5001}, {MediumFile, 5002, 10002}}}, Bound{Text: 2 + 2, Media: 5000/32 + 1 + 5000}},
		{"a file by its name", Envelope{Op: OpOpaque, Body: []byte("77"), Media: []Medium{{MediumFile, 1, 1}}}, Bound{Text: 2 + 1, Media: namedTokens}},
	} {
		if got := c.e.Bound(); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if rough := c.e.RoughBound(); len(c.e.Media) == 0 && rough.Text < c.want.Text {
			t.Errorf("%s: roughly %+v, which is no bound", c.name, rough)
		}
	}
}

// A text that is no JSON has no escapes.
func TestTextBound(t *testing.T) {
	if n := TextBound([]byte(`C:\u1234\new` + "\n")); n != 11 {
		t.Errorf("%d tokens", n)
	}
}

// Every word of the list is found, and it is worth having: it weighs less than its letters.
func TestWords(t *testing.T) {
	list := strings.Fields(wordList)
	for _, w := range list {
		if len(w) > longestWord || weigh([]byte(w)) != whole {
			t.Errorf("%q weighs %d", w, weigh([]byte(w)))
		}
	}
	if len(list) > wordSlots/4 {
		t.Errorf("%d words in %d slots", len(list), wordSlots)
	}
}

// Whatever it is, a text weighs no more than its bytes, and nothing that is said twice weighs less than once.
func FuzzWeigh(f *testing.F) {
	for _, s := range []string{"", "the tides", "\\u", "a  b\n\tc", "Ünïcödé 人 😀", "\xff\xfe", `C:\Users\new`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Skip()
		}
		n := weigh(quoted)
		if n < 2*whole-whole || n > whole*len(quoted) {
			t.Errorf("%d eighths for %d bytes", n, len(quoted))
		}
		if twice := weigh(append(bytes.Clone(quoted), quoted...)); twice < n {
			t.Errorf("%d eighths twice, %d once", twice, n)
		}
		weigh([]byte(s)) // what is no JSON does no harm
	})
}

func BenchmarkBound(b *testing.B) {
	e := Envelope{Op: OpChat, Body: []byte(strings.Repeat("The tides are the rise and fall of sea levels caused by the combined effects of the gravitational forces exerted by the Moon. ", 3200))}
	b.SetBytes(int64(len(e.Body)))
	for b.Loop() {
		e.Bound()
	}
}
