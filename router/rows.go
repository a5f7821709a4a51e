package router

import "encoding/binary"

// table is the rows of a model as a file holds them: nothing is made of its bytes, so that they are pages of the binary and no memory.
type table struct {
	tags *[numRows]byte // of the features that own the rows; noTag for a row that is nobody's
	rows *[numRows * rowSize]byte
}

// tableSize is a table's bytes.
const tableSize = numRows * (1 + rowSize)

// tableOf returns the table that lies in b, which must not change any more. It panics if b is shorter than tableSize.
func tableOf(b []byte) *table {
	return &table{tags: (*[numRows]byte)(b), rows: (*[numRows * rowSize]byte)(b[numRows:])}
}

// A row is the weights of one hashed feature, a byte each: those of the gain heads, one byte that is not zero for a word whose parts are not read,
// since it says all that they could, and those of the classes. A weight has weightZero for 0, so that none is negative.
type row [rowSize]byte

const (
	weightZero = 128

	rowCommon  = numHeads
	rowClasses = rowCommon + 1
	rowSize    = rowClasses + NumClasses
)

func (t *table) row(at uint32) *row { return (*row)(t.rows[at&(numRows-1)*rowSize:]) }

// head returns the weight for a gain head.
func (r *row) head(k int) int { return int(r[k]) - weightZero }

func (r *row) common() bool { return r[rowCommon] != 0 }

// own reports whether a feature has a row.
func (t *table) own(f gram) bool { return t.tags[f.row()] == f.tag() }

// count returns how many features have a row.
func (t *table) count(batch []gram) (n int) {
	for _, f := range batch {
		n += int((uint32(t.tags[f.row()]^f.tag()) - 1) >> 31)
	}
	return n
}

// rowSum is the sum of the weights of n different features.
type rowSum struct {
	n     int32
	heads [numHeads]int32
	class [NumClasses]int32
}

// add adds rows, at most batchSize, eight bytes at a time: the last eight begin within those before them.
func (s *rowSum) add(t *table, picked []uint32) {
	a, b := t.lanes(picked, 0)
	c, d := t.lanes(picked, 8)
	e, f := t.lanes(picked, rowSize-8)
	n := int32(len(picked))
	s.n += n
	zero := n * weightZero
	at := func(lanes uint64, k int) int32 { return int32(lanes>>(16*k)&0xFFFF) - zero }
	s.heads[0] += at(a, 0)
	s.heads[1] += at(b, 0)
	s.heads[2] += at(a, 1)
	for k := range 2 {
		s.class[2*k] += at(a, 2+k)
		s.class[2*k+1] += at(b, 2+k)
	}
	for k := range 4 {
		s.class[4+2*k] += at(c, k)
		s.class[5+2*k] += at(d, k)
	}
	s.class[12] += at(e, 3)
	s.class[13] += at(f, 3)
}

// lanes adds up the eight bytes at `from` of picked rows, in lanes of 16 bits: bytes 0, 2, 4 and 6, and bytes 1, 3, 5 and 7. For those, seven bytes are added
// as one number, which holds a batch of them, and the others taken off it again.
func (t *table) lanes(picked []uint32, from int) (even, odd uint64) {
	rows := t.rows[:]
	for _, at := range picked {
		x := binary.LittleEndian.Uint64(rows[int(at)&(numRows-1)*rowSize+from:])
		even += x & 0x00FF00FF00FF00FF
		odd += x >> 8
	}
	return even, odd - even>>16<<8
}
