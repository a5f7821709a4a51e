//go:build !real

package ledger

const kills = 10
