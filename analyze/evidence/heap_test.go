package evidence

import (
	"reflect"
	"strings"
	"testing"
)

func countedHeap(stack StackID, created FrameID) HeapUse {
	return HeapUse{Objects: 9, Bytes: 900, LiveObjects: 8, LiveBytes: 800, Refused: "not at all",
		Classes:  []HeapClass{{Size: 48, NoScan: true, Objects: 7, Bytes: 336, LiveObjects: 6, LiveBytes: 288}, {Objects: 1, Bytes: 40_960}},
		Types:    []HeapType{{Name: "map[string]int", Objects: 5, Bytes: 500, Trust: TrustRead}, {Objects: 3, Bytes: 300, Trust: TrustGuessed}},
		Retained: []Retained{{Stack: stack, Created: created, Goroutines: 3, Objects: 2, Bytes: 96, StackBytes: 6144, Types: []HeapType{{Name: "[]uint8", Objects: 2, Bytes: 96}}}, {Stack: stack, Goroutines: 1}},
		Holders: []Holder{{Kind: StepGlobal, Name: "main.store", Objects: 5, Bytes: 500}, {Depth: 1, Kind: StepObject, Name: "main.T", Objects: 5, Bytes: 500, Own: 40, OwnObjects: 1},
			{Depth: 2, Name: "main.U", Objects: 4, Bytes: 460}, {Kind: StepStack, Stack: stack, Objects: 3, Bytes: 300}}}
}

// TestHeapUseRoundTrip writes a count of the heap with every field and reads it again.
func TestHeapUseRoundTrip(t *testing.T) {
	b := NewBuilder()
	frame := b.Frame(Frame{Function: "main.work", File: "w.go", Line: 3})
	b.HeapUse(countedHeap(b.Stack([]FrameID{frame}, StackNote{}), frame))
	c := b.Finish()
	again, err := fromText(textOf(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.HeapUse, again.HeapUse) {
		t.Errorf("read again it is\n%+v, want\n%+v", again.HeapUse, c.HeapUse)
	}
	if !again.Kinds().Has(KindHeapUse) || !again.Resolve(Ref{Kind: RefHeapUse}) {
		t.Error("the count is there and cannot be cited")
	}
}

func TestHeapUseErrors(t *testing.T) {
	const head = "case 1\nframe id=1 function=main.f\nstack id=1 frames=1\n"
	for name, test := range map[string]struct{ text, want string }{
		"class alone":            {"heapclass size=0x10", "heapuse"},
		"holder alone":           {"holder kind=global", "heapuse"},
		"type of nobody":         {"heapuse\nretainedtype name=x", "retained"},
		"unknown stack":          {"heapuse\nretained stack=7", "stack 7 has no record"},
		"unknown stack, holder":  {"heapuse\nholder kind=stack stack=7", "stack 7 has no record"},
		"a child without parent": {"heapuse\nholder depth=1 name=x", "one deeper"},
		"two at a step":          {"heapuse\nholder kind=global\nholder depth=2 name=x", "one deeper"},
		"negative":               {"heapuse\nholder depth=-1 name=x", "one deeper"},
	} {
		if _, err := fromText(head + test.text + "\n"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, test.want)
		}
	}
	if _, err := fromText(head + "heapuse\nholder kind=global\nholder depth=1\nholder depth=2\nholder depth=1\nholder kind=runtime\n"); err != nil {
		t.Errorf("a sound tree: %v", err)
	}
}
