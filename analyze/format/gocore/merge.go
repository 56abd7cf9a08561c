package gocore

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

// merge adds the rows of a worker to the Builder.
func (t *target) merge(w *worker) {
	var c evidence.Coverage
	for i := range w.rows {
		r := &w.rows[i]
		c.GoroutinesSeen++
		state := states[r.status]
		if r.id == 0 && state != evidence.StateDead {
			t.broken.add("its structure is not in the core", 0)
			t.unread++
			continue
		}
		if state == evidence.StateDead || state == evidence.StateIdle {
			c.GoroutinesSeen--
			c.GoroutinesDead++
			continue
		}
		s := &w.stacks[r.stack]
		if !s.done {
			s.done = true
			s.flags = stackFlags(w.arena[s.start:s.end], w.u.cache)
			s.id = t.symbols.stack(w.arena[s.start:s.end], s.firstTrap, w.u, s.note)
		}
		if s.note.Broken == "" {
			c.GoroutinesUnwound++
		} else {
			t.broken.add(s.note.Broken, r.id)
		}
		t.goroutines++
		if !s.shown {
			s.shown = true
			t.represent(w, s, r.id)
		}
		r.flags |= s.flags
		t.noteRow(w, r, t.addRow(w, r, state, s.id))
	}
	t.b.Coverage(c)
	t.addObjects(w)
}

// stackFlags are the flags that a stack gives to its goroutines.
func stackFlags(refs []pcRef, c *pcCache) evidence.Flags {
	if !c.callbacks {
		return 0
	}
	for _, ref := range refs {
		if c.infos[ref].role == roleCgoCallback {
			return evidence.FlagCallback
		}
	}
	return 0
}

// represent notes the first goroutine of a stack as the one whose variables stand for all.
func (t *target) represent(w *worker, s *stackRow, goid int64) {
	if t.in.Options.Variables != format.VariablesOfGroups || len(t.representatives) == maxDelveStacks {
		return
	}
	frames := t.symbols.appendFrames(nil, w.arena[s.start:s.end], s.firstTrap, w.u)
	t.representatives = append(t.representatives, subject{goid, frames})
}

func (t *target) addRow(w *worker, r *gRow, state evidence.State, stack evidence.StackID) (row int) {
	g := evidence.Goroutine{
		ID: r.id, State: state, Stack: stack, Parent: r.parent, WaitsOn: r.waitsOn,
		Flags: r.flags, Seconds: t.waited(r.since),
	}
	if r.id != mainGoroutine {
		g.Created = t.createdAt(r.gopc)
	}
	if int(r.reason) < len(t.reasons) && (state == evidence.StateWaiting || state == evidence.StateLeaked) {
		g.Reason = t.reasons[r.reason]
	} else {
		t.noteMoving(w, r)
	}
	if m := t.gOwner[r.g]; m != nil {
		g.Thread = m.tid
		g.Flags |= m.flags
	}
	if t.isSystem(r.startpc) {
		g.Flags |= evidence.FlagSystem
	}
	row = t.b.Goroutine(g)
	if r.labels != 0 {
		t.b.Label(row, t.labels(r.labels))
	}
	return row
}

// mainGoroutine is the id of the one that the start code of the runtime creates; no go statement did (runtime/traceback.go,
// printcreatedby, leaves it out likewise; Go 1.21 to 1.26).
const mainGoroutine = 1

// createdAt keeps the frames of go statements: there are few, and each is asked for once per goroutine.
func (t *target) createdAt(gopc uint64) evidence.FrameID {
	if id, ok := t.sites[gopc]; ok {
		return id
	}
	id := t.symbols.site(gopc)
	t.sites[gopc] = id
	return id
}

// waited turns the time since which a goroutine waits into whole seconds, as far as the evidence knows the time. The
// runtime sets waitsince only when a collection has seen the goroutine parked, so 0 means unknown.
func (t *target) waited(since int64) uint32 {
	const second = 1_000_000_000
	if since <= 0 || t.now <= since {
		return 0
	}
	return uint32(min((t.now-since)/second, 1<<31))
}

// broken counts the goroutines or threads that could not be read whole, by cause, so that a thousand of them are one Gap.
type broken struct {
	causes []string // in the order of their first occurrence
	count  map[string]int
	first  map[string]int64
}

func (b *broken) add(cause string, id int64) {
	if b.count == nil {
		b.count, b.first = map[string]int{}, map[string]int64{}
	}
	if b.count[cause] == 0 {
		b.causes = append(b.causes, cause)
		b.first[cause] = id
	}
	b.count[cause]++
}

// report files the Gaps. The noun is "goroutine" or "thread".
func (b *broken) report(to *evidence.Builder, noun string) {
	for _, cause := range b.causes {
		what := fmt.Sprintf("part of the stacks of %d %ss, the first of them %s %d", b.count[cause], noun, noun, b.first[cause])
		if b.first[cause] == 0 {
			what = fmt.Sprintf("%d %ss", b.count[cause], noun)
		} else if b.count[cause] == 1 {
			what = fmt.Sprintf("part of the stack of %s %d", noun, b.first[cause])
		}
		to.Gap(what, cause)
	}
}
