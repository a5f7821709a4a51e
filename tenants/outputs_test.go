package tenants

import "testing"

func TestOutputs(t *testing.T) {
	o := NewOutputs()
	if o.P95("a") != UnknownOutput || o.Cost("a", 10) != 0 {
		t.Error("something is known of nothing")
	}
	for range 95 {
		o.Observe("a", 100)
	}
	for range 5 {
		o.Observe("a", 4000)
	}
	if n := o.P95("a"); n < 100 || n > 112 {
		t.Errorf("95 of 100 are 100 long: %d", n)
	}
	o.Observe("a", 4000)
	if n := o.P95("a"); n < 4000 || n > 4500 {
		t.Errorf("less than 95 of 100 are 100 long: %d", n)
	}
	for range 50_000 {
		o.Observe("a", 7)
	}
	if n := o.P95("a"); n != 7 {
		t.Errorf("old answers still weigh: %d", n)
	}
	for n := range 100_000 {
		if c := lengthOf(lengthClass(n)); c < n || c > n+n/8 {
			t.Fatalf("%d is in the class of %d", n, c)
		}
	}
	o.Spent("b", 100, 500)
	o.Spent("b", 0, 500)
	if c := o.Cost("b", 10); c != 50 {
		t.Errorf("cost %d", c)
	}
}
