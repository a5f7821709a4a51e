package regret

import "math"

// UpperBound returns the Clopper-Pearson upper bound on a rate of which k of n draws were hits: the largest rate under which k or fewer hits
// are not rarer than alpha. It is 1 without draws.
func UpperBound(k, n int, alpha float64) float64 {
	if n <= 0 || k >= n {
		return 1
	}
	// P(X <= k) falls as the rate grows, and is the regularised incomplete beta function of the rest.
	low, high := float64(k)/float64(n), 1.0
	for range 60 {
		mid := (low + high) / 2
		if incompleteBeta(float64(n-k), float64(k+1), 1-mid) > alpha {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// incompleteBeta is the regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method).
func incompleteBeta(a, b, x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2): // the fraction converges fast on the other side of the mean
		return 1 - incompleteBeta(b, a, 1-x)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a
	const tiny = 1e-300
	c, d := 1.0, 1-(a+b)*x/(a+1)
	if math.Abs(d) < tiny {
		d = tiny
	}
	d = 1 / d
	f := d
	for m := 1.0; m < 10_000; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		last := 1.0
		for _, t := range [...]float64{even, odd} {
			if d = 1 + t*d; math.Abs(d) < tiny {
				d = tiny
			}
			if c = 1 + t/c; math.Abs(c) < tiny {
				c = tiny
			}
			d = 1 / d
			last = c * d
			f *= last
		}
		if math.Abs(last-1) < 1e-14 {
			break
		}
	}
	return front * f
}
