//go:build cgo && linux

package main

/*
#cgo LDFLAGS: -lpthread
#include <pthread.h>

extern void goCallback(int);

static void *thread(void *arg) {
	for (int i = 0; i < 5; i++) {
		goCallback(i);
	}
	return 0;
}

static void callFromThreads(void) {
	pthread_t ts[3];
	for (int i = 0; i < 3; i++) {
		pthread_create(&ts[i], 0, thread, 0);
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(ts[i], 0);
	}
}

static void callHere(void) { goCallback(1); }
*/
import "C"

import "time"

func init() { later = append(later, callbacks) }

//export goCallback
func goCallback(i C.int) {
	if i == 3 {
		time.Sleep(100 * time.Microsecond)
	}
}

// callbacks has C call into Go: from threads that Go has not made, and from one that it has.
func callbacks() {
	C.callFromThreads()
	for i := 0; i < 10; i++ {
		C.callHere()
	}
}
