package layout

// rootTypes are the types that tables and FromELF hold, with every struct that is part of one by value. Those that a
// release does not have are left out. Sources: runtime/runtime2.go, chan.go, sema.go, time.go, netpoll.go, symtab.go,
// mgc.go, mgcpacer.go, mstats.go, mheap.go, mfinal.go, iface.go, defs_linux_*.go, internal/abi, sync, internal/sync and
// internal/poll.
var rootTypes = []string{
	// Goroutines, threads, processors and the scheduler.
	"runtime.g", "runtime.m", "runtime.p", "runtime.schedt", "runtime.gobuf", "runtime.stack", "runtime.gQueue",
	"runtime.gList", "runtime.sudog", "runtime.waitq", "runtime._panic", "runtime._defer", "runtime.coro",
	"runtime.mutex", "runtime.note", "runtime.funcval", "runtime.ancestorInfo", "runtime.cgoCallers",
	"runtime.synctestGroup", "runtime.synctestBubble", "runtime.stackpoolItem", "runtime.xRegPerG", "runtime.xRegState",
	"runtime.lfnode", "runtime.sysmontick", "runtime.libcall", "runtime.savedOpenDeferState",

	// Channels, semaphores, conditions, timers, the poller.
	"runtime.hchan", "runtime.semaRoot", "runtime.semTable", "runtime.notifyList", "runtime.timer", "runtime.timers",
	"runtime.timerWhen", "runtime.timeTimer", "runtime.pollDesc", "runtime.pollCache",
	"runtime.rwmutex", "sync.Mutex", "internal/sync.Mutex", "sync.RWMutex", "sync.WaitGroup", "sync.Cond", "sync.Once",
	"sync.notifyList", "sync.Pool", "sync.Map", "internal/poll.FD", "internal/poll.fdMutex", "internal/poll.pollDesc",
	"time.Timer", "time.Ticker", "os.File", "os.file", "context.cancelCtx", "context.timerCtx",

	// Program text and types.
	"runtime.moduledata", "runtime.modulehash", "runtime.pcHeader", "runtime._func", "runtime.functab",
	"runtime.inlinedCall", "runtime.findfuncbucket", "runtime.textsect", "runtime.bitvector", "runtime.ptabEntry",
	"runtime.initTask", "runtime.stackObjectRecord", "runtime.stackmap", "runtime.itab", "runtime.eface", "runtime.iface",
	"runtime.stringStruct", "runtime.slice", "internal/abi.Type", "internal/abi.FuncType",
	"internal/abi.PtrType", "internal/abi.SliceType", "internal/abi.ArrayType", "internal/abi.ChanType",
	"internal/abi.StructType", "internal/abi.StructField", "internal/abi.InterfaceType", "internal/abi.Imethod",
	"internal/abi.MapType", "internal/abi.SwissMapType", "internal/abi.UncommonType",
	"internal/abi.Method", "internal/abi.Name", "internal/abi.ITab", "runtime.hmap", "runtime.bmap",
	"internal/runtime/maps.Map", "internal/runtime/maps.table", "internal/runtime/maps.groupReference",
	"runtime.itabTableType",

	// Memory.
	"runtime.gcControllerState", "runtime.mstats", "runtime.workType", "runtime.mheap", "runtime.mspan",
	"runtime.mcentral", "runtime.mcache", "runtime.heapArena", "runtime.arenaHint", "runtime.special",
	"runtime.specialfinalizer", "runtime.specialprofile", "runtime.specialCleanup",
	"runtime.specialWeakHandle", "runtime.specialReachable", "runtime.specialPinCounter", "runtime.specialBubble",
	"runtime.specialSecret", "runtime.finblock", "runtime.finBlock", "runtime.finalizer", "runtime.cleanupBlock", "runtime.cleanupQueue",
	"runtime.fixalloc", "runtime.spanInlineMarkBits", "runtime.spanSet", "runtime.pageAlloc", "runtime.gcBits",
	"runtime.bucket", "runtime.memRecord", "runtime.blockRecord", "runtime.cpuStats",

	// The kernel's signal frame (defs_linux_amd64.go, defs_linux_arm64.go).
	"runtime.sigcontext", "runtime.siginfo", "runtime.siginfoFields",
	"runtime.stackt", "runtime.sigctxt", "runtime.sigactiont",
}
