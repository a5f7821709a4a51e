package extproc

import (
	"bytes"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/sluice-gateway/sluice/internal/wire"
)

// codec reads and writes the stage's messages where gRPC has them, without generated types and without a copy of them; other services' messages are
// the library's to read.
type codec struct{ encoding.CodecV2 }

// Codec is what a gRPC server that Register was called with must read messages by.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, isMessage := v.(*wire.Message)
	log, isLog := v.(*wire.Log)
	if !isMessage && !isLog {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	if isLog {
		*log = bytes.Clone(b.ReadOnlyData())
		return nil
	}
	*m = wire.ParseMessage(b.ReadOnlyData())
	m.Body = bytes.Clone(m.Body) // the exchange keeps it
	return nil
}

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	a, ok := v.(*wire.Answer)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	pool := mem.DefaultBufferPool()
	b := pool.Get(a.Size())
	*b = a.Append((*b)[:0])
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}
