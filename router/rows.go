package router

import "encoding/binary"

// table is the rows of a model as a classifier reads them.
type table struct {
	tags [numRows]byte // of the features that own the rows; noTag for a row that is nobody's
	rows [numRows]row
}

// A row is the weights of one hashed feature, ready to be added up, and half a cache line: lanes of 16 bits for the classes, four of them a word, and in
// the last word behind those the bytes of the gain heads and one that is not zero for a word whose parts are not read, since it says all that they could.
// A weight has weightZero for 0, so that no lane borrows of the next, and batchSize of them fit into a lane.
type row [4]uint64

const (
	weightZero = 128
	lane       = 16 // bits
	headLanes  = 32 // where the heads begin in the last word
)

// A row's bytes in a file.
const (
	rowSize    = rowClasses + NumClasses
	rowCommon  = numHeads // not zero for a word whose parts are not read
	rowClasses = rowCommon + 1
)

// unpack makes a row of its bytes.
func (r *row) unpack(b []byte) {
	heads, b := binary.LittleEndian.Uint32(b), b[rowClasses:rowSize]
	for k := range 3 {
		r[k] = spread(binary.LittleEndian.Uint32(b[4*k:]))
	}
	r[3] = spread(uint32(binary.LittleEndian.Uint16(b[12:]))) | uint64(heads)<<headLanes
}

// spread makes four lanes of four bytes.
func spread(b uint32) uint64 {
	x := uint64(b)
	x = (x | x<<16) & 0x0000FFFF0000FFFF
	return (x | x<<8) & 0x00FF00FF00FF00FF
}

// pack appends a row's bytes.
func (r *row) pack(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(r[3]>>headLanes))
	for k := range NumClasses {
		b = append(b, byte(r[k/4]>>(lane*(k%4))))
	}
	return b
}

// head returns the weight for a gain head.
func (r *row) head(k int) int { return int(byte(r[3]>>(headLanes+8*k))) - weightZero }

func (r *row) common() bool { return r[3]>>(headLanes+8*rowCommon) != 0 }

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

// add adds rows, at most batchSize.
func (s *rowSum) add(t *table, picked []uint32) {
	const even = 0x00FF00FF // of four bytes
	var a, b, c, d, e uint64
	for _, at := range picked {
		r := &t.rows[at&(numRows-1)]
		a += r[0]
		b += r[1]
		c += r[2]
		d += r[3] & (even<<headLanes | (1<<headLanes - 1))
		e += r[3] >> (headLanes + 8) & even
	}
	n := int32(len(picked))
	s.n += n
	zero := n * weightZero
	at := func(x uint64, k int) int32 { return int32(x>>(lane*k)&0xFFFF) - zero }
	for k := range 4 {
		s.class[k] += at(a, k)
		s.class[4+k] += at(b, k)
		s.class[8+k] += at(c, k)
	}
	s.class[12] += at(d, 0)
	s.class[13] += at(d, 1)
	s.heads[0] += at(d, 2)
	s.heads[1] += at(e, 0)
	s.heads[2] += at(d, 3)
}
