package router

// NumClasses is how many kinds of task there are.
const NumClasses = 14

// The classes, as indices into Classes and Class.P.
const (
	code = iota
	mathematics
	reasoning
	knowledge
	extraction
	classification
	summarization
	translation
	rewriting
	creative
	functional
	roleplay
	chat
	planning
)

// Classes names the kinds of task that the router tells apart, in the order of Class.P.
var Classes = [NumClasses]string{
	code: "code", mathematics: "math", reasoning: "reasoning", knowledge: "knowledge_qa", extraction: "extraction",
	classification: "classification", summarization: "summarization", translation: "translation", rewriting: "rewriting",
	creative: "creative", functional: "functional_writing", roleplay: "roleplay", chat: "chat_advice", planning: "plan_brainstorm",
}

// classGain is the gain that a class has on average: what a prompt is worth of which no more is known than its class.
var classGain = [NumClasses]float64{
	code: .10, mathematics: .09, reasoning: .12, knowledge: .01, extraction: -.02, classification: -.02, summarization: -.01,
	translation: -.02, rewriting: -.04, creative: .01, functional: .00, roleplay: -.01, chat: -.06, planning: .03,
}

// Prompt is what a classifier may look at: the user's own words and a few counts.
type Prompt struct {
	Text   string // the user's last turns, oldest first, without harness text; at most MaxScan bytes
	Turns  int    // user turns of the whole conversation
	Tools  int    // tool definitions
	Images int
	JSON   bool // a JSON answer is asked for
}

// Class is what a classifier says of a prompt.
type Class struct {
	Name    string              // the likeliest of Classes
	P       [NumClasses]float64 // over Classes; sums to 1
	Gain    float64             // P(strong right) - P(cheap right), -1 … 1
	Novelty float64             // 0 (familiar) … 1 (nothing like it is known)
	Reasons [numReasons]Reason  // of the gain, the largest first; zero = no more
}

// Prob returns the probability of the class with that name, 0 for a name that is none.
func (c *Class) Prob(name string) float64 {
	for i, n := range Classes {
		if n == name {
			return c.P[i]
		}
	}
	return 0
}

// Classifier tells what kind of task a prompt is. It must be pure and safe for concurrent use; a panic or a number that is not finite counts
// as missing evidence.
type Classifier interface {
	Classify(p Prompt) Class
}
