package order

// indexed is a generation on its way from the indexer, or the error that ended it.
type indexed struct {
	w   *work
	err error
}

// indexer reads the framing and the tables of generations, one ahead of the one whose events are told.
type indexer struct {
	r    *Reader
	out  chan indexed // nil: nothing runs ahead
	stop chan struct{}
	done chan struct{}
}

// start begins to run ahead.
func (x *indexer) start() {
	x.out, x.stop, x.done = make(chan indexed), make(chan struct{}), make(chan struct{})
	go x.run()
}

func (x *indexer) run() {
	defer close(x.done)
	for {
		w, err := x.read()
		select {
		case x.out <- indexed{w, err}:
		case <-x.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// close ends what runs ahead. After it the state of the framing may be looked at.
func (x *indexer) close() {
	if x.out != nil {
		close(x.stop)
		<-x.done
	}
}

// next returns the next generation; the error at the end is io.EOF.
func (x *indexer) next() (*work, error) {
	if x.out == nil {
		return x.read()
	}
	i := <-x.out
	return i.w, i.err
}

// read reads a generation, and gives it to who decodes ahead.
func (x *indexer) read() (*work, error) {
	g, err := x.r.gens.next()
	if err != nil {
		return nil, err
	}
	w := &work{generation: g}
	threads := map[uint64]bool{}
	for i := range g.batches {
		threads[g.batches[i].m] = true
	}
	if len(threads) <= wholeStreams && x.r.ahead() {
		w.state, w.result = make([]uint8, len(g.batches)), make([]decoded, len(g.batches))
		x.r.decoder.add(w)
	}
	return w, nil
}
