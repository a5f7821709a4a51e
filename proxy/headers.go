package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// upstreamHeaders are the client's headers that go to an upstream. Everything else stays here: credentials, cookies, addresses, traces and
// whatever a client may have put in to steer Sluice or Envoy.
var upstreamHeaders = map[string]bool{
	"Accept": true, "Content-Type": true, "User-Agent": true, "Openai-Beta": true, "Anthropic-Beta": true, "Anthropic-Version": true,
	"Idempotency-Key": true, "Range": true, "If-None-Match": true, "If-Modified-Since": true,
}

// forwards reports whether a client's header goes up.
func forwards(name string) bool {
	return upstreamHeaders[name] || strings.HasPrefix(name, "X-Stainless-")
}

// downstreamDrops are an upstream's headers that are not the client's business: they describe one hop, or the provider's account with us.
var downstreamDrops = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "Content-Length": true, "Set-Cookie": true, "Alt-Svc": true, "Strict-Transport-Security": true, "Server": true, "Via": true, "Date": true,
	"X-Request-Id": true, "Retry-After": true, "Openai-Organization": true, "Openai-Project": true, "Www-Authenticate": true, "Vary": true,
	"Endpoint-Load-Metrics": true, "X-Powered-By": true, "Nel": true, "Report-To": true,
	"Age": true, // of our records only
}

var downstreamDropPrefixes = []string{"X-Sluice-", "X-Envoy-", "X-Ratelimit-", "X-Tokenlimit-", "Anthropic-Ratelimit-", "Access-Control-", "Cf-", "X-Amzn-"}

func drops(name string) bool {
	if downstreamDrops[name] {
		return true
	}
	for _, p := range downstreamDropPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// answerFields are an upstream's headers as the client gets them. length is the body's, -1 when it is not known.
func answerFields(h http.Header, length int64) []Field {
	fields := make([]Field, 0, len(h)+12)
	for name, values := range h {
		if drops(name) {
			continue
		}
		for _, v := range values {
			fields = append(fields, Field{name, v})
		}
	}
	if length >= 0 {
		fields = append(fields, Field{"Content-Length", strconv.FormatInt(length, 10)})
	}
	return fields
}

// clientFields adds what Sluice says of the exchange to an answer's headers.
func (x *Exchange) clientFields(fields []Field) []Field {
	if x.failed != nil && !x.committed {
		return x.fields(fields, nil)
	}
	if x.attempt != nil && x.attempt.embeds { // it is nobody's answer
		return x.fields(fields, nil)
	}
	return x.fields(fields, x.attempt)
}

// fields is clientFields for an answer of the attempt; nil = of none.
func (x *Exchange) fields(fields []Field, a *attempt) []Field {
	p := x.s.Policy
	fields = append(fields, corsFields(p, &x.head)...)
	if x.rec.RequestID != "" {
		fields = append(fields, Field{"X-Request-Id", x.rec.RequestID})
	}
	fields = append(fields, Field{"X-Sluice-Request-Id", x.id})
	model, provider, tier := "", "", ""
	if a != nil {
		model, provider, tier = a.plan.Model.Key, a.plan.Model.Provider.Name, a.plan.Tier
	}
	fields = x.quotaFields(fields)
	if p.Server.Headers != "full" {
		if model != "" {
			fields = append(fields, Field{"X-Sluice-Model", model})
		}
		return fields
	}
	if x.rec.Route != "" {
		fields = append(fields, Field{"X-Sluice-Route", x.rec.Route})
	}
	if model != "" {
		fields = append(fields, Field{"X-Sluice-Model", model}, Field{"X-Sluice-Provider", provider}, Field{"X-Sluice-Tier", tier})
	} else if provider != "" {
		fields = append(fields, Field{"X-Sluice-Provider", provider})
	}
	if x.plan.Attempts != nil {
		fields = append(fields, Field{"X-Sluice-Attempts", strconv.Itoa(x.asked)})
	}
	fields = x.cacheFields(fields)
	if x.rec.Reason != "" {
		fields = append(fields, Field{"X-Sluice-Reason", x.rec.Reason})
	}
	if len(x.warnings) > 0 {
		fields = append(fields, Field{"X-Sluice-Warnings", strings.Join(x.warnings, "; ")})
	}
	return fields
}
