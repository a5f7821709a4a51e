package jsonedit

// Cursor reads a JSON text once, checking it on the way as Valid does. What it has given is to be believed only when Done says so at the
// end: until then the bytes to come may be anything. Values are views of the text, as Parse's are.
//
// An object is read with Enter('{'), then for each Member that there is one Enter or Value; an array with Enter('[') and Element likewise.
// After the first thing that is not JSON every call returns false or the zero Value.
type Cursor struct {
	body  []byte
	at    int  // where to read on, negative after an error
	room  int  // how many levels may still be entered
	after bool // a value has just ended
}

// Over is a cursor at the start of the text, which must not nest deeper than maxDepth (and DepthCap).
func Over(body []byte, maxDepth int) Cursor {
	return Cursor{body: body, at: blank(body, 0), room: min(maxDepth, DepthCap)}
}

// Enter steps into the value that comes next if it begins with open, '{' or '['. False leaves the cursor where it is.
func (c *Cursor) Enter(open byte) bool {
	if c.at < 0 || c.at >= len(c.body) || c.body[c.at] != open || c.room < 1 {
		return false
	}
	c.at++
	c.room--
	c.after = false
	return true
}

// Value reads the value that comes next, with all that it holds.
func (c *Cursor) Value() Value {
	if c.at < 0 {
		return Value{}
	}
	from := c.at
	c.at = value(c.body, from, c.room)
	c.after = true
	if c.at < 0 {
		return Value{}
	}
	return Value{view(c.body), from, c.at}
}

// Member steps to the value of the next member and returns its key. False means that the object has ended, and the cursor is behind it.
func (c *Cursor) Member() (key string, ok bool) {
	if !c.more('}') {
		return "", false
	}
	from := c.at
	if from >= len(c.body) || c.body[from] != '"' {
		c.at = -1
		return "", false
	}
	// Most keys have no escapes: then the first special byte is the closing quote, and the key needs no second look.
	if end := special(c.body, from+1); end < len(c.body) && c.body[end] == '"' {
		key, c.at = view(c.body[from+1:end]), end+1
	} else {
		if c.at = quoted(c.body, from); c.at < 0 {
			return "", false
		}
		key = unquote(view(c.body[from:c.at]))
	}
	if c.at = blank(c.body, c.at); c.at >= len(c.body) || c.body[c.at] != ':' {
		c.at = -1
		return "", false
	}
	c.at = blank(c.body, c.at+1)
	return key, true
}

// Element steps to the next element. False means that the array has ended, and the cursor is behind it.
func (c *Cursor) Element() bool { return c.more(']') }

// more steps over what stands before the next child, or over the closing bracket.
func (c *Cursor) more(closing byte) bool {
	if c.at < 0 {
		return false
	}
	if c.at = blank(c.body, c.at); c.at >= len(c.body) {
		c.at = -1
		return false
	}
	switch b := c.body[c.at]; {
	case b == closing:
		c.at++
		c.room++
		c.after = true
		return false
	case !c.after:
		return true
	case b != ',':
		c.at = -1
		return false
	}
	c.after = false
	c.at = blank(c.body, c.at+1)
	return true
}

// Done says that the text was JSON, that it has been read to its end, and that nothing but white space follows.
func (c *Cursor) Done() bool { return c.at >= 0 && c.after && blank(c.body, c.at) == len(c.body) }
