package report

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// scope bounds a drawing.
type scope struct {
	nodes int
	all   bool // everything that somebody waits for, and not only what is worth a place in a report
}

// WaitGraph returns a Document that holds who waits for what in the whole Case, in at most so many nodes: what `postmortem graph` prints.
func WaitGraph(c *evidence.Case, meta Meta, nodes int) *Document {
	m := newMaker(c, meta)
	m.inputs()
	m.doc.Waits = m.graph(scope{nodes: nodes, all: true})
	m.coverage()
	m.proof()
	m.doc.Notes = nil
	m.gaps()
	m.rows()
	m.valid()
	return m.doc
}

// helper is a goroutine that could end the wait for an object: a holder, or one that would wake who waits.
type helper struct {
	goroutine int64
	edge      string // EdgeHeld or EdgeWakes
	text      string // how it was inferred
	rank      int    // 0 is the strongest grade
	strong    bool   // it names this goroutine: neither one of several candidates nor a mere reference
	senders   bool   // it helps those who wait to send
	receivers bool   // it helps everybody else
}

// helpers gives holders and wakers by object. They are looked up when they are asked for: a process may hold as many locks as it has
// connections, and a report draws few of them.
type helpers struct {
	c     *evidence.Case
	holds map[uint64][]int
}

func (m *maker) helpers() *helpers {
	h := &helpers{c: m.c, holds: map[uint64][]int{}}
	for i, hold := range m.c.Holds { // Case.HoldsOf would pass over all of them for each object
		h.holds[hold.Sync] = append(h.holds[hold.Sync], i)
	}
	return h
}

// of lists those of one object: holders first, and of each kind the strongest first.
func (h *helpers) of(addr uint64) []helper {
	var list []helper
	for _, i := range h.holds[addr] {
		list = append(list, h.holder(h.c.Holds[i]))
	}
	for _, i := range h.c.WakersOf(addr) {
		list = append(list, waker(h.c.Wakers[i]))
	}
	slices.SortStableFunc(list, func(a, b helper) int { return cmp.Or(cmp.Compare(a.edge, b.edge), cmp.Compare(a.rank, b.rank)) })
	return list
}

// count is how many an object has.
func (h *helpers) count(addr uint64) int { return len(h.holds[addr]) + len(h.c.WakersOf(addr)) }

func (h *helpers) holder(hold evidence.Hold) helper {
	text := hold.Grade.String()
	s, _ := h.c.Sync(hold.Sync)
	slot := s.Kind == evidence.SyncChannel
	switch {
	case slot:
		text = "a slot, " + text
	case hold.Reader:
		text += ", for reading"
	}
	return helper{hold.Goroutine, EdgeHeld, text, int(uint8(hold.Grade) - 1), surelyHolds(hold), slot, true}
}

func waker(w evidence.Waker) helper {
	receive, unknown := w.Act == evidence.ActReceive, w.Act == evidence.ActUnknown
	return helper{w.Goroutine, EdgeWakes, wakerText(w), int(uint8(w.Grade) - 1), surelyWakes(w), receive || unknown, !receive}
}

// surelyHolds and surelyWakes tell inferences that name one goroutine from one of several candidates and from a mere reference.
func surelyHolds(h evidence.Hold) bool {
	return h.Grade == evidence.HoldPendingUnlock || h.Grade == evidence.HoldUnique
}

func surelyWakes(w evidence.Waker) bool {
	return w.Act != evidence.ActUnknown && (w.Grade == evidence.WakerPending || w.Grade == evidence.WakerAhead)
}

func wakerText(w evidence.Waker) string {
	if w.Act == evidence.ActUnknown {
		return w.Grade.String()
	}
	return w.Act.String() + ", " + w.Grade.String()
}

// contended is an object that may be drawn.
type contended struct {
	addr    uint64
	rows    []uint32 // who waits for it alone
	selects []uint32 // who waits for it in a select
	helpers int
}

// nodes is an upper bound of the nodes it takes: itself, its holders and wakers, its waiters, the rest of the waiters.
func (o contended) nodes() int {
	return 1 + min(o.helpers, 2*maxHelperNodes) + min(len(o.rows)+len(o.selects), maxWaiterNodes+1)
}

// objects lists what is worth drawing: what stands in a circle, then the most waited for. An object that nobody waits for is worth
// drawing only when a finding cites it.
func (m *maker) objects(g *drawing, circles [][]link) []contended {
	cited, inCircle := map[uint64]bool{}, map[uint64]bool{}
	for _, r := range m.cited {
		if r.Kind == evidence.RefSync {
			cited[r.ID] = true
		}
	}
	for _, c := range circles {
		for _, l := range c {
			cited[l.addr], inCircle[l.addr] = true, true
		}
	}
	var list []contended
	for addr := range m.candidates(g, cited) {
		o := contended{addr: addr, rows: m.c.Waiters(addr), selects: g.selecting[addr], helpers: g.helpers.count(addr)}
		if len(o.rows)+len(o.selects) > 0 || cited[addr] {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b contended) int {
		return cmp.Or(first(inCircle[a.addr], inCircle[b.addr]), cmp.Compare(len(b.rows), len(a.rows)),
			cmp.Compare(len(b.selects), len(a.selects)), cmp.Compare(a.addr, b.addr))
	})
	return list
}

// first orders what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// candidates are addresses: cited, held, or of a lock that counts waiters itself. Plain channels, of which a process may have
// one for each of a million goroutines, are looked at only when a finding cites them, or when everything is asked for and
// somebody is known who could wake the waiters or several wait.
func (m *maker) candidates(g *drawing, cited map[uint64]bool) map[uint64]bool {
	addrs := map[uint64]bool{}
	for addr := range cited {
		addrs[addr] = true
	}
	for _, h := range m.c.Holds {
		addrs[h.Sync] = true
		if g, ok := m.c.Goroutines().ByID(h.Goroutine); ok && g.WaitsOn != 0 { // a chain or a cycle goes on there
			addrs[g.WaitsOn] = true
		}
	}
	for s := range m.c.Syncs() {
		if s.Kind == evidence.SyncChannel && s.Where == "" {
			break // the plain channels come last
		}
		if s.Waiters > 0 && (s.Kind == evidence.SyncMutex || s.Kind == evidence.SyncRWMutex) {
			addrs[s.Addr] = true
		}
	}
	if g.scope.all {
		for _, w := range m.c.Wakers {
			addrs[w.Sync] = true
		}
		for x := range m.c.Contended(2) {
			addrs[x.Sync.Addr] = true
		}
	}
	return addrs
}

// selecting lists who waits for an object in a select, for the first selects of the case.
func (m *maker) selecting() map[uint64][]uint32 {
	index, seen := map[uint64][]uint32{}, 0
	for row := range m.rowsOf(func(g evidence.Group) bool { return g.Reason == "select" }) {
		if seen++; seen > maxGrouped {
			break
		}
		for _, w := range m.c.Waits(row) {
			if list := index[w.Sync]; len(list) == 0 || list[len(list)-1] != uint32(row) {
				index[w.Sync] = append(list, uint32(row))
			}
		}
	}
	return index
}

// rowsOf yields the rows of the groups that match, in one pass however many groups there are.
func (m *maker) rowsOf(match func(evidence.Group) bool) iter.Seq[int] {
	wanted := make([]bool, m.c.Stacks())
	reasons := map[string]bool{}
	for _, g := range m.c.Groups() {
		if match(g) {
			wanted[g.Stack] = true
			reasons[g.Reason] = true
		}
	}
	return func(yield func(int) bool) {
		if len(reasons) == 0 {
			return
		}
		rows := m.c.Goroutines()
		for i := range rows.Len() {
			if wanted[rows.StackOf(i)] && reasons[rows.At(i).Reason] && !yield(i) {
				return
			}
		}
	}
}

// modeOf is what the goroutine in a row wants of an object.
func (m *maker) modeOf(row int, addr uint64) evidence.WaitMode {
	for _, w := range m.c.Waits(row) {
		if w.Sync == addr {
			return w.Mode
		}
	}
	return evidence.WaitAny
}

// pools draws what has slots and is no channel.
func (g *drawing) pools() {
	uses := map[uint64][]evidence.PoolUse{}
	for _, u := range g.m.c.PoolUses {
		uses[u.Pool] = append(uses[u.Pool], u)
	}
	for _, p := range g.m.c.Pools {
		ref := evidence.Ref{Kind: evidence.RefPool, ID: p.Addr}
		list := uses[p.Addr]
		if len(list) == 0 && p.Waiting <= 0 {
			continue
		}
		if len(g.out.Nodes)+1+min(len(list), 2*maxHelperNodes+1) > g.scope.nodes {
			g.out.Omitted++
			continue
		}
		id := g.node(Node{ID: ref.String(), Kind: "pool", Text: describePool(p), Count: max(p.Waiting, 0), Ref: g.m.cite(ref)})
		var waits, holds int
		for _, u := range list {
			switch {
			case u.Role == evidence.PoolWaits && waits < maxHelperNodes:
				waits++
				g.edge(g.goroutine(u.Goroutine), id, EdgeWaits, "for "+Plural(int(u.Slots), "slot"))
			case u.Role == evidence.PoolHolds && holds < maxHelperNodes:
				holds++
				g.edge(id, g.goroutine(u.Goroutine), EdgeHeld, fmt.Sprintf("%s, %s", Plural(int(u.Slots), "slot"), u.Grade))
			}
		}
		if left := len(list) - waits - holds; left > 0 {
			g.many++
			other := g.node(Node{ID: fmt.Sprintf("waiters:%d", g.many), Kind: "waiters", Text: Plural(left, "goroutine") + " more that wait or hold", Count: left})
			g.edge(other, id, EdgeWaits, "")
		}
	}
}

// alike is a set of goroutines with one stack, each of which waits for an object of its own, or for what never comes.
type alike struct {
	waiting
	kind    evidence.SyncKind
	none    bool // for what never comes
	several bool // in a select
}

// rest draws those about whose objects nothing more is known, one node for all with the same stack: first those that can never wake. A
// report leaves them out.
func (g *drawing) rest() {
	if !g.scope.all {
		return
	}
	sets := g.alikes()
	slices.SortStableFunc(sets, func(a, b alike) int {
		return cmp.Or(first(a.never > 0, b.never > 0), cmp.Compare(b.count, a.count), cmp.Compare(a.stack, b.stack))
	})
	for i, a := range sets {
		if len(g.out.Nodes)+2 > g.scope.nodes {
			g.out.Omitted += len(sets) - i
			return
		}
		row := g.m.c.Goroutines().At(int(a.first))
		switch {
		case a.none:
			g.set(g.node(Node{ID: "nothing", Kind: "nothing", Text: "what never comes: a nil channel, a select without cases"}), a.waiting)
		case a.several:
			g.many++
			g.set(g.node(Node{ID: fmt.Sprintf("objects:%d", g.many), Kind: a.kind.String(), Text: "what their selects listen to", Count: a.count}), a.waiting)
		case a.count == 1:
			g.set(g.objectNode(row.WaitsOn), a.waiting)
		default:
			g.many++
			g.set(g.node(Node{ID: fmt.Sprintf("objects:%d", g.many), Kind: a.kind.String(), Count: a.count,
				Text: Plural(a.count, nounOf(a.kind)) + ", one for each"}), a.waiting)
		}
	}
}

// nounOf is what an object of a kind is called.
func nounOf(k evidence.SyncKind) string {
	switch k {
	case evidence.SyncUnknown:
		return "object"
	case evidence.SyncWaitGroup:
		return "wait group"
	case evidence.SyncCond:
		return "condition"
	case evidence.SyncNetpoll:
		return "file descriptor"
	case evidence.SyncMutex:
		return "lock" // "mutexs" is no word
	case evidence.SyncRWMutex:
		return "read-write lock"
	}
	return k.String()
}

// forever are the wait reasons of what never comes (runtime/runtime2.go, waitReasonStrings, Go 1.21 to 1.26).
var forever = map[string]bool{"chan receive (nil chan)": true, "chan send (nil chan)": true, "select (no cases)": true}

func (g *drawing) alikes() []alike {
	index, list := map[evidence.StackID]int{}, []alike(nil)
	add := func(row uint32, like alike) {
		w := g.m.c.Goroutines().At(int(row))
		at, ok := index[w.Stack]
		if !ok {
			at = len(list)
			index[w.Stack] = at
			like.waiting = waiting{stack: w.Stack, first: row, text: w.Reason}
			list = append(list, like)
		}
		list[at].add(w)
	}
	for x := range g.m.c.Contended(1) {
		if !g.has(x.Sync.Addr) && len(x.Rows) == 1 {
			add(x.Rows[0], alike{kind: x.Sync.Kind})
		}
	}
	bare := func(group evidence.Group) bool {
		return (forever[group.Reason] || group.Reason == "select") && !group.AnyFlag.Has(evidence.FlagSystem)
	}
	for row := range g.m.rowsOf(bare) {
		if !slices.ContainsFunc(g.m.c.Waits(row), func(w evidence.Wait) bool { return g.has(w.Sync) }) {
			several := g.m.c.Goroutines().At(row).Reason == "select"
			add(uint32(row), alike{kind: evidence.SyncChannel, none: !several, several: several})
		}
	}
	return list
}

// has reports whether an object is drawn.
func (g *drawing) has(addr uint64) bool {
	_, drawn := g.index[evidence.SyncRef(addr).String()]
	return drawn
}
