package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/llm"
)

// Row is one attempt of one exchange: a request that an upstream got, or was to get. All names are configured ones.
type Row struct {
	Time     time.Time     // when the attempt ended
	Took     time.Duration // from the request sent to the attempt's end
	Exchange [16]byte
	Attempt  int    // from 1; 0 = no upstream was asked: the answer came from the cache
	Tenant   string // "" = nobody was asked for a key
	Key      string // the key's id
	Route    string
	Model    string // the policy's name
	Provider string
	Region   string // of the provider; "" = unknown
	Cache    string // hit, miss, bypass or ""
	Status   int    // the upstream's; 0 = none came
	Class    string // of the failure; "" = success
	Kind     llm.UsageKind
	Usage    llm.Usage
	Cost     Cost
}

// Cost is money in millionths of a US dollar. The zero Cost is unknown.
type Cost struct {
	MicroUSD int64
	Known    bool
	Price    string // the price row that was used: policy, gpu, or the catalogue's; "" = none
}

// stored is a row as JSON: short names, nothing that is empty.
type stored struct {
	Took      int64  `json:"ms,omitempty"`
	Tenant    string `json:"t,omitempty"`
	Key       string `json:"k,omitempty"`
	Route     string `json:"r,omitempty"`
	Model     string `json:"m,omitempty"`
	Provider  string `json:"p,omitempty"`
	Region    string `json:"g,omitempty"`
	Cache     string `json:"c,omitempty"`
	Status    int    `json:"s,omitempty"`
	Class     string `json:"f,omitempty"`
	Kind      uint8  `json:"u,omitempty"`
	In        int    `json:"i,omitempty"`
	Out       int    `json:"o,omitempty"`
	Cached    int    `json:"ic,omitempty"`
	Written   int    `json:"iw,omitempty"`
	Reasoning int    `json:"or,omitempty"`
	MicroUSD  *int64 `json:"d,omitempty"` // absent = unknown
	Price     string `json:"pr,omitempty"`
}

// keySize is a row's key: its time, so that rows are in order, then what makes it one row and no other.
const keySize = 8 + 16 + 2

func (r *Row) key() []byte {
	return binary.BigEndian.AppendUint16(append(timeKey(r.Time), r.Exchange[:]...), uint16(r.Attempt))
}

// timeKey is the smallest key of a moment.
func timeKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, keySize), uint64(max(0, t.UnixNano())))
}

func (r *Row) value() ([]byte, error) {
	s := stored{
		Took: r.Took.Milliseconds(), Tenant: r.Tenant, Key: r.Key, Route: r.Route, Model: r.Model, Provider: r.Provider, Region: r.Region,
		Cache: r.Cache, Status: r.Status, Class: r.Class, Kind: uint8(r.Kind), In: r.Usage.Input, Out: r.Usage.Output, Cached: r.Usage.Cached,
		Written: r.Usage.CacheWrite, Reasoning: r.Usage.Reasoning, Price: r.Cost.Price,
	}
	if r.Cost.Known {
		s.MicroUSD = &r.Cost.MicroUSD
	}
	return json.Marshal(&s)
}

// decode reads a row back.
func decode(key, value []byte) (Row, error) {
	if len(key) != keySize {
		return Row{}, fmt.Errorf("ledger: a key of %d bytes", len(key))
	}
	var s stored
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Row{}, fmt.Errorf("ledger: row: %w", err)
	}
	r := Row{
		Time: time.Unix(0, int64(binary.BigEndian.Uint64(key))).UTC(), Took: time.Duration(s.Took) * time.Millisecond,
		Attempt: int(binary.BigEndian.Uint16(key[24:])), Tenant: s.Tenant, Key: s.Key, Route: s.Route, Model: s.Model, Provider: s.Provider,
		Region: s.Region, Cache: s.Cache, Status: s.Status, Class: s.Class, Kind: llm.UsageKind(s.Kind), Cost: Cost{Price: s.Price},
		Usage: llm.Usage{Input: s.In, Output: s.Out, Cached: s.Cached, CacheWrite: s.Written, Reasoning: s.Reasoning},
	}
	copy(r.Exchange[:], key[8:24])
	if s.MicroUSD != nil {
		r.Cost.MicroUSD, r.Cost.Known = *s.MicroUSD, true
	}
	return r, nil
}
