package proxy

import (
	"context"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers/openai"
	"github.com/sluice-gateway/sluice/telemetry"
)

// Begin opens an exchange. With a reply the plane sends it and calls End; no byte of the body was needed for it. Without one the plane
// hands over the body as BodyMode says.
func (g *Gateway) Begin(_ context.Context, h Head) (*Exchange, *Reply) {
	g.inflight.Add(1)
	g.total.Add(1)
	s := h.Snapshot
	if s == nil {
		s = g.snap.Load()
	}
	s.live.Add(1)
	x := &Exchange{g: g, s: s, head: h}
	if x.scratch, _ = g.scratch.Get().(*scratch); x.scratch == nil {
		x.scratch = &scratch{events: make([]llm.Event, 0, 8)}
	}
	x.rec.Start = time.Now()
	x.rec.Plane, x.rec.Carried = h.Plane, "executor"
	x.rec.Policy = x.s.Policy.Version
	x.rec.Method = methodLabel(h.Method)
	x.rec.Trace = telemetry.NewTrace(h.Header.Get("Traceparent"), h.Header.Get("Tracestate"))
	x.rec.ID = newID()
	x.id = hex.EncodeToString(x.rec.ID[:])
	x.rec.RequestID = safeID(h.Header.Get("X-Request-Id"))
	if r := preflight(x.s.Policy, &x.head); r != nil {
		x.rec.Path, x.rec.Status, x.rec.Outcome = "preflight", r.Status, "ok"
		x.finished = true
		return x, r
	}
	if err := x.open(); err != nil {
		return x, x.refuse(err, true)
	}
	if err := x.enter(); err != nil {
		return x, x.refuse(err, true)
	}
	if x.ep.op == llm.OpModels || x.ep.op == llm.OpModel {
		return x, x.models()
	}
	return x, nil
}

// open checks what the head alone can show: path, method, key, length.
func (x *Exchange) open() *llm.Error {
	p, h := x.s.Policy, &x.head
	ep, ok := lookup(h.URL)
	if !ok {
		x.rec.Path = "unknown"
		return &llm.Error{Source: llm.SourceClient, Status: 404, Type: "invalid_request_error", Code: "unknown_path", Message: "There is nothing at this path. Sluice serves the OpenAI API under /v1/."}
	}
	x.ep, x.rec.Path, x.rec.Op = ep, ep.label, ep.op
	if ep.method != "" && h.Method != ep.method {
		return &llm.Error{Source: llm.SourceClient, Status: 405, Type: "invalid_request_error", Code: "method_not_allowed", Message: "This path takes " + ep.method + ".", Allow: ep.method}
	}
	key, err := x.s.Book.Authenticate(h.Header, x.rec.Start)
	if err != nil {
		return err
	}
	if x.key = key; key != nil {
		x.rec.Tenant, x.rec.Key = key.Tenant.Name, key.ID
	}
	if ep.label == feedbackPath {
		if !x.keepsOutcomes() {
			return &llm.Error{Source: llm.SourceClient, Status: 404, Type: "invalid_request_error", Code: "unknown_path", Message: "Feedback is off in this gateway's policy."}
		}
	} else if ep.op == llm.OpOpaque {
		if err := x.openOpaque(p); err != nil {
			return err
		}
	}
	if h.ContentLength > x.BodyLimit() {
		return tooLarge(x.BodyLimit())
	}
	return nil
}

// openOpaque finds out how an opaque path names its target: by the policy's passthrough, by the body's model, or by the form's.
func (x *Exchange) openOpaque(p *policies.Policy) *llm.Error {
	if x.rec.Method == otherMethod { // TRACE would show the client our credential, CONNECT is no request
		return &llm.Error{Source: llm.SourceClient, Status: 405, Type: "invalid_request_error", Code: "method_not_allowed", Message: "This path takes " + opaqueMethods + ".", Allow: opaqueMethods}
	}
	if pass, ok := p.PassthroughFor(x.head.URL.Path, x.key); ok {
		if pass == nil {
			return x.nowhere()
		}
		x.pass, x.mode = pass, BodyStream
		return nil
	}
	mt, params, _ := mime.ParseMediaType(x.head.Header.Get("Content-Type"))
	switch {
	case mt == "multipart/form-data" && params["boundary"] != "":
		x.mode, x.form = BodyForm, &formModel{boundary: params["boundary"]}
		return nil
	case mt == "application/json" || mt == "application/x-www-form-urlencoded" /* what curl says of any -d */ || mt == "" && x.head.ContentLength != 0 || strings.HasSuffix(mt, "+json"):
		if x.head.Method == http.MethodPost || x.head.Method == http.MethodPut || x.head.Method == http.MethodPatch {
			return nil
		}
	}
	return x.nowhere()
}

// nowhere is the refusal of a path that leads nowhere for the caller.
func (x *Exchange) nowhere() *llm.Error {
	return &llm.Error{Source: llm.SourceClient, Status: 404, Type: "invalid_request_error", Code: "unknown_path",
		Message: fmt.Sprintf("%s %s names no model, and is no passthrough path that the caller may use.", x.rec.Method, x.rec.Path)}
}

func tooLarge(limit int64) *llm.Error {
	return &llm.Error{Source: llm.SourceClient, Status: 413, Type: "invalid_request_error", Code: "request_too_large", Message: fmt.Sprintf("The request body is larger than this gateway's limit of %d bytes.", limit)}
}

// models answers GET /v1/models and /v1/models/{id}.
func (x *Exchange) models() *Reply {
	names := x.s.Policy.Listed(x.key)
	created := x.s.LoadedAt.Unix()
	if x.ep.op == llm.OpModels {
		return x.reply(200, openai.AppendModels(nil, names, created, "sluice"))
	}
	id := strings.TrimPrefix(x.head.URL.Path, "/v1/models/")
	if _, ok := x.s.Policy.Route(id, x.key); !ok {
		return x.refuse(UnknownModel(x.s.Policy, id), true)
	}
	return x.reply(200, openai.AppendModel(nil, id, created, "sluice"))
}

// UnknownModel is the refusal of a name that no route of the caller's answers to.
func UnknownModel(p *policies.Policy, name string) *llm.Error {
	msg := "The model does not exist or this key may not use it."
	if _, ok := p.Models[name]; ok {
		msg = "This model is not callable by its own name. Name it in `models` of the key in the policy, or call a route that uses it."
	}
	return &llm.Error{Source: llm.SourceClient, Status: 404, Type: "invalid_request_error", Code: "model_not_found", Param: "model", Message: msg}
}

// reply is a complete JSON answer of Sluice's own.
func (x *Exchange) reply(status int, body []byte) *Reply {
	x.finished = true
	x.rec.Status, x.rec.Outcome = status, "ok"
	return &Reply{Status: status, Header: x.clientFields([]Field{{"Content-Type", "application/json"}}), Body: body}
}

// refuse turns an error into the client's answer: the one place where that happens before the first byte. unread says that the
// request's body is still on the wire.
func (x *Exchange) refuse(err *llm.Error, unread bool) *Reply {
	x.finished = true
	x.rec.Status, x.rec.ErrorCode, x.rec.Outcome = err.Status, err.Code, outcome(err)
	fields := []Field{{"Content-Type", "application/json"}}
	if err.RetryAfter > 0 {
		secs := int64((err.RetryAfter + time.Second - 1) / time.Second)
		fields = append(fields, Field{"Retry-After", fmt.Sprint(secs)})
	}
	if err.Allow != "" {
		fields = append(fields, Field{"Allow", err.Allow})
	}
	if err.Status == 401 {
		fields = append(fields, Field{"Www-Authenticate", "Bearer"})
	}
	return &Reply{
		Status: err.Status,
		Header: x.clientFields(fields),
		Body:   openai.AppendErrorJSON(nil, err),
		Close:  unread && x.head.ContentLength != 0,
	}
}

func outcome(err *llm.Error) string {
	switch {
	case err.Code == "internal_error":
		return "internal_error"
	case err.Status == 504:
		return "timeout"
	case err.Status == 503:
		return "overloaded"
	case err.Code == "policy_denied" || err.Status == 401:
		return "denied"
	case err.Status >= 500 || err.Source == llm.SourceUpstream:
		return "upstream_error"
	}
	return "client_error"
}

// opaqueMethods are those that an opaque path takes.
const opaqueMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// otherMethod stands for every method that is not one of those.
const otherMethod = "_OTHER"

// methodLabel bounds what a record may say of a method.
func methodLabel(m string) string {
	switch m {
	case "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD":
		return m
	}
	return otherMethod
}

// safeID keeps at most 64 characters that are safe in headers, logs and shells.
func safeID(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.:", c) >= 0) {
			return ""
		}
	}
	return s
}
