//go:build race

package proxy_test

// raceEnabled says that the race detector is on: it makes everything heavier, so weights mean nothing.
const raceEnabled = true
