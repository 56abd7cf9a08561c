package derive

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// ContendedLock is a lock for which goroutines waited in a Timeline.
//
// A trace has no addresses, so which waits are for one lock is inferred. What is known for sure is who ended a wait: a goroutine that
// unlocks at one stack and wakes waiters of several sites holds what all of these wait for. Sites and releases that are linked like this
// are one lock. Links that chance left out are filled in where the same line takes the lock, unless both sides have woken many waiters
// and never one of the other: those are two locks behind one helper, a lock method of a wrapper type for instance.
//
// What no stack can tell apart is many locks that one line takes, one for each connection perhaps. They give themselves away by holds
// that add up to more than the time there was: see Several.
type ContendedLock struct {
	Kind     LockKind
	Name     string // "the mutex of main.(*Ledger)"
	Logger   string // the logger's function when all of the waits are inside one
	Sites    []int  // where it is waited for, the longest waits in all first
	Releases []int  // how waits were ended, the longest holds in all first

	Waits   uint64
	WaitNS  uint64
	MaxWait uint64
	Hist    evidence.Histogram
	Load    []uint32 // by slice, goroutines that waited, in units of 1/1000
	Peak    int      // most goroutines that waited at once, at least
	Open    int      // that waited at the end
	BusyNS  uint64   // time in which somebody waited: known for one site, between bounds for several
	FirstNS int64
	LastNS  int64

	Released uint64 // waits that were ended by who let go
	HoldNS   uint64 // at least, of those
	MaxHold  uint64
	Holds    evidence.Histogram
	Several  float64 // how many locks it must be; 1 when one lock explains the holds
}

// Mean is how many goroutines waited on average over the span.
func (l *ContendedLock) Mean(line *evidence.Timeline) float64 { return line.ShareOf(l.WaitNS) }

// Most is Peak in words: of several sites together nobody has counted more than those of one, or of a slice on average.
func (l *ContendedLock) Most() string {
	if len(l.Sites) > 1 {
		return fmt.Sprintf("at least %s", Count(l.Peak, "goroutine", "goroutines"))
	}
	return fmt.Sprintf("at most %s", Count(l.Peak, "goroutine", "goroutines"))
}

// strangerWakes is how many waiters two groups must have woken without a single one of each other's to be two locks. Two groups of
// equal traffic on one lock would cross in every second wake.
const strangerWakes = 16

// severalHolds is by how much holds may exceed the time there was before they are those of several locks: the time of a hold is known from
// the wake that preceded it, and the woken goroutine may lose the race for the lock.
const severalHolds = 1.3

// lockJoin is a union-find over sites (their index) and releases (behind them).
type lockJoin struct {
	t      *Timeline
	parent []int
	wakes  []uint64 // by root
}

func (j *lockJoin) find(i int) int {
	for j.parent[i] != i {
		j.parent[i] = j.parent[j.parent[i]]
		i = j.parent[i]
	}
	return i
}

func (j *lockJoin) union(a, b int) {
	a, b = j.find(a), j.find(b)
	if a == b {
		return
	}
	a, b = min(a, b), max(a, b)
	j.parent[b] = a
	j.wakes[a] += j.wakes[b]
}

// contended groups sites and releases into locks.
func (t *Timeline) contended() []ContendedLock {
	sites := len(t.Places)
	j := &lockJoin{t: t, parent: make([]int, sites+len(t.wakes)), wakes: make([]uint64, sites+len(t.wakes))}
	for i := range j.parent {
		j.parent[i] = i
	}
	j.byWakes()
	j.byLine()
	index := map[int]int{}
	var list []ContendedLock
	for i := range t.Places {
		if !t.waitsForLock(i) {
			continue
		}
		at, ok := index[j.find(i)]
		if !ok {
			at = len(list)
			index[j.find(i)] = at
			list = append(list, ContendedLock{Kind: t.Places[i].Lock, FirstNS: t.Line.Sites[i].FirstNS, Several: 1})
		}
		list[at].addSite(t, i)
	}
	for i := range t.wakes {
		if at, ok := index[j.find(sites+i)]; ok && t.opens(i) {
			list[at].addRelease(t, i)
		}
	}
	for i := range list {
		list[i].conclude(t)
	}
	slices.SortStableFunc(list, func(a, b ContendedLock) int { return cmp.Compare(b.WaitNS, a.WaitNS) })
	return list
}

func (t *Timeline) waitsForLock(site int) bool {
	p := &t.Places[site]
	return p.Lock != LockNone && !p.Own
}

// opens reports whether a Release is a lock that was let go, to a waiter for a lock. Without names the wake itself is the evidence, and of
// who has waited since before the trace, without a stack, the stack of the waker.
func (t *Timeline) opens(release int) bool {
	site, waker := t.Line.Releases[release].Site, &t.wakes[release]
	if site < 0 || site >= len(t.Places) || waker.Own {
		return false
	}
	if t.nameless(site) {
		return waker.Lock != LockNone
	}
	if !t.waitsForLock(site) {
		return false
	}
	return waker.Lock.family() == t.Places[site].Lock.family() || t.c.Stack(waker.Stack).Len() == 0
}

// nameless reports whether nothing is known of the waits at a site.
func (t *Timeline) nameless(site int) bool {
	s := &t.Line.Sites[site]
	return s.Kind == evidence.SiteBlock && s.Reason == "" && t.c.Stack(s.Stack).Len() == 0
}

// byWakes joins what wakes link: releases of one stack are one node.
func (j *lockJoin) byWakes() {
	sites := len(j.t.Places)
	type node struct {
		stack evidence.StackID
		kind  LockKind
	}
	first := map[node]int{}
	for i := range j.t.wakes {
		if !j.t.opens(i) {
			continue
		}
		r := &j.t.Line.Releases[i]
		j.wakes[j.find(sites+i)] += r.Count
		if !j.t.nameless(r.Site) { // it has the waits for all locks and for whatever else
			j.union(r.Site, sites+i)
		}
		if j.t.c.Stack(r.Stack).Len() == 0 {
			continue // unnamed stacks are not one place
		}
		n := node{r.Stack, j.t.wakes[i].Lock.family()}
		if same, ok := first[n]; ok {
			j.union(same, sites+i)
		} else {
			first[n] = i + sites
		}
	}
}

// lockLine is a line that takes or lets go a lock.
type lockLine struct {
	kind   LockKind
	frame  evidence.FrameID
	unlock bool
}

// byLine joins the groups of one line unless they are strangers to each other.
func (j *lockJoin) byLine() {
	var order []lockLine
	members := map[lockLine][]int{}
	add := func(p *Spot, node int, unlock bool) {
		s := j.t.c.Stack(p.Stack)
		at := p.Caller
		if p.Lock == LockFile {
			at = p.User // the caller is a method of package os, for whatever file
		}
		if at < 0 || at >= s.Len() {
			return
		}
		line := lockLine{p.Lock.family(), s.FrameID(at), unlock}
		if members[line] == nil {
			order = append(order, line)
		}
		members[line] = append(members[line], node)
	}
	for i := range j.t.Places {
		if j.t.waitsForLock(i) {
			add(&j.t.Places[i], i, false)
		}
	}
	for i := range j.t.wakes {
		if j.t.opens(i) {
			add(&j.t.wakes[i], len(j.t.Places)+i, true)
		}
	}
	for _, line := range order {
		if list := members[line]; !j.strangers(list) {
			for _, node := range list[1:] {
				j.union(list[0], node)
			}
		}
	}
}

// strangers reports whether at least two groups of the nodes have woken many waiters each, and so none of each other's. Who queues in the
// mutex inside an RWMutex, and who waits for its readers or writer, never wake each other, so that they are compared apart.
func (j *lockJoin) strangers(nodes []int) bool {
	var seen [2]map[int]bool
	for _, n := range nodes {
		part := 0
		if j.inner(n) {
			part = 1
		}
		if root := j.find(n); j.wakes[root] >= strangerWakes {
			if seen[part] == nil {
				seen[part] = map[int]bool{}
			}
			seen[part][root] = true
		}
	}
	return len(seen[0]) > 1 || len(seen[1]) > 1
}

// inner reports whether a node is about the mutex inside an RWMutex.
func (j *lockJoin) inner(node int) bool {
	var p *Spot
	if n := len(j.t.Places); node < n {
		p = &j.t.Places[node]
	} else {
		p = &j.t.wakes[node-n]
	}
	s := j.t.c.Stack(p.Stack)
	if !p.Lock.Shared() || p.Primitive < 1 || p.Primitive >= s.Len() {
		return false
	}
	name := s.At(p.Primitive - 1).Function
	return name == "sync.(*Mutex).Lock" || name == "sync.(*Mutex).Unlock"
}

func (l *ContendedLock) addSite(t *Timeline, i int) {
	s := &t.Line.Sites[i]
	l.Sites = append(l.Sites, i)
	l.Waits += s.Count
	l.WaitNS += s.TotalNS
	l.MaxWait = max(l.MaxWait, s.MaxNS)
	merge(&l.Hist, &s.Hist)
	l.Peak = max(l.Peak, s.Peak)
	l.Open += s.Open
	l.FirstNS = min(l.FirstNS, s.FirstNS)
	l.LastNS = max(l.LastNS, s.LastNS)
	l.Load = sumLoads(l.Load, s.Load)
}

// peakRounds makes the next number of an average in units of 1/1000, but for what rounding adds to it.
const peakRounds = 950

func merge(into, from *evidence.Histogram) {
	for i, n := range from {
		into[i] += n
	}
}

func sumLoads(a, b []uint32) []uint32 {
	if len(a) < len(b) {
		a = append(a, make([]uint32, len(b)-len(a))...)
	}
	for i, v := range b {
		a[i] += v
	}
	return a
}

func (l *ContendedLock) addRelease(t *Timeline, i int) {
	r := &t.Line.Releases[i]
	l.Releases = append(l.Releases, i)
	l.Released += r.Count
	l.HoldNS += r.HoldNS
	l.MaxHold = max(l.MaxHold, r.MaxHold)
	merge(&l.Holds, &r.Holds)
	if t.nameless(r.Site) { // the waits are known from their ends alone
		l.Waits += r.Count
		l.WaitNS += r.WaitNS
		l.MaxWait = max(l.MaxWait, r.MaxWait)
	}
}

// conclude computes what follows from all rows together.
func (l *ContendedLock) conclude(t *Timeline) {
	line := t.Line
	slices.SortStableFunc(l.Sites, func(a, b int) int { return cmp.Compare(line.Sites[b].TotalNS, line.Sites[a].TotalNS) })
	slices.SortStableFunc(l.Releases, func(a, b int) int { return cmp.Compare(line.Releases[b].HoldNS, line.Releases[a].HoldNS) })
	for _, v := range l.Load {
		l.Peak = max(l.Peak, int((v+peakRounds)/1000)) // an average is no more than the most
	}
	l.BusyNS = l.busy(line)
	first := t.Places[l.Sites[0]]
	l.Kind = first.Lock
	l.Logger = first.Doing.Logger
	for _, i := range l.Sites {
		if t.Places[i].Doing.Logger == "" {
			l.Logger = ""
		}
	}
	l.Several = l.several(t)
	l.Name = "a " + l.Kind.String()
	if at, ok := t.Frame(first, first.Caller); ok {
		l.Name = "the " + l.Kind.String() + " of " + Receiver(at.Function)
	}
	if l.Several > 1 {
		l.Name += fmt.Sprintf(" (at least %.0f of them)", l.Several)
	}
}

// busy is the time in which somebody waited. Of several sites it lies between that of the largest and what the slices allow; the holds
// of the queue, which follow each other, say where.
func (l *ContendedLock) busy(line *evidence.Timeline) uint64 {
	low, sum := uint64(0), uint64(0)
	for _, i := range l.Sites {
		low = max(low, line.Sites[i].BusyNS)
		sum += line.Sites[i].BusyNS
	}
	if len(l.Sites) == 1 {
		return low
	}
	high := min(sum, uint64(max(line.SpanNS, 0)))
	if slots := busySlices(l.Load, line.SliceNS); slots > 0 {
		high = min(high, slots)
	}
	return min(max(low, l.HoldNS), max(high, low))
}

// busySlices is the most time that the slices leave for at least one goroutine to be there.
func busySlices(load []uint32, width int64) uint64 {
	var parts uint64
	for _, v := range load {
		parts += uint64(min(v, 1000))
	}
	return parts * uint64(max(width, 0)) / 1000
}

// several is how many locks it takes for holds that cannot overlap: readers share, writers and owners of a mutex do not.
func (l *ContendedLock) several(t *Timeline) float64 {
	var hold uint64
	for _, i := range l.Releases {
		if t.wakes[i].Lock != LockRead {
			hold += t.Line.Releases[i].HoldNS
		}
	}
	room := float64(max(l.LastNS-l.FirstNS, int64(l.BusyNS), int64(l.MaxHold), 1))
	if n := float64(hold) / room; n > severalHolds {
		return float64(int(n + 0.999))
	}
	return 1
}
