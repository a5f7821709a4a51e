//go:build race

package openai

// pooled is false where the race detector makes sync.Pool forget at random.
const pooled = false
