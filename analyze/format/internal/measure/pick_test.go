package measure

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPick(t *testing.T) {
	all := []string{"small", "large", "long"}
	same := func(s string) string { return s }
	for names, want := range map[string][]string{"": all, "long,small": {"long", "small"}, "large": {"large"}} {
		if got, err := Pick(all, names, same); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q picks %v, %v: want %v", names, got, err, want)
		}
	}
	if _, err := Pick(all, "small,huge", same); err == nil || !strings.Contains(err.Error(), "huge") {
		t.Errorf("a name that none has: %v", err)
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.000 s", 1234567 * time.Microsecond: "1.235 s", 12345 * time.Millisecond: "12.3 s"} {
		if got := Seconds(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
