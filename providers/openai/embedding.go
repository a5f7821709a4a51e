package openai

import (
	"errors"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// AppendEmbeddingRequest appends the body of a request for the embedding of one text.
func AppendEmbeddingRequest(dst []byte, model, text string) []byte {
	dst = jsonedit.AppendString(append(dst, `{"model":`...), model)
	dst = jsonedit.AppendString(append(dst, `,"input":`...), text)
	return append(dst, `,"encoding_format":"float"}`...)
}

var errEmbedding = errors.New("openai: the answer holds no embedding")

// ReadEmbedding reads the one embedding of an answer, and its usage where it was reported.
func ReadEmbedding(body []byte) (vector []float32, u llm.Usage, reported bool, err error) {
	if !jsonedit.Valid(body, answerDepth) {
		return nil, u, false, errEmbedding
	}
	root, texts := jsonedit.Parse(body), 0
	root.Field("data").Each(func(v jsonedit.Value) bool {
		texts++
		v.Field("embedding").Each(func(n jsonedit.Value) bool {
			if n.Kind() != jsonedit.Number {
				vector, texts = nil, 2
				return false
			}
			vector = append(vector, float32(n.Float()))
			return true
		})
		return texts == 1
	})
	if tokens, ok := root.Field("usage").Field("prompt_tokens").Integer(); ok && tokens >= 0 {
		u.Input, reported = int(tokens), true
	}
	if texts != 1 || len(vector) == 0 {
		return nil, u, reported, errEmbedding
	}
	return vector, u, reported, nil
}
