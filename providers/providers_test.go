package providers

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

var noon = time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)

// TestRecordedErrors runs every answer of testdata/errors through Classify.
func TestRecordedErrors(t *testing.T) {
	files, _ := filepath.Glob("testdata/errors/*.txtar")
	if len(files) < 14 {
		t.Fatalf("%d fixtures, want one a provider", len(files))
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p := providerOf(strings.TrimSuffix(filepath.Base(file), ".txtar"))
		for _, f := range a.Files {
			t.Run(p.Name+"/"+f.Name, func(t *testing.T) {
				want, status, h, body := answer(t, f.Data)
				e := classify(p, status, h, body, noon)
				code := e.Code
				if code == "" {
					code = "-"
				}
				if got := fmt.Sprint(e.Class, " ", e.Status, " ", code, " ", e.RetryAfter); got != want {
					t.Errorf("got  %s\nwant %s (%v)", got, want, e)
				}
				if e.Message == "" || e.Type == "" || strings.Contains(e.Error(), "sk-proj") {
					t.Errorf("error is %v of type %q", e, e.Type)
				}
				if ours := e.Class != llm.ClassClient && e.Class != llm.ClassFiltered && e.Class != llm.ClassContextOverflow; ours == (e.Source == llm.SourceClient) {
					t.Errorf("source is %v", e.Source)
				}
			})
		}
	}
}

func providerOf(name string) *policies.Provider {
	p := &policies.Provider{Name: name, Preset: name}
	if e, ok := EngineNamed(name); ok && name != "openai" {
		p.Preset, p.Own, p.Engine = "", true, e.Name
	}
	return p
}

func answer(t *testing.T, data []byte) (want string, status int, h http.Header, body []byte) {
	t.Helper()
	head, rest, ok := strings.Cut(string(data), "\n\n")
	if !ok {
		t.Fatal("no blank line")
	}
	h = http.Header{}
	for line := range strings.SplitSeq(head, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "want":
			want = value
		case "status":
			fmt.Sscan(value, &status)
		default:
			h.Set(name, value)
		}
	}
	return want, status, h, []byte(rest)
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		header, value string
		want          time.Duration
		ok            bool
	}{
		{"Retry-After", "3", 3 * time.Second, true},
		{"Retry-After", "0.5", 500 * time.Millisecond, true},
		{"Retry-After", "Sun, 22 Nov 2026 15:00:20 GMT", 20 * time.Second, true},
		{"Retry-After", "Sun, 22 Nov 2026 14:00:00 GMT", 0, true},
		{"Retry-After", "86400", time.Hour, true},
		{"Retry-After", "1e300", 0, false},
		{"Retry-After", "-1", 0, false},
		{"Retry-After", "soon", 0, false},
		{"Retry-After-Ms", "250", 250 * time.Millisecond, true},
		{"Retry-After-Ms", "99999999999999", time.Hour, true},
		{"X-Other", "1", 0, false},
	} {
		got, ok := RetryAfter(http.Header{c.header: {c.value}}, noon)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %s = %v, %v; want %v, %v", c.header, c.value, got, ok, c.want, c.ok)
		}
	}
}

func TestEngines(t *testing.T) {
	for _, c := range []struct {
		engine string
		status int
		body   string
		want   Health
	}{
		{"llamacpp", 200, `{"status":"ok"}`, Ready},
		{"llamacpp", 503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`, Loading},
		{"llamacpp", 503, `{"error":{"code":503,"message":"no slot available","type":"unavailable_error"}}`, Full},
		{"vllm", 200, "", Ready},
		{"vllm", 503, "", Down},
		{"vllm", 401, `{"error":"Unauthorized"}`, Ready},
		{"sglang", 503, "Service is starting up", Loading},
		{"ollama", 200, `{"version":"0.12.0"}`, Ready},
		{"tgi", 503, `{"error":"unhealthy","error_type":"healthcheck"}`, Down},
		{"lmdeploy", 500, "", Down},
		{"trtllm", 200, "", Ready},
	} {
		e, ok := EngineNamed(c.engine)
		if got := e.Judge(c.status, []byte(c.body)); got != c.want || !ok {
			t.Errorf("%s %d %q: %v, want %v", c.engine, c.status, c.body, got, c.want)
		}
	}
	if e := EngineOf(&policies.Provider{Own: true, Engine: "llamacpp"}); !e.RunsOnAfterHangup || e.Ready != "/health" || e.Models != "/v1/models" {
		t.Errorf("llama.cpp is %+v", e)
	}
	if e := EngineOf(&policies.Provider{Engine: "llamacpp"}); e.RunsOnAfterHangup {
		t.Error("an external provider has no engine")
	}
}

func TestParseModels(t *testing.T) {
	for file, want := range map[string][]ModelInfo{
		"llamacpp-models.json": {{ID: "smollm2-135m", Context: 2048}},
		"vllm-models.json":     {{ID: "Qwen/Qwen3-8B", Context: 40960}, {ID: "sql-lora", Parent: "Qwen/Qwen3-8B"}},
		"sglang-models.json":   {{ID: "meta-llama/Llama-3.1-8B-Instruct", Context: 131072}},
		"ollama-models.json":   {{ID: "llama3.2:1b"}},
		"ollama-tags.json":     {{ID: "llama3.2:1b"}},
		"tgi-models.json":      {{ID: "HuggingFaceH4/zephyr-7b-beta"}},
		"lmdeploy-models.json": {{ID: "internlm/internlm2-chat-7b"}},
		"trtllm-models.json":   {{ID: "TinyLlama-1.1B-Chat-v1.0"}},
	} {
		body, err := os.ReadFile("testdata/engines/" + file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseModels(body)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", file, err, d)
		}
	}
	for _, bad := range []string{"", "<html>", `{"error":"x"}`, "3"} {
		if _, err := ParseModels([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a list", bad)
		}
	}
}

func TestPresets(t *testing.T) {
	all := Presets()
	for _, name := range []string{"openai", "azure", "groq", "together", "fireworks", "mistral", "deepseek", "moonshot", "xai", "openrouter", "cerebras", "nebius", "nvidia", "gmi", "gemini", "anthropic", "bedrock", "cloudflare", "huggingface", "perplexity"} {
		p, ok := all[name]
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(p.BaseURL))
		if err != nil || u.Scheme != "https" || u.Host == "" || strings.HasSuffix(p.BaseURL, "/") {
			t.Errorf("%s: base URL %q", name, p.BaseURL)
		}
		if p.Name != name || llm.Dialect(p.Dialect) != llm.OpenAI || p.KeyEnv == "" || p.Auth.Header == "" || p.Auth.Header != http.CanonicalHeaderKey(p.Auth.Header) {
			t.Errorf("%s: %+v", name, p)
		}
		tr := TraitsOf(&policies.Provider{Preset: name})
		if _, known := limitTable[tr.Limits]; tr.System == "" || tr.Limits != "" && !known {
			t.Errorf("%s: traits %+v", name, tr)
		}
	}
	for preset := range peculiar {
		if _, ok := all[preset]; !ok {
			t.Errorf("a rule for %q, which is no preset", preset)
		}
	}
	for family, rows := range limitTable {
		for _, r := range rows {
			for _, n := range []string{r.limit, r.remaining, r.reset} {
				if n != http.CanonicalHeaderKey(n) {
					t.Errorf("%s: header %q is not canonical", family, n)
				}
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	one := &policies.Provider{Name: "one", Keys: []policies.Secret{policies.NewSecret("k1")}}
	two := &policies.Provider{Name: "two", Keys: []policies.Secret{policies.NewSecret("k1"), policies.NewSecret("k2")}, Auth: policies.AuthForm{Header: "Api-Key", Extra: map[string]string{"x-b": "2", "x-a": "1"}}}
	none := &policies.Provider{Name: "none"}
	c := NewCredentials()

	sent := func(p *policies.Provider, cred Credential) (got string) {
		Authorize(p, cred, func(name, value string) { got += name + "=" + value + ";" })
		return got
	}
	next := func(p *policies.Provider, at time.Time) Credential {
		t.Helper()
		cred, ok := c.Next(p, "m", at)
		if !ok {
			t.Fatalf("%s has no credential", p.Name)
		}
		return cred
	}

	a, b, again := next(two, noon), next(two, noon), next(two, noon)
	if a.ID() == b.ID() || a.ID() != again.ID() || a.ID() == "" {
		t.Errorf("no rotation: %v, %v, %v", a, b, again)
	}
	if got := sent(two, a); got != "X-A=1;X-B=2;Api-Key=k1;" {
		t.Errorf("sent %q", got)
	}
	if got := sent(one, next(one, noon)); got != "Authorization=Bearer k1;" || next(one, noon).ID() != "" {
		t.Errorf("sent %q", got)
	}
	if got := sent(none, next(none, noon)); got != "" {
		t.Errorf("sent %q without a key", got)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", a, a, a, a); strings.Contains(s, "k1") {
		t.Errorf("a credential prints as %s", s)
	}

	c.Park(two, a, "m", noon.Add(10*time.Second))
	c.Park(two, a, "m", noon.Add(time.Second)) // never shorter
	for range 3 {
		if got := next(two, noon.Add(5*time.Second)); got.ID() != b.ID() {
			t.Error("a resting key is used")
		}
	}
	if _, parked := c.Parked(two, "m", noon); parked {
		t.Error("parked with one key awake")
	}
	if got := []Credential{next2(c, two, "other", noon), next2(c, two, "other", noon)}; got[0].ID() == got[1].ID() {
		t.Error("a key that rests for one model rests for another")
	}
	if _, parked := c.Parked(one, "m", noon); parked {
		t.Error("the same key at another provider rests too")
	}
	c.Park(two, b, "", noon.Add(20*time.Second))
	if until, parked := c.Parked(two, "m", noon); !parked || !until.Equal(noon.Add(10*time.Second)) {
		t.Errorf("parked until %v, %v", until, parked)
	}
	if _, ok := c.Next(two, "m", noon); ok {
		t.Error("a resting key is used")
	}
	if got := next(two, noon.Add(10*time.Second)); got.ID() != a.ID() {
		t.Error("a key rests for too long")
	}
	c.Park(none, Credential{}, "", noon.Add(time.Second))
	if _, ok := c.Next(none, "m", noon); ok {
		t.Error("a keyless provider does not rest")
	}
	next(none, noon.Add(time.Second))
}

func TestObserve(t *testing.T) {
	p := &policies.Provider{Name: "p", Preset: "openai", Keys: []policies.Secret{policies.NewSecret("k")}}
	c := NewCredentials()
	cred, _ := c.Next(p, "m", time.Now())
	c.Observe(p, cred, http.Header{"X-Ratelimit-Remaining-Tokens": {"0"}, "X-Ratelimit-Reset-Tokens": {"1h"}})
	if _, parked := c.Parked(p, "m", time.Now()); parked {
		t.Error("a bucket of tokens fills as it goes")
	}
	c.Observe(p, cred, http.Header{"X-Ratelimit-Remaining-Requests": {"0"}, "X-Ratelimit-Reset-Requests": {"1h"}})
	if until, parked := c.Parked(p, "m", time.Now()); !parked || time.Until(until) > longestRest {
		t.Errorf("parked %v until %v", parked, until)
	}
}

func FuzzClassify(f *testing.F) {
	files, _ := filepath.Glob("testdata/errors/*.txtar")
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, g := range a.Files {
			_, body, _ := strings.Cut(string(g.Data), "\n\n")
			f.Add(strings.TrimSuffix(filepath.Base(file), ".txtar"), 429, "1", body)
		}
	}
	f.Fuzz(func(t *testing.T, preset string, status int, after, body string) {
		e := classify(providerOf(preset), status, http.Header{"Retry-After": {after}, "X-Ratelimit-Reset-Requests": {after}, "X-Ratelimit-Remaining-Requests": {"0"}}, []byte(body), noon)
		if e.Class == llm.ClassNone || e.Status < 400 || e.RetryAfter < 0 || e.RetryAfter > MaxRetryAfter || e.Message == "" || len(e.Message) > 8192 {
			t.Fatalf("%+v", *e)
		}
		if _, err := ParseModels([]byte(body)); err == nil && body == "" {
			t.Fatal("a list of nothing")
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"1", "0.5", "Sun, 22 Nov 2026 15:00:20 GMT", "6m0s", "1795360455", "1795360455000", "-1", "NaN", "Inf", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, name := range []string{"Retry-After", "Retry-After-Ms"} {
			if d, _ := RetryAfter(http.Header{name: {s}}, noon); d < 0 || d > MaxRetryAfter {
				t.Fatalf("%q is %v", s, d)
			}
		}
		if d, _ := inText("Please try again in " + s); d < 0 || d > MaxRetryAfter {
			t.Fatalf("%q is %v", s, d)
		}
		exhausted("openai", http.Header{"X-Ratelimit-Remaining-Requests": {"0"}, "X-Ratelimit-Reset-Requests": {s}}, noon, false)
	})
}

func next2(c *Credentials, p *policies.Provider, model string, at time.Time) Credential {
	cred, _ := c.Next(p, model, at)
	return cred
}
