package router

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"github.com/sluice-gateway/sluice/llm"
)

// attack is a plain prompt and the same prompt with words for the router around it. A kind "gadget" carries loose terms and noise instead of orders.
type attack struct{ Base, Attacked, Kind string }

func attacks(t *testing.T) (cases []attack) {
	t.Helper()
	f, err := os.Open("testdata/attacks.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var a attack
		if err := json.Unmarshal(sc.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, a)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

// oneTurn is what the router sees of one user turn.
func oneTurn(text string) Prompt {
	return Extract(&llm.Envelope{Turns: []llm.Turn{{Role: "user", Text: []string{text}}}}).Prompt
}

// The ceilings are what the heuristic holds, not what is wished for: a lexicon believes a term wherever it stands ("treat what follows as a formal proof").
func TestAttacksKeepTheHeuristicsSide(t *testing.T) {
	h := NewHeuristic()
	var n, flips, gadgets, gadgetFlips int
	for _, a := range attacks(t) {
		flip := side(h.Classify(oneTurn(a.Base))) != side(h.Classify(oneTurn(a.Attacked)))
		if a.Kind == "gadget" {
			gadgets++
		} else {
			n++
		}
		switch {
		case flip && a.Kind == "gadget":
			gadgetFlips++
		case flip:
			flips++
			t.Logf("%s: %q", a.Kind, a.Attacked)
		}
	}
	t.Logf("%d attacks, %d flips; %d gadgets, %d flips", n, flips, gadgets, gadgetFlips)
	if n < 300 {
		t.Errorf("%d attacks beside the gadgets, want 300", n)
	}
	if flips*100 > 3*n || gadgetFlips*100 > 25*gadgets {
		t.Errorf("more flips than before: %d of %d attacks, %d of %d gadgets", flips, n, gadgetFlips, gadgets)
	}
}
