package gocore

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// absent is the offset of an optional field that the runtime's version does not have.
const absent = ^uint64(0)

// offsets are the places of the fields that the reader wants, resolved once per core. The tag is the path of the field in
// the layout; "|" separates names that differ by version, and ",optional" marks what some versions do not have.
type offsets struct {
	G struct {
		Size       uint64 `size:"runtime.g"`
		StackLo    uint64 `field:"runtime.g.stack.lo"`
		StackHi    uint64 `field:"runtime.g.stack.hi"`
		Panic      uint64 `field:"runtime.g._panic"`
		Defer      uint64 `field:"runtime.g._defer"`
		M          uint64 `field:"runtime.g.m"`
		SP         uint64 `field:"runtime.g.sched.sp"`
		PC         uint64 `field:"runtime.g.sched.pc"`
		LR         uint64 `field:"runtime.g.sched.lr,optional"`
		SyscallSP  uint64 `field:"runtime.g.syscallsp"`
		SyscallPC  uint64 `field:"runtime.g.syscallpc"`
		Status     uint64 `field:"runtime.g.atomicstatus"`
		ID         uint64 `field:"runtime.g.goid"`
		WaitSince  uint64 `field:"runtime.g.waitsince"`
		WaitReason uint64 `field:"runtime.g.waitreason"`
		Async      uint64 `field:"runtime.g.asyncSafePoint"`
		LockedM    uint64 `field:"runtime.g.lockedm"`
		Sig        uint64 `field:"runtime.g.sig"`
		SigCode0   uint64 `field:"runtime.g.sigcode0"`
		SigCode1   uint64 `field:"runtime.g.sigcode1"`
		SigPC      uint64 `field:"runtime.g.sigpc"`
		Parent     uint64 `field:"runtime.g.parentGoid"`
		GoPC       uint64 `field:"runtime.g.gopc"`
		StartPC    uint64 `field:"runtime.g.startpc"`
		Waiting    uint64 `field:"runtime.g.waiting"`
		Labels     uint64 `field:"runtime.g.labels"`
		Bubble     uint64 `field:"runtime.g.bubble|runtime.g.syncGroup,optional"`
		SleepWhen  uint64 `field:"runtime.g.sleepWhen,optional"`
		Timer      uint64 `field:"runtime.g.timer,optional"`
	}
	M struct {
		G0       uint64 `field:"runtime.m.g0"`
		GSignal  uint64 `field:"runtime.m.gsignal"`
		Cur      uint64 `field:"runtime.m.curg"`
		P        uint64 `field:"runtime.m.p"`
		ID       uint64 `field:"runtime.m.id"`
		ProcID   uint64 `field:"runtime.m.procid"`
		Throwing uint64 `field:"runtime.m.throwing"`
		Dying    uint64 `field:"runtime.m.dying"`
		Spinning uint64 `field:"runtime.m.spinning"`
		Blocked  uint64 `field:"runtime.m.blocked"`
		InCgo    uint64 `field:"runtime.m.incgo"`
		NCgo     uint64 `field:"runtime.m.ncgo"`
		AllLink  uint64 `field:"runtime.m.alllink"`
		LockedG  uint64 `field:"runtime.m.lockedg"`
		VDSOSP   uint64 `field:"runtime.m.vdsoSP,optional"`
		VDSOPC   uint64 `field:"runtime.m.vdsoPC,optional"`
	}
	P struct {
		ID          uint64 `field:"runtime.p.id"`
		Status      uint64 `field:"runtime.p.status"`
		SchedTick   uint64 `field:"runtime.p.schedtick"`
		SyscallTick uint64 `field:"runtime.p.syscalltick"`
		M           uint64 `field:"runtime.p.m"`
		RunQHead    uint64 `field:"runtime.p.runqhead"`
		RunQTail    uint64 `field:"runtime.p.runqtail"`
		RunNext     uint64 `field:"runtime.p.runnext"`
		TickWhen    uint64 `field:"runtime.p.sysmontick.schedwhen,optional"`
		CallWhen    uint64 `field:"runtime.p.sysmontick.syscallwhen,optional"`
	}
	Sched struct {
		LastPoll  uint64 `field:"runtime.schedt.lastpoll"`
		IdlePs    uint64 `field:"runtime.schedt.npidle"`
		Spinning  uint64 `field:"runtime.schedt.nmspinning"`
		QueueSize uint64 `field:"runtime.schedt.runqsize|runtime.schedt.runq.size"`
		GCWaiting uint64 `field:"runtime.schedt.gcwaiting"`
	}
	Sudog struct {
		G        uint64 `field:"runtime.sudog.g"`
		Next     uint64 `field:"runtime.sudog.next"`
		Prev     uint64 `field:"runtime.sudog.prev"`
		Elem     uint64 `field:"runtime.sudog.elem.vu|runtime.sudog.elem"`
		WaitLink uint64 `field:"runtime.sudog.waitlink"`
		C        uint64 `field:"runtime.sudog.c.vu|runtime.sudog.c"`
		IsSelect uint64 `field:"runtime.sudog.isSelect"`
	}
	Chan struct {
		Count    uint64 `field:"runtime.hchan.qcount"`
		Size     uint64 `field:"runtime.hchan.dataqsiz"`
		Closed   uint64 `field:"runtime.hchan.closed"`
		ElemSize uint64 `field:"runtime.hchan.elemsize"`
		Timer    uint64 `field:"runtime.hchan.timer,optional"`
		RecvQ    uint64 `field:"runtime.hchan.recvq.first"`
		SendQ    uint64 `field:"runtime.hchan.sendq.first"`
	}
	Timer struct {
		When   uint64 `field:"runtime.timer.when"`
		Period uint64 `field:"runtime.timer.period"`
	}
	PollDesc struct {
		ReadDeadline  uint64 `field:"runtime.pollDesc.rd"`
		WriteDeadline uint64 `field:"runtime.pollDesc.wd"`
	}
	NotifyList struct {
		Head   uint64 `field:"runtime.notifyList.head"`
		Wait   uint64 `field:"runtime.notifyList.wait"`
		Notify uint64 `field:"runtime.notifyList.notify"`
	}
	Panic struct {
		Arg       uint64 `field:"runtime._panic.arg"`
		Link      uint64 `field:"runtime._panic.link"`
		Recovered uint64 `field:"runtime._panic.recovered"`
		Goexit    uint64 `field:"runtime._panic.goexit"`
	}
	Defer struct {
		SP   uint64 `field:"runtime._defer.sp"`
		PC   uint64 `field:"runtime._defer.pc"`
		Fn   uint64 `field:"runtime._defer.fn"`
		Link uint64 `field:"runtime._defer.link"`
	}
}

// loadOffsets resolves every field of offsets. The error lists all that are missing.
func loadOffsets(l *layout.Layout) (*offsets, error) {
	var o offsets
	var missing []string
	groups := reflect.ValueOf(&o).Elem()
	for i := range groups.NumField() {
		group := groups.Field(i)
		for k := range group.NumField() {
			value, name := resolveField(l, group.Type().Field(k).Tag)
			if name != "" {
				missing = append(missing, name)
			}
			group.Field(k).SetUint(value)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the layout of %s has no %s", l.Version, strings.Join(missing, ", "))
	}
	return &o, o.check()
}

// check refuses what no runtime has, because the debug information of a forged executable may say anything: the reader takes
// the fields of a g out of one read of its size.
func (o *offsets) check() error {
	const largest = 1 << 20 // of the structures, a P has the most: some ten kilobytes
	if o.G.Size < 8 || o.G.Size > largest {
		return fmt.Errorf("a goroutine structure of %d bytes makes no sense", o.G.Size)
	}
	groups := reflect.ValueOf(o).Elem()
	for i := range groups.NumField() {
		most := uint64(largest)
		if groups.Type().Field(i).Name == "G" {
			most = o.G.Size - 8
		}
		for k := range groups.Field(i).NumField() {
			name := groups.Type().Field(i).Name + "." + groups.Field(i).Type().Field(k).Name
			if at := groups.Field(i).Field(k).Uint(); name != "G.Size" && at != absent && at > most {
				return fmt.Errorf("offset %d of %s makes no sense", at, name)
			}
		}
	}
	return nil
}

// resolveField returns the offset (or size) that a tag asks for, or the name of what is missing.
func resolveField(l *layout.Layout, tag reflect.StructTag) (value uint64, missing string) {
	if typ := tag.Get("size"); typ != "" {
		if n, ok := l.Size(typ); ok {
			return n, ""
		}
		return absent, typ
	}
	paths, optional := strings.CutSuffix(tag.Get("field"), ",optional")
	if off, ok := l.OffsetAny(strings.Split(paths, "|")...); ok {
		return off, ""
	}
	if optional {
		return absent, ""
	}
	return absent, paths
}
