// Package resourceexhaustion recognises pools and semaphores of which all slots are gone.
//
// A limit is there so that a slow database, peer or disk is not asked for more than it can do. It turns into a trap in three ways. Who
// has a slot asks for a second one: when as many do that at once as there are slots, nobody gets any further. A slot is not given back
// on one of the ways out, such as rows that are not closed or a token that is dropped on an error: after as many errors as there are
// slots everybody waits for ever. Or those who have the slots are stuck themselves, in a request without a deadline.
//
// What is shared with the deadlock rules is the moment, not the cure: here the cause is what is done with the slots, so this rule names
// the lines at which they are kept.
package resourceexhaustion

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is resource-exhaustion.
var Rule = &diagnosis.Rule{
	Name:  "resource-exhaustion",
	Class: "resource-exhaustion",
	Doc: &diagnosis.Doc{
		Title: "All slots of a pool or semaphore are gone, and everybody waits for one",
		Sees: "A database/sql.DB with a limit of connections, an http.Transport with MaxConnsPerHost, a semaphore or errgroup of " +
			"golang.org/x/sync, or a channel that serves as a semaphore has given away all its slots, and goroutines wait. In a core the " +
			"waiters are counted against the pool's own counters, and the holders are those whose live frames refer to rows, a " +
			"transaction, an open response body, or to the semaphore with its release pending or ahead. It is said whether every " +
			"holder waits for another slot, whether nobody seems to have the slots any more, or in what the holders are stuck. In a " +
			"goroutine dump, without addresses, the stacks of the known pools alone are read, and everything is a possibility.",
		Hurts: "Nobody who needs the resource gets any further, and it does not mend by itself: each request that comes adds a goroutine " +
			"to the queue, until clients give up or memory ends. With a timeout on the waiting, all requests fail instead.",
		Confirm: "Take a second core or dump some seconds later: the same holders at the same lines settle it. The counters of the pool " +
			"(sql.DBStats, the length of the channel) stay at the limit although nothing is being done.",
		Fix: "Give every slot back on every way out: defer rows.Close(), tx.Rollback(), resp.Body.Close() or the release directly behind " +
			"the place where the slot was got and the error was checked. Give what is done with a slot held a deadline.",
		Not: "A limit under load, whose holders compute, are about to run, or have a deadline that will wake them; a pool of workers that " +
			"waits for work (an empty queue has receivers and no holders); a full queue whose consumer is alive; callers that wait for one " +
			"shared result. Holders in a long request stay silent while the queue behind them is short, and are a remark " +
			"while nobody is known to have waited for seconds: that is what a limit on calls to the outside looks like under load.",
		Before: "func (s *Shop) Prices(ids []int) error {\n\trows, err := s.db.Query(\"select id from items\")\n\tif err != nil {\n\t\treturn err\n\t}\n" +
			"\tdefer rows.Close()\n\tfor rows.Next() {\n\t\ts.db.QueryRow(\"select price ...\") // a second connection, the first still held\n\t}\n" +
			"\treturn rows.Err()\n}",
		After: "func (s *Shop) Prices(ids []int) error {\n\tids, err := s.readIDs() // reads all rows and closes them\n\tif err != nil {\n\t\treturn err\n\t}\n" +
			"\tfor _, id := range ids {\n\t\ts.db.QueryRow(\"select price ...\")\n\t}\n\treturn nil\n}",
		Since: "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines | evidence.KindPools, evidence.KindGoroutines | evidence.KindSyncs | evidence.KindHolds,
		evidence.KindGoroutines},
	Limits: []diagnosis.Limit{
		{Name: "min-waiters", Doc: "goroutines that must wait for a slot, unless every holder waits as well", Default: 2,
			Origin: "a single waiter is how a limit works; a second one behind it is a queue"},
		{Name: "stuck-queue", Doc: "waiters for each slot, from which holders that are blocked in something else are reported", Default: 1,
			Origin: "with a waiter for each slot, the whole limit is asked for a second time while nobody gives a slot back"},
		{Name: "stuck-seconds", Doc: "seconds that somebody has waited for a slot whose holders are blocked in something else, to be likely",
			Default: 5, Origin: "a dependency that has not answered for some seconds is no longer just slow; a core without ages shows one moment"},
		{Name: "critical-seconds", Doc: "seconds that somebody has waited for a slot that nobody seems to have, to be critical",
			Default: 60, Origin: "requests to databases and services end within a minute by most defaults (http.Server and proxies: 30 to 60 s)"},
	},
	Uses: []diagnosis.Dependency{derive.OfFrames, derive.OfSlots},
	Run:  run,
}

func run(p *diagnosis.Pass) error {
	frames, err := diagnosis.Of(p, derive.OfFrames)
	if err != nil {
		return err
	}
	slots, err := diagnosis.Of(p, derive.OfSlots)
	if err != nil {
		return err
	}
	p.Silent("nobody waits for a slot of a pool or semaphore")
	j := &judge{p: p, c: p.Case, f: frames, slots: slots}
	for i := range slots.List {
		j.resource(&slots.List[i])
	}
	for _, f := range j.findings {
		p.Report(f)
	}
	return nil
}
