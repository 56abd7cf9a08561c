// Crash dies in the way its argument says.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

type pair struct{ a, b int }

type (
	name string
	code int
)

type failure struct{ reason error }

func (f *failure) Error() string { return "failed: " + f.reason.Error() }

//go:noinline
func (p *pair) sum() int { return p.a + p.b }

//go:noinline
func deeper(n int) int { return deeper(n+1) + 1 }

var sink [][]byte

func main() {
	ways[os.Args[1]]()
}

var ways = map[string]func(){
	"nil":    func() { var p *pair; fmt.Println(p.sum()) },
	"other":  func() { go func() { var p *pair; fmt.Println(p.sum()) }(); select {} },
	"index":  func() { fmt.Println(os.Args[len(os.Args)+3]) },
	"slice":  func() { fmt.Println(os.Args[len(os.Args)+3:]) },
	"divide": func() { fmt.Println(1 / (len(os.Args) - 2)) },
	"assert": func() { var v any = 1; fmt.Println(v.(string)) },
	"nilmap": func() { var m map[string]int; m["a"] = 1 },
	"closed": func() { c := make(chan int); close(c); close(c) },
	"struct": func() { panic(pair{1, 2}) },
	"name":   func() { panic(name("no (such) thing")) },
	"code":   func() { panic(code(-4)) },
	"error":  func() { panic(fmt.Errorf("outer: %w", &failure{errors.New("inner")})) },
	"lines":  func() { panic("one\ntwo\n\nthree") },
	"again":  func() { defer func() { panic(fmt.Sprint("after ", recover())) }(); panic("first") },
	"same":   func() { defer func() { panic(recover()) }(); panic("first") },
	"during": func() { defer func() { panic("second") }(); panic("first") },
	"goexit": func() {
		go func() { defer func() { panic("too late") }(); runtime.Goexit() }()
		select {}
	},
	"asleep":   func() { var mu sync.Mutex; mu.Lock(); mu.Lock() },
	"exit":     runtime.Goexit,
	"overflow": func() { debug.SetMaxStack(1 << 20); deeper(0) },
	"memory":   func() { sink = append(sink, make([]byte, 1<<46)) },
	"unlock":   func() { var mu sync.Mutex; mu.Unlock() },
	"open":     func() { fmt.Fprint(os.Stderr, "50 % done"); panic("stopped") },
}
