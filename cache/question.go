package cache

import (
	"errors"
	"math"

	"github.com/sluice-gateway/sluice/internal/wording"
)

// Question is what a request asks, as likeness is measured: by an embedding, and by its words.
type Question struct {
	vector  []float32 // of length 1
	wording wording.Form
	hash    uint64 // of the wording
}

// ErrVector says that an embedding has no direction: it is empty, zero, not finite or too long.
var ErrVector = errors.New("cache: an embedding that cannot be compared")

// maxDimensions bounds an embedding; known models have 384 to 4096.
const maxDimensions = 8192

// NewQuestion makes a question of its wording and its embedding, which it takes over.
func NewQuestion(w wording.Form, vector []float32) (*Question, error) {
	sum := 0.0
	for _, v := range vector {
		sum += float64(v) * float64(v)
	}
	if len(vector) > maxDimensions || !(sum > 0) || math.IsInf(sum, 0) {
		return nil, ErrVector
	}
	scale := 1 / math.Sqrt(sum)
	for i, v := range vector {
		vector[i] = float32(float64(v) * scale)
	}
	return &Question{vector, w, w.Hash()}, nil
}

// size is about what the question takes, in bytes.
func (q *Question) size() int { return 4*len(q.vector) + q.wording.Size() }

// dot is the scalar product of two vectors of one length. Four sums at a time keep the processor's adders busy.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	for len(a) >= 8 {
		s0 += a[0]*b[0] + a[4]*b[4]
		s1 += a[1]*b[1] + a[5]*b[5]
		s2 += a[2]*b[2] + a[6]*b[6]
		s3 += a[3]*b[3] + a[7]*b[7]
		a, b = a[8:], b[8:]
	}
	for i, v := range a {
		s0 += v * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}
