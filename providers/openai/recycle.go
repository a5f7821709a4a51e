package openai

import (
	"sync"

	"github.com/sluice-gateway/sluice/llm"
)

// keepBody is the largest buffer in bytes that a recycled decoder holds on to, and the largest that Expect takes an upstream's word for.
const keepBody = 1 << 20

// The decoders that Recycle was given, with their buffers.
var (
	streamDecoders = sync.Pool{New: func() any { return new(streamDecoder) }}
	jsonDecoders   = sync.Pool{New: func() any { return new(jsonDecoder) }}
)

// Recycle gives a decoder of this package back, for a later answer. The decoder must not be used again, and the views in its events are
// void from now on. Not calling it costs no more than garbage; another's decoder and nil are left alone.
func Recycle(d llm.Decoder) {
	switch d := d.(type) {
	case *streamDecoder:
		d.recycle()
		streamDecoders.Put(d)
	case *jsonDecoder:
		d.recycle()
		jsonDecoders.Put(d)
	}
}

// Expect tells a decoder of this package that the answer will be n bytes long, as its Content-Length says. It is a hint: the answer may be of
// any length, and an n that is negative or very large means nothing.
func Expect(d llm.Decoder, n int) {
	if j, ok := d.(*jsonDecoder); ok && n > cap(j.body) && n <= keepBody && len(j.body) == 0 {
		j.body = make([]byte, 0, n)
	}
}

// ExpectChoices tells a decoder of this package how many choices the request asked for, where it is more than one.
func ExpectChoices(d llm.Decoder, n int) {
	if s, ok := d.(*streamDecoder); ok {
		s.asked = n
	}
}

func (d *streamDecoder) recycle() {
	clear(d.choices)
	d.frames.Reset()
	d.reader.reset()
	d.reader.usage = llm.Usage{}
	*d = streamDecoder{frames: d.frames, reader: d.reader, choices: d.choices[:0], mould: mould{before: d.mould.before[:0], after: d.mould.after[:0]}}
	if cap(d.choices) > maxChoices/16 {
		d.choices = nil
	}
}

func (d *jsonDecoder) recycle() {
	body, scratch := d.body[:0], d.reader.scratch[:0]
	if cap(body) > keepBody {
		body = nil
	}
	if cap(scratch) > keepBody {
		scratch = nil
	}
	*d = jsonDecoder{body: body, reader: reader{scratch: scratch}}
}
