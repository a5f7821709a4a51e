package extproc_test

import (
	"testing"

	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	ext "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/wire"
)

// FuzzMessage reads any bytes without a panic, and what the generated type makes of them alike.
func FuzzMessage(f *testing.F) {
	for _, m := range vocabulary {
		raw, err := proto.Marshal(m())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		wire.ParseMessage(raw)
		m := new(ext.ProcessingRequest)
		if proto.Unmarshal(raw, m) != nil {
			return
		}
		raw, err := proto.Marshal(m) // one field of each kind, as Envoy writes it
		if err != nil {
			return
		}
		got, headers, body := wire.ParseMessage(raw), m.GetRequestHeaders(), m.GetRequestBody().GetBody()
		switch m.Request.(type) {
		case *ext.ProcessingRequest_ResponseHeaders:
			headers = m.GetResponseHeaders()
		case *ext.ProcessingRequest_ResponseBody:
			body = m.GetResponseBody().GetBody()
		}
		if (m.Request == nil) != (got.Kind == 0) || string(got.Body) != string(body) || got.End != headers.GetEndOfStream() || len(got.Headers) != len(headers.GetHeaders().GetHeaders()) {
			t.Fatalf("%+v of %v", got, m)
		}
		for i, h := range headers.GetHeaders().GetHeaders() {
			want := string(h.RawValue)
			if want == "" {
				want = h.Value
			}
			if got.Headers[i] != (wire.Header{Name: h.Key, Value: want}) {
				t.Errorf("header %d is %+v, want %v", i, got.Headers[i], h)
			}
		}
	})
}

// FuzzEntries is the same of access logs.
func FuzzEntries(f *testing.F) {
	for _, e := range []*logdata.HTTPAccessLogEntry{whole("0f", map[string]any{"input": 3}), left("0f"), replaced("0f", 502), try("0f", "c", 429, nil, map[string]string{"retry-after": "7"})} {
		raw, err := proto.Marshal(&accesslog.StreamAccessLogsMessage{LogEntries: &accesslog.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslog.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*logdata.HTTPAccessLogEntry{e}}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for e := range wire.Log(raw).Entries() {
			e.ID()
		}
		m := new(accesslog.StreamAccessLogsMessage)
		if proto.Unmarshal(raw, m) != nil {
			return
		}
		raw, err := proto.Marshal(m)
		if err != nil {
			return
		}
		n := 0
		for e := range wire.Log(raw).Entries() {
			want := m.GetHttpLogs().LogEntry[n]
			c, r := want.GetCommonProperties(), want.GetResponse()
			usage := c.GetMetadata().GetFilterMetadata()[wire.MetadataUsage].GetFields()[wire.KeyInput].GetNumberValue()
			input, _ := e.Count(wire.KeyInput)
			if int(r.GetResponseCode().GetValue()) != e.Code || r.GetResponseCodeDetails() != e.Details || c.GetUpstreamCluster() != e.Cluster ||
				c.GetResponseFlags().GetUpstreamConnectionTermination() != e.Flags.Has(wire.UpstreamConnectionTermination) || usage >= 1 && usage < 1<<40 && input != int(usage) {
				t.Errorf("%+v of %v", e, want)
			}
			n++
		}
		if n != len(m.GetHttpLogs().GetLogEntry()) {
			t.Errorf("%d entries of %v", n, m)
		}
	})
}

// TestAnswer reads what is written by the generated type.
func TestAnswer(t *testing.T) {
	a := wire.Answer{To: wire.RequestBody, Set: []wire.Header{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}, Remove: []string{"b"}, Body: []byte("new"), Replaced: true, Reroute: true,
		Metadata: wire.Picked("10.0.0.1:80"), Chain: wire.Chain("target"), Mode: wire.AnswerWhole}
	r := new(ext.ProcessingResponse)
	if err := proto.Unmarshal(a.Append(nil), r); err != nil {
		t.Fatal(err)
	}
	common := r.GetRequestBody().GetResponse()
	set := common.GetHeaderMutation().GetSetHeaders()
	if len(set) != 2 || set[0].AppendAction.String() != "OVERWRITE_IF_EXISTS_OR_ADD" || set[1].AppendAction.String() != "APPEND_IF_EXISTS_OR_ADD" || string(set[1].Header.RawValue) != "2" ||
		common.GetHeaderMutation().GetRemoveHeaders()[0] != "b" || string(common.GetBodyMutation().GetBody()) != "new" || !common.ClearRouteCache || !buffered(r) {
		t.Errorf("%v", r)
	}
	if c := chainOf(t, r); len(c) != 2 || c[0] != "target" || r.DynamicMetadata.Fields["envoy.lb"].GetStructValue().Fields["x-sluice-endpoint"].GetStringValue() != "10.0.0.1:80" {
		t.Errorf("%v", r.DynamicMetadata)
	}
}
