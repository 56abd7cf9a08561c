package derive

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

func TestSideline(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteBlock, "sleep", "time.Sleep:363 main.wait:3 main.work:1", 100, 1e6)
	b.site(evidence.SiteSyscall, "", "syscall.fstatat:1437 os.Stat:13 main.wait:2 main.work:1", 90, 1000)
	b.site(evidence.SiteSyscall, "", "syscall.Flock:453 main.lock:2 main.work:1", 7, 1000)
	b.site(evidence.SiteSyscall, "", "syscall.read:736 "+"os.(*File).Read:144 main.wait:4 main.work:1", 40, 2000)
	b.site(evidence.SiteSyscall, "", writeEnd+"main.wait:5 main.work:1", 3, 2000)
	b.site(evidence.SiteBlock, "chan receive", "runtime.chanrecv2:514 main.work:1", 60, 1000)
	b.line.Sites[len(b.line.Sites)-1].Unwoken = 10
	b.site(evidence.SiteBlock, "sync", takes+"main.work:1", 9, 1000)
	b.site(evidence.SiteReady, "", "runtime.chansend1:161 main.work:2", 20, 1000)
	b.site(evidence.SiteReady, "", letsGo+"main.work:2", 4, 1000)
	b.site(evidence.SiteSyscall, "", writeEnd+"main.other:5", 1000, 2000)
	b.site(evidence.SiteReady, "", "runtime.chansend1:161 main.other:2", 1000, 1000)
	line := b.done()
	turns := line.Turns()
	at := -1
	for i := range turns {
		if turns[i].Shape == PollSleep {
			at = i
		}
	}
	if at < 0 {
		t.Fatalf("turns: %+v", turns)
	}
	want := Sideline{Calls: 3, Looks: 97, Reads: 40, LookNS: 97*1000 + 40*2000, Wakes: 24, Handed: 20, Woken: 50}
	if got := line.Sideline(&turns[at]); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestSidelineOfNobody(t *testing.T) {
	b := newTimed()
	b.site(evidence.SiteSyscall, "", writeEnd+"main.other:5", 1000, 2000)
	if got := b.done().Sideline(&Turns{}); got != (Sideline{}) {
		t.Errorf("%+v", got)
	}
}
