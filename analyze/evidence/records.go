package evidence

// The records of the text form: what each row's fields are called.

func (s *Source) visit(f fields) {
	f.str("path", &s.Path)
	f.str("format", &s.Format)
	f.num("size", &s.Size)
	f.str("sha256", &s.SHA256)
	f.str("buildid", &s.BuildID)
}

func (g *Gap) visit(f fields) {
	f.str("source", &g.Source)
	f.str("what", &g.What)
	f.str("why", &g.Why)
}

func (p *Process) visit(f fields) {
	integer(f, "pid", &p.PID)
	f.str("language", &p.Language)
	f.str("version", &p.Version)
	f.str("goos", &p.GOOS)
	f.str("goarch", &p.GOARCH)
	f.str("executable", &p.Executable)
	f.str("mainmodule", &p.MainModule)
	f.str("mainpath", &p.MainPath)
	f.texts("args", &p.Args)
	f.texts("environ", &p.Environ)
	integer(f, "threads", &p.Threads)
	f.num("uptime", &p.UptimeNS)
	f.str("experiment", &p.Experiment)
	f.flag("stripped", &p.Stripped)
	f.str("sourceroot", &p.SourceRoot)
}

func (m *Module) visit(f fields) {
	f.str("path", &m.Path)
	f.str("version", &m.Version)
}

func (s *Setting) visit(f fields) {
	f.str("key", &s.Key)
	f.str("value", &s.Value)
}

func (d *Death) visit(f fields) {
	integer(f, "signal", &d.Signal)
	f.str("name", &d.SignalName)
	f.num("code", &d.Code)
	integer(f, "sender", &d.Sender)
	f.hex("addr", &d.FaultAddr)
	f.hex("pc", &d.FaultPC)
	f.flag("fault", &d.HasFault)
	f.str("fatal", &d.Fatal)
	f.str("detail", &d.Detail)
	integer(f, "thread", &d.Thread)
	f.num("goroutine", &d.Goroutine)
	f.flag("throwing", &d.Throwing)
	f.flag("panicking", &d.Panicking)
	f.flag("live", &d.Live)
}

func (p *Panic) visit(f fields) {
	f.num("goroutine", &p.Goroutine)
	f.str("type", &p.Type)
	f.str("text", &p.Text)
	f.texts("causes", &p.Causes)
	f.flag("recovered", &p.Recovered)
	f.flag("goexit", &p.Goexit)
	f.flag("runtime", &p.Runtime)
}

func (s *Scheduler) visit(f fields) {
	integer(f, "gomaxprocs", &s.GOMAXPROCS)
	integer(f, "cpus", &s.CPUs)
	integer(f, "idle", &s.IdlePs)
	integer(f, "spinning", &s.SpinningMs)
	integer(f, "queue", &s.GlobalQueue)
	f.flag("gcwaiting", &s.GCWaiting)
	f.str("gcphase", &s.GCPhase)
}

func (p *Processor) visit(f fields) {
	integer(f, "id", &p.ID)
	f.str("status", &p.Status)
	integer(f, "schedtick", &p.SchedTick)
	integer(f, "syscalltick", &p.SyscallTick)
	integer(f, "queue", &p.Queue)
	f.num("m", &p.M)
	f.num("running", &p.Running)
}

func (h *Heap) visit(f fields) {
	f.hex("live", &h.Live)
	f.hex("marked", &h.Marked)
	f.hex("goal", &h.Goal)
	f.hex("inuse", &h.InUse)
	f.hex("sys", &h.Sys)
	f.hex("stacks", &h.Stacks)
	f.hex("limit", &h.Limit)
	f.num("percent", &h.Percent)
	integer(f, "cycles", &h.Cycles)
	integer(f, "forced", &h.Forced)
	f.real("cpu", &h.CPU)
	f.hex("pause", &h.PauseNS)
	f.num("lastgc", &h.LastGCNS)
	f.hex("totalalloc", &h.TotalAlloc)
}

// frameRecord and stackRecord carry the ids that the text form needs.
type frameRecord struct {
	ID FrameID
	Frame
}

func (r *frameRecord) visit(f fields) {
	integer(f, "id", &r.ID)
	f.str("function", &r.Function)
	f.str("file", &r.File)
	integer(f, "line", &r.Line)
	f.hex("pc", &r.PC)
	f.flag("inlined", &r.Inlined)
	enumeration(f, "language", languageNames, &r.Language)
	enumeration(f, "trust", trustNames, &r.Trust)
	f.str("module", &r.Module)
}

type stackRecord struct {
	ID     StackID
	Frames []FrameID
	Note   stackNote
}

func (r *stackRecord) visit(f fields) {
	integer(f, "id", &r.ID)
	f.ids("frames", &r.Frames)
	integer(f, "elided", &r.Note.Elided)
	integer(f, "elidedat", &r.Note.ElidedAt)
	f.str("broken", &r.Note.Broken)
}

type goroutineRecord struct {
	Goroutine
	Labels string
}

func (r *goroutineRecord) visit(f fields) {
	f.num("id", &r.ID)
	enumeration(f, "state", stateNames, &r.State)
	f.str("reason", &r.Reason)
	integer(f, "stack", &r.Stack)
	integer(f, "created", &r.Created)
	f.num("parent", &r.Parent)
	integer(f, "seconds", &r.Seconds)
	f.hex("waitson", &r.WaitsOn)
	for i, name := range flagNames {
		on := r.Flags&(1<<i) != 0
		f.flag(name, &on)
		if on {
			r.Flags |= 1 << i
		}
	}
	integer(f, "thread", &r.Thread)
	enumeration(f, "wake", wakeNames, &r.Wake)
	f.str("labels", &r.Labels)
}

func (s *Sync) visit(f fields) {
	f.hex("addr", &s.Addr)
	enumeration(f, "kind", syncNames, &s.Kind)
	f.str("where", &s.Where)
	f.num("len", &s.Len)
	f.num("cap", &s.Cap)
	f.flag("closed", &s.Closed)
	f.flag("blank", &s.Blank)
	f.flag("locked", &s.Locked)
	f.flag("starving", &s.Starving)
	integer(f, "waiters", &s.Waiters)
	integer(f, "readers", &s.Readers)
	f.flag("pending", &s.Pending)
	f.num("counter", &s.Counter)
	integer(f, "fd", &s.FD)
	enumeration(f, "trust", trustNames, &s.Trust)
}

func (w *Wait) visit(f fields) {
	f.num("goroutine", &w.Goroutine)
	f.hex("sync", &w.Sync)
	enumeration(f, "mode", waitNames, &w.Mode)
}

func (h *Hold) visit(f fields) {
	f.hex("sync", &h.Sync)
	f.num("goroutine", &h.Goroutine)
	enumeration(f, "grade", holdNames, &h.Grade)
	f.flag("reader", &h.Reader)
	integer(f, "frame", &h.Frame)
	integer(f, "depth", &h.Depth)
	integer(f, "site", &h.Site)
	f.str("why", &h.Why)
}

func (t *Transfer) visit(f fields) {
	f.num("goroutine", &t.Goroutine)
	f.str("function", &t.Function)
	f.flag("write", &t.Write)
	f.num("length", &t.Length)
	integer(f, "fd", &t.FD)
	integer(f, "depth", &t.Depth)
	enumeration(f, "trust", trustNames, &t.Trust)
}

func (a *Alarm) visit(f fields) {
	f.num("goroutine", &a.Goroutine)
	enumeration(f, "source", alarmNames, &a.Source)
	f.num("due", &a.DueNS)
	f.num("asked", &a.AskedNS)
	enumeration(f, "trust", trustNames, &a.Trust)
}

func (l *Loop) visit(f fields) {
	f.num("goroutine", &l.Goroutine)
	integer(f, "depth", &l.Depth)
	integer(f, "bytes", &l.Bytes)
	integer(f, "calls", &l.Calls)
	integer(f, "stores", &l.Stores)
	integer(f, "atomics", &l.Atomics)
	integer(f, "loads", &l.Loads)
	integer(f, "moving", &l.Moving)
	integer(f, "work", &l.Work)
	f.flag("called", &l.Called)
	integer(f, "back", &l.Back)
	f.texts("callees", &l.Callees)
	enumeration(f, "trust", trustNames, &l.Trust)
}

func (v *Variable) visit(f fields) {
	f.num("goroutine", &v.Goroutine)
	integer(f, "depth", &v.Depth)
	f.str("name", &v.Name)
	f.str("type", &v.Type)
	f.str("value", &v.Value)
	f.flag("argument", &v.Argument)
	enumeration(f, "trust", trustNames, &v.Trust)
}

func (t *Thread) visit(f fields) {
	integer(f, "tid", &t.TID)
	f.str("name", &t.Name)
	f.num("m", &t.M)
	f.num("goroutine", &t.Goroutine)
	integer(f, "p", &t.Processor)
	integer(f, "stack", &t.Stack)
	integer(f, "signal", &t.Signal)
	f.num("syscall", &t.Syscall)
	f.num("user", &t.UserNS)
	f.num("system", &t.SystemNS)
	f.str("on", &t.On)
	f.str("state", &t.State)
}

func (c *Coverage) visit(f fields) {
	integer(f, "goroutines", &c.GoroutinesSeen)
	integer(f, "unwound", &c.GoroutinesUnwound)
	integer(f, "threads", &c.ThreadsSeen)
	integer(f, "threadsunwound", &c.ThreadsUnwound)
	integer(f, "dead", &c.GoroutinesDead)
}

func (p *Proof) visit(f fields) {
	f.flag("done", &p.Done)
	f.str("refused", &p.Refused)
	integer(f, "candidates", &p.Candidates)
	integer(f, "never", &p.Never)
	f.hex("objects", &p.Objects)
	f.hex("bytes", &p.Bytes)
	f.hex("precise", &p.Precise)
	f.hex("doubtful", &p.Doubtful)
}

func (w *Waker) visit(f fields) {
	f.hex("sync", &w.Sync)
	f.num("goroutine", &w.Goroutine)
	enumeration(f, "act", actNames, &w.Act)
	enumeration(f, "grade", wakerNames, &w.Grade)
	integer(f, "frame", &w.Frame)
	integer(f, "depth", &w.Depth)
	integer(f, "site", &w.Site)
	f.str("why", &w.Why)
}

func (p *Pool) visit(f fields) {
	f.hex("addr", &p.Addr)
	f.str("kind", &p.Kind)
	f.str("where", &p.Where)
	f.num("used", &p.Used)
	f.num("limit", &p.Limit)
	integer(f, "waiting", &p.Waiting)
	enumeration(f, "trust", trustNames, &p.Trust)
}

func (u *PoolUse) visit(f fields) {
	f.hex("pool", &u.Pool)
	f.num("goroutine", &u.Goroutine)
	enumeration(f, "role", poolRoleNames, &u.Role)
	f.num("slots", &u.Slots)
	enumeration(f, "grade", holdNames, &u.Grade)
	integer(f, "depth", &u.Depth)
	integer(f, "frame", &u.Frame)
	f.str("why", &u.Why)
}

// visit leaves the steps out: they follow as records of their own.
func (p *Path) visit(f fields) {
	f.num("goroutine", &p.Goroutine)
	f.hex("sync", &p.Sync)
}

func (s *PathStep) visit(f fields) {
	enumeration(f, "kind", stepNames, &s.Kind)
	f.hex("addr", &s.Addr)
	f.str("name", &s.Name)
	f.hex("size", &s.Size)
	f.hex("offset", &s.Offset)
	f.num("goroutine", &s.Goroutine)
	integer(f, "depth", &s.Depth)
}

func (h *HeapUse) visit(f fields) {
	f.hex("objects", &h.Objects)
	f.hex("bytes", &h.Bytes)
	f.hex("liveobjects", &h.LiveObjects)
	f.hex("livebytes", &h.LiveBytes)
	f.str("refused", &h.Refused)
}

func (c *HeapClass) visit(f fields) {
	f.hex("size", &c.Size)
	f.flag("noscan", &c.NoScan)
	f.hex("objects", &c.Objects)
	f.hex("bytes", &c.Bytes)
	f.hex("liveobjects", &c.LiveObjects)
	f.hex("livebytes", &c.LiveBytes)
}

func (t *HeapType) visit(f fields) {
	f.str("name", &t.Name)
	f.hex("objects", &t.Objects)
	f.hex("bytes", &t.Bytes)
	enumeration(f, "trust", trustNames, &t.Trust)
}

func (h *Holder) visit(f fields) {
	integer(f, "depth", &h.Depth)
	enumeration(f, "kind", stepNames, &h.Kind)
	f.str("name", &h.Name)
	integer(f, "stack", &h.Stack)
	f.hex("objects", &h.Objects)
	f.hex("bytes", &h.Bytes)
	f.hex("own", &h.Own)
	f.hex("ownobjects", &h.OwnObjects)
}

func (r *Retained) visit(f fields) {
	integer(f, "stack", &r.Stack)
	integer(f, "created", &r.Created)
	integer(f, "goroutines", &r.Goroutines)
	f.hex("objects", &r.Objects)
	f.hex("bytes", &r.Bytes)
	f.hex("stackbytes", &r.StackBytes)
}
