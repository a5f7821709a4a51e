package router

import (
	"math"
	"slices"
	"strings"
	"sync"
)

// Scan limits: of a long text the ends are read, for instructions sit there.
const (
	scanHead = 6 << 10
	scanTail = 2 << 10
	// MaxScan is how many bytes of a prompt are looked at.
	MaxScan = scanHead + scanTail
)

const (
	tableBits = 12 // slots, as a power of two: more than the lexicon has entries
	seedBits  = 10
	noGroup   = 0xFF
)

// entry is what the lexicon says of a token or phrase.
type entry struct {
	hash   uint64
	groups [2]uint8 // but for gCommon, which says nothing of the task
	known  bool     // it is in the lexicon, not merely a part of a phrase
	begins bool     // a longer phrase begins with it
	goesOn bool     // a phrase has this token behind its first
}

// A slot holds an entry in one word, so that the table stays within the first cache: half its hash, two groups, each one more than its number, and
// what else is known of it. Zero is that of all that is not in the lexicon.
type slot uint64

const (
	slotGroups          = 0xFFFF
	slotBegins     slot = 1 << slotBeginsFrom
	slotGoesOn     slot = (1<<(maxPhrase-1) - 1) << slotGoesOnFrom // a bit for each entry of a scan's tail
	slotKnown      slot = 1 << slotKnownFrom
	slotBeginsFrom      = 16 // this byte is scan.open when the token alone is
	slotGoesOnFrom      = 24 // this one masks scan.open
	slotKnownFrom       = 31
	slotHashFrom        = 32
)

func (e *entry) slot() slot {
	v := slot(e.groups[0]+1) | slot(e.groups[1]+1)<<8 | slot(e.hash)<<slotHashFrom
	if e.known {
		v |= slotKnown
	}
	if e.begins {
		v |= slotBegins
	}
	if e.goesOn {
		v |= slotGoesOn
	}
	return v
}

// Heuristic classifies by words, phrases and the look of the text. It needs no data and no training; it is what is left when a learned
// classifier is off its ground. It does not allocate and is safe for concurrent use.
type Heuristic struct {
	seeds [1 << seedBits]uint16 // chosen so that no two entries share a slot: a look-up is one look
	table [1 << tableBits]slot
	tasks uint64 // the groups that name a task, as bits
}

// NewHeuristic returns the heuristic. There is one: its word table is built when it is first asked for, and never changes.
var NewHeuristic = sync.OnceValue(buildHeuristic)

func buildHeuristic() *Heuristic {
	h := new(Heuristic)
	b := builder{}
	for g := range lexicon {
		if lexicon[g].task {
			h.tasks |= 1 << g
		}
		for phrase := range strings.SplitSeq(lexicon[g].words, ",") {
			b.add(phrase, uint8(g))
		}
	}
	h.place(b)
	return h
}

// builder collects the lexicon's entries by their hashes.
type builder map[uint64]*entry

// at returns the entry for a hash, new if there is none.
func (b builder) at(k uint64) *entry {
	e := b[k]
	if e == nil {
		e = &entry{hash: k, groups: [2]uint8{noGroup, noGroup}}
		b[k] = e
	}
	return e
}

// add books a phrase for a group, and its beginnings and its other tokens so that a scan knows when to read on.
func (b builder) add(phrase string, g uint8) {
	k, _, i := nextToken(phrase, 0)
	for k != 0 {
		e := b.at(k)
		t, _, end := nextToken(phrase, i)
		if t == 0 {
			e.join(g)
			return
		}
		e.begins = true
		b.at(t).goesOn = true
		k, i = join(k, t), end
	}
}

// join gives the entry one more group; the words that are merely common gain nothing by being so beside another.
func (e *entry) join(g uint8) {
	switch {
	case e.groups[0] == noGroup:
		e.groups[0] = g
	case e.groups[0] != g && e.groups[1] == noGroup && g != gCommon:
		e.groups[1] = g
	}
}

// place puts the entries into the table, those that share a seed together and the largest such lots first.
func (h *Heuristic) place(b builder) {
	var lots [1 << seedBits][]*entry
	for k, e := range b {
		if e.known = e.groups[0] != noGroup; e.groups[0] == gCommon {
			e.groups[0], e.groups[1] = e.groups[1], noGroup
		}
		lots[k>>(64-seedBits)] = append(lots[k>>(64-seedBits)], e)
	}
	slices.SortFunc(lots[:], func(x, y []*entry) int { return len(y) - len(x) })
	for _, lot := range lots {
		if len(lot) > 0 {
			h.seed(lot)
		}
	}
}

// seed finds the seed that gives every entry of a lot a slot of its own, and puts them there.
func (h *Heuristic) seed(lot []*entry) {
	seed := &h.seeds[lot[0].hash>>(64-seedBits)]
	for try := range 1 << 16 {
		*seed = uint16(try)
		placed := 0
		for _, e := range lot {
			at := h.at(e.hash)
			if *at != 0 {
				break
			}
			*at = e.slot()
			placed++
		}
		if placed == len(lot) {
			return
		}
		for _, e := range lot[:placed] {
			*h.at(e.hash) = 0
		}
	}
	panic("router: the lexicon has outgrown its table")
}

// at returns the only slot that may hold a hash.
func (h *Heuristic) at(k uint64) *slot {
	return &h.table[(k^uint64(h.seeds[k>>(64-seedBits)]))*glue>>(64-tableBits)]
}

// find returns what the lexicon says of a token or phrase.
func (h *Heuristic) find(k uint64) slot {
	s := *h.at(k)
	if uint32(s>>slotHashFrom) != uint32(k) {
		s = 0
	}
	return s
}

// Classify implements Classifier.
func (h *Heuristic) Classify(p Prompt) Class {
	s := scan{table: h, total: len(p.Text)}
	if len(p.Text) > MaxScan {
		s.text(p.Text[:scanHead], 0)
		s.text(p.Text[len(p.Text)-scanTail:], len(p.Text)-scanTail)
	} else {
		s.text(p.Text, 0)
	}
	hits := s.evidence()
	return judge(&hits, &s, p)
}

// judge turns evidence into a class: class weights, softmax, and the gain of the class mixed with what the evidence says of its difficulty.
func judge(hits *[numGroups]float64, s *scan, p Prompt) Class {
	adjust(hits)
	if p.JSON {
		hits[gJSON] += .5
	}
	// What is to be done outweighs what it is done to: the material of a translation may hold any word.
	task := sat(hits[gTranslate]) + sat(hits[gSummarize]) + .35*(sat(hits[gRewrite])+sat(hits[gExtract])+sat(hits[gClassify]))
	material := 1 / (1 + .9*task)
	logit := [NumClasses]float64{knowledge: .35, chat: .45}
	var hard float64
	for g := range lexicon {
		if hits[g] == 0 {
			continue
		}
		v, f := sat(hits[g]), &lexicon[g]
		if !f.task {
			v *= material
		}
		hard += f.gain * v
		for _, w := range f.scores {
			logit[w.class] += w.weight * v
		}
	}
	var c Class
	best, second := softmax(&c.P, &logit)
	c.Name = Classes[best]
	var gain float64
	for i, q := range c.P {
		gain += q * classGain[i]
	}
	light := c.P[extraction] + c.P[classification] + c.P[summarization] + c.P[translation] + c.P[rewriting] + .5*(c.P[creative]+c.P[functional]+c.P[roleplay])
	if hard > 0 {
		hard *= 1 - .8*light
	}
	if p.Tools > 0 {
		hard += .02
	}
	if p.Images > 0 {
		hard += .02
	}
	c.Gain = math.Tanh(gain + hard)
	unknown := (float64(s.words-s.known) + 1) / (float64(s.words) + 2)
	c.Novelty = min(1, max(0, .6*unknown+.4*(1-(c.P[best]-c.P[second]))))
	return c
}

// adjust lets groups speak to each other where a word means less beside another.
func adjust(h *[numGroups]float64) {
	if h[gCodeLang] > 0 && h[gLanguage] == 0 {
		h[gTranslate] *= .3 // from one programming language to another
	}
	codeHits := h[gCodeLang] + h[gDebug] + .5*h[gCodeSurface] + .5*h[gCodeHard]
	mathHits := h[gMathAdv] + h[gProof] + .5*h[gMathSurface]
	content := codeHits + mathHits + h[gCodeWord] + h[gReason] + h[gExpert] + h[gTranslate] + h[gSummarize] + h[gRewrite] + h[gExtract] + h[gClassify] +
		h[gPlan] + h[gCreative] + h[gWriting] + .5*h[gKnow] + .5*h[gMathWord] + .5*h[gCompose] + .7*h[gAdvice]
	h[gGreeting] /= 1 + 1.5*content
	h[gShort] /= 1 + content
	h[gKnow] /= 1 + .6*(codeHits+mathHits+.5*h[gReason]+.4*min(h[gMathWord], h[gNumbers]))
	h[gQuestion] /= 1 + codeHits + mathHits
	h[gExtract] /= 1 + .8*h[gCodeLang] + .8*mathHits
	h[gClassify] /= 1 + .8*h[gCodeLang] + .8*mathHits
	h[gRewrite] /= 1 + .8*h[gCodeLang] + .4*h[gCodeWord]
	h[gJSON] /= 1 + .8*(h[gCodeLang]+h[gDebug])
	h[gRoleplay] /= 1 + .6*(codeHits+mathHits+h[gExpert])
	h[gCompose] /= 1 + codeHits + h[gCodeWord] + mathHits
	h[gPlanHard] /= 1 + .5*codeHits
	if h[gPlan] == 0 {
		h[gPlanHard] *= .5
	}
	if h[gNumbers] == 0 && h[gMathSurface] == 0 {
		h[gMathWord] *= .6
	}
	if h[gMathAdv]+h[gProof]+h[gMathWord] == 0 {
		h[gNumbers] *= .4
	}
}

// sat caps what a group can say: one hit counts 1, any number of them less than 2.
func sat(h float64) float64 { return 2 * h / (h + 1) }

func softmax(p, logit *[NumClasses]float64) (best, second int) {
	best, second = 0, 1
	if logit[1] > logit[0] {
		best, second = 1, 0
	}
	for i := 2; i < NumClasses; i++ {
		switch {
		case logit[i] > logit[best]:
			best, second = i, best
		case logit[i] > logit[second]:
			second = i
		}
	}
	var sum float64
	for i, l := range logit {
		p[i] = math.Exp(l - logit[best])
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return best, second
}
