package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
)

// TestDemo runs the whole demo, once.
func TestDemo(t *testing.T) {
	code, out, errs := runCLI([]string{"demo", "--once"}, nil, nil)
	if code != 0 || errs != "" || !strings.Contains(out, "SIMULATED") {
		t.Fatalf("exit %d\n%s\n%s", code, out, errs)
	}
	rows := strings.Split(strings.TrimSpace(out[strings.Index(out, "PROMPT"):]), "\n")
	if len(rows) != 1+len(demoPrompts) {
		t.Fatalf("%d rows:\n%s", len(rows), out)
	}
	for i, want := range []string{"cheap   small", "cheap   small", "cheap   small", "strong  large", "strong  large", "cheap   small"} {
		if !strings.Contains(rows[i+1], want) {
			t.Errorf("row %d is not %s: %s", i+1, want, rows[i+1])
		}
	}
	if !strings.Contains(rows[6], "boundary: private stays home") {
		t.Errorf("the private proof does not say why it stayed: %s", rows[6])
	}
	if code, _, _ := runCLI([]string{"demo", "--url", "http://127.0.0.1:1"}, nil, nil); code != 2 {
		t.Errorf("nobody there: exit %d", code)
	}
}

func TestParseReason(t *testing.T) {
	pairs, why := parseReason(`rule="hard work" class=code gain=0.31 by_gain tier=strong boundary="a b" boundary="c"`)
	if pairs["class"] != "code" || pairs["gain"] != "0.31" || pairs["tier"] != "strong" || why != "hard work; boundary: a b; boundary: c" {
		t.Errorf("%v %q", pairs, why)
	}
	if pairs, why := parseReason(""); len(pairs) != 0 || why != "" {
		t.Errorf("%v %q", pairs, why)
	}
}

// TestClassifyChunks proves that the output does not depend on how the input arrives, and that line numbers count all lines.
func TestClassifyChunks(t *testing.T) {
	var in bytes.Buffer
	for i := range 3000 {
		if i%7 == 3 {
			in.WriteString("[]\n")
			continue
		}
		fmt.Fprintf(&in, `{"prompt":"prompt number %d %s"}`+"\n", i, strings.Repeat("word ", i%200))
	}
	_, whole, _ := runCLI([]string{"classify"}, in.Bytes(), nil)
	lines := strings.Split(strings.TrimSpace(whole), "\n")
	if len(lines) != 3000 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		if i%7 == 3 {
			if want := fmt.Sprintf(`"line":%d}`, i+1); !strings.HasSuffix(l, want) {
				t.Fatalf("line %d: %s", i+1, l)
			}
			continue
		}
		var c struct {
			Class         string
			ClassP        map[string]float64 `json:"class_p"`
			Gain, Novelty float64
		}
		if err := json.Unmarshal([]byte(l), &c); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		sum := 0.0
		for _, p := range c.ClassP {
			sum += p
		}
		if len(c.ClassP) != 14 || math.Abs(sum-1) > 1e-9 || c.ClassP[c.Class] == 0 {
			t.Fatalf("line %d: %s", i+1, l)
		}
	}
	var out bytes.Buffer
	w := &world{ctx: t.Context(), stdin: iotest.OneByteReader(bytes.NewReader(in.Bytes()[:20000])), stdout: &out, stderr: &out}
	if code := run([]string{"classify"}, w); code != 0 {
		t.Fatalf("exit %d", code)
	}
	got := out.String()
	if n := strings.Count(got, "\n") - 1; !strings.HasPrefix(whole, strings.Join(strings.SplitAfter(got, "\n")[:n], "")) {
		t.Error("byte by byte the output differs")
	}
	w = &world{ctx: t.Context(), stdin: iotest.ErrReader(os.ErrClosed), stdout: &out, stderr: &out}
	if code := run([]string{"classify"}, w); code != 2 {
		t.Errorf("a reader that fails: exit %d", code)
	}
}

// FuzzConversation: no line panics, and what is read is a conversation.
func FuzzConversation(f *testing.F) {
	for _, s := range []string{`{"prompt":"x"}`, `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"image_url":{}}]}]}`, `{"messages":[{}]}`, `[]`, ``, `{"prompt":null,"messages":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var env llm.Envelope
		var doc jsonedit.Doc
		if err := conversation(&env, &doc, line); err == nil && !json.Valid(line) {
			t.Errorf("read %q, which is not JSON", line)
		}
	})
}

func TestFindEngines(t *testing.T) {
	s := httptest.NewServer(simulator.New(simulator.Options{Models: []string{"qwen:7b", "nomic-embed", "a \"quoted\" one", "all*", strings.Repeat("x", 101)}}))
	defer s.Close()
	port := s.Listener.Addr().(*net.TCPAddr).Port
	found := findEngines(t.Context(), []localPort{{"nobody", "vllm", 1}, {"ollama", "ollama", port}})
	if len(found) != 1 || found[0].engine != "ollama" || len(found[0].models) != 2 {
		t.Fatalf("found %+v", found)
	}
}

// TestFoundPolicy compiles what the discovery would serve, for every mix of what is there.
func TestFoundPolicy(t *testing.T) {
	env := map[string]string{"OPENAI_API_KEY": "sk-x", "AZURE_OPENAI_API_KEY": "x", "MISTRAL_API_KEY": "x", "XAI_API_KEY": "x", "SLUICE_MODEL_XAI": "grok", "GROQ_API_KEY": " "}
	w := &world{env: func(k string) (string, bool) { v, ok := env[k]; return v, ok }}
	keys, skipped := findKeys(w)
	if len(keys) != 2 || keys[0].preset.Name != "openai" || keys[1].model.name != "grok" {
		t.Errorf("keys %+v", keys)
	}
	if len(skipped) != 2 || !strings.Contains(skipped[0], "base_url") || !strings.Contains(skipped[1], "SLUICE_MODEL_MISTRAL") {
		t.Errorf("skipped %q", skipped)
	}
	engines := []foundEngine{{localPort{"ollama", "ollama", 11434}, []providers.ModelInfo{{ID: `odd 'name': {x}`}, {ID: "nomic-embed", Context: 2048}}}}
	for _, tc := range []struct {
		engines []foundEngine
		keys    []foundKey
		tiers   int
	}{{engines, keys, 2}, {engines, nil, 1}, {nil, keys, 1}} {
		text := foundPolicy(tc.engines, tc.keys)
		p, ps := policies.LoadBytes("found", []byte(text), w.options(false))
		if len(ps) > 0 {
			t.Errorf("%v\n%s", ps, text)
			continue
		}
		if _, ok := p.Route("auto", nil); !ok || len(p.Tiers) != tc.tiers || !p.Server.AuthNone {
			t.Errorf("tiers %d, auth none %v\n%s", len(p.Tiers), p.Server.AuthNone, text)
		}
	}
}

func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	if _, err := newCertificate(cert, key); err == nil {
		t.Error("absent files are no error")
	}
	writePair(t, cert, key, 1)
	c, err := newCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		pair, err := c.current(nil)
		if err != nil {
			t.Fatal(err)
		}
		x, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return x.SerialNumber.Int64()
	}
	if changed, err := c.refresh(); changed || err != nil || serial() != 1 {
		t.Errorf("unchanged: %v %v", changed, err)
	}
	must(t, os.WriteFile(cert, []byte("half"), 0o600))
	if changed, err := c.refresh(); changed || err == nil || serial() != 1 {
		t.Errorf("half written: %v %v", changed, err)
	}
	writePair(t, cert, key, 2)
	if changed, err := c.refresh(); !changed || err != nil || serial() != 2 {
		t.Errorf("changed: %v %v", changed, err)
	}
}

func writePair(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(serial)}, &x509.Certificate{SerialNumber: big.NewInt(serial)}, k.Public(), k)
	must(t, err)
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd}), 0o600))
}
