//go:build withcgo

package main

// int work(void) { return 0; }
import "C"

func init() { C.work() }
