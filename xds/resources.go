package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/policies"
)

// Resources is one policy as Envoy's configuration. Immutable once published; every list is sorted by name.
type Resources struct {
	Listeners, Routes, Clusters []Resource

	Uncarried map[string]string // providers that `carrier: envoy` reaches and Envoy cannot carry for, and why: the executor does
	carriers  map[carrier]string
}

// Resource is one listener, route configuration or cluster and the place in the policy that it came from.
type Resource struct {
	Name    string
	Message proto.Message
	Hash    string            // Hash(Message): equal for equal contents only
	Origin  policies.Position // zero when no line of the policy stands for it
}

// newResource hashes a message once; name must be the message's own.
func newResource(name string, m proto.Message, at policies.Position) (Resource, error) {
	hash, err := Hash(m)
	if err != nil {
		return Resource{}, fmt.Errorf("%s: %w", name, err)
	}
	return Resource{Name: name, Message: m, Hash: hash, Origin: at}, nil
}

// Hash names a message by its content: 16 hex digits, stable for one build of the binary.
func Hash(m proto.Message) (string, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("marshal: %w", err)
	}
	return digest(raw), nil
}

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// pack wraps a message deterministically, maps in it included: anypb.New would give equal configurations different hashes.
func pack(m proto.Message) (*anypb.Any, error) {
	packed := new(anypb.Any)
	err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true})
	return packed, err
}
