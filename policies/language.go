package policies

// Words that more than one place of the language knows.
var (
	engines    = []string{"vllm", "sglang", "llamacpp", "ollama", "tgi", "lmdeploy", "trtllm", "openai"}
	dialects   = []string{"openai"}
	abilities  = []string{"chat", "completions", "embeddings", "tools", "json", "vision", "audio", "files", "logprobs"}
	causes     = []string{"connect", "reset", "timeout", "429", "5xx", "error_event"}
	fallbacks  = []string{"same_tier", "stronger", "weaker"}
	roles      = []string{"viewer", "operator", "admin"}
	contents   = []string{"off", "redacted", "full"}
	escalators = []string{"refusal", "truncated", "invalid_json", "empty", "loop", "language", "unsure"}
)

const onlyForm = "must be own, zdr, no_training or a list of providers"

// language is the whole policy language as a table: what a file may hold, section by section.
func language() *shape {
	return record(
		req("version", choice("1"), "version of the policy language"),
		req("providers", dict(providerShape()), "who can answer"),
		req("models", dict(modelShape()), "what can be called; the key is the name that tiers and records use"),
		opt("tiers", listOf(record(
			req("name", of(nameShape), "name that rules use"),
			req("models", listOf(of(nameShape)).some(), "models in order of preference"),
		)), "models by strength, from cheap to strong"),
		opt("boundaries", listOf(record(
			req("name", of(nameShape), "name that refusals and explanations show"),
			opt("when", of(exprShape), "a condition; absent = always"),
			req("only", either(choice("own", "zdr", "no_training").saying(onlyForm), listOf(of(nameShape))).saying(onlyForm), "the providers that may see the request: own, zdr, no_training, or a list"),
		)), "hard limits: all that hold apply together, before any rule, to every route, path and model name"),
		req("routes", dict(routeShape()), "what a client may write in \"model\""),
		opt("passthrough", dict(of(nameShape)), "paths without a model, each with the provider that gets them"),
		opt("auth", authShape(), "credentials of the gateway itself"),
		opt("tenants", dict(tenantShape()), "who may ask"),
		opt("state", stateShape(), "where state lives"),
		opt("server", serverShape(), "where and how the gateway listens"),
		opt("feedback", of(booleanShape), "keep labelled records of outcomes"),
		opt("telemetry", record(
			opt("otlp", record(req("endpoint", either(of(textShape), envShape()), "an address, or {env: NAME}")), "where OpenTelemetry data go"),
			opt("content", choice(contents...), "whether prompts and answers are recorded"),
			opt("access_log", of(booleanShape), "one line an exchange"),
		), "where records go"),
		opt("tests", listOf(testShape()), "checked by `sluice check` and before every reload"),
	)
}

func envShape() *shape { return record(req("env", of(textShape), "name of an environment variable")) }

func providerShape() *shape {
	return record(
		opt("engine", choice(engines...), "an own pool: the server that its endpoints run"),
		opt("endpoints", listOf(of(textShape)).some(), "an own pool: base URLs, with or without /v1"),
		opt("preset", of(nameShape), "an external provider that Sluice knows"),
		opt("dialect", choice(dialects...), "an external provider by the dialect it speaks"),
		opt("base_url", of(textShape), "base URL of an external provider"),
		opt("auth", record(
			req("header", of(nameShape), "header that takes the key; default Authorization: Bearer"),
			opt("prefix", of(textShape), "text before the key"),
		), "how the provider takes its key"),
		opt("keys", listOf(of(secretShape)), "credentials; several rotate"),
		opt("gpu", record(
			req("usd_per_hour", of(numberShape).from(0), "price of one GPU, USD an hour"),
			opt("count", of(integerShape).from(1), "GPUs"),
		), "what an own pool costs"),
		opt("region", of(nameShape), "where the provider computes; residency needs it"),
		opt("zdr", of(booleanShape), "it keeps nothing of a request"),
		opt("trains", of(booleanShape), "what it is asked may be trained on"),
		opt("concurrent", of(integerShape).from(1), "requests in flight; absent = no limit"),
		opt("queue", record(
			req("max", of(integerShape).from(0), "requests that wait"),
			req("wait", of(durationShape), "how long"),
		), "what waits beyond concurrent"),
		opt("on_cancel", either(choice("cancel", "drain"), record(req("drain", of(tokensShape).from(1), "tokens"))), "what happens to the upstream when a client leaves"),
		opt("trace_context", of(booleanShape), "send traceparent to the provider"),
		opt("ca", of(textShape), "file of PEM certificates to trust"),
		opt("proxy", of(textShape), "HTTP proxy on the way out"),
	)
}

func modelShape() *shape {
	return record(
		req("provider", of(nameShape), "who runs it"),
		req("name", of(nameShape), "its name there"),
		opt("context", of(tokensShape).from(1), "tokens of its window"),
		opt("can", listOf(choice(abilities...)), "what it can do; absent = unknown"),
		opt("price", record(append(rateFields(),
			opt("request", of(numberShape).from(0), "USD a request, beside the tokens"),
			opt("tiers", listOf(record(append(rateFields(), req("above", of(tokensShape).from(1), "prompt tokens beyond which it holds"))...)).some(), "prices of longer prompts, for the whole request"),
		)...), "what it costs; absent = by the catalogue of the preset"),
	)
}

func rateFields() []field {
	return []field{
		req("in", of(numberShape).from(0), "USD per million prompt tokens"),
		req("out", of(numberShape).from(0), "USD per million completion tokens"),
		opt("cached", of(numberShape).from(0), "USD per million cached prompt tokens; absent = in"),
		opt("written", of(numberShape).from(0), "USD per million prompt tokens written to the provider's cache; absent = in"),
		opt("reasoning", of(numberShape).from(0), "USD per million reasoning tokens; absent = out"),
	}
}

func routeShape() *shape {
	return record(
		opt("match", listOf(of(nameShape)), "names and patterns beside its own name; * stands for any run of characters"),
		req("rules", listOf(record(
			opt("name", of(nameShape), "name that explanations show"),
			opt("when", of(exprShape), "a condition; absent = always"),
			req("use", either(of(nameShape), listOf(of(nameShape)).some()), "a tier, a list of models, or by_gain"),
		)).some(), "the first whose condition holds decides"),
		opt("by_gain", record(
			opt("prefer", choice("cheap", "strong"), "which end of the tiers is the default"),
			opt("above", of(numberShape).from(-1).upTo(1), "gain above which the strongest tier answers"),
			opt("max_regret", of(numberShape).from(0).upTo(1), "largest loss of quality"),
			opt("calibration", of(textShape), "file of measured gains"),
			opt("quality_value", of(numberShape).from(0), "USD that a right answer is worth"),
		), "how by_gain chooses"),
		opt("fallback", listOf(choice(fallbacks...)), "where attempts go when a tier's models are used up"),
		opt("attempts", record(
			opt("per_model", of(integerShape).from(1).upTo(10), "requests to one model"),
			opt("total", of(integerShape).from(1).upTo(50), "requests altogether"),
			opt("on", listOf(choice(causes...)), "failures after which another attempt is made"),
		), "how often upstreams are asked"),
		opt("timeouts", record(
			opt("connect", positive(), "until a connection stands"),
			opt("headers", positive(), "from the request to the answer's head (streams)"),
			opt("first_token", positive(), "from the request to the first real event (streams)"),
			opt("idle", positive(), "between events (streams)"),
			opt("answer", positive(), "from the request to the end of a JSON answer"),
			opt("total", positive(), "the whole exchange"),
		), "limits of one exchange"),
		opt("carrier", choice("executor", "envoy"), "who carries the answer in the Envoy plane"),
		opt("rescue", choice("off", "verified", "continue"), "what happens to a stream that breaks"),
		opt("escalate", record(
			req("on", listOf(choice(escalators...)).some(), "signs of a bad answer"),
			opt("max", of(integerShape).from(0), "times"),
			opt("hold", record(opt("tokens", of(tokensShape), "tokens"), opt("time", of(durationShape), "time")), "how much is held back"),
		), "ask a stronger model when an answer is bad"),
		opt("session", record(
			opt("header", of(nameShape), "header that names the conversation"),
			opt("sticky", of(durationShape), "how long a conversation keeps its model"),
			opt("tool_turns", choice("locked", "free"), "whether answers to tools keep the model"),
			opt("direction", choice("up", "any"), "where a conversation may move"),
		), "how a conversation keeps its model"),
		opt("cache", record(
			opt("exact", either(positive(), record(req("ttl", positive(), "time to live"), opt("force", of(booleanShape), "also when temperature is not 0"))), "same request, same answer"),
			opt("semantic", record(
				req("model", of(nameShape), "an embedding model"),
				req("ttl", positive(), "time to live"),
				opt("threshold", of(numberShape).from(0).upTo(1), "smallest likeness of two questions"),
				opt("timeout", positive(), "of one embedding"),
			), "like question, same answer"),
		), "recorded answers"),
		opt("keepalive", choice("committed", "early", "off"), "comments that keep a quiet stream open"),
		opt("lossy", choice("warn", "reject"), "a field that the chosen dialect cannot carry"),
		opt("max_tokens", record(opt("default", of(tokensShape).from(1), "when absent"), opt("cap", of(tokensShape).from(1), "at most")), "limits written into requests"),
		opt("residency", listOf(of(nameShape)).some(), "regions that may see the request"),
		opt("content", choice(contents...), "whether prompts and answers are recorded"),
		opt("limits", limitsShape(), "rates"),
		opt("budget", budgetShape(), "money"),
	)
}

func positive() *shape { return of(durationShape).from(0.001) }

func limitsShape() *shape {
	return record(
		opt("requests", of(rateShape), "requests a time"),
		opt("tokens", of(rateShape), "tokens a time"),
		opt("concurrent", of(integerShape).from(1), "at once"),
	)
}

func budgetShape() *shape {
	modes := []string{"refuse", "lowest_tier", "warn"}
	return record(
		req("usd", of(numberShape).from(0), "USD a period"),
		opt("per", choice("day", "week", "month"), "the period"),
		opt("zone", of(textShape), "time zone in which periods begin"),
		opt("on_exceed", choice(modes...), "when it is used up"),
		opt("unknown_price", choice(modes...), "when a price is unknown"),
	)
}

func authShape() *shape {
	return record(
		opt("admin", listOf(record(
			req("id", of(nameShape), "name of the key"),
			req("role", choice(roles...), "what it may do"),
			req("hash", of(textShape), "hmac-sha256: and 64 hex digits"),
		)), "keys of the admin listener"),
		opt("pepper", of(secretShape), "secret that keys are hashed with"),
		opt("previous_pepper", of(secretShape), "the one before, while keys move"),
		opt("oidc", listOf(record(
			req("issuer", of(textShape), "URL of the issuer"),
			req("audience", of(textShape), "whom tokens are for"),
			opt("tenant", of(textShape), "claim that names the tenant"),
			opt("labels", dict(of(textShape)), "claims that become labels"),
		)), "tokens of an identity provider"),
	)
}

func tenantShape() *shape {
	return record(
		opt("keys", listOf(record(
			req("id", of(nameShape), "name of the key"),
			req("hash", of(textShape), "hmac-sha256: and 64 hex digits"),
			opt("expires", of(expiryShape), "a date (its end, UTC) or RFC 3339"),
			opt("routes", listOf(of(nameShape)), "routes and passthrough paths it may use; absent = all, [] = none"),
			opt("models", listOf(of(nameShape)), "models it may call by their own name"),
			opt("labels", dict(of(textShape)), "labels for expressions and records"),
			opt("limits", limitsShape(), "rates"),
			opt("budget", budgetShape(), "money"),
		)), "credentials of the tenant"),
		opt("limits", limitsShape(), "rates"),
		opt("budget", budgetShape(), "money"),
		opt("residency", listOf(of(nameShape)).some(), "regions that may see the tenant's requests"),
	)
}

func stateShape() *shape {
	return record(
		opt("path", of(textShape), "folder of the embedded store"),
		opt("ledger", record(opt("keep", positive(), "how long a row stays")), "what every attempt cost"),
		opt("redis", record(
			req("url", either(of(textShape), of(secretShape)), "redis:// or rediss://…, or {env: NAME} or {file: path}"),
			opt("timeout", positive(), "of one command"),
			opt("on_failure", record(
				opt("limits", choice("local", "refuse", "open"), "rates"),
				opt("budget", choice("local_slack", "refuse", "open"), "money"),
				opt("cache", choice("miss"), "recorded answers"),
			), "what holds while it is away"),
		), "shared state of several gateways"),
	)
}

func serverShape() *shape {
	return record(
		opt("listen", of(textShape), "address of the API"),
		opt("admin", of(textShape), "address of the admin listener"),
		opt("tls", record(opt("cert", of(textShape), "PEM file"), opt("key", of(textShape), "PEM file")), "TLS on the API"),
		opt("auth", choice("required", "none"), "whether clients need a key"),
		opt("body_limit", of(sizeShape).from(1), "JSON bodies"),
		opt("upload_limit", of(sizeShape).from(1), "opaque uploads"),
		opt("concurrent", of(integerShape).from(1), "exchanges at once"),
		opt("memory", of(sizeShape).from(1), "bodies and buffers together"),
		opt("headers", choice("full", "basic"), "what clients see of x-sluice-*"),
		opt("cors", listOf(of(textShape)), "origins of browsers"),
		opt("criticality", record(req("header", of(nameShape), "header that says how urgent a request is")), "what is shed first"),
		opt("envoy", record(opt("mode", choice("filter", "edge"), "how Envoy is used"), opt("binary", of(textShape), "auto, external or a path")), "with serve --plane envoy"),
	)
}

func testShape() *shape {
	return record(
		req("name", of(nameShape), "name of the test"),
		req("route", of(nameShape), "route that is asked"),
		req("prompt", of(textShape), "the user's words"),
		opt("headers", dict(of(textShape)), "headers of the request"),
		req("expect", record(
			opt("tier", of(nameShape), "tier that answers"),
			opt("model", of(nameShape), "model that is asked first"),
			opt("class", of(nameShape), "class of the prompt"),
			opt("rule", of(nameShape), "rule that decides"),
			opt("never", listOf(of(nameShape)).some(), "providers that the plan must not hold"),
			opt("denied", of(booleanShape), "nothing is eligible"),
		), "what must come out"),
	)
}
