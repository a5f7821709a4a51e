package main

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistogramQuantiles(t *testing.T) {
	var thousand, one histogram
	for i := 1; i <= 1000; i++ {
		thousand.record(time.Duration(i) * time.Millisecond)
	}
	one.record(3 * time.Second)
	for _, c := range []struct {
		name string
		h    *histogram
		q    float64
		want time.Duration
	}{
		{"empty", &histogram{}, .5, 0},
		{"single value is exact", &one, .5, 3 * time.Second},
		{"lowest", &thousand, 0, time.Millisecond},
		{"median", &thousand, .5, 500 * time.Millisecond},
		{"p99", &thousand, .99, 990 * time.Millisecond},
		{"p99.9", &thousand, .999, 999 * time.Millisecond},
		{"highest", &thousand, 1, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.h.quantile(c.q)
			if off := math.Abs(float64(got - c.want)); off > float64(c.want)/200 {
				t.Errorf("quantile(%v) = %v, want %v within 0.5 %%", c.q, got, c.want)
			}
		})
	}
}

// Every duration falls into a bucket that stands for it within half a percent, and larger durations never into a lower bucket.
func TestBucketPrecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64Range(0, math.MaxInt64).Draw(t, "v")
		i := bucket(v)
		if i < 0 || i >= bucketSize {
			t.Fatalf("bucket(%d) = %d, out of range", v, i)
		}
		m := middle(i)
		if off := math.Abs(float64(m) - float64(v)); off > float64(v)/200 {
			t.Fatalf("%d is reported as %d", v, m)
		}
		if bucket(m) != i {
			t.Fatalf("middle of bucket %d lies in bucket %d", i, bucket(m))
		}
		if v > 0 && bucket(v-1) > i {
			t.Fatalf("bucket(%d) is above bucket(%d)", v-1, v)
		}
	})
}

func TestHistogramMerge(t *testing.T) {
	var all, odd, even, none histogram
	for i := range 999 {
		d := time.Duration(i*i) * time.Microsecond
		all.record(d)
		if i%2 == 0 {
			even.record(d)
		} else {
			odd.record(d)
		}
	}
	odd.merge(&even)
	odd.merge(&none)
	if odd != all {
		t.Error("a merged histogram differs from one that recorded everything")
	}
	all.record(-time.Second)
	if all.min != 0 || all.counts[0] != 2 {
		t.Error("a negative duration is not counted as zero")
	}
}
