package llm

// Usage counts tokens. Input includes the cached ones and output the reasoning ones, as providers of the OpenAI dialect report them.
type Usage struct {
	Input      int
	Output     int
	Cached     int // of Input
	CacheWrite int // of Input
	Reasoning  int // of Output
}

// Zero reports whether nothing was counted.
func (u Usage) Zero() bool { return u == Usage{} }

// UsageKind says where a count comes from. An attempt has exactly one.
type UsageKind uint8

// The kinds of counts.
const (
	UsageNone      UsageKind = iota // refused, throttled, or never reached a model
	UsageReported                   // the provider's own
	UsageEstimated                  // reached a model that reported nothing
)

// String returns none, reported or estimated.
func (k UsageKind) String() string {
	switch k {
	case UsageReported:
		return "reported"
	case UsageEstimated:
		return "estimated"
	}
	return "none"
}
