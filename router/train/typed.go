package train

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
)

// Typed is the source of the prompts that one writer wrote as people type them, for training alone.
const Typed = "typed"

const (
	readings = 4  // how often a prompt about a pasted text is read, each time with another text
	wordings = 24 // how often one that says in several ways what it asks is read, each time in other words
	// worded is how many prompts such a one counts as. Chosen by cross-validation, with wordings.
	worded = 4
)

// typedPrompts reads prompts under headings of a class and a band: "== code hard". Those under "== material" and "== quote" are texts to paste:
// {m} and {q} of a prompt stand for one of them, so that what is asked is learned apart from what it is asked of. {one|another} stands for one
// of its parts, so that a prompt teaches the words that others would use for the same.
func typedPrompts(list []byte, seed uint64) ([]Row, error) {
	type prompt struct{ class, band, text string }
	var prompts []prompt
	pasted := map[string][]string{"material": nil, "quote": nil}
	var class, band string
	s := bufio.NewScanner(bytes.NewReader(list))
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if head, ok := strings.CutPrefix(line, "== "); ok {
			class, band, _ = strings.Cut(head, " ")
			if _, paste := pasted[class]; !paste && (classIndex(class) < 0 || band != "easy" && band != "hard") {
				return nil, fmt.Errorf("line %d is no heading of a class and a band: %s", n, line)
			}
			continue
		}
		if class == "" {
			return nil, fmt.Errorf("line %d stands under no heading", n)
		}
		text := strings.ReplaceAll(line, `\n`, "\n")
		if _, paste := pasted[class]; paste {
			pasted[class] = append(pasted[class], text)
			continue
		}
		prompts = append(prompts, prompt{class, band, text})
	}
	material, quotes := pasted["material"], pasted["quote"]
	if len(material) == 0 || len(quotes) == 0 {
		return nil, fmt.Errorf("there is no material or no quote to paste")
	}
	rng := rand.New(rand.NewPCG(seed, 5))
	var rows []Row
	for _, p := range prompts {
		n, worth := 1, 1.0
		switch {
		case alternatives.MatchString(p.text):
			n, worth = wordings, worded
		case strings.Contains(p.text, "{m}"), strings.Contains(p.text, "{q}"):
			n = readings
		}
		for range n {
			text := alternatives.ReplaceAllStringFunc(p.text, func(group string) string {
				ways := strings.Split(group[1:len(group)-1], "|")
				return ways[rng.IntN(len(ways))]
			})
			text = strings.NewReplacer("{m}", material[rng.IntN(len(material))], "{q}", quotes[rng.IntN(len(quotes))]).Replace(text)
			rows = append(rows, Row{Source: Typed, Task: "typed/" + p.class, Class: p.class, Band: p.band, Prompt: text, Split: "train",
				worth: worth, share: worth / float64(n)})
		}
	}
	return rows, s.Err()
}

// alternatives are the parts of a prompt that stand for one of several wordings.
var alternatives = regexp.MustCompile(`\{[^{}|]*(\|[^{}|]*)+\}`)
