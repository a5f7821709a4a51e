package router

import (
	"net/http"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// retryDefault is what a client is told to wait when nobody knows when a target comes back.
const retryDefault = time.Second

// Denied is the answer where the boundaries that hold leave nothing that could ever take the request: 403 policy_denied.
func Denied(names []string) *llm.Error {
	return &llm.Error{
		Source: llm.SourceGateway, Class: llm.ClassClient, Status: http.StatusForbidden, Type: "policy_denied", Code: "policy_denied",
		Message: "no provider may take this request" + under(names),
	}
}

// Unavailable is the answer where targets are eligible and none can be asked now: 503 no_target_available. after is when one may be usable
// again, 0 = unknown.
func Unavailable(names []string, after time.Duration) *llm.Error {
	if after <= 0 {
		after = retryDefault
	}
	return &llm.Error{
		Source: llm.SourceGateway, Class: llm.ClassCapacity, Status: http.StatusServiceUnavailable, Type: "server_error", Code: "no_target_available",
		Message: "every eligible target is down, full or cooling" + under(names), RetryAfter: after,
	}
}

func incapable(what string, names []string) *llm.Error {
	return &llm.Error{
		Source: llm.SourceGateway, Class: llm.ClassClient, Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "unsupported_capability",
		Message: "no model of this route can do what the request needs: " + what + under(names),
	}
}

func tooLong(names []string) *llm.Error {
	return &llm.Error{
		Source: llm.SourceGateway, Class: llm.ClassContextOverflow, Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "context_length_exceeded",
		Param: "messages", Message: "the prompt is longer than the context of every model of this route" + under(names),
	}
}

// under names the boundaries in a message.
func under(names []string) string {
	if len(names) == 0 {
		return ""
	}
	word := " (boundary "
	if len(names) > 1 {
		word = " (boundaries "
	}
	return word + `"` + strings.Join(names, `", "`) + `")`
}

// needNames lists a request's needs by the names that `can` uses, each alone.
func needNames(n policies.Needs) (names []string, each []policies.Needs) {
	add := func(has bool, name string, one policies.Needs) {
		if has {
			names, each = append(names, name), append(each, one)
		}
	}
	add(n.Chat, "chat", policies.Needs{Chat: true})
	add(n.Completions, "completions", policies.Needs{Completions: true})
	add(n.Embeddings, "embeddings", policies.Needs{Embeddings: true})
	add(n.Tools, "tools", policies.Needs{Tools: true})
	add(n.JSON, "json", policies.Needs{JSON: true})
	add(n.Vision, "vision", policies.Needs{Vision: true})
	add(n.Audio, "audio", policies.Needs{Audio: true})
	add(n.Files, "files", policies.Needs{Files: true})
	add(n.Logprobs, "logprobs", policies.Needs{Logprobs: true})
	return names, each
}

// refuse says why no model was ever eligible. It plans again with parts of the request left out: what then becomes possible is the reason.
func refuse(p *policies.Policy, r *policies.Route, rule *policies.Rule, gain float64, b policies.Bounds, n policies.Needs, tokens int) *llm.Error {
	could := func(b policies.Bounds, n policies.Needs, tokens int) bool {
		_, d, _ := p.Plan(r, rule, policies.Stakes{Gain: gain, Tokens: tokens}, b, n, nil, nil)
		return d.Eligible > 0
	}
	free := policies.Bounds{Free: true}
	if !b.Free && (could(free, n, tokens) || !could(b, policies.Needs{}, 0)) {
		return Denied(b.Names)
	}
	if !could(free, n, 0) {
		var missing []string
		names, each := needNames(n)
		for i := range each {
			if !could(free, each[i], 0) {
				missing = append(missing, names[i])
			}
		}
		if missing == nil {
			missing = names // no single one, but no model can do all of them
		}
		return incapable(strings.Join(missing, ", "), nil)
	}
	return tooLong(nil)
}

// soonest returns when the first of the models that are down may be usable again; 0 = unknown.
func soonest(rejected []policies.Rejected) (after time.Duration) {
	for i := range rejected {
		if x := &rejected[i]; x.Down && x.After > 0 && (after == 0 || x.After < after) {
			after = x.After
		}
	}
	return after
}
