package main

import (
	"errors"
	"io"
	"path/filepath"
	"testing"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// connect serves on a socket until the test ends.
func connect(t *testing.T) extproc.ExternalProcessorClient {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	stdin, stop := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run([]string{"-socket", socket}, stdin) }()
	c, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		stop.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return extproc.NewExternalProcessorClient(c)
}

func TestStageAgrees(t *testing.T) {
	client := connect(t)
	for _, early := range []bool{false, true} {
		ctx := t.Context()
		if early {
			ctx = metadata.AppendToOutgoingContext(ctx, closeEarly, "1")
		}
		s, err := client.Process(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*extproc.ProcessingRequest{
			{Request: &extproc.ProcessingRequest_RequestHeaders{RequestHeaders: &extproc.HttpHeaders{}}},
			{Request: &extproc.ProcessingRequest_RequestBody{RequestBody: &extproc.HttpBody{Body: []byte("{}")}}},
			{Request: &extproc.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extproc.HttpHeaders{}}},
		} {
			if err := s.Send(m); err != nil {
				t.Fatal(err)
			}
			r, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			same := m.GetRequestHeaders() != nil && r.GetRequestHeaders() != nil || m.GetRequestBody() != nil && r.GetRequestBody() != nil ||
				m.GetResponseHeaders() != nil && r.GetResponseHeaders() != nil
			if !same {
				t.Errorf("%T was answered by %T", m.Request, r.Response)
			}
		}
		if !early {
			if err := s.CloseSend(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("early %v: the stream ended with %v", early, err)
		}
	}
}

func TestStageRefusesWhatNobodyAskedFor(t *testing.T) {
	s, err := connect(t).Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{ResponseBody: &extproc.HttpBody{}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a message of another mode was answered: %v", err)
	}
}
