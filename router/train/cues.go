package train

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Cue is the source of the short prompts that are made of the words by which people ask.
const Cue = "cue"

// waysPerThing is in how many ways each thing is asked for.
const waysPerThing = 3

// Cues makes prompts of a list of what people ask for and how: class | ways | things, and the subjects, which are the same for all classes.
func Cues(list []byte, seed uint64) ([]Row, error) {
	type asked struct{ class, ways, things string }
	var all []asked
	var subjects []string
	s := bufio.NewScanner(bytes.NewReader(list))
	for n := 1; s.Scan(); n++ {
		line := strings.ReplaceAll(s.Text(), `\n`, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		part := strings.SplitN(line, " | ", 3)
		switch {
		case strings.HasPrefix(line, "subject |"):
			subjects = strings.Split(line[strings.LastIndexByte(line, '|')+2:], ", ")
		case len(part) != 3 || classIndex(part[0]) < 0:
			return nil, fmt.Errorf("line %d is not: class | ways | things", n)
		default:
			all = append(all, asked{part[0], part[1], part[2]})
		}
	}
	if len(subjects) == 0 {
		return nil, fmt.Errorf("there are no subjects")
	}
	rng := rand.New(rand.NewPCG(seed, 3))
	var rows []Row
	for _, a := range all {
		ways := strings.Split(a.ways, "; ")
		for thing := range strings.SplitSeq(a.things, ", ") {
			for _, w := range rng.Perm(len(ways))[:min(len(ways), waysPerThing)] {
				text := strings.NewReplacer("{n}", thing, "{t}", subjects[rng.IntN(len(subjects))]).Replace(ways[w])
				rows = append(rows, Row{Source: Cue, Task: "cue/" + a.class, Class: a.class, Prompt: text, Split: "train"})
			}
		}
	}
	return rows, s.Err()
}
