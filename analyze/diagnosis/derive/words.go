package derive

import (
	"fmt"
	"strings"
)

// Count is a number with what it counts: Count(1, "goroutine waits", "goroutines wait") is "1 goroutine waits".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Amount is a number in words, to two digits: "1,200".
func Amount(v float64) string {
	unit := 1.0
	for v/unit >= 99.5 {
		unit *= 10
	}
	text := fmt.Sprintf("%.0f", float64(int64(v/unit+0.5))*unit)
	var b strings.Builder
	for i, r := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}
