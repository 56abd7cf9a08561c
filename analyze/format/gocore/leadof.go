package gocore

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/pcln"
)

// lead is where a function leads to.
type lead struct {
	fn       pcln.Func
	code     *ahead.Func // decoded when it is first followed
	class    act         // actNew, actEnds for functions of the runtime
	acts     bool        // it acts on something itself
	indirect bool        // it calls functions that are values
	callees  []uint64    // functions outside the runtime that it calls, by entry
	found    [maxLead + 1]int8
}

const (
	// maxLead is how many calls deep an act may be.
	maxLead = 2
	// maxLeadCode bounds the functions that are followed.
	maxLeadCode = 32 << 10
	// maxLeadSteps bounds the instructions that one worker follows: some tenths of a second.
	maxLeadSteps = 4 << 20
)

// leadOf looks through a function once.
func (w *worker) leadOf(entry uint64) *lead {
	if l, ok := w.ahead.leads[entry]; ok {
		return l
	}
	if w.ahead.leads == nil {
		w.ahead.leads = map[uint64]*lead{}
	}
	l := &lead{}
	w.ahead.leads[entry] = l
	fn, ok := w.t.tab.Find(entry)
	if !ok || fn.Entry != entry {
		return l
	}
	l.fn = fn
	if name := fn.Name(); w.t.isRuntime(fn) {
		l.class = classOf(name)
		return l
	}
	raw, ok := w.u.mem.Bytes(fn.Entry, fn.End-fn.Entry)
	if !ok || len(raw) > maxLeadCode {
		return l
	}
	l.acts = changesAtomically(raw, w.t.arm64)
	l.indirect = callsValues(raw, w.t.arm64)
	eachCall(raw, fn.Entry, w.t.arm64, func(_, _, to uint64) {
		if f, ok := w.t.acts[to]; ok {
			l.acts = l.acts || f.act != actNew
			return
		}
		l.callees = append(l.callees, to)
	})
	return l
}

// classOf says what a function of the runtime means to who calls it.
func classOf(name string) act {
	for _, prefix := range neverReturn {
		if strings.HasPrefix(name, prefix) {
			return actEnds
		}
	}
	if strings.HasPrefix(name, "runtime.mallocgc") {
		return actNew
	}
	return actNone
}

// changesAtomically reports whether code has an atomic addition or swap. On amd64 the bytes are looked at without decoding.
func changesAtomically(code []byte, arm64 bool) bool {
	if arm64 {
		for ; len(code) >= 4; code = code[4:] {
			w := binary.LittleEndian.Uint32(code)
			if w&0x3f20fc00 == 0x38200000 || w&0x3fa07c00 == 0x08a07c00 || w&0x3fe08000 == 0x08000000 { // LDADD, CAS, STXR
				return true
			}
		}
		return false
	}
	for {
		i := bytes.IndexByte(code, 0xf0) // the prefix LOCK
		if i < 0 || i+4 > len(code) {
			return false
		}
		code = code[i+1:]
		at := 0
		if code[0]&0xf0 == 0x40 { // REX
			at = 1
		}
		if code[at] == 0x0f && (code[at+1] == 0xc1 || code[at+1] == 0xb1) { // XADD, CMPXCHG
			return true
		}
	}
}

// callsValues reports whether code may call a function through a register or a word.
func callsValues(code []byte, arm64 bool) bool {
	if arm64 {
		for ; len(code) >= 4; code = code[4:] {
			if binary.LittleEndian.Uint32(code)&0xfffffc1f == 0xd63f0000 { // BLR
				return true
			}
		}
		return false
	}
	for i := 0; i+1 < len(code); i++ {
		if code[i] == 0xff && code[i+1]>>3&7 == 2 { // CALL r/m
			return true
		}
	}
	return false
}

// leads reports whether a function, or one that it calls, so many calls deep, acts on something.
func (w *worker) leads(l *lead, depth int) bool {
	if l.acts || depth == 0 {
		return l.acts
	}
	if l.found[depth] == 0 {
		l.found[depth] = -1
		for _, to := range l.callees {
			if w.leads(w.leadOf(to), depth-1) {
				l.found[depth] = 1
				break
			}
		}
	}
	return l.found[depth] > 0
}

// follows gives the code of a function when it is worth following.
func (w *worker) follows(entry uint64, depth int) *ahead.Func {
	l := w.leadOf(entry)
	if !w.leads(l, depth) {
		return nil
	}
	return w.codeOf(l)
}

func (w *worker) codeOf(l *lead) *ahead.Func {
	if l.code == nil {
		raw, ok := w.u.mem.Bytes(l.fn.Entry, l.fn.End-l.fn.Entry)
		if !ok || len(raw) > maxLeadCode {
			return nil
		}
		l.code = ahead.NewFunc(l.fn.Entry, raw, w.t.arm64)
	}
	return l.code
}
