//go:build go1.25

package main

import (
	"io"
	"log"
	"runtime/trace"
	"time"
)

func init() { flightMode = flight }

// flight writes what a flight recorder holds after more than its window.
func flight(out io.Writer) {
	rec := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: 500 * time.Millisecond})
	if err := rec.Start(); err != nil {
		log.Fatal(err)
	}
	mix()
	time.Sleep(1100 * time.Millisecond)
	mix()
	if _, err := rec.WriteTo(out); err != nil {
		log.Fatal(err)
	}
	rec.Stop()
}
