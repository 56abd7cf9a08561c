package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
	"github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"
)

// argument is one word that the runtime would print for a frame: a scalar argument, or a component of one.
type argument struct {
	value uint64
	live  bool // false: the slot may be stale, and the runtime prints a question mark
	known bool // false: the runtime prints "_" or "...", or the slot is not in the core
}

// The operators of FUNCDATA_ArgInfo (internal/abi/type.go, TraceArgs*): everything below argSpecial is an offset, and a
// size follows it.
const (
	argEnd         = 0xff
	argStartAgg    = 0xfe
	argEndAgg      = 0xfd
	argDotdotdot   = 0xfc
	argTooLarge    = 0xfb
	argInfoMost    = 171 // TraceArgsMaxLen
	funcDataArgs   = 5   // FUNCDATA_ArgInfo
	funcDataLive   = 6   // FUNCDATA_ArgLiveInfo
	pcDataLiveness = 3   // PCDATA_ArgLiveIndex
)

// arguments reads the arguments of a frame from the slots that the compiler has named for tracebacks, flattened: a slice
// gives three words. Liveness is the compiler's too (runtime/traceback.go, printArgs). pc is the address of the call or of
// the interrupted instruction.
func arguments(mem *elfcore.View, fn pcln.Func, pc, argp uint64) []argument {
	at, ok := fn.FuncData(funcDataArgs)
	if !ok {
		return nil
	}
	info := atMost(mem, at, argInfoMost)
	live := newLiveness(mem, fn, pc)
	var args []argument
	for i := 0; i < len(info); i++ {
		switch op := info[i]; op {
		case argEnd:
			return args
		case argStartAgg, argEndAgg:
		case argDotdotdot, argTooLarge:
			args = append(args, argument{})
		default:
			if i++; i == len(info) {
				return args
			}
			args = append(args, readArgument(mem, argp+uint64(op), info[i], live.next(op)))
		}
	}
	return args
}

// atMost returns up to n bytes: a table may end close to the end of its segment.
func atMost(mem *elfcore.View, addr, n uint64) []byte {
	rest := mem.Memory().Contiguous(addr)
	return rest[:min(uint64(len(rest)), n)]
}

func readArgument(mem *elfcore.View, addr uint64, size byte, live bool) argument {
	v, ok := mem.Uint64(addr)
	if size < 8 {
		v &= 1<<(8*uint64(size)) - 1
	}
	return argument{value: v, live: live, known: ok}
}

// liveness says which spill slots of register arguments hold their values at a pc.
type liveness struct {
	first byte // slots at lower offsets are always live
	bits  []byte
	slot  int
}

func newLiveness(mem *elfcore.View, fn pcln.Func, pc uint64) *liveness {
	at, ok := fn.FuncData(funcDataLive)
	if !ok {
		return &liveness{first: argEnd}
	}
	first, ok := mem.Uint8(at)
	index := fn.PCData(pcDataLiveness, pc)
	if !ok || index <= 0 {
		return &liveness{first: argEnd}
	}
	return &liveness{first: first, bits: atMost(mem, at+uint64(index), argInfoMost/8+1)}
}

// next reports whether the argument at the offset is live, and moves on by one slot.
func (l *liveness) next(offset byte) bool {
	if offset < l.first {
		return true
	}
	slot := l.slot
	l.slot++
	return slot/8 < len(l.bits) && l.bits[slot/8]&(1<<(slot%8)) != 0
}

// frameArguments reads the arguments of frame i of a walk.
func (t *target) frameArguments(mem *elfcore.View, pcs, sps []uint64, i int, trap bool) []argument {
	fn, ok := t.tab.Find(pcs[i])
	if !ok {
		return nil
	}
	fp := uint64(0)
	if i+1 < len(sps) {
		fp = sps[i+1] // the caller's SP
	} else {
		delta, _ := fn.SPDelta(pcs[i])
		fp = sps[i] + uint64(int64(delta))
		if !t.arm64 {
			fp += 8
		}
	}
	if t.arm64 {
		fp += 8 // MinFrameSize: the slot of the saved LR
	}
	pc := pcs[i]
	if !trap && pc > fn.Entry {
		pc--
	}
	return arguments(mem, fn, pc, fp)
}

// stringArgument reads the string that is the first argument of a frame.
func (t *target) stringArgument(at site) (string, bool) {
	mem := t.core.Mem.View()
	args := t.frameArguments(mem, at.part.pcs, at.part.sps, at.index, at.index == 0 && at.part.trap)
	const most = 4 << 10
	if len(args) < 2 || !args[0].known || !args[1].known || args[1].value > most {
		return "", false
	}
	b, ok := mem.Bytes(args[0].value, args[1].value)
	return string(b), ok && len(b) > 0
}
