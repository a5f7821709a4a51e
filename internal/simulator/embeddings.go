package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"strings"
)

type embeddingRequest struct {
	Input      json.RawMessage `json:"input"`
	Encoding   string          `json:"encoding_format"`
	Dimensions int             `json:"dimensions"`
}

// embeddings answers POST /v1/embeddings.
func (x *exchange) embeddings() error {
	var req embeddingRequest
	if err := x.decode(&req); err != nil {
		return err
	}
	texts, err := inputs("input", req.Input)
	if err != nil {
		return err
	}
	size := x.s.opts.Dimensions
	switch {
	case req.Dimensions < 0 || req.Dimensions > 4096:
		return badRequest("dimensions", "dimensions must be from 1 to 4096")
	case req.Dimensions > 0:
		size = req.Dimensions
	}
	in, data := 0, []object{}
	for i, t := range texts {
		in += t.tokens
		vector := embed(t.text, size)
		entry := object{"object": "embedding", "index": i}
		switch req.Encoding {
		case "", "float":
			entry["embedding"] = vector
		case "base64":
			entry["embedding"] = base64.StdEncoding.EncodeToString(littleEndian(vector))
		default:
			return badRequest("encoding_format", "encoding_format must be float or base64")
		}
		data = append(data, entry)
	}
	x.call.note(func(c *Call) { c.TokensIn = in })
	return x.unary(object{"object": "list", "model": x.model(), "data": data,
		"usage": object{"prompt_tokens": in, "total_tokens": in}}, 0)
}

// embed is a unit vector that depends on the text alone; texts that share letter triples are near each other.
func embed(text string, size int) []float32 {
	sums := make([]float64, size)
	padded := []rune("  " + strings.ToLower(text) + " ")
	for i := range len(padded) - 2 {
		h := fnv.New64a()
		// A hash never fails to write.
		_, _ = h.Write([]byte(string(padded[i : i+3])))
		v := h.Sum64()
		sums[v%uint64(size)] += 1 - 2*float64(v>>63)
	}
	norm := 0.0
	for _, s := range sums {
		norm += s * s
	}
	if norm == 0 { // every triple met its opposite
		sums[0], norm = 1, 1
	}
	vector := make([]float32, size)
	for i, s := range sums {
		vector[i] = float32(s / math.Sqrt(norm))
	}
	return vector
}

func littleEndian(vector []float32) []byte {
	var b []byte
	for _, v := range vector {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}
