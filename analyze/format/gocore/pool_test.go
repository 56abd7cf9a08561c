package gocore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/fixtures"
)

func TestPools(t *testing.T) {
	for _, p := range []fixtures.Program{
		{}, {Toolchain: "go1.25.7"}, {Toolchain: "go1.24.13"}, {Toolchain: "go1.23.12"}, {Toolchain: "go1.22.12"}, {Toolchain: "go1.21.13"},
		{Flags: []string{"-gcflags=all=-N -l"}},
		{Flags: []string{"-ldflags=-s -w"}},
		{Toolchain: "go1.22.12", Flags: []string{"-buildmode=pie", "-ldflags=-s -w"}},
		{Env: []string{"GOARCH=arm64"}},
	} {
		t.Run(fmt.Sprint(versionName(p.Toolchain), p.Flags, p.Env), func(t *testing.T) {
			t.Parallel()
			i := die(t, "pools", p)
			i.noGaps(t)
			i.checkPools(t)
			for _, l := range i.lines(t, "idle") {
				if at := i.poolAt(parseHex(t, l[0])); at != nil {
					t.Errorf("nobody waits for the pool at %s, and it is in the evidence: %+v", l[0], at)
				}
			}
		})
	}
}

// shapesProgram is the program of testdata/modules, whose modules it fetches.
func shapesProgram(t *testing.T) fixtures.Program {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "modules"))
	if err != nil {
		t.Fatal(err)
	}
	download := exec.Command("go", "mod", "download")
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("golang.org/x/sync: %v\n%s", err, out)
		}
		t.Skipf("golang.org/x/sync cannot be had: %s", out)
	}
	return fixtures.Program{Dir: filepath.Join(dir, "shapes"), Flags: []string{"-modfile=" + filepath.Join(dir, "go.mod")}}
}

func TestPoolsOfModules(t *testing.T) {
	shapes := shapesProgram(t)
	for _, p := range []fixtures.Program{
		{}, {Toolchain: "go1.24.13"}, {Toolchain: "go1.22.12"},
		{Flags: []string{"-gcflags=all=-N -l"}},
		{Flags: []string{"-ldflags=-s -w"}},
		{Toolchain: "go1.22.12", Flags: []string{"-ldflags=-s -w"}},
		{Env: []string{"GOARCH=arm64"}},
	} {
		t.Run(fmt.Sprint(versionName(p.Toolchain), p.Flags, p.Env), func(t *testing.T) {
			p.Flags, p.Dir = append(p.Flags, shapes.Flags...), shapes.Dir
			i := dieIn(t, p)
			i.noGaps(t)
			i.checkPools(t)
			i.checkFlights(t)
		})
	}
}

// dieIn is die for a program that names its own folder.
func dieIn(t *testing.T, p fixtures.Program) *incident {
	t.Helper()
	dir := p.Dir
	return readCapture(t, ".", p, func(ctx context.Context, p fixtures.Program) (*fixtures.Capture, error) {
		p.Dir = dir
		return fixtures.Crash(ctx, p)
	})
}

func (i *incident) poolAt(addr uint64) *evidence.Pool {
	at := slices.IndexFunc(i.Pools, func(p evidence.Pool) bool { return p.Addr == addr })
	if at < 0 {
		return nil
	}
	return &i.Pools[at]
}

// checkPools holds pools, their waiters and their holders against what the program says.
func (i *incident) checkPools(t *testing.T) {
	t.Helper()
	said := i.lines(t, "pool")
	for _, l := range said {
		addr := parseHex(t, l[1])
		p := i.poolAt(addr)
		if p == nil {
			t.Errorf("the %s at %s was not found", l[0], l[1])
			continue
		}
		want := strings.Join(l[2:], " ")
		if got := fmt.Sprint(p.Used, p.Limit, p.Waiting); got != want || p.Kind != l[0] {
			t.Errorf("%s at %s: used, limit and waiting are %s, want %s", p.Kind, l[1], got, want)
		}
		waiting := 0
		for _, u := range i.usesOf(addr, evidence.PoolWaits) {
			waiting++
			i.checkUse(t, u)
		}
		if waiting != p.Waiting {
			t.Errorf("%s at %s counts %d waiters, and %d were found", p.Kind, l[1], p.Waiting, waiting)
		}
		i.checkPoolHolders(t, p)
	}
	if n := len(i.Pools); n != len(said)+len(i.linesOrNone("flight")) {
		t.Errorf("there are %d pools, the program has %d", n, len(said))
	}
}

// linesOrNone is lines for what a program need not print.
func (i *incident) linesOrNone(word string) (found [][]string) {
	for _, l := range i.said {
		if len(l) > 1 && l[0] == word {
			found = append(found, l[1:])
		}
	}
	return found
}

func (i *incident) usesOf(addr uint64, role evidence.PoolRole) (list []evidence.PoolUse) {
	for _, u := range i.PoolUses {
		if u.Pool == addr && u.Role == role {
			list = append(list, u)
		}
	}
	return list
}

// checkPoolHolders holds that exactly the goroutines that the program names have slots. A lost slot has none.
func (i *incident) checkPoolHolders(t *testing.T, p *evidence.Pool) {
	t.Helper()
	named := 0
	for _, l := range i.linesOrNone("holder") {
		if parseHex(t, l[0]) != p.Addr {
			continue
		}
		found := i.with(l[1])
		if len(found) == 0 {
			t.Errorf("no goroutine has %s on its stack", l[1])
		}
		for _, g := range found {
			uses := slices.DeleteFunc(i.usesOf(p.Addr, evidence.PoolHolds), func(u evidence.PoolUse) bool { return u.Goroutine != g.ID })
			if len(uses) == 0 {
				if !i.elsewhere(g.ID, p.Addr) {
					t.Errorf("%s at %#x: goroutine %d (%s) is not among the holders", p.Kind, p.Addr, g.ID, l[1])
				}
				continue
			}
			named++
			if u := uses[0]; len(uses) != 1 || u.Grade.String() != l[2] && !(l[2] == "unique-candidate" && u.Grade == evidence.HoldPendingUnlock) ||
				fmt.Sprint(u.Slots) != l[3] {
				t.Errorf("%s at %#x: goroutine %d (%s) holds %+v, want %s, %s slots", p.Kind, p.Addr, g.ID, l[1], uses, l[2], l[3])
			}
		}
	}
	for _, l := range i.linesOrNone("dials") {
		if parseHex(t, l[0]) == p.Addr {
			named += parseInt(t, l[1]) // by goroutines of the transport itself
		}
	}
	all := i.usesOf(p.Addr, evidence.PoolHolds)
	for _, u := range all {
		i.checkUse(t, u)
	}
	if len(all) != named {
		t.Errorf("%s at %#x has %d holders, want %d: %+v", p.Kind, p.Addr, len(all), named, all)
	}
}

// elsewhere reports whether a goroutine holds slots of another pool.
func (i *incident) elsewhere(goroutine int64, addr uint64) bool {
	for _, u := range i.PoolUses {
		if u.Goroutine == goroutine && u.Pool != addr && u.Role == evidence.PoolHolds {
			return true
		}
	}
	return false
}

// checkUse holds that a use names a frame of its goroutine.
func (i *incident) checkUse(t *testing.T, u evidence.PoolUse) {
	t.Helper()
	g, ok := i.Goroutines().ByID(u.Goroutine)
	s := i.Stack(g.Stack)
	if !ok || u.Depth >= s.Len() || s.At(u.Depth).Function != i.Frame(u.Frame).Function {
		t.Errorf("frame %d of goroutine %d is not %s", u.Depth, u.Goroutine, i.Frame(u.Frame).Function)
	}
	if u.Role == evidence.PoolHolds && u.Why == "" {
		t.Errorf("goroutine %d is a holder without a reason", u.Goroutine)
	}
}

// checkFlights holds that a shared call is found by those who wait for it.
func (i *incident) checkFlights(t *testing.T) {
	t.Helper()
	for _, l := range i.lines(t, "flight") {
		at := slices.IndexFunc(i.Pools, func(p evidence.Pool) bool { return p.Kind == l[0] })
		if at < 0 {
			t.Errorf("no %s was found", l[0])
			continue
		}
		p := i.Pools[at]
		if got := fmt.Sprint(p.Used, p.Limit, p.Waiting); got != strings.Join(l[1:4], " ") {
			t.Errorf("%s: used, limit and waiting are %s, want %s", p.Kind, got, strings.Join(l[1:4], " "))
		}
		holders := i.usesOf(p.Addr, evidence.PoolHolds)
		if len(holders) != 1 || len(i.with(l[4])) != 1 || holders[0].Goroutine != i.with(l[4])[0].ID {
			t.Errorf("%s: the holders are %+v, want the goroutine in %s", p.Kind, holders, l[4])
		}
		if waits := i.usesOf(p.Addr, evidence.PoolWaits); len(waits) != p.Waiting {
			t.Errorf("%s: %d waiters, want %d", p.Kind, len(waits), p.Waiting)
		}
	}
}
