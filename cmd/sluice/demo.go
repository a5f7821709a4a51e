package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/policies"
)

// demoCmd is `sluice demo`.
type demoCmd struct {
	Once   bool   `help:"End after the table instead of serving on."`
	URL    string `help:"Send the prompts to a gateway that is running, as in http://127.0.0.1:8080, instead of a simulated one." placeholder:"URL"`
	Key    string `help:"Key for that gateway." env:"SLUICE_API_KEY" placeholder:"KEY"`
	Config string `help:"Policy of that gateway, for its prices." placeholder:"FILE"`
}

// Help is what --help says beyond the flags.
func (c *demoCmd) Help() string {
	return `Without --url everything runs in this process: two simulated endpoints as the pool, a simulated external provider, and a real gateway in front. The answers are simulated and say so; the decisions are real.`
}

// demoPrompt is one of the six.
type demoPrompt struct {
	text    string
	private bool
}

var demoPrompts = []demoPrompt{
	{text: "hi there, how are you today?"},
	{text: "Extract the name and the city as JSON: Ada Lovelace lived in London."},
	{text: "Rewrite this more politely: send me the report now."},
	{text: "Prove that sqrt(2) + sqrt(3) is irrational."},
	{text: "This Go program deadlocks under load: two goroutines lock mutexes a and b in different order. Find the bug, explain the race and fix it."},
	{text: "Prove that sqrt(2) + sqrt(3) is irrational.", private: true},
}

// demoPolicy is what the simulated gateway serves; %s are the addresses of its upstreams.
const demoPolicy = `version: 1
providers:
  pool: {engine: openai, endpoints: ["http://%s", "http://%s"]}
  external: {dialect: openai, base_url: "http://%s/v1"}
models:
  small: {provider: pool, name: simulated-small, context: 32k}
  large: {provider: external, name: simulated-large, context: 200k, price: {in: 2, out: 8}}
tiers:
  - {name: cheap, models: [small]}
  - {name: strong, models: [large]}
boundaries:
  - {name: private stays home, when: 'req.headers["x-data-class"] == "private"', only: own}
routes:
  auto:
    rules:
      - {name: hard work, when: 'task.class in ["math", "code", "reasoning"] && task.gain > 0.15', use: strong}
      - {name: otherwise, use: by_gain}
    fallback: [same_tier, stronger, weaker]
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", headers: full}
`

// Run sends the prompts and prints the table.
func (c *demoCmd) Run(w *world) error {
	if c.URL != "" {
		return c.running(w)
	}
	stop, addr, err := simulate()
	if err != nil {
		return err
	}
	defer stop()
	text := fmt.Sprintf(demoPolicy, addr[0], addr[1], addr[2])
	p, ps := policies.LoadBytes("demo", []byte(text), w.options(false))
	if len(ps) > 0 {
		return ps
	}
	form, out := "auto", w.stderr
	if c.Once {
		form, out = "json", io.Discard // the table says it all
	}
	s, err := newServer(w, p, newLogger(form, out), nil)
	if err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "SIMULATED: a pool of two endpoints and an external provider, in this process. The gateway is real: %s\n\n", s.url())
	err = runDemo(w, demoClient{base: s.url(), policy: p})
	if err == nil && !c.Once {
		fmt.Fprintf(w.stdout, "\nServing on, any key, model \"auto\", until Ctrl-C. Try:\n\n  curl -si %s/chat/completions -d '{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}'\n\n", s.url())
		if w.serving != nil {
			w.serving(s.addr)
		}
		err = waitForStop(w, s.failed)
	}
	return errors.Join(err, s.stop(0, time.Second, w.signals))
}

// running drives a gateway that somebody else started.
func (c *demoCmd) running(w *world) error {
	d := demoClient{base: strings.TrimSuffix(strings.TrimRight(c.URL, "/"), "/v1") + "/v1", key: c.Key}
	if c.Config != "" {
		p, err := policies.Load(c.Config, w.options(true))
		if err != nil {
			return w.refused(err)
		}
		d.policy = p
	}
	return runDemo(w, d)
}

// simulate starts the three simulated servers of the demo on free loopback ports.
func simulate() (stop func(), addr [3]string, err error) {
	var servers []*http.Server
	stop = func() {
		for _, s := range servers {
			_ = s.Close() // nobody is left whom a failure could concern
		}
	}
	for i, name := range []string{"pool endpoint 1", "pool endpoint 2", "the external provider"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			stop()
			return nil, addr, err
		}
		s := &http.Server{Handler: simulator.New(simulator.Options{Name: name}), ReadHeaderTimeout: headerTimeout}
		servers = append(servers, s)
		addr[i] = l.Addr().String()
		go func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				fmt.Fprintln(os.Stderr, "sluice:", err)
			}
		}()
	}
	return stop, addr, nil
}

// runDemo sends every prompt and prints the table. It fails when no prompt was answered.
func runDemo(w *world, d demoClient) error {
	rows := make([]demoRow, 0, len(demoPrompts))
	answered := 0
	var first error
	for _, p := range demoPrompts {
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		row, err := d.send(ctx, p)
		cancel()
		if err == nil && row.problem == "" {
			answered++
		}
		if err != nil {
			if first == nil {
				first = err
			}
			row.problem = err.Error()
		}
		rows = append(rows, row)
	}
	if answered == 0 && first != nil {
		return first
	}
	_, err := io.WriteString(w.stdout, demoTable(rows))
	return err
}
