package lockhog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// work is what the holders of a lock spend the holds on.
type work struct {
	known    bool
	hidden   bool // the trace does not tell computing and short system calls apart
	computes bool // on a processor: where, only the place of the release tells
	receives bool // waits for something to come, and asks nobody for it
	ns       uint64
	what     string // "does file I/O in os.(*File).Write"
	at       evidence.Frame
	spot     derive.Spot // of a stop
	release  int
}

// workOf is the work that explains most of the holds: being stopped at the worst line, or computing. Waiting for a processor or for the
// collector is nobody's work.
func (r *traced) workOf(h *derive.Holding) work {
	w := work{release: -1, computes: h.Running > h.Stopped, what: "computes", ns: h.Running}
	for _, s := range h.Shares {
		stopped := s.State == evidence.ActBlocked || s.State == evidence.ActSyscall
		switch {
		case w.computes && s.State != evidence.ActRunning, !w.computes && !stopped, s.Spot.Doing.Activity == derive.ActivityCollector:
			continue
		}
		w.known, w.release = true, s.Release
		if !w.computes {
			w.ns, w.spot, w.what = s.NS, s.Spot, s.Spot.Doing.String()
			w.at, _ = r.t.Open(s.Spot)
			w.receives = r.onlyReceives(h, s.Spot)
		}
		break
	}
	if w.release < 0 {
		w.release = h.Lock.Releases[0]
		w.what = "does what the trace does not tell"
		r.writing(h.Lock, &w)
	}
	if !r.named(w.spot) { // in a trace that was cut names may be missing
		if waker := r.t.Waker(w.release); w.at.Function == "" || r.named(waker) {
			w.at, _ = r.t.Open(r.t.Outward(h.Lock, waker))
		}
	}
	r.hidden(h.Lock, &w)
	return w
}

// named reports whether the user's line of a stack is known.
func (r *traced) named(p derive.Spot) bool {
	at, ok := r.t.Frame(p, p.User)
	return ok && at.Function != ""
}

// hidden corrects work of which nobody can say whether it is computing or short system calls, in traces of old versions. Calls that the
// function makes for most of the holds are the line to open.
func (r *traced) hidden(l *derive.ContendedLock, w *work) {
	if !w.computes || !r.t.CallsHidden() {
		return
	}
	w.what, w.hidden = "computes or is in short system calls", true
	waker := r.t.Waker(w.release)
	from, ok := r.t.Frame(waker, waker.Caller)
	calls := l.Released / 2
	for i := range r.line.Sites {
		s, p := &r.line.Sites[i], r.t.Places[i]
		at, open := r.t.Open(p)
		if ok && open && s.Kind == evidence.SiteSyscall && at.Function == from.Function && s.Count >= calls && p.Doing.Callee != "" {
			calls, w.at = s.Count+1, at
			w.what = "computes or is in " + p.Doing.Callee
		}
	}
}

// writing is what is done under the write lock of a descriptor: the writes. It is the one at which goroutines were longest.
func (r *traced) writing(l *derive.ContendedLock, w *work) {
	if l.Kind != derive.LockFile {
		return
	}
	first := r.t.Places[l.Sites[0]]
	lock, _ := r.t.Frame(first, first.Caller)
	for i := range r.line.Sites {
		s, p := &r.line.Sites[i], r.t.Places[i]
		stops := s.Kind == evidence.SiteSyscall || s.Kind == evidence.SiteBlock && s.Reason == "network"
		if at, ok := r.t.Frame(p, p.Caller); !ok || !stops || at.Function != lock.Function || s.TotalNS <= w.ns {
			continue
		}
		w.ns, w.spot, w.what = s.TotalNS, p, p.Doing.String()
		w.at, _ = r.t.Open(p)
	}
}

// onlyReceives reports whether a place waits for something to come, and no other part of the holds sends anything.
func (r *traced) onlyReceives(h *derive.Holding, p derive.Spot) bool {
	if !receiving(r.c.Stack(p.Stack), p) {
		return false
	}
	sent := slices.ContainsFunc(h.Shares, func(s derive.HoldShare) bool {
		return s.State == evidence.ActSyscall && sends(s.Spot.Syscall) || s.Spot.Doing.Activity == derive.ActivitySend
	})
	return !sent && !r.asks(p)
}

// asks reports whether the function in which a place stands sends to a channel as well, to a goroutine that waits for it: then what it
// receives is an answer.
func (r *traced) asks(p derive.Spot) bool {
	at, ok := r.t.Frame(p, p.Caller)
	if !ok {
		return false
	}
	for i := range r.line.Releases {
		waker := r.t.Waker(i)
		from, okFrom := r.t.Frame(waker, waker.Caller)
		sender, okSender := r.t.Frame(waker, waker.Primitive)
		if okFrom && okSender && from.Function == at.Function && strings.HasPrefix(sender.Function, "runtime.chansend") {
			return true
		}
	}
	return false
}

func receiving(s evidence.Stack, p derive.Spot) bool {
	switch p.Doing.Activity {
	case derive.ActivityReceive, derive.ActivitySelect:
		return true
	case derive.ActivityNetwork:
		_, reads := derive.Has(s, "internal/poll.(*FD).Accept", "internal/poll.(*FD).Read", "internal/poll.(*FD).ReadFrom",
			"internal/poll.(*FD).ReadMsg", "internal/poll.(*FD).ReadFromInet4", "internal/poll.(*FD).ReadFromInet6")
		return reads
	}
	return false
}

// sends reports whether a system call gives something to somebody, for which who receives afterwards waits.
func sends(call string) bool {
	return strings.Contains(call, "write") || strings.Contains(call, "send") || strings.Contains(call, "connect")
}

func (r *traced) claim(l *derive.ContendedLock, v verdict, chain []derive.Holding, w work) string {
	root := chain[len(chain)-1].Lock
	var text string
	switch v {
	case stalled:
		text = fmt.Sprintf("up to %d goroutines wait at once, for as long as %s, for %s", l.Peak, derive.Lasting(int64(l.MaxWait)), lockNames(chain))
	case writers:
		sum := r.writerWaits(l)
		text = fmt.Sprintf("writers wait %s (median of %d waits) for %s", derive.Typical(&sum.hist, 0.5, sum.max), sum.count, lockNames(chain))
	case windowed:
		spell, _ := r.window(l)
		text = fmt.Sprintf("%s of %s, %.1f goroutines on average wait for %s", spell, derive.Lasting(r.line.SpanNS), spell.Mean, lockNames(chain))
	default:
		text = fmt.Sprintf("%.1f goroutines on average wait for %s, in %s of the time", l.Mean(r.line), lockNames(chain),
			derive.Percent(r.line.ShareOf(l.BusyNS)))
	}
	switch {
	case root.HoldNS == 0 && w.ns > 0:
		text += fmt.Sprintf("; with it somebody %s", w.what)
	case root.HoldNS == 0:
		text += "; how long it is held is not known"
	case v == stalled:
		text += fmt.Sprintf("; who holds it keeps it for up to %s and %s", derive.Lasting(int64(root.MaxHold)), w.what)
	case v == brief:
		text += fmt.Sprintf("; who holds it keeps it for %s at a time and %s", r.usually(w), w.what)
	default:
		row := &r.line.Releases[w.release] // others may only touch the lock
		text += fmt.Sprintf("; who holds it keeps it for %s on average and %s", derive.Lasting(int64(row.HoldNS/max(row.Holds.Total(), 1))), w.what)
	}
	if w.at.Function != "" {
		text += fmt.Sprintf(" (%s)", derive.Short(w.at.Function))
	}
	return text
}

// usually is the median hold where the work is done that explains most of the holds. Others may only touch the lock.
func (r *traced) usually(w work) string {
	row := &r.line.Releases[w.release]
	return derive.Typical(&row.Holds, 0.5, row.MaxHold)
}

func (r *traced) because(l *derive.ContendedLock, v verdict, chain []derive.Holding, w work) []diagnosis.Reason {
	root := &chain[len(chain)-1]
	list := []diagnosis.Reason{r.queue(l, v), r.course(l)}
	for i := range chain[:len(chain)-1] {
		h := &chain[i]
		list = append(list, diagnosis.Reason{Refs: releaseRefs(h.Lock), Text: fmt.Sprintf("who holds %s waits for %s for %s of that time",
			h.Lock.Name, h.Next.Name, derive.Percent(ratio(h.NextNS, h.Known)))})
	}
	list = append(list, r.holds(root.Lock, w))
	list = append(list, r.does(root, w)...)
	list = append(list, diagnosis.Reason{Refs: []evidence.Ref{{Kind: evidence.RefTimeline}},
		Text: fmt.Sprintf("the waits for it add up to %s; in the same time goroutines ran for %s and were ready to for %s",
			derive.Lasting(int64(l.WaitNS)), derive.Lasting(int64(r.line.RunNS)), derive.Lasting(int64(r.line.ReadyNS)))})
	return list
}

func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return min(float64(part)/float64(whole), 1)
}

// queue is the figure that fired.
func (r *traced) queue(l *derive.ContendedLock, v verdict) diagnosis.Reason {
	text := fmt.Sprintf("%d waits for %s: half of them lasted over %s, one in a hundred over %s, the longest %s; somebody waited in %s of %s",
		l.Waits, l.Name, derive.Typical(&l.Hist, 0.5, l.MaxWait), derive.Typical(&l.Hist, 0.99, l.MaxWait), derive.Lasting(int64(l.MaxWait)),
		derive.Percent(r.line.ShareOf(l.BusyNS)), derive.Lasting(r.line.SpanNS))
	if sum := r.writerWaits(l); v == writers {
		text += fmt.Sprintf("; a writer waited in %s of it, half of the writers over %s, the longest %s", derive.Percent(r.line.ShareOf(sum.busy)),
			derive.Typical(&sum.hist, 0.5, sum.max), derive.Lasting(int64(sum.max)))
	}
	if l.Open > 0 {
		text += fmt.Sprintf("; %s at the end of the trace", derive.Count(l.Open, "goroutine was waiting", "goroutines were waiting"))
	}
	return diagnosis.Reason{Text: text, Refs: siteRefs(l)}
}

// course is the queue over time.
func (r *traced) course(l *derive.ContendedLock) diagnosis.Reason {
	spells := derive.Spells(l.Load, spellFloor, r.line.SliceNS, r.line.SpanNS)
	longest, ok := derive.Longest(spells)
	if !ok {
		return diagnosis.Reason{Refs: siteRefs(l), Text: fmt.Sprintf("it was waited for between %s and %s, by %s at once",
			derive.Lasting(l.FirstNS), derive.Lasting(l.LastNS), l.Most())}
	}
	text := fmt.Sprintf("the queue stood %s of %s", longest, derive.Lasting(r.line.SpanNS))
	if n := len(spells) - 1; n > 0 {
		text += fmt.Sprintf(", and %s more", derive.Count(n, "time", "times"))
	}
	fullest := longest
	for _, s := range spells {
		if s.Peak > fullest.Peak {
			fullest = s
		}
	}
	text += fmt.Sprintf("; it was fullest at %s, with %.1f goroutines on average over %s; %s waited at once",
		derive.Lasting(fullest.PeakNS), fullest.Peak, derive.Lasting(r.line.SliceNS), l.Most())
	return diagnosis.Reason{Text: text, Refs: siteRefs(l)}
}

// spellFloor is the load from which a slice belongs to a queue: one goroutine for half of the time.
const spellFloor = 500

// apart is by how much the holds at one place must exceed those of all to be told beside them.
const apart = 4

func (r *traced) holds(l *derive.ContendedLock, w work) diagnosis.Reason {
	if l.HoldNS == 0 {
		return diagnosis.Reason{Refs: releaseRefs(l), Text: fmt.Sprintf("it was let go to a waiter %d times; how long it had been held is not in the trace", l.Released)}
	}
	text := fmt.Sprintf("it was let go to a waiter %d times, after holds of at least %s (median), %s (one in a hundred), %s (longest), %s in all",
		l.Released, derive.Typical(&l.Holds, 0.5, l.MaxHold), derive.Typical(&l.Holds, 0.99, l.MaxHold), derive.Lasting(int64(l.MaxHold)), derive.Lasting(int64(l.HoldNS)))
	row := &r.line.Releases[w.release]
	if at, ok := r.t.Open(r.t.Waker(w.release)); ok && row.Holds.Quantile(0.5) >= apart*l.Holds.Quantile(0.5) {
		text += fmt.Sprintf("; %d times of these at %s, after %s (median), %s in all", row.Count, derive.Where(at), r.usually(w), derive.Lasting(int64(row.HoldNS)))
	}
	return diagnosis.Reason{Refs: releaseRefs(l), Text: text}
}

// caught is where goroutines that compute with the lock were seen.
func (r *traced) caught(w work) (evidence.Frame, int, bool) {
	if !w.computes {
		return evidence.Frame{}, -1, false
	}
	at, site, _, ok := r.t.Caught(w.release)
	return at, site, ok
}

// otherWork is the share from which further parts of the holds are told.
const otherWork = 0.1

// does is what the holders did with the lock.
func (r *traced) does(h *derive.Holding, w work) []diagnosis.Reason {
	if !w.known {
		return nil
	}
	refs := []evidence.Ref{evidence.ReleaseRef(w.release)}
	where := derive.Where(w.at)
	text := fmt.Sprintf("who holds it %s for %s of that time, at %s", w.what, derive.Percent(ratio(w.ns, h.Known)), where)
	if w.computes && !w.hidden {
		text = fmt.Sprintf("who holds it computes for %s of that time and lets it go at %s", derive.Percent(ratio(w.ns, h.Known)), where)
	}
	if at, site, ok := r.caught(w); ok {
		refs = append(refs, evidence.SiteRef(site))
		text += fmt.Sprintf("; below that function it was caught computing most often at %s", derive.Where(at))
	}
	if writer, ok := r.t.Writer(w.spot); ok {
		text += fmt.Sprintf("; the logger writes with %s", derive.Short(writer.Function))
	}
	list := []diagnosis.Reason{{Text: text, Refs: refs}}
	if share := ratio(h.Ready, h.Known); share >= otherWork {
		list = append(list, diagnosis.Reason{Refs: refs, Text: fmt.Sprintf("for %s of that time it waits for a processor", derive.Percent(share))})
	}
	for _, s := range h.Shares {
		if share := ratio(s.NS, h.Known); share >= otherWork && (s.State == evidence.ActBlocked || s.State == evidence.ActSyscall) {
			at, ok := r.t.Open(s.Spot)
			if ok && (at != w.at || s.Spot.Doing.String() != w.what) {
				list = append(list, diagnosis.Reason{Refs: []evidence.Ref{evidence.ReleaseRef(s.Release)},
					Text: fmt.Sprintf("for %s of that time it %s, at %s", derive.Percent(share), s.Spot.Doing, derive.Where(at))})
			}
		}
	}
	return list
}

func (r *traced) against(l *derive.ContendedLock, v verdict, root *derive.Holding, w work) []diagnosis.Reason {
	var list []diagnosis.Reason
	say := func(yes bool, text string) {
		if yes {
			list = append(list, diagnosis.Reason{Text: text})
		}
	}
	say(r.idleTurns(l, root, w), "who holds the lock does nothing but wait for something to come, and the others ask for the lock in the same "+
		"function: so stand goroutines that take turns")
	say(l.Kind == derive.LockOnce, "a sync.Once runs its function once: when that ends, the queue is gone for good")
	say(v == brief, fmt.Sprintf("the waits are short: those to which half of the waited time belongs last about %s",
		derive.Lasting(derive.Weighty(&l.Hist))))
	say(l.Several > 1, fmt.Sprintf("the holds add up to more than the time there was, so these are at least %.0f locks that the same lines take", l.Several))
	say(r.byReader(w), "readers hold an RWMutex together, and a trace shows only the last one of them let go")
	say(w.hidden, "traces of this version do not tell how long a short system call took, so it counts as running")
	say(r.line.Lost > 0, fmt.Sprintf("at least %d events of the trace are missing", r.line.Lost))
	return list
}

// maxRefs is how many rows of one table a reason names.
const maxRefs = 3

func siteRefs(l *derive.ContendedLock) []evidence.Ref {
	var list []evidence.Ref
	for _, i := range l.Sites[:min(maxRefs, len(l.Sites))] {
		list = append(list, evidence.SiteRef(i))
	}
	return list
}

func releaseRefs(l *derive.ContendedLock) []evidence.Ref {
	var list []evidence.Ref
	for _, i := range l.Releases[:min(maxRefs, len(l.Releases))] {
		list = append(list, evidence.ReleaseRef(i))
	}
	return list
}

// locations are the line on which the holds are spent, where the lock is let go, the middle of a chain, and where it is waited for.
func (r *traced) locations(l *derive.ContendedLock, chain []derive.Holding, w work) []diagnosis.Location {
	var list []diagnosis.Location
	add := func(role diagnosis.Role, at evidence.Frame, ref evidence.Ref) {
		known := slices.ContainsFunc(list, func(x diagnosis.Location) bool {
			return x.Frame.Function == at.Function && x.Frame.Line == at.Line && (x.Role == role || role != diagnosis.RoleWaiter)
		})
		if at.Function != "" && !known {
			list = append(list, diagnosis.Location{Role: role, Frame: at, Ref: ref})
		}
	}
	add(diagnosis.RoleHolder, w.at, evidence.ReleaseRef(w.release))
	if at, site, ok := r.caught(w); ok {
		add(diagnosis.RoleRunner, at, evidence.SiteRef(site))
	}
	if at, ok := r.t.Open(r.t.Waker(w.release)); ok {
		add(diagnosis.RoleLock, at, evidence.ReleaseRef(w.release))
	}
	for i := len(chain) - 2; i >= 0; i-- {
		if at, ok := r.t.Open(chain[i].NextAt); ok {
			add(diagnosis.RoleHolder, at, evidence.ReleaseRef(chain[i].Lock.Releases[0]))
		}
	}
	for n, i := range l.Sites {
		if n == maxWaiterLines {
			break
		}
		if at, ok := r.t.Open(r.t.Outward(l, r.t.Places[i])); ok {
			add(diagnosis.RoleWaiter, at, evidence.SiteRef(i))
		}
	}
	return list
}
