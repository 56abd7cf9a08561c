package heap

import "sync"

// blockItems is how many items of work are handed over at a time.
const blockItems = 510

// block is a stack of work: objects to scan, and tasks.
type block struct {
	n     int
	items [blockItems]uint64
}

// pool is the work that any worker may take. The work is done when all of them wait for more.
type pool struct {
	mu      sync.Mutex
	more    sync.Cond
	full    []*block
	free    []*block
	waiting int
	workers int
	stopped bool
}

func newPool(workers int) *pool {
	p := &pool{workers: workers}
	p.more.L = &p.mu
	return p
}

// put hands over a block and returns an empty one.
func (p *pool) put(b *block) *block {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = append(p.full, b)
	if p.waiting > 0 {
		p.more.Signal()
	}
	if n := len(p.free); n > 0 {
		b, p.free = p.free[n-1], p.free[:n-1]
		return b
	}
	return &block{}
}

// get returns a block of work for an empty one; nil when there is no more work, or the work was stopped.
func (p *pool) get(empty *block) *block {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.full) == 0 && !p.stopped {
		if p.waiting++; p.waiting == p.workers {
			p.stopped = true
			p.more.Broadcast()
			return nil
		}
		p.more.Wait()
		p.waiting--
	}
	if p.stopped {
		return nil
	}
	n := len(p.full)
	b := p.full[n-1]
	p.full = p.full[:n-1]
	empty.n = 0
	p.free = append(p.free, empty)
	return b
}

// hungry reports whether a worker waits while there is nothing to take.
func (p *pool) hungry() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting > 0 && len(p.full) == 0
}

// stop ends the work.
func (p *pool) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.more.Broadcast()
}
