package gocore

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format"
	"github.com/gopostmortem/postmortem/fixtures"
)

func TestZZHolds(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		t.Skip()
	}
	names, _ := fixtures.Scenarios()
	for _, n := range names {
		for _, tc := range []string{"", "go1.21.13"} {
			c, err := fixtures.Crash(context.Background(), fixtures.Program{Scenario: n, Toolchain: tc})
			if err != nil {
				fmt.Println(n, tc, "ERR", err.Error()[:80])
				continue
			}
			k, err := readCore(t, c.Core, format.Options{Executable: c.Exe})
			if err != nil {
				fmt.Println(n, tc, "ERR", err)
				continue
			}
			for _, h := range k.Holds {
				s, _ := k.Sync(h.Sync)
				f := k.Frame(h.Frame)
				g, _ := k.Goroutines().ByID(h.Goroutine)
				fmt.Printf("%s %s %v %#x locked=%t readers=%d waiters=%d found=%d: g%d %s %s:%d reader=%t %v | %s inner %s\n", n, tc, s.Kind, h.Sync, s.Locked, s.Readers, s.Waiters, len(k.Waiters(h.Sync)), h.Goroutine, f.Function, f.File[max(0, len(f.File)-22):], f.Line, h.Reader, h.Grade, g.Reason, k.Stack(g.Stack).At(0).Function)
			}
			for _, g := range k.Gaps {
				fmt.Println(n, tc, "GAP", g.What, g.Why)
			}
		}
	}
}
