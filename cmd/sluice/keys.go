package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/tenants"
)

// keysCmd is `sluice keys`.
type keysCmd struct {
	New  keysNewCmd  `cmd:"" help:"Make a key. It is printed once; the policy holds its hash."`
	List keysListCmd `cmd:"" help:"List the keys that a policy declares."`
}

// keysNewCmd is `sluice keys new`.
type keysNewCmd struct {
	Tenant string `help:"Make a key of this tenant's. Exactly one of --tenant and --admin is needed." placeholder:"NAME" xor:"kind" required:""`
	Admin  string `help:"Make a key of the admin listener with this role: viewer, operator or admin." placeholder:"ROLE" xor:"kind" required:"" enum:"viewer,operator,admin,"`
	ID     string `help:"Name of the key, unique in its tenant." required:"" placeholder:"ID"`
	Config string `help:"Policy whose auth.pepper is used when SLUICE_PEPPER is not set." placeholder:"FILE"`
	JSON   bool   `help:"Print {\"key\", \"hash\"}."`
}

// Run makes a key and prints it with its hash.
func (c *keysNewCmd) Run(w *world) error {
	pepper, err := c.pepper(w)
	if err != nil {
		return err
	}
	key, err := tenants.NewKey(c.ID)
	if err != nil {
		return err
	}
	hash := tenants.Hash(pepper, key)
	if c.JSON {
		return json.NewEncoder(w.stdout).Encode(struct {
			Key  string `json:"key"`
			Hash string `json:"hash"`
		}{key, hash})
	}
	where, line := fmt.Sprintf("tenants.%s.keys", c.Tenant), fmt.Sprintf("- {id: %s, hash: %q}", c.ID, hash)
	if c.Admin != "" {
		where, line = "auth.admin", fmt.Sprintf("- {id: %s, role: %s, hash: %q}", c.ID, c.Admin, hash)
	}
	_, err = fmt.Fprintf(w.stdout, "key   %s\nhash  %s\n\nThe key is shown this once. In the policy, under %s:\n\n  %s\n", key, hash, where, line)
	return err
}

func (c *keysNewCmd) pepper(w *world) (string, error) {
	if p, ok := w.env("SLUICE_PEPPER"); ok && p != "" {
		return p, nil
	}
	if c.Config == "" {
		return "", errors.New("no pepper: set SLUICE_PEPPER, or name the policy with --config")
	}
	p, err := policies.Load(c.Config, w.options(false))
	if err != nil {
		return "", w.refused(err)
	}
	if !p.Auth.Pepper.Present() {
		return "", fmt.Errorf("%s has no auth.pepper; set SLUICE_PEPPER", c.Config)
	}
	return p.Auth.Pepper.Reveal(), nil
}

// keysListCmd is `sluice keys list`.
type keysListCmd struct {
	Config string `help:"Policy whose keys are listed." required:"" placeholder:"FILE"`
	JSON   bool   `help:"Print a JSON array."`
}

// listedKey is a declared key as it is shown: neither the key, which nobody has, nor its hash.
type listedKey struct {
	Tenant  string            `json:"tenant,omitempty"`
	ID      string            `json:"id"`
	Role    string            `json:"role,omitempty"`
	Expires time.Time         `json:"expires,omitzero"`
	Expired bool              `json:"expired,omitempty"`
	Routes  []string          `json:"routes"` // null = all
	Models  []string          `json:"models,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Run lists the keys.
func (c *keysListCmd) Run(w *world) error {
	p, err := policies.Load(c.Config, w.options(true))
	if err != nil {
		return w.refused(err)
	}
	keys := declared(p, time.Now())
	if c.JSON {
		return json.NewEncoder(w.stdout).Encode(keys)
	}
	t := tabwriter.NewWriter(w.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "TENANT\tID\tROLE\tEXPIRES\tROUTES\tMODELS")
	for _, k := range keys {
		expires := "never"
		if !k.Expires.IsZero() {
			expires = k.Expires.UTC().Format(time.RFC3339)
		}
		if k.Expired {
			expires += " (expired)"
		}
		routes := words(k.Routes, "none")
		if k.Routes == nil {
			routes = "all"
		}
		if k.Role != "" {
			routes, expires = "-", "never"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(k.Tenant, "-"), k.ID, cmp.Or(k.Role, "-"), expires, routes, words(k.Models, "-"))
	}
	return t.Flush()
}

func declared(p *policies.Policy, now time.Time) []listedKey {
	keys := []listedKey{}
	for _, name := range slices.Sorted(maps.Keys(p.Tenants)) {
		for _, k := range p.Tenants[name].Keys {
			l := listedKey{Tenant: name, ID: k.ID, Expires: k.Expires, Expired: !k.Expires.IsZero() && now.After(k.Expires), Labels: k.Labels, Models: slices.Sorted(maps.Keys(k.Models))}
			if k.Routes != nil {
				l.Routes = append([]string{}, slices.Sorted(maps.Keys(k.Routes))...)
			}
			keys = append(keys, l)
		}
	}
	for _, a := range p.Auth.Admin {
		keys = append(keys, listedKey{ID: a.ID, Role: a.Role})
	}
	return keys
}

// words joins names, or says what having none means.
func words(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
