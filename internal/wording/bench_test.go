package wording

import "testing"

func BenchmarkOf(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Of("Could you please tell me how I can sort a list of 1,000 numbers in Python?")
	}
}
