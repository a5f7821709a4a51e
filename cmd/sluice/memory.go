package main

// Ballasts, several times what lives between requests.
const (
	planeBallast = 8 << 20
	stageBallast = 32 << 20 // beside an Envoy
)

// ballast returns memory that nobody touches, so that it is none: it only counts. The collector waits until what lives has doubled, and so comes
// seldom to a small heap, and to a large one as often as ever. Each time it also takes back the stacks that the stage's next requests grow again: that,
// and itself, were a fifth of the stage's time. Whoever tunes the collector gets what he asks for.
func ballast(env func(string) (string, bool), size int) []byte {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, tuned := env(name); tuned {
			return nil
		}
	}
	return make([]byte, size)
}
