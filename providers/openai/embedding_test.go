package openai

import (
	"slices"
	"testing"
)

func TestAppendEmbeddingRequest(t *testing.T) {
	const want = `{"model":"mini","input":"say \"hi\"","encoding_format":"float"}`
	if got := string(AppendEmbeddingRequest(nil, "mini", `say "hi"`)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestReadEmbedding(t *testing.T) {
	for _, tc := range []struct {
		body     string
		want     []float32
		tokens   int
		reported bool
	}{
		{`{"data":[{"embedding":[0.5,-1e-1,2]}],"usage":{"prompt_tokens":7}}`, []float32{0.5, -0.1, 2}, 7, true},
		{`{"data":[{"embedding":[1]}]}`, []float32{1}, 0, false},
		{`{"data":[{"embedding":[1]},{"embedding":[2]}],"usage":{"prompt_tokens":7}}`, nil, 7, true},
		{`{"data":[{"embedding":[1,"2"]}]}`, nil, 0, false},
		{`{"data":[{"embedding":"AACAPw=="}]}`, nil, 0, false},
		{`{"data":[],"usage":{"prompt_tokens":-1}}`, nil, 0, false},
		{`{"data":[{"embedding":[1]`, nil, 0, false},
		{``, nil, 0, false},
	} {
		got, u, reported, err := ReadEmbedding([]byte(tc.body))
		if !slices.Equal(got, tc.want) || (err == nil) != (tc.want != nil) || u.Input != tc.tokens || reported != tc.reported {
			t.Errorf("%s: %v %+v %v %v", tc.body, got, u, reported, err)
		}
	}
}

func FuzzReadEmbedding(f *testing.F) {
	f.Add([]byte(`{"data":[{"embedding":[0.5,-1e-1,2]}],"usage":{"prompt_tokens":7}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		v, u, _, err := ReadEmbedding(body)
		if (err == nil) != (len(v) > 0) || u.Input < 0 {
			t.Errorf("%v %+v %v", v, u, err)
		}
	})
}
