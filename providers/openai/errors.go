package openai

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/internal/sse"
	"github.com/sluice-gateway/sluice/llm"
)

// ErrorBody is what an error's JSON says, in any of the forms that servers with this dialect answer in. Strings are views of the JSON.
type ErrorBody struct {
	Message string
	Type    string
	Code    string // codes that were numbers are in decimal
	Param   string
	Status  int    // an HTTP status that the body names itself, else 0
	Reason  string // a second word on the cause, as Google's status or quota id
	Retry   string // Google's retryDelay, as "34.07s"
}

// ReadError reads an error's JSON. It knows OpenAI's form, its flat variant (older vLLM, Mistral), Anthropic's, a bare string (Ollama,
// TGI), Google's, also in a list, Cloudflare's native envelope and the validation errors of FastAPI. False means that the JSON holds none.
func ReadError(body []byte) (ErrorBody, bool) {
	if !jsonedit.Valid(body, answerDepth) {
		return ErrorBody{}, false
	}
	root := jsonedit.Parse(body)
	if root.Kind() == jsonedit.Array {
		first := jsonedit.Value{}
		root.Each(func(v jsonedit.Value) bool { first = v; return false })
		root = first
	}
	return readError(root)
}

func readError(root jsonedit.Value) (ErrorBody, bool) {
	e := root.Field("error")
	switch e.Kind() {
	case jsonedit.Object:
		b := readMembers(e)
		return b, true
	case jsonedit.String:
		b := readMembers(root)
		b.Message = e.String()
		if t := root.Field("error_type"); t.Kind() == jsonedit.String {
			b.Type = t.String()
		}
		return b, true
	}
	if list := root.Field("errors"); list.Kind() == jsonedit.Array && root.Field("success").Kind() == jsonedit.False {
		b, ok := ErrorBody{}, false
		list.Each(func(v jsonedit.Value) bool { b, ok = readMembers(v), true; return false })
		b.Status = 0 // Cloudflare's codes are its own
		return b, ok
	}
	if d := root.Field("detail"); d.Exists() && d.Kind() != jsonedit.Null {
		b := readMembers(root)
		if b.Message == "" {
			b.Message = d.String()
		}
		return b, true
	}
	if root.Field("message").Kind() == jsonedit.String && !root.Field("choices").Exists() {
		object := root.Field("object")
		if object.String() == "error" || root.Field("code").Exists() || root.Field("type").Exists() || !object.Exists() {
			return readMembers(root), true
		}
	}
	return ErrorBody{}, false
}

func readMembers(v jsonedit.Value) (b ErrorBody) {
	v.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "message":
			b.Message = v.String()
		case "type":
			b.Type = v.String()
		case "param":
			b.Param = v.String()
		case "status":
			if n := v.Int(); n > 0 {
				b.Status = int(n)
			} else {
				b.Reason = v.String()
			}
		case "code":
			b.Code = v.String()
			if n := v.Int(); n >= 400 && n < 600 {
				b.Status = int(n)
			} else if n, err := strconv.Atoi(b.Code); err == nil && n >= 400 && n < 600 {
				b.Status = n
			}
		case "details":
			v.Each(func(d jsonedit.Value) bool {
				if s := d.Field("retryDelay").String(); s != "" {
					b.Retry = s
				}
				return true
			})
		}
		return true
	})
	return b
}

// hardQuota are the codes and types of an account that is used up: waiting a minute does not help.
var hardQuota = []string{
	"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded",
	"organization_usage_limit_exceeded", "billing_hard_limit_reached", "billing_not_active", "billing_error", "insufficient_balance",
	"insufficient_credits", "exceeded_current_quota_error",
}

// overflow are words that say that a prompt is longer than the model's window.
var overflow = []string{
	"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded", "maximum context length", "context length",
	"exceeds the available context size", "context window", "prompt is too long", "too many tokens in the prompt",
	"input is too long", "longer than the model", "reduce the length of the messages", "inputs tokens + max_new_tokens",
	"`inputs` must have less than", "maximum number of tokens allowed", "exceeds the model's max",
}

var filters = []string{"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "data_inspection_failed", "moderation_blocked"}

var overloads = []string{
	"overloaded", "capacity", "queue is full", "queue full", "server_overloaded", "engine_overloaded", "busy", "slow_down", "unavailable_error",
	"too many queued", "max_num_queued",
}

// missing are words that say that the server does not have the model, which is the policy's mistake or an engine's and not the client's.
var missing = []string{"model_not_found", "model_not_available", "deploymentnotfound", "model_not_active"}

// Classify says what an answer of the status (200 for an error inside an answer) and body means. It knows what is common to the servers
// of this dialect; what is peculiar to one provider, package providers knows.
func (b ErrorBody) Classify(status int) llm.Class {
	if status < 400 {
		status = b.impliedStatus()
	}
	code, kind, text := strings.ToLower(b.Code), strings.ToLower(b.Type), strings.ToLower(b.Message)
	switch {
	case among(hardQuota, code, kind):
		return llm.ClassQuotaHard
	case among(filters, code, kind):
		return llm.ClassFiltered
	case among(missing, code), status == http.StatusNotFound && strings.Contains(text, "model"):
		return llm.ClassCapacity
	}
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		if among(overflow[:3], code, kind) || contains(overflow, text) {
			return llm.ClassContextOverflow
		}
		return llm.ClassClient
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return llm.ClassAuth
	case http.StatusPaymentRequired:
		return llm.ClassQuotaHard
	case http.StatusTooManyRequests:
		if contains(overloads, code) || contains(overloads[:1], kind) || contains(overloads[:4], text) {
			return llm.ClassCapacity
		}
		return llm.ClassThrottle
	case http.StatusRequestTimeout, http.StatusTooEarly, 499:
		return llm.ClassTransient
	case 498, 529:
		return llm.ClassCapacity
	case http.StatusNotImplemented:
		return llm.ClassCapacity
	case http.StatusFailedDependency: // TGI's and Bedrock's word for a generation that failed
		return llm.ClassTransient
	}
	switch {
	case status >= 500:
		if code == "slow_down" || contains(overloads[:1], code) || contains(overloads[:1], kind) || contains(overloads[:4], text) {
			return llm.ClassCapacity
		}
		return llm.ClassTransient
	case status >= 400:
		return llm.ClassClient
	}
	return llm.ClassTransient
}

// impliedStatus is the HTTP status that an error inside an answer would have had.
func (b ErrorBody) impliedStatus() int {
	if b.Status >= 400 {
		return b.Status
	}
	kind := strings.ToLower(b.Type + " " + b.Code + " " + b.Reason)
	switch {
	case strings.Contains(kind, "rate_limit"), strings.Contains(kind, "resource_exhausted"), strings.Contains(kind, "too_many"):
		return http.StatusTooManyRequests
	case strings.Contains(kind, "overloaded"), strings.Contains(kind, "unavailable"), strings.Contains(kind, "capacity"):
		return http.StatusServiceUnavailable
	case strings.Contains(kind, "authentication"), strings.Contains(kind, "invalid_api_key"):
		return http.StatusUnauthorized
	case strings.Contains(kind, "permission"):
		return http.StatusForbidden
	case strings.Contains(kind, "not_found"):
		return http.StatusNotFound
	case strings.Contains(kind, "invalid_request"), strings.Contains(kind, "badrequest"), strings.Contains(kind, "context_length"), strings.Contains(kind, "exceed_context"), strings.Contains(kind, "validation"):
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}

// Error turns the body of an upstream's error with the HTTP status (200 for an error inside an answer) into the domain's, of the class.
// The client sees its own mistakes as the upstream named them; of everything else it learns no more than the kind.
func (b ErrorBody) Error(status int, class llm.Class) *llm.Error {
	if status < 400 {
		status = b.impliedStatus()
	}
	e := &llm.Error{Source: llm.SourceUpstream, Class: class, Status: status}
	detail := Redact(clip(b.Message, 4096))
	switch class {
	case llm.ClassClient, llm.ClassContextOverflow, llm.ClassFiltered:
		e.Source = llm.SourceClient
		e.Type, e.Code, e.Param, e.Message = strings.Clone(Redact(clip(b.Type, 128))), strings.Clone(Redact(clip(b.Code, 128))), strings.Clone(Redact(clip(b.Param, 256))), strings.Clone(detail)
		if e.Type == "" {
			e.Type = "invalid_request_error"
		}
		if _, err := strconv.Atoi(e.Code); err == nil && e.Code == strconv.Itoa(status) {
			e.Code = "" // engines repeat the status there
		}
		if class == llm.ClassContextOverflow {
			e.Code = "context_length_exceeded" // what clients look for
		}
		if e.Message == "" {
			e.Message = "the provider refused the request: " + http.StatusText(status)
		}
		return e
	case llm.ClassAuth:
		e.Status, e.Type, e.Code = http.StatusBadGateway, "upstream_error", "upstream_auth_failed"
		e.Message = "the provider refused the gateway's credential"
	case llm.ClassThrottle:
		e.Status, e.Type, e.Code = http.StatusTooManyRequests, "rate_limit_error", "rate_limit_exceeded"
		e.Message = "the provider's rate limit is used up"
	case llm.ClassQuotaHard:
		e.Status, e.Type, e.Code = http.StatusBadGateway, "upstream_error", "upstream_failed"
		e.Message = "the gateway's account at the provider is used up"
	case llm.ClassCapacity:
		e.Status, e.Type, e.Code = http.StatusBadGateway, "upstream_error", "upstream_failed"
		e.Message = "the provider cannot take the request now"
	default:
		e.Status, e.Type, e.Code = http.StatusBadGateway, "upstream_error", "upstream_failed"
		e.Message = "the provider failed (" + strconv.Itoa(status) + ")"
	}
	if detail != "" {
		e.Err = upstreamText(strings.Clone(clip(detail, 300))) // the answer that it is a view of is soon gone
	}
	return e
}

// upstreamText is what an upstream said, redacted, for logs.
type upstreamText string

// Error returns the text.
func (t upstreamText) Error() string { return string(t) }

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}

func among(list []string, words ...string) bool {
	for _, w := range words {
		for _, l := range list {
			if w == l {
				return true
			}
		}
	}
	return false
}

func contains(list []string, text string) bool {
	for _, l := range list {
		if strings.Contains(text, l) {
			return true
		}
	}
	return false
}

// broken is the error of an answer that cannot be read to its end.
func broken(why string) *llm.Error {
	return &llm.Error{
		Source: llm.SourceUpstream, Class: llm.ClassStreamBroken, Status: http.StatusBadGateway,
		Type: "upstream_error", Code: "upstream_failed", Message: "the provider's answer is broken: " + why,
	}
}

// invalid is the error of a request that this dialect does not allow.
func invalid(param, message string) *llm.Error {
	return &llm.Error{
		Source: llm.SourceClient, Class: llm.ClassClient, Status: http.StatusBadRequest,
		Type: "invalid_request_error", Param: param, Message: message,
	}
}

// AppendErrorJSON appends {"error":{…}}, the body of an error answer.
func AppendErrorJSON(dst []byte, e *llm.Error) []byte {
	dst = append(dst, `{"error":{"message":`...)
	dst = jsonedit.AppendString(dst, e.Message)
	dst = append(dst, `,"type":`...)
	dst = jsonedit.AppendString(dst, e.Type)
	dst = append(dst, `,"param":`...)
	dst = appendNullable(dst, e.Param)
	dst = append(dst, `,"code":`...)
	dst = appendNullable(dst, e.Code)
	return append(dst, `}}`...)
}

// AppendErrorEvent appends the error as the last event of a stream. No [DONE] may follow it.
func AppendErrorEvent(dst []byte, e *llm.Error) []byte {
	return sse.AppendData(dst, AppendErrorJSON(nil, e))
}

func appendNullable(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return jsonedit.AppendString(dst, s)
}
