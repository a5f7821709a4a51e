package cache

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"
)

// Key names an answer: SHA-256 of all that can change it.
type Key [sha256.Size]byte

// KeyOf hashes the parts of a key, each with its length, so that no part can run into the next.
func KeyOf(parts ...string) Key {
	b := make([]byte, 0, 512)
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(p))), p...)
	}
	return sha256.Sum256(b)
}

// Entry is one recorded answer.
type Entry struct {
	Tenant   string // "" where nobody is asked for a key
	Route    string
	Model    string // the policy's name of the model that answered
	Provider string
	Stream   bool // Body is an event stream
	Header   map[string][]string
	Asked    time.Time // when the upstream was, by the clock of Cache.Dated
	Stored   time.Time
	Expires  time.Time
	Body     []byte

	told [4]atomic.Pointer[Telling] // by form
}

// Until is the same answer, for another time.
func (e *Entry) Until(expires time.Time) *Entry {
	return &Entry{Tenant: e.Tenant, Route: e.Route, Model: e.Model, Provider: e.Provider, Stream: e.Stream, Header: e.Header, Asked: e.Asked, Stored: e.Stored, Expires: expires, Body: e.Body}
}

// size is about what the entry takes, in bytes.
func (e *Entry) size() int {
	n := len(e.Body) + len(e.Tenant) + len(e.Route) + len(e.Model) + len(e.Provider)
	for name, values := range e.Header {
		n += len(name) + 64
		for _, v := range values {
			n += len(v)
		}
	}
	return n
}

// head is what stands before the body of a sealed entry.
type head struct {
	Tenant   string              `json:"t,omitempty"`
	Route    string              `json:"r"`
	Model    string              `json:"m"`
	Provider string              `json:"p"`
	Stream   bool                `json:"s,omitempty"`
	Header   map[string][]string `json:"h,omitempty"`
	Asked    int64               `json:"q"` // Unix milliseconds, as the next two
	Stored   int64               `json:"a"`
	Expires  int64               `json:"e"`
}

var errSeal = errors.New("cache: an entry that was not sealed here, or not for this key")

// seal writes an entry: a MAC over its key and all that follows, the head's length, the head, the body.
func seal(secret []byte, k Key, e *Entry) ([]byte, error) {
	h, err := json.Marshal(&head{e.Tenant, e.Route, e.Model, e.Provider, e.Stream, e.Header, e.Asked.UnixMilli(), e.Stored.UnixMilli(), e.Expires.UnixMilli()})
	if err != nil {
		return nil, err
	}
	b := make([]byte, sha256.Size, sha256.Size+4+len(h)+len(e.Body))
	b = binary.BigEndian.AppendUint32(b, uint32(len(h)))
	b = append(append(b, h...), e.Body...)
	copy(b, mac(secret, k, b[sha256.Size:]))
	return b, nil
}

// unseal reads an entry back. Its body is a view of sealed.
func unseal(secret []byte, k Key, sealed []byte) (*Entry, error) {
	const at = sha256.Size
	if len(sealed) < at+4 || !hmac.Equal(sealed[:at], mac(secret, k, sealed[at:])) {
		return nil, errSeal
	}
	n := int(binary.BigEndian.Uint32(sealed[at:]))
	rest := sealed[at+4:]
	if n > len(rest) {
		return nil, errSeal
	}
	var h head
	if err := json.Unmarshal(rest[:n], &h); err != nil {
		return nil, errSeal
	}
	return &Entry{Tenant: h.Tenant, Route: h.Route, Model: h.Model, Provider: h.Provider, Stream: h.Stream, Header: h.Header,
		Asked: time.UnixMilli(h.Asked), Stored: time.UnixMilli(h.Stored), Expires: time.UnixMilli(h.Expires), Body: rest[n:]}, nil
}

func mac(secret []byte, k Key, rest []byte) []byte {
	m := hmac.New(sha256.New, secret)
	_, _ = m.Write(k[:])
	_, _ = m.Write(rest)
	return m.Sum(nil)
}
