package rules_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/fixtures"
	"github.com/gopostmortem/postmortem/rules"
)

var (
	healthyAll  = flag.Bool("healthy", false, "trace every module of the table, and write docs/healthy-traces.md")
	healthyKeep = flag.String("healthy.keep", "", "keep the traces in this folder")
)

// workload is a run of a real module's own tests or benchmarks that takes less than a quarter of a minute, needs neither a network nor other
// programs, and passes.
type workload struct {
	module, version string
	pkg             string // below the module, "." for its root
	args            string // of go test
	how             running
}

// running is what is particular about a run.
type running uint8

const (
	daily      running = 1 << iota // it runs with every test, not only by `make healthy`
	withPaths                      // its tests look for files beside their sources: it is built without -trimpath, and so anew each time
	leakChecks                     // its tests take the goroutine of the tracer for a leak, and fail for no other reason
	taught                         // a rule was changed after a look at it: it shows that the change holds, and no more
)

// workloads were chosen for what they do (consensus, storage, RPC, caches, pools, logs), before any rule had seen them. But for those that have
// taught something, no rule and no threshold owes anything to them: one that fires is a fault of the rule.
var workloads = []workload{
	{"golang.org/x/net", "v0.62.0", "http2", "-short -run Transport|Server", 0},
	{"golang.org/x/net", "v0.62.0", "quic", "-short -run .", 0},
	{"golang.org/x/net", "v0.62.0", "websocket", "-run .", 0},
	{"golang.org/x/sync", "v0.24.0", "errgroup", "-run . -bench . -benchtime 200ms", 0},
	{"golang.org/x/sync", "v0.24.0", "semaphore", "-run . -bench . -benchtime 20ms", taught},
	{"go.etcd.io/raft/v3", "v3.7.0", ".", "-run .", 0},
	{"go.etcd.io/raft/v3", "v3.7.0", ".", "-run ^$ -bench Proposal3Nodes|OneNode -benchtime 300ms", 0},
	{"go.etcd.io/raft/v3", "v3.7.0", "rafttest", "-run .", daily},
	{"github.com/hashicorp/raft", "v1.8.0", ".", "-run TestRaft_(TripleNode|LeaderFail|ApplyConcurrent|SnapshotRestore|AutoSnapshot|JoinNode)", 0},
	{"github.com/gorilla/websocket", "v1.5.3", ".", "-run .", daily},
	{"github.com/gorilla/websocket", "v1.5.3", ".", "-run ^$ -bench Broadcast|Mask -benchtime 100ms", 0},
	{"github.com/panjf2000/ants/v2", "v2.12.1", ".", "-run TestAntsPoolGetWorkerFromCache|TestAntsPoolWaitToGetWorker$|TestAntsPool$|TestNoPool$|TestPanicHandler$|TestInfinitePool$", taught},
	{"github.com/hashicorp/yamux", "v0.1.2", ".", "-run TestManyStreams$|TestSendData|TestPing|TestGoAway|TestAccept|TestKeepAlive", taught},
	{"github.com/hashicorp/yamux", "v0.1.2", ".", "-run ^$ -bench Ping|Accept|SendRecv512|Parallel4096 -benchtime 300ms", taught},
	{"go.uber.org/zap", "v1.28.0", ".", "-run ^$ -bench . -benchtime 20ms", taught},
	{"go.uber.org/zap", "v1.28.0", "zapcore", "-run .", taught},
	{"github.com/go-chi/chi/v5", "v5.5.0", ".", "-run . -bench . -benchtime 10ms", taught},
	{"github.com/go-chi/chi/v5", "v5.5.0", "middleware", "-run ThrottleRetryAfter|ThrottleBacklog|Compress|Strip|Timeout$", 0},
	{"github.com/valyala/fasthttp", "v1.62.0", ".", "-run ^$ -bench ServerGet1ReqPerConn$|ServerTimeoutError|ClientGetEndToEnd10TCP -benchtime 300ms", 0},
	{"github.com/valyala/fasthttp", "v1.62.0", "fasthttputil", "-run .", taught},
	{"go.etcd.io/bbolt", "v1.5.0", ".", "-short -run TestTx|TestCursor", 0},
	{"github.com/redis/go-redis/v9", "v9.23.0", "internal/pool", "-run ConnStateMachine|DoubleFree|TryDial -bench PoolGetPut -benchtime 20ms", 0},
	{"github.com/dgraph-io/ristretto/v2", "v2.4.2", ".", "-run TestCache(Get|Set|Del|Clear|Process|Multi)|TestStore|TestPolicy", 0},
	{"github.com/dgraph-io/badger/v4", "v4.9.6", ".", "-run TestTxn|TestGet|TestConcurrentWrite|TestStreamWriter1", 0},
	{"github.com/dgraph-io/badger/v4", "v4.9.6", "skl", "-run . -bench . -benchtime 50ms", 0},
	{"google.golang.org/grpc", "v1.85.0", "internal/transport", "-run Test/(Client|Server|Stream|Keepalive|LargeMessage$|Ping)", leakChecks},
	{"google.golang.org/grpc", "v1.85.0", "test", "-run Test/(Unary|Stream|Metadata|PingPong|FlowControl|ClientStreaming)", leakChecks | withPaths},
	{"github.com/nats-io/nats-server/v2", "v2.15.2", "server", "-run TestClient(Simple|Pub|NoBody|WithQueue|UnSub|AutoUnsub|Remove|Map|Connect|Reject|Limits|IPv6|Slow)", 0},
	{"github.com/prometheus/prometheus", "v0.316.0", "tsdb/wlog", "-run TestReader|TestWatcher|TestCheckpoint|TestWLog", 0},
	{"github.com/jackc/puddle/v2", "v2.2.3", ".", "-run .", 0},
	{"github.com/sourcegraph/conc", "v0.3.0", "pool", "-run .", daily},
	{"github.com/rs/zerolog", "v1.35.1", ".", "-run ^$ -bench . -benchtime 20ms", 0},
	{"github.com/coder/websocket", "v1.8.15", ".", "-short -run TestConn|Test_", 0},
	{"github.com/miekg/dns", "v1.1.73", ".", "-run TestServ|TestClient.*Sync|TestExchange|TestTCP", 0},
	{"github.com/allegro/bigcache/v3", "v3.1.0", ".", "-run ^$ -bench Parallel|Write -benchtime 50ms", 0},
	{"github.com/hashicorp/golang-lru/v2", "v2.0.7", ".", "-run . -bench . -benchtime 50ms", daily},
	{"golang.org/x/time", "v0.16.0", "rate", "-run . -bench . -benchtime 20ms", daily},
	{"github.com/alitto/pond/v2", "v2.7.1", ".", "-run .", 0},
}

// healthyPage holds the outcome for readers.
const healthyPage = "../docs/healthy-traces.md"

// Limits of one run.
const (
	workloadTimeout = 60 * time.Second // of the tests; a quarter of a minute is normal
	workloadBuild   = 10 * time.Minute
	workloadTries   = 3 // other people's tests have deadlines too, and a busy host misses them
)

// TestHealthyModules traces the tests and benchmarks of real modules: no rule may say more than a remark about them.
func TestHealthyModules(t *testing.T) {
	if testing.Short() {
		t.Skip("fetches, builds and runs other people's modules: left out with -short")
	}
	var rows []string
	for _, w := range workloads {
		if w.how&daily == 0 && !*healthyAll {
			continue
		}
		t.Run(w.name(), func(t *testing.T) {
			size, findings := w.diagnose(t)
			for i := range findings {
				if f := &findings[i]; f.Severity > diagnosis.Info {
					t.Errorf("%s, %s, %s at %s: %s", f.Rule, f.Severity, f.Confidence, placeOf(f), f.Claim)
				}
			}
			rows = append(rows, w.row(size, findings))
		})
	}
	if *healthyAll && len(rows) == len(workloads) {
		if err := os.WriteFile(healthyPage, []byte(healthyText(rows)), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func (w *workload) name() string {
	name := strings.ReplaceAll(w.module+"/"+w.pkg, "/", "_")
	if strings.Contains(w.args, "-bench") {
		name += " bench"
	}
	return name
}

// diagnose traces the workload and runs all rules over the trace.
func (w *workload) diagnose(t *testing.T) (size int64, findings []diagnosis.Finding) {
	t.Helper()
	path := w.trace(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := opener(t)(path)
	if err != nil {
		t.Fatal(err)
	}
	res, err := diagnosis.Run(t.Context(), c, rules.All(), diagnosis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return info.Size(), res.Findings
}

// trace runs the workload in a copy of its module, since the tests may write beside their sources, and returns the path of the trace.
func (w *workload) trace(t *testing.T) string {
	t.Helper()
	dir, dest := filepath.Join(t.TempDir(), "module"), t.TempDir()
	if *healthyKeep != "" {
		dest = *healthyKeep
	}
	if err := os.CopyFS(dir, os.DirFS(w.fetch(t))); err != nil {
		t.Fatal(err)
	}
	if err := makeWritable(dir); err != nil {
		t.Fatal(err)
	}
	name := strings.NewReplacer("/", "-", " ", "-", ".", "").Replace(w.module+"-"+w.pkg) + fmt.Sprintf("-%d", slices.Index(workloads, *w))
	binary, path := filepath.Join(t.TempDir(), "module.test"), filepath.Join(dest, name+".trace")
	trimpath := fmt.Sprintf("-trimpath=%v", w.how&withPaths == 0)
	if out, err := w.goCommand(t, workloadBuild, dir, "test", "-c", "-vet=off", trimpath, "-o", binary, "./"+w.pkg); err != nil {
		t.Fatalf("building the tests of %s: %v\n%s", w.name(), err, out)
	}
	args := []string{"-test.trace=" + path, "-test.timeout=" + workloadTimeout.String()}
	for _, arg := range strings.Fields(w.args) {
		if flag, ok := strings.CutPrefix(arg, "-"); ok {
			arg = "-test." + flag
		}
		args = append(args, arg)
	}
	var out []byte
	var err error
	for range workloadTries {
		if out, err = w.run(t, binary, filepath.Join(dir, w.pkg), args); err == nil {
			return path
		}
	}
	t.Fatalf("running the tests of %s: %v\n%s", w.name(), err, out[max(0, len(out)-2000):])
	return ""
}

// run runs the tests once.
func (w *workload) run(t *testing.T, binary, dir string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*workloadTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if w.how&leakChecks != 0 && bytes.Contains(out, []byte("[trace reader (blocked)]")) {
		err = nil
	}
	return out, err
}

// fetch returns the folder of the module in the cache of the go command.
func (w *workload) fetch(t *testing.T) string {
	t.Helper()
	out, err := w.goCommand(t, workloadBuild, t.TempDir(), "mod", "download", "-json", w.module+"@"+w.version)
	var found struct{ Dir, Error string }
	if jerr := json.Unmarshal(out, &found); err != nil || jerr != nil || found.Dir == "" {
		fixtures.Require(t, &fixtures.MissingToolError{Tool: w.module + "@" + w.version, For: fmt.Sprintf("a healthy trace: %v %s", err, found.Error)})
	}
	return found.Dir
}

func (w *workload) goCommand(t *testing.T, limit time.Duration, dir string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOTOOLCHAIN=local")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return out, err
}

// makeWritable undoes the protection of the module cache, which the copy has taken over.
func makeWritable(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()|0o200)
	})
}

func placeOf(f *diagnosis.Finding) string {
	at, ok := f.Location()
	if !ok {
		return "no place"
	}
	return fmt.Sprintf("%s (%s:%d)", at.Function, filepath.Base(at.File), at.Line)
}

// row is the workload's line of the page.
func (w *workload) row(size int64, findings []diagnosis.Finding) string {
	said := "silent"
	for i := range findings {
		f := &findings[i]
		text := fmt.Sprintf("%s (%s) at %s", f.Rule, f.Severity, placeOf(f))
		if i == 0 {
			said = text
		} else {
			said += "; " + text
		}
	}
	if w.how&taught != 0 {
		said += "; it has taught a rule"
	}
	return w.head() + fmt.Sprintf(" %.1f MB | %s |", float64(size)/1e6, said)
}

// head is the part of the line that is known before anything has run.
func (w *workload) head() string {
	return fmt.Sprintf("| %s | %s | %s | `%s` |", w.module, w.version, w.pkg, strings.ReplaceAll(w.args, "|", `\|`))
}

func healthyText(rows []string) string {
	return `# Healthy traces

Tests and benchmarks of real modules, run under -trace with the Go toolchain of this module on two processors: none of them may give a warning or
a critical finding. They were chosen before the rules had seen them. Where a finding on one of them showed a fault of a rule, the rule was changed,
and the line says so: it shows that the change holds. To the others no rule and no threshold owes anything. Written by ` + "`make healthy`" + `, which
fetches and runs them anew; a few of them run with every test.

Left out is what busy-yield names with reason: tests of ants whose jobs spin on runtime.Gosched until they are told to stop, and its benchmarks,
in which a lock of its own yields in a loop.

| module | version | package | what was run | trace | what the rules said |
|---|---|---|---|---|---|
` + strings.Join(rows, "\n") + "\n"
}

// TestHealthyPage fails when the table and the page differ, or when there are fewer workloads than promised.
func TestHealthyPage(t *testing.T) {
	modules, packages := map[string]bool{}, map[string]bool{}
	page, err := os.ReadFile(healthyPage)
	if err != nil {
		t.Fatalf("%v: run `make healthy`", err)
	}
	for i := range workloads {
		w := &workloads[i]
		if w.how&taught == 0 {
			modules[w.module], packages[w.module+"/"+w.pkg] = true, true
		}
		if !strings.Contains(string(page), w.head()) {
			t.Errorf("docs/healthy-traces.md does not have %s: run `make healthy`", w.head())
		}
	}
	if n := strings.Count(string(page), "\n| ") - 1; n != len(workloads) {
		t.Errorf("docs/healthy-traces.md has %d rows, the table %d: run `make healthy`", n, len(workloads))
	}
	if len(modules) < 8 || len(packages) < 20 {
		t.Errorf("%d packages of %d modules that have taught nothing; at least 20 of 8 are promised", len(packages), len(modules))
	}
	if strings.Contains(string(page), "(warning)") || strings.Contains(string(page), "(critical)") {
		t.Error("docs/healthy-traces.md tells of a warning")
	}
}
