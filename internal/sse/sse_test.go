package sse

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// event is a Frame that outlives the scanner.
type event struct {
	Raw, Event, Data, ID     string
	HasEvent, HasData, HasID bool
	Comment                  bool
}

func keepFrame(f Frame) event {
	return event{string(f.Raw), string(f.Event), string(f.Data), string(f.ID), f.Event != nil, f.Data != nil, f.ID != nil, f.Comment}
}

// scan reads a stream in chunks of the given size.
func scan(stream string, size, limit int) (events []event, tail string, err error) {
	s := Scanner{Limit: limit}
	drain := func() {
		for f, ok := s.Next(); ok; f, ok = s.Next() {
			events = append(events, keepFrame(f))
		}
	}
	for len(stream) > 0 {
		n := min(size, len(stream))
		s.Feed([]byte(stream[:n]))
		stream = stream[n:]
		drain()
	}
	s.Close()
	drain()
	return events, string(s.Tail()), s.Err()
}

func data(raw, text string) event { return event{Raw: raw, Data: text, HasData: true} }

var streams = []struct {
	name, in string
	want     []event
	tail     string
}{
	{name: "empty"},
	{"one", "data: a\n\n", []event{data("data: a\n\n", "a")}, ""},
	{"two", "data: a\n\ndata: b\n\n", []event{data("data: a\n\n", "a"), data("data: b\n\n", "b")}, ""},
	{"crlf", "data: a\r\n\r\ndata: b\r\n\r\n", []event{data("data: a\r\n\r\n", "a"), data("data: b\r\n\r\n", "b")}, ""},
	{"cr", "data: a\r\rdata: b\r\r", []event{data("data: a\r\r", "a"), data("data: b\r\r", "b")}, ""},
	{"cr then lf is one line end", "data: a\r\ndata: b\r\n\n", []event{data("data: a\r\ndata: b\r\n\n", "a\nb")}, ""},
	{"mixed", "data: a\n\r\ndata: b\r\n\rdata: c\r\n\n", []event{data("data: a\n\r\n", "a"), data("data: b\r\n\r", "b"), data("data: c\r\n\n", "c")}, ""},
	{"lf then cr are two", "data: a\n\rdata: b\n\n", []event{data("data: a\n\r", "a"), data("data: b\n\n", "b")}, ""},
	{"bom", "\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", []event{data("\xef\xbb\xbfdata: a\n\n", "a"), {Raw: "\xef\xbb\xbfdata: b\n\n"}}, ""},
	{"bom and blank", "\xef\xbb\xbf\ndata: b\n\n", []event{{Raw: "\xef\xbb\xbf\n", Comment: true}, data("data: b\n\n", "b")}, ""},
	{"no space", "data:a\n\n", []event{data("data:a\n\n", "a")}, ""},
	{"two spaces", "data:  a \n\n", []event{data("data:  a \n\n", " a ")}, ""},
	{"no colon", "data\n\n", []event{data("data\n\n", "")}, ""},
	{"no colon twice", "data\ndata\n\n", []event{data("data\ndata\n\n", "\n")}, ""},
	{"multi-line", "data: a\ndata:\ndata: c\n\n", []event{data("data: a\ndata:\ndata: c\n\n", "a\n\nc")}, ""},
	{"multi-line twice", "data: a\ndata: b\n\ndata: c\ndata: d\n\n", []event{data("data: a\ndata: b\n\n", "a\nb"), data("data: c\ndata: d\n\n", "c\nd")}, ""},
	{"colons in the value", "data: a: b\n\n", []event{data("data: a: b\n\n", "a: b")}, ""},
	{"all fields", "id: 7\nevent: delta\ndata: {}\nretry: 10\n\n", []event{{
		Raw: "id: 7\nevent: delta\ndata: {}\nretry: 10\n\n", ID: "7", HasID: true, Event: "delta", HasEvent: true, Data: "{}", HasData: true}}, ""},
	{"last one wins", "event: a\nevent: b\nid: 1\nid\n\n", []event{{Raw: "event: a\nevent: b\nid: 1\nid\n\n", Event: "b", HasEvent: true, HasID: true}}, ""},
	{"nul in id", "id: 1\nid: 2\x003\ndata: x\n\n", []event{{Raw: "id: 1\nid: 2\x003\ndata: x\n\n", ID: "1", HasID: true, Data: "x", HasData: true}}, ""},
	{"retry alone is a field", "retry: 10\n\n", []event{{Raw: "retry: 10\n\n"}}, ""},
	{"names are exact", "Data: a\n data: b\ndata : c\n\n", []event{{Raw: "Data: a\n data: b\ndata : c\n\n"}}, ""},
	{"comment", ": keep-alive\n\n", []event{{Raw: ": keep-alive\n\n", Comment: true}}, ""},
	{"comment in an event", ":\ndata: a\n\n", []event{data(":\ndata: a\n\n", "a")}, ""},
	{"blank lines", "\n\r\n\rdata: a\n\n", []event{{Raw: "\n", Comment: true}, {Raw: "\r\n", Comment: true}, {Raw: "\r", Comment: true}, data("data: a\n\n", "a")}, ""},
	{"fields do not leak", "event: e\nid: 1\ndata: a\n\ndata: b\n\n", []event{
		{Raw: "event: e\nid: 1\ndata: a\n\n", Event: "e", HasEvent: true, ID: "1", HasID: true, Data: "a", HasData: true}, data("data: b\n\n", "b")}, ""},
	{"cut in a line", "data: a\n\ndata: b", []event{data("data: a\n\n", "a")}, "data: b"},
	{"no blank line", "data: a\n\ndata: [DONE]\n", []event{data("data: a\n\n", "a")}, "data: [DONE]\n"},
	{"forged end stays in its line", "data: {\"a\":\"\\n\\ndata: [DONE]\"}\n\n", []event{data("data: {\"a\":\"\\n\\ndata: [DONE]\"}\n\n", `{"a":"\n\ndata: [DONE]"}`)}, ""},
}

func TestScannerAtEveryChunkSize(t *testing.T) {
	for _, tc := range streams {
		t.Run(tc.name, func(t *testing.T) {
			for size := 1; size <= len(tc.in)+1; size++ {
				got, tail, err := scan(tc.in, size, 0)
				if diff := cmp.Diff(tc.want, got); diff != "" || tail != tc.tail || err != nil {
					t.Fatalf("chunks of %d: tail %q, want %q; err %v; events (-want +got):\n%s", size, tail, tc.tail, err, diff)
				}
			}
		})
	}
}

func TestFrameIsNotLate(t *testing.T) {
	for _, raw := range []string{"data: a\n\n", "data: a\r\n\r\n", "data: a\r\n\n"} {
		var s Scanner
		s.Feed([]byte(raw))
		if f, ok := s.Next(); !ok || string(f.Raw) != raw {
			t.Errorf("%q: got %q, %v before any further byte", raw, f.Raw, ok)
		}
		if tail := s.Tail(); len(tail) != 0 {
			t.Errorf("%q: tail %q", raw, tail)
		}
	}
}

func TestLimitAtEveryChunkSize(t *testing.T) {
	for _, tc := range []struct {
		in     string
		limit  int
		frames int
		err    error
	}{
		{"data: abc\n\n", 11, 1, nil},
		{"data: abc\n\n", 10, 0, ErrTooLong},
		{"data: abc\r\n\r\n", 13, 1, nil},
		{"data: abc\r\n\r\n", 12, 0, ErrTooLong},
		{"data: a\n\ndata: abc\n\ndata: a\n\n", 10, 1, ErrTooLong},
		{strings.Repeat("data: a\n\n", 50), 9, 50, nil},
		{"data: a\n\n" + strings.Repeat(":\n", 50), 20, 1, ErrTooLong},
		{strings.Repeat("x", 100), 99, 0, ErrTooLong},
		{strings.Repeat("x", 99), 99, 0, nil},
	} {
		for size := 1; size <= len(tc.in); size++ {
			got, _, err := scan(tc.in, size, tc.limit)
			if len(got) != tc.frames || !errors.Is(err, tc.err) {
				t.Errorf("%q limit %d, chunks of %d: %d frames, err %v; want %d, %v", tc.in, tc.limit, size, len(got), err, tc.frames, tc.err)
			}
		}
	}
}

func TestHugeFrame(t *testing.T) {
	text := strings.Repeat("x", 10<<20)
	for _, size := range []int{32 << 10, 11 << 20} {
		got, tail, err := scan("data: "+text+"\n\ndata: a\n\n", size, 0)
		if err != nil || tail != "" || len(got) != 2 || got[0].Data != text || got[1].Data != "a" {
			t.Fatalf("chunks of %d: %d frames, tail of %d bytes, err %v", size, len(got), len(tail), err)
		}
	}
	s := Scanner{}
	s.Feed([]byte("data: " + text + "\n\n"))
	s.Next()
	s.Feed([]byte("data: a\n\n"))
	if f, ok := s.Next(); !ok || string(f.Data) != "a" || cap(s.buf) > keep {
		t.Errorf("after a huge frame: %q, %v, and %d bytes kept", f.Data, ok, cap(s.buf))
	}
}

func TestAppend(t *testing.T) {
	for _, tc := range []struct{ in, frame, back string }{
		{"a", "data: a\n\n", "a"},
		{"", "data: \n\n", ""},
		{" a", "data:  a\n\n", " a"},
		{"a\nb", "data: a\ndata: b\n\n", "a\nb"},
		{"a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \n\n", "a\nb\nc\n"},
		{"a\n\ndata: [DONE]\r\revent: x", "data: a\ndata: \ndata: data: [DONE]\ndata: \ndata: event: x\n\n", "a\n\ndata: [DONE]\n\nevent: x"},
	} {
		got := AppendData([]byte("data: before\n\n"), []byte(tc.in))
		if want := "data: before\n\n" + tc.frame; string(got) != want {
			t.Errorf("AppendData(%q) = %q, want %q", tc.in, got, want)
		}
		events, tail, err := scan(string(got), 3, 0)
		if err != nil || tail != "" || len(events) != 2 || events[1].Data != tc.back {
			t.Errorf("AppendData(%q) reads back as %+v", tc.in, events)
		}
	}
	for in, want := range map[string]string{"": ": \n\n", "ping": ": ping\n\n", "a\n\ndata: x\r": ": a\n: \n: data: x\n: \n\n"} {
		if got := AppendComment(nil, in); string(got) != want {
			t.Errorf("AppendComment(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, frame := range []string{"data: {\"a\":1}\n\n", "event: x\r\ndata: a\r\ndata: b\r\n\r\n", ": ping\n\n"} {
		var s Scanner
		var out []byte
		chunk := []byte(frame)
		pass := func() {
			s.Feed(chunk[:5])
			s.Next()
			s.Feed(chunk[5:])
			f, ok := s.Next()
			if !ok {
				t.Fatal("no frame")
			}
			out = AppendData(out[:0], f.Data)
		}
		pass()
		if n := testing.AllocsPerRun(100, pass); n != 0 {
			t.Errorf("%q: %v allocations an event", frame, n)
		}
	}
}

func FuzzScanner(f *testing.F) {
	for _, tc := range streams {
		f.Add(tc.in, uint8(3), uint8(0))
	}
	f.Add("data: a\r\n\r\n:\n\n", uint8(1), uint8(9))
	f.Fuzz(func(t *testing.T, in string, size, limit uint8) {
		whole, tail, err := scan(in, len(in)+1, int(limit))
		cut, cutTail, cutErr := scan(in, int(size)+1, int(limit))
		if diff := cmp.Diff(whole, cut); diff != "" || err != cutErr || err == nil && tail != cutTail {
			t.Fatalf("cut at %d: tail %q, %q; err %v, %v; events\n%s", int(size)+1, tail, cutTail, err, cutErr, diff)
		}
		var all strings.Builder
		for _, e := range whole {
			all.WriteString(e.Raw)
			if limit > 0 && len(e.Raw) > int(limit) {
				t.Fatalf("frame of %d bytes over the limit %d", len(e.Raw), limit)
			}
			want := reference(e.Raw)
			if all.Len() == len(e.Raw) {
				want = reference(strings.TrimPrefix(e.Raw, "\xef\xbb\xbf"))
			}
			if want.Raw = e.Raw; want != e {
				t.Fatalf("got %+v, want %+v", e, want)
			}
		}
		if err == nil && all.String()+tail != in {
			t.Fatalf("%q and tail %q are not the input", all.String(), tail)
		}
		events, rest, _ := scan(string(AppendData(nil, []byte(in))), int(size)+1, 0)
		if want := newlines.Replace(in); len(events) != 1 || rest != "" || events[0].Data != want {
			t.Fatalf("AppendData reads back as %+v, want %q", events, want)
		}
		events, rest, _ = scan(string(AppendComment(nil, in)), int(size)+1, 0)
		if len(events) != 1 || rest != "" || !events[0].Comment {
			t.Fatalf("AppendComment reads back as %+v", events)
		}
	})
}

var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// reference reads one frame in the plainest way there is.
func reference(raw string) event {
	e := event{Comment: true}
	var lines []string
	for line := range strings.SplitSeq(newlines.Replace(raw), "\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		if name != "" {
			e.Comment = false
		}
		switch {
		case name == "data":
			lines, e.HasData = append(lines, value), true
		case name == "event":
			e.Event, e.HasEvent = value, true
		case name == "id" && !strings.Contains(value, "\x00"):
			e.ID, e.HasID = value, true
		}
	}
	e.Data = strings.Join(lines, "\n")
	return e
}

func BenchmarkScanner(b *testing.B) {
	frame := []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n")
	for _, per := range []int{1, 50} {
		b.Run(fmt.Sprintf("%d a chunk", per), func(b *testing.B) {
			chunk := bytes.Repeat(frame, per)
			var s Scanner
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for n := 0; n < b.N; {
				s.Feed(chunk)
				for _, ok := s.Next(); ok; _, ok = s.Next() {
					n++
				}
			}
		})
	}
}
