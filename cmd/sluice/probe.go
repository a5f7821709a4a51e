package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router/pool"
)

// prober asks the endpoints of pools how they are.
type prober struct{ plane *httpproxy.Handler }

// maxHealth bounds what is read of an answer, in bytes.
const maxHealth = 64 << 10

var errUnwell = errors.New("unwell")

// probe asks one endpoint, in the way of its engine.
func (p prober) probe(ctx context.Context, pr *policies.Provider, u *url.URL) error {
	e := providers.EngineOf(pr)
	status, body, err := p.ask(ctx, pr, u, e.Health)
	if err == nil && status == http.StatusNotFound && e.HealthElse != "" {
		status, body, err = p.ask(ctx, pr, u, e.HealthElse)
	}
	if err != nil {
		return err
	}
	switch e.Judge(status, body) {
	case providers.Ready, providers.Full: // a full endpoint is well: the load decides
		return nil
	case providers.Loading:
		return pool.ErrLoading
	}
	return fmt.Errorf("%w: status %d", errUnwell, status)
}

// ask makes one request to a path that starts at the server's root, which is above the API's.
func (p prober) ask(ctx context.Context, pr *policies.Provider, u *url.URL, path string) (int, []byte, error) {
	target := *u
	target.Path = strings.TrimSuffix(u.Path, "/v1") + path
	target.RawPath = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := p.plane.RoundTripper(pr).RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealth))
	return resp.StatusCode, body, err
}
