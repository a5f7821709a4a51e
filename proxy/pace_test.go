package proxy

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

func TestPace(t *testing.T) {
	g := &Gateway{}
	m := &policies.Model{Name: "large", Provider: &policies.Provider{Name: "out"}}
	if got := g.pace(m); got != (policies.ModelPace{}) {
		t.Errorf("nothing was seen yet: %+v", got)
	}
	g.paces.saw(m, time.Second, 100)
	if got := g.pace(m); got != (policies.ModelPace{First: time.Second, Out: 100}) {
		t.Errorf("after one answer: %+v", got)
	}
	g.paces.saw(m, 2*time.Second, 0) // an answer that told no tokens
	if got := g.pace(m); got != (policies.ModelPace{First: 1100 * time.Millisecond, Out: 100}) {
		t.Errorf("after two: %+v", got)
	}
	for range 200 {
		g.paces.saw(m, 4*time.Second, 200)
	}
	if got := g.pace(m); got.First.Round(time.Millisecond) != 4*time.Second || got.Out < 199 {
		t.Errorf("after many of another kind: %+v", got)
	}
}
