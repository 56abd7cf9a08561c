package ahead

import (
	"encoding/hex"
	"testing"
)

// silent is a Visitor that counts.
type silent struct{ calls, atomics int }

func (s *silent) Call(*Call) Next { s.calls++; return Next{} }
func (s *silent) Atomic(*Atomic)  { s.atomics++ }

// TestQuiet holds the short look against the reading: where it says that nothing comes, the reading finds nothing, in as many steps.
func TestQuiet(t *testing.T) {
	for name, test := range map[string]struct {
		code  string
		arm64 bool
		want  bool
	}{
		"returns":               {"c3", false, true},
		"adds, pops, returns":   {"4883c005" + "4883c428" + "5d" + "c3", false, true},
		"ends in a trap":        {"0f0b", false, true},
		"calls":                 {"e800000000" + "c3", false, false},
		"calls a value":         {"ff12" + "c3", false, false},
		"branches":              {"7402" + "9090" + "c3", false, false},
		"jumps":                 {"eb00" + "c3", false, false},
		"adds atomically":       {"f00fc108" + "c3", false, false},
		"swaps atomically":      {"f00fb108" + "c3", false, false},
		"does not end":          {"4883c005", false, false},
		"is no code":            {"06c3", false, false},
		"returns on Arm":        {"c0035fd6", true, true},
		"moves, returns on Arm": {"e00301aa" + "c0035fd6", true, true},
		"calls on Arm":          {"00000094" + "c0035fd6", true, false},
		"branches on Arm":       {"40000054" + "c0035fd6", true, false},
		"ends early on Arm":     {"e00301aa", true, false},
		"half a word of Arm":    {"c003", true, false},
		"nothing":               {"", false, false},
		"too long to be looked at": {"4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" +
			"4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" +
			"4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" +
			"4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "4883c005" + "c3", false, false},
	} {
		code, err := hex.DecodeString(test.code)
		if err != nil {
			t.Fatal(err)
		}
		const entry = 0x401000
		steps, quiet := Quiet(code, entry, test.arm64)
		if quiet != test.want {
			t.Errorf("%s: quiet is %v", name, quiet)
		}
		if !quiet {
			continue
		}
		var terms Terms
		v := &silent{}
		r := Read(&terms, NewFunc(entry, code, test.arm64), entry, test.arm64, false, v)
		if v.calls+v.atomics+len(r.Events) > 0 || r.Steps != steps {
			t.Errorf("%s: the reading takes %d steps, not %d, and finds %d calls and %d atomic changes", name, r.Steps, steps, v.calls, v.atomics)
		}
	}
}
