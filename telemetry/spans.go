package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluice-gateway/sluice/llm"
)

// Spans are made at the end, from the record, with the ids that were chosen at its beginning: what an upstream was told as its parent is
// what the trace shows, and an exchange pays for spans only when somebody takes them.

// spanIDs carries the ids of the next span to the SDK.
type spanIDs struct {
	context.Context
	trace trace.TraceID
	span  trace.SpanID
}

type idsKey struct{}

// Value returns the ids under idsKey.
func (c *spanIDs) Value(key any) any {
	if key == (idsKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// recordIDs is the SDK's source of ids: it takes those that the record chose.
type recordIDs struct{}

// NewIDs returns the ids of a root span.
func (recordIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if c, ok := ctx.Value(idsKey{}).(*spanIDs); ok {
		return c.trace, c.span
	}
	return NewID(), NewSpanID()
}

// NewSpanID returns the id of a span that has a parent.
func (recordIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if c, ok := ctx.Value(idsKey{}).(*spanIDs); ok {
		return c.span
	}
	return NewSpanID()
}

// trace makes the spans of a record: SERVER; under it the GenAI CLIENT span, if a model was asked or a recorded answer stood in for it;
// under that one CLIENT span an attempt. It returns a context with the span that metrics' exemplars point to.
func (s *Sink) trace(ctx context.Context, r *Record) context.Context {
	t := r.Trace
	if t.TraceID == ([16]byte{}) {
		t = NewTrace("", "")
	}
	outer := ctx
	if t.ParentSpan != ([8]byte{}) {
		state, _ := trace.ParseTraceState(t.State) // checked by NewTrace; an invalid one is empty
		outer = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: t.TraceID, SpanID: t.ParentSpan, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
		}))
	}
	ctx, server := s.start(outer, t, t.Server, r.serverName(), trace.SpanKindServer, r.Start, r.serverAttributes())
	defer end(server, r.End, r.serverFailed(), r.failure())
	if r.Embedding != nil {
		s.attempt(ctx, t, r, r.Embedding)
	}
	if r.RequestModel != "" && (len(r.Attempts) > 0 || r.Cache == "hit") {
		from, to := r.callTimes()
		var call trace.Span
		ctx, call = s.start(ctx, t, t.Client, r.Op.String()+" "+r.RequestModel, trace.SpanKindClient, from, r.callAttributes(from))
		defer end(call, to, r.failure() != "" && r.Outcome != outcomeGone, r.failure())
	}
	for i := range r.Attempts {
		s.attempt(ctx, t, r, &r.Attempts[i])
	}
	return ctx
}

// attempt makes the span of one request to an upstream.
func (s *Sink) attempt(ctx context.Context, t Trace, r *Record, a *Attempt) {
	_, span := s.start(ctx, t, a.Span, a.name(), trace.SpanKindClient, a.Start, r.attemptAttributes(a))
	end(span, r.attemptEnd(a), a.Class != llm.ClassNone && a.Class != llm.ClassCanceled, string(a.Class))
}

func (s *Sink) start(ctx context.Context, t Trace, id [8]byte, name string, kind trace.SpanKind, at time.Time, kv []attribute.KeyValue) (context.Context, trace.Span) {
	if id == ([8]byte{}) {
		id = NewSpanID()
	}
	inner, span := s.tracer.Start(&spanIDs{ctx, t.TraceID, id}, name, trace.WithSpanKind(kind), trace.WithTimestamp(at))
	span.SetAttributes(kv...) // not an option of Start: nothing samples by them, and an option is one copy more
	return inner, span
}

func end(span trace.Span, at time.Time, failed bool, failure string) {
	if failure != "" {
		span.SetAttributes(attrErrorType.String(failure))
	}
	if failed {
		span.SetStatus(codes.Error, failure)
	}
	span.End(trace.WithTimestamp(at))
}

const (
	outcomeOK   = "ok"
	outcomeGone = "client_gone"
)

// failure returns what error.type says of the exchange: "" when there was no error, a known code, or the outcome.
func (r *Record) failure() string {
	switch {
	case r.Outcome == outcomeOK || r.Outcome == "":
		return ""
	case knownCodes[r.ErrorCode]:
		return r.ErrorCode
	}
	return r.Outcome
}

// serverFailed reports whether the fault is on the server's side: a client's error is no error of a SERVER span.
func (r *Record) serverFailed() bool {
	switch r.Outcome {
	case outcomeOK, "", outcomeGone, "client_error", "denied":
		return r.Status >= http.StatusInternalServerError
	}
	return r.Status >= http.StatusInternalServerError || r.Status < http.StatusBadRequest
}

func (r *Record) serverName() string {
	if r.Path == "" {
		return r.method()
	}
	return r.method() + " " + r.Path
}

func (r *Record) method() string {
	if knownMethods[r.Method] {
		return r.Method
	}
	return "_OTHER"
}

// callTimes returns when the logical call to a model began and ended: its attempts' span, or the exchange's when there is none.
func (r *Record) callTimes() (from, to time.Time) {
	if len(r.Attempts) == 0 {
		return r.Start, r.End
	}
	from = r.Attempts[0].Start
	for i := range r.Attempts {
		if at := r.attemptEnd(&r.Attempts[i]); at.After(to) {
			to = at
		}
	}
	return from, to
}

// attemptEnd returns when an attempt ended; one that was never ended did so with the exchange.
func (r *Record) attemptEnd(a *Attempt) time.Time {
	if a.End.IsZero() {
		return r.End
	}
	return a.End
}

// system returns gen_ai.provider.name of the attempt that stands for the call: the last.
func (r *Record) system() string {
	if n := len(r.Attempts); n > 0 {
		return r.Attempts[n-1].system()
	}
	return r.Provider
}

func (a *Attempt) system() string {
	if a.System == "" {
		return a.Provider
	}
	return a.System
}

func (a *Attempt) name() string {
	if a.Model == "" {
		return "attempt " + a.Provider
	}
	return "attempt " + a.Model
}

// attributes collects attributes and leaves out those that say nothing.
type attributes []attribute.KeyValue

func (l *attributes) text(k attribute.Key, v string) {
	if v != "" {
		*l = append(*l, k.String(v))
	}
}

func (l *attributes) count(k attribute.Key, v int64) {
	if v != 0 {
		*l = append(*l, k.Int64(v))
	}
}

func (r *Record) serverAttributes() []attribute.KeyValue {
	l := make(attributes, 0, 24)
	l = append(l, attrMethod.String(r.method()), attrSluiceID.String(hex.EncodeToString(r.ID[:])), attrSluiceAttempts.Int(len(r.Attempts)))
	l.text(attrRoute, r.Path)
	l.text(attrPath, r.Path)
	l.count(attrStatus, int64(r.Status))
	l.count(attrRequestSize, r.BytesIn)
	l.count(attrAnswerSize, r.BytesOut)
	if r.RequestID != "" {
		l = append(l, attrRequestID.StringSlice([]string{foreign(r.RequestID, 64)}))
	}
	l.text(attrSluiceRoute, r.Route)
	l.text(attrSluiceOutcome, r.Outcome)
	l.text(attrSluiceTenant, r.Tenant)
	l.text(attrSluiceKey, r.Key)
	l.text(attrSluicePlane, r.Plane)
	l.text(attrSluicePolicy, r.Policy)
	l.text(attrSluiceCache, r.Cache)
	if len(r.Boundaries) > 0 {
		l = append(l, attrSluiceBoundaries.StringSlice(append([]string(nil), r.Boundaries...)))
	}
	return l
}

func (r *Record) callAttributes(from time.Time) []attribute.KeyValue {
	l := make(attributes, 0, 48)
	l = append(l, attrOperation.String(r.Op.String()), attrProvider.String(r.system()), attrRequestModel.String(r.RequestModel),
		attrRequestStream.Bool(r.Stream), attrSluiceAttempts.Int(len(r.Attempts)), attrSluiceUsage.String(r.UsageKind.String()), attrSluiceSession.Bool(r.Session))
	l.count(attrRequestTokens, int64(r.MaxTokens))
	if r.Temperature != nil {
		l = append(l, attrRequestTemp.Float64(*r.Temperature))
	}
	if r.Choices > 1 {
		l = append(l, attrRequestChoices.Int(r.Choices))
	}
	l.text(attrResponseID, foreign(r.ResponseID, maxForeign))
	l.text(attrResponseModel, foreign(r.ResponseModel, maxForeign))
	if len(r.Finish) > 0 {
		l = append(l, attrResponseFinish.StringSlice(finishes(r.Finish)))
	}
	if r.Stream && r.FirstToken.After(from) {
		l = append(l, attrResponseFirst.Float64(seconds(from, r.FirstToken)))
	}
	if r.Rescued {
		l = append(l, attrSluiceRescued.Bool(true))
	}
	l.text(attrSluiceEscalated, r.Escalated)
	l.usage(r.UsageKind, r.Usage)
	if r.PriceKnown && len(r.Attempts) > 0 {
		l = append(l, attrSluiceCost.Int64(r.MicroUSD), attrCostAmount.Float64(float64(r.MicroUSD)/1e6), attrCostCurrency.String("USD"), attrCostSource.String("local"))
	}
	if n := len(r.Attempts); n > 0 {
		l.address(r.Attempts[n-1].Endpoint)
	}
	return r.decision(l)
}

// why tells what says most of the gain.
func (r *Record) why() []string {
	why := make([]string, 0, len(r.Why))
	for _, w := range r.Why {
		if w.Feature != "" {
			why = append(why, fmt.Sprintf("%s %+.3f", w.Feature, w.Gain))
		}
	}
	return why
}

// decision adds why the call went where it went.
func (r *Record) decision(l attributes) []attribute.KeyValue {
	l.text(attrSluiceRoute, r.Route)
	l.text(attrSluiceRule, r.Rule)
	if r.Class != "" {
		l = append(l, attrSluiceClass.String(r.Class), attrSluiceClassP.Float64(r.ClassP), attrSluiceGain.Float64(r.Gain), attrSluiceNovelty.Float64(r.Novelty))
		if why := r.why(); len(why) > 0 {
			l = append(l, attrSluiceWhy.StringSlice(why))
		}
	}
	l.text(attrSluiceTier, r.Tier)
	l.text(attrSluiceModel, r.Model)
	l.text(attrSluiceProvider, r.Provider)
	l.text(attrSluiceReason, r.Reason)
	l.text(attrSluicePolicy, r.Policy)
	l.text(attrSluiceCarried, r.Carried)
	l.text(attrSluiceCache, r.Cache)
	if r.Likeness != 0 {
		l = append(l, attrSluiceLikeness.Float64(r.Likeness))
	}
	l.text(attrSluiceOutcome, r.Outcome)
	l.text(attrSluiceCode, foreign(r.ErrorCode, 64))
	return l
}

// usage adds the counts: the conventions' names hold what a provider reported, never an estimate.
func (l *attributes) usage(kind llm.UsageKind, u llm.Usage) {
	switch kind {
	case llm.UsageReported:
		*l = append(*l, attrUsageInput.Int(u.Input), attrUsageOutput.Int(u.Output))
		l.count(attrUsageCached, int64(u.Cached))
		l.count(attrUsageWritten, int64(u.CacheWrite))
		l.count(attrUsageReasoning, int64(u.Reasoning))
	case llm.UsageEstimated:
		*l = append(*l, attrSluiceEstInput.Int(u.Input), attrSluiceEstOutput.Int(u.Output))
	}
}

func (l *attributes) address(endpoint string) {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		l.text(attrServer, endpoint)
		return
	}
	l.text(attrServer, host)
	if n, err := strconv.Atoi(port); err == nil {
		l.count(attrPort, int64(n))
	}
}

func (r *Record) attemptAttributes(a *Attempt) []attribute.KeyValue {
	l := make(attributes, 0, 24)
	l = append(l, attrMethod.String(r.method()), attrAttemptIndex.Int(a.Index), attrAttemptOwn.Bool(a.Own), attrAttemptUsage.String(a.UsageKind.String()))
	l.address(a.Endpoint)
	l.count(attrStatus, int64(a.Status))
	l.text(attrAttemptModel, a.Model)
	l.text(attrAttemptProvider, a.Provider)
	l.text(attrAttemptTier, a.Tier)
	l.text(attrAttemptBy, a.By)
	l.text(attrAttemptCause, a.Cause)
	l.text(attrAttemptThrown, a.Escalated)
	if a.FirstToken.After(a.Start) {
		l = append(l, attrAttemptFirst.Float64(seconds(a.Start, a.FirstToken)))
	}
	if a.UsageKind != llm.UsageNone {
		l = append(l, attrAttemptInput.Int(a.Usage.Input), attrAttemptOutput.Int(a.Usage.Output))
	}
	l.count(attrAttemptCost, a.MicroUSD)
	if a.Rescue != "" {
		l = append(l, attrAttemptRescue.String(a.Rescue), attrAttemptAt.Int(a.RescueAt))
	}
	return l
}

const (
	maxForeign = 128
	maxFinish  = 16
)

// foreign makes a text that somebody else chose fit to export: at most limit bytes of printable ASCII, copied, because it may be a view
// into a buffer that is used again before the span leaves. (One invalid UTF-8 string would make a collector refuse the whole batch.)
func foreign(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	b := []byte(s)
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b)
}

func finishes(in []string) []string {
	if len(in) > maxFinish {
		in = in[:maxFinish]
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = foreign(s, 32)
	}
	return out
}
