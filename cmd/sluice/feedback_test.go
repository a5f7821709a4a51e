package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFeedback judges answers of a running gateway, and calibrates with the records.
func TestFeedback(t *testing.T) {
	_, url := upstream(t)
	state := t.TempDir()
	policy := fmt.Sprintf(`version: 1
providers: {out: {dialect: openai, base_url: %q, keys: [{env: PROVIDER_KEY}]}}
models:
  small: {provider: out, name: simulated-small}
  large: {provider: out, name: simulated-large}
tiers: [{name: cheap, models: [small]}, {name: strong, models: [large]}]
routes:
  auto: {rules: [{use: cheap}]}
  best: {rules: [{use: strong}]}
state: {path: %q}
feedback: on
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", headers: full}
`, url+"/v1", state)
	r := serve(t, policy)
	ask := func(model, prompt string) string {
		status, h, body, err := r.send(http.DefaultClient, model, prompt, "")
		if err != nil || status != 200 {
			t.Fatalf("%d %s %v", status, body, err)
		}
		return h.Get("X-Sluice-Request-Id")
	}
	judge := func(body string) (int, string) {
		resp, err := http.Post("http://"+r.addr.data.String()+"/v1/feedback", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	first := ask("auto", canaryPrompt)
	if status, body := judge(fmt.Sprintf(`{"request_id":%q,"score":0.2,"expected_tier":"strong"}`, first)); status != 200 || !strings.Contains(body, `"recorded":true`) {
		t.Errorf("a judgement: %d %s", status, body)
	}
	if status, _ := judge(fmt.Sprintf(`{"request_id":%q,"score":0,"expected_tier":"strong"}`, first)); status != 200 {
		t.Errorf("a second thought: %d", status)
	}
	ask("auto", canaryPrompt) // again
	ask("best", canaryPrompt) // and of a stronger model
	for body, want := range map[string]string{
		`{"request_id":"00","score":1}`:                                      "unknown_request",
		`{"score":1}`:                                                        "request_id",
		fmt.Sprintf(`{"request_id":%q}`, first):                              "missing",
		fmt.Sprintf(`{"request_id":%q,"score":2}`, first):                    "from 0 (wrong) to 1",
		fmt.Sprintf(`{"request_id":%q,"expected_tier":"best"}`, first):       "cheap, strong",
		fmt.Sprintf(`{"request_id":%q,"score":1,"scoer":1}`, first):          "nothing else",
		fmt.Sprintf(`{"request_id":%q,"request_id":"x","score":1}`, first):   "duplicate",
		fmt.Sprintf(`{"request_id":%q,"score":1}%s`, first, "trailing text"): "byte",
	} {
		if status, answer := judge(body); status != 400 && status != 404 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s, want %q", body, status, answer, want)
		}
	}
	r.write(strings.Replace(policy, "feedback: on", "feedback: off", 1))
	r.until("feedback is off", func() bool {
		_, answer := judge(`{"request_id":"00","score":1}`)
		return strings.Contains(answer, "unknown_path")
	})
	r.signals <- os.Interrupt
	if code := r.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
	text, err := os.ReadFile(filepath.Join(state, "feedback.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), canaryPrompt) {
		t.Error("a record holds the prompt")
	}
	var signals []string
	for line := range strings.Lines(string(text)) {
		var record struct {
			Signal, Route, Class, Tier string
			Gain                       float64
			Cheap                      *bool
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Cheap == nil || *record.Cheap || record.Class == "" || record.Route != "auto" {
			t.Errorf("%v: %s", err, line)
		}
		signals = append(signals, record.Signal)
	}
	if got := strings.Join(signals, " "); got != "feedback feedback reask override" {
		t.Errorf("signals %q\n%s", got, text)
	}
	code, out, errs := runCLI([]string{"calibrate", "--labels", filepath.Join(state, "feedback.jsonl")}, nil, nil)
	if code != 1 || !strings.Contains(out, "1 judged") || !strings.Contains(out, "2 are signs") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	old := regexp.MustCompile(`"classifier":"[^"]+"`).ReplaceAll(text, []byte(`"classifier":"of old"`))
	if code, out, errs := runCLI([]string{"calibrate", "--labels", "-"}, old, nil); code != 1 || !strings.Contains(out, "0 judged") || !strings.Contains(out, "4 have the gains of another classifier") {
		t.Errorf("records of another classifier: exit %d\n%s%s", code, out, errs)
	}
}
