package measure

import (
	"fmt"
	"strings"
	"time"
)

// Pick returns the elements that a flag names, separated by commas; all of them when it is empty. A name that none has is an error.
func Pick[T any](all []T, names string, nameOf func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var picked []T
	for _, name := range strings.Split(names, ",") {
		n := len(picked)
		for _, one := range all {
			if nameOf(one) == name {
				picked = append(picked, one)
			}
		}
		if len(picked) == n {
			return nil, fmt.Errorf("there is no %q", name)
		}
	}
	return picked, nil
}

// Seconds is a duration as the tables of the page have it.
func Seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
