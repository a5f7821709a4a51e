package cache

import (
	"container/list"
	"sync"
	"time"
)

// Bounds of the index. What was learnt first goes first.
const (
	maxQuestions     = 50_000    // of one partition
	maxQuestionBytes = 256 << 20 // of all partitions, with the answers
	questionOverhead = 400       // what a question takes beside its bytes
)

// index finds answers by the likeness of their questions. It is this node's own. A partition is searched whole: nothing likely is overlooked.
type index struct {
	questions int // maximum of one partition
	limit     int // maximum of bytes

	mu    sync.RWMutex
	parts map[Key]*partition
	order *list.List // of *learnt, the oldest first
	bytes int
}

// partition holds the questions of one kind of request, in the order in which they were learnt.
type partition struct {
	key    Key
	width  int // of its vectors
	blocks []*block
	count  int // questions that are not forgotten
}

// block is a piece of a partition. The hashes of its questions' words lie one after the other, since a search reads all of them.
type block struct {
	part   *partition
	hashes []uint64
	all    []*learnt
	count  int // that are not forgotten
}

// learnt is a question whose answer is known.
type learnt struct {
	block    *block
	question *Question
	entry    *Entry        // nil = forgotten
	at       *list.Element // in index.order
}

func (l *learnt) size() int { return l.question.size() + l.entry.size() + questionOverhead }

// blockLen is how many questions a block holds.
const blockLen = 512

func newIndex(questions, limit int) *index {
	return &index{questions: questions, limit: limit, parts: map[Key]*partition{}, order: list.New()}
}

// find returns the answer to the likeliest question of a partition whose wording is that of q, whose cosine is at least threshold and whose answer counts.
func (x *index) find(k Key, q *Question, threshold float32, counts func(*Entry) bool) (best *Entry, likeness float32) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	p := x.parts[k]
	if p == nil || p.width != len(q.vector) {
		return nil, 0
	}
	for _, b := range p.blocks {
		for i, h := range b.hashes {
			if h != q.hash {
				continue
			}
			l := b.all[i]
			if l.entry == nil || !l.question.wording.Same(q.wording) {
				continue
			}
			if like := dot(q.vector, l.question.vector); like >= threshold && counts(l.entry) { // of equals the last one counts: it is the newest
				best, likeness, threshold = l.entry, like, like
			}
		}
	}
	return best, likeness
}

// learn keeps an answer under its question.
func (x *index) learn(k Key, q *Question, e *Entry, now time.Time) {
	l := &learnt{question: q, entry: e}
	if l.size() > x.limit {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.parts[k]
	if p != nil && p.width != len(q.vector) { // another model stands behind the name now
		x.forgetWhere(func(o *learnt) bool { return o.block.part == p })
		p = nil
	}
	if p == nil {
		p = &partition{key: k, width: len(q.vector)}
		x.parts[k] = p
	}
	p.add(l)
	l.at = x.order.PushBack(l)
	x.bytes += l.size()
	if p.count > x.questions {
		x.forget(p.oldest())
	}
	for oldest := x.order.Front(); oldest != nil; oldest = x.order.Front() {
		o := oldest.Value.(*learnt)
		if x.bytes <= x.limit && now.Before(o.entry.Expires) {
			return
		}
		x.forget(o)
	}
}

func (p *partition) add(l *learnt) {
	n := len(p.blocks)
	if n == 0 || len(p.blocks[n-1].all) == blockLen {
		p.blocks = append(p.blocks, &block{part: p})
		n++
	}
	b := p.blocks[n-1]
	b.hashes, b.all = append(b.hashes, l.question.hash), append(b.all, l)
	b.count++
	p.count++
	l.block = b
}

// oldest returns the first question that is not forgotten; there is one.
func (p *partition) oldest() *learnt {
	for _, b := range p.blocks {
		for _, l := range b.all {
			if l.entry != nil {
				return l
			}
		}
	}
	return nil
}

// forget lets go of a question, and of what only forgotten ones are in.
func (x *index) forget(l *learnt) {
	x.order.Remove(l.at)
	x.bytes -= l.size()
	b, p := l.block, l.block.part
	l.entry = nil
	b.count--
	p.count--
	for len(p.blocks) > 0 && p.blocks[0].count == 0 {
		p.blocks = p.blocks[1:]
	}
	if p.count == 0 {
		delete(x.parts, p.key)
	}
}

func (x *index) forgetWhere(is func(*learnt) bool) {
	for at := x.order.Front(); at != nil; {
		l := at.Value.(*learnt)
		at = at.Next()
		if is(l) {
			x.forget(l)
		}
	}
}

// purge lets go of the answers that a filter names.
func (x *index) purge(f Filter) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forgetWhere(func(l *learnt) bool { return f.holds(l.entry) })
}

func (x *index) size() (questions, bytes int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.order.Len(), x.bytes
}
