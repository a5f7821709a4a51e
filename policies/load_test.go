package policies

import (
	"encoding/pem"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var update = flag.Bool("update", false, "write golden files")

// testPresets stands for the table of package providers.
func testPresets() map[string]Preset {
	bearer := AuthForm{Header: "Authorization", Prefix: "Bearer "}
	return map[string]Preset{
		"openai":    {Name: "openai", Dialect: "openai", BaseURL: "https://api.openai.com/v1", KeyEnv: "OPENAI_API_KEY", Auth: bearer, NeedsKey: true},
		"anthropic": {Name: "anthropic", Dialect: "openai", BaseURL: "https://api.anthropic.com/v1", KeyEnv: "ANTHROPIC_API_KEY", Auth: AuthForm{Header: "X-Api-Key"}, NeedsKey: true},
		"azure":     {Name: "azure", Dialect: "openai", BaseURL: "https://{resource}.openai.azure.com/openai/v1", KeyEnv: "AZURE_OPENAI_API_KEY", Auth: AuthForm{Header: "Api-Key"}, NeedsKey: true},
		"groq":      {Name: "groq", Dialect: "openai", BaseURL: "https://api.groq.com/openai/v1", KeyEnv: "GROQ_API_KEY", Auth: bearer, NeedsKey: true},
	}
}

var testClasses = []string{"chat", "code", "extraction", "math", "planning", "rewriting"}

// testOptions knows the environment and files that test policies name, and nothing of this machine.
const calibrationFile = `{"version":1,"route":"auto","threshold":0.07,"max_regret":0.1,"bound":0.09,"confidence":0.95,"coverage":0.6,"records":900,"kept":540,"lost":30,"data":"sha256:00","classifier":"abc","made":"2026-11-01T00:00:00Z"}`

func testOptions() Options {
	env := map[string]string{
		"OPENAI_API_KEY": "sk-canary-openai", "HOUSE_KEY": "canary-house", "SLUICE_PEPPER": "canary-pepper",
		"SLUICE_PEPPER_OLD": "canary-old", "KEY": "canary-key", "EMPTY": " ", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testCertificate})
	files := map[string][]byte{
		"/run/secrets/anthropic": []byte("canary-anthropic\n"), "/etc/house-ca.pem": cert, "/etc/empty": []byte(" \n"),
		"good.cal.json": []byte(calibrationFile), "loose.cal.json": []byte(strings.Replace(calibrationFile, `"bound":0.09`, `"bound":0.2`, 1)),
		"other.cal.json": []byte(strings.Replace(calibrationFile, "abc", "xyz", 1)), "broken.cal.json": []byte(`{"version":1,"threshold":3}`),
		"testdata/bad/a.pem": cert, "testdata/bad/a.key": []byte("key"), "a.pem": cert, "a.key": []byte("key"),
	}
	return Options{
		Presets: testPresets(), Classes: testClasses,
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(name string) ([]byte, error) {
			if b, ok := files[filepath.ToSlash(name)]; ok {
				return b, nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
		},
	}
}

// mustLoad compiles a policy that has no problems.
func mustLoad(t testing.TB, src string) *Policy {
	t.Helper()
	p, ps := LoadBytes("policy.yaml", []byte(src), testOptions())
	if len(ps) > 0 {
		var b strings.Builder
		ps.Format(&b)
		t.Fatalf("policy does not load:\n%s", b.String())
	}
	return p
}

func TestReferenceExample(t *testing.T) {
	src, err := os.ReadFile("../examples/reference/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := mustLoad(t, string(src))
	for _, n := range p.Notices {
		t.Errorf("unexpected notice: %v", n)
	}
	if len(p.Routes) != 2 || len(p.Providers) != 4 || len(p.Models) != 4 || len(p.Tiers) != 2 || len(p.Tests) != 3 || len(p.Boundaries) != 1 {
		t.Errorf("sections are missing: %d routes, %d providers, %d models, %d tiers, %d tests", len(p.Routes), len(p.Providers), len(p.Models), len(p.Tiers), len(p.Tests))
	}
	house := p.Providers["house"]
	if got := house.Endpoints[0].String(); got != "https://llm.example.com/v1" {
		t.Errorf("house base URL %s", got)
	}
	if house.Auth.Header != "X-Api-Key" || house.Auth.Prefix != "" || house.Keys[0].Reveal() != "canary-house" {
		t.Errorf("house auth %+v", house.Auth)
	}
	if got := p.Providers["pool"].Endpoints[1].String(); got != "http://10.0.0.12:8000/v1" {
		t.Errorf("pool endpoint %s", got)
	}
}
