package evidence

// HeapUse is what the heap holds, counted object by object. Present only when the heap was walked.
type HeapUse struct {
	Objects, Bytes         uint64 // allocated, reachable or not
	LiveObjects, LiveBytes uint64 // reachable from roots and from all goroutines, as the next collection would find them; 0 when not marked
	Refused                string // why reachability is not known; empty when it is
	Classes                []HeapClass
	Types                  []HeapType
	Retained               []Retained
	Holders                []Holder // as a tree, a parent before its children
}

// HeapClass is the objects of one allocation class (runtime/sizeclasses.go), by size and whether they hold pointers.
type HeapClass struct {
	Size                   uint64 // of one object; the class of large objects has 0
	NoScan                 bool   // they hold no pointers
	Objects, Bytes         uint64 // allocated
	LiveObjects, LiveBytes uint64
}

// HeapType is the live objects of one type.
type HeapType struct {
	Name           string // "[]uint8", "main.Session"; "" stands for all whose type is not known
	Objects, Bytes uint64
	Trust          Trust // Read: from a type header or a typed pointer; Guessed: from the shape
}

// Retained is what one group of goroutines alone keeps alive: would they end, it would be garbage. A group are the goroutines
// with the same stack and the same go statement.
type Retained struct {
	Stack      StackID
	Created    FrameID
	Goroutines int
	Objects    uint64
	Bytes      uint64     // of the heap
	StackBytes uint64     // of their stacks
	Types      []HeapType // the types of these objects that take most bytes; not all of them
}

// Holder is a place in the tree of what holds what: roots, and below them types. Each reachable object belongs to one place: that of the types
// which stand on a shortest way to it from a root, where variables and the runtime go before stacks. A type that leads to itself (a list, a tree)
// is one place. Small places are left out; what they have is in the sums of those above.
type Holder struct {
	Depth          int      // 0 of a root; the parent is the nearest row above whose depth is less by one
	Kind           StepKind // StepGlobal, StepStack, StepFinalizer or StepRuntime of a root, else StepObject
	Name           string   // of the variable or the type; empty when it is not known
	Stack          StackID  // of StepStack: that of the goroutines; 0 otherwise
	Objects, Bytes uint64   // at this place and below
	Own            uint64   // bytes of the objects at this place alone
	OwnObjects     uint64
}

// HeapUseGap names the Gap of a reader that could not count the heap.
const HeapUseGap = "the heap, object by object"
