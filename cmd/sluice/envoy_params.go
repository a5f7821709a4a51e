package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/xds"
)

// envoyFlags are what `serve --plane envoy` takes beside the policy.
type envoyFlags struct {
	State   string `help:"Folder of the sockets that Envoy and Sluice share; nobody else may enter it. Without it: a new one, removed at the end." placeholder:"DIR"`
	Control string `help:"Address by which Envoys elsewhere reach the control plane; needs the three files and the two addresses below." placeholder:"HOST:PORT"`
	Claim   string `name:"claim" help:"The same for the executor that goes on with exchanges." placeholder:"HOST:PORT"`
	Edge    string `name:"edge" help:"The same for the executor of what nothing has looked at." placeholder:"HOST:PORT"`
	Bind    string `help:"Address to listen on for these three, where Envoys use another one or a name." placeholder:"IP"`
	CA      string `name:"control-ca" help:"Authority of the Envoys' certificates. Envoys use the same path for ours." placeholder:"FILE"`
	Cert    string `name:"control-cert" help:"Certificate shown on these addresses. Envoys use the same path for theirs." placeholder:"FILE"`
	Key     string `name:"control-key" help:"Its key, likewise." placeholder:"FILE"`
}

var errRemote = errors.New("for Envoys elsewhere give --control, --claim, --edge, --control-ca, --control-cert and --control-key together")

// remote reports whether Envoys on other machines are served.
func (o *envoyFlags) remote() (bool, error) {
	n := 0
	for _, v := range []string{o.Control, o.Claim, o.Edge, o.CA, o.Cert, o.Key} {
		if v != "" {
			n++
		}
	}
	if n != 0 && n != 6 {
		return false, errRemote
	}
	return n == 6, nil
}

// open listens on a socket of the state folder, or with mutual TLS.
func (o *envoyFlags) open(at string) (net.Listener, error) {
	if filepath.IsAbs(at) {
		return envoy.ListenSocket(at)
	}
	if o.Bind != "" {
		_, port, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		at = net.JoinHostPort(o.Bind, port)
	}
	return envoy.ListenTLS(at, o.CA, o.Cert, o.Key)
}

// planeParams are the addresses and files of a running plane.
func planeParams(p *policies.Policy, o envoyFlags, dir string) (xds.Params, error) {
	params, err := policyParams(p)
	if err != nil {
		return params, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	params.Control, params.Claim, params.Edge, params.Admin = in("control.sock"), in("claim.sock"), in("edge.sock"), in("admin.sock")
	remote, err := o.remote()
	if err != nil {
		return params, err
	}
	if remote {
		params.Control, params.Claim, params.Edge = o.Control, o.Claim, o.Edge
		params.Mutual = &xds.Mutual{CA: o.CA, Cert: o.Cert, Key: o.Key}
	}
	params.Listen, _, err = envoy.Reserve(p.Server.Listen) // for as long as this process lives
	if err != nil {
		return params, fmt.Errorf("server.listen: %w", err)
	}
	return params, nil
}

// policyParams are what resources take from the policy and from what is known of providers and engines.
func policyParams(p *policies.Policy) (xds.Params, error) {
	params := xds.Params{
		SystemCA: envoy.SystemCA(), LogHeaders: providers.LimitHeaders(),
		Health: func(pr *policies.Provider) string {
			if !pr.Own {
				return ""
			}
			return providers.EngineOf(pr).Health
		},
		// Where the OpenAI dialect, the only one that Envoy carries, reports an answer's usage.
		Usage: []xds.UsageField{
			{Key: wire.KeyInput, Path: []string{"usage", "prompt_tokens"}},
			{Key: wire.KeyOutput, Path: []string{"usage", "completion_tokens"}},
			{Key: wire.KeyCached, Path: []string{"usage", "prompt_tokens_details", "cached_tokens"}},
		},
	}
	if p.Telemetry.OTLPEndpoint == "" {
		return params, nil
	}
	var err error
	params.OTLP, err = telemetry.TracesURL(p.Telemetry.OTLPEndpoint)
	return params, err
}
