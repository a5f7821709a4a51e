package router

// Kinds of hashed features. Each has slots, a norm and a dedup of its own.
const (
	gramWord = iota // single words
	gramPair        // two words in a row
	gramPart        // three to five bytes of a word between its blanks
	gramHead        // words and pairs of the first headWords
	gramTail        // words and pairs of the last tailWords
	numGrams
)

const (
	headWords = 14
	tailWords = 12
	ringWords = 16   // no fewer, and a power of two: where a word goes is a mask away
	endBytes  = 1024 // bytes at the beginning whose words are read in pairs and parts too
	lastBytes = 384  // … and at the end
	partsMin  = 4    // bytes of a word that is read in parts, and of a part: a shorter one says it all itself, and so does a common one
	partsMax  = 24   // bytes of one word that are read in parts
)

// A gram is a hashed feature: the row that may hold its weights, and a tag by which the row knows its own.
type gram uint32

const (
	rowBits = 17
	tagBits = 7
	numRows = 1 << rowBits
)

func (g gram) row() uint32 { return uint32(g) & (numRows - 1) }

// tag is never noTag.
func (g gram) tag() byte { return byte(g >> rowBits) }

// noTag is the tag of a row that is nobody's, or that was summed up.
const noTag = 1 << tagBits

// batchSize is how many rows a sum of 16 bits holds.
const batchSize = 256

// grams collects a text's hashed features and sums their weights. A feature counts once, however often it comes, so no text can buy
// weight by repeating itself.
type grams struct {
	batch [numGrams][batchSize + batchSlack]gram // as they come, summed up when they are many
	// The table's tags, but for the rows that were summed up, so that none is twice; taken says which those are.
	tags  [numRows]byte
	taken [mostTaken]uint32
	gramState
}

// batchSlack is how far behind the end of a batch may be written what does not count.
const batchSlack = 8

// mostTaken is more than there are features in MaxScan bytes: every second byte may begin a word, those at the ends a pair as well, and each of these
// a part.
const mostTaken = MaxScan

// gramState is what grams begin anew with every text.
type gramState struct {
	lastFrom int // where the end begins
	nTaken   int
	table    *table  // the model's rows; nil while features are recorded
	record   *record // every feature as it comes, for training

	n      [numGrams]int // in the batches
	sums   [numGrams]rowSum
	unread int32       // parts of common words: the parts that are read say no more for that
	words  [256]uint32 // words that came lately, by hash: their parts are known

	said         int // words
	fresh, known int // those summed up that did not come lately, and those of them that the model knows
	numbers      numbers
	prev         uint64
	last         [ringWords]uint64 // the last words, a ring
}

// push adds a feature. There is room in its batch: room makes it.
func (g *grams) push(kind int, h uint64) gram {
	f := hashed(kind, h)
	g.batch[kind][g.n[kind]&(batchSize-1)] = f
	g.n[kind]++
	return f
}

const gramShift = 64 - rowBits - tagBits

func hashed(kind int, h uint64) gram {
	return gram((h + uint64(kind)*fnvPrime) * glue >> gramShift)
}

// room makes room for n features of a kind.
func (g *grams) room(kind, n int) {
	if g.n[kind] > batchSize-n {
		g.flush(kind)
	}
}

// number adds a token that begins with a digit, and returns the hash by which it counts; point says that it stands behind one without a blank.
func (g *grams) number(w string, point bool) uint64 {
	digits := 1
	for digits < len(w) && w[digits] >= '0' && w[digits] <= '9' {
		digits++
	}
	if len(w) < blobBytes {
		g.numbers.add(w[0], digits, point)
	}
	return numberHash(w, digits)
}

// word adds the token t[start:end] of hash k, at pos of the whole. In the middle of a long text only words are read, for what is to be done stands at
// its ends.
func (g *grams) word(k uint64, t string, start, end, pos int) {
	if end-start >= blobBytes && blob(t[start:end]) {
		return
	}
	middle := pos >= endBytes && pos < g.lastFrom
	if !middle {
		g.pairs(k)
	}
	g.room(gramWord, 1)
	if fresh := g.single(k); !middle && fresh && end-start >= partsMin {
		g.spell(hashed(gramWord, k), t[start:end])
	}
}

// single adds a word, and reports whether it did not come lately. There is room for it. One that came lately is written and not counted: every second
// word is one, and no processor foresees which.
func (g *grams) single(k uint64) (fresh bool) {
	g.last[g.said&(ringWords-1)] = k
	g.said++
	n := g.n[gramWord]
	g.batch[gramWord][n] = gram(k * glue >> gramShift) // as hashed says it
	lately := &g.words[k>>56]
	if fresh = *lately != uint32(k); fresh {
		n++
	}
	*lately = uint32(k)
	g.n[gramWord] = n
	return fresh
}

// pairs adds what is read of words at the ends of a text alone, but for their parts.
func (g *grams) pairs(k uint64) {
	pair := join(g.prev, k)
	g.room(gramPair, 1)
	g.push(gramPair, pair)
	if g.said < headWords {
		g.push(gramHead, k)
		g.push(gramHead, pair)
	}
	g.prev = k
}

// spell adds the parts of a word of feature f, unless it is so common that it says all that they could.
func (g *grams) spell(f gram, w string) {
	switch {
	case g.record != nil:
		g.parts(w)
		g.record.part(f, g.batch[gramPart][:g.n[gramPart]])
		g.n[gramPart] = 0
	case g.common(f):
		g.unread += int32(min(len(w), partsMax)) + 1
	default:
		g.room(gramPart, partsMax+1)
		g.parts(w)
	}
}

// common reports a word whose parts are not read. Its row may have been summed up.
func (g *grams) common(f gram) bool {
	at := f.row()
	return (g.tags[at]^f.tag())&^noTag == 0 && g.table.row(at).common()
}

// blobBytes is from what length on a token with a digit is no word of any language: a key, a hash, something encoded.
const blobBytes = 16

func blob(w string) bool { return len(w) >= blobBytes && hasDigit(w) }

func hasDigit(w string) bool {
	for i := 0; i < len(w); i++ {
		if w[i] >= '0' && w[i] <= '9' {
			return true
		}
	}
	return false
}

// numberHash makes numbers of as many digits alike; digits says how many the token begins with.
func numberHash(w string, digits int) uint64 {
	if digits == len(w) {
		return fnvOffset + uint64(min(digits, 6))
	}
	h := fnvOffset + uint64(7)
	for i := digits; i < len(w); i++ {
		h = hashByte(h, w[i]|0x20)
	}
	return h
}

// Of a word's runs of bytes the first and the last are hashed apart from those of its middle.
const (
	partFirst = fnvOffset
	partLast  = fnvOffset / 3
)

func part(run, which uint64) gram { return gram((run*glue + which) >> gramShift) }

// parts adds runs of bytes of a word that is set between blanks: the first three, every four, the last five; partsMin of them and more. Letters are
// folded by the bit that makes them lower case, which tells the other bytes apart well enough.
func (g *grams) parts(w string) {
	if len(w) > partsMax {
		w = w[:partsMax]
	}
	b, n := &g.batch[gramPart], g.n[gramPart]
	first, last := uint64(four(w, 0)), uint64(four(w, len(w)-4))
	ends := (*[4]gram)(b[n:])
	ends[0] = part(' '|first<<8&0xFFFF00, partFirst)
	ends[1] = part(' '|first<<8&0xFFFFFF00, 0)
	ends[2] = part(last>>8|' '<<24, 0)
	ends[3] = part(last|' '<<32, partLast)
	for n += len(ends); len(w) > 8; w = w[5:] {
		runs((*[5]gram)(b[n:]), eight(w)|lowerCase)
		n += 5
	}
	// What is left has four to eight bytes, read as the first four and the last four: all five runs are written, and those counted that there are.
	runs((*[5]gram)(b[n:]), uint64(four(w, 0))|uint64(four(w, len(w)-4))<<(8*(len(w)-4)&63))
	g.n[gramPart] = n + len(w) - 3
}

// runs hashes the runs of four bytes within eight.
func runs(out *[5]gram, x uint64) {
	out[0] = part(uint64(uint32(x)), 0)
	out[1] = part(uint64(uint32(x>>8)), 0)
	out[2] = part(uint64(uint32(x>>16)), 0)
	out[3] = part(uint64(uint32(x>>24)), 0)
	out[4] = part(x>>32, 0)
}

// four reads four bytes of a word as eight does, in lower case.
func four(w string, i int) uint32 {
	b := w[i : i+4]
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24 | lowerCase&0xFFFFFFFF
}

// end adds the last words and sums up what is left.
func (g *grams) end() {
	n := min(g.said, tailWords)
	prev := uint64(0)
	for i := range n {
		k := g.last[(g.said-n+i)&(ringWords-1)]
		g.push(gramTail, k)
		if i > 0 {
			g.push(gramTail, join(prev, k))
		}
		prev = k
	}
	for kind := range g.batch {
		g.flush(kind)
	}
}

// reset makes ready for a text, to be read with the rows of t.
func (g *grams) reset(t *table) {
	if g.table != t {
		g.tags = *t.tags
	} else if t != nil {
		for _, at := range g.taken[:g.nTaken] {
			g.tags[at] &^= noTag // it had another
		}
	}
	g.gramState = gramState{table: t}
}

// flush sums up a batch: first the rows of the features that are the model's own and new are picked out, without a branch that
// nobody could foresee, then their weights are added.
func (g *grams) flush(kind int) {
	batch := g.batch[kind][:g.n[kind]]
	g.n[kind] = 0
	if kind == gramWord {
		g.fresh += len(batch)
	}
	if g.record != nil {
		g.record.take(kind, batch)
		return
	}
	if kind == gramWord {
		g.known += g.table.count(batch)
	}
	n := g.nTaken
	for _, f := range batch {
		at := f.row()
		tag := g.tags[at]
		own := (uint32(tag^f.tag()) - 1) >> 31
		g.tags[at] = tag | byte(own<<tagBits)
		g.taken[n&(mostTaken-1)] = at
		n += int(own)
	}
	g.sums[kind].add(g.table, g.taken[g.nTaken:n])
	g.nTaken = n
}
