package gcpressure

import (
	"fmt"
	"math"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// weigh looks for both halves of the disease: no room, and a collector that runs all the time.
func (g *pressure) weigh() {
	g.room()
	g.work()
}

// room looks for what leaves no room.
func (g *pressure) room() {
	h := g.h
	if limit := g.limit(); limit > 0 {
		used := g.used()
		if used >= g.p.Limit("near-limit")*limit {
			g.tight = true
			g.sign(heapRef, "%s are in use, %.0f %% of the memory limit of %s", size(used), 100*used/limit, size(limit))
		}
	}
	if h.Marked > 0 && h.Goal > 0 && float64(h.Goal) <= g.p.Limit("headroom")*float64(h.Marked) {
		g.tight = true
		g.sign(heapRef, "the next collection is due at %s, and %s survived the last one: %.0f %% of room", size(float64(h.Goal)),
			size(float64(h.Marked)), 100*(float64(h.Goal)/float64(h.Marked)-1))
	}
	if h.Percent > 0 && h.Percent <= 100*int64(g.p.Limit("headroom"))-100 {
		g.sign(heapRef, "GOGC is %d", h.Percent)
	}
}

// limit is GOMEMLIMIT in bytes, 0 when there is none.
func (g *pressure) limit() float64 {
	if g.h.Limit == 0 || g.h.Limit >= math.MaxInt64 {
		return 0
	}
	return float64(g.h.Limit)
}

// used is the memory that counts for the limit as far as it is known: the live heap and the stacks, or what the spans hold.
func (g *pressure) used() float64 { return float64(max(g.h.Live, g.h.InUse) + g.h.Stacks) }

// work looks for a collector that runs all the time.
func (g *pressure) work() {
	h := g.h
	points := 0
	seconds := float64(g.c.Process.UptimeNS) / 1e9
	if h.CPU >= g.p.Limit("processor-share") {
		g.firm = true
		points += 2
		g.sign(heapRef, "the collector has taken %.0f %% of the processor time since the start", 100*h.CPU)
	}
	if own := h.Cycles - min(h.Forced, h.Cycles); seconds > 0 && float64(own)/seconds >= g.p.Limit("cycles-per-second") {
		points += 2
		g.sign(heapRef, "%d collections in %.1f s, about %.0f a second", own, seconds, float64(own)/seconds)
	}
	if float64(g.assists) >= g.p.Limit("min-assists") {
		points += 2
		g.sign(refs(g.c, g.assisting), "%d goroutines help the collector or wait for it", g.assists)
	} else if g.assists > 0 {
		points++
		g.sign(refs(g.c, g.assisting), "%d goroutines help the collector", g.assists)
	}
	if s := g.c.Scheduler; s != nil && s.GCPhase != "" && s.GCPhase != "off" {
		points++
		g.sign([]evidence.Ref{{Kind: evidence.RefScheduler}}, "a collection is in progress (%s)", s.GCPhase)
	}
	g.busy = points >= 2
}

func (g *pressure) silence() string {
	switch {
	case g.busy:
		return "the collector works hard, but there is room between the live heap and its goal or limit"
	case g.tight:
		return "memory is near its limit or goal, but nothing says that the collector runs all the time"
	}
	return "there is room between the live heap and its goal or limit"
}

// maxRefs bounds the rows a finding names.
const maxRefs = 20

func refs(c *evidence.Case, groups []evidence.Group) []evidence.Ref {
	var list []evidence.Ref
	for _, group := range groups[:min(len(groups), maxRefs)] {
		list = append(list, evidence.GoroutineRef(c.Goroutines().ID(group.First)))
	}
	return list
}

func (g *pressure) finding() diagnosis.Finding {
	f := diagnosis.Finding{
		Subject:    heapRef[0],
		Victims:    refs(g.c, g.assisting),
		Affected:   g.assists,
		Claim:      g.claim(),
		Because:    g.signs,
		Locations:  g.locations(),
		Confidence: diagnosis.Possible,
		Severity:   diagnosis.Warning,
		Settle:     "the share of time the collector takes now, and not since the start, is in GODEBUG=gctrace=1 or an execution trace",
		Next:       []string{"run with GODEBUG=gctrace=1 and take a heap profile: go tool pprof http://localhost:6060/debug/pprof/heap"},
	}
	if m := derive.MemoryOf(g.c, g.f); len(m.Reasons) > 0 {
		f.Because = append(f.Because[:len(f.Because):len(f.Because)], m.Reasons...)
	}
	if g.firm || float64(g.assists) >= g.p.Limit("min-assists") {
		f.Confidence = diagnosis.Likely
	}
	if !g.firm {
		f.Against = []diagnosis.Reason{{Text: fmt.Sprintf("the collector has taken %.0f %% of the processor time since the start", 100*g.h.CPU), Refs: heapRef}}
		if g.h.CPU == 0 {
			f.Against[0] = diagnosis.Reason{Text: "how much processor time the collector has taken is not in this evidence"}
		}
	}
	return f
}

func (g *pressure) claim() string {
	text := fmt.Sprintf("the collector runs without pause: %s are alive", size(float64(max(g.h.Live, g.h.Marked))))
	if limit := g.limit(); limit > 0 && g.used() >= g.p.Limit("near-limit")*limit {
		return text + fmt.Sprintf(" under a memory limit of %s, and %d goroutines have to help it", size(limit), g.assists)
	}
	return text + fmt.Sprintf(" and the next collection is due at %s", size(float64(g.h.Goal)))
}

// locations are the lines that allocate: those that were made to help, or else those that were caught allocating. The line that
// keeps the memory is not among them: a heap profile shows that.
func (g *pressure) locations() []diagnosis.Location {
	var list []diagnosis.Location
	for _, groups := range [][]evidence.Group{g.forces, g.assisting, g.allocs} {
		for _, group := range groups {
			s := g.c.Stack(group.Stack)
			if i, ok := g.f.UserFrame(s); ok && len(list) < 5 {
				list = append(list, diagnosis.Location{Role: diagnosis.RoleRunner, Frame: s.At(i),
					Ref: evidence.GoroutineRef(g.c.Goroutines().ID(group.First))})
			}
		}
	}
	return list
}

// size prints bytes for people.
func size(bytes float64) string {
	for _, unit := range []struct {
		bytes float64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= unit.bytes {
			return fmt.Sprintf("%.1f %s", bytes/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%.0f B", bytes)
}
