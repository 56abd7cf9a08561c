// Command xpreader is the peer that postmortem's reader is measured against: golang.org/x/exp/trace reads a trace event by event,
// and nothing is done with the events but to count them. It is built by the benchmark only.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/exp/trace"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "xpreader:", err)
		os.Exit(1)
	}
}

// run takes the trace and prints how many events it has.
func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: xpreader TRACE")
	}
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := trace.NewReader(bufio.NewReaderSize(file, 1<<20))
	if err != nil {
		return err
	}
	for events := 0; ; events++ {
		switch _, err := r.ReadEvent(); {
		case errors.Is(err, io.EOF):
			fmt.Println(events)
			return nil
		case err != nil:
			return fmt.Errorf("after %d events: %w", events, err)
		}
	}
}
