package jsonedit

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// DepthCap is the deepest nesting that Valid accepts, whatever it is asked for.
const DepthCap = 1024

// Valid says whether body is one JSON value of RFC 8259's grammar, nested at most maxDepth (and DepthCap) deep. It neither recurses
// nor allocates, so hostile bytes cost no more than their length. Unlike Admit it takes any root, duplicate keys and invalid UTF-8.
func Valid(body []byte, maxDepth int) bool {
	end := value(body, blank(body, 0), maxDepth)
	return end >= 0 && blank(body, end) == len(body)
}

// value is the position after the value at i, negative if there is none.
func value(body []byte, i, maxDepth int) int {
	if i >= len(body) {
		return -1
	}
	if c := body[i]; c != '{' && c != '[' {
		return scalar(body, i)
	}
	return container(body, i, maxDepth)
}

// container is the position after the object or array at i, negative if it is not one or nests deeper than maxDepth.
func container(body []byte, i, maxDepth int) int {
	var objects [DepthCap / 64]uint64 // bit d: the value open at depth d is an object
	maxDepth = min(maxDepth, DepthCap)
	depth := 0
	for {
		// Here a value must begin.
		if i >= len(body) {
			return -1
		}
		switch c := body[i]; c {
		case '{', '[':
			if depth >= maxDepth {
				return -1
			}
			bit := uint64(1) << (depth % 64)
			objects[depth/64] &^= bit
			i = blank(body, i+1)
			if i >= len(body) {
				return -1
			}
			if body[i] == c+2 { // both closing brackets follow their opening one by two
				i++
				break
			}
			depth++
			if c == '{' {
				objects[(depth-1)/64] |= bit
				if i = key(body, i); i < 0 {
					return -1
				}
			}
			continue
		default:
			if i = scalar(body, i); i < 0 {
				return -1
			}
		}
		// Here a value has ended: close what closes, up to the next comma.
		for {
			if depth == 0 {
				return i
			}
			i = blank(body, i)
			if i >= len(body) {
				return -1
			}
			object := objects[(depth-1)/64]>>((depth-1)%64)&1 == 1
			if c := body[i]; c == '}' && object || c == ']' && !object {
				depth--
				i++
				continue
			}
			if body[i] != ',' {
				return -1
			}
			i = blank(body, i+1)
			if object {
				if i = key(body, i); i < 0 {
					return -1
				}
			}
			break
		}
	}
}

// blank is the position of the first byte at or after i that is not white space.
func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// key is the position of the value that follows the key at i, negative if there is none.
func key(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	if i = quoted(b, i); i < 0 {
		return -1
	}
	if i = blank(b, i); i >= len(b) || b[i] != ':' {
		return -1
	}
	return blank(b, i+1)
}

// scalar is the position after the string, number or literal at i, negative if there is none.
func scalar(b []byte, i int) int {
	switch c := b[i]; {
	case c == '"':
		return quoted(b, i)
	case c == '-' || c >= '0' && c <= '9':
		return number(b, i)
	case c == 't' && bytes.HasPrefix(b[i:], []byte("true")), c == 'n' && bytes.HasPrefix(b[i:], []byte("null")):
		return i + 4
	case c == 'f' && bytes.HasPrefix(b[i:], []byte("false")):
		return i + 5
	}
	return -1
}

// quoted is the position after the string at i, negative if it is not one.
func quoted(b []byte, i int) int {
	for i++; ; {
		if i = special(b, i); i >= len(b) {
			return -1
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		}
		if i++; i >= len(b) {
			return -1
		}
		switch b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if len(b)-i < 5 {
				return -1
			}
			for _, h := range b[i+1 : i+5] {
				if !(h >= '0' && h <= '9' || h|0x20 >= 'a' && h|0x20 <= 'f') {
					return -1
				}
			}
			i += 4
		default:
			return -1
		}
		i++
	}
}

// special is the position of the first quote, backslash or control character at or after i, len(b) when there is none. It looks at eight
// bytes at a time, since keys are short, and from the third time on at 32, since texts are long.
func special(b []byte, i int) int {
	const tops = 0x8080808080808080
	for n := 0; len(b)-i >= 8; n++ {
		if m := marks(binary.LittleEndian.Uint64(b[i:])) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		for i += 8; n >= 2 && len(b)-i >= 32; i += 32 {
			w := b[i : i+32 : i+32]
			m := marks(binary.LittleEndian.Uint64(w)) | marks(binary.LittleEndian.Uint64(w[8:])) |
				marks(binary.LittleEndian.Uint64(w[16:])) | marks(binary.LittleEndian.Uint64(w[24:]))
			if m&tops != 0 {
				break
			}
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

// marks sets the top bit of the lowest byte of w that is a quote, a backslash or a control character; of the bytes above it, which a
// borrow may reach, and of the lower bits it says nothing. Flipping bit 1 puts the quote right above the control characters.
func marks(w uint64) uint64 {
	const ones = 0x0101010101010101
	low, back := w^ones*2, w^ones*'\\'
	return ((low - ones*('"'^2+1)) | (back - ones)) &^ w
}

// number is the position after the number at i, negative if it is not one.
func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	switch from := i; {
	case i < len(b) && b[i] == '0':
		i++
	default:
		if i = digits(b, i); i == from {
			return -1
		}
	}
	if i < len(b) && b[i] == '.' {
		from := i + 1
		if i = digits(b, from); i == from {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from := i
		if i = digits(b, from); i == from {
			return -1
		}
	}
	return i
}

// digits is the position of the first byte at or after i that is not a digit.
func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}
