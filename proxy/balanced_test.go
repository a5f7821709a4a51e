//go:build !real

package proxy_test

const balanced = 1000
