package policies

import (
	"net/url"
	"time"
)

// Policy is a compiled policy: immutable, safe for any number of readers. Requests match against it and never against the file.
type Policy struct {
	Version     string // hash of the syntax tree, 16 hex digits: comments and spaces do not change it
	File        string
	Providers   map[string]*Provider
	Models      map[string]*Model
	Tiers       []*Tier // from cheap to strong
	Boundaries  []*Boundary
	Routes      []*Route      // in the file's order
	Passthrough []Passthrough // longest path first
	Auth        Auth
	Tenants     map[string]*Tenant
	State       State
	Server      Server
	Telemetry   Telemetry
	Tests       []Test
	Feedback    bool      // labelled records of outcomes are kept
	Notices     []Problem // sections that this version accepts and does not act on

	byName map[string]*Route // routes by their own name
	direct map[string]*Route // routes made for models' own names
	bounds []bound           // Boundaries as sets, index by index
}

// Provider is somebody who can answer: a pool of the own endpoints or an external service.
type Provider struct {
	Name         string
	Own          bool
	Engine       string // own pools: vllm, sglang, llamacpp, ollama, tgi, lmdeploy, trtllm, openai
	Preset       string // external: key of the presets' table, or ""
	Dialect      string
	Endpoints    []*url.URL // own: every endpoint; external: the one base URL. All end in the API's root (…/v1), without a slash
	Auth         AuthForm
	Keys         []Secret // rotate; empty = no credential
	Region       string
	Untrained    bool   // what it is asked is not trained on
	ZDR          bool   // it keeps nothing of a request behind its answer
	CA           string // file with PEM certificates; "" = the system's
	Proxy        *url.URL
	Concurrent   int // requests in flight; 0 = no limit
	QueueMax     int
	QueueWait    time.Duration
	Cancel       string  // cancel or drain
	DrainTokens  int     // with drain; 0 = to the end
	TraceContext bool    // traceparent may leave
	GPUPerHour   float64 // USD an hour, all GPUs together
	Pos          Position
}

// AuthForm says how a provider takes its credential.
type AuthForm struct {
	Header string // canonical header name
	Prefix string // "Bearer " or ""
	Query  string // never used for clients; some providers' extra header values live in Extra
	Extra  map[string]string
}

// Preset is what a table of providers knows about one of them; package providers owns the table.
type Preset struct {
	Name      string
	Dialect   string
	BaseURL   string // may hold {placeholders} that base_url must replace
	KeyEnv    string // the customary environment variable
	Auth      AuthForm
	NeedsKey  bool
	Untrained bool // as documented, what its API is asked is not trained on unless its account agrees
	ZDR       bool // as documented, nothing of a request is kept behind its answer
}

// Model is something that can be called.
type Model struct {
	Key      string // its name in the policy: tiers and records use it
	Provider *Provider
	Name     string          // its name at the provider
	Context  int             // tokens; 0 = unknown
	Can      map[string]bool // nil = unknown: nothing is refused
	Price    *Price          // nil = unknown
	Tier     string          // the first tier that lists it, or ""

	identity string
}

// Tier is a list of models of like strength, in order of preference.
type Tier struct {
	Name   string
	Rank   int // 0 = cheapest
	Models []*Model
}

// Boundary binds requests to providers, before and apart from every rule.
type Boundary struct {
	Name string
	When *Expr           // nil = always holds
	Own  bool            // only: own
	Only map[string]bool // provider names; with Own both apply as one set
	Pos  Position
}

// Route is a name that clients write in "model".
type Route struct {
	Name      string
	Matches   []string // `match`: names and patterns (`*` any run of characters)
	Rules     []*Rule
	ByGain    ByGain
	Fallback  []string // same_tier, stronger, weaker
	Attempts  AttemptLimits
	Timeouts  Timeouts
	Carrier   string    // executor or envoy
	Rescue    string    // off, verified or continue; "" = absent
	Escalate  *Escalate // nil = never
	Session   Session
	Keepalive string // committed, early or off
	Lossy     string // warn or reject
	MaxTokens MaxTokens
	Cache     *Cache   // nil = off
	Residency []string // regions; empty = any
	Limits    *Limits  // nil = none
	Budget    *Budget  // nil = none
	Direct    bool     // made for a model's own name, not written in the file
	Judged    bool     // something may depend on what a prompt asks for: there are tiers, or an expression reads task
	Content   string   // off, redacted or full
	Pos       Position // zero for Direct

	asked    string // the carrier as written
	asks     string // the section for which the executor carries all the same; "" = none
	resident *bound
}

// Rule is one line of a route's table: the first whose When holds decides.
type Rule struct {
	Index  int
	Name   string   // "rule 3" when the file gives none
	When   *Expr    // nil = always
	Tier   *Tier    // use: a tier
	Models []*Model // use: a list of models, which is then the whole plan
	ByGain bool     // use: by_gain
	Pos    Position
}

// ByGain chooses between the first and the last allowed tier by the router's gain.
type ByGain struct {
	Prefer       string       // cheap or strong
	Above        float64      // gain above which the last tier answers, without a calibration
	QualityValue float64      // USD that a right answer is worth; 0 = prices and latency are not weighed
	MaxRegret    float64      // share of the prompts kept cheap that may lose a right answer; 0 = nothing is promised
	File         string       // of the calibration, as written; "" = none
	Calibration  *Calibration // nil = uncalibrated
	Uncalibrated string       // why, where a calibration was asked for
}

// AttemptLimits bounds how often upstreams are asked.
type AttemptLimits struct {
	PerModel int
	Total    int
	On       map[string]bool // connect, reset, timeout, 429, 5xx, error_event
}

// Timeouts are the limits of one exchange; see the contract for what each one measures.
type Timeouts struct {
	Connect, Headers, FirstToken, Idle, Answer, Total time.Duration
}

// Escalate asks a stronger model when an answer shows, before its first byte reaches the client, that it is no good.
type Escalate struct {
	On     map[string]bool // the signs: refusal, truncated, invalid_json, empty, loop, language, unsure
	Max    int             // times in one exchange
	Tokens int             // of a stream that are held back to look at, at most
	Time   time.Duration   // how long they are held back, at most
}

// Session says how a conversation keeps its model.
type Session struct {
	Header    string
	Sticky    time.Duration
	ToolTurns string // locked or free
	Direction string // up or any
}

// MaxTokens edits a request's limit: 0 = leave alone.
type MaxTokens struct{ Default, Cap int }

// Passthrough gives a path that names no model to a provider.
type Passthrough struct {
	Path     string // a prefix, at a path segment's end
	Provider *Provider
}

// Auth is the policy's side of who may ask.
type Auth struct {
	Admin          []AdminKey
	Pepper         Secret
	PreviousPepper Secret
	OIDC           []OIDC
}

// OIDC is an identity provider whose tokens stand in place of keys.
type OIDC struct {
	Issuer, Audience string
	Tenant           []string // the claim that names the tenant, as a path; empty = DefaultTenant
	DefaultTenant    string
	Labels           map[string][]string // label by the claim that it is
}

// AdminKey opens the admin listener.
type AdminKey struct{ ID, Role, Hash string }

// Tenant is a party that asks.
type Tenant struct {
	Name      string
	Keys      []*Key
	Residency []string
	Limits    *Limits // nil = none
	Budget    *Budget // nil = none

	resident *bound
}

// Key is a tenant's credential, as its hash.
type Key struct {
	Tenant  *Tenant
	ID      string
	Hash    string          // hmac-sha256:<64 hex digits>
	Expires time.Time       // zero = never
	Routes  map[string]bool // nil = all; empty = none
	Models  map[string]bool // models callable by their own name
	Labels  map[string]string
	Limits  *Limits // nil = none
	Budget  *Budget // nil = none
}

// Server is where and how the gateway listens.
type Server struct {
	Listen      string
	Admin       string
	TLSCert     string
	TLSKey      string
	AuthNone    bool
	BodyLimit   int64  // bytes
	UploadLimit int64  // bytes
	Headers     string // full or basic
	CORS        []string
	Concurrent  int    // exchanges at once; 0 = no limit
	Memory      int64  // bytes of bodies and buffers; 0 = no limit
	Criticality string // canonical name of the header that says how urgent a request is; "" = all are alike
	EnvoyMode   string // filter or edge
	EnvoyBinary string // auto, external or a path
	Pos         Position
}

// Telemetry is where records go.
type Telemetry struct {
	OTLPEndpoint string // "" = off
	Content      string // off, redacted or full
	AccessLog    bool
}

// Test is one in-file test.
type Test struct {
	Name    string
	Route   string
	Prompt  string
	Headers map[string]string
	Expect  Expect
	Pos     Position
}

// Expect is what a test demands of the decision. Empty fields demand nothing.
type Expect struct {
	Tier   string
	Model  string
	Class  string
	Rule   string
	Never  []string // providers that the plan must not hold
	Denied bool     // nothing is eligible
}
