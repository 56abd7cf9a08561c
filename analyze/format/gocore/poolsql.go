package gocore

import (
	"slices"
)

// sqlOffsets are the places of the fields of database/sql (sql.go, Go 1.21 to 1.26).
type sqlOffsets struct {
	ok                                            bool
	maxOpen, numOpen, requests, opener            uint64
	inUse                                         uint64 // of a driverConn
	rowsDC, rowsRelease, rowsClosed, txDC, txDone uint64
	connDC, connDone, txInterface                 uint64
	asMap                                         bool // the requests are a map: up to Go 1.22
}

func (s *poolSearch) sqlOffsets() sqlOffsets {
	var o sqlOffsets
	if s.library == nil {
		return o
	}
	o.ok = s.offsets(map[string]*uint64{
		"database/sql.DB.maxOpen": &o.maxOpen, "database/sql.DB.numOpen": &o.numOpen, "database/sql.DB.connRequests": &o.requests,
		"database/sql.DB.openerCh": &o.opener, "database/sql.driverConn.inUse": &o.inUse,
		"database/sql.Rows.dc": &o.rowsDC, "database/sql.Rows.releaseConn": &o.rowsRelease, "database/sql.Rows.closed": &o.rowsClosed,
		"database/sql.Tx.dc": &o.txDC, "database/sql.Tx.done": &o.txDone, "database/sql.Tx.txi": &o.txInterface,
		"database/sql.Conn.dc": &o.connDC, "database/sql.Conn.done": &o.connDone,
	})
	_, set := s.library.Offset("database/sql.DB.connRequests.s")
	o.asMap = !set
	return o
}

// offsets fills in the places of fields of the standard library; false when one of them is not known.
func (s *poolSearch) offsets(want map[string]*uint64) bool {
	for path, to := range want {
		off, ok := s.library.Offset(path)
		if !ok {
			return false
		}
		*to = off
	}
	return true
}

// sqlWaiter finds the DB among the live words of (*DB).conn.
func (s *poolSearch) sqlWaiter(frame int) bool {
	if !s.sql.ok {
		return false
	}
	for _, db := range s.liveWords(frame) {
		if p, ok := s.pools[db]; ok && p.kind == poolSQL || s.isDB(db) {
			p, _ = s.pool(db, poolSQL)
			s.waits(p, frame, 1)
			return true
		}
	}
	return false
}

// openerRequests is the capacity of DB.openerCh (connectionRequestQueueSize in database/sql/sql.go, Go 1.21 to 1.26): few channels
// of a program have so many places.
const openerRequests = 1000000

// isDB checks that there is a DB at an address, whose requests the goroutine of the last walk stands in, and makes it a pool.
func (s *poolSearch) isDB(db uint64) bool {
	const most = 1 << 24 // connections, and requests for them
	mem, o := s.w.u.mem, &s.sql
	opener, ok1 := mem.Uint64(db + o.opener)
	size, ok2 := mem.Uint64(opener + s.t.off.Chan.Size)
	limit, ok3 := mem.Uint64(db + o.maxOpen)
	open, ok4 := mem.Uint64(db + o.numOpen)
	if !ok1 || !ok2 || !ok3 || !ok4 || size != openerRequests || limit == 0 || limit > most || open > most {
		return false
	}
	n, ok := s.sqlRequests(db)
	if !ok || n == 0 || n > most {
		return false
	}
	p, _ := s.pool(db, poolSQL)
	p.Used, p.Limit, p.Waiting = int64(open), int64(limit), int(n)
	return true
}

// sqlRequests is the number of requests for a connection; false when the goroutine of the last walk is not among them. Up to Go 1.22
// they are a map, whose first word is its number of elements (runtime/map.go, hmap), and the goroutine is not looked for.
func (s *poolSearch) sqlRequests(db uint64) (n uint64, ok bool) {
	const element = 16 // connRequestAndIndex{req, curIdx}
	mem := s.w.u.mem
	at, ok := mem.Uint64(db + s.sql.requests)
	if !ok {
		return 0, false
	}
	if s.sql.asMap {
		return mem.Uint64(at)
	}
	n, ok = mem.Uint64(db + s.sql.requests + 8)
	if !ok || n > maxGoroutines {
		return 0, false
	}
	chans := s.channelsOf()
	for i := range n {
		s.w.searched++
		if c, ok := mem.Uint64(at + element*i); !ok {
			break
		} else if slices.Contains(chans, c) {
			return n, true
		}
	}
	return 0, false
}

// sqlReference notes a claim when a word is a Rows, Tx or Conn that has a connection of a pool, or in code of database/sql itself
// the connection.
func (s *poolSearch) sqlReference(frame int, pkg string, v uint64, level int) bool {
	mem, o := s.w.u.mem, &s.sql
	first, ok := mem.Uint64(v)
	if !ok {
		return false
	}
	what, dc := "", uint64(0)
	p := s.sqlPool(first)
	if p != nil {
		what, dc = s.sqlHandle(v, first)
	} else if second, ok := mem.Uint64(first); ok && o.rowsDC == 0 {
		if p = s.sqlPool(second); p != nil {
			what, dc = "sql.Rows", first
			release, _ := mem.Uint64(v + o.rowsRelease)
			if closed, ok := mem.Uint8(v + o.rowsClosed); !ok || closed != 0 || !s.isFunc(release) {
				return false
			}
		}
	}
	if p == nil || what == "" || !s.inUse(dc) || what == "connection" && (pkg != "database/sql" || level > 0) {
		return false
	}
	c := claim{level: level, why: "its frame refers to a " + what + " of this database that was not closed"}
	switch what {
	case "connection":
		c.why = "it is using a connection of this database"
	case "sql.Tx":
		c.why = "its frame refers to a sql.Tx of this database that was neither committed nor rolled back"
	}
	for _, closure := range s.pendingOf(frame) {
		if slices.Contains(s.w.captured(closure), v) {
			c.pending = true
			c.why += ", and a deferred call with it is pending"
		}
	}
	s.claims(p, dc, frame, c)
	return true
}

// sqlPool is the pool of a DB at an address, nil when that is none.
func (s *poolSearch) sqlPool(db uint64) *foundPool {
	if p := s.pools[db]; p != nil && p.kind == poolSQL {
		return p
	}
	return nil
}

// sqlHandle tells apart what begins with a pointer to the DB: a Tx and a Conn, which lead to a connection, and the connection. Where a
// Tx has an interface, which is no small number, a Conn has its flag.
func (s *poolSearch) sqlHandle(v, db uint64) (what string, dc uint64) {
	mem, o := s.w.u.mem, &s.sql
	dc, _ = mem.Uint64(v + o.txDC)
	back, ok := mem.Uint64(dc)
	if !ok || back != db || dc == v {
		return "connection", v
	}
	flag, ok := mem.Uint32(v + o.connDone)
	switch {
	case !ok || o.txDC != o.connDC || o.txInterface != o.connDone || flag == 1:
		return "", 0
	case flag == 0:
		return "sql.Conn", dc
	}
	if done, ok := mem.Uint32(v + o.txDone); !ok || done != 0 {
		return "", 0
	}
	return "sql.Tx", dc
}

// inUse reports whether a connection is given away.
func (s *poolSearch) inUse(dc uint64) bool {
	used, ok := s.w.u.mem.Uint8(dc + s.sql.inUse)
	return ok && used == 1
}

// sqlOpening notes a claim when a frame opens a connection: the pool counts it already.
func (s *poolSearch) sqlOpening(frame int, e *pcInfo) {
	name := e.fn.Name()
	if name != "database/sql.(*DB).openNewConnection" && name != "database/sql.(*DB).conn" || s.w.slotFrame().kind == poolSQL {
		return
	}
	for _, v := range s.keptWords(frame) {
		if p := s.sqlPool(v); p != nil {
			s.claims(p, s.g, frame, claim{pending: true, why: "it is opening a connection of this database"})
			return
		}
	}
}
