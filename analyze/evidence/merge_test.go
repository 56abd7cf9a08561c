package evidence

import "testing"

// TestMergePanics checks that a second source of the same death does not double it: a re-panic would be read out of that.
func TestMergePanics(t *testing.T) {
	b := NewBuilder()
	b.Source(Source{Path: "core"})
	b.Goroutine(Goroutine{ID: 1})
	b.Panic(Panic{Goroutine: 1, Text: "second"})
	b.Panic(Panic{Goroutine: 1, Text: "first"})
	b.Transfer(Transfer{Goroutine: 1, Length: 1})
	b.Source(Source{Path: "log"})
	b.Goroutine(Goroutine{ID: 1})
	b.Panic(Panic{Goroutine: 1, Text: "second"})
	b.Panic(Panic{Goroutine: 2, Text: "another"})
	b.Transfer(Transfer{Goroutine: 1, Length: 1})
	b.Transfer(Transfer{Goroutine: 2, Length: 1})
	c := b.Finish()
	if len(c.Panics) != 3 || c.Panics[2].Text != "another" {
		t.Errorf("panics %v: want the two of the core, and the one that only the log has", c.Panics)
	}
	if len(c.Transfers) != 2 {
		t.Errorf("transfers %v: want one for each goroutine", c.Transfers)
	}
}

func TestMergeCoverage(t *testing.T) {
	b := NewBuilder()
	b.Source(Source{Path: "core"})
	b.Coverage(Coverage{GoroutinesSeen: 3, GoroutinesUnwound: 3})
	b.Coverage(Coverage{GoroutinesSeen: 2, GoroutinesUnwound: 1, ThreadsSeen: 4})
	b.Source(Source{Path: "log"})
	b.Coverage(Coverage{GoroutinesSeen: 4, GoroutinesUnwound: 4})
	b.Coverage(Coverage{GoroutinesSeen: 2, GoroutinesUnwound: 2})
	if got, want := b.Finish().Coverage, (Coverage{GoroutinesSeen: 6, GoroutinesUnwound: 6, ThreadsSeen: 4}); got != want {
		t.Errorf("coverage %+v: want %+v, the larger counts of the two sources", got, want)
	}
}
