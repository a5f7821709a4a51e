package signs

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
)

// A Sign is a reason to ask a stronger model, as policies name it.
type Sign = string

// The signs, as `escalate.on` lists them.
const (
	None        Sign = ""
	Refusal     Sign = "refusal"
	Truncated   Sign = "truncated"
	InvalidJSON Sign = "invalid_json"
	Empty       Sign = "empty"
	Loop        Sign = "loop"
	Language    Sign = "language"
	Unsure      Sign = "unsure"
)

// Answer is what has come of an answer so far.
type Answer struct {
	Text      []byte
	Arguments [][]byte // of its tool calls
	Refused   bool     // the model said so in a field of its own
	Whole     bool     // nothing more comes
	Cut       bool     // it ended because it was too long, and the client had set no length
	JSON      bool     // a JSON answer was asked for
	Asked     string   // language of the question, ISO 639-1; "" = unknown, or not to be held against the answer
	Spoken    func(string) string
	LogProb   float64 // mean log probability of its tokens; with Tokens
	Tokens    int     // how many tokens have one
}

// Find returns the first of the wanted signs that the answer shows. Some can be seen in whole answers only.
func (a *Answer) Find(wanted map[string]bool) Sign {
	for _, c := range [...]struct {
		sign  Sign
		shows func(*Answer) bool
	}{
		{Refusal, (*Answer).refuses}, {Empty, (*Answer).empty}, {InvalidJSON, (*Answer).invalid}, {Truncated, (*Answer).truncated},
		{Loop, (*Answer).loops}, {Language, (*Answer).strays}, {Unsure, (*Answer).unsure},
	} {
		if wanted[c.sign] && c.shows(a) {
			return c.sign
		}
	}
	return None
}

// refusals are how refusals begin, in lower case and with plain apostrophes. Only beginnings count: an answer may speak of what cannot be done.
var refusals = [...]string{
	"i can't help", "i cannot help", "i can't assist", "i cannot assist", "i'm unable to", "i am unable to", "i can't provide", "i cannot provide",
	"i can't fulfill", "i cannot fulfill", "i can't comply", "i cannot comply", "i can't answer", "i cannot answer", "i won't be able to",
	"i'm not able to", "i am not able to", "as an ai", "as a language model", "as a large language model", "i'm just an ai", "i don't have the ability",
	"unfortunately, i can't", "unfortunately, i cannot", "i must decline", "i have to decline", "i'm sorry, but i", "i apologize, but i",
	"sorry, i can't", "sorry, but i can't", "sorry, i cannot", "i'm sorry, i can't", "i'm sorry, i cannot",
	"ich kann dir dabei nicht helfen", "ich kann ihnen dabei nicht helfen", "es tut mir leid, aber ich kann", "tut mir leid, aber ich kann", "als ki-",
	"je ne peux pas vous aider", "je suis désolé, mais je ne", "désolé, mais je ne peux pas", "en tant qu'ia", "lo siento, pero no puedo", "no puedo ayudarte con",
	"como modelo de lenguaje", "desculpe, mas não posso", "mi dispiace, ma non posso", "抱歉，我无法", "对不起，我不能", "很抱歉，我无法", "申し訳ありませんが", "죄송하지만",
}

// refusalHead is where a refusal must begin, in bytes.
const refusalHead = 160

var plainMarks = strings.NewReplacer("’", "'", "*", "", "_", "", "`", "")

func (a *Answer) refuses() bool {
	if a.Refused {
		return true
	}
	head := plainMarks.Replace(strings.ToLower(string(bytes.TrimSpace(a.Text[:min(len(a.Text), refusalHead)]))))
	for _, r := range refusals {
		if strings.HasPrefix(head, r) {
			return true
		}
	}
	return false
}

func (a *Answer) empty() bool {
	return a.Whole && len(a.Arguments) == 0 && !a.Refused && len(bytes.Trim(a.Text, " \t\r\n.-#*`\"'{}[]")) == 0
}

func (a *Answer) truncated() bool { return a.Whole && a.Cut }

// maxDepth is how deep an answer's JSON may nest, as a request's may.
const maxDepth = 64

// invalid looks at whole answers: at the text where JSON was asked for, and at the arguments of every tool call.
func (a *Answer) invalid() bool {
	if !a.Whole {
		return false
	}
	for _, args := range a.Arguments {
		if len(bytes.TrimSpace(args)) > 0 && !jsonedit.Valid(args, maxDepth) {
			return true
		}
	}
	return a.JSON && len(a.Arguments) == 0 && !jsonedit.Valid(bytes.TrimSpace(a.Text), maxDepth)
}

const (
	loopLook  = 1200 // bytes of the end that are looked at
	loopLong  = 60   // bytes that repetitions must cover
	loopTimes = 4    // of the same piece
)

// loops reports a text that ends in the same piece again and again. Rules of one mark and tables' edges are no loop.
func (a *Answer) loops() bool {
	t := bytes.TrimRight(a.Text, " \n\t")
	t = t[max(0, len(t)-loopLook):]
	for period := 1; period <= len(t)/loopTimes; period++ {
		n := 0 // bytes that equal those a period later
		for n < len(t)-period && t[len(t)-1-n] == t[len(t)-1-n-period] {
			n++
		}
		if n >= max(loopLong, (loopTimes-1)*period) && worded(t[len(t)-period:]) {
			return true
		}
	}
	return false
}

// worded reports a piece that holds a letter or digit.
func worded(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			return true
		}
	}
	return false
}

// languageText is how much text tells its language, in bytes.
const languageText = 80

func (a *Answer) strays() bool {
	if a.Asked == "" || a.Spoken == nil || len(a.Text) < languageText {
		return false
	}
	spoken := a.Spoken(string(a.Text))
	return spoken != "" && spoken != a.Asked
}

const (
	sureTokens  = 8    // fewer say nothing
	sureLogProb = -1.2 // a mean below it: the model took its words at less than a third each
)

func (a *Answer) unsure() bool { return a.Tokens >= sureTokens && a.LogProb < sureLogProb }

// LogProbs adds up the log probabilities in a choice's logprobs, as engines write them: {"content":[{"token":…,"logprob":-0.1,"top_logprobs":[…]},…]}.
func LogProbs(raw []byte) (sum float64, tokens int) {
	if !jsonedit.Valid(raw, maxDepth) {
		return 0, 0
	}
	jsonedit.Parse(raw).Field("content").Each(func(t jsonedit.Value) bool {
		if v, err := strconv.ParseFloat(t.Field("logprob").Raw(), 64); err == nil && v <= 0 {
			sum += v
			tokens++
		}
		return true
	})
	return sum, tokens
}
