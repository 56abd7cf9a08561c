package layout

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed tables/*.txt
var tableFiles embed.FS

// table is one parsed file of the folder tables.
type table struct {
	toolchain   string
	compared    string // the newest patch release whose types were the same
	base        string // file (without folder and extension) whose types this one starts from
	types       *types
	experiments map[string]*types // structs that a GOEXPERIMENT setting changes
	earlier     []*earlier        // what was different in earlier patch releases
	waitReasons []string
	statuses    map[uint32]string
	constants   map[string]int64
	refs        []ref
	dropped     []string // types of the base that do not exist here
}

// ref says that the nth data reference of a function's code (of total) is a variable's address plus a few bytes.
type ref struct {
	variable, function string
	nth, total         int
	add                uint64
}

// Architectures and releases with a table, oldest first. A release is added here when its file is generated.
var (
	knownArches   = []string{"amd64", "arm64"}
	knownReleases = []string{"1.21", "1.22", "1.23", "1.24", "1.25", "1.26"}
)

// Known lists the releases that have a table for an architecture, oldest first; for an unknown architecture, those that
// have one for any.
func Known(arch string) []string { return slices.Clone(knownReleases) }

// Arches lists the architectures that have tables.
func Arches() []string { return slices.Clone(knownArches) }

var tableCache sync.Map // "go1.26_amd64" -> func() (*table, error)

// tableFor finds and parses (once) the table of a version.
func tableFor(v Version, arch string) (*table, error) {
	if !slices.Contains(knownArches, arch) || !slices.Contains(knownReleases, v.Release()) {
		return nil, &UnknownVersionError{Version: v.String(), Arch: arch, Known: Known(arch)}
	}
	return loadTable("go" + v.Release() + "_" + arch)
}

func loadTable(name string) (*table, error) {
	load, _ := tableCache.LoadOrStore(name, sync.OnceValues(func() (*table, error) {
		text, err := tableFiles.ReadFile("tables/" + name + ".txt")
		if err != nil {
			return nil, fmt.Errorf("layout table %s: %w", name, err)
		}
		t, err := parseTable(string(text))
		if err != nil {
			return nil, fmt.Errorf("layout table %s: %w", name, err)
		}
		return t, t.inherit()
	}))
	return load.(func() (*table, error))()
}

// inherit adds what the base has and this table does not say otherwise.
func (t *table) inherit() error {
	if t.base == "" {
		return nil
	}
	base, err := loadTable(t.base)
	if err != nil {
		return err
	}
	if base.base != "" {
		return fmt.Errorf("layout table: the base %s has a base itself", t.base)
	}
	own := t.types
	t.types = base.types.with(own).without(t.dropped)
	t.waitReasons, t.statuses = base.waitReasons, base.statuses
	constants := maps.Clone(base.constants)
	maps.Copy(constants, t.constants)
	t.constants = constants
	return nil
}

// with gives a set in which the types of another replace those of the same name.
func (t *types) with(other *types) *types {
	merged := &types{structs: maps.Clone(t.structs), aliases: maps.Clone(t.aliases)}
	maps.Copy(merged.structs, other.structs)
	maps.Copy(merged.aliases, other.aliases)
	return merged
}

func (t *table) knowsExperiment(name string) bool { return t.experiments[name] != nil }

// tableParser reads the text of a table line by line.
type tableParser struct {
	table   *table
	types   *types      // where types go: the table's, or those of a section
	earlier *earlier    // the section of earlier patch releases that lines belong to, or nil
	current *structType // what field lines belong to
}

// parseTable reads the text form of a table. Errors name the line.
func parseTable(text string) (*table, error) {
	t := &table{types: newTypes(), experiments: map[string]*types{}, statuses: map[uint32]string{}, constants: map[string]int64{}}
	p := &tableParser{table: t, types: t.types}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d %q: %w", number, clip(line), err)
		}
	}
	return t, nil
}

// line takes one line: a field (which starts with a space) or a word and its arguments.
func (p *tableParser) line(line string) error {
	if line[0] == ' ' {
		return p.field(strings.Fields(line))
	}
	word, rest, _ := strings.Cut(line, " ")
	args := strings.Fields(rest)
	p.current = nil
	switch {
	case word == "toolchain" && len(args) == 1:
		p.table.toolchain = args[0]
	case word == "arch" && len(args) == 1:
	case word == "base" && len(args) == 1:
		p.table.base = args[0]
	case word == "compared" && len(args) == 1:
		p.table.compared = args[0]
	case word == "drop" && len(args) == 1:
		p.drop(args[0])
	case word == "type" && len(args) == 2:
		return p.structType(args[0], args[1])
	case word == "alias" && len(args) == 2:
		p.types.aliases[args[0]] = shape(args[1])
	case word == "before" && len(args) == 2:
		return p.earlierSection(args[0], args[1])
	case word == "experiment" && len(args) == 1:
		p.types, p.earlier = newTypes(), nil
		p.table.experiments[args[0]] = p.types
	case word == "reason" && len(args) > 0:
		return p.reason(rest)
	case word == "status" && len(args) > 1:
		return p.status(args[0], strings.Join(args[1:], " "))
	case word == "const" && len(args) == 2:
		return p.constant(args[0], args[1])
	case word == "ref" && len(args) == 4:
		return p.reference(args)
	default:
		return fmt.Errorf("not a line of a layout table")
	}
	return nil
}

func (p *tableParser) structType(name, size string) error {
	n, err := strconv.ParseUint(size, 10, 32)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	p.current = &structType{name: name, size: n}
	p.types.structs[name] = p.current
	return nil
}

// field reads "name offset shape", with a plus behind it for an embedded struct.
func (p *tableParser) field(args []string) error {
	if p.current == nil || len(args) < 3 || len(args) > 4 || len(args) == 4 && args[3] != "+" {
		return fmt.Errorf("not a field of a type")
	}
	offset, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return fmt.Errorf("offset: %w", err)
	}
	f := field{name: args[0], offset: offset, shape: shape(args[2]), embedded: len(args) == 4}
	p.current.fields = append(p.current.fields, f)
	return nil
}

// drop notes a type that does not exist, in contrast to what comes before.
func (p *tableParser) drop(name string) {
	list := &p.table.dropped
	if p.earlier != nil {
		list = &p.earlier.dropped
	}
	*list = append(*list, name)
}

// reason reads "3 GC assist wait". The numbers must count up from 0.
func (p *tableParser) reason(rest string) error {
	list := &p.table.waitReasons
	if p.earlier != nil {
		list = &p.earlier.waitReasons
	}
	number, text, _ := strings.Cut(rest, " ")
	if n, err := strconv.Atoi(number); err != nil || n != len(*list) {
		return fmt.Errorf("wait reason out of order: want number %d", len(*list))
	}
	*list = append(*list, text)
	return nil
}

func (p *tableParser) status(number, text string) error {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	p.table.statuses[uint32(n)] = text
	return nil
}

func (p *tableParser) constant(name, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fmt.Errorf("constant: %w", err)
	}
	p.table.constants[name] = n
	return nil
}

// reference reads "variable function nth/total add".
func (p *tableParser) reference(args []string) error {
	nth, total, _ := strings.Cut(args[2], "/")
	r := ref{variable: args[0], function: args[1]}
	var errs [3]error
	r.nth, errs[0] = strconv.Atoi(nth)
	r.total, errs[1] = strconv.Atoi(total)
	r.add, errs[2] = strconv.ParseUint(args[3], 10, 32)
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("reference: %w", err)
		}
	}
	if r.nth < 0 || r.nth >= r.total {
		return fmt.Errorf("reference %d of %d", r.nth, r.total)
	}
	p.table.refs = append(p.table.refs, r)
	return nil
}
