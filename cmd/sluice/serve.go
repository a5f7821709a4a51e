package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// serveCmd is `sluice serve`.
type serveCmd struct {
	Config string        `help:"Policy file. Without it: providers whose keys are in the environment, and engines on their usual loopback ports." placeholder:"FILE"`
	Plane  string        `help:"Data plane: embedded, or envoy: the Envoy of $ENVOY_PATH or PATH, or as the policy's server.envoy says." default:"embedded" enum:"embedded,envoy"`
	Notice time.Duration `help:"How long to go on accepting after the first signal to stop, unready, so that load balancers look away; a second signal ends it." default:"0s"`
	Drain  time.Duration `help:"How long open requests may take to finish after the first signal to stop; a second signal ends them." default:"30s"`
	Log    string        `help:"Form of the log on standard error: text (one line a request), json, or auto (text on a terminal)." default:"auto" enum:"auto,text,json"`
	Envoy  envoyFlags    `embed:"" group:"With --plane envoy:"`
}

// Help is what --help says beyond the flags.
func (c *serveCmd) Help() string {
	return `The policy is read again when its file changes and on SIGHUP. A good one takes effect for every request that begins after it; a bad one changes nothing but the log, a metric and /admin/status. SIGTERM and SIGINT stop gracefully.`
}

var errEnvoyFlags = errors.New("--state, --control and what belongs to it need --plane envoy")

// Run serves until a signal.
func (c *serveCmd) Run(w *world) error {
	if c.Plane != "envoy" && c.Envoy != (envoyFlags{}) {
		return errEnvoyFlags
	}
	p, src, err := c.policy(w)
	if err != nil {
		return w.refused(err)
	}
	log, lines, flush := newLateLogger(c.Log, w.stderr)
	defer flush()
	s, err := newServer(w, p, log, lines)
	if err != nil {
		return err
	}
	if c.Plane == "envoy" {
		if err := s.behindEnvoy(w, c.Envoy); err != nil {
			return s.abandon(err)
		}
	}
	if c.Config != "" {
		s.watchFile(c.Config, src, w.options(false))
	}
	if err := s.start(); err != nil {
		return w.refused(err)
	}
	if c.Config != "" {
		s.notices(p)
	}
	releaseProgram()
	log.Info("ready", "url", s.url(), "admin", "http://"+s.addr.admin.String(), "policy", p.File, "version", p.Version, "auth", authOf(p), "plane", c.Plane)
	if w.serving != nil {
		w.serving(s.addr)
	}
	for {
		select {
		case sig := <-w.signals:
			if sig == syscall.SIGHUP {
				s.reloadNow()
				continue
			}
			return s.stop(c.Notice, c.Drain, w.signals)
		case <-w.ctx.Done():
			return s.stop(c.Notice, c.Drain, w.signals)
		case err := <-s.failed:
			return errors.Join(err, s.stop(0, 0, nil))
		}
	}
}

// policy returns the policy to begin with and the text that it came from.
func (c *serveCmd) policy(w *world) (*policies.Policy, []byte, error) {
	if c.Config == "" {
		p, err := discover(w)
		return p, nil, err
	}
	src, err := os.ReadFile(c.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("read policy: %w", err)
	}
	p, err := loadTested(c.Config, src, w.options(false))
	return p, src, err
}

func authOf(p *policies.Policy) string {
	if p.Server.AuthNone {
		return "none"
	}
	return "required"
}
