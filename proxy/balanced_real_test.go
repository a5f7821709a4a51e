//go:build real

package proxy_test

const balanced = 10_000
