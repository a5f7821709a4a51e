package proxy

import (
	"net/http"
	"testing"

	"github.com/sluice-gateway/sluice/internal/queue"
	"github.com/sluice-gateway/sluice/policies"
)

// TestClassOf: a label is the most that its key may claim, also one that is no class, as a token may say.
func TestClassOf(t *testing.T) {
	s := &Snapshot{Policy: &policies.Policy{Server: policies.Server{Criticality: "X-Priority"}}}
	for _, tc := range []struct {
		claims string
		labels map[string]string
		want   queue.Class
	}{
		{"critical", nil, queue.Critical},
		{"critical", map[string]string{"team": "blue"}, queue.Critical},
		{"critical", map[string]string{"criticality": "batch"}, queue.Batch},
		{"batch", map[string]string{"criticality": "critical"}, queue.Batch},
		{"critical", map[string]string{"criticality": "urgent"}, queue.Default},
		{"sheddable", map[string]string{"criticality": ""}, queue.Sheddable},
		{"urgent", nil, queue.Default},
	} {
		x := &Exchange{s: s, head: Head{Header: http.Header{"X-Priority": {tc.claims}}}, key: &policies.Key{Labels: tc.labels}}
		if got := x.classOf(); got != tc.want {
			t.Errorf("%s with %v: %v, want %v", tc.claims, tc.labels, got, tc.want)
		}
	}
}
