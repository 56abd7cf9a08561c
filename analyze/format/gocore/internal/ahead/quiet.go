package ahead

// quietSteps bounds the way that Quiet looks at: what follows the last call of a function is shorter as a rule.
const quietSteps = 32

// Quiet reports whether the code from pc on, which is the beginning of code, leaves its function in a straight line: without a
// call, a branch or an atomic change. Read finds nothing there, and steps is how many instructions it would follow. It is false
// for what is not that simple.
func Quiet(code []byte, pc uint64, arm64 bool) (steps int, quiet bool) {
	decode := decodeX86
	if arm64 {
		decode = decodeARM
	}
	for steps < quietSteps && len(code) > 0 {
		in, ok := decode(code, pc)
		if !ok || in.call || in.jumps || in.size == 0 || int(in.size) > len(code) {
			return steps, false
		}
		for i := range in.micros {
			if k := in.micros[i].kind; k == microAtomicAdd || k == microSwap {
				return steps, false
			}
		}
		steps++
		if in.ends {
			return steps, true
		}
		code, pc = code[in.size:], pc+uint64(in.size)
	}
	return steps, false
}
