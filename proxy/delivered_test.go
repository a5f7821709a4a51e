package proxy

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// said draws an answer as runs of one kind: what models say and clients put together again.
func said(t *rapid.T) []llm.Event {
	kinds := []llm.EventKind{llm.EventReasoning, llm.EventText, llm.EventRefusal, llm.EventTool}
	var runs []llm.Event
	for i := range rapid.IntRange(1, 5).Draw(t, "runs") {
		e := llm.Event{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Tool: i, Text: rapid.SliceOfN(rapid.SampledFrom([]byte("ab ")), 1, 12).Draw(t, "text")}
		if e.Kind != llm.EventTool {
			e.Tool = 0
		}
		if n := len(runs); n > 0 && runs[n-1].Kind == e.Kind && e.Kind != llm.EventTool {
			runs[n-1].Text = append(runs[n-1].Text, e.Text...)
			continue
		}
		runs = append(runs, e)
	}
	return runs
}

// cut draws the events in which a server may say the runs.
func cut(t *rapid.T, runs []llm.Event, name string) (events []llm.Event) {
	for _, r := range runs {
		for first := true; len(r.Text) > 0; first = false {
			n := rapid.IntRange(1, len(r.Text)).Draw(t, name)
			e := llm.Event{Kind: r.Kind, Tool: r.Tool, Text: r.Text[:n]}
			if first && r.Kind == llm.EventTool {
				e.ToolID, e.ToolName = "id of "+name, "f"
			}
			events = append(events, e)
			r.Text = r.Text[n:]
		}
	}
	return events
}

// TestFollow: whoever says the same again is heard from the byte that the client has not got, however both were cut; whoever differs in a byte that
// the client has is not heard at all.
func TestFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := said(t)
		events := cut(t, runs, "first")
		broke := rapid.IntRange(1, len(events)).Draw(t, "broke")
		var d delivered
		d.open(true)
		whole, had := 0, 0
		for i := range events {
			whole += len(events[i].Text)
			if i < broke {
				d.keep(&events[i], &policies.Model{})
				had += len(events[i].Text)
			}
		}
		again := cut(t, runs, "again")
		differs := rapid.Bool().Draw(t, "differs")
		if at := rapid.IntRange(0, had-1).Draw(t, "at"); differs {
			for i := range again {
				if n := len(again[i].Text); at >= n {
					at -= n
					continue
				}
				again[i].Text = append([]byte(nil), again[i].Text...)
				again[i].Text[at] = '!'
				break
			}
		}
		var c cursor
		var heard []llm.Event
		for _, e := range again {
			left, fresh, ok := d.follow(&c, e)
			if !ok {
				if !differs || len(heard) > 0 {
					t.Fatalf("not the same: %+v", e)
				}
				return
			}
			if fresh {
				heard = append(heard, left)
				d.keep(&left, &policies.Model{})
			}
		}
		if differs {
			t.Fatal("another answer was taken for the same")
		}
		if len(d.text) != whole {
			t.Fatalf("%d bytes of %d", len(d.text), whole)
		}
		at := 0
		for _, r := range runs {
			if got := d.text[at : at+len(r.Text)]; string(got) != string(r.Text) {
				t.Fatalf("%q, want %q", got, r.Text)
			}
			at += len(r.Text)
		}
		for _, e := range heard {
			if e.Kind == llm.EventTool && e.ToolID != "" && d.begins(len(d.runs)-1) < had && e.Tool == d.runs[len(d.runs)-1].tool {
				t.Fatalf("a call that the client knows is told again: %+v", e)
			}
		}
	})
}
