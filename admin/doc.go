// Package admin shows and steers a running gateway: health, metrics, status, drain, profiles.
//
// Its invariants: no answer holds a secret, a prompt or a hash of a key; with admin keys in the policy everything but the two health
// checks needs one of a sufficient role; it decides nothing about exchanges.
package admin
