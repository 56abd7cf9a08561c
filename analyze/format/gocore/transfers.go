package gocore

import (
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// transferFunc is a function that reads or writes: which of its flattened arguments is the length of the buffer, and which
// the descriptor or the poll.FD.
type transferFunc struct {
	name   string
	write  bool
	length int
	fd     int // index of the descriptor; -1 when the first argument is a *poll.FD
}

// transferFuncs are the functions of the standard library in which a read or write waits or calls the kernel. A method's
// first argument is its receiver; a slice is three words. internal/poll/fd_unix.go, syscall/zsyscall_linux_*.go, Go 1.21 to
// 1.26.
var transferFuncs = []transferFunc{
	{"syscall.read", false, 2, 0}, {"syscall.write", true, 2, 0},
	{"syscall.pread", false, 2, 0}, {"syscall.pwrite", true, 2, 0},
	{"syscall.Read", false, 2, 0}, {"syscall.Write", true, 2, 0},
	{"syscall.recvfrom", false, 2, 0}, {"syscall.sendto", true, 2, 0},
	{"internal/poll.(*FD).Read", false, 2, -1}, {"internal/poll.(*FD).Write", true, 2, -1},
	{"internal/poll.(*FD).Pread", false, 2, -1}, {"internal/poll.(*FD).Pwrite", true, 2, -1},
	{"internal/poll.(*FD).ReadFrom", false, 2, -1}, {"internal/poll.(*FD).WriteTo", true, 2, -1},
}

// maxLength bounds a buffer length that is believed.
const maxLength = 1 << 40

// maxTransfers bounds the rows of one part of allgs; beyond, the lengths of further goroutines are left out and a Gap says so.
const maxTransfers = 1 << 10

// transferAt is what a worker knows of a distinct stack: whether it is in a read or write, and at which frames.
type transferAt struct {
	index int // of the frame in the walk; the outer ones follow
	fn    transferFunc
}

// transferRow is a transfer whose Depth still counts the frames of the machine and not the inlined ones.
type transferRow struct {
	stack uint32
	evidence.Transfer
}

// transfersOf finds the read and write functions on a stack, innermost first.
func (w *worker) transfersOf(pcs []pcRef) []transferAt {
	const depth = 12 // a read stands close to the end of the stack
	var found []transferAt
	for i, pc := range pcs[:min(len(pcs), depth)] {
		if w.u.cache.marks[pc]&markNoTransfer != 0 {
			continue
		}
		if e := w.u.cache.infos[pc]; e.ok {
			if f, ok := w.t.transfers[e.fn.Entry]; ok {
				found = append(found, transferAt{i, f})
				continue
			}
		}
		w.u.cache.marks[pc] |= markNoTransfer
	}
	return found
}

// prepareTransfers finds the functions in this program.
func (t *target) prepareTransfers() {
	names := make([]string, len(transferFuncs))
	for i, f := range transferFuncs {
		names[i] = f.name
	}
	found := t.tab.Lookup(names...)
	t.transfers = map[uint64]transferFunc{}
	for _, f := range transferFuncs {
		if fn, ok := found[f.name]; ok {
			t.transfers[fn.Entry] = f
		}
	}
}

// transfer notes the read or write that the goroutine of the last walk is in, when the compiler's tables say that its length
// is still in its slot.
func (w *worker) transfer(row *gRow, trap bool) {
	s := &w.stacks[row.stack]
	if !s.looked {
		s.looked = true
		s.transfers = w.transfersOf(w.u.refs)
	}
	for _, at := range s.transfers {
		args := w.t.frameArguments(w.u.mem, w.u.pcs, w.u.sps, at.index, at.index == 0 && trap)
		if len(args) <= at.fn.length || !args[at.fn.length].known || !args[at.fn.length].live || args[at.fn.length].value > maxLength {
			continue
		}
		if len(w.transfers) == maxTransfers {
			w.t.truncated.Store(true)
			return
		}
		w.transfers = append(w.transfers, transferRow{row.stack, evidence.Transfer{
			Goroutine: row.id, Function: at.fn.name, Write: at.fn.write, Length: int64(args[at.fn.length].value),
			FD: w.descriptor(at.fn, args), Depth: at.index, Trust: evidence.TrustRead,
		}})
		return
	}
}

func (w *worker) descriptor(f transferFunc, args []argument) int {
	if f.fd >= 0 {
		if a := args[f.fd]; a.known && a.live {
			return int(int32(a.value))
		}
		return -1
	}
	off, ok := w.t.layout.Offset("internal/poll.FD.Sysfd")
	if !ok || !args[0].known || !args[0].live {
		return -1
	}
	fd, ok := w.u.mem.Uint32(args[0].value + off)
	if !ok {
		return -1
	}
	return int(int32(fd))
}
