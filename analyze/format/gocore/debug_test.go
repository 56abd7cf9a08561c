package gocore

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/format"
)

func TestDebug(t *testing.T) {
	p := os.Getenv("CORE")
	if p == "" {
		t.Skip()
	}
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	st, _ := f.Stat()
	head := make([]byte, 65536)
	n, _ := f.ReadAt(head, 0)
	b := evidence.NewBuilder()
	b.Source(evidence.Source{Path: p, Format: "gocore", Size: st.Size()})
	t0 := time.Now()
	err = Read(context.Background(), format.Input{Path: p, File: f, Size: st.Size(), Head: head[:n], Options: format.Options{Executable: os.Getenv("EXE")}}, b)
	t.Log(time.Since(t0), err)
	c := b.Finish()
	out, _ := os.Create("/tmp/out.case")
	c.WriteText(out)
	out.Close()
}
