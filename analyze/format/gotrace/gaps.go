package gotrace

import (
	"fmt"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/order"
)

// tellGaps says what of the trace could not be read, and what follows.
func tellGaps(s order.Stats, to *evidence.Builder) {
	if s.Version == 0 {
		to.Gap("the header of the trace", "the file begins in the middle of a trace: what was before is lost, and goroutines are known from their first event on")
	}
	lost, mended := int64(0), 0
	for _, d := range s.Damage {
		lost += d.Len
		if d.Len == 0 {
			mended++
		}
	}
	if lost > 0 {
		to.Gap(fmt.Sprintf("%d bytes of the trace, from offset 0x%x on", lost, s.Damage[0].Offset), "no batch of events begins there")
	}
	if mended > 0 {
		to.Gap(fmt.Sprintf("the headers of %d batches", mended), "they are damaged; the events in them were read by what stands around them")
	}
	if s.BadBytes > 0 {
		to.Gap(fmt.Sprintf("%d bytes inside batches", s.BadBytes), "they are no events: the file is damaged there")
	}
	if s.Cut {
		to.Gap("the end of the trace", "the file ends inside a batch: tracing was not stopped, or the file was cut")
	}
	if s.Partial > 0 {
		to.Gap(fmt.Sprintf("names of functions in %d of %d parts of the trace", s.Partial, s.Generations),
			"their tables are missing: waits are counted there by stacks without names, so that rules say less of them")
	}
	if s.Nameless > 0 {
		to.Gap(fmt.Sprintf("names of functions in %d frames", s.Nameless), "the table that they stand in is not whole")
	}
	if s.Guessed {
		to.Gap("the frequency of the clock", "it stands at the end of what is missing; times are computed with the usual one of 64 ns a tick")
	}
	if s.Overrun {
		to.Gap("tables of stacks and names", "they are larger than is kept; some places have no names")
	}
	if s.Refused > 0 {
		to.Gap(fmt.Sprintf("%d events and stacks", s.Refused), "they are of more goroutines at once, or of more different stacks, than are kept")
	}
	if s.Forced > 0 {
		to.Gap(fmt.Sprintf("what came before %d of %d events", s.Forced, s.Events), "the events that must come first are missing: states of goroutines are not known in between")
	}
}
