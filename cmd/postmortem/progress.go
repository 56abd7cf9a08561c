package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Times of the progress display.
const (
	progressAfter = time.Second // what is done sooner needs none
	progressEvery = time.Second // between two lines in plain mode
)

// progress shows on stderr what takes long. It is safe for concurrent use.
type progress struct {
	a    *app
	mode string // "auto", "plain" or "none"

	mu    sync.Mutex
	began time.Time
	last  time.Time // of the last plain line
	doing string
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// newProgress decides how to show progress: as a bar on a terminal, as lines when asked for, and else not at all.
func (a *app) newProgress(mode string) *progress {
	tty, _ := terminal(a.stderr)
	switch {
	case mode == "auto" && (!tty || a.getenv("TERM") == "dumb"):
		mode = "none"
	case mode != "auto" && mode != "plain":
		mode = "none"
	}
	return &progress{a: a, mode: mode, began: time.Now()}
}

// report says how far something has come; total is 0 when it is not known.
func (p *progress) report(doing string, done, total int64) {
	if p.mode == "none" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.began) < progressAfter {
		return
	}
	if p.mode == "plain" {
		p.line(now, doing, done, total)
		return
	}
	p.draw(doing, done, total)
}

func (p *progress) line(now time.Time, doing string, done, total int64) {
	if now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	if total > 0 {
		fmt.Fprintf(p.a.stderr, "postmortem: %s, %d %%\n", doing, 100*done/total)
		return
	}
	fmt.Fprintf(p.a.stderr, "postmortem: %s\n", doing)
}

// draw moves the bar; a new task replaces the old bar.
func (p *progress) draw(doing string, done, total int64) {
	if p.bars == nil {
		p.bars = mpb.New(mpb.WithOutput(p.a.stderr), mpb.WithWidth(40))
	}
	if p.bar == nil || doing != p.doing {
		p.drop()
		p.doing = doing
		p.bar = p.bars.AddBar(total, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name(doing)), mpb.AppendDecorators(decor.Percentage()))
	}
	p.bar.SetTotal(total, false)
	p.bar.SetCurrent(done)
}

func (p *progress) drop() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.bar.Wait()
		p.bar = nil
	}
}

// stop removes the bar. Call it before anything else is written to the terminal.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
	if p.bars != nil {
		p.bars.Wait()
		p.bars = nil
	}
	p.mode = "none"
}
