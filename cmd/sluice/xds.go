package main

import (
	"encoding/json"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/xds"
)

// xdsCmd is `sluice xds`.
type xdsCmd struct {
	File    string `arg:"" help:"Policy file." placeholder:"FILE"`
	Control string `help:"Address of the control plane, as serve has it." default:"/run/sluice/control.sock" placeholder:"ADDRESS"`
	Claim   string `help:"Address of the executor that goes on with exchanges." default:"/run/sluice/claim.sock" placeholder:"ADDRESS"`
	Edge    string `help:"Address of the executor of what nothing has looked at." default:"/run/sluice/edge.sock" placeholder:"ADDRESS"`
	CA      string `name:"control-ca" help:"Authority, where these are host:port." placeholder:"FILE"`
	Cert    string `name:"control-cert" help:"Certificate, likewise." placeholder:"FILE"`
	Key     string `name:"control-key" help:"Key, likewise." placeholder:"FILE"`
	Static  bool   `help:"Print one configuration that holds all of it, for envoy --mode validate."`
}

// Help is what --help says beyond the flags.
func (c *xdsCmd) Help() string {
	return `Secrets are not looked for: no resource holds one.`
}

// Run prints the resources.
func (c *xdsCmd) Run(w *world) error {
	p, err := policies.Load(c.File, w.options(true))
	if err != nil {
		return w.refused(err)
	}
	params, err := policyParams(p)
	if err != nil {
		return err
	}
	params.Control, params.Claim, params.Edge = c.Control, c.Claim, c.Edge
	if c.CA != "" || c.Cert != "" || c.Key != "" {
		params.Mutual = &xds.Mutual{CA: c.CA, Cert: c.Cert, Key: c.Key}
	}
	r, err := xds.Build(p, params)
	if err != nil {
		return err
	}
	if c.Static {
		out, err := xds.Static(r, params)
		if err == nil {
			_, err = w.stdout.Write(out)
		}
		return err
	}
	type resource struct {
		Name     string          `json:"name"`
		Version  string          `json:"version"`
		Line     int             `json:"line,omitempty"` // of the policy
		Resource json.RawMessage `json:"resource"`
	}
	out := struct {
		Clusters  []resource        `json:"clusters"`
		Routes    []resource        `json:"routes"`
		Listeners []resource        `json:"listeners"`
		Uncarried map[string]string `json:"uncarried"` // providers that a route gives to Envoy and the executor carries for, and why
	}{Uncarried: r.Uncarried}
	for list, from := range map[*[]resource][]xds.Resource{&out.Clusters: r.Clusters, &out.Routes: r.Routes, &out.Listeners: r.Listeners} {
		for _, m := range from {
			text, err := xds.JSON(m.Message)
			if err != nil {
				return err
			}
			*list = append(*list, resource{m.Name, m.Hash, m.Origin.Line, text})
		}
	}
	enc := json.NewEncoder(w.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}
