package wire

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// Metadata are namespaces of dynamic metadata, encoded: appending one to another unites them.
type Metadata []byte

// Identity is the metadata by which logs know an exchange.
func Identity(id string) Metadata { return member(MetadataLog, object(member(KeyID, text(id)))) }

// Picked is the metadata that holds Envoy to one endpoint of a pool, which is host:port.
func Picked(endpoint string) Metadata {
	return member(MetadataLB, object(member(KeyEndpoint, text(endpoint))))
}

// chains holds what Chain has made: as many as there are clusters, and every request needs one.
var chains sync.Map // target -> Metadata

// Chain is the metadata that has Envoy try the target, unless it is "", and then the executor. It must not be changed.
func Chain(target string) Metadata {
	if made, ok := chains.Load(target); ok {
		return made.(Metadata)
	}
	made, _ := chains.LoadOrStore(target, chain(target))
	return made.(Metadata)
}

func chain(target string) Metadata {
	groups := list(group(ClusterExecutor))
	if target != "" {
		groups = list(group(target), group(ClusterExecutor))
	}
	return member(MetadataChain, object(member(KeyGroups, groups)))
}

// group is one step of a chain: a cluster by its name. Without a weight Envoy ignores the whole chain, silently.
func group(cluster string) []byte {
	return object(member("name", text(cluster)), member("clusters", list(object(member("cluster_name", text(cluster)), member("weight", one())))))
}

// member is one field of a Struct; v is a Value.
func member(name string, v []byte) []byte {
	return appendBytes(nil, 1, appendBytes(appendText(nil, 1, name), 2, v))
}

// text, one, object and list are Values.
func text(s string) []byte { return appendText(nil, 3, s) }

func one() []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), 0x3ff0000000000000)
}

func object(members ...[]byte) []byte {
	var b []byte
	for _, m := range members {
		b = append(b, m...)
	}
	return appendBytes(nil, 5, b)
}

func list(values ...[]byte) []byte {
	var b []byte
	for _, v := range values {
		b = appendBytes(b, 1, v)
	}
	return appendBytes(nil, 6, b)
}
