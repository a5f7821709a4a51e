package router

import (
	"strings"
	"testing"
)

func TestPaddingIsTakenOff(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"what is 2 + 2", "what is 2 + 2"},
		{"what is it QED QED QED QED QED", "what is it"},
		{"what is it QED QED QED", "what is it QED QED QED"},
		{"lol haha lol haha lol haha lol haha what is it", "what is it"},
		{"what is it xx xx xx xx xx xx 🔥🔥🔥🔥🔥🔥🔥", "what is it"},
		{"what is it ⊢ ∮ λ∂ℵ ∴ ⊨ ∇∇", "what is it"},
		{"what is it ???", "what is it ???"},
		{"what is it\n\n\n\n\n.", "what is it"},
		{"a list\n\n- one", "a list\n\n- one"},
		{"solve x² ≤ 4", "solve x² ≤ 4"},
		{"```go\nf()\n```", "```go\nf()\n```"},
		{"no no no no", "no no no no"},
		{"🔥🔥🔥🔥🔥🔥", "🔥🔥🔥🔥🔥🔥"},
		{" \n ", " \n "},
		{"", ""},
	} {
		if got := unpadded(tt.text); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
	long := strings.Repeat("x", 4000)
	if got := unpadded(long); got != long {
		t.Errorf("a long word became %d bytes", len(got))
	}
}
