package policies

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxFile  = 1 << 20 // bytes
	maxDepth = 64      // levels of nesting
	maxWidth = 20_000  // lines of one map or list: the parser's work grows with their square

	maxProblems = 1_000 // of one step: what comes after them is not worth the time
)

// File is a policy file as a syntax tree with positions, checked against the language but not yet compiled.
type File struct {
	Name  string
	root  *node
	lines []string // literal secrets are masked
}

// nodeKind tells the nodes of a tree apart.
type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mapNode
	listNode
	nullNode
)

func (k nodeKind) String() string { return [...]string{"a value", "a map", "a list", "empty"}[k] }

// node is a value of the tree. Anchors, aliases, tags and duplicate keys are not in it.
type node struct {
	kind    nodeKind
	pos     Position // of the value
	key     Position // of the key that names it; the value's own in lists
	path    string
	text    string // scalars
	quoted  bool
	entries []entry // maps, in the file's order
	items   []*node // lists
	bad     bool    // reported: what reads the tree passes over it
}

type entry struct {
	name  string
	value *node
}

// at returns the value of a map's key, or nil. Nodes that were reported as wrong read as absent, so that one mistake is one problem.
func (n *node) at(name string) *node {
	if n == nil || n.bad || n.kind != mapNode {
		return nil
	}
	for _, e := range n.entries {
		if e.name == name && !e.value.bad {
			return e.value
		}
	}
	return nil
}

// list returns the good items of a list.
func (n *node) list() []*node {
	if n == nil || n.bad || n.kind != listNode {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(n.items), func(i *node) bool { return i.bad })
}

// each returns the good entries of a map.
func (n *node) each() []entry {
	if n == nil || n.bad || n.kind != mapNode {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(n.entries), func(e entry) bool { return e.value.bad })
}

// has reports whether the map has the key at all, good or bad.
func (n *node) has(name string) bool {
	if n == nil || n.kind != mapNode {
		return false
	}
	return slices.ContainsFunc(n.entries, func(e entry) bool { return e.name == name })
}

// problem makes a problem at a place of the file.
func (f *File) problem(at Position, path, format string, args ...any) Problem {
	at.Line = min(max(at.Line, 1), max(1, len(f.lines)))
	src := ""
	if at.Line <= len(f.lines) {
		src = f.lines[at.Line-1]
	}
	at.Column = min(max(at.Column, 1), utf8.RuneCountInString(src)+1)
	return Problem{File: f.Name, Line: at.Line, Column: at.Column, Path: path, Message: fmt.Sprintf(format, args...), Source: src}
}

// mask masks the scalars of a node in every line that a problem may print.
func (f *File) mask(n *node) {
	for _, e := range n.entries {
		f.mask(e.value)
	}
	for _, i := range n.items {
		f.mask(i)
	}
	if n.kind != scalarNode {
		return
	}
	first := min(max(n.pos.Line, 1), len(f.lines)) - 1
	for i := first; i < len(f.lines); i++ {
		if i > first && !strings.Contains(n.text, strings.TrimSpace(f.lines[i])) {
			break
		}
		line := []rune(f.lines[i])
		from := 0
		if i == first {
			from = min(max(n.pos.Column-1, 0), len(line))
		}
		stop := len(line)
		if k := strings.Index(string(line[from:]), n.text); i == first && n.text != "" && k >= 0 {
			from += len([]rune(string(line[from:])[:k]))
			stop = from + len([]rune(n.text))
		}
		for j := from; j < stop; j++ {
			line[j] = '*'
		}
		f.lines[i] = string(line)
	}
}

// resource gives problems their source lines anew: a secret may have been masked after a problem took its line.
func (f *File) resource(ps []Problem) {
	for i := range ps {
		if ps[i].Line <= len(f.lines) {
			ps[i].Source = f.lines[ps[i].Line-1]
		}
	}
}

// Parse reads a policy file into a tree and checks it against the language: syntax, unknown and duplicate keys, kinds and units of values.
// With problems the file is nil when nothing can be made of it, and otherwise holds what was good, so that Compile can go on looking.
func Parse(name string, src []byte) (*File, Problems) {
	f := &File{Name: name}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if len(src) > maxFile {
		return nil, Problems{f.problem(Position{1, 1}, "", "the file has %d bytes, at most %d are allowed", len(src), maxFile)}
	}
	f.lines = strings.Split(strings.ReplaceAll(strings.ReplaceAll(string(src), "\r\n", "\n"), "\r", "\n"), "\n")
	if !utf8.Valid(src) {
		return nil, Problems{f.problem(invalidAt(src), "", "the file is not valid UTF-8")}
	}
	doc, ps := f.syntax(src)
	if len(ps) > 0 {
		return nil, ps.sorted()
	}
	t := &treeBuilder{file: f}
	f.root = t.build(doc, "", Position{1, 1}, 0)
	if f.root == nil || f.root.kind == nullNode {
		return nil, append(t.problems, f.problem(Position{1, 1}, "", "the file is empty")).sorted()
	}
	if f.root.kind != mapNode {
		return nil, Problems{f.problem(f.root.pos, "", "a policy is a map, this is %s", f.root.kind)}
	}
	c := &checker{file: f}
	c.check(language(), f.root)
	ps = append(t.problems, c.problems...)
	f.resource(ps)
	return f, ps.sorted()
}

func invalidAt(src []byte) Position {
	p := Position{1, 1}
	for len(src) > 0 {
		r, n := utf8.DecodeRune(src)
		if r == utf8.RuneError && n == 1 {
			break
		}
		if p.Column++; r == '\n' {
			p = Position{p.Line + 1, 1}
		}
		src = src[n:]
	}
	return p
}

// syntax parses the text. What YAML has and a policy has not is refused on the tokens, before the parser sees it.
func (f *File) syntax(src []byte) (doc ast.Node, ps Problems) {
	defer func() {
		if r := recover(); r != nil {
			doc, ps = nil, Problems{f.problem(Position{1, 1}, "", "the file is not valid YAML")}
		}
	}()
	tokens := joinPlain(lexer.Tokenize(string(src)))
	if ps := f.forbidden(tokens); len(ps) > 0 {
		return nil, ps
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, msg := Position{1, 1}, "the file is not valid YAML"
		var ye yaml.Error
		if errors.As(err, &ye) {
			if tk := ye.GetToken(); tk != nil && tk.Position != nil {
				at = Position{tk.Position.Line, tk.Position.Column}
			}
			msg = strings.TrimSpace(ye.GetMessage())
		}
		return nil, Problems{f.problem(at, "", "syntax: %s", msg)}
	}
	for _, d := range file.Docs {
		if d == nil || d.Body == nil {
			continue
		}
		if doc != nil {
			return nil, Problems{f.problem(Position{position(d.Body).Line, 1}, "", "a policy file holds one document, this is a second one")}
		}
		doc = d.Body
	}
	return doc, nil
}

var forbiddenTokens = map[token.Type]string{
	token.AnchorType:     "anchors are not allowed in a policy",
	token.AliasType:      "aliases are not allowed in a policy",
	token.MergeKeyType:   "merge keys are not allowed in a policy",
	token.TagType:        "tags are not allowed in a policy",
	token.DirectiveType:  "directives are not allowed in a policy",
	token.MappingKeyType: "keys written with ? are not allowed in a policy",
}

// block is an open map or list: where its lines begin, and how many there were.
type block struct{ column, width int }

// forbidden finds what a policy may not hold, and bounds the nesting: the parser itself would follow it to any depth.
func (f *File) forbidden(tokens token.Tokens) Problems {
	var (
		ps     Problems
		blocks []block // that are open
		flow   int
		prev   *token.Token
	)
	for _, tk := range tokens {
		if tk == nil || tk.Position == nil {
			continue
		}
		at := Position{tk.Position.Line, tk.Position.Column}
		if msg, ok := forbiddenTokens[tk.Type]; ok {
			if ps = append(ps, f.problem(at, "", "%s", msg)); len(ps) == maxProblems {
				return ps
			}
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.CommentType, token.SpaceType:
			continue
		}
		if flow == 0 && (prev == nil || prev.Position.Line != at.Line || prev.Type == token.SequenceEntryType) {
			width := 0
			for len(blocks) > 0 && blocks[len(blocks)-1].column >= at.Column {
				if blocks[len(blocks)-1].column == at.Column {
					width = blocks[len(blocks)-1].width
				}
				blocks = blocks[:len(blocks)-1]
			}
			if blocks = append(blocks, block{at.Column, width + 1}); width == maxWidth {
				return append(ps, f.problem(at, "", "more than %d lines in one map or list", maxWidth))
			}
		}
		if len(blocks)+flow > maxDepth {
			return append(ps, f.problem(at, "", "the file nests deeper than %d levels", maxDepth))
		}
		prev = tk
	}
	return ps
}

// joinPlain mends what the scanner cuts: in a list inside of a flow map it takes every colon for a key's, so that {endpoints: [http://host:80]}
// would hold a map. A colon between two characters of a plain scalar is a part of it.
func joinPlain(tokens token.Tokens) token.Tokens {
	var (
		out  = tokens[:0:0]
		open []token.Type
	)
	for i := 0; i < len(tokens); i++ {
		tk := tokens[i]
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			open = append(open, tk.Type)
		case token.MappingEndType, token.SequenceEndType:
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		case token.MappingValueType:
			inList := len(open) > 0 && open[len(open)-1] == token.SequenceStartType
			if inList && i+1 < len(tokens) && len(out) > 0 && touches(out[len(out)-1], tk) && touches(tk, tokens[i+1]) {
				head, tail := out[len(out)-1], tokens[i+1]
				joined := token.String(head.Value+":"+tail.Value, head.Origin+":"+tail.Origin, head.Position)
				joined.Prev, joined.Next = head.Prev, tail.Next
				if joined.Prev != nil {
					joined.Prev.Next = joined
				}
				if joined.Next != nil {
					joined.Next.Prev = joined
				}
				out[len(out)-1] = joined
				i++
				continue
			}
		}
		out = append(out, tk)
	}
	return out
}

// touches reports whether b stands right behind a and neither is quoted or a bracket.
func touches(a, b *token.Token) bool {
	plain := func(t *token.Token) bool {
		switch t.Type {
		case token.StringType, token.IntegerType, token.FloatType, token.BoolType, token.NullType, token.MappingValueType,
			token.HexIntegerType, token.OctetIntegerType, token.BinaryIntegerType:
			return t.Position != nil
		}
		return false
	}
	return plain(a) && plain(b) && a.Position.Line == b.Position.Line && a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}

func position(n ast.Node) Position {
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return Position{tk.Position.Line, tk.Position.Column}
	}
	return Position{1, 1}
}

// treeBuilder turns the parser's tree into ours.
type treeBuilder struct {
	file     *File
	problems Problems
}

func (t *treeBuilder) problem(at Position, path, format string, args ...any) {
	if len(t.problems) < maxProblems {
		t.problems = append(t.problems, t.file.problem(at, path, format, args...))
	}
}

func (t *treeBuilder) build(n ast.Node, path string, key Position, depth int) *node {
	if n == nil {
		return nil
	}
	out := &node{pos: position(n), key: key, path: path}
	if depth > maxDepth {
		t.problem(out.pos, path, "the file nests deeper than %d levels", maxDepth)
		out.kind, out.bad = nullNode, true
		return out
	}
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind = nullNode
		if key != (Position{}) {
			out.pos = key
		}
	case *ast.StringNode:
		out.text = n.Value
		out.quoted = n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType
	case *ast.LiteralNode:
		out.quoted = true
		if n.Value != nil {
			out.text = n.Value.Value
		}
	case *ast.MappingNode:
		out.kind = mapNode
		t.entries(out, n.Values, depth)
		if !n.IsFlowStyle && len(out.entries) > 0 {
			out.pos = out.entries[0].value.key
		}
	case *ast.MappingValueNode:
		out.kind = mapNode
		t.entries(out, []*ast.MappingValueNode{n}, depth)
		if len(out.entries) > 0 {
			out.pos = out.entries[0].value.key
		}
	case *ast.SequenceNode:
		out.kind = listNode
		for i, v := range n.Values {
			item := t.build(v, fmt.Sprintf("%s[%d]", path, i), Position{}, depth+1)
			if item == nil {
				item = &node{kind: nullNode, pos: out.pos, path: fmt.Sprintf("%s[%d]", path, i)}
			}
			item.key = item.pos
			out.items = append(out.items, item)
		}
	default:
		if s, ok := n.(ast.ScalarNode); ok && s.GetToken() != nil {
			out.text = s.GetToken().Value
			break
		}
		t.problem(out.pos, path, "%s is not allowed in a policy", strings.ToLower(n.Type().String()))
		out.kind, out.bad = nullNode, true
	}
	return out
}

func (t *treeBuilder) entries(out *node, values []*ast.MappingValueNode, depth int) {
	seen := map[string]Position{}
	for _, v := range values {
		at := position(v.Key)
		name, ok := keyText(v.Key)
		if !ok {
			t.problem(at, out.path, "a key must be a plain name")
			continue
		}
		path := joinPath(out.path, name)
		if first, dup := seen[name]; dup {
			t.problem(at, path, "duplicate key, first written in line %d", first.Line)
			continue
		}
		seen[name] = at
		value := t.build(v.Value, path, at, depth+1)
		if value == nil {
			value = &node{kind: nullNode, pos: at, key: at, path: path}
		}
		out.entries = append(out.entries, entry{name, value})
	}
}

func keyText(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.MappingKeyNode, *ast.AliasNode, *ast.AnchorNode, *ast.TagNode, *ast.NullNode:
		return "", false
	}
	if tk := k.GetToken(); tk != nil {
		return tk.Value, true
	}
	return "", false
}

// joinPath writes routes.auto, or passthrough["/v1/files"] for what is no plain name.
func joinPath(path, name string) string {
	plain := name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
	switch {
	case !plain:
		return path + "[" + strconv.Quote(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// version returns the hash of the tree: 16 hex digits. Comments, blanks, quoting and the order of keys do not change it, but for the order of
// the routes, of which the first match wins.
func (f *File) version() string {
	h := sha256.New()
	hashNode(h, f.root)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func hashNode(h hash.Hash, n *node) {
	switch n.kind {
	case nullNode:
		io.WriteString(h, "n;")
	case scalarNode:
		fmt.Fprintf(h, "s%d:%s;", len(n.text), n.text)
	case listNode:
		fmt.Fprintf(h, "l%d:", len(n.items))
		for _, i := range n.items {
			hashNode(h, i)
		}
	case mapNode:
		entries := slices.Clone(n.entries)
		if n.path != "routes" {
			slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
		}
		fmt.Fprintf(h, "m%d:", len(entries))
		for _, e := range entries {
			fmt.Fprintf(h, "k%d:%s;", len(e.name), e.name)
			hashNode(h, e.value)
		}
	}
}
