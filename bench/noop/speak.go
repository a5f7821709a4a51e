package main

import (
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// spoken are the answers of a stage that routes, without the thought behind them: as many header changes, as much metadata and the same new
// body as Sluice's answers to an ordinary request have.
type spoken struct {
	requestHeaders, responseHeaders *extproc.ProcessingResponse
	requestSet                      []*core.HeaderValueOption
	metadata                        *structpb.Struct
}

func newSpoken() spoken {
	const id = "0123456789abcdef0123456789abcdef"
	var s spoken
	s.requestHeaders = &extproc.ProcessingResponse{
		Response: &extproc.ProcessingResponse_RequestHeaders{RequestHeaders: &extproc.HeadersResponse{Response: &extproc.CommonResponse{
			HeaderMutation: &extproc.HeaderMutation{SetHeaders: set("x-bench-id", id)},
		}}},
		DynamicMetadata: object("bench.log", object("id", structpb.NewStringValue(id))).GetStructValue(),
	}
	s.requestSet = set("user-agent", "bench", "accept-encoding", "identity", ":path", "/v1/chat/completions", ":scheme", "http", "x-bench-prepared", "1", "x-bench-retries", "1")
	s.metadata = object("bench.chain", object("priority_groups", structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{group("upstream"), group("executor")}}))).GetStructValue()
	s.responseHeaders = &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extproc.HeadersResponse{Response: &extproc.CommonResponse{
		HeaderMutation: &extproc.HeaderMutation{
			SetHeaders: set("x-bench-request-id", id, "x-bench-route", "bench-450", "x-bench-model", "cheap-450", "x-bench-provider", "upstream", "x-bench-attempts", "1",
				"x-bench-reason", `rule="rule 1"`),
			RemoveHeaders: []string{"x-bench-target"},
		},
	}}}}
	return s
}

// set are headers by name and value in turn; each replaces what is there.
func set(pairs ...string) []*core.HeaderValueOption {
	var out []*core.HeaderValueOption
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, &core.HeaderValueOption{
			Header: &core.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])}, AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}

func object(name string, v *structpb.Value) *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{name: v}})
}

func group(cluster string) *structpb.Value {
	weighted := structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"cluster_name": structpb.NewStringValue(cluster), "weight": structpb.NewNumberValue(1)}})
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"name": structpb.NewStringValue(cluster), "clusters": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{weighted}}),
	}})
}

// answer is nil for a message that the bench's configurations do not ask for.
func (s *spoken) answer(m *extproc.ProcessingRequest) *extproc.ProcessingResponse {
	switch r := m.Request.(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return s.requestHeaders
	case *extproc.ProcessingRequest_RequestBody:
		body := r.RequestBody.Body
		return &extproc.ProcessingResponse{
			Response: &extproc.ProcessingResponse_RequestBody{RequestBody: &extproc.BodyResponse{Response: &extproc.CommonResponse{
				HeaderMutation:  &extproc.HeaderMutation{SetHeaders: append(s.requestSet[:len(s.requestSet):len(s.requestSet)], set("content-length", strconv.Itoa(len(body)))...)},
				BodyMutation:    &extproc.BodyMutation{Mutation: &extproc.BodyMutation_Body{Body: body}},
				ClearRouteCache: true,
			}}},
			DynamicMetadata: s.metadata,
		}
	case *extproc.ProcessingRequest_ResponseHeaders:
		return s.responseHeaders
	}
	return nil
}
