// Package sse cuts a byte stream into server-sent-event frames, and writes frames.
//
// Invariant: the frames, joined, are exactly the bytes that were fed, and they do not depend on how the bytes were cut into chunks.
// The grammar is the WHATWG one: lines end in LF, CRLF or CR, in any mixture, and a blank line ends a frame.
package sse

import (
	"bytes"
	"errors"
)

// DefaultLimit is the largest frame in bytes of a Scanner whose Limit is 0.
const DefaultLimit = 32 << 20

// keep is the buffer capacity in bytes that an idle Scanner holds on to; one huge event must not pin memory for the rest of a long stream.
const keep = 1 << 20

// ErrTooLong is the error of a Scanner that met a frame longer than its Limit. The scanner does not recover from it.
var ErrTooLong = errors.New("event is longer than the limit")

// Frame is one event or one run of comments. Its slices are views that the next call of Feed or Next makes invalid.
type Frame struct {
	// Raw is the whole frame with the blank line that ends it, as received. A byte order mark at the stream's start is part of it.
	Raw []byte
	// Event is the value of the last event field, nil without one.
	Event []byte
	// Data is the value of the data fields, joined by LF. It is nil without a data field, and empty but not nil for an empty one.
	Data []byte
	// ID is the value of the last id field that holds no NUL, nil without one.
	ID []byte
	// Comment says that the frame has no field at all: only comments, or only its blank line.
	Comment bool
	// Joined says that Data was put together from several fields: then it is a copy that the next Next overwrites, and not a part of Raw.
	Joined bool
}

// Scanner is an incremental reader of frames: Feed it what arrived, then call Next until it returns false. The zero value is ready.
//
// A CR that ends the bytes fed so far may be half of a CRLF, so its line stays open until the next byte or Close. A stream that
// uses the lone CR, which no known provider does, is therefore seen one event late.
type Scanner struct {
	// Limit is the largest frame in bytes; 0 means DefaultLimit.
	Limit int

	buf    []byte
	start  int // of the frame being read
	line   int // start of the line being read
	seen   int // buf[line:seen] holds no line end
	lf     int // first LF at or after seen; when lf >= len(buf) or lf < seen it is not known
	begun  bool
	closed bool
	err    error
	cur    fields
	joined []byte // data of more than one line
}

// fields collects one frame, as offsets into the buffer since Feed may move it.
type fields struct {
	event, data, id span
	lines           int // data fields so far
	any             bool
}

// span is a half-open range of the buffer; ok tells an empty value from none.
type span struct {
	from, to int
	ok       bool
}

func (p span) of(b []byte) []byte {
	if !p.ok {
		return nil
	}
	return b[p.from:p.to:p.to]
}

func (p span) shift(n int) span { return span{p.from - n, p.to - n, p.ok} }

// Feed appends the next bytes of the stream, which it copies. Views of earlier frames become invalid. After an error or Close it does nothing.
func (s *Scanner) Feed(chunk []byte) {
	if s.err != nil || s.closed || len(chunk) == 0 {
		return
	}
	if n := s.start; n > 0 {
		rest := s.buf[n:]
		if cap(s.buf) > keep && len(rest)+len(chunk) <= keep {
			s.buf = append(make([]byte, 0, len(rest)+len(chunk)), rest...)
		} else {
			s.buf = s.buf[:copy(s.buf, rest)]
		}
		s.start, s.line, s.seen = 0, s.line-n, s.seen-n
		s.lf = max(s.lf-n, 0)
		s.cur.event, s.cur.data, s.cur.id = s.cur.event.shift(n), s.cur.data.shift(n), s.cur.id.shift(n)
	}
	s.buf = append(s.buf, chunk...)
}

// Reset readies the scanner for another stream of the same Limit. It keeps its buffers, but for huge ones.
func (s *Scanner) Reset() {
	buf, joined := s.buf[:0], s.joined[:0]
	if cap(buf) > keep {
		buf = nil
	}
	if cap(joined) > keep {
		joined = nil
	}
	*s = Scanner{Limit: s.Limit, buf: buf, joined: joined}
}

// Close says that the stream has ended. A frame whose last byte is a CR is then complete; a frame without its blank line stays in Tail.
func (s *Scanner) Close() { s.closed = true }

// Err is nil or ErrTooLong.
func (s *Scanner) Err() error { return s.err }

// Tail is, once Next has returned false, the bytes of the frame that has not ended. At the end of a stream it is empty unless the
// stream was cut or its last frame lacks the blank line. It is a view like those of a Frame.
func (s *Scanner) Tail() []byte { return s.buf[s.start:] }

// Next returns the next complete frame. False means that more bytes are needed, or that Err is set.
func (s *Scanner) Next() (Frame, bool) {
	for s.err == nil {
		end, next, ok := s.lineEnd()
		if !ok {
			break
		}
		from := s.line
		if !s.begun {
			s.begun = true
			if bytes.HasPrefix(s.buf[from:end], bom) {
				from += len(bom)
			}
		}
		s.line, s.seen = next, next
		if from < end {
			s.field(from, end)
			continue
		}
		if next-s.start > s.limit() {
			break
		}
		return s.frame(next), true
	}
	if len(s.buf)-s.start > s.limit() {
		s.err = ErrTooLong
	}
	return Frame{}, false
}

// bom is the byte order mark that may open a stream, in UTF-8.
var bom = []byte("\xef\xbb\xbf")

func (s *Scanner) limit() int {
	if s.Limit > 0 {
		return s.Limit
	}
	return DefaultLimit
}

// lineEnd finds the end of the current line and the start of the next. The position of the next LF is remembered, so that a stream
// of lone CRs is read once and not once a line.
func (s *Scanner) lineEnd() (end, next int, ok bool) {
	if s.lf < s.seen || s.lf >= len(s.buf) || s.buf[s.lf] != '\n' {
		if from := max(s.lf, s.seen); from < len(s.buf) {
			s.lf = len(s.buf)
			if i := bytes.IndexByte(s.buf[from:], '\n'); i >= 0 {
				s.lf = from + i
			}
		}
	}
	stop := min(max(s.lf, s.seen), len(s.buf))
	if i := bytes.IndexByte(s.buf[s.seen:stop], '\r'); i >= 0 {
		end = s.seen + i
		switch {
		case end+1 < len(s.buf) && s.buf[end+1] == '\n':
			return end, end + 2, true
		case end+1 < len(s.buf) || s.closed:
			return end, end + 1, true
		}
		s.seen = end
		return 0, 0, false
	}
	s.seen = stop
	if stop < len(s.buf) {
		return stop, stop + 1, true
	}
	return 0, 0, false
}

// field books the line buf[from:end], which is not empty.
func (s *Scanner) field(from, end int) {
	line := s.buf[from:end]
	colon := bytes.IndexByte(line, ':')
	if colon == 0 {
		return
	}
	s.cur.any = true
	value := span{end, end, true}
	name := line
	if colon > 0 {
		name = line[:colon]
		value.from = from + colon + 1
		if value.from < end && s.buf[value.from] == ' ' {
			value.from++
		}
	}
	switch string(name) {
	case "data":
		s.data(value)
	case "event":
		s.cur.event = value
	case "id":
		if bytes.IndexByte(value.of(s.buf), 0) < 0 {
			s.cur.id = value
		}
	}
}

// data books a data field: the first one stays a view, and a second one makes a copy of them all.
func (s *Scanner) data(value span) {
	s.cur.lines++
	switch s.cur.lines {
	case 1:
		s.cur.data = value
		return
	case 2:
		s.joined = append(s.joined[:0], s.cur.data.of(s.buf)...)
	}
	s.joined = append(s.joined, '\n')
	s.joined = append(s.joined, value.of(s.buf)...)
}

// frame hands out the frame that ends before next and begins another.
func (s *Scanner) frame(next int) Frame {
	f := Frame{
		Raw:     s.buf[s.start:next:next],
		Event:   s.cur.event.of(s.buf),
		Data:    s.cur.data.of(s.buf),
		ID:      s.cur.id.of(s.buf),
		Comment: !s.cur.any,
	}
	if s.cur.lines > 1 {
		f.Joined = true
		f.Data = s.joined[:len(s.joined):len(s.joined)]
		if cap(s.joined) > keep {
			s.joined = nil
		}
	}
	s.start, s.cur = next, fields{}
	return f
}

// AppendData appends an event that holds only data. A line end within data, of any form, begins another data field and is read back
// as LF, so that data cannot forge a field or end the event.
func AppendData(dst, data []byte) []byte {
	return append(appendLines(dst, "data: ", data), '\n')
}

// AppendComment appends a frame that clients ignore, for keep-alive. It is safe at the start of a frame only.
func AppendComment(dst []byte, text string) []byte {
	return append(appendLines(dst, ": ", text), '\n')
}

// appendLines appends every line of text after the prefix, each ended by LF.
func appendLines[T ~string | ~[]byte](dst []byte, prefix string, text T) []byte {
	dst = append(dst, prefix...)
	from := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\n' && c != '\r' {
			continue
		}
		dst = append(append(append(dst, text[from:i]...), '\n'), prefix...)
		if c == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		from = i + 1
	}
	return append(append(dst, text[from:]...), '\n')
}
