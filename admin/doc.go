// Package admin shows and steers a running gateway: health, metrics, status, keys, budgets, usage, drain, profiles.
//
// Its invariants: no answer holds a secret, a prompt or a hash of a key, but for the one that shows a new key once; with admin keys in the policy everything but the two health
// checks needs one of a sufficient role; it decides nothing about exchanges.
package admin
