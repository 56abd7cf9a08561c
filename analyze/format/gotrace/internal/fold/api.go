package fold

// Stack is the number of a stack in a Stacks table. Zero is no stack.
type Stack uint32

// Frame is one call of a stack.
type Frame struct {
	Func, File string
	Line       int
	PC         uint64
}

// Stacks gives the frames of a stack, innermost first. A stack whose names are not known (the table of its generation is missing) has no
// frames. The same frames always have the same number.
type Stacks interface {
	Frames(Stack) []Frame
}

// Reason is the number of a reason in a Folder.
type Reason uint16

// State is the state of a goroutine.
type State uint8

// The states. A goroutine that nobody has told of yet is StateUnknown.
const (
	StateUnknown State = iota
	StateReady
	StateRunning
	StateSyscall
	StateBlocked
)
