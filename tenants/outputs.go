package tenants

import (
	"math/bits"
	"sync"
)

// Outputs remembers how long models' answers are, and what their tokens cost where only time has a price, to say what to reserve for a request that does not limit its own. It is safe for concurrent use.
type Outputs struct {
	mu     sync.Mutex
	models map[string]*lengths
}

// lengths counts answers by the power of two, in eighths, that their tokens are below. Old ones weigh less and less.
type lengths struct {
	counts [256]float64
	total  float64
	cost   float64 // micro-dollars a token, of late; for pools that are paid by the hour
}

const (
	// UnknownOutput is reserved, in tokens, while fewer than enough answers of a model have been seen.
	UnknownOutput = 1024
	enough        = 20
	keepOutputs   = 4096 // answers after which old ones weigh half
	maxModels     = 4096
)

// NewOutputs returns a memory of nothing.
func NewOutputs() *Outputs { return &Outputs{models: map[string]*lengths{}} }

// Observe takes the length of one complete answer, in tokens.
func (o *Outputs) Observe(model string, tokens int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.of(model)
	l.counts[lengthClass(tokens)]++
	if l.total++; l.total > keepOutputs {
		for i := range l.counts {
			l.counts[i] /= 2
		}
		l.total /= 2
	}
}

func (o *Outputs) of(model string) *lengths {
	l := o.models[model]
	if l == nil {
		if len(o.models) >= maxModels {
			clear(o.models)
		}
		l = new(lengths)
		o.models[model] = l
	}
	return l
}

// weight is that of the last answer in what tokens have lately cost.
const weight = 0.1

// Spent takes what the tokens of one attempt have cost.
func (o *Outputs) Spent(model string, tokens int, microUSD int64) {
	if tokens <= 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	l, each := o.of(model), float64(microUSD)/float64(tokens)
	if l.cost == 0 {
		l.cost = each
	}
	l.cost += weight * (each - l.cost)
}

// Cost returns what so many tokens would cost, in micro-dollars, as they have lately; 0 while nothing is known.
func (o *Outputs) Cost(model string, tokens int) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.models[model]; l != nil {
		return int64(l.cost * float64(tokens))
	}
	return 0
}

// P95 returns the tokens that 95 of 100 of the model's answers do not exceed, to within an eighth.
func (o *Outputs) P95(model string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.models[model]
	if l == nil || l.total < enough {
		return UnknownOutput
	}
	sum := 0.0
	for i, n := range l.counts {
		if sum += n; sum >= 0.95*l.total {
			return lengthOf(i)
		}
	}
	return UnknownOutput
}

// lengthClass puts a count into one of eight classes for each power of two; lengthOf is the largest count of a class.
func lengthClass(n int) int {
	if n < 8 {
		return max(n, 0)
	}
	e := bits.Len(uint(n)) - 4 // n>>e is 8 … 15
	return min(8*e+n>>e, 255)
}

func lengthOf(class int) int {
	if class < 16 {
		return class
	}
	e := class/8 - 1
	return (class%8+9)<<e - 1
}
