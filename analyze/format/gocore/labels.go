package gocore

import (
	"sort"
	"strings"
)

// maxLabels bounds the labels of one goroutine; programs set a handful.
const maxLabels = 64

// label is one pprof label.
type label struct{ key, value string }

// readLabels reads a set of pprof labels and gives them as the runtime prints them, sorted by key; "" for a set that makes no
// sense. Since Go 1.24 the set is a list of pairs (runtime/pprof/label.go, internal/runtime/pprof/label); before, it was a
// map[string]string.
func (t *target) readLabels(set uint64) string {
	var list []label
	var ok bool
	if t.layout.Version.AtLeast(1, 24) {
		list, ok = t.labelList(set)
	} else {
		list, ok = t.labelMap(set)
	}
	if !ok {
		return ""
	}
	sort.Slice(list, func(i, k int) bool { return list[i].key < list[k].key })
	parts := make([]string, len(list))
	for i, l := range list {
		parts[i] = quote(l.key) + ": " + quote(l.value)
	}
	return strings.Join(parts, ", ")
}

// labelList reads a slice of pairs of strings.
func (t *target) labelList(set uint64) ([]label, bool) {
	const pair = 32
	header, ok := t.core.Mem.Bytes(set, 16)
	if !ok {
		return nil, false
	}
	at, n := le.Uint64(header), le.Uint64(header[8:])
	if n > maxLabels {
		return nil, false
	}
	var list []label
	for i := range n {
		l, ok := t.labelAt(at+i*pair, at+i*pair+16)
		if !ok {
			return nil, false
		}
		list = append(list, l)
	}
	return list, true
}

func (t *target) labelAt(key, value uint64) (label, bool) {
	k, ok1 := t.goString(key)
	v, ok2 := t.goString(value)
	return label{k, v}, ok1 && ok2
}

// The map of Go 1.21 to 1.23 (runtime/map.go): 2^B buckets, and while it grows the old ones beside them; a bucket of a
// map[string]string is eight bytes of hashes, eight keys, eight values and the address of an overflow bucket. A hash below
// minTopHash marks a cell that is empty or has moved.
const (
	mapCells     = 8
	mapKeys      = mapCells
	mapValues    = mapKeys + 16*mapCells
	mapOverflow  = mapValues + 16*mapCells
	mapBucket    = mapOverflow + 8
	minTopHash   = 5
	mapSameSize  = 8 // flag: it grows to the same size
	maxMapSpread = 6 // more buckets than maxLabels labels can need
)

// labelMap reads a map[string]string through the pointer to it.
func (t *target) labelMap(set uint64) ([]label, bool) {
	h, ok := t.core.Mem.Uint64(set)
	if !ok || h == 0 {
		return nil, false
	}
	count, spread, flags := t.mapField(h, "count"), t.mapField(h, "B")&0xff, t.mapField(h, "flags")
	if count > maxLabels || spread > maxMapSpread {
		return nil, false
	}
	old := uint64(1) << spread >> 1
	if flags&mapSameSize != 0 {
		old = 1 << spread
	}
	list := t.mapCells(nil, t.mapField(h, "buckets"), 1<<spread)
	list = t.mapCells(list, t.mapField(h, "oldbuckets"), old)
	return list, uint64(len(list)) == count
}

// mapField reads a word at a field of a map; what is not there is 0.
func (t *target) mapField(h uint64, field string) uint64 {
	off, known := t.layout.Offset("runtime.hmap." + field)
	v, ok := t.core.Mem.Uint64(h + off)
	if !known || !ok {
		return 0
	}
	return v
}

// mapCells appends the pairs in an array of n buckets.
func (t *target) mapCells(list []label, buckets, n uint64) []label {
	for i := range n {
		next := buckets + i*mapBucket
		for hops := 0; buckets != 0 && next != 0 && hops <= maxLabels; hops++ {
			b, ok := t.core.Mem.Bytes(next, mapBucket)
			if !ok {
				return list
			}
			for c := range uint64(mapCells) {
				if b[c] < minTopHash {
					continue
				}
				if l, ok := t.labelAt(next+mapKeys+16*c, next+mapValues+16*c); ok {
					list = append(list, l)
				}
			}
			next = le.Uint64(b[mapOverflow:])
		}
	}
	return list
}
