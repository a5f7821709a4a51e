package openai

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// TestRecycled: a decoder that has read something else before, well or badly, reads as a new one does.
func TestRecycled(t *testing.T) {
	files, _ := filepath.Glob("testdata/*")
	used := func(stream bool, first string) llm.Decoder {
		if stream {
			d := new(streamDecoder)
			d.op = llm.OpOpaque
			_, _ = d.Append(nil, []byte(first), false)
			d.recycle()
			return d
		}
		d := new(jsonDecoder)
		_, _ = d.Append(nil, []byte(first), true)
		d.recycle()
		return d
	}
	all := func(d llm.Decoder, answer []byte) string {
		var b strings.Builder
		events, err := d.Append(nil, answer, true)
		for i := range events {
			fmt.Fprintf(&b, "%s %s\n", line(&events[i]), events[i].Raw)
		}
		return fmt.Sprint(b.String(), err)
	}
	for _, f := range files {
		op, stream := opOf(f)
		if op == llm.OpModels {
			continue
		}
		answer := read(t, filepath.Base(f))
		for _, first := range []string{
			"event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":{\"input_tokens\":7}}}\n\ndata: cu", "data: a\ndata: b\n\n", "{", `{"choices":[]}`, "<html>",
			`{"choices":[{"message":{"content":"` + strings.Repeat(`\n`, 3<<20) + `"}}],"usage":{"prompt_tokens":1}}`, "data: {\"choices\":[{\"index\":3,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
		} {
			d := used(stream, first)
			switch d := d.(type) {
			case *streamDecoder:
				d.op = op
			case *jsonDecoder:
				d.op = op
				if cap(d.body) > keepBody || cap(d.reader.scratch) > keepBody {
					t.Fatal("a recycled decoder keeps a huge buffer")
				}
			}
			if diff := cmp.Diff(all(Codec{}.NewDecoder(op, stream), answer), all(d, answer)); diff != "" {
				t.Fatalf("%s after %.40q (-new +recycled):\n%s", f, first, diff)
			}
		}
	}
}

// TestRecycleLeavesErrorsAlone: an error outlives the answer that it was read from.
func TestRecycleLeavesErrorsAlone(t *testing.T) {
	for _, stream := range []bool{false, true} {
		answer := `{"error":{"message":"the words of the provider","type":"server_error","code":500}}`
		if stream {
			answer = "data: " + answer + "\n\n"
		}
		d := Codec{}.NewDecoder(llm.OpChat, stream)
		events, err := d.Append(nil, []byte(answer), true)
		if err != nil && !stream || len(events) != 1 || events[0].Err == nil {
			t.Fatal(events, err)
		}
		raw, e := events[0].Raw, events[0].Err
		want := e.Error()
		for i := range raw {
			raw[i] = 'X' // as the next answer would
		}
		if e.Error() != want || !strings.Contains(want, "the words of the provider") {
			t.Errorf("the error became %q", e.Error())
		}
		Recycle(d)
	}
	Recycle(nil)
}

func TestExpect(t *testing.T) {
	answer := jsonAnswer(100<<10, false)
	for _, n := range []int{-1, 0, 10, len(answer), 1 << 40} {
		d := &jsonDecoder{op: llm.OpChat}
		Expect(d, n)
		if n == len(answer) && cap(d.body) < n || cap(d.body) > 2*len(answer) {
			t.Errorf("expecting %d bytes made room for %d", n, cap(d.body))
		}
		if _, err := d.Append(nil, answer[:1000], false); err != nil {
			t.Fatal(err)
		}
		Expect(d, 1000) // too late, and no harm
		events, err := d.Append(nil, answer[1000:], true)
		if err != nil || !bytes.Equal(events[0].Raw, answer) {
			t.Errorf("expecting %d bytes: %v", n, err)
		}
	}
	Expect(Codec{}.NewDecoder(llm.OpChat, true), 100)
	Expect(nil, 100)
}

// TestViews: text that needs no unescaping is not copied, and what is put together from several data fields is.
func TestViews(t *testing.T) {
	within := func(whole, part []byte) bool {
		return bytes.Contains(whole, part) && &part[0] == &whole[bytes.Index(whole, part)]
	}
	for _, answer := range []string{`{"choices":[{"message":{"content":"plain text"},"logprobs":{"a":[]}}],"usage":{"prompt_tokens":1}}`} {
		events, err := Codec{}.NewDecoder(llm.OpChat, false).Append(nil, []byte(answer), true)
		if err != nil || !within(events[0].Raw, events[1].Text) || !within(events[0].Raw, events[1].Logprobs) || !within(events[0].Raw, events[3].Text) {
			t.Errorf("%v: text is a copy", err)
		}
	}
	joined := "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"first\"}}]}\n\n"
	d := Codec{}.NewDecoder(llm.OpChat, true)
	events, err := d.Append(nil, []byte(joined+strings.Replace(joined, "first", "other", 1)+strings.Replace(joined, "first", "third", 1)), false)
	if err != nil || len(events) != 4 || string(events[1].Text)+string(events[2].Text)+string(events[3].Text) != "firstotherthird" {
		t.Errorf("%v %v", events, err)
	}
}

// The race detector makes sync.Pool drop items at random, so allocations are counted without it.
func TestAnswersAllocateLittle(t *testing.T) {
	if !pooled {
		t.Skip("no pools")
	}
	for _, c := range []struct {
		name   string
		stream bool
		answer []byte
		most   float64
	}{
		{"1 KB", false, jsonAnswer(700, true), 2}, // the id and the model
		{"100 KB", false, jsonAnswer(100<<10, false), 2},
		{"100 KB with escapes", false, jsonAnswer(100<<10, true), 2},
		{"500 events", true, streamAnswer(500), 2},
	} {
		var events []llm.Event
		run := func() { events = decodeIn(t, events, c.stream, c.answer, 4096) }
		run()
		// The pool may be emptied by a collection between two runs, so a share of one allocation is let through.
		if n := testing.AllocsPerRun(100, run); n > c.most+0.9 {
			t.Errorf("%s: %v allocations, at most %v wanted", c.name, n, c.most)
		}
	}
}

// FuzzDelta: what the short way takes is what the long way makes of it.
func FuzzDelta(f *testing.F) {
	for _, s := range []string{textChunk, roleChunk, stopChunk} {
		f.Add([]byte(strings.TrimSpace(s[len("data: "):])), false)
	}
	for _, s := range []string{
		`{"choices":[{"index":1,"delta":{"content":null,"reasoning_content":"x\n","tool_calls":null},"logprobs":null}],"usage":null}`,
		`{"choices":[{"index":"a","delta":{"content":"","reasoning":"x","reasoning_content":""}}],"usage":{}}`, `{"choices":[{"text":"t","index":-4}],"x":[{}]}`,
		`{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}`, `{"choices":[{"delta":{"content":"a"},"delta":{"content":"b"}}]}`, `{"choices":[{"delta":{"content":"a","content":7}}],"choices":[]}`,
		`{"choices":[{"delta":{"cont\u0065nt":"a","refusal":"no"}}]}`, `{"choices":[{"delta":{"content":"a"}}]`, `{"choices":[{"delta":{"content":"a"}}],"error":false}`, `{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}`,
	} {
		f.Add([]byte(s), strings.Contains(s, "text"))
	}
	f.Fuzz(func(t *testing.T, data []byte, completions bool) {
		op := llm.OpChat
		if completions {
			op = llm.OpCompletions
		}
		short, long := streamDecoder{op: op, started: true}, streamDecoder{op: op, started: true}
		var got []llm.Event
		if !short.usual(&got, data) {
			return
		}
		if !jsonedit.Valid(data, answerDepth) {
			t.Fatalf("%q is no JSON", data)
		}
		want, err := long.chunk(nil, nil, data)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("%q: %v (-long +short)\n%s", data, err, diff)
		}
		if diff := cmp.Diff(fmt.Sprint(long.choices), fmt.Sprint(short.choices)); diff != "" {
			t.Fatal(diff)
		}
	})
}
