package proxy

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// maxErrorBody is how much of an upstream's error is read to classify it.
const maxErrorBody = 64 << 10

// maxTap is how much of an opaque JSON answer is kept to find its usage.
const maxTap = 1 << 20

// Response takes the head of the upstream's answer. Hold means that the plane reads on and sends nothing until a Write says More; then
// ResponseHead is the head to send.
func (x *Exchange) Response(status int, h http.Header) Verdict {
	a := x.attempt
	a.status, a.rec.Status = status, status
	a.rec.FirstByte = time.Now()
	x.g.creds.Observe(a.provider, a.cred, h)
	if a.embeds {
		a.errHead = h
		return Verdict{Action: Hold}
	}
	refused := (status == http.StatusUnauthorized || status == http.StatusForbidden) && len(a.provider.Keys) > 0
	if x.pass != nil && status >= 200 && !refused { // a refusal of our credential is not the client's to read
		return x.openOpaqueAnswer(h)
	}
	if status < 200 || status > 299 {
		a.kind, a.errHead = answerError, h
		return Verdict{Action: Hold}
	}
	mt := mediaType(h.Get("Content-Type"))
	event, json := mt == "text/event-stream", mt == "application/json" || strings.HasSuffix(mt, "+json")
	if x.env.Op == llm.OpOpaque && !event && !json {
		return x.openOpaqueAnswer(h)
	}
	a.stream = event
	if x.env.Op == llm.OpOpaque && json {
		return x.openOpaqueAnswer(h)
	}
	a.kind = answerEvents
	x.record(a, h)
	a.head = answerFields(h, -1)
	x.openCodecs(a)
	if x.undoubted(a) {
		a.tape.bar()
	}
	if n, err := strconv.Atoi(h.Get("Content-Length")); err == nil {
		openai.Expect(a.dec, n)
	}
	x.limitFirst(a)
	return Verdict{Action: Hold}
}

// mediaType is a Content-Type without its parameters; the usual ones are taken as they stand.
func mediaType(v string) string {
	if v == "application/json" || v == "text/event-stream" {
		return v
	}
	mt, _, _ := mime.ParseMediaType(v)
	return mt
}

// openCodecs chooses the decoder of the answer and the encoder for the client.
func (x *Exchange) openCodecs(a *attempt) {
	c := openai.Codec{}
	a.dec = c.NewDecoder(x.env.Op, a.stream)
	openai.ExpectChoices(a.dec, x.env.N)
	if a.rescue != nil {
		a.enc = openai.NewContinuationEncoder(x.env.Op, &x.delivered.start, x.delivered.reasoning)
		return
	}
	x.delivered.open(x.rescuable(a))
	a.doubt = x.doubtful(a)
	switch {
	case a.stream && !x.env.Stream && x.env.Op.Generates():
		a.fold = true
		a.enc = c.NewEncoder(x.env.Op, false)
		a.head = foldedHead(a.head)
	case !a.stream && x.env.Stream:
		// Asked for a stream and answered with a body: the client still gets the stream that it asked for.
		a.enc = c.NewEncoder(x.env.Op, true)
		a.head = setField(a.head, "Content-Type", "text/event-stream")
	default:
		a.fold = false
		a.enc = openai.NewPassEncoder(x.env.UsageAsked || !a.stream)
	}
}

// foldedHead is a stream's head as that of one JSON body.
func foldedHead(fields []Field) []Field {
	kept := fields[:0]
	for _, f := range fields {
		if f.Name != "Cache-Control" && f.Name != "X-Accel-Buffering" {
			kept = append(kept, f)
		}
	}
	return setField(kept, "Content-Type", "application/json")
}

func setField(fields []Field, name, value string) []Field {
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Value = value
			return fields
		}
	}
	return append(fields, Field{name, value})
}

// openOpaqueAnswer lets an answer pass unread, but for a tap that looks for usage in JSON.
func (x *Exchange) openOpaqueAnswer(h http.Header) Verdict {
	a := x.attempt
	a.kind = answerOpaque
	length := int64(-1)
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		length = n
	}
	a.head = answerFields(h, length)
	if h.Get("Content-Encoding") == "" && strings.Contains(h.Get("Content-Type"), "json") {
		a.tap = []byte{}
	}
	if a.status < 500 {
		x.succeeded(a)
	} else if a.lease != nil {
		a.lease.Done(false)
	}
	x.commit(a.status)
	x.limit(time.Now().Add(x.timeouts().Idle))
	return Verdict{Action: More}
}

// ResponseHead is the head for the client: valid once a verdict said More or Done.
func (x *Exchange) ResponseHead() (status int, fields []Field) {
	return x.rec.Status, x.clientFields(x.attempt.head)
}

// commit marks the moment from which nothing can be taken back.
// late: the client has had a head before it.
func (x *Exchange) commit(status int) (late bool) {
	x.committed = true
	x.rec.Status = status
	if late = x.door.Swap(doorCommitted) == doorOpened; late {
		x.rec.Status = http.StatusOK
	}
	x.opener, x.voice = x.attempt.rec.Index, x.attempt.enc
	return late
}

// succeeded tells breaker, credential and session that the upstream answers.
func (x *Exchange) succeeded(a *attempt) {
	if a.first {
		return
	}
	a.first = true
	now := time.Now()
	a.rec.FirstToken = now
	if !x.committed {
		x.rec.FirstToken = now
	}
	if a.lease != nil {
		a.lease.Done(true)
	}
	x.g.retries.answered(a.plan.Model)
}

// limitFirst sets the limit until the first real event.
func (x *Exchange) limitFirst(a *attempt) {
	t := x.timeouts()
	switch {
	case a.stream && x.env.Stream:
		x.limit(a.sent.Add(t.FirstToken))
	default:
		x.limit(a.sent.Add(t.Answer))
	}
}

// classify reads an upstream's error answer.
func (x *Exchange) classify(a *attempt) *llm.Error {
	return providers.Classify(a.provider, a.status, a.errHead, a.errBody)
}
