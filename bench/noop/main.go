// Command noop is an external processor that agrees with everything, and a receiver of access logs that forgets them: the least that a stage
// in Envoy must cost, beside which the Envoy plane is measured.
//
// Asked to speak, it says what any router must say: an id up and down, another path, a credential, the body anew, the targets to try, what the
// client shall read of them. It still decides nothing.
//
// What holds: it answers every message of Envoy with an empty answer of the same kind, from bytes made at its start, and nothing else. It is
// a program of its own, so that only it needs gRPC, and it uses the same gRPC and the same limits as Sluice: the difference between the two
// is what Sluice decides, and no difference of libraries.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// closeEarly is the metadata by which an Envoy asks for the end of each stream with its last answer, instead of with the response.
const closeEarly = "x-noop-close-early"

// speak is the metadata by which an Envoy asks for answers that say something.
const speak = "x-noop-speak"

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

// run serves until stdin ends, so that it cannot outlive the run that started it.
func run(args []string, stdin io.Reader) error {
	fs := flag.NewFlagSet("noop", flag.ContinueOnError)
	socket := fs.String("socket", "", "path of the Unix socket to listen on")
	if err := fs.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("unix", *socket)
	if err != nil {
		return err
	}
	const message, streams = 64 << 20, 20_000 // Sluice's own limits, as are the windows
	g := grpc.NewServer(grpc.MaxRecvMsgSize(message), grpc.MaxConcurrentStreams(streams), grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(16<<20))
	s := newStage()
	extproc.RegisterExternalProcessorServer(g, s)
	accesslog.RegisterAccessLogServiceServer(g, s)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		g.Stop()
	}()
	if err := g.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// stage holds its answers ready-made.
type stage struct {
	extproc.UnimplementedExternalProcessorServer
	accesslog.UnimplementedAccessLogServiceServer

	requestHeaders, requestBody, responseHeaders *extproc.ProcessingResponse
	spoken                                       spoken
}

func newStage() *stage {
	return &stage{
		requestHeaders: &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{
			RequestHeaders: &extproc.HeadersResponse{Response: &extproc.CommonResponse{}},
		}},
		requestBody: &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestBody{
			RequestBody: &extproc.BodyResponse{Response: &extproc.CommonResponse{}},
		}},
		responseHeaders: &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseHeaders{
			ResponseHeaders: &extproc.HeadersResponse{Response: &extproc.CommonResponse{}},
		}},
		spoken: newSpoken(),
	}
}

// Process agrees to one request.
func (s *stage) Process(g extproc.ExternalProcessor_ProcessServer) error {
	md, _ := metadata.FromIncomingContext(g.Context())
	early, say := len(md[closeEarly]) > 0, s.answer
	if len(md[speak]) > 0 {
		say = s.spoken.answer
	}
	for {
		m, err := g.Recv()
		if err != nil {
			return nil // Envoy is done with the request
		}
		answer := say(m)
		if answer == nil {
			return status.Errorf(codes.Unimplemented, "no answer to %T", m.Request)
		}
		if err := g.Send(answer); err != nil {
			return err
		}
		if early && answer == s.responseHeaders {
			return nil
		}
	}
}

// answer is nil for a message that the bench's configurations do not ask for.
func (s *stage) answer(m *extproc.ProcessingRequest) *extproc.ProcessingResponse {
	switch m.Request.(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return s.requestHeaders
	case *extproc.ProcessingRequest_RequestBody:
		return s.requestBody
	case *extproc.ProcessingRequest_ResponseHeaders:
		return s.responseHeaders
	}
	return nil
}

// StreamAccessLogs takes entries and forgets them.
func (*stage) StreamAccessLogs(g accesslog.AccessLogService_StreamAccessLogsServer) error {
	for {
		if _, err := g.Recv(); err != nil {
			return nil // an Envoy that went
		}
	}
}
