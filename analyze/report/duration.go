package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// durationUnits are the units of Duration below a minute.
var durationUnits = []struct {
	ns   float64
	name string
}{{1, "ns"}, {1e3, "µs"}, {1e6, "ms"}, {1e9, "s"}}

// Duration writes nanoseconds with three significant digits and a unit: "412 ms", "1.28 s", "35 µs"; from a minute on "2m3s".
func Duration(ns int64) string {
	if ns < 0 {
		return "-" + Duration(-max(ns, -math.MaxInt64))
	}
	if ns >= int64(time.Minute) {
		return time.Duration(ns).Round(time.Second).String()
	}
	unit := durationUnits[0]
	for _, u := range durationUnits {
		if float64(ns) >= u.ns*0.9995 { // what would be rounded to 1000 of the smaller unit
			unit = u
		}
	}
	return threeDigits(float64(ns)/unit.ns) + " " + unit.name
}

// threeDigits writes a number below 1000 with three significant digits, without zeros at the end.
func threeDigits(v float64) string {
	digits := 2
	switch {
	case v >= 99.95:
		digits = 0
	case v >= 9.995:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// durationSum is Duration for sums, which are counted without a sign.
func durationSum(ns uint64) string { return Duration(int64(min(ns, math.MaxInt64))) }

// Moment writes when something happened: "+1.284 s" since the beginning. Within spans below a second milliseconds are told.
func Moment(ns, span int64) string {
	if span < int64(time.Second) {
		return fmt.Sprintf("+%.3f ms", float64(ns)/1e6)
	}
	return fmt.Sprintf("+%.3f s", float64(ns)/1e9)
}
