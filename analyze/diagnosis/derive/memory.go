package derive

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Shares of the reachable heap.
const (
	// largeShare is the share from which a type, a place or a group of goroutines is worth a sentence: less explains no full heap.
	largeShare = 0.1
	// mainShare is the share of a place that its largest child has to have, for the way to go on through it.
	mainShare = 0.5
	// wasteShare is the share of garbage from which a collection would have helped.
	wasteShare = 0.25
)

// maxMemoryTypes bounds the types in one sentence.
const maxMemoryTypes = 3

// Memory is what a count of the heap says about who holds it. All texts are empty when nobody counted, or when it is not known what is reachable.
type Memory struct {
	Brief   string             // "of 132.3 MiB on its heap 132.0 MiB are []uint8, held by main.thumbnail"
	Reasons []diagnosis.Reason // that cite the count
	Types   bool               // types are known
}

// MemoryOf reads the count of the heap of a Case.
func MemoryOf(c *evidence.Case, frames *Frames) Memory {
	h := c.HeapUse
	if h == nil || h.Objects == 0 {
		return Memory{}
	}
	m := Memory{}
	add := func(refs []evidence.Ref, format string, args ...any) {
		m.Reasons = append(m.Reasons, diagnosis.Reason{Text: fmt.Sprintf(format, args...), Refs: append([]evidence.Ref{heapUseRef}, refs...)})
	}
	if h.LiveBytes == 0 {
		if text := largestClass(h); text != "" {
			add(nil, "%s", text)
		}
		return m
	}
	if types := largeTypes(h.Types, h.LiveBytes); types != "" {
		m.Types = true
		m.Brief = brief(h)
		add(nil, "the objects on the heap were counted: of %s that are reachable %s", Bytes(h.LiveBytes), types)
	}
	if root, steps := mainWay(h); len(steps) > 0 {
		from, refs := rootName(c, frames, root)
		add(refs, "%s leads to %s of it (%s), through %s", from, Bytes(root.Bytes), percent(root.Bytes, h.LiveBytes), strings.Join(steps, " -> "))
	}
	for i := range h.Retained {
		if r := &h.Retained[i]; float64(r.Bytes) >= largeShare*float64(h.LiveBytes) {
			add([]evidence.Ref{evidence.StackRef(r.Stack)}, "%s %s that nobody else does: free if %s ended", keeper(c, frames, r), Bytes(r.Bytes), they(r.Goroutines))
		}
	}
	if waste := h.Bytes - min(h.LiveBytes, h.Bytes); float64(waste) >= wasteShare*float64(h.Bytes) {
		add(nil, "%s more are garbage that was not collected yet", Bytes(waste))
	}
	return m
}

var heapUseRef = evidence.Ref{Kind: evidence.RefHeapUse}

// largeTypes lists the types that take much of the whole.
func largeTypes(types []evidence.HeapType, whole uint64) string {
	var parts []string
	for _, t := range types {
		if float64(t.Bytes) >= largeShare*float64(whole) && t.Name != "" && len(parts) < maxMemoryTypes {
			text := fmt.Sprintf("%s (%s)", Bytes(t.Bytes), percent(t.Bytes, whole))
			if len(parts) == 0 {
				text += verb(t.Objects)
			}
			text += " " + Quote(t.Name)
			if t.Trust == evidence.TrustGuessed {
				text += " (guessed)"
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ", ")
}

func verb(n uint64) string {
	if n == 1 {
		return " is one object of type"
	}
	return fmt.Sprintf(" are %d objects of type", n)
}

// brief is the largest type in half a sentence, with the type that holds it when that is nearly all there is.
func brief(h *evidence.HeapUse) string {
	for _, t := range h.Types {
		if t.Name == "" || float64(t.Bytes) < largeShare*float64(h.LiveBytes) {
			continue
		}
		text := fmt.Sprintf("of %s on its heap %s are %s", Bytes(h.LiveBytes), Bytes(t.Bytes), Quote(t.Name))
		if _, steps := mainWay(h); len(steps) > 1 && steps[len(steps)-1] == Quote(t.Name) {
			text += ", held by " + steps[len(steps)-2]
		}
		return text
	}
	return ""
}

// mainWay follows the largest root down the tree of holders, as long as most goes the same way. There are no steps when no root holds much.
func mainWay(h *evidence.HeapUse) (root evidence.Holder, steps []string) {
	list := h.Holders
	if len(list) == 0 || float64(list[0].Bytes) < largeShare*float64(h.LiveBytes) {
		return root, nil
	}
	root = list[0]
	at := root
	for _, p := range list[1:] {
		if p.Depth != at.Depth+1 || float64(p.Bytes) < mainShare*float64(root.Bytes) {
			break
		}
		at = p
		name := "objects of an unknown type"
		if p.Name != "" {
			name = Quote(p.Name)
		}
		steps = append(steps, name)
	}
	return root, steps
}

// rootName names a root of the tree of holders.
func rootName(c *evidence.Case, frames *Frames, root evidence.Holder) (string, []evidence.Ref) {
	switch root.Kind {
	case evidence.StepGlobal:
		if root.Name == "" {
			return "global variables", nil
		}
		return "the global variable " + Quote(root.Name), nil
	case evidence.StepStack:
		if where := userPlace(c, frames, root.Stack); where != "" {
			return "a local variable of a goroutine in " + where, []evidence.Ref{evidence.StackRef(root.Stack)}
		}
		return "a local variable of a goroutine", []evidence.Ref{evidence.StackRef(root.Stack)}
	case evidence.StepFinalizer:
		return "a finalizer or cleanup", nil
	}
	return "the runtime", nil
}

// userPlace is the user's frame of a stack, for a sentence; "" when there is none.
func userPlace(c *evidence.Case, frames *Frames, id evidence.StackID) string {
	stack := c.Stack(id)
	if i, ok := frames.UserFrame(stack); ok {
		return Where(stack.At(i))
	}
	return ""
}

// keeper names a group of goroutines that keeps something.
func keeper(c *evidence.Case, frames *Frames, r *evidence.Retained) string {
	who := "1 goroutine"
	if r.Goroutines != 1 {
		who = fmt.Sprintf("%d goroutines", r.Goroutines)
	}
	if where := userPlace(c, frames, r.Stack); where != "" {
		who += " in " + where
	}
	if r.Goroutines == 1 {
		return who + " keeps"
	}
	return who + " keep"
}

func they(n int) string {
	if n == 1 {
		return "it"
	}
	return "they"
}

// largestClass says what is known where reachability is not: how large the objects are.
func largestClass(h *evidence.HeapUse) string {
	if len(h.Classes) == 0 || h.Bytes == 0 {
		return ""
	}
	k := h.Classes[0]
	size := "of more than 32 KiB"
	if k.Size != 0 {
		size = "of " + Bytes(k.Size)
	}
	if k.NoScan {
		size += " without pointers"
	}
	return fmt.Sprintf("of %s on the heap %s (%s) are in %d objects %s; their types and what is reachable are not known: %s", Bytes(h.Bytes), Bytes(k.Bytes),
		percent(k.Bytes, h.Bytes), k.Objects, size, h.Refused)
}

// percent is a share for a sentence; what is not all is not called 100 %.
func percent(part, whole uint64) string {
	p := 100 * float64(part) / float64(max(whole, 1))
	if part < whole && p > 99 {
		return "over 99 %"
	}
	return fmt.Sprintf("%.0f %%", p)
}

// Bytes writes an amount of memory for a sentence: "3.2 GiB".
func Bytes(n uint64) string {
	for _, unit := range []struct {
		bytes float64
		name  string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if float64(n) >= unit.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
