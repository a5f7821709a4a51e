package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
)

// mockCmd is `sluice mock`.
type mockCmd struct {
	Listen string   `help:"Address to listen on; port 0 takes a free one." default:"127.0.0.1:28090" placeholder:"HOST:PORT"`
	Name   string   `help:"Who answers, as it stands in every text." placeholder:"NAME"`
	Key    string   `help:"Require this key; without it any key, or none, is taken." placeholder:"KEY" env:"SLUICE_MOCK_KEY"`
	Model  []string `help:"Model that /v1/models lists; may be repeated. Any name may be called." placeholder:"NAME"`
	Fault  string   `help:"Fault that every request meets, as in status=429,retry-after=2 or cut=5; a request may name its own." placeholder:"SPEC"`
}

// Help is what --help says beyond the flags.
func (c *mockCmd) Help() string {
	return `Plays an OpenAI-shaped provider: chat, completions, embeddings, responses, models, streams, tools, JSON schemas. Nothing is computed by a model, and every answer says so. GET /_sim/log shows what it was asked and how each call ended, GET /_sim/totals the sums by model, DELETE /_sim/log empties both.

A fault is a list of words, as in status=429,retry-after=2,once. It stands behind the model's name (small+fault=cut=40), in the header x-sim-fault, or in --fault. Parts that a semicolon separates are tried in turn. The words:

` + indented(simulator.Faults()) + `
Faults with names of their own, which are words too (small+fault=s08). s01 to s16 are those of the public Failover Bench, at its timings:

` + indented(simulator.ScenarioList())
}

// indented makes lines that the help's layout leaves as they are.
func indented(lines string) string {
	return "  " + strings.TrimSuffix(strings.ReplaceAll(lines, "\n", "\n  "), "  ")
}

// Run serves until a signal.
func (c *mockCmd) Run(w *world) error {
	o := simulator.Options{Name: c.Name, Key: c.Key, Models: c.Model}
	if c.Fault != "" {
		o.Fault = func(*http.Request, string) string { return c.Fault }
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: simulator.New(o), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	fmt.Fprintf(w.stderr, "the simulated provider listens on http://%s/v1\n", l.Addr())
	if w.serving != nil {
		w.serving(addresses{data: l.Addr()})
	}
	if err := waitForStop(w, done); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return srv.Close()
	}
	return nil
}

// waitForStop waits for a signal to stop, the end of the world's context, or a server that ended by itself, whose error it returns.
func waitForStop(w *world, done <-chan error) error {
	for {
		select {
		case err := <-done:
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		case s := <-w.signals:
			if stops(s) {
				return nil
			}
		case <-w.ctx.Done():
			return nil
		}
	}
}

// stops tells the signals that end a server from those that make it look at its files again.
func stops(s os.Signal) bool { return s != syscall.SIGHUP }
