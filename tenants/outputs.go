package tenants

import (
	"math/bits"
	"sync"
)

// Outputs remembers how long models' answers are, to say what to reserve for a request that does not limit its own. It is safe for concurrent use.
type Outputs struct {
	mu     sync.Mutex
	models map[string]*lengths
}

// lengths counts answers by the power of two, in eighths, that their tokens are below. Old ones weigh less and less.
type lengths struct {
	counts [256]float64
	total  float64
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
	l := o.models[model]
	if l == nil {
		if len(o.models) >= maxModels {
			clear(o.models)
		}
		l = new(lengths)
		o.models[model] = l
	}
	l.counts[lengthClass(tokens)]++
	if l.total++; l.total > keepOutputs {
		for i := range l.counts {
			l.counts[i] /= 2
		}
		l.total /= 2
	}
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
