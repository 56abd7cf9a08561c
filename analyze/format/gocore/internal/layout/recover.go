package layout

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Program is the machine code of an executable without symbols, as the pclntab describes it.
type Program struct {
	// Func gives the first address of a function and the one after its last, by its full name ("runtime.schedtrace"). Where
	// several have one name, it should be the longest: the others only translate between calling conventions.
	Func func(name string) (start, end uint64, ok bool)
	// Read fills p with the bytes at an address.
	Read func(p []byte, addr uint64) error
	// InData reports whether a variable may be at an address, for instance from the bounds of data and bss in moduledata.
	// It may be nil, which allows every address.
	InData func(addr uint64) bool
}

// maxFunction bounds the code of a function that is scanned; the longest of those in the tables has some 20 kB.
const maxFunction = 256 << 10

// agreeing is how many functions must say the same for a variable to count as found, when the executable has more than one of those the table names.
const agreeing = 2

// Recover finds the addresses of globals in an executable without symbols. The tables say, for each variable, which
// data references of which functions of the runtime are its address. A function whose code has another number of references
// than it had when the table was made does not vote; of the others at least two must agree, and more than twice as many as disagree.
// Where the executable has only one of the functions, its word is taken, and the Global is Weak.
//
// What was not found is in Globals.Missing with the reason. The error is an *UnknownVersionError when there is no table.
func Recover(version, arch string, p Program) (*Globals, error) {
	v, err := ParseVersion(version)
	if err != nil {
		return nil, &UnknownVersionError{Version: clip(version), Arch: arch, Known: Known(arch), Err: err}
	}
	t, err := tableFor(v, arch)
	if err != nil {
		return nil, err
	}
	s := &scanner{program: p, arch: arch, scanned: map[string]scan{}}
	byVariable := map[string][]ref{}
	for _, r := range t.refs {
		byVariable[r.variable] = append(byVariable[r.variable], r)
	}
	g := &Globals{Origin: OriginCode, found: map[string]Global{}}
	for _, name := range slices.Sorted(maps.Keys(byVariable)) {
		global, err := s.vote(byVariable[name])
		if err != nil {
			g.Missing = append(g.Missing, Missing{name, err.Error()})
			continue
		}
		g.found[name] = global
	}
	return g, nil
}

// errAbsent says that the linker left a function out of the executable.
var errAbsent = errors.New("not in the executable")

// scanner reads the references of functions, each once.
type scanner struct {
	program Program
	arch    string
	scanned map[string]scan
}

type scan struct {
	refs []uint64
	err  error
}

func (s *scanner) refs(function string) ([]uint64, error) {
	done, ok := s.scanned[function]
	if !ok {
		done.refs, done.err = s.scan(function)
		s.scanned[function] = done
	}
	return done.refs, done.err
}

func (s *scanner) scan(function string) ([]uint64, error) {
	start, end, ok := s.program.Func(function)
	if !ok {
		return nil, fmt.Errorf("function %s: %w", function, errAbsent)
	}
	if end <= start || end-start > maxFunction {
		return nil, fmt.Errorf("function %s at %#x: a length of %d bytes is out of range", function, start, end-start)
	}
	code := make([]byte, end-start)
	if err := s.program.Read(code, start); err != nil {
		return nil, fmt.Errorf("code of %s at %#x: %w", function, start, err)
	}
	refs, err := DataRefs(s.arch, trimPadding(s.arch, code), start)
	if err != nil {
		return nil, fmt.Errorf("code of %s: %w", function, err)
	}
	return refs, nil
}

// trimPadding cuts off what the linker puts between functions, INT3 on amd64: the end of a function that comes from
// pclntab is the start of the next one.
func trimPadding(arch string, code []byte) []byte {
	const int3 = 0xcc
	for arch == "amd64" && len(code) > 0 && code[len(code)-1] == int3 {
		code = code[:len(code)-1]
	}
	return code
}

// vote asks each function for the address of a variable.
func (s *scanner) vote(refs []ref) (Global, error) {
	says := map[uint64][]string{}
	parts := map[uint64]map[uint64]bool{} // address -> offsets of what refers to it
	present := map[string]bool{}
	var why error
	for _, r := range refs {
		addr, err := s.ask(r)
		if !errors.Is(err, errAbsent) {
			present[r.function] = true
		}
		if err != nil {
			why = cmp.Or(why, err)
			continue
		}
		if !slices.Contains(says[addr], r.function) {
			says[addr] = append(says[addr], r.function)
		}
		if parts[addr] == nil {
			parts[addr] = map[uint64]bool{}
		}
		parts[addr][r.add] = true
	}
	best, err := count(says, len(present), why)
	best.OnePart = len(parts[best.Addr]) == 1 && !parts[best.Addr][0]
	return best, err
}

// ask takes the address from one reference.
func (s *scanner) ask(r ref) (uint64, error) {
	found, err := s.refs(r.function)
	if err != nil {
		return 0, err
	}
	if len(found) != r.total {
		return 0, fmt.Errorf("code of %s has %d references, %d when the table was made", r.function, len(found), r.total)
	}
	addr := found[r.nth] - r.add
	if s.program.InData != nil && !s.program.InData(addr) {
		return 0, fmt.Errorf("code of %s: address %#x is not that of a variable", r.function, addr)
	}
	return addr, nil
}

// count decides between addresses. present is how many functions could have voted; why is a reason for which one of
// them, or of those that are not in the executable, did not.
func count(says map[uint64][]string, present int, why error) (Global, error) {
	var best Global
	for _, addr := range slices.Sorted(maps.Keys(says)) {
		if voters := says[addr]; len(voters) > len(best.For) {
			best.Addr, best.For = addr, voters
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(says)) {
		if addr != best.Addr {
			best.Against = append(best.Against, says[addr]...)
		}
	}
	switch {
	case len(best.For) == 0:
		return best, fmt.Errorf("no function has a reference to it: %w", why)
	case len(best.For) < min(agreeing, present):
		return best, fmt.Errorf("only %s refers to it", best.For[0])
	case 2*len(best.Against) >= len(best.For):
		return best, fmt.Errorf("%d functions say %#x, %d otherwise", len(best.For), best.Addr, len(best.Against))
	}
	return best, nil
}
