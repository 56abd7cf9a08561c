package godump

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// header is the first line of a block.
type header struct {
	id       int64
	gp, mp   uint64 // addresses of the runtime's g and m; 0 when not printed
	m        int64  // id of the M it is on; -1 when none or not printed
	detailed bool   // gp= and m= are printed: GOTRACEBACK=system or crash, or the goroutine that threw
	status   status
}

// status is what stands between the brackets of a header.
type status struct {
	text    string // the first part as printed: "chan receive (nil chan)"
	state   evidence.State
	reason  string // why it waits, as the runtime names it; empty when it does not wait
	minutes int
	flags   evidence.Flags
	bubble  int64 // of testing/synctest; 0 when none
	labels  string
}

// stateOf maps the words of gStatusStrings (runtime/traceback.go, Go 1.21 to 1.26). Everything else between the brackets is
// a wait reason.
var stateOf = map[string]evidence.State{
	"idle": evidence.StateIdle, "runnable": evidence.StateRunnable, "running": evidence.StateRunning,
	"syscall": evidence.StateSyscall, "waiting": evidence.StateWaiting, "dead": evidence.StateDead,
	"copystack": evidence.StateCopystack, "preempted": evidence.StatePreempted, "leaked": evidence.StateLeaked,
	"???": evidence.StateUnknown, "enqueue": evidence.StateUnknown, "moribund": evidence.StateUnknown,
	"deadextra": evidence.StateDead,
}

// durableReasons are wait reasons whose own text ends in "(durable)" (runtime/runtime2.go, waitReasonStrings). To others the
// header adds the word, and it is taken off again, so that a reason has one spelling.
var durableReasons = map[string]bool{
	"chan receive (durable)": true, "chan send (durable)": true, "select (durable)": true,
	"sync.WaitGroup.Wait (durable)": true,
}

// maxStatuses bounds the cache of statuses.
const maxStatuses = 4096

// headerReader parses headers. The brackets of a dump hold few different texts.
type headerReader struct{ known map[string]status }

// read parses a line for which isHeader holds; false when a number in it does not fit.
func (r *headerReader) read(line []byte) (header, bool) {
	h := header{m: -1}
	rest := line[len("goroutine "):]
	id, rest, _ := bytes.Cut(rest, []byte(" "))
	n, err := strconv.ParseInt(string(id), 10, 64)
	if err != nil {
		return h, false
	}
	h.id = n
	open := bytes.IndexByte(rest, '[')
	h.details(rest[:open])
	h.status = r.status(rest[open+1 : len(rest)-len("]:")])
	return h, true
}

func (h *header) details(s []byte) {
	for _, field := range bytes.Fields(s) {
		name, value, _ := bytes.Cut(field, []byte("="))
		switch string(name) {
		case "gp":
			h.gp, h.detailed = parseHex(value), true
		case "mp":
			h.mp = parseHex(value)
		case "m":
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				h.m = n
			}
		}
	}
}

func (r *headerReader) status(text []byte) status {
	if s, ok := r.known[string(text)]; ok {
		return s
	}
	s := parseStatus(string(text))
	if r.known == nil {
		r.known = map[string]status{}
	}
	if len(r.known) < maxStatuses {
		r.known[string(text)] = s
	}
	return s
}

func parseStatus(text string) status {
	var s status
	if before, labels, ok := strings.Cut(text, " labels:"); ok {
		text, s.labels = before, labels
	}
	parts := strings.Split(text, ", ")
	s.text = parts[0]
	s.word(parts[0])
	for _, part := range parts[1:] {
		s.property(part)
	}
	return s
}

func (s *status) word(text string) {
	word := strings.TrimSuffix(text, " (scan)")
	bare := strings.TrimSuffix(word, " (durable)")
	if bare != word && !durableReasons[word] {
		word = bare
	}
	reason, leaked := strings.CutSuffix(strings.TrimSuffix(word, " (scan)"), " (leaked)")
	state, known := stateOf[reason]
	switch {
	case leaked:
		s.state = evidence.StateLeaked
	case known:
		s.state = state
		return
	default:
		s.state = evidence.StateWaiting
	}
	if !known {
		s.reason = reason
	}
}

func (s *status) property(text string) {
	if n, ok := strings.CutSuffix(text, " minutes"); ok {
		if minutes, err := strconv.ParseInt(n, 10, 32); err == nil && minutes > 0 {
			s.minutes = int(minutes)
		}
		return
	}
	if text == "locked to thread" {
		s.flags |= evidence.FlagLocked
		return
	}
	for _, prefix := range []string{"synctest bubble ", "synctest group "} { // the second in Go 1.24
		if n, ok := strings.CutPrefix(text, prefix); ok {
			s.flags |= evidence.FlagBubble
			s.bubble, _ = strconv.ParseInt(n, 10, 64)
		}
	}
}

// seconds is how long the goroutine has waited, at least.
func (s *status) seconds() uint32 {
	const most = 1<<32 - 1
	return uint32(min(int64(s.minutes)*60, most))
}

// parseHex reads "0x1f"; 0 for anything else.
func parseHex(s []byte) uint64 {
	if len(s) < 3 || len(s) > 18 || s[0] != '0' || s[1] != 'x' {
		return 0
	}
	var v uint64
	for _, c := range s[2:] {
		switch {
		case isDigit(c):
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0
		}
	}
	return v
}
