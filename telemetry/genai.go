package telemetry

import "go.opentelemetry.io/otel/attribute"

// Names of the GenAI semantic conventions (repository semantic-conventions-genai, status Development) and of the HTTP, server and error
// conventions that the spans use. They are our own constants because the Go semconv package no longer has the GenAI ones.
const (
	attrOperation      = attribute.Key("gen_ai.operation.name")
	attrProvider       = attribute.Key("gen_ai.provider.name")
	attrRequestModel   = attribute.Key("gen_ai.request.model")
	attrRequestStream  = attribute.Key("gen_ai.request.stream")
	attrRequestTokens  = attribute.Key("gen_ai.request.max_tokens")
	attrRequestTemp    = attribute.Key("gen_ai.request.temperature")
	attrRequestChoices = attribute.Key("gen_ai.request.choice.count")
	attrResponseID     = attribute.Key("gen_ai.response.id")
	attrResponseModel  = attribute.Key("gen_ai.response.model")
	attrResponseFinish = attribute.Key("gen_ai.response.finish_reasons")
	attrResponseFirst  = attribute.Key("gen_ai.response.time_to_first_chunk") // seconds
	attrUsageInput     = attribute.Key("gen_ai.usage.input_tokens")
	attrUsageOutput    = attribute.Key("gen_ai.usage.output_tokens")
	attrUsageCached    = attribute.Key("gen_ai.usage.cache_read.input_tokens")
	attrUsageWritten   = attribute.Key("gen_ai.usage.cache_write.input_tokens")
	attrUsageReasoning = attribute.Key("gen_ai.usage.reasoning.output_tokens")
	attrCostAmount     = attribute.Key("gen_ai.usage.cost.amount") // proposed: semantic-conventions-genai PR 443
	attrCostCurrency   = attribute.Key("gen_ai.usage.cost.currency")
	attrCostSource     = attribute.Key("gen_ai.usage.cost.source")
	attrTokenType      = attribute.Key("gen_ai.token.type")

	attrErrorType   = attribute.Key("error.type")
	attrMethod      = attribute.Key("http.request.method")
	attrRoute       = attribute.Key("http.route")
	attrPath        = attribute.Key("url.path")
	attrStatus      = attribute.Key("http.response.status_code")
	attrRequestSize = attribute.Key("http.request.body.size")
	attrAnswerSize  = attribute.Key("http.response.body.size")
	attrRequestID   = attribute.Key("http.request.header.x-request-id")
	attrServer      = attribute.Key("server.address")
	attrPort        = attribute.Key("server.port")
)

// Attributes of Sluice's own on spans.
const (
	attrSluiceID         = attribute.Key("sluice.id")
	attrSluiceRoute      = attribute.Key("sluice.route")
	attrSluiceOutcome    = attribute.Key("sluice.outcome")
	attrSluiceCode       = attribute.Key("sluice.error.code")
	attrSluiceTenant     = attribute.Key("sluice.tenant")
	attrSluiceKey        = attribute.Key("sluice.key")
	attrSluicePlane      = attribute.Key("sluice.plane")
	attrSluicePolicy     = attribute.Key("sluice.policy.version")
	attrSluiceBoundaries = attribute.Key("sluice.boundaries")
	attrSluiceCarried    = attribute.Key("sluice.carried_by")
	attrSluiceCache      = attribute.Key("sluice.cache")
	attrSluiceLikeness   = attribute.Key("sluice.cache.likeness")
	attrSluiceRule       = attribute.Key("sluice.rule")
	attrSluiceClass      = attribute.Key("sluice.class")
	attrSluiceClassP     = attribute.Key("sluice.class.probability")
	attrSluiceGain       = attribute.Key("sluice.gain")
	attrSluiceWhy        = attribute.Key("sluice.gain.features") // of the prompt's look: never a word of it
	attrSluiceNovelty    = attribute.Key("sluice.novelty")
	attrSluiceTier       = attribute.Key("sluice.tier")
	attrSluiceModel      = attribute.Key("sluice.model")
	attrSluiceProvider   = attribute.Key("sluice.provider")
	attrSluiceReason     = attribute.Key("sluice.reason")
	attrSluiceSession    = attribute.Key("sluice.session")
	attrSluiceAttempts   = attribute.Key("sluice.attempts")
	attrSluiceUsage      = attribute.Key("sluice.usage")
	attrSluiceEstInput   = attribute.Key("sluice.estimated.input_tokens")
	attrSluiceEstOutput  = attribute.Key("sluice.estimated.output_tokens")
	attrSluiceCost       = attribute.Key("sluice.cost.micro_usd")
	attrSluiceRescued    = attribute.Key("sluice.rescued")
	attrSluiceEscalated  = attribute.Key("sluice.escalated")

	attrAttemptIndex    = attribute.Key("sluice.attempt.index")
	attrAttemptModel    = attribute.Key("sluice.attempt.model")
	attrAttemptProvider = attribute.Key("sluice.attempt.provider")
	attrAttemptOwn      = attribute.Key("sluice.attempt.own")
	attrAttemptTier     = attribute.Key("sluice.attempt.tier")
	attrAttemptBy       = attribute.Key("sluice.attempt.by")
	attrAttemptCause    = attribute.Key("sluice.attempt.cause")
	attrAttemptFirst    = attribute.Key("sluice.attempt.time_to_first_token") // seconds
	attrAttemptUsage    = attribute.Key("sluice.attempt.usage")
	attrAttemptInput    = attribute.Key("sluice.attempt.input_tokens")
	attrAttemptOutput   = attribute.Key("sluice.attempt.output_tokens")
	attrAttemptCost     = attribute.Key("sluice.attempt.cost.micro_usd")
	attrAttemptRescue   = attribute.Key("sluice.attempt.rescue")
	attrAttemptThrown   = attribute.Key("sluice.attempt.escalated")
	attrAttemptAt       = attribute.Key("sluice.attempt.rescue.at") // bytes of the answer that the client had
)

// Names of metrics. The classic GenAI set, because dashboards know it; Prometheus spells them with underscores and suffixes.
const (
	metricTokens   = "gen_ai.client.token.usage"
	metricDuration = "gen_ai.client.operation.duration"
	metricFirst    = "gen_ai.client.operation.time_to_first_chunk"

	metricExchanges  = "sluice.exchanges"
	metricInFlight   = "sluice.exchanges.in_flight"
	metricAttempts   = "sluice.attempts"
	metricRescues    = "sluice.rescues"
	metricPanics     = "sluice.panics"
	metricEstimated  = "sluice.estimated.tokens"
	metricCost       = "sluice.cost"
	metricReloads    = "sluice.policy.reloads"
	metricLastReload = "sluice.policy.last_reload_success"
	metricDegraded   = "sluice.state.degraded"
	metricBreaker    = "sluice.breaker.state"
	metricRetries    = "sluice.retry.tokens"
	metricPoolUp     = "sluice.pool.endpoint.healthy"
	metricPoolLoad   = "sluice.pool.endpoint.in_flight"
	metricPoolTokens = "sluice.pool.endpoint.in_flight_tokens"
	metricDropped    = "sluice.telemetry.dropped"
	metricCache      = "sluice.cache"
	metricLedgerLost = "sluice.ledger.lost"
	metricFailed     = "sluice.telemetry.export_failures"
	metricBuild      = "sluice.build.info"
)

// Labels of Sluice's own metrics, as the contract spells them.
const (
	labelRoute    = attribute.Key("route")
	labelOutcome  = attribute.Key("outcome")
	labelProvider = attribute.Key("provider")
	labelModel    = attribute.Key("model")
	labelClass    = attribute.Key("class")
	labelType     = attribute.Key("type")
	labelResult   = attribute.Key("result")
	labelUse      = attribute.Key("use")
	labelTarget   = attribute.Key("target")
	labelEndpoint = attribute.Key("endpoint")
	labelSignal   = attribute.Key("signal")
	labelVersion  = attribute.Key("version")
	labelGo       = attribute.Key("go")
)

// The buckets that the conventions recommend.
var (
	tokenBuckets   = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
	secondsBuckets = []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
)

// knownMethods are those that a span may name; any other is _OTHER, because the text is the client's.
var knownMethods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "DELETE": true, "CONNECT": true, "OPTIONS": true, "TRACE": true, "PATCH": true, "QUERY": true,
}

// knownCodes are the error codes that may stand in error.type: those that Sluice makes and the common ones that it lets through. Any other
// code is some upstream's text, and the outcome stands in its place.
var knownCodes = map[string]bool{
	"invalid_request_error": true, "invalid_api_key": true, "policy_denied": true, "model_not_found": true, "rate_limit_exceeded": true,
	"insufficient_quota": true, "upstream_failed": true, "upstream_auth_failed": true, "no_target_available": true, "overloaded": true,
	"upstream_timeout": true, "internal_error": true, "state_unavailable": true, "stream_interrupted": true, "context_length_exceeded": true,
	"content_filter": true, "method_not_allowed": true, "request_too_large": true, "not_found": true,
}
