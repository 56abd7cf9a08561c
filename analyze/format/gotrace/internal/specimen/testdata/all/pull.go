//go:build go1.23

package main

import "iter"

func init() { later = append(later, coroutines) }

// coroutines hands over between goroutines directly: some sequences are read to their end, some are stopped.
func coroutines() {
	for i := 0; i < 20; i++ {
		next, stop := iter.Pull(func(yield func(int) bool) {
			for j := 0; j < 10; j++ {
				if !yield(j) {
					return
				}
			}
		})
		for {
			v, ok := next()
			if !ok || i%2 == 0 && v == 5 {
				break
			}
		}
		stop()
	}
}
