package openai

import (
	"strconv"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
)

// AppendModels appends the answer to GET /v1/models for the names. Created is in Unix seconds.
func AppendModels(dst []byte, names []string, created int64, owner string) []byte {
	dst = append(dst, `{"object":"list","data":[`...)
	for i, n := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, n, created, owner)
	}
	return append(dst, `]}`...)
}

// AppendModel appends the answer to GET /v1/models/{id}. Created is in Unix seconds.
func AppendModel(dst []byte, name string, created int64, owner string) []byte {
	dst = append(dst, `{"id":`...)
	dst = jsonedit.AppendString(dst, name)
	dst = append(dst, `,"object":"model","created":`...)
	dst = strconv.AppendInt(dst, created, 10)
	dst = append(dst, `,"owned_by":`...)
	dst = jsonedit.AppendString(dst, owner)
	return append(dst, '}')
}
