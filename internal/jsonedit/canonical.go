package jsonedit

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendCanonical appends an admitted object in the one form that it shares with every object of the same meaning: members in order of their
// names, no blanks, strings in their shortest form. Numbers stay as they are written, since some cannot be told apart as floats. The top-level
// members that drop names are left out.
func AppendCanonical(dst, body []byte, drop ...string) ([]byte, error) {
	type pair struct {
		key string
		raw jsontext.Value
	}
	var pairs []pair
	for key, v := range Parse(body).EachMember {
		if !slices.Contains(drop, key) {
			pairs = append(pairs, pair{key, jsontext.Value(v.Raw())})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	dst = append(dst, '{')
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, p.key), ':')
		if err := p.raw.Format(jsontext.ReorderRawObjects(true), jsontext.PreserveRawStrings(false)); err != nil {
			return nil, err
		}
		dst = append(dst, p.raw...)
	}
	return append(dst, '}'), nil
}
