package providers

import (
	"strings"

	"github.com/sluice-gateway/sluice/policies"
)

// Images of unknown size come to as many tokens as a model makes of its largest. Where a preset says nothing the model may be an open one, of which those that look closest
// (Qwen2.5-VL) take 12.8 megapixels in squares of 28.
const (
	largestImage      = 16_384
	largestOfMiniTile = 48_169 // gpt-4o-mini: 2,833 and 8 tiles of 5,667
)

// imageTokens is what the largest image is known to come to at a preset's models, rounded up. It is no promise of theirs.
var imageTokens = map[string]int{
	"openai":    10_000, // patches of 32 pixels, at `detail: original`
	"azure":     10_000,
	"anthropic": 4_784, // 2,576 pixels on the long side, in squares of 28
	"gemini":    2_580, // 10 tiles of 258; the resolutions of later models are below
}

// ImageTokens is what an image comes to at most at the model.
func ImageTokens(m *policies.Model) int {
	n, known := imageTokens[m.Provider.Preset]
	switch {
	case strings.Contains(m.Name, "4o-mini"):
		return largestOfMiniTile
	case !known:
		return largestImage
	}
	return n
}
