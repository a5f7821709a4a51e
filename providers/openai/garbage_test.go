package openai

import (
	"bytes"
	"testing"

	"github.com/sluice-gateway/sluice/llm"
)

// TestGarbageGoesNowhere checks that no event carries the bytes of a frame that is not JSON: what has Raw is passed on to clients.
func TestGarbageGoesNowhere(t *testing.T) {
	const good = `data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"}}]}` + "\n\n"
	for _, garbage := range []string{`{"id":"cut","choices":[{"index":0`, `[1]`, `nonsense`, `{"choices":[}`} {
		d := Codec{}.NewDecoder(llm.OpChat, true)
		events, err := d.Append(nil, []byte(good+good+"data: "+garbage+"\n\n"), false)
		if err == nil {
			t.Errorf("%s: no error", garbage)
		}
		for _, e := range events {
			if bytes.Contains(e.Raw, []byte(garbage)) {
				t.Errorf("%s goes to the client", garbage)
			}
		}
	}
}
