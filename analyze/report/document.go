package report

// Schema is the name and version of the JSON contract. Fields are only added under one version.
const Schema = "postmortem.report/1"

// Document is a report without syntax, in the order in which it is told. Any field may be empty.
type Document struct {
	Schema   string      `json:"schema"`
	Tool     Tool        `json:"tool"`
	Inputs   []Input     `json:"inputs,omitempty"`
	Verdict  Verdict     `json:"verdict"`
	Impact   []Statement `json:"impact,omitempty"`
	Timeline []Event     `json:"timeline,omitempty"` // only events that have a source
	Course   *Course     `json:"course,omitempty"`   // what happened over time; absent when the evidence is of one moment
	Findings []Finding   `json:"findings,omitempty"` // the best explanation first
	Waits    Graph       `json:"waits,omitzero"`     // who waits for what, and who holds it

	RuledOut   []Silence `json:"ruled_out,omitempty"`
	NotChecked []Silence `json:"not_checked,omitempty"`
	Gaps       []Gap     `json:"gaps,omitempty"`
	Coverage   Coverage  `json:"coverage,omitzero"`
	Proof      *Proof    `json:"proof,omitempty"`    // absent when nobody looked for goroutines that can never wake
	Paths      []Path    `json:"paths,omitempty"`    // why goroutines are not lost, where that was asked for
	HeapUse    *HeapUse  `json:"heap_use,omitempty"` // absent when the heap was not counted object by object
	Notes      []string  `json:"notes,omitempty"`    // what evidence of this kind cannot show

	Process   Process   `json:"process,omitzero"`
	Death     *Death    `json:"death,omitempty"`
	Reproduce []string  `json:"reproduce,omitempty"` // commands
	Next      []string  `json:"next,omitempty"`      // commands and steps
	ToDo      []Section `json:"todo,omitempty"`      // what only people can fill in

	Rows    []Row    `json:"rows,omitempty"`   // every row that is cited above, by reference
	Stacks  []Group  `json:"stacks,omitempty"` // goroutines by stack: the largest groups, and all that are cited
	Omitted *Omitted `json:"stacks_omitted,omitempty"`
}

// Tool is the program that made the report.
type Tool struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

// Input is one file that was read.
type Input struct {
	Path    string `json:"path,omitempty"`
	Format  string `json:"format,omitempty"`
	SHA256  string `json:"sha256,omitempty"` // hex
	Size    int64  `json:"size,omitempty"`   // bytes
	BuildID string `json:"build_id,omitempty"`
}

// Status is how firmly the verdict or a finding stands.
type Status string

// The statuses, from firm to none.
const (
	Established  Status = "established"  // a finding that is proved
	Supported    Status = "supported"    // a finding that is likely
	Suspected    Status = "suspected"    // a finding that is possible
	Inconclusive Status = "inconclusive" // nothing found, but too much could not be read, or the death is not explained
	Clean        Status = "clean"        // nothing found in evidence that was read
)

// Verdict is the answer.
type Verdict struct {
	Status   Status   `json:"status,omitempty"`
	Sentence string   `json:"sentence,omitempty"` // what happened, who, where, how sure
	Finding  string   `json:"finding,omitempty"`  // id of the finding it was made from
	Detail   []string `json:"detail,omitempty"`   // what the sentence does not say: limits, what remains open
}

// Statement is a sentence with the rows it was computed from.
type Statement struct {
	Text string   `json:"text,omitempty"`
	Refs []string `json:"refs,omitempty"`
}

// Event is something that happened, with the source that says so.
type Event struct {
	At     string   `json:"at,omitempty"` // "at least 3m0s before the end" where the evidence is of one moment; "+1.284 s" since the beginning of a trace
	Text   string   `json:"text,omitempty"`
	Source string   `json:"source,omitempty"` // the field it was read from, and the file
	Refs   []string `json:"refs,omitempty"`
}

// Finding is one diagnosis.
type Finding struct {
	ID         string     `json:"id,omitempty"` // "F1"
	Rule       string     `json:"rule,omitempty"`
	Class      string     `json:"class,omitempty"`
	Title      string     `json:"title,omitempty"`      // of the rule's page
	Severity   string     `json:"severity,omitempty"`   // critical, warning, info
	Confidence string     `json:"confidence,omitempty"` // proved, likely, possible
	Status     Status     `json:"status,omitempty"`
	Claim      string     `json:"claim,omitempty"` // one sentence without a final stop
	Location   *Location  `json:"location,omitempty"`
	Locations  []Location `json:"locations,omitempty"`
	Subject    string     `json:"subject,omitempty"`
	Victims    *Victims   `json:"victims,omitempty"`
	Because    []Evidence `json:"because,omitempty"`
	Against    []Evidence `json:"against,omitempty"`
	How        string     `json:"how,omitempty"`    // how the confidence came about
	Settle     string     `json:"settle,omitempty"` // what evidence would decide what this evidence cannot
	Fix        string     `json:"fix,omitempty"`
	Source     *Excerpt   `json:"source,omitempty"` // lines around Location
	Next       []string   `json:"next,omitempty"`
	Docs       string     `json:"docs,omitempty"` // the rule's page
}

// Location is a line of code.
type Location struct {
	Function string `json:"function,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Role     string `json:"role,omitempty"`
	Ref      string `json:"ref,omitempty"` // the row whose stack holds it
}

// Victims counts who suffers and names some.
type Victims struct {
	Count  int      `json:"count"`
	Sample []string `json:"sample,omitempty"`
}

// Evidence is one reason with the rows it was read from.
type Evidence struct {
	ID   string   `json:"id,omitempty"` // "E1", numbered over the whole report
	Text string   `json:"text,omitempty"`
	Refs []string `json:"refs,omitempty"`
	More int      `json:"more_refs,omitempty"` // references that were left out
	Show string   `json:"show,omitempty"`      // the command that prints the first row again
}

// Excerpt is a piece of source code.
type Excerpt struct {
	File   string `json:"file,omitempty"`
	Blamed int    `json:"blamed,omitempty"` // line number
	Lines  []Line `json:"lines,omitempty"`
}

// Line is a line of source code.
type Line struct {
	Number int    `json:"number"`
	Text   string `json:"text"`
}

// Silence is a rule that reported nothing, and why.
type Silence struct {
	Rule string `json:"rule,omitempty"`
	Why  string `json:"why,omitempty"`
}

// Gap is something that could not be read.
type Gap struct {
	Source string `json:"source,omitempty"`
	What   string `json:"what,omitempty"`
	Why    string `json:"why,omitempty"`
}

// Coverage is how much of the evidence was read.
type Coverage struct {
	Sentence   string `json:"sentence,omitempty"`
	Goroutines Share  `json:"goroutines,omitzero"`
	Threads    Share  `json:"threads,omitzero"`
	Dead       int    `json:"dead,omitempty"` // finished goroutines whose structures wait for reuse
	// Reachability is what the search for goroutines that can never wake gave, or why it gave nothing.
	Reachability string `json:"reachability,omitempty"`
}

// Proof is how far the search for goroutines that can never wake came.
type Proof struct {
	Done       bool   `json:"done"`
	Refused    string `json:"refused,omitempty"` // why there are no verdicts
	Candidates int    `json:"candidates"`        // goroutines that only the program itself can wake
	Never      int    `json:"never"`             // of these, the ones that can never wake
	Objects    uint64 `json:"objects,omitempty"` // reached on the heap
	Bytes      uint64 `json:"bytes,omitempty"`
	Precise    uint64 `json:"precise,omitempty"`  // words of roots read by a pointer map
	Doubtful   uint64 `json:"doubtful,omitempty"` // words of roots taken for pointers without one
}

// Path is why one goroutine can still be woken, or that it cannot.
type Path struct {
	Goroutine string     `json:"goroutine,omitempty"` // reference
	Wake      string     `json:"wake,omitempty"`      // unknown, possible, never, by-design
	Answer    string     `json:"answer,omitempty"`    // one sentence
	Sync      string     `json:"sync,omitempty"`      // reference of the object that the path leads to
	Steps     []PathStep `json:"steps,omitempty"`     // from a root of the process to the object
	Helpers   []Evidence `json:"helpers,omitempty"`   // who holds what it waits for, or could wake it
}

// PathStep is one object on a path.
type PathStep struct {
	Kind      string `json:"kind,omitempty"` // global, stack, object, finalizer, runtime, goroutine
	Addr      string `json:"addr,omitempty"` // hexadecimal
	Name      string `json:"name,omitempty"` // of the global, the function or the type
	Size      uint64 `json:"size,omitempty"` // of a heap object, bytes
	Offset    uint64 `json:"offset,omitempty"`
	Goroutine string `json:"goroutine,omitempty"` // whose stack
	Text      string `json:"text,omitempty"`      // one line
}

// Share is how many of the things that were seen could be unwound.
type Share struct {
	Seen    int `json:"seen"`
	Unwound int `json:"unwound"`
}

// Process is the environment of the incident.
type Process struct {
	PID        int       `json:"pid,omitempty"`
	Language   string    `json:"language,omitempty"`
	Version    string    `json:"version,omitempty"`
	GOOS       string    `json:"goos,omitempty"`
	GOARCH     string    `json:"goarch,omitempty"`
	Signal     string    `json:"signal,omitempty"`
	Threads    int       `json:"threads,omitempty"`
	Goroutines int       `json:"goroutines,omitempty"`
	Modules    []Module  `json:"modules,omitempty"`
	Executable string    `json:"executable,omitempty"`
	MainModule string    `json:"main_module,omitempty"`
	GOMAXPROCS int       `json:"gomaxprocs,omitempty"`
	CPUs       int       `json:"cpus,omitempty"`
	Uptime     string    `json:"uptime,omitempty"` // at least this long
	Experiment string    `json:"experiment,omitempty"`
	Stripped   bool      `json:"stripped,omitempty"`
	Settings   []Setting `json:"settings,omitempty"` // of the build: those that cannot hold secrets
	Args       []string  `json:"args,omitempty"`     // only when asked for
	Environ    []string  `json:"environ,omitempty"`  // names, only when asked for
}

// Module is a dependency of the build.
type Module struct {
	Path    string `json:"path,omitempty"`
	Version string `json:"version,omitempty"`
}

// Setting is a setting of the build.
type Setting struct {
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"`
}

// Death is how the process ended.
type Death struct {
	Sentence  string `json:"sentence,omitempty"`
	Signal    string `json:"signal,omitempty"`
	Code      int64  `json:"code,omitempty"`   // si_code
	Sender    int    `json:"sender,omitempty"` // process id
	FaultAddr string `json:"fault_address,omitempty"`
	FaultPC   string `json:"fault_pc,omitempty"`
	Fatal     string `json:"fatal,omitempty"`
	Thread    int    `json:"thread,omitempty"`
	Goroutine int64  `json:"goroutine,omitempty"`
	Live      bool   `json:"live,omitempty"` // it was alive and went on
}

// Section is a part of the report that only people can write.
type Section struct {
	Title string `json:"title,omitempty"`
	Ask   string `json:"ask,omitempty"`
}

// Row is a row of the Case that the report cites.
type Row struct {
	Ref   string `json:"ref,omitempty"`
	Text  string `json:"text,omitempty"`
	Stack uint32 `json:"stack,omitempty"` // id in Stacks; 0 when it has none
}

// Group is a set of goroutines with the same stack, state and wait reason. A cited stack that belongs to a thread only is a
// group with the state "thread".
type Group struct {
	ID       uint32  `json:"id"` // of the stack: "stack:7" is the group with id 7; groups that differ in state share it
	Count    int     `json:"count"`
	State    string  `json:"state,omitempty"`
	Reason   string  `json:"reason,omitempty"`
	Sample   string  `json:"sample,omitempty"` // reference of one member
	Oldest   uint32  `json:"oldest,omitempty"` // the longest wait in the group, in seconds, at least
	Never    int     `json:"never,omitempty"`  // how many of them can never wake
	Cited    bool    `json:"cited,omitempty"`
	Frames   []Frame `json:"frames,omitempty"`    // innermost first
	Elided   int     `json:"elided,omitempty"`    // frames left out
	ElidedAt int     `json:"elided_at,omitempty"` // how many frames stand before them
	Broken   string  `json:"broken,omitempty"`    // why unwinding ended early
}

// Frame is one call.
type Frame struct {
	Function string `json:"function,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Inlined  bool   `json:"inlined,omitempty"`
	Trust    string `json:"trust,omitempty"`  // read, unwound, matched, guessed
	Module   string `json:"module,omitempty"` // shared object of a native frame
	// Variables are those of the goroutine that the group is shown by, where they were loaded.
	Variables []Variable `json:"variables,omitempty"`
}

// Variable is an argument or local variable of a frame; the contents of strings, slices and maps are never part of it.
type Variable struct {
	Name     string `json:"name,omitempty"`
	Type     string `json:"type,omitempty"`
	Value    string `json:"value,omitempty"`
	Argument bool   `json:"argument,omitempty"`
}

// Omitted says what was left out of Stacks.
type Omitted struct {
	Groups     int `json:"groups"`
	Goroutines int `json:"goroutines"`
}

// Graph is who waits for what and who holds it, as far as it is drawn.
type Graph struct {
	Nodes   []Node     `json:"nodes,omitempty"` // those of the circles first
	Edges   []Edge     `json:"edges,omitempty"`
	Omitted int        `json:"omitted,omitempty"` // objects that were left out
	Circles [][]string `json:"circles,omitempty"` // ids of nodes: a goroutine, what it waits for, who could end that, and so on to the first
}

// Node is an object, a goroutine, or several goroutines that wait with the same stack.
type Node struct {
	ID    string `json:"id,omitempty"`   // the reference of an object or goroutine; "waiters:N", "objects:N" for several; "nothing"
	Kind  string `json:"kind,omitempty"` // "goroutine", "waiters", "pool", "nothing", or the kind of the object: "mutex"
	Text  string `json:"text,omitempty"`
	Count int    `json:"count,omitempty"` // goroutines in the node; objects: how many wait
	Ref   string `json:"ref,omitempty"`   // a row to look at
	Wake  string `json:"wake,omitempty"`  // verdict on a goroutine: possible, never, by-design; absent when there is none
	Never int    `json:"never,omitempty"` // of several waiters, how many can never wake
}

// Edge is a wait (goroutine to object), a hold (object to goroutine), or who could wake those who wait (object to goroutine).
type Edge struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	Kind string `json:"kind,omitempty"` // "waits", "held" or "wakes"
	Text string `json:"text,omitempty"` // how the hold or the waker was inferred, or the wait reason
}

// The kinds of edges.
const (
	EdgeWaits = "waits"
	EdgeHeld  = "held"
	EdgeWakes = "wakes"
)
