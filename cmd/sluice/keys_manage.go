package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/tenants"
)

// keysLimit bounds one change of keys.
const keysLimit = 30 * time.Second

// managed is what the commands that manage keys share: a gateway's admin listener or, without one running, its store.
type managed struct {
	Config string `help:"Policy of the gateway whose keys they are." required:"" placeholder:"FILE"`
}

// Help is what --help says beyond the flags.
func (m *managed) Help() string {
	return `A running gateway is asked through its admin listener, with the admin key of SLUICE_ADMIN_KEY where there is one; without one running, its store is opened.`
}

// policy loads the policy. Without secrets it needs none of them to be at hand.
func (m *managed) policy(w *world, secrets bool) (*policies.Policy, error) {
	p, err := policies.Load(m.Config, w.options(!secrets))
	if err != nil {
		return nil, w.refused(err)
	}
	return p, nil
}

// ask asks the running gateway; false = there is none. The answer is read into v where that is not nil.
func ask(ctx context.Context, w *world, p *policies.Policy, method, path string, body, v any) (asked bool, err error) {
	resp, err := askAdmin(ctx, w, p, method, path, body)
	if resp == nil {
		return err != nil, err
	}
	defer resp.Body.Close()
	if v == nil {
		return true, nil
	}
	return true, json.NewDecoder(resp.Body).Decode(v)
}

// open opens the store of a gateway that does not run.
func (m *managed) open(ctx context.Context, w *world, p *policies.Policy) (*tenants.Ring, func() error, error) {
	dir, _, err := makeStore(w, p)
	if err != nil {
		return nil, nil, err
	}
	var t tenancy
	if t.own, err = tenants.OpenEmbedded(dir); err != nil {
		return nil, nil, err
	}
	t.store = t.own
	if p.State.Redis != nil {
		if err := t.share(p.State.Redis, slog.New(slog.DiscardHandler), nil); err != nil {
			return nil, nil, err
		}
	}
	ring := tenants.NewRing(t.store)
	if err := ring.Refresh(ctx); err != nil {
		return nil, nil, err
	}
	return ring, t.close, nil
}

// keysListCmd is `sluice keys list`.
type keysListCmd struct {
	managed `embed:""`
	JSON    bool `help:"Print a JSON array."`
}

// Run lists the keys.
func (c *keysListCmd) Run(w *world) error {
	p, err := c.policy(w, false)
	if err != nil {
		return err
	}
	var got struct{ Keys []tenants.Listed }
	ctx, cancel := context.WithTimeout(w.ctx, keysLimit)
	defer cancel()
	asked, err := ask(ctx, w, p, http.MethodGet, "/admin/keys", nil, &got)
	if err != nil {
		return err
	}
	if !asked {
		if got.Keys, err = c.stored(w, p); err != nil {
			return err
		}
	}
	if c.JSON {
		return json.NewEncoder(w.stdout).Encode(listed(p, got.Keys))
	}
	t := tabwriter.NewWriter(w.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "TENANT\tID\tROLE\tEXPIRES\tROUTES\tMODELS\tSOURCE")
	for _, k := range listed(p, got.Keys) {
		routes := words(k.Routes, "none")
		if k.Routes == nil {
			routes = "all"
		}
		if k.Role != "" {
			routes = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(k.Tenant, "-"), k.ID, cmp.Or(k.Role, "-"), k.ends(), routes, words(k.Models, "-"), k.Source)
	}
	return t.Flush()
}

// stored lists the keys without a gateway. A policy whose store is nowhere has its own keys only.
func (c *keysListCmd) stored(w *world, p *policies.Policy) ([]tenants.Listed, error) {
	r := &tenants.Register{}
	if dir, err := storeFolder(w, p); err == nil && tenants.Stored(dir) || p.State.Redis != nil {
		if p.State.Redis != nil { // its URL may be a secret
			if p, err = c.policy(w, true); err != nil {
				return nil, err
			}
		}
		ring, done, err := c.open(w.ctx, w, p)
		if err != nil {
			return nil, err
		}
		r = ring.Register()
		if err := done(); err != nil {
			return nil, err
		}
	}
	return tenants.List(p, r, time.Now()), nil
}

// listedKey is a key as it is shown: a tenant's, or an admin's with its role.
type listedKey struct {
	tenants.Listed
	Role string `json:"role,omitempty"`
}

func (k *listedKey) ends() string {
	switch text := k.Expires.UTC().Format(time.RFC3339); {
	case k.Revoked:
		return "revoked"
	case !k.Until.IsZero():
		return k.Until.UTC().Format(time.RFC3339) + " (replaced)"
	case k.Expires.IsZero():
		return "never"
	case k.Expired:
		return text + " (expired)"
	default:
		return text
	}
}

// listed adds the admin keys, which the policy alone declares.
func listed(p *policies.Policy, keys []tenants.Listed) []listedKey {
	out := []listedKey{}
	for _, k := range keys {
		out = append(out, listedKey{Listed: k})
	}
	for _, a := range p.Auth.Admin {
		out = append(out, listedKey{tenants.Listed{ID: a.ID, Source: "policy"}, a.Role})
	}
	return out
}

// keysRevokeCmd is `sluice keys revoke`.
type keysRevokeCmd struct {
	managed `embed:""`
	Tenant  string `help:"Tenant of the key." required:"" placeholder:"NAME"`
	ID      string `help:"Name of the key." required:"" placeholder:"ID"`
}

// Run revokes the key.
func (c *keysRevokeCmd) Run(w *world) error {
	ctx, cancel := context.WithTimeout(w.ctx, keysLimit)
	defer cancel()
	p, err := c.policy(w, false)
	if err != nil {
		return err
	}
	asked, err := ask(ctx, w, p, http.MethodDelete, keyPath(c.Tenant, c.ID), nil, nil)
	if err == nil && !asked {
		err = c.inStore(ctx, w, false, func(p *policies.Policy, r *tenants.Ring) error { return r.Revoke(ctx, p, c.Tenant, c.ID, time.Now()) })
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "revoked %s/%s\n", c.Tenant, c.ID)
	return err
}

func keyPath(tenant, id string) string {
	return "/admin/keys/" + url.PathEscape(tenant) + "/" + url.PathEscape(id)
}

// inStore does something to the store of a gateway that does not run. Only what makes keys needs the policy's secrets, and a store elsewhere.
func (m *managed) inStore(ctx context.Context, w *world, secrets bool, do func(*policies.Policy, *tenants.Ring) error) error {
	p, err := m.policy(w, secrets)
	if err == nil && p.State.Redis != nil && !secrets {
		p, err = m.policy(w, true)
	}
	if err != nil {
		return err
	}
	ring, done, err := m.open(ctx, w, p)
	if err != nil {
		return err
	}
	err = do(p, ring)
	if closing := done(); err == nil {
		err = closing
	}
	return err
}

// keysRotateCmd is `sluice keys rotate`.
type keysRotateCmd struct {
	managed `embed:""`
	Tenant  string        `help:"Tenant of the key." required:"" placeholder:"NAME"`
	ID      string        `help:"Name of the key." required:"" placeholder:"ID"`
	Overlap time.Duration `help:"How long the old key stays valid." default:"24h"`
	JSON    bool          `help:"Print {\"key\"}."`
}

// Run replaces the key.
func (c *keysRotateCmd) Run(w *world) error {
	ctx, cancel := context.WithTimeout(w.ctx, keysLimit)
	defer cancel()
	p, err := c.policy(w, false)
	if err != nil {
		return err
	}
	var got struct {
		Key string `json:"key"`
	}
	asked, err := ask(ctx, w, p, http.MethodPost, keyPath(c.Tenant, c.ID)+"/rotate", map[string]string{"overlap": c.Overlap.String()}, &got)
	if err == nil && !asked {
		err = c.inStore(ctx, w, true, func(p *policies.Policy, r *tenants.Ring) (err error) {
			got.Key, err = r.Rotate(ctx, p, c.Tenant, c.ID, c.Overlap, time.Now())
			return err
		})
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(w.stdout).Encode(got)
	}
	_, err = fmt.Fprintf(w.stdout, "key   %s\n\nThe key is shown this once. The old one is valid for %s more.\n", got.Key, c.Overlap)
	return err
}
