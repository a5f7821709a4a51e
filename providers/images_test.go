package providers

import (
	"testing"

	"github.com/sluice-gateway/sluice/policies"
)

// A model that makes much of an image does so whoever passes it on.
func TestImageTokens(t *testing.T) {
	for _, tc := range []struct {
		preset, model string
		want          int
	}{
		{"openai", "gpt-5.5", 10_000},
		{"openai", "gpt-4o-mini", largestOfMiniTile},
		{"openrouter", "openai/gpt-4o-mini", largestOfMiniTile},
		{"gemini", "gemini-3.5-flash", 2_580},
		{"", "anything", largestImage},
	} {
		if got := ImageTokens(&policies.Model{Name: tc.model, Provider: &policies.Provider{Preset: tc.preset}}); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}
