package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
)

// localTimeout bounds the look at a loopback port: what does not answer by then is not there.
const localTimeout = 300 * time.Millisecond

// localPort is where an engine listens unless told otherwise.
type localPort struct {
	name, engine string
	port         int
}

// localPorts are looked at when there is no policy. llama.cpp and TGI share a port, as vLLM and others do; the answer tells them apart.
var localPorts = []localPort{{"ollama", "ollama", 11434}, {"llamacpp", "llamacpp", 8080}, {"vllm", "vllm", 8000}, {"sglang", "sglang", 30000}}

// defaultModel is what is called at a provider that no policy describes. Prices are USD per million tokens; none = unknown.
type defaultModel struct {
	name    string
	in, out float64
}

// defaultModels are by preset. A provider that is not here needs a model's name in SLUICE_MODEL_<PRESET>.
var defaultModels = map[string]defaultModel{
	"openai":    {"gpt-5.5", 5, 30},
	"anthropic": {"claude-sonnet-5", 2, 10},
	"gemini":    {"gemini-3.5-flash", 1.5, 9},
	"groq":      {"openai/gpt-oss-120b", .15, .60},
	"moonshot":  {"kimi-k2.6", .95, 4},
}

// maxLocalModels bounds how many models of one engine become part of a policy that nobody wrote.
const maxLocalModels = 16

// foundEngine is an engine that answered, with the models that it has.
type foundEngine struct {
	localPort
	models []providers.ModelInfo
}

// foundKey is a provider whose key is in the environment.
type foundKey struct {
	preset policies.Preset
	model  defaultModel
}

var errNothingFound = errors.New("nothing to serve: write a policy and name it with --config, or set a provider's key (as in OPENAI_API_KEY or ANTHROPIC_API_KEY), or start Ollama, llama.cpp or vLLM on its usual port")

// discover makes a policy from what is there: engines on loopback as the pool, providers whose keys are in the environment as the external
// side. It says what it found.
func discover(w *world) (*policies.Policy, error) {
	engines := findEngines(w.ctx, localPorts)
	keys, skipped := findKeys(w)
	for _, e := range engines {
		fmt.Fprintf(w.stderr, "found %s on 127.0.0.1:%d with %s\n", e.engine, e.port, count(len(e.models), "model"))
	}
	for _, k := range keys {
		fmt.Fprintf(w.stderr, "found %s: %s answers with %s (calls cost money)\n", k.preset.KeyEnv, k.preset.Name, k.model.name)
	}
	for _, s := range skipped {
		fmt.Fprintln(w.stderr, s)
	}
	if len(engines)+len(keys) == 0 {
		return nil, errNothingFound
	}
	text := foundPolicy(engines, keys) + fmt.Sprintf("server: {listen: %q, admin: %q}\n", freeAddress(8080, 8090, 8180), freeAddress(8081, 8091, 8181))
	p, ps := policies.LoadBytes("what was found", []byte(text), w.options(false))
	if len(ps) > 0 {
		return nil, ps
	}
	return p, nil
}

// freeAddress returns the first of the loopback ports that nobody listens on: llama.cpp's usual port is Sluice's too. When all are taken it is
// whatever the system gives.
func freeAddress(ports ...int) string {
	for _, port := range ports {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	return "127.0.0.1:0"
}

// findEngines asks every usual port at once.
func findEngines(ctx context.Context, ports []localPort) []foundEngine {
	ctx, cancel := context.WithTimeout(ctx, localTimeout)
	defer cancel()
	found := make([]foundEngine, len(ports))
	var wg sync.WaitGroup
	for i, p := range ports {
		wg.Go(func() { found[i] = foundEngine{p, localModels(ctx, p.port)} })
	}
	wg.Wait()
	return slices.DeleteFunc(found, func(e foundEngine) bool { return len(e.models) == 0 })
}

// localModels lists the models of an OpenAI-like server on a loopback port; nil when there is none.
func localModels(ctx context.Context, port int) []providers.ModelInfo {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/v1/models", port), nil)
	if err != nil {
		return nil
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Sluice-Request-Id") != "" { // the latter is another Sluice
		return nil
	}
	models, err := providers.ParseModels(body)
	if err != nil {
		return nil
	}
	models = slices.DeleteFunc(models, func(m providers.ModelInfo) bool { return !plain(m.ID) })
	return models[:min(len(models), maxLocalModels)]
}

// plain reports whether a model's id can stand in a policy as a name.
func plain(id string) bool {
	return id != "" && len(id) <= 100 && strings.TrimSpace(id) == id && !strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' || r == '*' })
}

// findKeys looks for the customary variables of the presets. What it cannot use it names.
func findKeys(w *world) (keys []foundKey, skipped []string) {
	presets := providers.Presets()
	for _, name := range slices.Sorted(maps.Keys(presets)) {
		pr := presets[name]
		if v, ok := w.env(pr.KeyEnv); !ok || strings.TrimSpace(v) == "" {
			continue
		}
		variable := "SLUICE_MODEL_" + strings.ToUpper(name)
		model := defaultModels[name]
		if other, ok := w.env(variable); ok && other != "" {
			model = defaultModel{name: other}
		}
		switch {
		case strings.Contains(pr.BaseURL, "{"):
			skipped = append(skipped, fmt.Sprintf("found %s, but %s needs a base_url of your own: write a policy", pr.KeyEnv, name))
		case model.name == "":
			skipped = append(skipped, fmt.Sprintf("found %s, but no model to call at %s: set %s", pr.KeyEnv, name, variable))
		default:
			keys = append(keys, foundKey{pr, model})
		}
	}
	return keys, skipped
}

// foundPolicy writes the policy, as text: what was found is checked like any other file. JSON strings are YAML, so names need no care.
func foundPolicy(engines []foundEngine, keys []foundKey) string {
	var prov, models strings.Builder
	var cheap, strong, direct []string
	for _, e := range engines {
		fmt.Fprintf(&prov, "  %s: {engine: %s, endpoints: [\"http://127.0.0.1:%d\"]}\n", e.name, e.engine, e.port)
		for _, m := range e.models {
			key := strconv.Quote(e.name + "/" + m.ID)
			fmt.Fprintf(&models, "  %s: {provider: %s, name: %s", key, e.name, strconv.Quote(m.ID))
			if m.Context > 0 {
				fmt.Fprintf(&models, ", context: %d", m.Context)
			}
			models.WriteString("}\n")
			direct = append(direct, key)
			if !strings.Contains(strings.ToLower(m.ID), "embed") {
				cheap = append(cheap, key)
			}
		}
	}
	for _, k := range keys {
		n := k.preset.Name
		fmt.Fprintf(&prov, "  %s: {preset: %s, keys: [{env: %s}]}\n", n, n, k.preset.KeyEnv)
		key := strconv.Quote(n + "/" + k.model.name)
		fmt.Fprintf(&models, "  %s: {provider: %s, name: %s", key, n, strconv.Quote(k.model.name))
		if k.model.in > 0 {
			fmt.Fprintf(&models, ", price: {in: %g, out: %g}", k.model.in, k.model.out)
		}
		models.WriteString("}\n")
		direct = append(direct, key)
		strong = append(strong, key)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nproviders:\n%smodels:\n%s", prov.String(), models.String())
	tiers, auto := "", ""
	for _, t := range []struct {
		name   string
		models []string
	}{{"cheap", cheap}, {"strong", strong}} {
		if len(t.models) > 0 {
			tiers += fmt.Sprintf("  - {name: %s, models: [%s]}\n", t.name, strings.Join(t.models, ", "))
		}
	}
	if tiers != "" {
		b.WriteString("tiers:\n" + tiers)
		auto = "  auto: {rules: [{use: by_gain}], fallback: [same_tier, stronger, weaker]}\n"
	}
	if len(engines) > 0 {
		b.WriteString("boundaries:\n  - {name: private stays home, when: 'req.headers[\"x-data-class\"] == \"private\"', only: own}\n")
	}
	b.WriteString("routes:\n" + auto)
	for _, key := range direct {
		fmt.Fprintf(&b, "  %s: {rules: [{use: [%s]}]}\n", key, key)
	}
	return b.String()
}
