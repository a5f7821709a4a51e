package openai

import "strings"

// struck stands where a message had what looked like a credential.
const struck = "***"

// marks are what credentials of known kinds begin with.
var marks = []string{
	"sk-", "sk_", "pk-", "rk-", "gsk_", "xai-", "hf_", "r8_", "nvapi-", "tgp_", "fw_", "csk-", "pplx-", "AIza", "AKIA", "ASIA", "ABSK", "ya29.",
	"eyJ", "slc_", "ghp_", "glpat-", "Bearer", "Basic", "key-", "v1.",
}

// leads are words after which a credential stands.
var leads = []string{"bearer", "basic", "provided", "api_key", "apikey", "api-key", "x-api-key", "token", "key", "secret", "password", "authorization"}

// Redact strikes out of a text whatever looks like a credential: words that begin as known kinds of keys do, words with a long run of mixed
// letters and digits, and the word after "provided:", "key=", "Bearer" and the like. It would rather strike a request's id than let a key pass.
func Redact(s string) string {
	var out strings.Builder
	from, lead := 0, false
	for i := 0; i < len(s); {
		if !wordByte(s[i]) {
			i++
			continue
		}
		j := i
		for j < len(s) && wordByte(s[j]) {
			j++
		}
		for j > i+1 && s[j-1] == '.' { // the end of a sentence
			j--
		}
		word := s[i:j]
		if secret(word) || lead && strange(word) {
			out.WriteString(s[from:i])
			out.WriteString(struck)
			from = j
			lead = false
		} else {
			lead = leading(word, s[j:])
		}
		i = j
	}
	if from == 0 {
		return s
	}
	out.WriteString(s[from:])
	return out.String()
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.*+/~%", c) >= 0 || c >= 0x80
}

// leading says that a credential may follow the word.
func leading(word, after string) bool {
	w := strings.ToLower(word)
	for _, l := range leads {
		if w != l {
			continue
		}
		if l == "bearer" || l == "basic" {
			return true
		}
		after = strings.TrimLeft(after, " \"'")
		return strings.HasPrefix(after, ":") || strings.HasPrefix(after, "=")
	}
	return false
}

// strange says that the word is not one of a plain text: it has a digit or a star, or is long.
func strange(w string) bool {
	return strings.ContainsAny(w, "0123456789*") || len(w) > 15
}

func secret(word string) bool {
	for _, m := range marks {
		if strings.HasPrefix(word, m) && len(word) >= len(m)+6 && (strings.ContainsAny(word[len(m):], "0123456789*") || len(word) >= 20) {
			return true
		}
	}
	run, digits, letters := 0, 0, 0
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c >= '0' && c <= '9':
			run, digits = run+1, digits+1
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			run, letters = run+1, letters+1
		case c == '*':
			if i+3 < len(word) && word[i+1] == '*' && word[i+2] == '*' {
				return true
			}
			run, digits, letters = 0, 0, 0
		default:
			run, digits, letters = 0, 0, 0
		}
		if run >= 20 && digits >= 2 && letters >= 2 {
			return true
		}
	}
	return false
}
