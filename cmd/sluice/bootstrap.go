package main

import (
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/xds"
)

// bootstrapCmd is `sluice bootstrap`.
type bootstrapCmd struct {
	Config  string `help:"Policy file: how long its longest request takes is how long an Envoy must wait for it." placeholder:"FILE"`
	Node    string `help:"The Envoy's name; each needs its own." default:"sluice" placeholder:"NAME"`
	Control string `help:"The control plane: an absolute path of a Unix socket (control.sock of serve's --state), or host:port, which needs the three files." required:"" placeholder:"ADDRESS"`
	CA      string `name:"ca" help:"Authority of the control plane's certificate, as a path on Envoy's machine." placeholder:"FILE"`
	Cert    string `help:"Envoy's certificate, likewise." placeholder:"FILE"`
	Key     string `help:"Its key, likewise." placeholder:"FILE"`
	Admin   string `help:"Envoy's admin interface: an absolute path of a Unix socket, or host:port on loopback. Without it there is none." placeholder:"ADDRESS"`
}

// Help is what --help says beyond the flags.
func (c *bootstrapCmd) Help() string {
	return `The bootstrap goes to standard output, how to start an Envoy with it to standard error. It holds no secret.`
}

// Run prints the bootstrap.
func (c *bootstrapCmd) Run(w *world) error {
	longest := policies.DefaultTimeouts().Total
	if c.Config != "" {
		p, err := policies.Load(c.Config, w.options(true))
		if err != nil {
			return w.refused(err)
		}
		longest = xds.Longest(p)
	}
	params := xds.Params{Control: c.Control, NodeID: c.Node, Admin: c.Admin}
	if c.CA != "" || c.Cert != "" || c.Key != "" {
		params.Mutual = &xds.Mutual{CA: c.CA, Cert: c.Cert, Key: c.Key}
	}
	out, err := xds.Bootstrap(params)
	if err != nil {
		return err
	}
	if _, err := w.stdout.Write(out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stderr, "envoy -c FILE --disable-hot-restart --drain-time-s %d --drain-strategy immediate\n", int((longest + time.Minute).Seconds()))
	return err
}
