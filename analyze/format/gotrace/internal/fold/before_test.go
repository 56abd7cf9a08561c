package fold

import "testing"

// TestHoldBehindWaitersFromBefore has goroutines wait for a lock since before the trace: of 2 nothing is known but that it waits, of 3 the
// stack and no reason. Who wakes them tells for what they waited, so that the hold of 2 begins when it runs, and not before.
func TestHoldBehindWaitersFromBefore(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	h.Appear(0, h.g(2), StateBlocked, 0)
	h.Appear(0, h.g(3), StateBlocked, stackLockA)
	h.Unblock(1000, h.g(2), h.g(1), stackUnlockA)
	h.Run(1100, h.g(2))
	h.Unblock(5400, h.g(3), h.g(2), stackUnlockA)
	line, c := h.end(6000)
	rs := releasesOf(&line, c, "main.a")
	if len(rs) != 2 {
		t.Fatalf("releases %+v", line.Releases)
	}
	for _, r := range rs {
		s := line.Sites[r.Site]
		if c.Stack(s.Stack).Len() == 0 {
			wantHold(t, r, 1, 1000)
			continue
		}
		wantHold(t, r, 1, 4300)
		if len(r.Parts) != 1 || r.Parts[0].NS != 4300 {
			t.Errorf("parts %+v", r.Parts)
		}
	}
}

// TestOtherWaitersFromBefore has one that waits since before the trace be woken by a send: that is no hold.
func TestOtherWaitersFromBefore(t *testing.T) {
	h := newHistory(t)
	h.running(1)
	h.Appear(0, h.g(2), StateBlocked, 0)
	h.Unblock(1000, h.g(2), h.g(1), stackSend)
	line, _ := h.end(6000)
	if len(line.Releases) != 1 || line.Releases[0].HoldNS != 0 || line.Releases[0].Holds.Total() != 0 {
		t.Errorf("releases %+v", line.Releases)
	}
}
