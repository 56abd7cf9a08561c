package fold

import (
	"cmp"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// The longest tables of a Timeline. Of the sites of each kind those are kept on which most time was spent, and those that occurred most
// often; then the longest of all, and in any case those that other rows name.
const (
	outSites    = 8192
	outLong     = 512 // of each kind
	outOften    = 256
	outReleases = 3072
	outSpawns   = 2048
	outPairs    = 64
	outKinds    = 512
)

// output turns the tables of a Folder into those of a Timeline.
type output struct {
	f      *Folder
	to     *evidence.Builder
	t      int64
	stacks []evidence.StackID // by Stack, once it was converted
	frames []evidence.FrameID

	siteAt, spawnAt, kindAt []int // rows of the Folder in the Timeline; -1: left out
}

func (o *output) timeline(alive []*G) evidence.Timeline {
	f := o.f
	line := evidence.Timeline{SpanNS: o.t, Lost: f.lost, Procs: f.procs.most, Created: f.created, Ended: f.ended, AtStart: f.start,
		AtEnd: f.live, Peak: f.peak, IdleNS: f.procs.idleNS, Latency: f.latency, GC: f.gc.work, SliceNS: f.width}
	for i := 1; i < len(f.spawns.rows); i++ {
		s := &f.spawns.rows[i]
		if s.system {
			line.SystemNS += uint64(s.run)
			continue
		}
		line.RunNS += uint64(s.run)
		line.ReadyNS += uint64(s.ready)
		line.SyscallNS += uint64(s.sys)
		line.BlockedNS += uint64(s.block)
	}
	for i := range f.slice + 1 {
		line.Slices = append(line.Slices, f.sliceRow(&f.past[i]))
		line.Events += f.past[i].events
	}
	releases, pairs := o.chooseReleases(), o.choosePairs()
	o.sites(&line, releases, pairs)
	o.releases(&line, releases)
	o.pairs(&line, pairs)
	o.spawns(&line)
	o.episodes(&line)
	o.activities(&line)
	o.actors(&line, alive)
	return line
}

// sliceRow is a slice in thousandths of its width.
func (f *Folder) sliceRow(s *sliceSums) evidence.Slice {
	of := func(kinds ...category) uint32 {
		sum := 0.0
		for _, k := range kinds {
			sum += s.ns[k]
		}
		return f.permille(sum)
	}
	return evidence.Slice{RunNS: of(catRun), ReadyNS: of(catReady), SyscallNS: of(catSyscall, catSignal), SyncNS: of(catSync),
		NetNS: of(catNet), ChanNS: of(catChan, catSelect), SleepNS: of(catSleep), GC: of(catGC), Pause: of(catPause), Assist: of(catAssist),
		Created: s.created, Ended: s.ended, Live: uint32(s.live), HeapMB: uint32(min(s.heap>>20, 1<<32-1)),
		Events: uint32(min(s.events, 1<<32-1))}
}

// stack converts a stack.
func (o *output) stack(s Stack) evidence.StackID {
	if int(s) >= len(o.stacks) {
		o.stacks = append(o.stacks, make([]evidence.StackID, int(s)+1-len(o.stacks))...)
	}
	if s == 0 || o.stacks[s] != 0 {
		return o.stacks[s]
	}
	o.frames = o.frames[:0]
	for _, fr := range o.f.stacks.Frames(s) {
		o.frames = append(o.frames, o.frame(fr))
	}
	o.stacks[s] = o.to.Stack(o.frames, evidence.StackNote{})
	return o.stacks[s]
}

func (o *output) frame(fr Frame) evidence.FrameID {
	return o.to.Frame(evidence.Frame{Function: fr.Func, File: fr.File, Line: fr.Line, PC: fr.PC})
}

// picker chooses rows of a table.
type picker struct {
	kept []bool
	n    int
}

func (p *picker) keep(i int) {
	if !p.kept[i] {
		p.kept[i] = true
		p.n++
	}
}

// best keeps the first n of the candidates in an order, without those that are kept already and count with them.
func (p *picker) best(candidates []int, n int, more func(a, b int) int) {
	slices.SortStableFunc(candidates, more)
	for _, i := range candidates[:min(n, len(candidates))] {
		p.keep(i)
	}
}

// rows are the numbers of the rows that are kept.
func (p *picker) rows() []int {
	out := make([]int, 0, p.n)
	for i, kept := range p.kept {
		if kept {
			out = append(out, i)
		}
	}
	return out
}

// count returns from, from+1, ... up to n.
func count(from, n int) []int {
	var out []int
	for i := from; i < n; i++ {
		out = append(out, i)
	}
	return out
}

func (o *output) chooseReleases() []int {
	rows := o.f.rel.rows
	all := count(1, len(rows))
	byWait := func(a, b int) int {
		return cmp.Or(cmp.Compare(rows[b].wait, rows[a].wait), cmp.Compare(rows[b].count, rows[a].count))
	}
	if len(all) > outReleases {
		o.to.Gapf("releases", "of %d places from which goroutines were woken %d are told: the longest waits and holds, and the most frequent",
			len(all), outReleases)
		p := picker{kept: make([]bool, len(rows))}
		p.best(all, outReleases/3, byWait)
		p.best(all, outReleases/3, func(a, b int) int { return cmp.Compare(rows[b].count, rows[a].count) })
		holds := o.f.rel.holds
		p.best(all, outReleases/3, func(a, b int) int { return cmp.Compare(holds[rows[b].hold].ns, holds[rows[a].hold].ns) })
		all = p.rows()
	}
	slices.SortStableFunc(all, byWait)
	return all
}

// choosePairs returns the pairs that wake each other: of a goroutine and a waker that it never wakes there is half a row.
func (o *output) choosePairs() []pair {
	var out []pair
	for _, p := range o.f.pairs.rows {
		if p.wakes[0] > 0 && p.wakes[1] > 0 {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, comparePairs)
	return out[:min(len(out), outPairs)]
}

func (o *output) chooseSites(releases []int, pairs []pair) []int {
	rows := o.f.sites.rows
	var all []int
	for i := 1; i < len(rows); i++ {
		if rows[i].count > 0 {
			all = append(all, i)
		}
	}
	byTotal := func(a, b int) int {
		return cmp.Or(cmp.Compare(rows[b].total, rows[a].total), cmp.Compare(rows[b].count, rows[a].count),
			cmp.Compare(rows[a].kind(), rows[b].kind()))
	}
	byCount := func(a, b int) int { return cmp.Compare(rows[b].count, rows[a].count) }
	if len(all) > outSites {
		p := picker{kept: make([]bool, len(rows))}
		for _, n := range releases {
			p.keep(int(o.f.rel.rows[n].site))
		}
		for _, pair := range pairs {
			p.keep(int(pair.site[0]))
			p.keep(int(pair.site[1]))
		}
		for kind := evidence.SiteBlock; kind <= evidence.SiteAssist; kind++ {
			of := slices.DeleteFunc(slices.Clone(all), func(i int) bool { return rows[i].kind() != kind })
			p.best(of, outLong, byTotal)
			p.best(of, outOften, byCount)
		}
		slices.SortStableFunc(all, byTotal)
		for _, i := range all {
			if p.n >= outSites {
				break
			}
			p.keep(i)
		}
		o.to.Gapf("sites", "of %d places where goroutines waited or were interrupted %d are told: the longest and the most frequent", len(all), p.n)
		all = p.rows()
	}
	slices.SortStableFunc(all, byTotal)
	return all
}

func (o *output) sites(line *evidence.Timeline, releases []int, pairs []pair) {
	f := o.f
	o.siteAt = make([]int, len(f.sites.rows))
	for _, i := range o.chooseSites(releases, pairs) {
		s := &f.sites.rows[i]
		o.siteAt[i] = len(line.Sites)
		row := evidence.Site{Kind: s.kind(), Reason: f.reasons[s.reason()].name, Stack: o.stack(s.stack), Count: s.count, TotalNS: s.total,
			OpenNS: s.openNS, Fresh: s.fresh, FreshNS: s.freshNS, MaxNS: uint64(s.max), Hist: s.hist, BusyNS: s.busy, Peak: int(s.peak), Open: int(s.open), Unwoken: s.unwoken,
			RunNS: uint64(s.run), FirstNS: s.first, LastNS: s.last, Top: s.top.list()}
		if s.kind() == evidence.SiteSample {
			row.Load = make([]uint32, len(f.sites.loads[i]))
			for k, v := range f.sites.loads[i] {
				row.Load[k] = uint32(v)
			}
			row.Load = trim(row.Load)
		} else {
			row.Load = f.clock.load(f.sites.loads[i])
		}
		line.Sites = append(line.Sites, row)
	}
}

// list has the most frequent first.
func (s *shares) list() []evidence.Share {
	var out []evidence.Share
	for k, id := range s.id {
		if id != 0 {
			out = append(out, evidence.Share{Goroutine: id, Count: uint64(s.n[k] - s.wrong[k])})
		}
	}
	slices.SortStableFunc(out, func(a, b evidence.Share) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Goroutine, b.Goroutine))
	})
	return out
}

func (o *output) releases(line *evidence.Timeline, chosen []int) {
	for _, n := range chosen {
		r := &o.f.rel.rows[n]
		h := &o.f.rel.holds[r.hold]
		row := evidence.Release{Site: o.siteAt[r.site], Stack: o.stack(r.stack), Count: r.count, WaitNS: r.wait, MaxWait: uint64(r.maxWait),
			HoldNS: h.ns, MaxHold: uint64(h.max), Holds: h.hist, Top: r.top.list()}
		parts := slices.Clone(h.parts[:])
		slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.ns, a.ns) })
		for _, p := range parts[:evidence.MaxParts] {
			if p.count > 0 {
				s := &o.f.sites.rows[p.site]
				row.Parts = append(row.Parts, evidence.HoldPart{State: p.state, Reason: o.reasonAt(p.state, p.site), Stack: o.stack(s.stack),
					NS: p.ns, Count: p.count})
			}
		}
		line.Releases = append(line.Releases, row)
	}
}

// reasonAt is the reason of a stretch; only blocks have one.
func (o *output) reasonAt(state evidence.ActState, site uint32) string {
	if state != evidence.ActBlocked {
		return ""
	}
	return o.f.reasons[o.f.sites.rows[site].reason()].name
}

func (o *output) pairs(line *evidence.Timeline, chosen []pair) {
	for _, p := range chosen {
		line.Pairs = append(line.Pairs, evidence.Pair{A: p.id[0], B: p.id[1], SiteA: o.siteAt[p.site[0]], SiteB: o.siteAt[p.site[1]],
			Count: p.wakes[0] + p.wakes[1], RunNS: uint64(p.run[0] + p.run[1]), FirstNS: p.first, LastNS: p.last})
	}
}

func (o *output) spawns(line *evidence.Timeline) {
	f := o.f
	rows := f.spawns.rows
	var all []int
	for i := 1; i < len(rows); i++ {
		if rows[i].created > 0 || rows[i].before > 0 {
			all = append(all, i)
		}
	}
	slices.SortStableFunc(all, func(a, b int) int {
		x, y := &rows[a], &rows[b]
		return cmp.Or(cmp.Compare(y.created+uint64(y.before), x.created+uint64(x.before)), cmp.Compare(y.run, x.run))
	})
	if len(all) > outSpawns {
		o.to.Gapf("go statements", "of %d places that start goroutines %d are told: those that start most", len(all), outSpawns)
		all = all[:outSpawns]
	}
	o.spawnAt = make([]int, len(rows))
	for i := range o.spawnAt {
		o.spawnAt[i] = -1
	}
	for _, i := range all {
		o.spawnAt[i] = len(line.Spawns)
		line.Spawns = append(line.Spawns, o.spawn(&rows[i]))
	}
}

func (o *output) spawn(s *spawn) evidence.Spawn {
	row := evidence.Spawn{Stack: o.stack(s.at), Start: o.outermost(s.start), Created: s.created, Ended: s.ended, Before: s.before, Live: s.live,
		Peak: s.peak, System: s.system, RunNS: uint64(s.run), ReadyNS: uint64(s.ready), SyscallNS: uint64(s.sys), BlockedNS: uint64(s.block),
		LifeNS: uint64(s.life), LastNS: s.last, Births: trim(s.births), Alive: trim(s.alive)}
	if s.first != never {
		row.FirstNS = s.first
	}
	return row
}

// trim leaves the zeros at the end out.
func trim(row []uint32) []uint32 {
	n := len(row)
	for n > 0 && row[n-1] == 0 {
		n--
	}
	return row[:n:n]
}

// outermost is the first function of a goroutine with this stack.
func (o *output) outermost(s Stack) evidence.FrameID {
	if s == 0 {
		return 0
	}
	frames := o.f.stacks.Frames(s)
	if len(frames) == 0 {
		return 0
	}
	return o.frame(frames[len(frames)-1])
}

func (o *output) episodes(line *evidence.Timeline) {
	for kind, rows := range o.f.tops.rows {
		slices.SortStableFunc(rows, func(a, b episode) int {
			return cmp.Or(cmp.Compare(b.ns, a.ns), cmp.Compare(a.start, b.start))
		})
		for _, e := range rows {
			line.Episodes = append(line.Episodes, evidence.Episode{Kind: evidence.EpisodeKind(kind), What: e.what, StartNS: e.start, NS: e.ns,
				Goroutine: e.goroutine, Stack: o.stack(e.stack)})
		}
	}
}
