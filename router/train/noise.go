package train

import (
	"math/rand/v2"
	"strings"
	"unicode"
)

// noise says the same in another way.
type noise struct {
	name  string
	apply func(string, *rand.Rand) string
}

var noises = []noise{
	{"case", func(s string, rng *rand.Rand) string {
		if rng.IntN(2) == 0 {
			return strings.ToUpper(s)
		}
		return strings.ToLower(s)
	}},
	{"typos", typos},
	{"white space", func(s string, rng *rand.Rand) string {
		return "  " + strings.ReplaceAll(s, " ", strings.Repeat(" ", 1+rng.IntN(2))) + "\n\n"
	}},
	{"paraphrase", paraphrase},
}

// typos swaps two neighbouring letters in every fifteenth word.
func typos(s string, rng *rand.Rand) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		if r := []rune(w); len(r) >= 4 && rng.IntN(15) == 0 {
			k := 1 + rng.IntN(len(r)-2)
			if unicode.IsLetter(r[k]) && unicode.IsLetter(r[k+1]) {
				r[k], r[k+1] = r[k+1], r[k]
			}
			words[i] = string(r)
		}
	}
	return strings.Join(words, " ")
}

// paraphrase frames a prompt politely and puts common words for one another.
func paraphrase(s string, rng *rand.Rand) string {
	swap := strings.NewReplacer(" write ", " compose ", " make ", " create ", " give me ", " I would like ", " show ", " present ", " big ", " large ",
		" quick ", " fast ", " please ", " kindly ", " can you ", " could you ", " need ", " require ", " explain ", " describe ", " fix ", " repair ")
	frame := [...][2]string{{"Hi! ", ""}, {"Could you help me with this? ", ""}, {"", " Thanks in advance!"}, {"Hello, I have a request. ", " Thank you."}}
	f := frame[rng.IntN(len(frame))]
	return f[0] + strings.TrimSpace(swap.Replace(" "+s+" ")) + f[1]
}
