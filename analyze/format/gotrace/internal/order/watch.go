package order

import "github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/fold"

// Event is an event as Options.Watch sees it: before it has changed anything.
type Event struct {
	Time    int64 // ns of the trace's clock; rises strictly
	Kind    Kind
	M, P, G int64     // thread, P and goroutine on which it happened; -1 for none
	Args    [4]uint64 // as in the format, without the time
	Target  int64     // the goroutine that it is about, where that is another one than G; 0 otherwise
	Old     bool      // of GoStatus: the goroutine was known
	Stack   fold.Stack
	Start   fold.Stack // of GoCreate: the stack of the new goroutine
	Texts   []string   // reason, name, category and message, in the order of the format
}

// none is an M, P or G that there is not.
const none = -1

func number(id uint64) int64 {
	if id == 0 {
		return none
	}
	return int64(id)
}

// tell gives the event its time, and shows it to who watches.
func (m *machine) tell(t *thread, e *event, target uint64) int64 {
	time := m.r.tick(e.time)
	if m.watch != nil {
		m.show(time, t, e, target)
	}
	return time
}

// places are the arguments of a kind of event that are ids of stacks and strings; -1 for none.
type places struct {
	stack, start int8
	texts        []int8
}

var placesOf = map[Kind]places{
	ProcsChange: {1, none, nil}, GoCreate: {2, 1, nil}, GoCreateBlocked: {2, 1, nil}, GoStop: {1, none, []int8{0}}, GoBlock: {1, none, []int8{0}},
	GoUnblock: {2, none, nil}, GoSyscallBegin: {1, none, nil}, STWBegin: {1, none, []int8{0}}, GCBegin: {1, none, nil}, GCSweepBegin: {0, none, nil},
	GCMarkAssistBegin: {0, none, nil}, GoLabel: {none, none, []int8{0}}, UserTaskBegin: {3, none, []int8{2}}, UserTaskEnd: {1, none, nil},
	UserRegionBegin: {2, none, []int8{1}}, UserRegionEnd: {2, none, []int8{1}}, UserLog: {3, none, []int8{1, 2}}, GoStatusStack: {3, none, nil},
}

func (m *machine) show(time int64, t *thread, e *event, target uint64) {
	old := m.event.Old
	m.event = Event{Time: time, Kind: e.kind, M: int64(t.id), P: none, G: none, Target: int64(target), Old: old,
		Args: [4]uint64{e.a0, e.a1, uint64(e.a2), uint64(e.a3)}}
	if e.kind == ProcSteal {
		m.event.Args[0], m.event.Args[2] = uint64(e.a2), e.a0
	}
	if t.p != nil {
		m.event.P = int64(t.p.id)
	}
	if t.g != nil {
		m.event.G = int64(t.g.id)
	}
	where, ok := placesOf[e.kind]
	if ok && where.stack >= 0 {
		m.event.Stack = m.stack(m.event.Args[where.stack])
	}
	if ok && where.start >= 0 {
		m.event.Start = m.stack(m.event.Args[where.start])
	}
	for _, i := range where.texts {
		m.event.Texts = append(m.event.Texts, m.tables.strings.get(m.event.Args[i]))
	}
	m.watch(&m.event)
}

func (m *machine) stack(id uint64) fold.Stack {
	if id == 0 {
		return 0
	}
	if id < uint64(len(m.tables.numbers.dense)) {
		if n := m.tables.numbers.dense[id]; n != 0 {
			return n - 1
		}
	}
	return m.r.stacks.stack(m.tables, id)
}

// reasonOf is the number of a reason by its string.
func (m *machine) reasonOf(id uint64, kind Kind) fold.Reason {
	if n := m.tables.reasons.get(id); n != 0 {
		return n - 1
	}
	name := m.tables.strings.get(id)
	if m.tables.texts == 0 {
		name = usual(id, kind)
	}
	n := m.teller.reason(name)
	m.tables.reasons.set(id, n+1)
	return n
}
