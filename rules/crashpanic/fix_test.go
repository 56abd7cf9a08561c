package crashpanic

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// TestFix holds the table against the values as the runtime and the standard library write them.
func TestFix(t *testing.T) {
	for text, want := range map[string]string{
		"runtime error: index out of range [6] with length 1":                "off-by-one",
		"runtime error: slice bounds out of range [:6] with capacity 3":      "both bounds",
		"runtime error: integer divide by zero":                              "divisor",
		"runtime error: makeslice: len out of range":                         "negative or enormous",
		"assignment to entry in nil map":                                     "constructor",
		"send on closed channel":                                             "Only the sender",
		"close of closed channel":                                            "sync.Once",
		"close of nil channel":                                               "never made",
		"interface conversion: interface {} is string, not int":              "two results",
		"sync: negative WaitGroup counter":                                   "exactly once",
		"sync: WaitGroup is reused before previous Wait has returned":        "new WaitGroup",
		"runtime error: hash of unhashable type []int":                       "map key",
		"runtime error: comparing uncomparable type []int":                   "compared",
		"panic called with nil argument (use GODEBUG=panicnil=1 to disable)": "was nil",
		"something of the program":                                           "Return an error",
	} {
		if got := fix(text, ""); !strings.Contains(got, want) {
			t.Errorf("the fix for %q is %q, want %q in it", text, got, want)
		}
	}
	if got := fix("flush: no space left on device", "no space left on device"); !strings.Contains(got, `The first cause is "no space left on device"`) {
		t.Errorf("the fix of a wrapped error is %q", got)
	}
}

// died is the finding for a process that died of these panics, the newest first, without any stack.
func died(t *testing.T, panics ...evidence.Panic) diagnosis.Finding {
	t.Helper()
	b := evidence.NewBuilder()
	b.Death(func(d *evidence.Death) { d.Panicking = true })
	for _, p := range panics {
		b.Panic(p)
	}
	res, err := diagnosis.Run(t.Context(), b.Finish(), []*diagnosis.Rule{Rule}, diagnosis.Options{})
	if err != nil || len(res.Findings) != 1 {
		t.Fatalf("findings are %+v, %v", res, err)
	}
	return res.Findings[0]
}

func says(reasons []diagnosis.Reason, text string) bool {
	return slices.ContainsFunc(reasons, func(r diagnosis.Reason) bool { return r.Text == text })
}

func TestCausesAndChain(t *testing.T) {
	f := died(t,
		evidence.Panic{Text: "tx: rollback failed"},
		evidence.Panic{Text: "transfer of 10: write: disk full", Type: "*main.transferError", Causes: []string{"write: disk full", "disk full"}, Recovered: true})
	if f.Claim != "the process panicked: transfer of 10: write: disk full" {
		t.Errorf("the claim is %q", f.Claim)
	}
	for _, want := range []string{
		`a deferred function recovered that and panicked again with "tx: rollback failed"`,
		"the value is of type *main.transferError", `it wraps "write: disk full"`, `which wraps "disk full"`,
	} {
		if !says(f.Because, want) {
			t.Errorf("no reason says %q: %+v", want, f.Because)
		}
	}
	if f.Settle == "" {
		t.Error("the line is not known, and nothing says how to get it")
	}
}

func TestQuotedNil(t *testing.T) {
	f := died(t, evidence.Panic{Text: "handler: runtime error: invalid memory address or nil pointer dereference"})
	if len(f.Against) != 1 || !strings.Contains(f.Against[0].Text, "quotes a nil dereference") {
		t.Errorf("against it speaks %+v", f.Against)
	}
}

// TestCauseWithMessage: the fix quotes the last cause that says something, not the bare number beneath it.
func TestCauseWithMessage(t *testing.T) {
	for _, tt := range []struct {
		causes []string
		want   string
	}{
		{[]string{"read schema: open x: no such file", "open x", "syscall.Errno(2)"}, "open x"},
		{[]string{"disk full"}, "disk full"},
		{[]string{"syscall.Errno(2)"}, "syscall.Errno(2)"},
		{[]string{"parse(x) failed"}, "parse(x) failed"},
		{nil, ""},
	} {
		b := evidence.NewBuilder()
		b.Panic(evidence.Panic{Text: "x", Causes: tt.causes})
		if got := innermost(b.Finish(), &derive.Crash{Chain: []int{0}}); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.causes, got, tt.want)
		}
	}
}
