package goroutineexplosion

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// course is one run of the rule over a Timeline.
type course struct {
	p    *diagnosis.Pass
	both *derive.Beside
	c    *evidence.Case
	t    *derive.Timeline
	line *evidence.Timeline
}

// mood is what most goroutines of a go statement do.
type mood uint8

const (
	moodIdle   mood = iota // wait for what comes when it comes: connections, work
	moodQueued             // want something scarce, or a processor
	moodLost               // wait where nobody is woken: a leak, or a pool without work
	moodStuck              // the same, and they are no pool: they have something to hand over, or everybody started some
	moodSleep              // sleep
	moodCount
)

// judge looks at every go statement that has many living goroutines from this time.
func (x *course) judge(growths []derive.Growth) {
	x.p.Silent("no go statement started %g goroutines that are alive at the end", x.p.Limit("min-live"))
	for i := range growths {
		g := &growths[i]
		if float64(g.Live) < x.p.Limit("min-live") {
			break // the list is sorted
		}
		x.look(g)
	}
}

func (x *course) look(g *derive.Growth) {
	ended := float64(g.Ended) / float64(max(g.Created, 1))
	place := nameOf(g.At)
	switch {
	case float64(g.Created) < x.p.Limit("min-live"):
		return
	case ended > x.p.Limit("max-ended"):
		x.p.Silent("%d of %d goroutines started in %s have ended: they come and go", g.Ended, g.Created, place)
		return
	}
	counts, most := x.moods(g)
	known := counts[moodIdle] + counts[moodQueued] + counts[moodLost] + counts[moodStuck] + counts[moodSleep]
	rises := x.t.Rises(g, x.p.Limit("min-rise"))
	crowd := float64(g.Live) >= x.p.Limit("min-goroutines") && 2*(counts[moodQueued]+counts[moodStuck]) > known && !x.batch(g)
	switch {
	case 2*counts[moodIdle] > known:
		x.p.Silent("%d goroutines started in %s are alive, but most of them are idle (connections, workers, subscribers)", g.Live, place)
	case 2*(counts[moodLost]+counts[moodStuck]) > known && (rises || !crowd):
		x.p.Silent("%d goroutines started in %s are alive, and most wait where nobody is woken: that is a leak, if anything", g.Live, place)
	case !rises && !crowd:
		x.p.Silent("%d goroutines started in %s are alive; they were started in one go, or are no longer: a batch", g.Live, place)
	default:
		x.both.Hold(x.finding(g, most, counts, rises))
	}
}

// moods counts what the goroutines do, and returns the stand of most of those that are not idle.
func (x *course) moods(g *derive.Growth) (counts [moodCount]int, most *derive.Stand) {
	best := 0
	for i := range g.Stands {
		s := &g.Stands[i]
		m := x.moodOf(s)
		if m == moodLost && (s.Doing.Activity == derive.ActivitySend || 10*g.Parents.Many >= g.Parents.Looked && g.Parents.Many > 1) {
			m = moodStuck
		}
		counts[m] += s.Count
		if m != moodIdle && s.Count > best {
			best, most = s.Count, s
		}
	}
	return counts, most
}

// moodOf judges the goroutines at one place. Who sends, waits for a lock or a semaphore, a file or a processor is queued, when others get
// through there; who receives or selects is idle as long as anybody is woken there.
func (x *course) moodOf(s *derive.Stand) mood {
	switch s.Doing.Activity {
	case derive.ActivityReady, derive.ActivityCompute:
		if x.sleeps(s) {
			return moodSleep
		}
		return moodQueued
	case derive.ActivityLock, derive.ActivityYield, derive.ActivityFile, derive.ActivityCollector,
		derive.ActivityProcess, derive.ActivityCgo, derive.ActivityResolve:
		return moodQueued
	case derive.ActivitySleep:
		return moodSleep
	case derive.ActivityForever:
		return moodLost
	case derive.ActivitySend, derive.ActivitySemaphore, derive.ActivitySelect, derive.ActivityReceive, derive.ActivityCond, derive.ActivityPipe:
		if s.Forgotten() {
			return moodLost
		}
	default:
		return moodIdle
	}
	_, gate := derive.Has(x.c.Stack(s.Stack), gates...)
	if gate || s.Doing.Activity == derive.ActivitySend || s.Doing.Activity == derive.ActivitySemaphore {
		return moodQueued
	}
	return moodIdle
}

// sleeps reports whether goroutines that were found ready stand where time ends most waits: something has woken them all a moment ago, as the end
// of a context does, and before that they slept.
func (x *course) sleeps(s *derive.Stand) bool {
	if s.Site < 0 {
		return false
	}
	site := &x.line.Sites[s.Site]
	return site.Kind == evidence.SiteBlock && s.Woken() >= uint64(s.Count) && 2*site.Unwoken > s.Woken()
}

// batch reports whether the only goroutine that executed the go statement waits for those it started, or for what they send.
func (x *course) batch(g *derive.Growth) bool {
	parent, ok := x.c.Goroutines().ByID(g.Parents.Only)
	if !ok || g.Parents.Only == 0 {
		return false
	}
	x1 := explosion{p: x.p, c: x.c, f: x.t.Frames()}
	return x1.collects(parent, x.goLine(g))
}

// goLine is the line of the go statement itself, in whoever's code it is.
func (x *course) goLine(g *derive.Growth) evidence.Frame {
	if stack := x.c.Stack(x.line.Spawns[g.Rows[0]].Stack); stack.Len() > 0 {
		return stack.At(0)
	}
	return evidence.Frame{}
}

func (x *course) finding(g *derive.Growth, most *derive.Stand, counts [moodCount]int, rises bool) diagnosis.Finding {
	refs := []evidence.Ref{}
	for _, row := range g.Rows[:min(len(g.Rows), maxSpawns)] {
		refs = append(refs, evidence.SpawnRef(row))
	}
	lasted := x.line.SpanNS - g.FirstNS
	f := diagnosis.Finding{
		Subject: refs[0], Affected: g.Live, Victims: refs[:1],
		Claim: fmt.Sprintf("%d goroutines were started in %s within %s and %d have ended: %d are alive at the end%s", g.Created, nameOf(g.At),
			derive.Lasting(max(g.LastNS-g.FirstNS, 1)), g.Ended, g.Live, standText(most)),
		Because: []diagnosis.Reason{{Refs: refs, Text: fmt.Sprintf("%s about %.0f a second are started and %.0f a second end",
			x.t.Since(g.FirstNS), perSecond(g.Created, lasted), perSecond(g.Ended, lasted))}},
		Confidence: diagnosis.Possible, Severity: diagnosis.Warning,
		Settle: "whether it goes on: a longer trace, or a graph of the number of goroutines",
		Next:   []string{"look at the graph of go_goroutines, or take the goroutine count twice, some seconds apart"},
	}
	if g.At.Function != "" {
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleCreator, Frame: g.At, Ref: refs[0]})
	}
	if rises {
		f.Because = append(f.Because, diagnosis.Reason{Refs: refs, Text: "there were more and more of them until the end of the timeline"})
	} else {
		f.Severity = diagnosis.Info
		f.Against = append(f.Against, diagnosis.Reason{Text: "they were started in one burst: it may be a batch of known size"})
	}
	x.standing(&f, g, most)
	few := float64(g.Ended) <= x.p.Limit("few-ended")*float64(g.Created)
	switch {
	case rises && few && 2*counts[moodQueued] > g.Live && len(f.Explained) == 0:
		f.Confidence = diagnosis.Likely
	case 2*counts[moodSleep] > g.Live:
		f.Severity = diagnosis.Info
		f.Against = append(f.Against, diagnosis.Reason{Text: "most of them sleep: a timer for each connection or session looks the same while their number grows"})
	case !few:
		f.Against = append(f.Against, diagnosis.Reason{Refs: refs, Text: fmt.Sprintf("%s of them have ended: it may be a peak",
			derive.Percent(float64(g.Ended)/float64(g.Created)))})
	}
	if rises && f.Severity > diagnosis.Info && float64(g.Live) >= x.p.Limit("critical-goroutines") {
		f.Severity = diagnosis.Critical
	}
	return f
}

// maxSpawns bounds the rows that a finding names.
const maxSpawns = 4

func perSecond(n uint64, ns int64) float64 { return float64(n) / (float64(max(ns, 1)) / 1e9) }

func standText(most *derive.Stand) string {
	if most == nil {
		return ""
	}
	doing := most.Doing
	doing.Callee = ""
	if doing.OnProcessor() {
		return fmt.Sprintf("; %d of them are ready to run", most.Count)
	}
	return fmt.Sprintf("; %d of them stand at one line: each %s", most.Count, doing)
}

// standing says where most of them are, and how fast they get on there.
func (x *course) standing(f *diagnosis.Finding, g *derive.Growth, most *derive.Stand) {
	if most == nil {
		return
	}
	refs := []evidence.Ref{evidence.GoroutineRef(most.First)}
	stack := x.c.Stack(most.Stack)
	where := ""
	if i, ok := x.t.Frames().UserFrame(stack); ok && stack.At(i).Function != "" {
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: stack.At(i), Ref: refs[0]})
		where = ", " + derive.Where(stack.At(i))
	}
	text := fmt.Sprintf("%d of %d have one stack%s: %s", most.Count, g.Live, where, most.Doing)
	if most.Site >= 0 {
		site := &x.line.Sites[most.Site]
		refs = append(refs, evidence.SiteRef(most.Site))
		text += fmt.Sprintf("; %.0f a second get on from there, the longest wait took %s", perSecond(most.Woken(), x.line.SpanNS-site.FirstNS),
			derive.Lasting(int64(site.MaxNS)))
	}
	f.Because = append(f.Because, diagnosis.Reason{Refs: refs, Text: text})
	x.server(f, most)
	if most.Doing.Activity == derive.ActivityLock {
		f.Against = append(f.Against, diagnosis.Reason{Text: "they wait for a lock: who holds it is the cause, and this its consequence"})
		f.Explained = []string{"lock-hog", "lock-hot"}
	}
}

// server names the line that lets them go on, one after the other.
func (x *course) server(f *diagnosis.Finding, most *derive.Stand) {
	best := -1
	for i := range x.line.Releases {
		r := &x.line.Releases[i]
		if r.Site == most.Site && (best < 0 || r.Count > x.line.Releases[best].Count) {
			best = i
		}
	}
	if best < 0 {
		return
	}
	if at, ok := x.t.Open(x.t.Waker(best)); ok {
		f.Because = append(f.Because, diagnosis.Reason{Refs: []evidence.Ref{evidence.ReleaseRef(best)},
			Text: fmt.Sprintf("who lets them go on: %s, %d times", derive.Where(at), x.line.Releases[best].Count)})
	}
}
