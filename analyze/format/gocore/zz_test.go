package gocore
import ("testing";"github.com/gopostmortem/postmortem/fixtures")
func TestZZ(t *testing.T){ for _, tc := range []string{"","go1.23.12"} { cap := heapTruth(t, fixtures.Program{Toolchain: tc}); c := countHeap(t, cap); t.Log(cap.Core, cap.Exe); for _, k := range c.HeapUse.Classes { if k.Size==96||k.Size==80 {t.Logf("%+v",k)} } } }
