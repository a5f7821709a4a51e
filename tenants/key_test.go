package tenants

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/policies"
)

// A key and its hash by another implementation (Python's zlib and hmac), so that the format cannot drift.
const (
	fixedKey  = "slc_web_1_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg2hDLT3"
	fixedHash = "hmac-sha256:f4d9d2a296a15f64fc31a985ff1842bac20e18963bb90323e578fff618f1c28c"
)

func TestFixedKey(t *testing.T) {
	if id, ok := Parse(fixedKey); !ok || id != "web_1" {
		t.Errorf("Parse: %q %v", id, ok)
	}
	if h := Hash("pepper", fixedKey); h != fixedHash {
		t.Errorf("Hash: %s", h)
	}
	if sum, ok := parseHash(fixedHash); !ok || sum != newMAC("pepper").of(fixedKey) {
		t.Errorf("parseHash: %x %v", sum, ok)
	}
}

func TestNewKey(t *testing.T) {
	seen := map[string]bool{}
	var used [256]bool
	for range 500 {
		key, err := NewKey("team-a_web")
		if err != nil {
			t.Fatal(err)
		}
		if seen[key] {
			t.Fatal("the same key twice")
		}
		seen[key] = true
		if id, ok := Parse(key); !ok || id != "team-a_web" || len(key) != len("slc_team-a_web_")+43+6 {
			t.Fatalf("Parse(%q): %q %v", key, id, ok)
		}
		for _, c := range []byte(key[len("slc_team-a_web_"):][:secretLen]) {
			used[c] = true
		}
	}
	for _, c := range []byte(base62) {
		if !used[c] {
			t.Errorf("%q never used", c)
		}
	}
	for _, id := range []string{"", "a b", "ä", "a.b", "a/b", "_a", "-a", strings.Repeat("x", 65)} {
		if key, err := NewKey(id); err == nil {
			t.Errorf("NewKey(%q) = %q", id, key)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	key, _ := NewKey("web")
	check := func(s string) string { return string(appendCheck([]byte(s))) }
	secret := strings.Repeat("x", secretLen)
	tests := map[string]string{
		"empty":               "",
		"prefix only":         "slc_",
		"another's key":       "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop",
		"cut":                 key[:len(key)-1],
		"longer":              key + "a",
		"other id":            strings.Replace(key, "web", "wec", 1),
		"upper-case prefix":   "SLC_" + key[4:],
		"space":               key + " ",
		"no id":               check("slc__" + secret),
		"no bar":              check("slc_web" + secret),
		"id with a dot":       check("slc_w.b_" + secret),
		"id too long":         check("slc_" + strings.Repeat("x", 65) + "_" + secret),
		"secret with a dash":  check("slc_web_" + secret[1:] + "-"),
		"secret of 42":        check("slc_web_" + secret[1:]),
		"a megabyte":          strings.Repeat("a", 1<<20),
		"a megabyte, checked": check("slc_" + strings.Repeat("a", 1<<20) + "_" + secret),
	}
	for name, s := range tests {
		if id, ok := Parse(s); ok {
			t.Errorf("%s: id %q", name, id)
		}
	}
	for i := range len(key) { // every single changed character is found
		b := []byte(key)
		if b[i]++; !isAlphanumeric(b[i]) {
			b[i] = '0'
		}
		if _, ok := Parse(string(b)); ok && string(b) != key {
			t.Errorf("changed at %d: %s", i, b)
		}
	}
}

func TestParseHashRefuses(t *testing.T) {
	for _, s := range []string{"", "hmac-sha256:", fixedHash[:len(fixedHash)-1], fixedHash + "0", "sha256:" + fixedHash[12:], fixedHash[:len(fixedHash)-1] + "g"} {
		if _, ok := parseHash(s); ok {
			t.Errorf("%q is a hash", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	key, _ := NewKey("a_b-c")
	for _, s := range []string{"", fixedKey, key, "slc_", "slc____", "slc_a_" + strings.Repeat("0", 49), strings.Repeat("_", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := Parse(s)
		if !ok {
			if id != "" {
				t.Errorf("refused, with id %q", id)
			}
			return
		}
		if !validID(id) || !strings.HasPrefix(s, "slc_"+id+"_") || len(s) != len("slc_")+len(id)+tailLen {
			t.Errorf("Parse(%q) = %q", s, id)
		}
		if again := string(appendCheck([]byte(s[:len(s)-checkLen]))); again != s {
			t.Errorf("check of %q should be as in %q", s, again)
		}
	})
}

func TestPepperThatChanges(t *testing.T) {
	p := pepper{secret: policies.NewSecret("one")}
	for _, value := range []string{"one", "one", "two", "one"} {
		p.secret = policies.NewSecret(value)
		if sum, ok := p.mac("key"); !ok || sum != newMAC(value).of("key") {
			t.Errorf("%s: %x %v", value, sum, ok)
		}
	}
}
