package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestProfilesEqualGoTool holds the profiles to those of go tool trace on a trace of this very process: the same stacks, the same counts, the same
// nanoseconds.
func TestProfilesEqualGoTool(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "trace.out")
	record(t, path)
	for _, kind := range []string{"sync", "net", "syscall", "sched"} {
		ours, theirs := filepath.Join(dir, kind+".ours"), filepath.Join(dir, kind+".theirs")
		if code, _, stderr := call("profile", kind, path, "-o", ours); code != exitClean {
			t.Fatalf("%s: exit code %d: %s", kind, code, stderr)
		}
		out, err := goTool(t, "trace", "-pprof="+kind, path)
		if err != nil {
			t.Fatalf("%s: go tool trace: %v", kind, err)
		}
		if err := os.WriteFile(theirs, out, 0o600); err != nil {
			t.Fatal(err)
		}
		want := stacksOf(t, theirs)
		if len(want) == 0 {
			t.Errorf("%s: go tool trace gives no stacks: the workload does not wait for this", kind)
		}
		if diff := cmp.Diff(want, stacksOf(t, ours)); diff != "" {
			t.Errorf("%s: profiles differ (- go tool trace, + postmortem):\n%s", kind, diff)
		}
	}
	holders := filepath.Join(dir, "holders")
	if code, _, stderr := call("profile", "mutex-holder", path, "-o", holders); code != exitClean {
		t.Fatalf("mutex-holder: exit code %d: %s", code, stderr)
	}
	found := false
	for stack := range stacksOf(t, holders) {
		found = found || strings.Contains(stack, "Unlock") && strings.Contains(stack, ".contend")
	}
	if !found {
		t.Errorf("the one who held the lock is not in mutex-holder: %v", stacksOf(t, holders))
	}
}

// record traces a workload that waits for everything that a profile is about.
func record(t *testing.T, path string) {
	t.Helper()
	if trace.IsEnabled() {
		t.Skip("this test is being traced: there is one tracer in a process")
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := trace.Start(f); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		wg.Go(func() { contend(&mu) })
		wg.Go(func() { converse(l.Addr().String(), i) })
	}
	for range 6 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(2 * time.Millisecond)
			fmt.Fprintln(c, "hello")
			_ = c.Close()
		}()
	}
	wg.Wait()
	runtime.GC()
	trace.Stop()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func contend(mu *sync.Mutex) {
	for range 20 {
		mu.Lock()
		time.Sleep(100 * time.Microsecond)
		mu.Unlock()
		runtime.Gosched()
	}
}

func converse(addr string, i int) {
	_, task := trace.NewTask(context.Background(), "converse")
	defer task.End()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	done := make(chan int)
	go func() { done <- i }()
	select {
	case <-done:
	case <-time.After(time.Minute):
	}
	_, _ = io.ReadAll(c)
}

// goTool runs a tool of the go command. It is what a developer has who has traces; in CI it must be there.
func goTool(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the go command is not here")
		}
		t.Skip("the go command is not here")
	}
	var stderr bytes.Buffer
	cmd := exec.Command("go", append([]string{"tool"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out, err
}

// stacksOf is what a profile says of each stack, read by go tool pprof.
func stacksOf(t *testing.T, path string) map[string][2]int64 {
	t.Helper()
	out, err := goTool(t, "pprof", "-raw", path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	_, rest, _ := strings.Cut(text, "\nSamples:\n")
	samples, locations, _ := strings.Cut(rest, "\nLocations\n")
	places := map[string]string{}
	for _, line := range strings.Split(locations, "\n") {
		id, place, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if fields := strings.Fields(place); ok && len(fields) >= 3 {
			places[id] = strings.Join(fields[len(fields)-3:len(fields)-1], " ") // function and line; before them the address
		}
	}
	sums := map[string][2]int64{}
	for _, line := range strings.Split(samples, "\n")[1:] {
		var count, ns int64
		values, ids, ok := strings.Cut(line, ":")
		if n, _ := fmt.Sscan(values, &count, &ns); !ok || n != 2 {
			continue
		}
		var stack []string
		for _, id := range strings.Fields(ids) {
			stack = append(stack, places[id])
		}
		if slices.Contains(stack, "") {
			t.Fatalf("a frame of %q is not among the locations", line)
		}
		key := strings.Join(stack, " < ")
		v := sums[key]
		sums[key] = [2]int64{v[0] + count, v[1] + ns}
	}
	return sums
}
