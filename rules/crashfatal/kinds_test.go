package crashfatal

import "testing"

// TestKinds holds the table against the texts as the runtime writes them.
func TestKinds(t *testing.T) {
	for text, want := range map[string]kind{
		"concurrent map writes":                                          {onMap: true},
		"concurrent map read and map write":                              {onMap: true},
		"concurrent map iteration and map write":                         {onMap: true},
		"concurrent map clone and map write":                             {onMap: true},
		"all goroutines are asleep - deadlock!":                          {asleep: true},
		"no goroutines (main called runtime.Goexit) - deadlock!":         {asleep: true},
		"sync: unlock of unlocked mutex":                                 {verb: "unlocked a lock that was not locked"},
		"sync: RUnlock of unlocked RWMutex":                              {verb: "unlocked a lock that was not locked"},
		"sync: Unlock of unlocked RWMutex":                               {verb: "unlocked a lock that was not locked"},
		"go of nil func value":                                           {verb: "started a goroutine with a nil function"},
		"found bad pointer in Go heap (incorrect use of unsafe or cgo?)": {verb: "met memory that the runtime found corrupted"},
		"checkptr: misaligned pointer conversion":                        {verb: "made an invalid unsafe.Pointer"},
		"runtime.newosproc":                                              {verb: "needed a new thread that the system refused"},
		"thread exhaustion":                                              {verb: "needed a new thread that the system refused"},
		"something new":                                                  {},
	} {
		got := kindOf(text)
		if got.onMap != want.onMap || got.asleep != want.asleep || want.verb != "" && got.verb != want.verb {
			t.Errorf("%q is taken for %+v", text, got)
		}
		if text != "something new" && got.fix == "" {
			t.Errorf("%q has no fix", text)
		}
	}
}

func TestOwner(t *testing.T) {
	for function, want := range map[string]string{
		"main.(*Registry).Get": "main.(*Registry)", "main.(*Registry).Get.func1": "main.(*Registry)", "main.put": "main.put",
	} {
		if got := owner(function); got != want {
			t.Errorf("owner(%q) is %q, want %q", function, got, want)
		}
	}
}
