package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// A loop that sleeps a microsecond, or that waits for a timer or a deadline which fires at once, is parked whenever it is looked
// at. What tells it from a healthy sleeper is the timer that will wake it.

// maxAlarms bounds the rows of one part of allgs: many goroutines that poll are one finding.
const maxAlarms = 1 << 10

// alarm notes the timer that will soon wake a waiting goroutine.
func (w *worker) alarm(row *gRow, raw []byte) {
	if len(w.alarms) >= maxAlarms || int(row.reason) >= len(w.t.reasons) {
		return
	}
	switch w.t.reasons[row.reason] {
	case "sleep":
		w.sleepAlarm(row, raw)
	case "IO wait":
		w.deadlineAlarm(row)
	}
}

// sleepAlarm reads when a time.Sleep ends and what it was asked for: its argument, which the compiler keeps in its slot.
func (w *worker) sleepAlarm(row *gRow, raw []byte) {
	when := int64(0)
	o := &w.t.off.G
	switch {
	case o.SleepWhen != absent:
		when = int64(le.Uint64(raw[o.SleepWhen:]))
	case o.Timer != absent:
		timer := le.Uint64(raw[o.Timer:])
		v, _ := w.u.mem.Uint64(timer + w.t.off.Timer.When)
		when = int64(v)
	}
	asked := int64(-1)
	if i := w.walked(w.t.sleepEntry); i >= 0 {
		args := w.t.frameArguments(w.u.mem, w.u.pcs, w.u.sps, i, false)
		if len(args) > 0 && args[0].known && args[0].live {
			asked = int64(args[0].value)
		}
	}
	w.addAlarm(row, evidence.AlarmSleep, when, asked)
}

// deadlineAlarm reads the deadline of the descriptor that a goroutine waits to read or write (runtime/netpoll.go, pollDesc).
func (w *worker) deadlineAlarm(row *gRow) {
	s := &w.stacks[row.stack]
	pdAt, ok := w.t.layout.Offset("internal/poll.FD.pd.runtimeCtx")
	if !ok {
		return
	}
	for _, at := range s.transfers {
		if at.fn.fd >= 0 {
			continue
		}
		args := w.t.frameArguments(w.u.mem, w.u.pcs, w.u.sps, at.index, false)
		if len(args) == 0 || !args[0].known || !args[0].live {
			continue
		}
		desc, _ := w.u.mem.Uint64(args[0].value + pdAt)
		field := w.t.off.PollDesc.ReadDeadline
		if at.fn.write {
			field = w.t.off.PollDesc.WriteDeadline
		}
		when, _ := w.u.mem.Uint64(desc + field)
		w.addAlarm(row, evidence.AlarmDeadline, int64(when), -1)
		return
	}
}

// timerAlarm notes the timer behind a channel that a goroutine waits for. From Go 1.23 a channel names its timer; before, the
// timers of each P name their channels.
func (w *worker) timerAlarm(row *gRow, channel uint64) {
	timer := w.t.timers[channel]
	if w.t.off.Chan.Timer != absent {
		timer, _ = w.u.mem.Uint64(channel + w.t.off.Chan.Timer)
	}
	if timer == 0 || len(w.alarms) >= maxAlarms {
		return
	}
	when, _ := w.u.mem.Uint64(timer + w.t.off.Timer.When)
	period, _ := w.u.mem.Uint64(timer + w.t.off.Timer.Period)
	asked := int64(-1)
	if period > 0 {
		asked = int64(period)
	}
	w.addAlarm(row, evidence.AlarmTimer, int64(when), asked)
}

// pendingAlarm is an alarm whose distance is not known yet: how late it is, is known when all goroutines have been read.
type pendingAlarm struct {
	goroutine   int64
	source      evidence.AlarmSource
	when, asked int64
}

// farAlarm is how far a timer may be from the newest time known so far, in ns, to be kept for a second look.
const farAlarm = 100_000_000_000

// addAlarm keeps an alarm that may be near. A deadline of -1 has passed; 0 is none. What was asked for tells the time as well: the
// process lived when it was asked.
func (w *worker) addAlarm(row *gRow, source evidence.AlarmSource, when, asked int64) {
	if when <= 0 {
		return
	}
	if asked > 0 && when > asked {
		w.newest = max(w.newest, when-asked)
	}
	if when-w.t.now < farAlarm {
		w.alarms = append(w.alarms, pendingAlarm{row.id, source, when, asked})
	}
}

// maxAlarmRows bounds the alarms of a core.
const maxAlarmRows = 1 << 16

// keepAlarms takes the alarms of a worker over.
func (t *target) keepAlarms(w *worker) {
	t.saw(w.newest)
	t.alarms = append(t.alarms, w.alarms[:min(len(w.alarms), maxAlarmRows-len(t.alarms))]...)
	w.alarms = w.alarms[:0]
}

// reportAlarms hands over the alarms that are near, now that the newest time in the core is known. A sleep cannot be farther away
// than it was asked to be, however old that time is.
func (t *target) reportAlarms() {
	for _, a := range t.alarms {
		due := a.when - t.now
		if a.asked >= 0 {
			due = min(due, a.asked)
		}
		t.b.Alarm(evidence.Alarm{Goroutine: a.goroutine, Source: a.source, DueNS: due, AskedNS: a.asked, Trust: evidence.TrustRead})
	}
}

// maxTimers bounds the timers that are read of one P.
const maxTimers = 1 << 20

// timerBytes is less than a timer takes (runtime/time.go, Go 1.21 and 1.22): the core bounds how many there are.
const timerBytes = 64

// readTimers finds the channels of timers up to Go 1.22: each P keeps a list of its timers, and the argument of one that feeds a
// channel is that channel (time/sleep.go, sendTime).
func (t *target) readTimers() {
	listAt, ok := t.layout.Offset("runtime.p.timers")
	argAt, known := t.layout.Offset("runtime.timer.arg")
	allp, found := t.vars.addr("runtime.allp")
	if t.off.Chan.Timer != absent || !ok || !known || !found {
		return
	}
	t.timers = map[uint64]uint64{}
	mem := t.core.Mem
	ps, _ := mem.Uint64(allp)
	n, _ := mem.Uint64(allp + 8)
	left := uint64(t.core.Size / timerBytes)
	for i := range min(n, maxProcessors) {
		p, ok := mem.Uint64(ps + 8*i)
		if !ok || p == 0 {
			continue
		}
		list, _ := mem.Uint64(p + listAt)
		count, _ := mem.Uint64(p + listAt + 8)
		count = min(count, maxTimers, left)
		left -= count
		for k := range count {
			timer, ok := mem.Uint64(list + 8*k)
			if !ok {
				break
			}
			if channel, ok := mem.Uint64(timer + argAt + 8); ok && channel != 0 {
				t.timers[channel] = timer
			}
		}
	}
}
