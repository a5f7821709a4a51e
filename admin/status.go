package admin

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/internal/breaker"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router/pool"
	"github.com/sluice-gateway/sluice/xds"
)

type statusBody struct {
	Version   string                    `json:"version"`
	Policy    policyStatus              `json:"policy"`
	Draining  bool                      `json:"draining"`
	Providers map[string]providerStatus `json:"providers"`
	Breakers  []breaker.Status          `json:"breakers"`
	Retries   []proxy.RetryAccount      `json:"retries"` // accounts that are not full
	Envoys    []xds.NodeStatus          `json:"envoys"`
	Exchanges exchanges                 `json:"exchanges"`
	Cache     cache.Counts              `json:"cache"`
}

type policyStatus struct {
	File       string     `json:"file"`
	Hash       string     `json:"hash"`
	Generation int        `json:"generation"`
	LoadedAt   time.Time  `json:"loaded_at"`
	LastError  *LoadError `json:"last_error"`
	Notices    []string   `json:"notices"`
}

type exchanges struct {
	InFlight int64 `json:"in_flight"`
	Total    int64 `json:"total"`
	Bytes    int64 `json:"bytes"` // of bodies and buffers, as reckoned
	Shed     int64 `json:"shed"`  // refused for want of room
}

// providerStatus is a pool with its endpoints, or an external provider with its credentials.
type providerStatus struct {
	Kind        string                `json:"kind"` // own or external
	Engine      string                `json:"engine,omitempty"`
	Preset      string                `json:"preset,omitempty"`
	Region      string                `json:"region,omitempty"`
	BaseURL     string                `json:"base_url,omitempty"`
	Models      []string              `json:"models"`
	Endpoints   []pool.EndpointStatus `json:"endpoints,omitempty"`
	Healthy     *int                  `json:"healthy,omitempty"` // endpoints that may be picked
	InFlight    *int                  `json:"in_flight,omitempty"`
	Waiting     *int                  `json:"waiting,omitempty"` // in the queue; with a limit only
	Tokens      *int                  `json:"tokens,omitempty"`  // in flight, estimated
	Credentials int                   `json:"credentials"`
	Parked      []parked              `json:"parked,omitempty"` // credentials that rest
}

type parked struct {
	Credential string    `json:"credential"`      // an id that says nothing of the key
	Model      string    `json:"model,omitempty"` // its name at the provider; absent = every model
	Until      time.Time `json:"until"`
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) {
	g := s.o.Gateway
	snap := g.Snapshot()
	p := snap.Policy
	body := statusBody{
		Version:   s.o.Version,
		Policy:    policyStatus{File: p.File, Hash: p.Version, Generation: snap.Generation, LoadedAt: snap.LoadedAt, Notices: []string{}},
		Draining:  g.Draining(),
		Providers: map[string]providerStatus{},
		Breakers:  append([]breaker.Status{}, g.Breakers()...),
		Retries:   g.Retries(),
		Envoys:    []xds.NodeStatus{},
		Exchanges: exchanges{g.Inflight(), g.Total(), g.Load().Bytes, g.Load().Shed},
		Cache:     g.Cached(),
	}
	if s.o.Reload != nil {
		body.Policy.LastError = s.o.Reload()
	}
	if s.o.Envoys != nil {
		body.Envoys = s.o.Envoys()
	}
	for _, n := range p.Notices {
		body.Policy.Notices = append(body.Policy.Notices, n.Error())
	}
	for name, pr := range p.Providers {
		body.Providers[name] = s.provider(p, pr)
	}
	write(w, http.StatusOK, body)
}

func (s *server) provider(p *policies.Policy, pr *policies.Provider) providerStatus {
	st := providerStatus{Kind: "external", Preset: pr.Preset, Region: pr.Region, Models: []string{}, Credentials: len(pr.Keys)}
	for _, name := range slices.Sorted(maps.Keys(p.Models)) {
		if p.Models[name].Provider == pr {
			st.Models = append(st.Models, name)
		}
	}
	for _, r := range s.o.Gateway.Resting(pr) {
		st.Parked = append(st.Parked, parked{r.ID, r.Model, r.Until})
	}
	if held, waiting, limited := s.o.Gateway.Queued(pr.Name); limited {
		st.InFlight, st.Waiting = &held, &waiting
	}
	if !pr.Own {
		if len(pr.Endpoints) > 0 {
			st.BaseURL = pr.Endpoints[0].Redacted()
		}
		return st
	}
	st.Kind, st.Engine = "own", pr.Engine
	if pl := s.o.Gateway.Pools().Pool(pr.Name); pl != nil {
		f := pl.Facts()
		st.Endpoints, st.Healthy, st.InFlight, st.Tokens = pl.Status(), &f.Healthy, &f.Inflight, &f.Tokens
	}
	return st
}
