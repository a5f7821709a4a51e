//go:build real

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// TestPromptBound holds what budgets reserve for a prompt against the real model's tokenizer and its chat template: no text comes to more, and people's texts not to much less. With -v it
// says how much.
func TestPromptBound(t *testing.T) {
	_, addr := harness.Pool(t, "..", 0, "--ctx", "16384")
	c := newClient(t)
	random := rand.New(rand.NewPCG(1, 2))
	from := func(n int, ranges ...string) string { // n characters of the ranges, each given by its ends
		var all []rune
		for _, r := range ranges {
			ends := []rune(r)
			for c := ends[0]; c <= ends[1]; c++ {
				all = append(all, c)
			}
		}
		var b strings.Builder
		for range n {
			b.WriteRune(all[random.IntN(len(all))])
		}
		return b.String()
	}
	many := func(n int, f func() string) string {
		var b strings.Builder
		for range n {
			b.WriteString(f())
		}
		return b.String()
	}
	for _, text := range []struct{ name, text string }{
		{"letters", from(2000, "az")},
		{"rare letters", many(1000, func() string { return string("qxzjvkw"[random.IntN(7)]) })},
		{"capitals", from(2000, "AZ")},
		{"mixed letters", from(2000, "az", "AZ")},
		{"base64", from(2000, "az", "AZ", "09", "++", "//")},
		{"hex", from(2000, "af", "09")},
		{"digits", from(2000, "09")},
		{"punctuation", from(2000, "!/", ":@", "[`", "{~")},
		{"letters and digits in turn", many(1000, func() string { return from(1, "az") + from(1, "09") })},
		{"single letters", many(1000, func() string { return from(1, "az") + " " })},
		{"usual pairs as words", strings.Repeat(" ck ea ee ef ew gs ht ia iz ks ld lf", 150)},
		{"usual letters that are three tokens", strings.Repeat(" iaf iai iau xta xtc xti xts", 150)},
		{"usual letters that are not merged", strings.Repeat(" xtsypirnsytuttrutrspmewa rytrtizemmafdifubytshobu", 80)},
		{"capitals and usual letters", strings.Repeat("YtNtOuLdYpRkMp", 150)},
		{"short words", many(700, func() string { return from(3, "az") + " " })},
		{"white space", from(2000, "\t\n", "  ")},
		{"blanks", many(100, func() string { return strings.Repeat(" ", 1+random.IntN(40)) + from(1, "az", "09", "..") })},
		{"control characters", from(1000, "\x01\x1f")},
		{"ASCII", from(4000, "\x01\x7f")},
		{"Chinese", from(1000, "一龥")},
		{"Korean", from(1000, "가힣")},
		{"Japanese", from(1000, "ぁヿ")},
		{"Thai", from(1000, "กฮ")},
		{"Hindi", from(1000, "अह")},
		{"Arabic", from(1000, "اي")},
		{"Hebrew", from(1000, "את")},
		{"Greek", from(1000, "Αω")},
		{"Cyrillic", from(1000, "Ѐӿ")},
		{"Latin", from(1000, "Àɏ")},
		{"Ethiopic", from(1000, "ሀፚ")},
		{"signs", from(1000, "‐⁞", "←⏿", "─◿")},
		{"emoji", from(1000, "🌀🫸")},
		{"all of Unicode", from(1000, "\u0001\ud7ff", "\ue000\U0001ffff")},
	} {
		boundOver(t, c, addr, text.name, text.text)
	}
	for _, file := range []string{"docs/failures.md", "README.md", "tenants/settle.go", "scripts/fetch", "policies/schema.json"} {
		text, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		if ratio := boundOver(t, c, addr, file, string(text[:min(len(text), 12_000)])); ratio > 2.5 {
			t.Errorf("%s is reserved at %.2f times what it comes to", file, ratio)
		}
	}
	for name, body := range map[string]string{
		"a word":       `{"messages":[{"role":"user","content":"hi"}]}`,
		"turns":        `{"messages":[` + strings.Repeat(`{"role":"user","content":"a"},{"role":"assistant","content":"b"},`, 40) + `{"role":"user","content":"c"}]}`,
		"tools":        `{"messages":[{"role":"user","content":"hi"}],"tools":[` + tool("get_weather", 60) + `,` + tool("book", 4) + `]}`,
		"a tool's use": `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":\"` + strings.Repeat("4711 ", 200) + `\"}"}}]},{"role":"tool","tool_call_id":"1","content":"{\"ok\":true}"}],"tools":[` + tool("f", 1) + `]}`,
		"a schema":     `{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":` + schema(40) + `}}}`,
	} {
		body = `{"model":"smollm2","max_tokens":1,` + body[1:]
		var answer struct {
			Usage struct {
				Tokens int `json:"prompt_tokens"`
			}
		}
		ask(t, c, "http://"+addr+"/v1/chat/completions", body, &answer)
		e, err := openai.Codec{}.Scan(llm.OpChat, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if bound := e.Bound().Text; answer.Usage.Tokens == 0 || answer.Usage.Tokens > bound {
			t.Errorf("%s: %d tokens, bound %d", name, answer.Usage.Tokens, bound)
		} else {
			t.Logf("%s: %d tokens, bound %d", name, answer.Usage.Tokens, bound)
		}
	}
}

// boundOver compares the bound of a text, in each way that JSON may have it, with what it comes to.
func boundOver(t *testing.T, c *http.Client, addr, name, text string) (ratio float64) {
	t.Helper()
	text = strings.ToValidUTF8(text, "")
	plain, err := json.Marshal(map[string]string{"content": text})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Tokens []int }
	ask(t, c, "http://"+addr+"/tokenize", string(plain), &answer)
	var escaped bytes.Buffer // all that is beyond ASCII
	for _, r := range string(plain) {
		switch {
		case r < 0x80:
			escaped.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&escaped, `\u%04x`, r)
		default:
			fmt.Fprintf(&escaped, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		}
	}
	for _, body := range [][]byte{plain, escaped.Bytes()} {
		bound := (&llm.Envelope{Op: llm.OpCompletions, Body: body}).Bound().Text
		if len(answer.Tokens) == 0 || bound < len(answer.Tokens) {
			t.Errorf("%s: %d tokens, bound %d", name, len(answer.Tokens), bound)
		}
		ratio = float64(bound) / float64(len(answer.Tokens))
	}
	t.Logf("%s: %d tokens, bound %.2f times as many", name, len(answer.Tokens), ratio)
	return ratio
}

// ask posts JSON and reads JSON.
func ask(t *testing.T, c *http.Client, url, body string, into any) {
	t.Helper()
	resp, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", url, resp.StatusCode, err)
	}
}

// tool is a tool's definition with so many parameters.
func tool(name string, parameters int) string {
	return fmt.Sprintf(`{"type":"function","function":{"name":%q,"description":"Does what its name says.","parameters":%s}}`, name, schema(parameters))
}

// schema is one with so many properties.
func schema(properties int) string {
	var b strings.Builder
	for i := range properties {
		fmt.Fprintf(&b, `,"p%dQX":{"type":"string","enum":["A%d","_%d"],"description":"The %dth 😀."}`, i, i*7919, i, i)
	}
	return `{"type":"object","properties":{` + b.String()[1:] + `}}`
}
