package router

import "encoding/binary"

// table is the rows of a model as a classifier reads them: a row has a cache line of its own, and its weights are lanes, to be added up as they are.
type table struct {
	tags [numRows]byte // of the features that own the rows; noTag for a row that is nobody's
	rows [numRows]row
}

// A row is the weights of one hashed feature, in lanes of 16 bits of its words: each with weightZero for 0, so that no lane borrows of the next, and
// batchSize of them fit. The spare words make it a cache line.
type row struct {
	class [4]uint64 // four classes each
	heads uint64    // the gain heads; the highest lane is not zero for a word whose parts are not read: it says all that they could
	_     [3]uint64
}

const (
	weightZero = 128
	lane       = 16 // bits
)

// A row's bytes in a file.
const (
	rowSize    = rowClasses + NumClasses
	rowCommon  = numHeads // not zero for a word whose parts are not read
	rowClasses = rowCommon + 1
)

// unpack makes a row of its bytes.
func (r *row) unpack(b []byte) {
	r.heads = spread(binary.LittleEndian.Uint32(b))
	b = b[rowClasses:rowSize]
	for k := range 3 {
		r.class[k] = spread(binary.LittleEndian.Uint32(b[4*k:]))
	}
	r.class[3] = spread(uint32(binary.LittleEndian.Uint16(b[12:])))
}

// spread makes four lanes of four bytes.
func spread(b uint32) uint64 {
	x := uint64(b)
	x = (x | x<<16) & 0x0000FFFF0000FFFF
	return (x | x<<8) & 0x00FF00FF00FF00FF
}

// pack appends a row's bytes.
func (r *row) pack(b []byte) []byte {
	for k := range rowClasses {
		b = append(b, byte(r.heads>>(lane*k)))
	}
	for k := range NumClasses {
		b = append(b, byte(r.class[k/4]>>(lane*(k%4))))
	}
	return b
}

// head returns the weight for a gain head.
func (r *row) head(k int) int { return int(uint16(r.heads>>(lane*k))) - weightZero }

// own reports whether a feature has a row.
func (t *table) own(f gram) bool { return t.tags[f.row()] == f.tag() }

// count returns how many features have a row.
func (t *table) count(batch []gram) (n int) {
	for _, f := range batch {
		n += int((uint32(t.tags[f.row()]^f.tag()) - 1) >> 31)
	}
	return n
}

// common reports a word whose parts are not read.
func (t *table) common(f gram) bool { return t.own(f) && t.rows[f.row()].heads>>(lane*rowCommon) != 0 }

// rowSum is the sum of the weights of n different features.
type rowSum struct {
	n     int32
	heads [numHeads]int32
	class [NumClasses]int32
}

// add adds rows, at most batchSize.
func (s *rowSum) add(t *table, picked []uint32) {
	var a, b, c, d, h uint64
	for _, at := range picked {
		r := &t.rows[at&(numRows-1)]
		a += r.class[0]
		b += r.class[1]
		c += r.class[2]
		d += r.class[3]
		h += r.heads
	}
	n := int32(len(picked))
	s.n += n
	zero := n * weightZero
	for k := range s.heads {
		s.heads[k] += int32(h>>(lane*k)&0xFFFF) - zero
	}
	for k := range 4 {
		s.class[k] += int32(a>>(lane*k)&0xFFFF) - zero
		s.class[4+k] += int32(b>>(lane*k)&0xFFFF) - zero
		s.class[8+k] += int32(c>>(lane*k)&0xFFFF) - zero
		if 12+k < NumClasses {
			s.class[12+k] += int32(d>>(lane*k)&0xFFFF) - zero
		}
	}
}
