package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/policies"
)

// usageCmd is `sluice usage`.
type usageCmd struct {
	Config string `help:"Policy of the gateway whose ledger is read." required:"" placeholder:"FILE"`
	By     string `help:"What to sum by, with commas: tenant, key, route, model, provider, usage, day. Default: the first six." placeholder:"LIST"`
	Since  string `help:"From when on: a duration before now such as 24h or 7d, a date (UTC) or an RFC 3339 time. Default: all." placeholder:"TIME"`
	Format string `help:"csv or jsonl." default:"csv" enum:"csv,jsonl"`
	Raw    bool   `help:"Every row instead of sums."`
	Full   bool   `help:"Also what own GPUs cost with their idle hours (full_micro_usd)."`
}

// Help is what --help says beyond the flags.
func (c *usageCmd) Help() string {
	return `A running gateway is asked through its admin listener, with the admin key of SLUICE_ADMIN_KEY where there is one; without one running, its files are read. An amount that is not known is empty (null in JSONL).`
}

// usageLimit bounds one report.
const usageLimit = 5 * time.Minute

// Run prints a report.
func (c *usageCmd) Run(w *world) error {
	q, err := ledger.ParseQuery(c.By, c.Since, c.Format, c.Raw, time.Now())
	if err != nil {
		return err
	}
	p, err := policies.Load(c.Config, w.options(true))
	if err != nil {
		return w.refused(err)
	}
	asked, err := c.ask(w, p)
	if asked {
		return err
	}
	dir, err := storeFolder(w, p)
	if err != nil {
		return err
	}
	if dir == "" {
		return errNotRunning
	}
	l, err := ledger.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w, and there is no ledger in %s", errNotRunning, dir)
	case err != nil:
		return err
	}
	if c.Full {
		q.GPU = ledger.Hourly(p)
	}
	return errors.Join(l.Report(w.stdout, q), l.Close())
}

var errNotRunning = errors.New("no gateway answers at the policy's admin address")

// ask has the running gateway print the report; false = there is none.
func (c *usageCmd) ask(w *world, p *policies.Policy) (asked bool, err error) {
	v := url.Values{"by": {c.By}, "since": {c.Since}, "format": {c.Format}}
	if c.Raw {
		v.Set("raw", "1")
	}
	if c.Full {
		v.Set("full", "1")
	}
	ctx, cancel := context.WithTimeout(w.ctx, usageLimit)
	defer cancel()
	resp, err := askAdmin(ctx, w, p, http.MethodGet, "/admin/usage?"+v.Encode(), nil)
	if resp == nil {
		return err != nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w.stdout, resp.Body)
	return true, err
}

// saidNo is an admin listener's error as one of ours.
func saidNo(resp *http.Response) error {
	var said struct{ Error struct{ Message string } }
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&said) // another server's answer has no such message
	hint := ""
	if resp.StatusCode == http.StatusUnauthorized {
		hint = " (set SLUICE_ADMIN_KEY)"
	}
	return fmt.Errorf("the admin listener at %s answered %d: %s%s", resp.Request.URL.Host, resp.StatusCode, said.Error.Message, hint)
}
