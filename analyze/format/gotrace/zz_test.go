package gotrace_test
import ("testing";"time";"math/rand/v2";"bytes";"os"
"github.com/gopostmortem/postmortem/analyze/format/gotrace/internal/specimen")
func TestZZ(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	var seeds [][]byte
	for i, tc := range specimen.New { d, _ := os.ReadFile(specimen.All(t, tc, []string{"mix","hot","flood"}[i%3])); seeds = append(seeds, d) }
	dir := t.TempDir()
	var worst time.Duration
	n := 0
	for ; n < 25; n++ {
		d := bytes.Clone(seeds[rng.IntN(len(seeds))])
		if len(d) > 600000 { o := rng.IntN(len(d)-500000); d = append(d[:16:16], d[o:o+500000]...) }
		for range 1+rng.IntN(300) {
			i := rng.IntN(len(d))
			switch rng.IntN(5) {
			case 0: d[i] = byte(rng.Uint32())
			case 1: k := min(len(d), i+rng.IntN(1<<rng.IntN(16))); d = append(d[:i:i], append(bytes.Clone(d[i:k]), d[i:]...)...)
			case 2: j := min(len(d), i+rng.IntN(1<<rng.IntN(14))); d = append(d[:i], d[j:]...)
			case 3: d[i] ^= 1<<rng.IntN(8)
			case 4: d[i] = 0xff
			}
			if len(d) < 100 { break }
		}
		t0 := time.Now()
		readFuzzed(t, dir, d)
		if e := time.Since(t0); e > worst { worst = e; t.Log(n, worst, len(d)) }
	}
	t.Log(n)
}
