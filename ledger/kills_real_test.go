//go:build real

package ledger

const kills = 100
