package gocore

import (
	"math"
	"testing"
)

// TestPCCache holds the cache against a map: through its growth, for pcs that share a place, and for the pc 0, which looks like
// an empty slot.
func TestPCCache(t *testing.T) {
	c := newPCCache()
	want := map[uint64]*pcInfo{}
	var order []uint64
	for i := range uint64(5000) {
		pc := i * i << 20 // most of the hash's bits are lost: long runs
		if want[pc] != nil {
			continue
		}
		if c.known(pc) != nil {
			t.Fatalf("%#x is known before it was put", pc)
		}
		e := &pcInfo{pc: pc, ok: i%3 != 0, stop: i%5 == 0, delta: 8 * i}
		if i == 4999 {
			e.role = roleCgoCallback
		}
		if c.callbacks {
			t.Fatal("a callback before there was one")
		}
		want[pc], order = e, append(order, pc)
		c.put(e)
	}
	if !c.callbacks {
		t.Error("the callback was not noticed")
	}
	for i, pc := range order {
		e, s := want[pc], c.get(pc)
		if c.known(pc) != e || s.number() != pcRef(i) || c.infos[i] != e {
			t.Fatalf("%#x: number %d, want %d", pc, s.number(), i)
		}
		if s.plain() != e.plain() || s.plain() && uint64(s.delta) != e.delta {
			t.Errorf("%#x: plain %v, delta %d; want %v, %d", pc, s.plain(), s.delta, e.plain(), e.delta)
		}
	}
	if len(c.marks) != len(order) || len(c.single) != len(order) {
		t.Errorf("%d marks and %d frames for %d pcs", len(c.marks), len(c.single), len(order))
	}
}

// TestPlainPCs names what a walk has to look up beside the slot.
func TestPlainPCs(t *testing.T) {
	negative := int64(-8)
	for name, c := range map[string]struct {
		info pcInfo
		want bool
	}{
		"a function":       {pcInfo{ok: true, delta: 64}, true},
		"the largest":      {pcInfo{ok: true, delta: math.MaxUint32}, true},
		"no function":      {pcInfo{}, false},
		"outermost":        {pcInfo{ok: true, stop: true}, false},
		"a signal handler": {pcInfo{ok: true, role: roleInjected}, false},
		"a giant frame":    {pcInfo{ok: true, delta: math.MaxUint32 + 1}, false},
		"a negative delta": {pcInfo{ok: true, delta: uint64(negative)}, false},
	} {
		if got := c.info.plain(); got != c.want {
			t.Errorf("%s: plain is %v", name, got)
		}
	}
}

// TestStackFlags looks for callbacks only where there is one.
func TestStackFlags(t *testing.T) {
	c := newPCCache()
	c.put(&pcInfo{pc: 1, ok: true})
	c.put(&pcInfo{pc: 2, ok: true})
	if f := stackFlags([]pcRef{0, 1}, c); f != 0 {
		t.Errorf("flags %v without a callback", f)
	}
	c.put(&pcInfo{pc: 3, ok: true, role: roleCgoCallback})
	if f := stackFlags([]pcRef{0, 1}, c); f != 0 {
		t.Errorf("flags %v of a stack beside the callback", f)
	}
	if f := stackFlags([]pcRef{0, 2, 1}, c); f == 0 {
		t.Error("the callback gives no flag")
	}
}

// TestKeepNumbers: the numbers stay beside their pcs when a deep stack is kept by its ends.
func TestKeepNumbers(t *testing.T) {
	u := &unwinder{cache: newPCCache()}
	const frames = 3*keepEnds + 5
	for i := range uint64(frames) {
		u.keep(i, 2*i, pcRef(i))
	}
	u.straighten()
	if len(u.pcs) != 2*keepEnds || u.elided != frames-2*keepEnds {
		t.Fatalf("%d frames, %d left out", len(u.pcs), u.elided)
	}
	for i, pc := range u.pcs {
		want := uint64(i)
		if i >= keepEnds {
			want += uint64(u.elided)
		}
		if pc != want || u.sps[i] != 2*want || u.refs[i] != pcRef(want) {
			t.Fatalf("frame %d is %d, %d, %d; want %d", i, pc, u.sps[i], u.refs[i], want)
		}
	}
}
