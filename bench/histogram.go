package main

import (
	"math"
	"math/bits"
	"time"
)

const (
	subBits    = 7 // 128 buckets to each power of two: a reported value is within 0.4 % of the recorded one
	bucketSize = (64-subBits)<<subBits + 1<<subBits
)

// histogram counts durations in logarithmic buckets. Its memory is fixed and recording neither allocates nor locks: one belongs to one
// goroutine and is merged when that has ended.
type histogram struct {
	counts   [bucketSize]uint64
	n        uint64
	min, max time.Duration
}

func bucket(v uint64) int {
	shift := max(0, bits.Len64(v)-subBits-1)
	return shift<<subBits + int(v>>shift)
}

// middle is the value that stands for a bucket.
func middle(i int) uint64 {
	shift := max(0, i>>subBits-1)
	low := uint64(i-shift<<subBits) << shift
	return low + (uint64(1)<<shift)/2
}

// record counts one duration; a negative one counts as zero.
func (h *histogram) record(d time.Duration) {
	d = max(0, d)
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.counts[bucket(uint64(d))]++
	h.n++
}

func (h *histogram) merge(o *histogram) {
	if o.n == 0 {
		return
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

// quantile is the smallest recorded value (to bucket precision) that at least the share q of all values do not exceed; 0 when empty.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := min(h.n, max(1, uint64(math.Ceil(q*float64(h.n)))))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			return min(h.max, max(h.min, time.Duration(middle(i))))
		}
	}
	return h.max
}
