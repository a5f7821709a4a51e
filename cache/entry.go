package cache

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"time"
)

// Key names an answer: SHA-256 of all that can change it.
type Key [sha256.Size]byte

// KeyOf hashes the parts of a key, each with its length, so that no part can run into the next.
func KeyOf(parts ...string) (k Key) {
	h := sha256.New()
	for _, p := range parts {
		writePart(h, p)
	}
	h.Sum(k[:0])
	return k
}

func writePart(h hash.Hash, p string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(p)))
	_, _ = h.Write(n[:]) // a hash never fails to write
	_, _ = h.Write([]byte(p))
}

// Entry is one recorded answer.
type Entry struct {
	Tenant   string // "" where nobody is asked for a key
	Route    string
	Model    string // the policy's name of the model that answered
	Provider string
	Stream   bool // Body is an event stream
	Header   map[string][]string
	Stored   time.Time
	Expires  time.Time
	Body     []byte
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
	Stored   int64               `json:"a"` // Unix milliseconds
	Expires  int64               `json:"e"`
}

var errSeal = errors.New("cache: an entry that was not sealed here, or not for this key")

// seal writes an entry: a MAC over its key and all that follows, the head's length, the head, the body.
func seal(secret []byte, k Key, e *Entry) ([]byte, error) {
	h, err := json.Marshal(&head{e.Tenant, e.Route, e.Model, e.Provider, e.Stream, e.Header, e.Stored.UnixMilli(), e.Expires.UnixMilli()})
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
	return &Entry{h.Tenant, h.Route, h.Model, h.Provider, h.Stream, h.Header, time.UnixMilli(h.Stored), time.UnixMilli(h.Expires), rest[n:]}, nil
}

func mac(secret []byte, k Key, rest []byte) []byte {
	m := hmac.New(sha256.New, secret)
	_, _ = m.Write(k[:])
	_, _ = m.Write(rest)
	return m.Sum(nil)
}
