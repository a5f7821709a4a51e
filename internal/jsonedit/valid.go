package jsonedit

import (
	"bytes"
	"encoding/binary"
)

// DepthCap is the deepest nesting that Valid accepts, whatever it is asked for.
const DepthCap = 1024

// Valid says whether body is one JSON value of RFC 8259's grammar, nested at most maxDepth (and DepthCap) deep. It neither recurses
// nor allocates, so hostile bytes cost no more than their length. Unlike Admit it takes any root, duplicate keys and invalid UTF-8.
func Valid(body []byte, maxDepth int) bool {
	var objects [DepthCap / 64]uint64 // bit d: the value open at depth d is an object
	maxDepth = min(maxDepth, DepthCap)
	depth := 0
	i := start(body)
	for {
		// Here a value must begin.
		if i >= len(body) {
			return false
		}
		switch c := body[i]; c {
		case '{', '[':
			if depth >= maxDepth {
				return false
			}
			bit := uint64(1) << (depth % 64)
			objects[depth/64] &^= bit
			i = blank(body, i+1)
			if i >= len(body) {
				return false
			}
			if body[i] == c+2 { // both closing brackets follow their opening one by two
				i++
				break
			}
			depth++
			if c == '{' {
				objects[(depth-1)/64] |= bit
				if i = key(body, i); i < 0 {
					return false
				}
			}
			continue
		default:
			if i = scalar(body, i); i < 0 {
				return false
			}
		}
		// Here a value has ended: close what closes, up to the next comma.
		for {
			i = blank(body, i)
			if depth == 0 {
				return i == len(body)
			}
			if i >= len(body) {
				return false
			}
			object := objects[(depth-1)/64]>>((depth-1)%64)&1 == 1
			if c := body[i]; c == '}' && object || c == ']' && !object {
				depth--
				i++
				continue
			}
			if body[i] != ',' {
				return false
			}
			i = blank(body, i+1)
			if object {
				if i = key(body, i); i < 0 {
					return false
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
	for i++; i < len(b); i++ {
		for len(b)-i >= 8 && ordinary(binary.LittleEndian.Uint64(b[i:])) {
			i += 8
		}
		if i == len(b) {
			return -1
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c != '\\':
			continue
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
	}
	return -1
}

// ordinary says that none of the eight bytes in w is a quote, a backslash or a control character. It may say no without need, never yes.
func ordinary(w uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, back := w^ones*'"', w^ones*'\\'
	return ((w-ones*' ')&^w|(quote-ones)&^quote|(back-ones)&^back)&tops == 0
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
