// Package slowdependency names what a process waits for when it does nothing but wait for the network.
//
// A request for a page asks three services, one after the other; a job reads a record, asks a service about it, writes the answer, and
// takes the next. Nothing is wrong with any of it, but the whole is as slow as the sum of the answers, and neither more processors nor
// a faster program would help. A trace shows it: at nearly every moment one goroutine stands at the same call, a few at most, and the
// processors are idle.
//
// The rule names the line, how long the answers take and what share of the time goes there. It does not call that a bug: a trace knows
// neither the peer nor what the answer is worth.
package slowdependency

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is slow-dependency.
var Rule = &diagnosis.Rule{
	Name:  "slow-dependency",
	Class: "slow-dependency",
	Doc: &diagnosis.Doc{
		Title: "Work is done one step at a time behind answers from the network",
		Sees: "In an execution trace: for most of the time one goroutine, or a few, wait at one line for an answer from the network, " +
			"milliseconds at a time, while little else runs. A wait counts when it is on the way of work: inside a call of a client " +
			"(net/http, database/sql, net/rpc, dialling, resolving a name, known drivers), or a read by a goroutine that writes to the " +
			"network by turns and was not started by who accepts connections. The waits of a request to net/http are found where the " +
			"caller stands, though it is another goroutine that reads the connection.",
		Hurts: "The work takes as long as all answers together. Processors stand idle, and a slower peer makes everything slower.",
		Confirm: "`postmortem profile net` and the spans or logs of the peer show whether the answers are slow there or on the way. The " +
			"course of a user task (runtime/trace) shows what the waits belong to.",
		Fix: "Ask for what does not depend on each other at the same time, ask for several things in one request, keep answers that do not " +
			"change, and give every call a deadline. If the answers themselves are slow, this is the peer's matter.",
		Not: "Servers that wait for connections or for the next request of one, readers in the background, subscribers that only receive, " +
			"many goroutines that wait at once (the work is not serial then), a job in the background while others go on at their own pace, " +
			"clients that speak over a pipe in memory, and answers that come within min-wait. A lock that is held during the call is lock-hog.",
		Before: "for _, part := range parts {\n\tanswer, err := client.Get(base + part) // one after the other\n\t// ...\n}",
		After:  "for _, part := range parts {\n\tgroup.Go(func() error { return fetch(ctx, part) }) // all at once, with a deadline\n}",
		Since:  "0.2.0",
	},
	Needs: []evidence.Kinds{evidence.KindTimeline},
	Limits: []diagnosis.Limit{
		{Name: "min-span", Doc: "seconds that a trace must span", Default: 0.1, Origin: "in less, the start of a program is all there is"},
		{Name: "min-busy", Doc: "share of the span in which a goroutine must wait at the line", Default: 0.5, Origin: "half of the time goes there"},
		{Name: "min-waits", Doc: "waits of at least about min-wait that there must be", Default: 8, Origin: "fewer are a single answer that was late, or a client that asks for news"},
		{Name: "min-wait", Doc: "milliseconds of the waits to which half of the waited time belongs", Default: 5,
			Origin: "an answer from the same rack takes under one; the threshold of median waits for locks"},
		{Name: "max-parallel", Doc: "goroutines that wait at the line at once, on average over the time in which any does", Default: 3,
			Origin: "more of them are work that is done side by side"},
		{Name: "max-others", Doc: "wakes elsewhere by timers or the network for each long wait", Default: 10,
			Origin: "a request to a server in the same process made five; goroutines that work at a pace of their own made eighty"},
		{Name: "max-running", Doc: "processors that goroutines may keep busy on average", Default: 0.5, Origin: "more, and the process does other things than to wait"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfTimeline},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	t, err := diagnosis.Of(p, derive.OfTimeline)
	if err != nil {
		return err
	}
	if t.Line == nil {
		return nil
	}
	s := &search{p: p, c: p.Case, f: frames, t: t, line: t.Line}
	s.all()
	return nil
}

// search is one run of the rule.
type search struct {
	p    *diagnosis.Pass
	c    *evidence.Case
	f    *derive.Frames
	t    *derive.Timeline
	line *evidence.Timeline

	accepting map[string]bool  // functions that accept connections
	writers   map[int64]uint64 // how often goroutines write to the network
	network   uint64           // time spent waiting for connections, or in C to resolve names
}

// networkShare is the part of the waits for answers in which somebody must wait for a connection: the reader of a client waits as long as
// who asked. Answers over a pipe in memory come from the process itself.
const networkShare = 0.5

func (s *search) all() {
	if float64(s.line.SpanNS) < s.p.Limit("min-span")*1e9 {
		s.p.Silent("the trace spans %s, which is too short", derive.Lasting(s.line.SpanNS))
		return
	}
	s.p.Silent("no line waits for answers from the network for %s of the time", derive.Percent(s.p.Limit("min-busy")))
	if running := s.line.ShareOf(s.line.RunNS); running > s.p.Limit("max-running") {
		s.p.Silent("goroutines kept %.1f processors busy: the process does more than to wait for the network", running)
		return
	}
	s.survey()
	var slow []asking
	for _, a := range s.askings() {
		if s.fires(&a) {
			slow = append(slow, a)
		}
	}
	if len(slow) > 0 {
		s.p.Report(s.finding(slow))
	}
}

// fires holds one line against the limits.
func (s *search) fires(a *asking) bool {
	busy := s.line.ShareOf(a.busy)
	least := s.p.Limit("min-wait") * 1e6
	a.long = a.hist.Total() - a.hist.Below(int64(least))
	switch {
	case busy < s.p.Limit("min-busy"), float64(a.long) < s.p.Limit("min-waits"), float64(derive.Weighty(&a.hist)) < least:
		return false
	case a.parallel() > s.p.Limit("max-parallel"):
		s.p.Silent("%.1f goroutines at once wait for answers from the network at %s: the work is done side by side", a.parallel(), derive.Where(a.at))
		return false
	case float64(s.network) < networkShare*float64(a.total):
		s.p.Silent("the answers at %s do not come over a connection that the process reads meanwhile", derive.Where(a.at))
		return false
	case float64(s.others(a)) > s.p.Limit("max-others")*float64(a.long):
		s.p.Silent("the waits for answers from the network at %s do not keep the rest of the process from working", derive.Where(a.at))
		return false
	case s.underLock(a):
		s.p.Silent("the waits for the network at %s are made with a lock that others wait for: see lock-hog", derive.Where(a.at))
		return false
	}
	return true
}

// underLock reports whether most of the waits are part of holds for which others queue.
func (s *search) underLock(a *asking) bool {
	var held uint64
	for i := range s.t.Locks {
		h := s.t.Holding(&s.t.Locks[i])
		for _, share := range h.Shares {
			if at, ok := s.t.Open(share.Spot); ok && share.State == evidence.ActBlocked && at == a.at {
				held += share.NS
			}
		}
	}
	return 2*held >= a.total
}

func (s *search) finding(slow []asking) diagnosis.Finding {
	a := &slow[0]
	f := diagnosis.Finding{
		Subject:    evidence.SiteRef(a.sites[0]),
		Affected:   a.peak,
		Claim:      s.claim(a),
		Because:    s.because(slow),
		Against:    []diagnosis.Reason{{Text: "a trace does not know the peer, nor whether the answer could have come sooner"}},
		Confidence: diagnosis.Likely,
		Severity:   diagnosis.Info,
		Next:       []string{"postmortem profile net -o net.pb.gz FILE"},
		Settle:     "the logs or spans of the peer, or a packet capture, tell whether the answers are slow there or on the way",
	}
	if !a.client {
		f.Confidence = diagnosis.Possible
		f.Against = append(f.Against, diagnosis.Reason{Text: "that the waits are for answers follows only from the writes of the same goroutine between them"})
	}
	if s.serves() {
		f.Against = append(f.Against, diagnosis.Reason{Text: "the process accepts connections itself: the peer may be a part of it"})
	}
	if len(a.goroutines) == 1 {
		if ref := evidence.GoroutineRef(a.goroutines[0]); s.c.Resolve(ref) {
			f.Subject = ref
		}
	}
	for i := range slow {
		f.Locations = append(f.Locations, diagnosis.Location{Role: diagnosis.RoleWaiter, Frame: slow[i].at, Ref: evidence.SiteRef(slow[i].sites[0])})
	}
	return f
}

func (s *search) claim(a *asking) string {
	who := "a goroutine waits"
	switch {
	case a.parallel() > 1.5:
		who = fmt.Sprintf("%.1f goroutines on average wait", a.parallel())
	case len(a.goroutines) == 1:
		who = fmt.Sprintf("goroutine %d waits", a.goroutines[0])
	}
	text := fmt.Sprintf("%s for answers from the network in %s of the time, %s at a time, while little else runs", who,
		derive.Percent(s.line.ShareOf(a.busy)), derive.Lasting(a.typical()))
	if a.call != "" {
		text += fmt.Sprintf(": %s in %s", a.call, derive.Short(a.at.Function))
	}
	return text
}

func (s *search) because(slow []asking) []diagnosis.Reason {
	var list []diagnosis.Reason
	for i := range slow {
		a := &slow[i]
		text := fmt.Sprintf("%d waits at %s, %d of them long: those lasted %s on average, one in a hundred of all over %s, the longest %s; somebody waited there in %s of %s",
			a.count, derive.Where(a.at), a.long, derive.Lasting(a.typical()), derive.Typical(&a.hist, 0.99, a.max), derive.Lasting(int64(a.max)),
			derive.Percent(s.line.ShareOf(a.busy)), derive.Lasting(s.line.SpanNS))
		if spell, ok := derive.Longest(derive.Spells(a.load, spellFloor, s.line.SliceNS, s.line.SpanNS)); ok {
			text += fmt.Sprintf(", the longest stretch %s", spell)
		}
		list = append(list, diagnosis.Reason{Text: text, Refs: []evidence.Ref{evidence.SiteRef(a.sites[0])}})
	}
	a := &slow[0]
	list = append(list, diagnosis.Reason{Refs: []evidence.Ref{{Kind: evidence.RefTimeline}, evidence.SiteRef(a.sites[0])},
		Text: fmt.Sprintf("who waited there ran for %s in all afterwards, until the next wait; all goroutines together ran for %s of %s",
			derive.Lasting(int64(a.run)), derive.Lasting(int64(s.line.RunNS)), derive.Lasting(s.line.SpanNS))})
	return list
}

// spellFloor is the load from which a slice belongs to a stretch of waiting: one goroutine for half of the time.
const spellFloor = 500
