package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/telemetry"
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
		if m := d.policy.Models[row.model]; m != nil && m.Price != nil {
			row.priced = true
			row.cost = (float64(row.tokensIn)*m.Price.In + float64(row.tokensOut)*m.Price.Out) / 1e6
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

// promptWidth is how much of a prompt the table shows, in characters.
const promptWidth = 36

// demoTable renders the rows; numbers look as they do in the gateway's console.
func demoTable(rows []demoRow) string {
	table := [][]string{{"PROMPT", "CLASS", "GAIN", "TIER", "MODEL", "WHY", "FIRST", "TOKENS", "COST"}}
	right := []bool{2: true, 6: true, 7: true, 8: true}
	for _, r := range rows {
		gain := "-"
		if g, err := strconv.ParseFloat(r.reason["gain"], 64); err == nil {
			gain = fmt.Sprintf("%+.2f", g)
		}
		line := []string{r.prompt.short(), dash(r.reason["class"]), gain, "-", "-", r.problem, "-", "-", "-"}
		if r.problem == "" {
			line[3], line[4], line[5], line[6] = dash(r.tier), dash(r.model), dash(r.why), telemetry.Short(r.first)
			line[7] = fmt.Sprintf("%d>%d", r.tokensIn, r.tokensOut)
			if r.priced {
				line[8] = fmt.Sprintf("$%.6f", r.cost)
			}
		}
		table = append(table, line)
	}
	widths := make([]int, len(right))
	for _, line := range table {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, line := range table {
		for i, cell := range line {
			switch {
			case right[i]:
				fmt.Fprintf(&b, "%*s", widths[i], cell)
			default:
				fmt.Fprintf(&b, "%-*s", widths[i], cell)
			}
			if i < len(line)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// short is the prompt as the table shows it.
func (p demoPrompt) short() string {
	text := p.text
	if p.private {
		text = "(private) " + text
	}
	if runes := []rune(text); len(runes) > promptWidth {
		text = string(runes[:promptWidth-1]) + "…"
	}
	return text
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
