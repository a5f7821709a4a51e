package tenants

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// The form of keys: slc_<id>_<secret><check>.
const (
	keyPrefix  = "slc_"
	secretLen  = 43 // base62 characters: 256 random bits
	checkLen   = 6  // base62 characters of the CRC-32 of all that stands before
	tailLen    = 1 + secretLen + checkLen
	maxID      = 64
	hashPrefix = "hmac-sha256:"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var errID = errors.New("id of a key must be 1 to 64 letters, digits, '-' or '_', and begin with a letter or digit")

// NewKey mints a key for an id, from the system's random source. The key is not kept anywhere: show it once, store its Hash.
func NewKey(id string) (string, error) {
	if !validID(id) {
		return "", fmt.Errorf("key %q: %w", id, errID)
	}
	b := make([]byte, 0, len(keyPrefix)+len(id)+tailLen)
	b = append(b, keyPrefix...)
	b = append(b, id...)
	b = append(b, '_')
	b = appendSecret(b)
	return string(appendCheck(b)), nil
}

// appendSecret appends random characters, each of which is equally likely: bytes beyond the last full turn of the alphabet are dropped.
func appendSecret(b []byte) []byte {
	const full = 256 / len(base62) * len(base62)
	var noise [64]byte
	for n := 0; n < secretLen; {
		_, _ = rand.Read(noise[:]) // never fails: the process ends instead
		for _, c := range noise {
			if int(c) < full && n < secretLen {
				b = append(b, base62[int(c)%len(base62)])
				n++
			}
		}
	}
	return b
}

func appendCheck(b []byte) []byte {
	check := checkOf(crc32.ChecksumIEEE(b))
	return append(b, check[:]...)
}

func checkOf(sum uint32) (check [checkLen]byte) {
	for i := checkLen - 1; i >= 0; i-- {
		check[i] = base62[sum%uint32(len(base62))]
		sum /= uint32(len(base62))
	}
	return check
}

// Parse returns the id in a key. It is false of junk: no key was ever minted so. It does not say that the key is known to anybody.
func Parse(key string) (id string, ok bool) {
	if len(key) > len(keyPrefix)+maxID+tailLen {
		return "", false
	}
	rest, ok := strings.CutPrefix(key, keyPrefix)
	if !ok || len(rest) <= tailLen {
		return "", false
	}
	id, tail := rest[:len(rest)-tailLen], rest[len(rest)-tailLen:]
	if tail[0] != '_' || !validID(id) || !isBase62(tail[1:]) {
		return "", false
	}
	at := len(key) - checkLen
	var room [len(keyPrefix) + maxID + tailLen]byte
	check := checkOf(crc32.ChecksumIEEE(append(room[:0], key[:at]...)))
	if string(check[:]) != key[at:] {
		return "", false
	}
	return id, true
}

// SafeName returns a name of a tenant or a key as it may stand in logs: "?" in place of what can be no such name.
func SafeName(s string) string {
	if validID(s) {
		return s
	}
	return "?"
}

// validID reports whether a policy takes the id.
func validID(id string) bool {
	if id == "" || len(id) > maxID || !isAlphanumeric(id[0]) {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isBase62(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// Hash returns the form in which a policy stores a key: hmac-sha256: and 64 hex digits of HMAC-SHA-256(pepper, key).
func Hash(pepper, key string) string {
	sum := newMAC(pepper).of(key)
	return hashPrefix + hex.EncodeToString(sum[:])
}

// parseHash reads what Hash returns.
func parseHash(s string) (sum [sha256.Size]byte, ok bool) {
	digits, ok := strings.CutPrefix(s, hashPrefix)
	if !ok || len(digits) != 2*len(sum) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(digits))
	return sum, err == nil
}
