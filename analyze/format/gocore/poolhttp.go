package gocore

import (
	"slices"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// httpSearch is what is known of the transports of net/http with a limit of connections for each host (transport.go, Go 1.21 to 1.26).
type httpSearch struct {
	ok                                       bool
	limit, perHost, perHostWait              uint64 // of a Transport
	pcTransport, pcKey                       uint64 // of a persistConn
	wantKey, wantResult                      uint64 // of a wantConn
	bodyClosed, bodyEarlyClose, responseBody uint64

	waiters []httpWaiting
	hosts   map[httpHost]*foundPool
	owners  map[uint64]bool   // the transports that the waiters use
	dialing map[uint64]dial   // by wantConn: who dials for it
	bodies  map[uint64]uint64 // by channel: the persistConn whose loop waits there for a body to be read
	conns   map[uint64]string // live persistConns: the key of their host
	owner   map[uint64]uint64 // persistConn -> Transport
}

// dial is a goroutine that opens a connection.
type dial struct {
	key string
	claim
}

// httpHost is what a limit is for: a host of a transport.
type httpHost struct {
	transport uint64
	key       string
}

// httpWaiting is a goroutine in getConn.
type httpWaiting struct {
	use             evidence.PoolUse
	want, transport uint64
	key             string
}

func (s *poolSearch) newHTTPSearch() httpSearch {
	h := httpSearch{hosts: map[httpHost]*foundPool{}, owners: map[uint64]bool{}, dialing: map[uint64]dial{}, bodies: map[uint64]uint64{}, conns: map[uint64]string{}, owner: map[uint64]uint64{}}
	if s.library == nil {
		return h
	}
	h.ok = s.offsets(map[string]*uint64{
		"net/http.Transport.MaxConnsPerHost": &h.limit, "net/http.Transport.connsPerHost": &h.perHost,
		"net/http.Transport.connsPerHostWait": &h.perHostWait, "net/http.persistConn.t": &h.pcTransport,
		"net/http.persistConn.cacheKey": &h.pcKey, "net/http.wantConn.key": &h.wantKey,
		"net/http.bodyEOFSignal.closed": &h.bodyClosed, "net/http.bodyEOFSignal.earlyCloseFn": &h.bodyEarlyClose,
		"net/http.Response.Body": &h.responseBody,
	})
	result, found := s.library.Offset("net/http.wantConn.result", "net/http.wantConn.ready") // a channel, renamed in Go 1.23
	h.wantResult, h.ok = result, h.ok && found
	return h
}

// httpWaiter finds the wantConn and the Transport of a goroutine in getConn: they are among the live words of its frame, or captured by
// its deferred call. The wantConn is the one on whose channel the goroutine waits.
func (s *poolSearch) httpWaiter(frame int) bool {
	if !s.http.ok {
		return false
	}
	words := s.keptWords(frame)
	if frame+1 < len(s.w.u.pcs) {
		words = append(words, s.liveWords(frame+1)...)
	}
	chans := s.channelsOf()
	x := httpWaiting{}
	for _, v := range words {
		if c, ok := s.w.u.mem.Uint64(v + s.http.wantResult); ok && x.want == 0 && slices.Contains(chans, c) {
			if key, ok := s.hostKey(v + s.http.wantKey); ok {
				x.want, x.key = v, key
			}
		}
		if x.transport == 0 && s.isTransport(v) {
			x.transport = v
		}
	}
	if x.want == 0 {
		return false
	}
	if x.transport == 0 {
		return true // without a limit, or nobody waits for one: it waits for the dial
	}
	x.use = evidence.PoolUse{Goroutine: s.row.id, Role: evidence.PoolWaits, Slots: 1,
		Depth: s.t.logicalDepth(s.w, s.row.stack, frame), Frame: s.t.frameAt(s.w, s.row.stack, frame)}
	s.http.waiters = append(s.http.waiters, x)
	s.http.owners[x.transport] = true
	return true
}

// isTransport checks that there is a Transport at an address that has a limit, counts connections, and makes somebody wait. The first
// word of a map is its number of elements (runtime/map.go, hmap; internal/runtime/maps/map.go from Go 1.24).
func (s *poolSearch) isTransport(v uint64) bool {
	const most = 1 << 20 // connections to a host, and hosts
	mem, h := s.w.u.mem, &s.http
	limit, ok := mem.Uint64(v + h.limit)
	if !ok || limit == 0 || limit > most {
		return false
	}
	for _, field := range []uint64{h.perHost, h.perHostWait} {
		at, _ := mem.Uint64(v + field)
		n, ok := mem.Uint64(at)
		if !ok || at == 0 || n == 0 || n > most {
			return false
		}
	}
	return true
}

// hostKey reads a connectMethodKey {proxy, scheme, addr string; onlyH1 bool} as one text, which serves to tell hosts apart and is shown
// to nobody.
func (s *poolSearch) hostKey(at uint64) (string, bool) {
	const most = 4 << 10
	mem := s.w.u.mem
	var key strings.Builder
	for range 3 {
		p, ok1 := mem.Uint64(at)
		n, ok2 := mem.Uint64(at + 8)
		if !ok1 || !ok2 || n > most {
			return "", false
		}
		if n > 0 {
			text, ok := mem.Bytes(p, n)
			if !ok {
				return "", false
			}
			key.Write(text)
		}
		key.WriteByte(0)
		at += 16
	}
	only, ok := mem.Uint8(at)
	key.WriteByte(only)
	return key.String(), ok
}

// settle makes the pools when all waiters are known. It looks through the goroutines of net/http for connections and dials first: who
// waits for a dial does not wait for a slot.
func (h *httpSearch) settle(s *poolSearch) {
	if len(h.waiters) == 0 {
		return
	}
	list, err := s.t.allgs()
	if err != nil {
		return
	}
	for ; len(list) >= 8; list = list[8:] {
		if g := le.Uint64(list); g != 0 && s.walk(g) {
			h.loop(s)
		}
	}
	for _, x := range h.waiters {
		if _, ok := h.dialing[x.want]; ok {
			continue
		}
		p := h.poolOf(s, x)
		x.use.Pool = p.Addr
		p.uses = append(p.uses, x.use)
		p.Waiting = max(p.Waiting, 0) + 1
	}
	for _, p := range s.pools {
		if p.kind == poolHTTP {
			p.Used = h.used(p)
		}
	}
}

// poolOf is the pool of a host. The first host of a transport stands at the address of the transport, others at that of a wantConn.
func (h *httpSearch) poolOf(s *poolSearch, x httpWaiting) *foundPool {
	host := httpHost{x.transport, x.key}
	if p := h.hosts[host]; p != nil {
		return p
	}
	addr := x.transport
	if s.pools[addr] != nil {
		addr = x.want
	}
	p, _ := s.pool(addr, poolHTTP)
	limit, _ := s.w.u.mem.Uint64(x.transport + h.limit)
	p.key, p.object, p.Limit = x.key, x.transport, int64(limit)
	p.Where = s.t.whereIs(x.transport)
	h.hosts[host] = p
	return p
}

// used counts the connections to the host of a pool, and the dials for it, which have their slots already.
func (h *httpSearch) used(p *foundPool) int64 {
	n := int64(0)
	for pc, key := range h.conns {
		if key == p.key && h.owner[pc] == p.object {
			n++
		}
	}
	for _, want := range sortedKeys(h.dialing) {
		if d := h.dialing[want]; d.key == p.key && n < p.Limit {
			p.claims[want] = []claim{d.claim}
			n++
		}
	}
	if n == 0 {
		return -1 // connections without a loop of their own: another protocol
	}
	return n
}

// loop looks at the goroutine of the last walk: it reads from a connection, or dials one.
func (h *httpSearch) loop(s *poolSearch) {
	const outer = 6 // the loops begin their goroutines
	u := s.w.u
	for i := max(0, len(u.pcs)-outer); i < len(u.pcs); i++ {
		e := u.info(u.pcs[i])
		if !e.ok {
			return
		}
		switch e.fn.Name() {
		case "net/http.(*Transport).dialConnFor":
			for _, v := range s.liveWords(i) {
				if key, ok := s.hostKey(v + h.wantKey); ok {
					h.dialing[v] = dial{key, claim{goroutine: s.row.id, pending: true, why: "it is opening a connection of this transport",
						depth: s.t.logicalDepth(s.w, s.row.stack, i), frame: s.t.frameAt(s.w, s.row.stack, i)}}
				}
			}
			return
		case "net/http.(*persistConn).readLoop":
			h.connection(s, i)
			return
		}
	}
}

// connection notes the persistConn of a read loop, and the channels on which the loop waits for a body to be read.
func (h *httpSearch) connection(s *poolSearch, frame int) {
	for _, v := range s.liveWords(frame) {
		transport, ok := s.w.u.mem.Uint64(v + h.pcTransport)
		if !ok || !h.owners[transport] {
			continue
		}
		key, ok := s.hostKey(v + h.pcKey)
		if !ok {
			continue
		}
		h.conns[v], h.owner[v] = key, transport
		for _, c := range s.channelsOf() {
			h.bodies[c] = v
		}
		return
	}
}

// httpReference notes a claim when a word is a connection in a round trip, or the body of a response that was not closed. A
// gzipReader begins with the body that it reads.
func (s *poolSearch) httpReference(frame int, pkg string, v uint64, level int) bool {
	h := &s.http
	if key, ok := h.conns[v]; ok && pkg == "net/http" && level == 0 {
		if name := s.w.u.info(s.w.u.pcs[frame]).fn.Name(); name == "net/http.(*persistConn).roundTrip" {
			return s.httpClaim(frame, v, key, claim{why: "it waits for the response of a request on a connection of this transport"})
		}
		return false
	}
	pc := s.openBody(v)
	if pc == 0 {
		inner, ok := s.w.u.mem.Uint64(v)
		if !ok {
			return false
		}
		pc = s.openBody(inner)
	}
	if pc == 0 && level == 1 {
		if body, ok := s.w.u.mem.Uint64(v + h.responseBody + 8); ok {
			pc, level = s.openBody(body), 2
		}
	}
	if pc == 0 {
		return false
	}
	c := claim{level: level, why: "its frame refers to the body of a response that was neither read to its end nor closed"}
	for _, closure := range s.pendingOf(frame) {
		for _, captured := range s.w.captured(closure) {
			body, _ := s.w.u.mem.Uint64(captured + h.responseBody + 8)
			if captured == v || s.openBody(captured) == pc || body != 0 && s.openBody(body) == pc {
				c.pending = true
			}
		}
	}
	if c.pending {
		c.why += ", and a deferred Close of it is pending"
	}
	return s.httpClaim(frame, pc, h.conns[pc], c)
}

// httpClaim notes a claim on a connection.
func (s *poolSearch) httpClaim(frame int, pc uint64, key string, c claim) bool {
	p := s.http.hosts[httpHost{s.http.owner[pc], key}]
	if p != nil {
		s.claims(p, pc, frame, c)
	}
	return p != nil
}

// openBody returns the connection whose loop waits for a body to be read, when there is such a body (a bodyEOFSignal) at an address; 0
// otherwise. The function that closes it early has captured the channel.
func (s *poolSearch) openBody(v uint64) uint64 {
	h := &s.http
	if closed, ok := s.w.u.mem.Uint8(v + h.bodyClosed); !ok || closed != 0 {
		return 0
	}
	early, ok := s.w.u.mem.Uint64(v + h.bodyEarlyClose)
	if !ok || early == 0 || !s.isFunc(early) {
		return 0
	}
	for _, captured := range s.w.captured(early) {
		if pc := h.bodies[captured]; pc != 0 {
			return pc
		}
	}
	return 0
}
