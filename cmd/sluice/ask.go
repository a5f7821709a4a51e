package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"syscall"

	"github.com/sluice-gateway/sluice/policies"
)

// askAdmin asks the admin listener of a policy's gateway, with the key of SLUICE_ADMIN_KEY where there is one. The answer is nil where no gateway
// runs there; one that is not of the 200s is an error. body is sent as JSON, nil = none.
func askAdmin(ctx context.Context, w *world, p *policies.Policy, method, path string, body any) (*http.Response, error) {
	host, port, err := net.SplitHostPort(p.Server.Admin)
	if err != nil || port == "0" {
		return nil, nil
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(host, port)+path, &sent)
	if err != nil {
		return nil, err
	}
	if key, ok := w.env("SLUICE_ADMIN_KEY"); ok && key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r) // no proxy: the listener is next door
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, saidNo(resp)
	}
	return resp, nil
}
