// Command delve is the peer that postmortem is measured against: delve's library opens a core, lists the goroutines, and
// reads the stack of each. It keeps what it has read, as a debugger that answers questions about it must. It is built by the
// benchmark only.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/go-delve/delve/pkg/proc"
	"github.com/go-delve/delve/pkg/proc/core"
)

// maxDepth is more than any stack of the benchmark's cores has.
const maxDepth = 200

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "delve:", err)
		os.Exit(1)
	}
}

// run takes the executable and the core, and prints how many goroutines and frames were read.
func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: delve EXECUTABLE CORE")
	}
	group, err := core.OpenCore(args[1], args[0], nil)
	if err != nil {
		return err
	}
	target := group.Selected
	all, _, err := proc.GoroutinesInfo(target, 0, 0)
	if err != nil {
		return err
	}
	stacks := make([][]proc.Stackframe, 0, len(all))
	frames := 0
	for _, g := range all {
		stack, err := proc.GoroutineStacktrace(target, g, maxDepth, 0)
		if err != nil {
			return fmt.Errorf("goroutine %d: %w", g.ID, err)
		}
		stacks = append(stacks, stack)
		frames += len(stack)
	}
	fmt.Println(len(stacks), "goroutines,", frames, "frames")
	return nil
}
