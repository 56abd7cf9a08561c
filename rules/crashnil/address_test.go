package crashnil

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// died is the finding for a death of this kind with a panic of this text and no stack.
func died(t *testing.T, d evidence.Death, text string) diagnosis.Finding {
	t.Helper()
	b := evidence.NewBuilder()
	b.Death(func(to *evidence.Death) { *to = d; to.Panicking = true })
	b.Panic(evidence.Panic{Text: text})
	res, err := diagnosis.Run(t.Context(), b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.Findings) != 1 {
		t.Fatalf("findings are %+v, %v", res, err)
	}
	return res.Findings[0]
}

const nilText = "runtime error: invalid memory address or nil pointer dereference"

func TestAddress(t *testing.T) {
	for _, tt := range []struct {
		addr, pc uint64
		want     string
	}{
		{0, 0, "a nil function was called"},
		{0, 0x4a0000, "the nil pointer itself, or the first field"},
		{0x18, 0x4a0000, "24 bytes into"},
	} {
		f := died(t, evidence.Death{Signal: 11, Code: 1, HasFault: true, FaultAddr: tt.addr, FaultPC: tt.pc}, nilText)
		if last := f.Because[len(f.Because)-1].Text; !strings.Contains(last, tt.want) {
			t.Errorf("address %#x, pc %#x: %q, want %q in it", tt.addr, tt.pc, last, tt.want)
		}
		if f.Confidence != diagnosis.Proved || f.Settle == "" {
			t.Errorf("confidence %s, settle %q: a fault is proved, its line is open", f.Confidence, f.Settle)
		}
	}
}

func TestCertainty(t *testing.T) {
	if f := died(t, evidence.Death{}, nilText); f.Confidence != diagnosis.Likely || len(f.Against) == 0 {
		t.Errorf("no fault is in the evidence, yet the confidence is %s", f.Confidence)
	}
	if f := died(t, evidence.Death{}, "value method main.T.M called using nil *T pointer"); f.Confidence != diagnosis.Proved {
		t.Errorf("a nil receiver needs no fault, yet the confidence is %s", f.Confidence)
	}
}
