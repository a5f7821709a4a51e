package router

import "slices"

// Reason is what one feature of the look of a prompt, and so no word of it, says of its gain.
type Reason struct {
	Feature Feature
	Gain    float32 // its share of the gain, above or below that of an average prompt
}

// Feature is a group of dense features that an explanation shows as one; its text is the group's name. The zero value is none.
type Feature uint8

// String names the feature.
func (f Feature) String() string { return features.names[f] }

// numReasons is how many reasons a classification comes with.
const numReasons = 3

// features has the dense features by their groups, and the names of these.
var features = func() (f struct {
	of    [numDense]Feature
	names []string
}) {
	f.names = []string{""}
	for i := range f.of {
		name := denseName(i)
		at := slices.Index(f.names, name)
		if at < 0 {
			at, f.names = len(f.names), append(f.names, name)
		}
		f.of[i] = Feature(at)
	}
	return f
}()

// reasons finds the features of the text's look that say most of the gain, the largest first. share is how much of the gain is learned.
func reasons(weights, z *[numDense]float32, share float32) (top [numReasons]Reason) {
	var sums [numDense + 1]float32
	for i, g := range features.of {
		sums[g] += weights[i] * z[i]
	}
	for g := 1; g < len(features.names); g++ {
		r := Reason{Feature(g), share * sums[g]}
		if a := abs(r.Gain); a < leastReason || a <= abs(top[numReasons-1].Gain) {
			continue
		}
		for i := range top {
			if abs(r.Gain) > abs(top[i].Gain) {
				r, top[i] = top[i], r
			}
		}
	}
	return top
}

// leastReason is the least that a reason says.
const leastReason = .0005

func abs(x float32) float32 {
	if x < 0 {
		return -x
	}
	return x
}
