// Package pingpong recognises two goroutines that hand tiny items to each other one at a time.
//
// A channel without a buffer is a meeting: one of the two waits until the other comes, takes one item, and goes to sleep again while the
// other makes the next. When an item takes a microsecond to make and to use, most of the time goes into waking each other, and the two
// together are slower than one goroutine would be that does both. A lexer that sends single tokens, a generator that sends numbers, an
// actor that answers each question by a channel are the usual ones.
//
// A trace has each wake and who caused it. What it does not have is the channel: that two goroutines wake each other by channels
// thousands of times a second, at one line each, is how it shows.
package pingpong

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is ping-pong.
var Rule = &diagnosis.Rule{
	Name:  "ping-pong",
	Class: "ping-pong",
	Doc: &diagnosis.Doc{
		Title: "Two goroutines hand tiny items to each other one at a time",
		Sees: "Pairs of goroutines in an execution trace that wake each other through channels tens of thousands of times a second and run " +
			"for a few microseconds in between. The line that sends is named, and the one that receives.",
		Hurts: "A wake and a switch cost some hundred nanoseconds to some microseconds each, more than the work on a tiny item: the two are slower than " +
			"one goroutine would be, and other processors are woken for nothing.",
		Confirm: "Give the channel a buffer of some hundred items, or send slices, and measure again; count the switches with perf stat -e context-switches " +
			"or GODEBUG=schedtrace=1000.",
		Fix: "Hand over more at once: send slices of some hundred items, or give the channel a buffer so that the two run in stretches. Where nothing is " +
			"gained by running side by side, call a function or range over an iterator; where a goroutine only guards state, use a mutex.",
		Not: "A pipeline whose stages work on each item for tens of microseconds is healthy, however often they meet; so is a buffered channel whose two " +
			"sides rarely wait. Benchmarks repeat on purpose and stay silent.",
		Before: "tokens := make(chan token)\ngo lex(text, tokens)\nfor t := range tokens {\n\tparse(t)\n}",
		After:  "for t := range lex(text) { // an iter.Seq[token]: no goroutine, no channel\n\tparse(t)\n}",
		Since:  "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindTimeline},
	Limits: []diagnosis.Limit{
		{Name: "trace-span", Doc: "seconds that a trace, and the exchange, must last", Default: 0.1, Origin: "in less, the start of a program is all there is"},
		{Name: "wakes", Doc: "wakes a second of one by the other, both ways, between two lines", Default: 20000,
			Origin: "separated ill textbook programs from healthy ones; measured: hand-overs of an integer make 1,600,000 a second"},
		{Name: "share", Doc: "share of all wakes through channels that must be between the two lines", Default: 0.3,
			Origin: "separated ill textbook programs from healthy ones"},
		{Name: "run-ns", Doc: "nanoseconds that both may run for each wake on average", Default: 5000,
			Origin: "measured: 0.3 to 0.5 us without a buffer, 8 to 11 us with one of 256; a wake and a switch cost 0.3 to 5 us"},
		{Name: "window", Doc: "share of the span for which pairs must meet at the two lines, one after the other or side by side", Default: 0.5,
			Origin: "who meets for half of the time does so by design; tests do it for a moment"},
	},
	Uses: []diagnosis.Dependency{derive.OfTimeline},
	Run:  run,
}

// meeting is all pairs of goroutines that wake each other at the same two lines.
type meeting struct {
	a, b  end
	pairs []int
	count uint64
	most  uint64 // of one pair
	run   uint64 // of the pairs
	met   int64  // sum of the times from the first wake of a pair to its last
	first int64
	last  int64
	bench bool
}

// end is one side.
type end struct {
	frame     evidence.Frame
	site      int
	reason    string
	goroutine int64
	known     bool
}

func run(p *diagnosis.Pass) error {
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	if float64(t.Line.SpanNS) < p.Limit("trace-span")*1e9 {
		p.Silent("the trace spans %s, which is too short", derive.Lasting(t.Line.SpanNS))
		return nil
	}
	p.Silent("no two goroutines wake each other through channels %g times a second", p.Limit("wakes"))
	total := channelWakes(t.Line)
	for _, m := range meetings(t) {
		judge(p, t, &m, total)
	}
	return nil
}

// byChannel are the reasons of waits at channels.
var byChannel = map[string]bool{"chan send": true, "chan receive": true, "select": true}

// channelWakes is how many waits at channels a goroutine has ended.
func channelWakes(line *evidence.Timeline) uint64 {
	var n uint64
	for i := range line.Sites {
		if s := &line.Sites[i]; s.Kind == evidence.SiteBlock && byChannel[s.Reason] {
			ended := s.Hist.Total()
			n += ended - min(ended, s.Unwoken)
		}
	}
	return n
}

// meetings groups the pairs by their lines, the most wakes first.
func meetings(t *derive.Timeline) []meeting {
	type key struct {
		a, b string
		x, y int
	}
	var list []meeting
	index := map[key]int{}
	for i := range t.Line.Pairs {
		p := &t.Line.Pairs[i]
		a, b := endAt(t, p.SiteA, p.A), endAt(t, p.SiteB, p.B)
		if !byChannel[a.reason] || !byChannel[b.reason] || !a.known || !b.known {
			continue // the library has its own reasons: net/http hands each request to the goroutines of its connection
		}
		if swap(a, b) {
			a, b = b, a
		}
		k := key{a.frame.Function, b.frame.Function, a.frame.Line, b.frame.Line}
		n, ok := index[k]
		if !ok {
			n = len(list)
			index[k] = n
			list = append(list, meeting{a: a, b: b, first: p.FirstNS, last: p.LastNS})
		}
		m := &list[n]
		m.pairs = append(m.pairs, i)
		m.count, m.run, m.most = m.count+p.Count, m.run+p.RunNS, max(m.most, p.Count)
		m.met += p.LastNS - p.FirstNS
		m.first, m.last = min(m.first, p.FirstNS), max(m.last, p.LastNS)
		m.bench = m.bench || t.UnderBenchmark(t.Line.Sites[p.SiteA].Stack, p.A) || t.UnderBenchmark(t.Line.Sites[p.SiteB].Stack, p.B)
	}
	slices.SortStableFunc(list, func(x, y meeting) int { return cmp.Compare(y.count, x.count) })
	return list
}

func endAt(t *derive.Timeline, site int, goroutine int64) end {
	e := end{site: site, goroutine: goroutine}
	if site < 0 || site >= len(t.Line.Sites) {
		return e
	}
	e.reason = t.Line.Sites[site].Reason
	spot := t.Site(site)
	if f, ok := t.Frame(spot, spot.User); ok {
		e.frame, e.known = f, true
	}
	return e
}

// swap reports whether b is the line to name first: one that sends, else that of the older goroutine.
func swap(a, b end) bool {
	rank := func(e end) int {
		if e.reason == "chan send" {
			return 0
		}
		return 1
	}
	if rank(a) != rank(b) {
		return rank(b) < rank(a)
	}
	return b.goroutine < a.goroutine
}

func judge(p *diagnosis.Pass, t *derive.Timeline, m *meeting, total uint64) {
	window := max(m.last-m.first, 1)
	rate := float64(m.count) / (float64(window) / 1e9)
	if float64(window) < p.Limit("trace-span")*1e9 || rate < p.Limit("wakes") {
		return
	}
	share := float64(m.count) / float64(max(total, m.count))
	each := eachRun(t.Line, m)
	switch {
	case share < p.Limit("share"):
		p.Silent("%s and %s wake each other %s times a second, %s of the wakes through channels", derive.Short(m.a.frame.Function),
			derive.Short(m.b.frame.Function), derive.Amount(rate), derive.Percent(share))
		return
	case each >= p.Limit("run-ns"):
		p.Silent("%s and %s meet %s times a second and work for %s in between", derive.Short(m.a.frame.Function), derive.Short(m.b.frame.Function),
			derive.Amount(rate), derive.Lasting(int64(each)))
		return
	case t.Line.ShareOf(uint64(max(m.met, 0))) < p.Limit("window"):
		p.Silent("%s and %s wake each other %s times a second, for %s only", derive.Short(m.a.frame.Function), derive.Short(m.b.frame.Function),
			derive.Amount(rate), derive.Lasting(m.met))
		return
	case m.bench:
		p.Silent("%s runs in a benchmark, which repeats on purpose", derive.Short(m.a.frame.Function))
		return
	}
	confidence := diagnosis.Likely
	if float64(m.most) < p.Limit("wakes")*float64(window)/1e9 {
		confidence = diagnosis.Possible // each of several does it now and then
	}
	f := finding(p, m, rate, share, each)
	f.Confidence, f.Severity = confidence, diagnosis.Warning
	p.Report(f)
}

// eachRun is how long both ran for each wake: by the two sites, and by the goroutines where they do not tell.
func eachRun(line *evidence.Timeline, m *meeting) float64 {
	a, b := &line.Sites[m.a.site], &line.Sites[m.b.site]
	if run, count := a.RunNS+b.RunNS, a.Count+b.Count; run > 0 && count > 0 {
		return float64(run) / float64(count)
	}
	return float64(m.run) / float64(max(m.count, 1))
}

// maxRefs is how many pairs a reason cites.
const maxRefs = 5

func finding(p *diagnosis.Pass, m *meeting, rate, share, each float64) diagnosis.Finding {
	refs := []evidence.Ref{evidence.SiteRef(m.a.site), evidence.SiteRef(m.b.site)}
	for _, i := range m.pairs[:min(len(m.pairs), maxRefs)] {
		refs = append(refs, evidence.Ref{Kind: evidence.RefPair, ID: uint64(i)})
	}
	var victims []evidence.Ref
	for _, id := range []int64{m.a.goroutine, m.b.goroutine} {
		if ref := evidence.GoroutineRef(id); p.Case.Resolve(ref) {
			victims = append(victims, ref)
		}
	}
	who := fmt.Sprintf("goroutines %d and %d wake each other", m.a.goroutine, m.b.goroutine)
	if len(m.pairs) > 1 {
		who = fmt.Sprintf("%d pairs of goroutines wake each other", len(m.pairs))
	}
	return diagnosis.Finding{
		Subject: refs[0], Victims: victims, Affected: len(m.pairs) + 1,
		Claim: fmt.Sprintf("%s %s times a second through a channel, in %s and %s", who, derive.Amount(rate), derive.Short(m.a.frame.Function),
			derive.Short(m.b.frame.Function)),
		Because: []diagnosis.Reason{
			{Refs: refs, Text: fmt.Sprintf("%d wakes from %s to %s, %s of all wakes through channels", m.count, derive.Lasting(m.first),
				derive.Lasting(m.last), derive.Percent(share))},
			{Refs: refs, Text: fmt.Sprintf("they run for %s between two waits: a wake and a switch cost as much or more", derive.Lasting(int64(each)))},
		},
		Against: []diagnosis.Reason{{Refs: refs, Text: "a trace shows what wakes cost and not what an item is: handing over at once may be what the program is for"}},
		Locations: []diagnosis.Location{{Role: role(m.a), Frame: m.a.frame, Ref: refs[0]},
			{Role: role(m.b), Frame: m.b.frame, Ref: refs[1]}},
		Settle: "a measurement with a buffer of some hundred items, or with slices of items",
	}
}

func role(e end) diagnosis.Role {
	if e.reason == "chan send" {
		return diagnosis.RoleWriter
	}
	return diagnosis.RoleReader
}
