package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgressPlain(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out, getenv: func(string) string { return "" }}
	p := a.newProgress("plain")
	p.report("reading", 1, 100)
	if out.Len() > 0 {
		t.Errorf("%q was written in the first second", out.String())
	}
	p.began = time.Now().Add(-2 * progressAfter)
	p.report("reading", 50, 100)
	p.report("reading", 60, 100) // within a second of the last line
	p.last = time.Time{}
	p.report("counting", 7, 0)
	p.stop()
	p.report("reading", 70, 100)
	if want := "postmortem: reading, 50 %\npostmortem: counting\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestProgressPipe: what is no terminal gets no progress unless it is asked for.
func TestProgressPipe(t *testing.T) {
	var out bytes.Buffer
	a := &app{stderr: &out, getenv: func(string) string { return "" }}
	for _, mode := range []string{"auto", "none"} {
		p := a.newProgress(mode)
		p.began = time.Now().Add(-2 * progressAfter)
		p.report("reading", 50, 100)
		p.stop()
	}
	if out.Len() > 0 {
		t.Errorf("%q was written to a pipe", out.String())
	}
}

// TestProgressBar draws a bar and removes it, without a terminal.
func TestProgressBar(t *testing.T) {
	var out bytes.Buffer
	p := &progress{a: &app{stderr: &out}, mode: "auto", began: time.Now().Add(-2 * progressAfter)}
	p.report("unpacking", 10, 100)
	p.report("unpacking", 100, 100)
	p.report("reading", 5, 50)
	p.report("reading", 50, 50)
	done := make(chan bool)
	go func() { p.stop(); done <- true }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("stop does not return")
	}
	if strings.Count(out.String(), "\n") > 4 {
		t.Errorf("%q: a bar must not scroll", out.String())
	}
}
