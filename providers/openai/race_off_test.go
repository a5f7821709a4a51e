//go:build !race

package openai

const pooled = true
