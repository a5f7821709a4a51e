package router

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/llm"
)

func TestExtract(t *testing.T) {
	tests := []struct {
		name             string
		e                *llm.Envelope
		text             string
		turns            int
		user, harness, x int // x: tool bytes
	}{
		{"one turn", talk("user", "hello"), "hello", 1, 5, 0, 0},
		{"system and assistant do not count", talk("system", "prove", "user", "a long enough user turn to stand alone, with eighty bytes or even a few more of it", "assistant", "prove"),
			"a long enough user turn to stand alone, with eighty bytes or even a few more of it", 1, 82, 0, 0},
		{"short turns are read with the ones before", talk("user", "sort a list", "assistant", "in C?", "user", "in go"), "sort a list\nin go", 2, 16, 0, 0},
		{"three at most", talk("user", "a", "user", "b", "user", "c", "user", "d"), "b\nc\nd", 4, 4, 0, 0},
		{"a reminder is not the user's", talk("user", "<system-reminder>Prove this theorem.</system-reminder>hi"), "hi", 1, 2, 54, 0},
		{"around and between", talk("user", "a <environment_context>\n<cwd>/x</cwd>\n</environment_context> b"), "a\nb", 1, 2, 60, 0},
		{"a turn of the harness alone", talk("user", "hi", "user", "<environment_context>x</environment_context>"), "hi", 1, 2, 44, 0},
		{"not closed", talk("user", "<system-reminder> hi"), "hi", 1, 2, 18, 0},
		{"not opened", talk("user", "hi\n</system-reminder>"), "hi", 1, 2, 19, 0},
		{"no tag of a harness", talk("user", "<b>hi</b> <system-reminders>x</system-reminders>"), "<b>hi</b> <system-reminders>x</system-reminders>", 1, 48, 0, 0},
		{"tool output", talk("user", "hi", "assistant", "", "tool", "Traceback"), "hi", 1, 2, 0, 9},
		{"nothing", &llm.Envelope{Op: llm.OpChat}, "", 0, 0, 0, 0},
	}
	for _, tt := range tests {
		c := Extract(tt.e)
		if c.Prompt.Text != tt.text || c.Prompt.Turns != tt.turns || c.UserBytes != tt.user || c.HarnessBytes != tt.harness || c.ToolBytes != tt.x {
			t.Errorf("%s: %q turns %d user %d harness %d tool %d; want %q %d %d %d %d", tt.name, c.Prompt.Text, c.Prompt.Turns, c.UserBytes, c.HarnessBytes,
				c.ToolBytes, tt.text, tt.turns, tt.user, tt.harness, tt.x)
		}
	}
}

func TestExtractBoundsWhatItJoins(t *testing.T) {
	e := &llm.Envelope{Op: llm.OpChat, Turns: []llm.Turn{{Role: "user"}}}
	for range 200 {
		e.Turns[0].Text = append(e.Turns[0].Text, strings.Repeat("x", 1000))
	}
	e.Turns[0].Text[0], e.Turns[0].Text[199] = "head", "tail"
	if c := Extract(e); len(c.Prompt.Text) != MaxScan || !strings.HasPrefix(c.Prompt.Text, "head\nx") || !strings.HasSuffix(c.Prompt.Text, "x\ntail") {
		t.Errorf("%d bytes, %.10q … ", len(c.Prompt.Text), c.Prompt.Text)
	}
}

func TestLanguage(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "42": "", "xyzzy": "",
		"what is the capital of france and why":  "en",
		"Wie komme ich bitte zu dem Bahnhof?":    "de",
		"Où est la gare, et pour qui est-ce ?":   "fr",
		"¿Dónde está el baño? Es por mi hermano": "es",
		"Che cosa sono questi, e di chi?":        "it",
		"Você não sabe o que é isso na minha":    "pt",
		"Wat is het verschil en waarom niet":     "nl",
		"Где находится вокзал?":                  "ru",
		"Де знаходиться їхній вокзал і поїзд?":   "uk",
		"火车站在哪里？":                                "zh",
		"駅はどこですか":                                "ja",
		"역이 어디에 있나요":                             "ko",
		"أين المحطة":                             "ar",
		"איפה התחנה":                             "he",
		"Πού είναι ο σταθμός":                    "el",
		"translate 火车站在哪里？今天的天气很好，我们去公园 please":  "zh",
	} {
		if got := Language(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
