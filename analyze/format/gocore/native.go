package gocore

import "github.com/gopostmortem/postmortem/analyze/format/internal/elfcore"

// canUnwindNative reports whether frames of C can be unwound.
func (w *threadWalk) canUnwindNative() bool { return false }

// nativeFrames walks frames of C until it meets Go code.
func (w *threadWalk) nativeFrames(regs *elfcore.Regs, at start) (start, bool) {
	if m := w.m; m != nil && m.vdsoPC != 0 && m.vdsoSP != 0 && w.u.info(m.vdsoPC).ok {
		return start{pc: m.vdsoPC, sp: m.vdsoSP}, true
	}
	w.broken = "it is in code outside Go"
	return start{}, false
}
