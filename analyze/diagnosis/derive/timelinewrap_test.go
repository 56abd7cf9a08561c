package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestOutwardOfCallback: a function that runs what it is given is left for its caller, once it was seen to do so.
func TestOutwardOfCallback(t *testing.T) {
	for _, tt := range []struct{ name, inside, want string }{
		{"a closure of the caller", "main.(*P).handle.func1:40 main.(*V).With:19 main.(*P).handle:39", "(*P).handle"},
		{"a function of its own", "main.count:40 main.(*V).With:19 main.(*P).handle:39", "(*V).With"},
		{"below a closure of the caller", "main.sum:50 main.(*P).handle.func1:40 main.(*V).With:19 main.(*P).handle:39", "(*P).handle"},
		{"another function with a closure", "main.(*P).handle.func1:40 main.(*V).Each:29 main.(*P).handle:39", "(*V).With"},
	} {
		b := newTimed()
		x := b.site(evidence.SiteBlock, "sync", takes+"main.(*V).With:17 main.(*P).handle:39 main.worker:9", 100, 1e6)
		b.release(x, letsGo+"main.(*V).With:20 main.(*P).handle:39 main.worker:9", 100, 1e5)
		b.site(evidence.SitePreempt, "preempted", tt.inside+" main.worker:9", 5, 1e6)
		tl := b.done()
		at, _ := tl.Open(tl.Outward(&tl.Locks[0], tl.Places[x]))
		if got := Short(at.Function); got != tt.want {
			t.Errorf("%s: the line to open is in %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestOutwardOfPair: the section between two methods of a lock type is in their caller. A type whose methods both take and let go is none.
func TestOutwardOfPair(t *testing.T) {
	for _, tt := range []struct {
		name        string
		lets, other string
		n           int
		want        string
	}{
		{"a pair", "main.(*G).Unlock:12 main.(*J).add:45", "", 100, "(*J).add"},
		{"a pair that was hardly seen", "main.(*G).Unlock:12 main.(*J).add:45", "", 5, "(*G).Lock"},
		{"a method that lets go as well", "main.(*G).Unlock:12 main.(*J).add:45", "main.(*G).Lock:9 main.(*J).add:45", 100, "(*G).Lock"},
		{"another type", "main.(*H).Unlock:12 main.(*J).add:45", "", 100, "(*G).Lock"},
		{"another caller", "main.(*G).Unlock:12 main.(*J).del:45", "", 100, "(*G).Lock"},
	} {
		b := newTimed()
		x := b.site(evidence.SiteBlock, "sync", takes+"main.(*G).Lock:8 main.(*J).add:41 main.worker:9", 100, 1e6)
		b.release(x, letsGo+tt.lets+" main.worker:9", tt.n, 1e5)
		if tt.other != "" {
			b.release(x, letsGo+tt.other+" main.worker:9", 20, 1e5)
		}
		tl := b.done()
		at, _ := tl.Open(tl.Outward(&tl.Locks[0], tl.Places[x]))
		if got := Short(at.Function); got != tt.want {
			t.Errorf("%s: the line to open is in %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestOutwardAtTheEnd: nobody in the program calls a wrapper that a goroutine begins with.
func TestOutwardAtTheEnd(t *testing.T) {
	b := newTimed()
	x := b.site(evidence.SiteBlock, "sync", takes+"main.(*V).With:17", 100, 1e6)
	b.site(evidence.SitePreempt, "preempted", "main.a.func1:3 main.(*V).With:19 main.a:2", 1, 1e6)
	tl := b.done()
	if p := tl.Outward(&tl.Locks[0], tl.Places[x]); p != tl.Places[x] {
		t.Errorf("moved to frame %d", p.User)
	}
}

func TestCaught(t *testing.T) {
	b := newTimed()
	x := b.site(evidence.SiteBlock, "sync", takes+"main.f:1 main.worker:9", 100, 1e6)
	r := b.release(x, letsGo+"main.f:9 main.worker:9", 100, 1e5)
	b.site(evidence.SiteSample, "", takes+"main.f:1 main.worker:9", 50, 0) // spins for it
	b.site(evidence.SiteSample, "", "main.g:1 main.worker:9", 40, 0)       // elsewhere
	want := b.site(evidence.SitePreempt, "preempted", "main.sum:5 main.f:4 main.worker:9", 7, 1e6)
	b.site(evidence.SiteSample, "", "main.f:6 main.worker:9", 3, 0)
	tl := b.done()
	at, site, count, ok := tl.Caught(r)
	if !ok || site != want || count != 7 || at.Function != "main.sum" {
		t.Errorf("caught at %s, site %d, %d times, %t", at.Function, site, count, ok)
	}
	other := newTimed()
	x = other.site(evidence.SiteBlock, "sync", takes+"main.f:1", 100, 1e6)
	r = other.release(x, letsGo+"main.f:9", 100, 1e5)
	if _, site, _, ok := other.done().Caught(r); ok || site != -1 {
		t.Errorf("caught at site %d without a sample", site)
	}
}
