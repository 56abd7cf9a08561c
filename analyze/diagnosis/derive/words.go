package derive

import "fmt"

// Count is a number with what it counts: Count(1, "goroutine waits", "goroutines wait") is "1 goroutine waits".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
