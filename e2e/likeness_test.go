//go:build real

package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/providers/openai"
)

var measure = flag.Bool("measure", false, "ask the real model for the likeness of every pair in cache/testdata, and write it there")

// TestLikenessMeasured holds the cosines that cache's tests reckon with to what the real MiniLM says: of some pairs, or with -measure of all.
func TestLikenessMeasured(t *testing.T) {
	_, addr := harness.Pool(t, "..", 0, "--minilm")
	c := newClient(t)
	for _, name := range []string{"near", "near-fresh", "like", "like-fresh"} {
		file := "../cache/testdata/" + name + ".tsv"
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		for i, line := range lines {
			f := strings.Split(line, "\t")
			if !*measure && i%40 != 0 {
				continue
			}
			cosine := likeness(t, c, addr, f[1], f[2])
			if *measure {
				lines[i] = fmt.Sprintf("%s\t%s\t%s\t%.4f", f[0], f[1], f[2], cosine)
				continue
			}
			if was, err := strconv.ParseFloat(f[3], 64); err != nil || math.Abs(was-cosine) > 0.02 {
				t.Errorf("%s: %s: %f is written, %f measured", name, line, was, cosine)
			}
		}
		if *measure {
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// likeness is the cosine of two texts' embeddings.
func likeness(t *testing.T, c *http.Client, addr, a, b string) float64 {
	t.Helper()
	embedding := func(text string) []float32 {
		resp, err := c.Post("http://"+addr+"/v1/embeddings", "application/json", bytes.NewReader(openai.AppendEmbeddingRequest(nil, "minilm", text)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		v, _, _, err := openai.ReadEmbedding(body)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return v
	}
	u, v := embedding(a), embedding(b)
	var dot, uu, vv float64
	for i := range u {
		dot += float64(u[i]) * float64(v[i])
		uu += float64(u[i]) * float64(u[i])
		vv += float64(v[i]) * float64(v[i])
	}
	return dot / math.Sqrt(uu*vv)
}
