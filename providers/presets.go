package providers

import (
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// Traits are what is peculiar to a provider beyond how it is reached.
type Traits struct {
	// System is the value of gen_ai.provider.name.
	System string
	// Limits names the family of its rate-limit headers, a key of the table in limits.go; "" = none that can be relied on.
	Limits string
	// NoStreamUsage: it refuses stream_options as a field that it does not know, and counts without being asked.
	NoStreamUsage bool
	// MaxTokensField is the name under which a limit on the answer is written; "" = max_tokens.
	MaxTokensField string
	// Continues: its models, or some of them, go on with the text of a last assistant message; the others refuse it. Of everybody else it is
	// known that they begin another message, or not known.
	Continues bool
	// ContinueMember is the member that such a message must have; "" = none.
	ContinueMember string
}

// entry is one row of the table: base URL, the customary variable of the key, where the key goes, traits.
type entry struct {
	base   string
	key    string
	header string // "" = Authorization: Bearer
	traits Traits
	// untrained: as documented in November 2026, what its API is asked is not trained on unless the account agrees.
	untrained bool
}

// table holds the OpenAI-compatible endpoint of each provider. {placeholders} must be replaced by the policy's base_url.
var table = map[string]entry{
	"openai":      {base: "https://api.openai.com/v1", key: "OPENAI_API_KEY", traits: Traits{System: "openai", Limits: "openai", MaxTokensField: "max_completion_tokens"}, untrained: true},
	"azure":       {base: "https://{resource}.openai.azure.com/openai/v1", key: "AZURE_OPENAI_API_KEY", header: "Api-Key", traits: Traits{System: "azure.ai.openai", Limits: "azure", MaxTokensField: "max_completion_tokens"}, untrained: true},
	"groq":        {base: "https://api.groq.com/openai/v1", key: "GROQ_API_KEY", traits: Traits{System: "groq", Limits: "openai", MaxTokensField: "max_completion_tokens", Continues: true}},
	"together":    {base: "https://api.together.ai/v1", key: "TOGETHER_API_KEY", traits: Traits{System: "together_ai", Limits: "together"}},
	"fireworks":   {base: "https://api.fireworks.ai/inference/v1", key: "FIREWORKS_API_KEY", traits: Traits{System: "fireworks_ai", Limits: "fireworks"}},
	"mistral":     {base: "https://api.mistral.ai/v1", key: "MISTRAL_API_KEY", traits: Traits{System: "mistral_ai", Limits: "mistral", NoStreamUsage: true, Continues: true, ContinueMember: "prefix"}},
	"deepseek":    {base: "https://api.deepseek.com/v1", key: "DEEPSEEK_API_KEY", traits: Traits{System: "deepseek"}},
	"moonshot":    {base: "https://api.moonshot.ai/v1", key: "MOONSHOT_API_KEY", traits: Traits{System: "moonshot_ai", Continues: true, ContinueMember: "partial"}},
	"xai":         {base: "https://api.x.ai/v1", key: "XAI_API_KEY", traits: Traits{System: "x_ai", Limits: "openai"}},
	"openrouter":  {base: "https://openrouter.ai/api/v1", key: "OPENROUTER_API_KEY", traits: Traits{System: "openrouter", Continues: true}},
	"cerebras":    {base: "https://api.cerebras.ai/v1", key: "CEREBRAS_API_KEY", traits: Traits{System: "cerebras", Limits: "cerebras", MaxTokensField: "max_completion_tokens"}},
	"nebius":      {base: "https://api.tokenfactory.nebius.com/v1", key: "NEBIUS_API_KEY", traits: Traits{System: "nebius"}},
	"nvidia":      {base: "https://integrate.api.nvidia.com/v1", key: "NVIDIA_API_KEY", traits: Traits{System: "nvidia"}},
	"gmi":         {base: "https://api.gmi-serving.com/v1", key: "GMI_API_KEY", traits: Traits{System: "gmi_cloud"}},
	"gemini":      {base: "https://generativelanguage.googleapis.com/v1beta/openai", key: "GEMINI_API_KEY", traits: Traits{System: "gcp.gemini"}},
	"anthropic":   {base: "https://api.anthropic.com/v1", key: "ANTHROPIC_API_KEY", traits: Traits{System: "anthropic", Limits: "anthropic", Continues: true}, untrained: true},
	"bedrock":     {base: "https://bedrock-runtime.{region}.amazonaws.com/openai/v1", key: "AWS_BEARER_TOKEN_BEDROCK", traits: Traits{System: "aws.bedrock"}, untrained: true},
	"cloudflare":  {base: "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1", key: "CLOUDFLARE_API_TOKEN", traits: Traits{System: "cloudflare.workers_ai"}, untrained: true},
	"huggingface": {base: "https://router.huggingface.co/v1", key: "HF_TOKEN", traits: Traits{System: "huggingface"}},
	"perplexity":  {base: "https://api.perplexity.ai/v1", key: "PERPLEXITY_API_KEY", traits: Traits{System: "perplexity"}},
}

// Presets returns the table in the form that policies compile with. The caller owns the map.
func Presets() map[string]policies.Preset {
	all := make(map[string]policies.Preset, len(table))
	for name, e := range table {
		auth := policies.AuthForm{Header: "Authorization", Prefix: "Bearer "}
		if e.header != "" {
			auth.Header, auth.Prefix = e.header, ""
		}
		all[name] = policies.Preset{Name: name, Dialect: string(llm.OpenAI), BaseURL: e.base, KeyEnv: e.key, Auth: auth, NeedsKey: true, Untrained: e.untrained}
	}
	return all
}

// TraitsOf returns what is peculiar to a provider. A pool and a provider without a preset have no traits but their system's name.
func TraitsOf(p *policies.Provider) Traits {
	if p.Own {
		return Traits{System: EngineOf(p).System}
	}
	if e, ok := table[p.Preset]; ok {
		return e.traits
	}
	return Traits{System: "openai", Limits: "openai"} // the conventions' word for a server of that dialect
}

// System returns the value of gen_ai.provider.name for a provider.
func System(p *policies.Provider) string { return TraitsOf(p).System }

// Continuation returns how a provider is asked to go on with an answer that has begun; false = it is not known to do that.
func Continuation(p *policies.Provider) (openai.Continuation, bool) {
	if p.Own {
		e := EngineOf(p)
		return openai.Continuation{Final: e.ContinueFinal}, e.Continues
	}
	t := TraitsOf(p)
	return openai.Continuation{Member: t.ContinueMember}, t.Continues
}
