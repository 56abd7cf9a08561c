package fold

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// A goroutine that appears has been in its state since the generation began. All sums become as if it had been told of then. When that is
// not the beginning of the trace, because what is before is damaged, the unions and peaks of its site are lower bounds.

// raise raises the peaks of what a goroutine belongs to: it was there all the time, so there was always one more.
func (f *Folder) raise(g *G, s State, stack Stack) {
	f.spawns.rows[g.spawn].peak++
	f.peak++
	f.past[f.slice].live++
	if kind, ok := stateSites[s]; ok {
		row := &f.sites.rows[f.site(kind, 0, stack)]
		row.peak++
	}
}

// backdate has a goroutine that has just begun a stretch have been in it since an earlier moment.
func (f *Folder) backdate(t int64, g *G, from int64) {
	g.since, g.born = from, from
	first := int32(from / f.width)
	f.sum[g.cat] += t - max(from, f.end-f.width)
	for k := first; k < f.slice; k++ {
		f.past[k].ns[g.cat] += float64(f.rest(k, from))
		f.past[k].live++
	}
	row := &f.spawns.rows[g.spawn]
	for int32(len(row.alive)) < f.slice {
		row.alive = append(row.alive, 0)
	}
	for k := first; k < f.slice; k++ {
		row.alive[k]++
	}
	if g.site != 0 {
		f.backdateSite(g.site, t, from)
	}
	if g.cat <= catSystemRun {
		f.tops.noStall(from)
	}
}

func (f *Folder) backdateSite(i uint32, t, from int64) {
	s := &f.sites.rows[i]
	s.acc += t - max(from, f.end-f.width)
	s.first = min(s.first, from)
	row := f.sites.loads[i]
	for int32(len(row)) < f.slice {
		row = append(row, 0)
	}
	for k := int32(from / f.width); k < f.slice; k++ {
		row[k] += float32(f.rest(k, from))
	}
	f.sites.loads[i] = row
	if from == 0 || s.count == 1 { // somebody was there all the time
		s.busy, s.since = 0, from
	}
}

// rest is how much of a slice comes after a moment.
func (c *clock) rest(k int32, from int64) int64 {
	return int64(k+1)*c.width - max(from, int64(k)*c.width)
}

// noStall forgets stalls that were none: somebody was busy since a moment, which is told only now.
func (t *episodeTable) noStall(since int64) {
	rows := &t.rows[evidence.EpisodeStall]
	*rows = slices.DeleteFunc(*rows, func(e episode) bool { return e.start+e.ns > since })
}
