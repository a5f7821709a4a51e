//go:build real

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/simulator"
)

// TestNothingIsMixed runs answers that are whole, broken and abandoned side by side. Buffers are used again within the gateway, so every byte is
// looked at: an answer holds one upstream id, its own, and no other answer has it.
func TestNothingIsMixed(t *testing.T) {
	t.Parallel()
	_, addr := provider(t, simulator.Options{LogCalls: 10})
	g := serve(t, strings.ReplaceAll(faultPolicy(addr, after), "+fault=events=6,stall=2", "+fault=events=200,delay=1ms"))
	c := newClient(t)
	ids := make(chan map[string]int64, 1)
	ids <- map[string]int64{}
	l := startLoad(t, 16, func(k int64) error {
		i, stream := int(k)%(len(after)+1), k%3 != 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		resp, err := post(ctx, c, g, chatBody(fmt.Sprintf("route%d", i%len(after)), fmt.Sprintf("prompt %d", k), stream, ""))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body := make([]byte, 600)
		n, err := io.ReadFull(resp.Body, body)
		body = body[:n]
		if err == nil && i < len(after) { // the others hang up in the middle
			var rest []byte
			rest, err = io.ReadAll(resp.Body)
			body = append(body, rest...)
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return err
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			return nil // a breaker is open: nothing to look at
		}
		return own(body, k, ids)
	})
	l.more(t, 600)
	l.check(t)
}

var answerID = regexp.MustCompile(`chatcmpl-sim[0-9a-f]{24}`)

// own reports what in an answer is not its own. ids holds whose each id is.
func own(body []byte, k int64, ids chan map[string]int64) error {
	found := answerID.FindAllString(string(body), -1)
	if len(found) == 0 {
		return fmt.Errorf("request %d: no answer's id in\n%s", k, body)
	}
	m := <-ids
	defer func() { ids <- m }()
	for _, id := range found {
		if other, ok := m[id]; id != found[0] || ok && other != k {
			return fmt.Errorf("request %d got bytes of another answer (%s, known from %d):\n%s", k, id, other, body)
		}
		m[id] = k
	}
	if !strings.HasPrefix(string(body), `{"`) && !strings.HasPrefix(string(body), `data: {"id"`) {
		return fmt.Errorf("request %d does not begin with its own answer:\n%s", k, body)
	}
	return nil
}
