package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/tenants"
)

// keysCmd is `sluice keys`.
type keysCmd struct {
	New    keysNewCmd    `cmd:"" help:"Make a key. It is printed once; the policy holds its hash."`
	List   keysListCmd   `cmd:"" help:"List the keys of a policy and of its gateway's store."`
	Revoke keysRevokeCmd `cmd:"" help:"Refuse a key from now on, also one that the policy declares."`
	Rotate keysRotateCmd `cmd:"" help:"Replace a key by a new one of the same scope, which is printed once."`
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

// words joins names, or says what having none means.
func words(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
