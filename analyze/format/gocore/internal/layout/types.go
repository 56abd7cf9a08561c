package layout

import (
	"strconv"
	"strings"
)

// A shape is the form of a type or field, as the tables write it:
//
//	8                a number, bool, map, channel or function of so many bytes
//	*runtime.g       a pointer (the name after the star may be missing)
//	string           a string header: str, len
//	[]runtime.g      a slice header: array, len, cap
//	[4]8             an array
//	runtime.gobuf    a struct of that name
type shape string

// structType is a struct as DWARF describes it.
type structType struct {
	name   string
	size   uint64
	fields []field
}

type field struct {
	name     string
	offset   uint64
	shape    shape
	embedded bool
}

// Sizes of Go's built-in headers on 64-bit machines; both architectures of the tables are 64-bit.
const (
	wordSize   = 8
	stringSize = 2 * wordSize
	sliceSize  = 3 * wordSize
)

// headerFields are the parts of strings and slices, named as the compiler names them in DWARF.
var headerFields = map[string]uint64{"str": 0, "array": 0, "len": wordSize, "cap": 2 * wordSize}

// types is a set of structs and of names for other shapes (such as runtime.semTable, an array).
type types struct {
	structs map[string]*structType
	aliases map[string]shape
}

func newTypes() *types {
	return &types{structs: map[string]*structType{}, aliases: map[string]shape{}}
}

// maxSize bounds a type: the largest of the tables, runtime.heapArena, has about a megabyte. An executable's DWARF may claim
// anything, and readers allocate what a type needs.
const maxSize = 1 << 26

// maxDepth bounds the nesting of shapes: a struct of a hostile file may contain itself.
const maxDepth = 24

// size is the number of bytes of a shape.
func (t *types) size(s shape) (uint64, bool) { return t.sizeWithin(s, maxDepth) }

func (t *types) sizeWithin(s shape, depth int) (uint64, bool) {
	if s == "" || depth == 0 {
		return 0, false
	}
	switch {
	case s[0] >= '0' && s[0] <= '9':
		n, err := strconv.ParseUint(string(s), 10, 32)
		return n, err == nil
	case s[0] == '*':
		return wordSize, true
	case s == "string":
		return stringSize, true
	case strings.HasPrefix(string(s), "[]"):
		return sliceSize, true
	case s[0] == '[':
		n, elem, ok := arrayOf(s)
		each, known := t.sizeWithin(elem, depth-1)
		return n * each, ok && known && n*each <= maxSize
	}
	if st := t.structs[string(s)]; st != nil {
		return st.size, true
	}
	return t.sizeWithin(t.aliases[string(s)], depth-1)
}

// arrayOf takes "[4]runtime.x" apart. The count is below 2^31, so that its product with an element's size fits.
func arrayOf(s shape) (count uint64, elem shape, ok bool) {
	inner, elemText, found := strings.Cut(strings.TrimPrefix(string(s), "["), "]")
	n, err := strconv.ParseUint(inner, 10, 31)
	return n, shape(elemText), found && err == nil && s != "" && s[0] == '['
}

// step goes from a shape to one of its parts: a field, or "[3]" for an element of an array.
func (t *types) step(s shape, part string) (offset uint64, next shape, ok bool) {
	s = t.resolve(s)
	switch {
	case s == "":
		return 0, "", false
	case strings.HasPrefix(part, "["):
		return t.element(s, part)
	case s == "string" || strings.HasPrefix(string(s), "[]"):
		offset, ok = headerFields[part]
		isString := s == "string"
		return offset, "8", ok && isString == (part == "str") || part == "len"
	}
	if st := t.structs[string(s)]; st != nil {
		return t.fieldOf(st, part, maxDepth)
	}
	return 0, "", false
}

// resolve follows names of other shapes to a shape.
func (t *types) resolve(s shape) shape {
	for range maxDepth {
		next, ok := t.aliases[string(s)]
		if !ok {
			return s
		}
		s = next
	}
	return ""
}

// element finds "[i]" of an array.
func (t *types) element(s shape, part string) (uint64, shape, bool) {
	n, elem, ok := arrayOf(s)
	if !ok {
		return 0, "", false
	}
	i, err := strconv.ParseUint(strings.Trim(part, "[]"), 10, 31)
	each, known := t.size(elem)
	return i * each, elem, err == nil && known && i < n
}

// fieldOf finds a field, or one that an embedded struct promotes, as Go's selector rules do for depth one and below.
func (t *types) fieldOf(st *structType, name string, depth int) (uint64, shape, bool) {
	for _, f := range st.fields {
		if f.name == name {
			return f.offset, f.shape, true
		}
	}
	for _, f := range st.fields {
		inner := t.structs[string(f.shape)]
		if !f.embedded || inner == nil || depth == 0 {
			continue
		}
		if offset, s, ok := t.fieldOf(inner, name, depth-1); ok {
			return f.offset + offset, s, true
		}
	}
	return 0, "", false
}

// locate finds a path: the longest prefix that names a type, then fields.
func (t *types) locate(path string) (offset uint64, s shape, ok bool) {
	typ, rest := t.splitPath(path)
	if typ == "" {
		return 0, "", false
	}
	s = shape(typ)
	for rest != "" {
		var part string
		part, rest = nextPart(rest)
		delta, next, found := t.step(s, part)
		if !found {
			return 0, "", false
		}
		offset, s = offset+delta, next
	}
	return offset, s, true
}

// splitPath separates the type from the fields. Type names hold points and slashes themselves, so each prefix that
// ends before a point or a bracket is tried, the longest first.
func (t *types) splitPath(path string) (typ, rest string) {
	for end := len(path); end > 0; end = strings.LastIndexAny(path[:end], ".[") {
		name := path[:end]
		if t.structs[name] != nil || t.aliases[name] != "" {
			return name, path[end:]
		}
	}
	return "", ""
}

// nextPart takes ".field" or "[3]" off the front.
func nextPart(rest string) (part, tail string) {
	start := 1
	if rest[0] == '.' {
		rest, start = rest[1:], 0
	}
	end := strings.IndexAny(rest[min(start, len(rest)):], ".[")
	if end < 0 {
		return rest, ""
	}
	return rest[:start+end], rest[start+end:]
}
