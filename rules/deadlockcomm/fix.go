package deadlockcomm

import (
	"slices"

	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// The fixes, by what the goroutines wait for.
const (
	mixedFix = "Never wait for somebody with something in your hand that he needs: copy what is needed under the lock, release it, and then send. " +
		"Give the channel an end of its own on each way out, and every wait a way to be cancelled."
	sendFix = "Somebody in the circle must be able to receive while it wants to send: select over both, hand the answers to a goroutine of their own, or " +
		"collect them and send them once the other side has been served. A larger buffer only makes it rarer."
	lockFix = "Do not send, receive or wait with a lock held that the other side needs: copy what is needed under the lock, release it, and then send."
	selfFix = "A task must not wait for the group that it is part of, nor start tasks of its own group when that has a limit: wait outside of the tasks, " +
		"or give what a task starts a group of its own."
	groupFix = "Count Add and Done on every way out: write defer wg.Done() as the first line of the goroutine, call Add before the go statement, once for " +
		"each goroutine, and let Wait be called only by who is not counted."
	condFix = "Change the condition and wake its waiters under one lock, and wake all of them (Broadcast) where more than one may go on. A Signal that " +
		"comes before the Wait is lost: test the condition in a loop before each Wait."
	receiveFix = "Somebody must send or close on every way out: write defer close(ch) as the first line of the goroutine that sends, send a result also for " +
		"the error, and let the receiver give up when a context is done."
	receiverFix = "Whoever receives must go on until the channel is closed, or tell the senders that it has gone: let each send be a case of a select " +
		"with a context or a done channel, or make the buffer as large as what will be sent."
	caseFix = "All that the select listens to has gone: whoever sends must send or close on every way out, and a case for the end (ctx.Done(), a channel that " +
		"its owner closes) lets it give up."
	nilFix = "The channel was never made, or a variable with the same name hides it: make it before the goroutines start. A nil channel is of use only as " +
		"a case of a select that is to be left out. The Done of a context that nothing can end, such as context.Background(), is nil too."
)

// ringFix is the fix of a circle.
func (t *teller) ringFix(links []derive.KnotLink) string {
	if len(links) == 1 {
		return selfFix
	}
	kinds := func(match func(evidence.Sync) bool) bool {
		return slices.ContainsFunc(links, func(l derive.KnotLink) bool {
			s, _ := t.g.Object(l.Object)
			return match(s)
		})
	}
	switch {
	case kinds(func(s evidence.Sync) bool { return s.Kind == evidence.SyncMutex || s.Kind == evidence.SyncRWMutex }):
		return lockFix
	case !kinds(func(s evidence.Sync) bool { return s.Kind != evidence.SyncChannel }):
		return sendFix
	}
	return mixedFix
}
