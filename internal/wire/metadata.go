package wire

import "sync"

// Metadata are namespaces of dynamic metadata, encoded: appending one to another unites them.
type Metadata []byte

// Picked is the metadata that holds Envoy to one endpoint of a pool, which is host:port.
func Picked(endpoint string) Metadata {
	return member(MetadataLB, object(member(KeyEndpoint, text(endpoint))))
}

// chains holds what Chain has made: as many as there are clusters, and every request needs one.
var chains sync.Map // target -> []byte

// Chain is what has Envoy try the target, unless it is "", and then the executor: a typed metadatum of an answer, encoded as its field. As a Struct,
// Envoy would build it as a tree three times for each request. It must not be changed.
func Chain(target string) []byte {
	if made, ok := chains.Load(target); ok {
		return made.([]byte)
	}
	made, _ := chains.LoadOrStore(target, chain(target))
	return made.([]byte)
}

func chain(target string) []byte {
	const kind = "type.googleapis.com/envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupsOverride"
	var groups []byte
	if target != "" {
		groups = appendBytes(groups, 1, group(target))
	}
	groups = appendBytes(groups, 1, group(ClusterExecutor))
	return appendBytes(nil, 13, appendBytes(appendText(nil, 1, MetadataChain), 2, appendBytes(appendText(nil, 1, kind), 2, groups)))
}

// group is one step of a chain: a cluster by its name. Without a weight Envoy ignores the whole chain, silently.
func group(cluster string) []byte {
	weighted := appendBytes(appendText(nil, 1, cluster), 2, appendNumber(nil, 1, 1))
	return appendBytes(appendText(nil, 1, cluster), 2, weighted)
}

// member is one field of a Struct; v is a Value.
func member(name string, v []byte) []byte {
	return appendBytes(nil, 1, appendBytes(appendText(nil, 1, name), 2, v))
}

// text and object are Values.
func text(s string) []byte { return appendText(nil, 3, s) }

func object(member []byte) []byte { return appendBytes(nil, 5, member) }
