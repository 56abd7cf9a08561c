package gocore

import (
	"slices"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/ahead"
)

// TestAlike: events that do the same to the same are told by the first of them, and those that do nothing to locks by none.
func TestAlike(t *testing.T) {
	lock, other := ahead.Const(8), ahead.Const(16)
	r := &ahead.Reading{Events: []ahead.Event{
		{Kind: uint8(actUnlock), Target: lock},
		{Kind: uint8(actSend), Target: lock},
		{Kind: uint8(actUnlock), Target: other, At: 1},
		{Kind: uint8(actUnlock), Target: lock, At: 2, Extra: [3]ahead.Value{other}},
		{Kind: uint8(actDynamic), Target: lock},
		{Kind: uint8(actDynamic), Target: lock, Extra: [3]ahead.Value{other}},
		{Kind: uint8(actDynamic), Target: lock, At: 3},
		{Kind: uint8(actLock), Target: lock},
	}}
	if got, want := alike(r), []int32{0, -1, 2, 0, 4, 5, 4, 7}; !slices.Equal(got, want) {
		t.Errorf("%d, want %d", got, want)
	}
}
