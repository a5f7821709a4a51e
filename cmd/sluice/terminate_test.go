package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// crowd is clients that ask without a pause, each time over a connection of its own, and hold every answer to the contract.
type crowd struct {
	t        *testing.T
	url      string
	cut      bool // streams may end in an error event once the gateway stops
	stopping atomic.Bool
	over     atomic.Bool
	whole    atomic.Int64
	answered atomic.Int64
	clients  sync.WaitGroup
}

func (c *crowd) come(n int) {
	for i := range n {
		c.clients.Go(func() {
			for k := i; !c.over.Load(); k++ {
				c.ask([]string{"auto", "slow"}[k%2], k/2%2 == 0)
			}
		})
	}
}

func (c *crowd) ask(model string, stream bool) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(c.url, "application/json", strings.NewReader(fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"hi"}]}`, model, stream)))
	if err != nil {
		if !c.stopping.Load() {
			c.t.Errorf("no answer before the signal: %v", err)
		}
		c.over.Store(c.stopping.Load())
		return
	}
	defer resp.Body.Close()
	c.answered.Add(1)
	b, err := io.ReadAll(resp.Body)
	text := string(b)
	switch {
	case err != nil:
		c.t.Errorf("%s, stream %t: the answer broke off: %v after %q", model, stream, err, text)
	case resp.StatusCode == http.StatusServiceUnavailable && c.stopping.Load() && strings.Contains(text, `"error"`):
	case resp.StatusCode != http.StatusOK:
		c.t.Errorf("%s, stream %t: %d %s", model, stream, resp.StatusCode, text)
	case stream && c.cut && c.stopping.Load() && strings.HasSuffix(text, "\"code\":\"stream_interrupted\"}}\n\n") && !strings.Contains(text, "[DONE]"):
	case stream && !strings.HasSuffix(text, "data: [DONE]\n\n"), !stream && !strings.Contains(text, `"finish_reason":"stop"`):
		c.t.Errorf("%s, stream %t: a truncated success: %q", model, stream, text)
	default:
		c.whole.Add(1)
	}
}

// TestTerminateUnderLoad is F36: a storm of SIGHUPs, each with another policy, and then SIGTERM, once and twice, while sixteen clients ask. Nobody gets a
// part of an answer as a whole one, who is not answered was never taken on, and the process exits with 0.
func TestTerminateUnderLoad(t *testing.T) {
	for name, twice := range map[string]bool{"once": false, "twice": true} {
		t.Run(name, func(t *testing.T) {
			_, url := upstream(t)
			r := serve(t, policyFor(url, "rule 0", ""))
			c := &crowd{t: t, url: "http://" + r.addr.data.String() + "/v1/chat/completions", cut: twice}
			c.come(16)
			r.until("load", func() bool { return c.whole.Load() >= 32 })
			for i := range 20 {
				r.write(policyFor(url, fmt.Sprint("rule ", i), ""))
				r.signals <- syscall.SIGHUP
			}
			c.stopping.Store(true)
			r.signals <- syscall.SIGTERM
			if twice {
				r.signals <- syscall.SIGTERM
			}
			code := r.ended()
			c.over.Store(true)
			c.clients.Wait()
			if code != 0 {
				t.Errorf("exit %d", code)
			}
			if lines := strings.Count(r.log.String(), `"msg":"exchange"`); int64(lines) < c.answered.Load() {
				t.Errorf("%d answers, %d access lines", c.answered.Load(), lines)
			}
		})
	}
}
