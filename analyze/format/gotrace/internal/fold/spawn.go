package fold

// spawn is a row of Timeline.Spawns while it is filled. Row 0 is nothing.
type spawn struct {
	at     Stack // of the go statement
	start  Stack // a stack whose outermost frame is the first function
	system bool

	created, ended         uint64
	before, live, peak     int
	run, ready, sys, block int64
	life                   int64
	first, last            int64
	births, alive          []uint32
	slice                  int32 // the last one of alive
}

// spawnKey names a place that starts goroutines.
type spawnKey struct {
	at             Stack
	fn             uint32
	before, system bool
}

type spawnTable struct {
	rows  []spawn
	index map[spawnKey]uint32
}

func (t *spawnTable) init() {
	t.rows, t.index = make([]spawn, 1, 64), map[spawnKey]uint32{}
}

// spawn is the row of a go statement and the function that it starts.
func (f *Folder) spawn(at, start Stack, flags gFlags) uint32 {
	t, before, system := &f.spawns, flags&gCreated == 0, flags&gUser == 0
	if int(at) < len(f.info.rows) {
		n := f.info.rows[at].spawn
		if r := &t.rows[n]; n != 0 && r.at == at && r.start == start && r.system == system && !before && at != 0 {
			return n
		}
	}
	key := spawnKey{at, f.stackInfo(start).start, before, system}
	if n, ok := t.index[key]; ok {
		return n
	}
	if len(t.rows) >= maxSpawns && (at != 0 || start != 0) {
		f.refused.spawns++
		return f.spawn(0, 0, flags)
	}
	n := uint32(len(t.rows))
	t.rows = append(t.rows, spawn{at: at, start: start, system: key.system, first: never, slice: f.slice})
	t.index[key] = n
	if f.stackInfo(at); int(at) < len(f.info.rows) {
		f.info.rows[at].spawn = n
	}
	return n
}

// join adds a goroutine to those of a row.
func (t *spawnTable) join(n uint32, slice int32) *spawn {
	s := &t.rows[n]
	s.catchUp(slice)
	s.live++
	s.peak = max(s.peak, s.live)
	return s
}

// catchUp writes how many were alive at the end of the slices before the present one.
func (s *spawn) catchUp(slice int32) {
	if s.live > 0 {
		for int32(len(s.alive)) < s.slice {
			s.alive = append(s.alive, 0)
		}
		for int32(len(s.alive)) < slice {
			s.alive = append(s.alive, uint32(s.live))
		}
	}
	s.slice = slice
}

// widen follows Folder.widen: the present slice had an old number and gets a new one. If it is the second half of the new one, what
// stands there for the first half is not its end.
func (t *spawnTable) widen(old, slice int32) {
	for i := range t.rows {
		s := &t.rows[i]
		s.births = halve(s.births)
		s.catchUp(old)
		for k := range len(s.alive) / 2 {
			s.alive[k] = s.alive[2*k+1]
		}
		s.alive = s.alive[:len(s.alive)/2]
		s.slice = slice
	}
}

// Appear tells of a goroutine that was there before the trace. The stack is its own. A trace tells of a goroutine when something happens
// to it, or at the end of a generation when nothing has: it was in its state since the generation began.
func (f *Folder) Appear(t int64, g *G, s State, stack Stack) {
	t = f.at(t)
	if g.spawn != 0 { // it is known
		f.own(g, stack)
		f.restate(t, g, s)
		return
	}
	f.appear(t, g, s, stack, f.known)
}

// appear has a goroutine be there, in its state since a moment.
func (f *Folder) appear(t int64, g *G, s State, stack Stack, from int64) {
	g.born, g.flags = t, gUser
	if info := f.stackInfo(stack); info.start == 0 {
		g.flags |= gUnnamed
	} else if info.flags&atSystem != 0 {
		g.flags &^= gUser
	}
	g.stack, g.spawn = stack, f.spawn(0, stack, g.flags)
	if from == 0 && t > 0 {
		f.raise(g, s, stack)
	}
	row := f.spawns.join(g.spawn, f.slice)
	row.before++
	f.start++
	f.alive()
	f.begin(g, t, s, stack)
	if from < t && g.state != StateUnknown {
		f.backdate(t, g, from)
	}
}

// Create tells of a go statement. Who executes it is nil when it is not known. The stack start is that of the new goroutine, at is that
// of the statement. Blocked says that it does not run yet (a coroutine).
func (f *Folder) Create(t int64, g *G, by *G, start, at Stack, blocked bool) {
	t = f.at(t)
	if g.spawn != 0 {
		f.restate(t, g, StateReady)
		return
	}
	g.flags = gUser | gCreated
	if f.stackInfo(start).flags&atSystem != 0 {
		g.flags &^= gUser
	}
	if by != nil {
		g.parent = by.ID
	}
	f.bear(t, g, at, start)
	if f.rings.full && g.flags&gUser != 0 {
		h := f.rings.head(f.ring(g))
		h.born = t
		if by != nil {
			h.parent = by.ring
		}
	}
	if blocked {
		f.makeBlocked(g, t, 0, at)
		return
	}
	f.makeReady(g, t, at)
}

// CreateInSyscall tells of a goroutine that came with a thread of C, which calls into Go.
func (f *Folder) CreateInSyscall(t int64, g *G) {
	t = f.at(t)
	if g.spawn != 0 {
		f.restate(t, g, StateSyscall)
		return
	}
	g.flags = gUser | gCreated | gUnnamed | gFromC
	f.bear(t, g, 0, 0)
	f.makeSyscall(g, t, 0)
}

// bear counts a birth.
func (f *Folder) bear(t int64, g *G, at, start Stack) {
	g.born, g.spawn = t, f.spawn(at, start, g.flags)
	row := f.spawns.join(g.spawn, f.slice)
	row.created++
	if row.first == never {
		row.first = t
	}
	row.last = t
	for int32(len(row.births)) <= f.slice {
		row.births = append(row.births, 0)
	}
	row.births[f.slice]++
	f.created++
	f.past[f.slice].created++
	f.alive()
}

// alive counts one more.
func (f *Folder) alive() {
	f.live++
	f.peak = max(f.peak, f.live)
	f.past[f.slice].live = max(f.past[f.slice].live, f.live)
}

// name notes the first function of a goroutine, which is known from now on.
func (f *Folder) name(g *G, stack Stack) {
	info := f.stackInfo(stack)
	if info.start == 0 {
		return
	}
	g.flags &^= gUnnamed
	if info.flags&atSystem != 0 && g.flags&gFromC == 0 {
		g.flags &^= gUser
	}
	f.move(g, f.spawn(0, stack, g.flags))
}

// move moves a goroutine to another row. What is the runtime's own does not count as the user's from its next stretch on.
func (f *Folder) move(g *G, n uint32) {
	if n == g.spawn {
		return
	}
	from := &f.spawns.rows[g.spawn]
	from.catchUp(f.slice)
	from.live--
	to := f.spawns.join(n, f.slice)
	if g.flags&gCreated == 0 {
		from.before--
		to.before++
	} else {
		from.created--
		to.created++
		if to.first == never {
			to.first = g.born
		}
		to.last = max(to.last, g.born)
		to.births = moveBirth(to.births, from.births, int(g.born/f.width))
	}
	g.spawn = n
}

// moveBirth moves one birth from a row to another.
func moveBirth(to, from []uint32, slice int) []uint32 {
	if slice >= len(from) || from[slice] == 0 {
		return to
	}
	from[slice]--
	to = append(to, make([]uint32, max(0, slice+1-len(to)))...)
	to[slice]++
	return to
}

// Exit ends a goroutine.
func (f *Folder) Exit(t int64, g *G) {
	t = f.at(t)
	if g.spawn == 0 {
		return
	}
	f.endAssist(t, g)
	f.endRegions(t, g)
	f.leave(g, t, 0)
	f.settled(g)
	f.ended++
	f.live--
	f.past[f.slice].ended++
	row := f.spawns.retire(g, f.slice)
	row.ended++
	if g.flags&gCreated != 0 {
		row.life += t - g.born
	}
	f.unpair(g)
	f.gone(g, t)
	f.rings.free(g.ring)
	if g.extra != 0 {
		f.extras.free = append(f.extras.free, g.extra)
	}
	*g = G{ID: g.ID}
}

// retire takes a goroutine out of its row.
func (t *spawnTable) retire(g *G, slice int32) *spawn {
	s := &t.rows[g.spawn]
	s.catchUp(slice)
	s.live--
	s.sum(g)
	return s
}

// sum adds the times of a goroutine to its row.
func (s *spawn) sum(g *G) {
	s.run += g.run
	s.ready += g.ready
	s.sys += g.sys
	s.block += g.block
}
