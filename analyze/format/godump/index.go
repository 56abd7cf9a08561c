package godump

import (
	"io"

	"github.com/gopostmortem/postmortem/analyze/format"
)

// dump is a part of a text: the goroutines of one process at one moment, with what was announced before them.
type dump struct {
	start, end int64
	line       int  // of its first line
	goroutines int  // headers in it
	dies       bool // the death of the process was announced
}

// better reports whether d rather than other is the incident. A death is; of several deaths the last, because a log goes on
// through restarts; of dumps that were taken without one the largest, and of equals the last.
func (d *dump) better(other *dump) bool {
	if d.dies != other.dies {
		return d.dies
	}
	return d.dies || d.goroutines >= other.goroutines
}

// listed is how many dumps that are not read are named one by one.
const listed = 5

// contents is what the first pass over a text finds.
type contents struct {
	best       dump
	count      int   // dumps in all
	goroutines int   // in all of them
	lines      []int // of the first dumps
	partial    bool  // the text ends in the middle of a header
}

func (c *contents) add(d dump) {
	if c.count == 0 || d.better(&c.best) {
		c.best = d
	}
	if len(c.lines) <= listed {
		c.lines = append(c.lines, d.line)
	}
	c.count++
	c.goroutines += d.goroutines
}

// indexer finds the dumps of a text.
type indexer struct {
	walk *walker
	seen idSet
	cur  dump
	open bool
	id   int64 // of the header before
	contents
}

// progressEvery is how many lines are read between two reports.
const progressEvery = 1 << 16

// indexText is the first pass.
func indexText(r io.Reader, size int64, opt format.Options) (contents, error) {
	x := &indexer{walk: newWalker(r)}
	for n := 1; ; n++ {
		ev, line, ok := x.walk.next()
		if !ok {
			break
		}
		x.event(ev, line)
		if n%progressEvery == 0 {
			opt.Report("looking for goroutine dumps", x.walk.lines.offset, size)
		}
	}
	x.finish()
	return x.contents, x.walk.lines.failure()
}

func (x *indexer) event(ev event, line []byte) {
	switch ev {
	case evHeader:
		x.id = headerID(line)
		x.header()
	case evSystem:
		x.id = 0
		x.header()
	case evBody:
		if len(line) > len(awayPrefix) && line[1] == 'g' && string(line[1:1+len(awayPrefix)]) == awayPrefix {
			x.seen.remove(x.id) // its stack may follow, printed by its own thread
		}
	}
}

// maxInterleaved is how many lines of others may stand between two goroutines of a dying process. The runtime stops the
// world before it prints, so what its own program still writes is little; but others may write to the same log.
const maxInterleaved = 10

// begins reports whether a block belongs to another dump than the one before: a goroutine that was printed already, or
// lines of somebody else in between. A dump that announces no death was written in one piece.
func (x *indexer) begins(pre *preamble) bool {
	switch {
	case !x.open, x.id != 0 && x.seen.has(x.id) && !x.walk.threads:
		return true
	case pre != nil:
		return pre.foreign > 0
	case x.cur.dies:
		return x.walk.before > maxInterleaved
	}
	return x.walk.before > 0
}

func (x *indexer) header() {
	lines, pre := x.walk.lines, x.walk.takePreamble()
	if x.begins(pre) {
		begin := dump{start: lines.start, line: lines.number}
		if pre != nil {
			begin.start, begin.line = pre.start, pre.line
		}
		x.close(begin.start)
		x.cur, x.open = begin, true
		x.walk.threads = false
		x.seen = idSet{}
	}
	x.cur.dies = x.cur.dies || pre != nil
	if x.id != 0 && x.seen.add(x.id) {
		x.cur.goroutines++
	}
}

func (x *indexer) close(end int64) {
	if x.open {
		x.cur.end = end
		x.add(x.cur)
	}
}

func (x *indexer) finish() {
	lines := x.walk.lines
	x.close(lines.offset)
	x.walk.drop()
	if lone := x.walk.lone; lone != nil && x.count == 0 {
		x.add(dump{start: lone.start, end: lines.offset, line: lone.line, dies: true})
	}
	x.partial = x.walk.partial
}

// headerID is the number in a header; 0 when it does not fit.
func headerID(line []byte) int64 {
	var id int64
	for _, c := range line[len("goroutine "):] {
		if !isDigit(c) || id > 1<<58 {
			break
		}
		id = id*10 + int64(c-'0')
	}
	return id
}

// idSet is a set of goroutine ids: 64 of them in one word, because a program counts them up.
type idSet struct {
	words map[int64]uint64
}

func (s *idSet) has(id int64) bool { return s.words[id>>6]&(1<<(id&63)) != 0 }

// add reports whether the id was new.
func (s *idSet) add(id int64) bool {
	if s.words == nil {
		s.words = map[int64]uint64{}
	}
	word, bit := s.words[id>>6], uint64(1)<<(id&63)
	if word&bit != 0 {
		return false
	}
	s.words[id>>6] = word | bit
	return true
}

func (s *idSet) remove(id int64) {
	if s.has(id) {
		s.words[id>>6] &^= 1 << (id & 63)
	}
}
