package main

import (
	"fmt"
	"strings"
)

// routes are the first parts of the models that clients ask for. `bench` is one rule and one model; `auto` makes a gateway look at the
// prompt, which the lean proxy does not.
var routes = []string{"bench", "auto"}

// plainPath is a path that Sluice passes through unread: nothing is held back, kept for a rescue or counted.
const plainPath = "/v1/plain"

// policy is the file that Sluice serves in a run. It sets nothing that has a default but the listeners.
func policy(upstream, listen, admin string) string {
	var models, bench, auto strings.Builder
	for _, s := range shapes {
		fmt.Fprintf(&models, "  cheap-%s: {provider: upstream, name: up-%s, context: 128k, price: {in: 0.1, out: 0.4}}\n", s.name, s.name)
		fmt.Fprintf(&models, "  strong-%s: {provider: upstream, name: up-%s, context: 128k, price: {in: 5, out: 30}}\n", s.name, s.name)
		fmt.Fprintf(&bench, "  bench-%s: {rules: [{use: [cheap-%s]}]}\n", s.name, s.name)
		fmt.Fprintf(&auto, `  auto-%s:
    rules:
      - {name: hard work, when: 'task.class in ["math", "code"] && task.gain > 0.15', use: [strong-%s]}
      - {name: easy work, when: 'task.gain < 0.12', use: [cheap-%s]}
      - {name: otherwise, use: [strong-%s]}
`, s.name, s.name, s.name, s.name)
	}
	return fmt.Sprintf(`version: 1
providers:
  upstream: {dialect: openai, base_url: %s/v1}
models:
%sroutes:
%s%spassthrough: {%s: upstream}
server:
  listen: %s
  admin: %s
`, upstream, models.String(), bench.String(), auto.String(), plainPath, listen, admin)
}

// routeExecutor is the first part of models whose routes are the executor's, behind the same stage as those of `bench`.
const routeExecutor = "exec"

// envoyPolicy is the file for the Envoy plane. In filter mode one policy has routes by both carriers, so that both go through the stage; in
// edge mode there is no stage and no carrier to choose.
func envoyPolicy(upstream, listen, admin, mode, binary string) string {
	var models, routes strings.Builder
	for _, s := range shapes {
		fmt.Fprintf(&models, "  cheap-%s: {provider: upstream, name: up-%s, context: 128k, price: {in: 0.1, out: 0.4}}\n", s.name, s.name)
		if mode == "edge" {
			fmt.Fprintf(&routes, "  bench-%s: {rules: [{use: [cheap-%s]}]}\n", s.name, s.name)
			continue
		}
		fmt.Fprintf(&routes, "  bench-%s: {rules: [{use: [cheap-%s]}], carrier: envoy}\n", s.name, s.name)
		fmt.Fprintf(&routes, "  %s-%s: {rules: [{use: [cheap-%s]}], carrier: executor}\n", routeExecutor, s.name, s.name)
	}
	return fmt.Sprintf(`version: 1
providers:
  upstream: {dialect: openai, base_url: %s/v1}
models:
%sroutes:
%sserver:
  listen: %s
  admin: %s
  envoy: {mode: %s, binary: %q}
`, upstream, models.String(), routes.String(), listen, admin, mode, binary)
}
