package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/sluice-gateway/sluice/llm"
)

// endpoint is what a path of the data listener stands for.
type endpoint struct {
	op     llm.Op
	method string // "" = any
	label  string // for records: never text that a client chose
	own    bool   // answered by Sluice, or never
}

var endpoints = map[string]endpoint{
	"/v1/chat/completions": {llm.OpChat, http.MethodPost, "/v1/chat/completions", false},
	"/v1/completions":      {llm.OpCompletions, http.MethodPost, "/v1/completions", false},
	"/v1/embeddings":       {llm.OpEmbeddings, http.MethodPost, "/v1/embeddings", false},
	"/v1/models":           {llm.OpModels, http.MethodGet, "/v1/models", true},
	feedbackPath:           {llm.OpOpaque, http.MethodPost, feedbackPath, true},
}

// lookup finds the endpoint of a path. A path that two parsers could read differently (dot segments, doubled or encoded slashes,
// control bytes) is no path at all: a prefix that policy allows must never lead elsewhere at the upstream.
func lookup(u *url.URL) (endpoint, bool) {
	p := u.EscapedPath()
	if e, ok := endpoints[p]; ok {
		return e, true
	}
	if strings.HasPrefix(p, "/v1/models/") { // answered here: an id may hold encoded slashes
		return endpoint{llm.OpModel, http.MethodGet, "/v1/models/{id}", true}, true
	}
	if !strings.HasPrefix(p, "/v1/") || ambiguous(p) {
		return endpoint{}, false
	}
	return endpoint{op: llm.OpOpaque, label: opaqueLabel(p)}, true
}

func ambiguous(escaped string) bool {
	if strings.Contains(escaped, "//") || strings.ContainsAny(escaped, "\\;") {
		return true
	}
	for seg := range strings.SplitSeq(escaped, "/") {
		s, err := url.PathUnescape(seg)
		if err != nil || s == "." || s == ".." || strings.ContainsAny(s, "/\\") {
			return true
		}
		for i := range len(s) {
			if s[i] < 0x20 || s[i] == 0x7f {
				return true
			}
		}
	}
	return false
}

// opaqueLabels are the first segments after /v1/ that a record may name; anything else is a client's text.
var opaqueLabels = map[string]string{
	"responses": "/v1/responses", "messages": "/v1/messages", "audio": "/v1/audio/*", "images": "/v1/images/*", "files": "/v1/files/*",
	"batches": "/v1/batches/*", "moderations": "/v1/moderations", "rerank": "/v1/rerank", "score": "/v1/score",
	"fine_tuning": "/v1/fine_tuning/*", "vector_stores": "/v1/vector_stores/*", "uploads": "/v1/uploads/*",
}

func opaqueLabel(p string) string {
	seg, _, _ := strings.Cut(p[len("/v1/"):], "/")
	if l, ok := opaqueLabels[seg]; ok {
		return l
	}
	return "/v1/*"
}
