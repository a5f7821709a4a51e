package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/policies"
)

// demoClient asks a gateway as any OpenAI client would, and reads what the x-sluice-* headers say.
type demoClient struct {
	base   string // with /v1
	key    string
	policy *policies.Policy // for prices; nil = costs are not known
}

// demoRow is what became of one prompt.
type demoRow struct {
	prompt              demoPrompt
	reason              map[string]string // x-sluice-reason, by key
	why                 string
	tier, model         string
	first               time.Duration
	tokensIn, tokensOut int
	cost                float64
	priced              bool
	problem             string
}

// send asks for a stream and reads it to its end.
func (d demoClient) send(ctx context.Context, p demoPrompt) (demoRow, error) {
	row := demoRow{prompt: p}
	body := append(jsonedit.AppendString([]byte(`{"model":"auto","stream":true,"stream_options":{"include_usage":true},"max_tokens":256,"messages":[{"role":"user","content":`), p.text), `}]}`...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return row, err
	}
	req.Header.Set("Content-Type", "application/json")
	if d.key != "" {
		req.Header.Set("Authorization", "Bearer "+d.key)
	}
	if p.private {
		req.Header.Set("X-Data-Class", "private")
	}
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return row, err
	}
	defer resp.Body.Close()
	row.tier, row.model = resp.Header.Get("X-Sluice-Tier"), resp.Header.Get("X-Sluice-Model")
	row.reason, row.why = parseReason(resp.Header.Get("X-Sluice-Reason"))
	err = row.read(resp, start)
	if d.policy != nil {
		if m := d.policy.Models[row.model]; m != nil && (m.Price != nil || m.Provider.Own) {
			row.priced = true
			if m.Price != nil {
				row.cost = (float64(row.tokensIn)*m.Price.In + float64(row.tokensOut)*m.Price.Out) / 1e6
			}
		}
	}
	return row, err
}

// read takes the answer's first token, usage and error.
func (r *demoRow) read(resp *http.Response, start time.Time) error {
	type frame struct {
		Choices []struct {
			Delta struct {
				Content   string `json:"content"`
				Reasoning string `json:"reasoning_content"`
			} `json:"delta"`
		} `json:"choices"`
		Usage *struct {
			In  int `json:"prompt_tokens"`
			Out int `json:"completion_tokens"`
		} `json:"usage"`
		Error *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		line := strings.TrimPrefix(sc.Text(), "data: ")
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var f frame
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return fmt.Errorf("the answer holds what is not JSON: %w", err)
		}
		if f.Error != nil {
			r.problem = fmt.Sprintf("%d %s", resp.StatusCode, f.Error.Message)
		}
		for _, c := range f.Choices {
			if r.first == 0 && c.Delta.Content+c.Delta.Reasoning != "" {
				r.first = time.Since(start)
			}
		}
		if f.Usage != nil {
			r.tokensIn, r.tokensOut = f.Usage.In, f.Usage.Out
		}
	}
	if resp.StatusCode != http.StatusOK && r.problem == "" {
		r.problem = resp.Status
	}
	return sc.Err()
}

// parseReason reads x-sluice-reason: key=value pairs, values perhaps quoted. why is the rule and the boundaries that held.
func parseReason(s string) (pairs map[string]string, why string) {
	pairs = map[string]string{}
	var bounds []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		key, rest, _ := strings.Cut(s, "=")
		if i := strings.IndexByte(key, ' '); i >= 0 { // a word without a value
			s = s[i+1:]
			continue
		}
		value := rest
		if strings.HasPrefix(rest, `"`) {
			value, s, _ = strings.Cut(rest[1:], `"`)
		} else {
			value, s, _ = strings.Cut(rest, " ")
		}
		if pairs[key] = value; key == "boundary" {
			bounds = append(bounds, value)
		}
	}
	why = pairs["rule"]
	for _, b := range bounds {
		why += "; boundary: " + b
	}
	return pairs, why
}

// demoTable renders the rows.
func demoTable(rows []demoRow) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PROMPT\tCLASS\tGAIN\tTIER\tMODEL\tWHY\tFIRST\tTOKENS\tCOST")
	for _, r := range rows {
		prompt := r.prompt.text
		if runes := []rune(prompt); len(runes) > 36 {
			prompt = string(runes[:35]) + "…"
		}
		if r.prompt.private {
			prompt = "(private) " + prompt
		}
		if r.problem != "" {
			fmt.Fprintf(t, "%s\t%s\t%s\t-\t-\t%s\t-\t-\t-\n", prompt, dash(r.reason["class"]), dash(r.reason["gain"]), r.problem)
			continue
		}
		cost := "-"
		if r.priced {
			cost = fmt.Sprintf("$%.6f", r.cost)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%.1fms\t%d>%d\t%s\n", prompt, dash(r.reason["class"]), dash(r.reason["gain"]), dash(r.tier), dash(r.model), dash(r.why),
			float64(r.first.Microseconds())/1000, r.tokensIn, r.tokensOut, cost)
	}
	_ = t.Flush() // into memory
	return b.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
