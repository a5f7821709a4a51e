package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOverloadReport(t *testing.T) {
	flat := func(times float64, good int) flood {
		return flood{times: times, offered: int(times * toilRate * overloadPhase.Seconds()), good: good, rss: 50 << 20}
	}
	for _, c := range []struct {
		name   string
		floods []flood
		want   string
		met    bool
	}{
		{"held", []flood{flat(1, 800), flat(2, 700), {times: .5, offered: 200, good: 200}, flat(10, 640)}, "at least 0.8 of the peak | 0.80 | yes |", true},
		{"collapsed", []flood{flat(1, 800), flat(10, 600)}, "at least 0.8 of the peak | 0.75 | **no** |", false},
		{"fat", []flood{flat(1, 800), {times: 2, offered: 1600, good: 800, rss: 200 << 20}}, "yes |\n| RSS above the idle process | at most `server.memory`, 67 MB | 178.3 MB | **no** |", false},
	} {
		var b strings.Builder
		r := &results{}
		if met := r.overloadReport(&b, c.floods, 30<<20); met != c.met || !strings.Contains(b.String(), c.want) {
			t.Errorf("%s: met %t, the report lacks %q:\n%s", c.name, met, c.want, b.String())
		}
	}
}

// A crowd beyond the places takes the square of what it would take, and is not taken for an answer when its client has left.
func TestToil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNull()
		begin := time.Now()
		if !n.toil(t.Context()) || time.Since(begin) != toilTime {
			t.Errorf("alone it took %v", time.Since(begin))
		}
		n.toiling.Store(2*toilPlaces - 1)
		begin = time.Now()
		if !n.toil(t.Context()) || time.Since(begin) != 4*toilTime {
			t.Errorf("in a crowd of twice the places it took %v", time.Since(begin))
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []string{"", "1"} {
			r := &refusals{inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if after != "" {
					w.Header().Set("Retry-After", after)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
			}))}
			c, err := newClient(r, "http://bench"+chatPath, overloadModel, 1<<10)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.call(t.Context(), 0); err == nil || errors.Is(err, errRefused) != (after != "") {
				t.Errorf("Retry-After %q: %v", after, err)
			}
		}
	})
}
