package policies

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
)

// masked is what a secret prints, in every form.
const masked = "***"

// maxSecret bounds a secret's file, in bytes.
const maxSecret = 64 << 10

var errEmptySecret = errors.New("is empty")

// Secret is a credential that came from the environment or from a file. It never prints: every way of formatting it gives ***. Copies share
// one value, so a refreshed file is seen by all of them. The zero Secret is absent.
type Secret struct{ src *source }

// source is where a secret's value lives.
type source struct {
	env   string
	file  string
	read  func(string) ([]byte, error)
	value atomic.Pointer[string]
}

// NewSecret returns a secret with a fixed value, for credentials that do not come from a policy.
func NewSecret(value string) Secret {
	s := &source{}
	s.value.Store(&value)
	return Secret{src: s}
}

// Reveal returns the credential; "" when absent. Only the code that writes it into a request, or compares with it, may call this.
func (s Secret) Reveal() string {
	if s.src == nil {
		return ""
	}
	if v := s.src.value.Load(); v != nil {
		return *v
	}
	return ""
}

// Present reports whether the policy names a credential here.
func (s Secret) Present() bool { return s.src != nil }

// Origin says where the secret comes from, for messages: `environment variable X` or `file X`.
func (s Secret) Origin() string {
	switch {
	case s.src == nil:
		return "nowhere"
	case s.src.env != "":
		return "environment variable " + s.src.env
	case s.src.file != "":
		return "file " + s.src.file
	}
	return "memory"
}

// Refresh reads a file's secret again. A file that is gone, too large or empty keeps the old value and is an error. Secrets from the
// environment do not change.
func (s Secret) Refresh() (changed bool, err error) {
	if s.src == nil || s.src.file == "" {
		return false, nil
	}
	value, err := s.src.load()
	if err != nil {
		return false, fmt.Errorf("secret file %s: %w", s.src.file, err)
	}
	old := s.src.value.Swap(&value)
	return old == nil || *old != value, nil
}

// load reads the file's value without its surrounding white space.
func (s *source) load() (string, error) {
	b, err := s.read(s.file)
	if err != nil {
		return "", err
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("is larger than %d bytes", maxSecret)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return "", errEmptySecret
	}
	return string(b), nil
}

// String returns ***.
func (s Secret) String() string { return masked }

// GoString returns ***.
func (s Secret) GoString() string { return masked }

// Format writes *** for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// MarshalJSON returns "***".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }

// MarshalText returns ***.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue returns ***.
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// Secrets returns every secret that the policy names, for a watcher that refreshes them.
func (p *Policy) Secrets() []Secret {
	var out []Secret
	for _, name := range sortedKeys(p.Providers) {
		out = append(out, p.Providers[name].Keys...)
	}
	for _, s := range []Secret{p.Auth.Pepper, p.Auth.PreviousPepper} {
		if s.Present() {
			out = append(out, s)
		}
	}
	return out
}

// RefreshSecrets reads every secret file again and returns how many values changed. Those that could not be read keep their old value; the
// error joins what went wrong.
func (p *Policy) RefreshSecrets() (changed int, err error) {
	var errs []error
	for _, s := range p.Secrets() {
		ok, err := s.Refresh()
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			changed++
		}
	}
	return changed, errors.Join(errs...)
}
