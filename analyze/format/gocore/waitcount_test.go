package gocore

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestCheckCounts(t *testing.T) {
	const addr = 0xc000010000
	group := evidence.Sync{Addr: addr, Kind: evidence.SyncWaitGroup, Waiters: 5}
	mutex := evidence.Sync{Addr: addr, Kind: evidence.SyncMutex, Waiters: 5}
	for _, c := range []struct {
		name          string
		sync          evidence.Sync
		found, moving int
		differs       bool
	}{
		{"all found", group, 5, 0, false},
		{"some missing", group, 3, 0, true},
		{"those that move may be they", group, 3, 2, false},
		{"too few move", group, 3, 1, true},
		{"more than it counts", group, 6, 0, true},
		{"mutex", mutex, 5, 0, false},
		{"mutex, one missing", mutex, 4, 0, true},
		{"a channel counts nobody", evidence.Sync{Addr: addr, Kind: evidence.SyncChannel, Waiters: -1}, 3, 0, false},
	} {
		x := &target{moving: c.moving, waiting: map[waitKey]int{
			{addr, evidence.SyncWaitGroup, evidence.WaitZero}: c.found, {addr, evidence.SyncMutex, evidence.WaitLock}: c.found}}
		x.checkCounts(c.sync)
		if differs := len(x.miscounts) > 0; differs != c.differs {
			t.Errorf("%s: differs %t, want %t", c.name, differs, c.differs)
		}
	}
}

func TestPackageOf(t *testing.T) {
	for name, want := range map[string]string{
		"main.(*ledger).lock": "main", "example.com/a.b/store.(*Store).Lock": "example.com/a.b/store", "sync.OnceFunc.func1": "sync",
		"main.lockAll[...]": "main", "example.com/x.get[example.com/y/z.T]": "example.com/x", "memeqbody": "memeqbody",
	} {
		if got := packageOf(name); got != want {
			t.Errorf("packageOf(%q) = %q, want %q", name, got, want)
		}
	}
}

// Two locks in one object at 0x1000: one at 0x1018, one at 0x1020.
func TestAimAt(t *testing.T) {
	l := &contended{addr: 0x1018, lo: 0x1000, hi: 0x1040}
	for _, c := range []struct {
		name    string
		offsets []int64
		words   []uint64
		want    aim
	}{
		{"no pointer into the object", []int64{0x18}, []uint64{0x2000, 0x1040}, aimNowhere},
		{"pointer to the object and the lock's place", []int64{0x18}, []uint64{0x1000}, aimLock},
		{"the sum is in the frame as well", []int64{0x18}, []uint64{0x1018, 0x1000}, aimLock},
		{"the code adds the place of the other lock", []int64{0x20}, []uint64{0x1000}, aimNowhere},
		{"a pointer to the lock itself", nil, []uint64{0x1018}, aimLock},
		{"a pointer to the object, and the code adds nothing", nil, []uint64{0x1000}, aimObject},
		{"only the sum is left: it could be a pointer to the object", []int64{0x18}, []uint64{0x1018}, aimObject},
		{"two pointers, one of which leads elsewhere", []int64{0x18}, []uint64{0x1000, 0x1010}, aimObject},
		{"the sum lies outside", []int64{0x100}, []uint64{0x1000}, aimObject},
	} {
		s := &lockSite{offsets: c.offsets}
		if got := s.aimAt(c.words, l); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
