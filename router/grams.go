package router

import (
	"encoding/binary"
	"unicode/utf8"
)

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
	endBytes  = 1024 // bytes at the beginning whose words are read in pairs and parts too
	lastBytes = 384  // … and at the end
	partsMin  = 4    // bytes of a word that is read in parts: a shorter one says it all itself, and so does a common one
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

// tag is never zero: a row without weights is tagged so. It leaves a bit free for commonWord.
func (g gram) tag() byte {
	t := byte(g>>rowBits) & tagMask
	return t + (t-1)>>tagBits
}

const (
	tagMask = 1<<tagBits - 1
	// commonWord is set in the tag of a row that belongs to a word which many texts have: it says all that its parts could, and they are not read.
	commonWord = 1 << tagBits
)

// rowSize is the length of a row: the gain heads' weights and, from rowClasses on, the classes', each a byte with weightZero for 0.
const (
	rowSize    = 4 + 16
	rowClasses = 4
	weightZero = 128
	// A sum of 16 bits holds this many weights.
	batchSize = 256
)

// grams collects a text's hashed features and sums their weights. A feature counts once, however often it comes, so no text can buy
// weight by repeating itself.
type grams struct {
	batch [numGrams][batchSize]gram // as they come, summed up when they are many
	seen  [numRows / 64]uint64      // rows that were summed up
	gramState
}

// gramState is what grams begin anew with every text, but for what is seen.
type gramState struct {
	tags   []byte  // of the model's rows; nil while features are recorded
	rows   []byte  // so too
	record *record // every feature as it comes, for training

	n      [numGrams]int // in the batches
	sums   [numGrams]rowSum
	unread int32       // parts of common words: the parts that are read say no more for that
	words  [256]uint32 // words that came lately, by hash: their parts are known

	said         int // words
	fresh, known int // those that did not come lately, and those of them that the model knows
	numbers      numbers
	prev         uint64
	last         [tailWords]uint64 // the last words, a ring
}

// rowSum is the sum of the weights of n different features.
type rowSum struct {
	n     int32
	heads [numHeads]int32
	class [NumClasses]int32
}

// push adds a feature. There is room in its batch: room makes it.
func (g *grams) push(kind int, h uint64) gram {
	f := hashed(kind, h)
	g.batch[kind][g.n[kind]&(batchSize-1)] = f
	g.n[kind]++
	return f
}

func hashed(kind int, h uint64) gram {
	return gram((h + uint64(kind)*fnvPrime) * glue >> (64 - rowBits - tagBits))
}

// room makes room for n features of a kind.
func (g *grams) room(kind, n int) {
	if g.n[kind] > batchSize-n {
		g.flush(kind)
	}
}

// word adds a token of hash k, spelt w, at pos of a text of total bytes; mid says that it stands behind a point without a blank. In the middle
// of a long text only words are read, for what is to be done stands at its ends.
func (g *grams) word(k uint64, w string, pos, total int, mid bool) {
	if len(w) >= blobBytes && blob(w) {
		return
	}
	if c := w[0]; c >= '0' && c <= '9' {
		k = numberHash(w)
		g.numbers.add(w, mid)
	}
	g.last[g.said%tailWords] = k
	end := pos < endBytes || pos >= total-lastBytes
	if end {
		pair := join(g.prev, k)
		g.room(gramPair, 1)
		g.push(gramPair, pair)
		if g.said < headWords {
			g.push(gramHead, k)
			g.push(gramHead, pair)
		}
		g.prev = k
	}
	g.said++
	lately := &g.words[k>>56]
	if *lately == uint32(k) {
		return
	}
	*lately = uint32(k)
	g.fresh++
	g.room(gramWord, 1)
	f := g.push(gramWord, k)
	if !end || len(w) < partsMin {
		return
	}
	switch {
	case g.record != nil:
		g.parts(w)
		g.record.part(f, g.batch[gramPart][:g.n[gramPart]])
		g.n[gramPart] = 0
	case (*[numRows]byte)(g.tags)[f.row()] == f.tag()|commonWord:
		g.unread += int32(min(len(w), partsMax)) + 1
	default:
		g.room(gramPart, partsMax+3)
		g.parts(w)
	}
}

// blobBytes is from what length on a token with a digit is no word of any language: a key, a hash, something encoded.
const blobBytes = 16

func blob(w string) bool {
	for i := 0; i < len(w); i++ {
		if w[i] >= '0' && w[i] <= '9' {
			return true
		}
	}
	return false
}

// numberHash makes numbers of as many digits alike.
func numberHash(w string) uint64 {
	n := 0
	for n < len(w) && w[n] >= '0' && w[n] <= '9' {
		n++
	}
	if n == len(w) {
		return fnvOffset + uint64(min(n, 6))
	}
	h := fnvOffset + uint64(7)
	for i := n; i < len(w); i++ {
		h = hashByte(h, w[i]|0x20)
	}
	return h
}

// parts adds runs of bytes of a word that is set between blanks: the first three, every four, the last five.
func (g *grams) parts(w string) {
	const (
		four = 1<<32 - 1
		five = 1<<40 - 1
	)
	window, seen := uint64(' '), 1
	b, n := &g.batch[gramPart], g.n[gramPart]
	if len(w) > partsMax {
		w = w[:partsMax]
	}
	for i := 0; i <= len(w); i++ {
		c := byte(' ')
		if i < len(w) {
			if c = asciiFold[w[i]]; c == 0 {
				if c = w[i]; c < utf8.RuneSelf {
					continue
				}
			}
		}
		window = window<<8 | uint64(c)
		switch seen++; {
		case seen > 3:
			b[n&(batchSize-1)] = hashed(gramPart, (window&four)*fnvPrime)
			n++
		case seen == 3:
			b[n&(batchSize-1)] = hashed(gramPart, window*fnvPrime+1)
			n++
		}
	}
	if seen > 5 {
		b[n&(batchSize-1)] = hashed(gramPart, (window&five)*fnvPrime+2)
		n++
	}
	g.n[gramPart] = n
}

// end adds the last words and sums up what is left.
func (g *grams) end() {
	n := min(g.said, tailWords)
	prev := uint64(0)
	for i := range n {
		k := g.last[(g.said-n+i)%tailWords]
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

// flush sums up a batch: first the rows of the features that are the model's own and new are picked out, without a branch that
// nobody could foresee, then their weights are added.
func (g *grams) flush(kind int) {
	batch := g.batch[kind][:g.n[kind]]
	g.n[kind] = 0
	if g.record != nil {
		g.record.take(kind, batch)
		return
	}
	var picked [batchSize]uint32
	n, known := uint32(0), uint32(0)
	tags := (*[numRows]byte)(g.tags)
	for _, f := range batch {
		at := f.row()
		other := uint32(tags[at]&tagMask ^ f.tag())
		word := &g.seen[at>>6]
		again := uint32(*word>>(at&63)) & 1
		known += (other - 1) >> 31
		fresh := ((other | again) - 1) >> 31
		*word |= uint64(fresh) << (at & 63)
		picked[n&(batchSize-1)] = at
		n += fresh
	}
	if kind == gramWord {
		g.known += int(known)
	}
	g.sums[kind].add(g.rows, picked[:n])
}

// add adds rows of weights, at most batchSize. Four weights of a word are added at once.
func (s *rowSum) add(rows []byte, picked []uint32) {
	const lanes = 0x00FF00FF00FF00FF
	var a0, a1, b0, b1, h0, h1 uint64
	for _, at := range picked {
		row := rows[at*rowSize:][:rowSize]
		h := uint64(binary.LittleEndian.Uint32(row))
		x, y := binary.LittleEndian.Uint64(row[rowClasses:]), binary.LittleEndian.Uint64(row[rowClasses+8:])
		h0 += h & lanes
		h1 += h >> 8 & lanes
		a0 += x & lanes
		a1 += x >> 8 & lanes
		b0 += y & lanes
		b1 += y >> 8 & lanes
	}
	n := int32(len(picked))
	s.n += n
	zero := n * weightZero
	s.heads[0] += int32(h0&0xFFFF) - zero
	s.heads[1] += int32(h1&0xFFFF) - zero
	s.heads[2] += int32(h0>>16&0xFFFF) - zero
	for i := range 4 {
		shift := 16 * i
		s.class[2*i] += int32(a0>>shift&0xFFFF) - zero
		s.class[2*i+1] += int32(a1>>shift&0xFFFF) - zero
		if i < 3 {
			s.class[8+2*i] += int32(b0>>shift&0xFFFF) - zero
			s.class[9+2*i] += int32(b1>>shift&0xFFFF) - zero
		}
	}
}
