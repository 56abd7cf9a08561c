package layout

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// earlier is what was different before a patch release. Patch releases are meant to change no layout, but fixes do:
// runtime.m grew by 24 bytes in Go 1.24.6 (allpSnapshot), runtime.timer changed in 1.23.3.
type earlier struct {
	before      int    // the first patch release that is as the table says
	toolchain   string // the one before, from which this was made
	types       *types
	dropped     []string // types of the table that did not exist
	waitReasons []string // nil when they were the same
}

// earlierFor finds what was different in a version: the section with the lowest patch release above its own. A
// pre-release is taken for the first release.
func (t *table) earlierFor(v Version) *earlier {
	var best *earlier
	for _, e := range t.earlier {
		if v.Patch < e.before && (best == nil || e.before < best.before) {
			best = e
		}
	}
	return best
}

// typesFor gives the types of a version under its experiments; those the table does not know change nothing.
func (t *table) typesFor(v Version) *types {
	all := t.types
	if e := t.earlierFor(v); e != nil {
		all = all.with(e.types).without(e.dropped)
	}
	for _, x := range v.Experiments {
		if changed := t.experiments[x]; changed != nil {
			all = all.with(changed)
		}
	}
	return all
}

// waitReasonsFor gives the texts of wait reasons of a version.
func (t *table) waitReasonsFor(v Version) []string {
	if e := t.earlierFor(v); e != nil && e.waitReasons != nil {
		return e.waitReasons
	}
	return t.waitReasons
}

// without removes types, in place.
func (t *types) without(names []string) *types {
	for _, name := range names {
		delete(t.structs, name)
		delete(t.aliases, name)
	}
	return t
}

// conflict gives the first struct that is changed by more than one of a version's experiments, or by one and by a later
// patch release: its layout under both is not known.
func (t *table) conflict(v Version) string {
	changes := map[string]int{}
	add := func(changed *types) {
		for name := range changed.structs {
			changes[name]++
		}
	}
	if e := t.earlierFor(v); e != nil {
		add(e.types)
	}
	for _, x := range v.Experiments {
		if changed := t.experiments[x]; changed != nil {
			add(changed)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if changes[name] > 1 {
			return name
		}
	}
	return ""
}

// beyond reports whether a version is a later patch release than the newest that the table was compared with.
func (t *table) beyond(v Version) bool {
	newest, err := ParseVersion(t.compared)
	return err == nil && v.Patch > newest.Patch
}

// earlierSection begins the section "before 6 go1.24.5" of a table's text.
func (p *tableParser) earlierSection(before, toolchain string) error {
	n, err := strconv.Atoi(before)
	if err != nil || n < 1 {
		return fmt.Errorf("section of earlier patch releases: %q is none", before)
	}
	p.earlier = &earlier{before: n, toolchain: toolchain, types: newTypes()}
	p.types = p.earlier.types
	p.table.earlier = append(p.table.earlier, p.earlier)
	return nil
}
