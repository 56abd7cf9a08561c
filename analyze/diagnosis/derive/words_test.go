package derive

import "testing"

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 mice", 1: "1 mouse", 2: "2 mice"} {
		if got := Count(n, "mouse", "mice"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
