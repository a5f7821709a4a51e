package providers

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/policies"
)

// Engine is what is known of a server program that own pools run. Paths start at the server's root, not at /v1.
type Engine struct {
	Name   string
	System string // gen_ai.provider.name
	Port   int    // where it listens unless told otherwise
	// Health is a cheap probe; Ready, where it differs, is a dear one that generates a token: only for an endpoint that comes back.
	Health, Ready string
	// HealthElse is asked where Health is a 404.
	HealthElse string
	Models     string
	Metrics    string // "" = none
	Gauges     Gauges
	// RunsOnAfterHangup: a unary call goes on after its client has gone, so it is asked as a stream, whose end frees the slot.
	RunsOnAfterHangup bool
	// Overload are the statuses with which it says that its queue is full: back-pressure, not ill health.
	Overload []int
	// Continues: it can go on with the text of a last assistant message. ContinueFinal: it must be told to, by continue_final_message.
	Continues     bool
	ContinueFinal bool
	// AnyModel: it answers under whatever name it is called, so a wrong name is not noticed.
	AnyModel bool
}

// Gauges are the names of an engine's Prometheus metrics that tell its load; "" = it has none such.
type Gauges struct{ Running, Waiting, KVUsage, PrefixHits string }

// engines is the table.
var engines = map[string]Engine{
	"vllm": {
		System: "vllm", Port: 8000, Health: "/health", Metrics: "/metrics", Overload: []int{503, 429}, Continues: true, ContinueFinal: true,
		Gauges: Gauges{"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:prefix_cache_hits"},
	},
	"sglang": {
		System: "sglang", Port: 30000, Health: "/health", Ready: "/health_generate", Metrics: "/metrics", Overload: []int{503}, Continues: true, ContinueFinal: true,
		Gauges: Gauges{"sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage", "sglang:cache_hit_rate"},
	},
	"llamacpp": {
		System: "llama_cpp", Port: 8080, Health: "/health", Metrics: "/metrics", RunsOnAfterHangup: true, Overload: []int{503}, Continues: true, AnyModel: true,
		Gauges: Gauges{Running: "llamacpp:requests_processing", Waiting: "llamacpp:requests_deferred"},
	},
	"ollama": {System: "ollama", Port: 11434, Health: "/api/version", Overload: []int{503}, Continues: true},
	"tgi": {
		System: "tgi", Port: 8080, Health: "/health", Metrics: "/metrics", Overload: []int{429}, AnyModel: true,
		Gauges: Gauges{Running: "tgi_batch_current_size", Waiting: "tgi_queue_size"},
	},
	"lmdeploy": {
		System: "lmdeploy", Port: 23333, Health: "/health", Metrics: "/metrics", Overload: []int{503},
		Gauges: Gauges{Running: "lmdeploy:num_requests_running", Waiting: "lmdeploy:num_requests_waiting", KVUsage: "lmdeploy:gpu_cache_usage_perc"},
	},
	"trtllm": {
		System: "tensorrt_llm", Port: 8000, Health: "/health", Ready: "/health_generate", Metrics: "/prometheus/metrics", Overload: []int{503},
		Gauges: Gauges{"trtllm_num_requests_running", "trtllm_num_requests_waiting", "trtllm_kv_cache_utilization", "trtllm_kv_cache_hit_rate"},
	},
	"openai": {System: "openai", Port: 8000, Health: "/health", HealthElse: "/v1/models", Overload: []int{503}},
}

// EngineOf returns the engine of an own pool, and for any other provider the zero Engine. An unknown engine is taken for one of which
// nothing is known but its dialect.
func EngineOf(p *policies.Provider) Engine {
	if !p.Own {
		return Engine{}
	}
	e, _ := EngineNamed(p.Engine)
	return e
}

// EngineNamed returns the engine of a name in the policy; false and the engine "openai" for an unknown one.
func EngineNamed(name string) (Engine, bool) {
	e, ok := engines[name]
	if !ok {
		name, e = "openai", engines["openai"]
	}
	e.Name, e.Models = name, "/v1/models"
	if e.Ready == "" {
		e.Ready = e.Health
	}
	return e, ok
}

// Health is what a probe found.
type Health uint8

// The states of an endpoint, from best to worst.
const (
	Ready   Health = iota
	Loading        // up, but its model is not loaded yet
	Full           // up, but it takes no more requests for now
	Down
)

// String names the state.
func (h Health) String() string { return [...]string{"ready", "loading", "full", "down"}[h] }

// Judge reads the answer to a health probe. A status of 401 is ready: probes carry no credential.
func (e Engine) Judge(status int, body []byte) Health {
	lower := bytes.ToLower(body[:min(len(body), 4096)])
	switch {
	case status == http.StatusOK && bytes.Contains(lower, []byte(`"no slot available"`)):
		return Full
	case status == http.StatusOK, status == http.StatusNoContent, status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Ready
	case status == http.StatusServiceUnavailable && bytes.Contains(lower, []byte("loading")):
		return Loading
	case status == http.StatusServiceUnavailable && (bytes.Contains(lower, []byte("starting")) || bytes.Contains(lower, []byte("warm"))):
		return Loading
	case status == http.StatusServiceUnavailable && (bytes.Contains(lower, []byte("queue")) || bytes.Contains(lower, []byte("no slot"))):
		return Full
	}
	return Down
}

// ModelInfo is one row of a server's list of models.
type ModelInfo struct {
	ID      string
	Context int    // tokens; 0 = it does not say
	Parent  string // the base model of an adapter
}

// errNoModels is the error of a list of models that is none.
var errNoModels = errors.New("answer is not a list of models")

// maxModels bounds how many rows are read.
const maxModels = 10_000

// ParseModels reads GET /v1/models of any engine, and Ollama's /api/tags.
func ParseModels(body []byte) ([]ModelInfo, error) {
	if !jsonedit.Valid(body, 64) {
		return nil, errNoModels
	}
	root := jsonedit.Parse(body)
	rows := root.Field("data")
	if rows.Kind() != jsonedit.Array {
		rows = root.Field("models")
	}
	if root.Kind() == jsonedit.Array { // Together's
		rows = root
	}
	if rows.Kind() == jsonedit.Null && root.Field("object").String() == "list" { // Ollama without a model
		return nil, nil
	}
	if rows.Kind() != jsonedit.Array {
		return nil, errNoModels
	}
	var models []ModelInfo
	rows.Each(func(row jsonedit.Value) bool {
		if m := modelInfo(row); m.ID != "" {
			models = append(models, m)
		}
		return len(models) < maxModels
	})
	return models, nil
}

func modelInfo(row jsonedit.Value) (m ModelInfo) {
	name := ""
	row.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "id":
			m.ID = strings.Clone(v.String())
		case "name", "model":
			if name == "" {
				name = strings.Clone(v.String())
			}
		case "parent":
			m.Parent = strings.Clone(v.String())
		case "max_model_len", "context_length", "context_window", "max_context_length":
			m.Context = max(m.Context, window(v))
		case "meta":
			m.Context = max(m.Context, window(v.Field("n_ctx")))
		}
		return true
	})
	if m.ID == "" {
		m.ID = name
	}
	return m
}

// window is a number of tokens that can be true.
func window(v jsonedit.Value) int {
	if n := v.Int(); n > 0 && n < 1<<40 {
		return int(n)
	}
	return 0
}
