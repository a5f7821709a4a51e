package providers

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// MaxRetryAfter is the longest wait that a provider's hint is taken for: hints of a day exist.
const MaxRetryAfter = time.Hour

// Classify turns a provider's answer that is no success into the domain's error: what it means for the plan, what the client may see of it,
// and how long to keep off. body may be cut short.
func Classify(p *policies.Provider, status int, h http.Header, body []byte) *llm.Error {
	return classify(p, status, h, body, time.Now())
}

func classify(p *policies.Provider, status int, h http.Header, body []byte, now time.Time) *llm.Error {
	b, _ := openai.ReadError(body)
	class := b.Classify(status)
	if rule, ok := peculiar[p.Preset]; ok && !p.Own {
		class = rule(class, status, h, b)
	} else {
		class = common(class, b)
	}
	if p.Own && class == llm.ClassTransient && slices.Contains(EngineOf(p).Overload, status) {
		class = llm.ClassCapacity // how the engine says that its queue is full or its model not loaded yet: it is not ill
	}
	again := first(h, "X-Should-Retry") // the word of those whose SDKs retry by it
	if again == "true" && class == llm.ClassClient {
		class = llm.ClassTransient
	}
	e := b.Error(status, class)
	e.Once = again == "false"
	switch class {
	case llm.ClassThrottle, llm.ClassCapacity, llm.ClassQuotaHard, llm.ClassTransient:
		e.RetryAfter = wait(p, class, h, b, now)
	}
	return e
}

// rule corrects a class by what is known of one provider.
type rule func(class llm.Class, status int, h http.Header, b openai.ErrorBody) llm.Class

// peculiar are the providers whose errors mean more than their status and code say.
var peculiar = map[string]rule{
	"anthropic":  anthropicRule,
	"bedrock":    bedrockRule,
	"cloudflare": cloudflareRule,
	"gemini":     geminiRule,
	"groq":       groqRule,
	"mistral":    mistralRule,
	"openrouter": openrouterRule,
}

// common knows what several providers say with a status that means something else.
func common(class llm.Class, b openai.ErrorBody) llm.Class {
	if class != llm.ClassClient && class != llm.ClassThrottle && class != llm.ClassAuth {
		return class
	}
	text := strings.ToLower(b.Message)
	switch {
	case has(text, "incorrect api key", "invalid api key", "api key not valid", "api key expired", "api_key_invalid"):
		return llm.ClassAuth
	case has(text, "credit balance is too low", "insufficient balance", "insufficient credits", "exceeded your current quota", "spending limit", "spend limit", "used all available credits", "monthly included credits"):
		return llm.ClassQuotaHard
	}
	return class
}

func anthropicRule(class llm.Class, _ int, _ http.Header, b openai.ErrorBody) llm.Class {
	switch b.Type {
	case "overloaded_error":
		return llm.ClassCapacity
	case "timeout_error":
		return llm.ClassTransient
	}
	return common(class, b)
}

func bedrockRule(class llm.Class, _ int, h http.Header, b openai.ErrorBody) llm.Class {
	kind, _, _ := strings.Cut(first(h, "X-Amzn-Errortype"), ":")
	switch strings.TrimSuffix(kind, "Exception") {
	case "Throttling", "ServiceQuotaExceeded", "TooManyRequests":
		return llm.ClassThrottle
	case "ModelNotReady", "ServiceUnavailable":
		return llm.ClassCapacity
	case "ModelTimeout", "ModelError", "ModelStreamError", "InternalServer":
		return llm.ClassTransient
	case "AccessDenied", "UnrecognizedClient", "ExpiredToken", "InvalidSignature":
		return llm.ClassAuth
	}
	return common(class, b)
}

// cloudflareRule knows Workers AI's own codes.
func cloudflareRule(class llm.Class, _ int, _ http.Header, b openai.ErrorBody) llm.Class {
	switch b.Code {
	case "3036":
		return llm.ClassQuotaHard
	case "3040":
		return llm.ClassCapacity
	case "3007", "3008":
		return llm.ClassTransient
	case "3006":
		return llm.ClassContextOverflow
	case "3023", "3041", "5016", "5018", "10000":
		return llm.ClassAuth
	}
	text := strings.ToLower(b.Message)
	switch {
	case has(text, "daily free allocation", "neurons"):
		return llm.ClassQuotaHard
	case has(text, "capacity temporarily exceeded", "no capacity"):
		return llm.ClassCapacity
	}
	return common(class, b)
}

func geminiRule(class llm.Class, status int, _ http.Header, b openai.ErrorBody) llm.Class {
	text := strings.ToLower(b.Message)
	switch {
	case status == http.StatusTooManyRequests && has(text, "limit: 0", "perday", "per day"):
		return llm.ClassQuotaHard
	case b.Reason == "FAILED_PRECONDITION" && has(text, "billing", "location"):
		return llm.ClassAuth
	}
	return common(class, b)
}

// groqRule: a prompt of more tokens than the plan allows a minute is a 413, and fits a model with another limit.
func groqRule(class llm.Class, status int, _ http.Header, b openai.ErrorBody) llm.Class {
	if status == http.StatusRequestEntityTooLarge && b.Code == "rate_limit_exceeded" {
		return llm.ClassCapacity
	}
	return common(class, b)
}

// mistralRule: a limit of 0 says that the plan does not have the model.
func mistralRule(class llm.Class, _ int, h http.Header, b openai.ErrorBody) llm.Class {
	if class == llm.ClassThrottle && (amount(h, "X-Ratelimit-Limit-Req-Minute") == 0 || amount(h, "X-Ratelimit-Limit-Tokens-Minute") == 0) {
		return llm.ClassQuotaHard
	}
	return common(class, b)
}

func openrouterRule(class llm.Class, status int, _ http.Header, b openai.ErrorBody) llm.Class {
	if status == http.StatusForbidden && has(strings.ToLower(b.Message), "moderation", "flagged") {
		return llm.ClassFiltered
	}
	return common(class, b)
}

func has(text string, pieces ...string) bool {
	for _, p := range pieces {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}

// wait is how long the provider asks to be left alone, at most MaxRetryAfter; 0 = it does not say.
func wait(p *policies.Provider, class llm.Class, h http.Header, b openai.ErrorBody, now time.Time) time.Duration {
	d, ok := RetryAfter(h, now)
	if !ok && b.Retry != "" {
		d, ok = until(b.Retry, now)
	}
	if !ok {
		d, ok = inText(b.Message)
	}
	if !ok && class == llm.ClassThrottle {
		if at, used := exhausted(TraitsOf(p).Limits, h, now, false); used {
			d, ok = at.Sub(now), true
		}
	}
	if !ok && class == llm.ClassQuotaHard && p.Preset == "cloudflare" { // the day's neurons come back at midnight UTC
		d, ok = now.UTC().Truncate(24*time.Hour).Add(24*time.Hour).Sub(now), true
	}
	if !ok || d < 0 {
		return 0
	}
	return min(d, MaxRetryAfter)
}

// RetryAfter reads retry-after-ms and Retry-After, in seconds or as a date. The wait is at least 0 and at most MaxRetryAfter.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if ms := amount(h, "Retry-After-Ms"); ms >= 0 {
		return time.Duration(min(ms, MaxRetryAfter.Milliseconds())) * time.Millisecond, true
	}
	if s := first(h, "Retry-After"); s != "" {
		return until(s, now)
	}
	return 0, false
}

func until(s string, now time.Time) (time.Duration, bool) {
	at, ok := parseReset(s, now)
	if !ok {
		return 0, false
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter), true
}

// inText finds a wait in a message, as "Please try again in 7.66s." and "Please retry in 34.07s".
func inText(message string) (time.Duration, bool) {
	message = message[:min(len(message), 4096)]
	for _, lead := range [...]string{"try again in ", "retry in "} {
		i := strings.Index(message, lead)
		if i < 0 {
			continue
		}
		word := message[i+len(lead):]
		if j := strings.IndexAny(word, " ,;\n"); j >= 0 {
			word = word[:j]
		}
		if d, err := time.ParseDuration(strings.TrimRight(word, ".")); err == nil && d >= 0 {
			return min(d, MaxRetryAfter), true
		}
	}
	return 0, false
}
