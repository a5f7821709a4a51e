package router

import "math/bits"

// letters reads on at i for as long as there are plain words and what says nothing. It returns where something else stands, and whether that is
// another word. It does what text does with any word, but most of most texts is read here: so words of at most seven ASCII letters, none of them a
// capital but the first, are read at once, for nobody foresees where a loop over them would end, and a word of a text's middle that the lexicon does
// not know costs no call.
func (s *scan) letters(t string, i int) (to int, other bool) {
	h, g := s.table, s.grams
	for last := len(t) - 8; i <= last; {
		x := eight(t[i:])
		folded := x | lowerCase
		rest := noLetter(x, folded)
		if rest&0x80 != 0 {
			from := i
			for ; i < len(t) && byteKinds[t[i]] == kindBlank; i++ {
				s.tally.count(t[i])
			}
			if i > from {
				continue
			}
			return i, false
		}
		rest |= 1 << 63 // the eighth byte ends the word too
		word := (rest ^ (rest - 1)) >> 8
		capitals := (folded ^ x) & word
		end := i + bits.TrailingZeros64(rest)/8
		var k uint64
		if next := t[end]; next < '0' && next != '\'' && capitals <= 0xFF {
			k = mix(fnvOffset ^ folded&word)
			s.tally.letters(end-i, int(capitals>>5))
		} else if k, end = longAt(t, i); end > i {
			s.tally.letters(end-i, int(capitals>>5))
		} else {
			return i, true
		}
		e := h.find(k)
		open := s.step(e)
		told := e & slotGroups
		if open != 0 { // mostly for two words that are no phrase
			pair := h.find(join(s.tail[0], k))
			told |= pair&(slotGroups|slotBegins) | slot(open>>1)
			e |= pair & slotKnown
		}
		if told != 0 {
			e |= s.says(e, open, k, s.base+i)
		}
		s.count(k, e)
		switch {
		case i >= s.middle && i < s.middleEnd:
			g.room(gramWord, 1)
			g.single(k)
		case g != nil:
			g.word(k, t, i, end, s.base+i)
		}
		if i = end; i < len(t) && t[i] == ' ' {
			s.tally[tallyBlank]++
			i++
		}
	}
	return i, i < len(t) && byteKinds[t[i]] == kindLetter
}

// noLetter marks, by its highest bit, the first of eight bytes, folded too, that is no ASCII letter; what it says of those behind it is not to be
// relied on.
func noLetter(x, folded uint64) uint64 {
	return (x | (folded + (0x7F-'z')*each) | ^(folded + (0x80-'a')*each)) & highBit
}

// longAt reads the word at i of eight to 15 ASCII letters, none of them a capital but the first, as wordAt does. It ends at i where there is no such
// word, or what is behind it may belong to it.
func longAt(t string, i int) (h uint64, end int) {
	if len(t)-i < 16 {
		return 0, i
	}
	x, y := eight(t[i:]), eight(t[i+8:])
	a, b := x|lowerCase, y|lowerCase
	if noLetter(x, a) != 0 {
		return 0, i
	}
	rest := noLetter(y, b) | 1<<63
	word := (rest ^ (rest - 1)) >> 8
	end = i + 8 + bits.TrailingZeros64(rest)/8
	if next := t[end]; next >= '0' || next == '\'' || (x^a)>>8|(y^b)&word != 0 {
		return 0, i
	}
	if h = mix(fnvOffset ^ a); word != 0 {
		h = mix(h ^ b&word)
	}
	return h, end
}
