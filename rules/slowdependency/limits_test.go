package slowdependency

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// diagnose runs the rule over a case of testdata, after a change of its Timeline, with a limit set.
func diagnose(t *testing.T, name, limit string, value float64, change func(*evidence.Timeline)) []diagnosis.Finding {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".case"))
	if err != nil {
		t.Fatal(err)
	}
	b := evidence.NewBuilder()
	if err := evidence.ReadText(bytes.NewReader(text), b); err != nil {
		t.Fatal(err)
	}
	c := b.Finish()
	if change != nil {
		change(c.Timeline)
	}
	set := map[string]float64{}
	if limit != "" {
		set["slow-dependency."+limit] = value
	}
	res, err := diagnosis.Run(context.Background(), c, []*diagnosis.Rule{Rule}, diagnosis.Options{Limits: set})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.NotChecked {
		t.Fatalf("%s: %s", name, s.Why)
	}
	return res.Findings
}

// TestLimits sets each limit just within and just beyond what a case has.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name, limit    string
		within, beyond float64
	}{
		{"hit_http", "min-span", 9.9, 10.1},
		{"hit_http", "min-busy", 0.89, 0.91},
		{"hit_http", "min-waits", 200, 201},
		{"hit_http", "min-wait", 5, 70},
		{"hit_http", "max-running", 0.03, 0.01},
		{"hit_http", "max-others", 1, 0.9},
		{"hit_database", "max-parallel", 2.6, 2.4},
	} {
		for value, want := range map[float64]int{tt.within: 1, tt.beyond: 0} {
			if got := diagnose(t, tt.name, tt.limit, value, nil); len(got) != want {
				t.Errorf("%s with %s=%g: %d findings, want %d", tt.name, tt.limit, value, len(got), want)
			}
		}
	}
}

// TestShortWakes: a request wakes up once when it is written. Such moments neither hide the long waits nor count as such.
func TestShortWakes(t *testing.T) {
	found := diagnose(t, "hit_http", "", 0, func(l *evidence.Timeline) {
		for range 400 {
			l.Sites[0].Hist.Add(20_000)
		}
		l.Sites[0].Count += 400
	})
	if len(found) != 1 {
		t.Fatalf("%d findings", len(found))
	}
	again := diagnose(t, "hit_http", "min-waits", 201, func(l *evidence.Timeline) {
		for range 400 {
			l.Sites[0].Hist.Add(20_000)
		}
	})
	if len(again) != 0 {
		t.Errorf("short waits count as long ones: %s", again[0].Claim)
	}
}

// TestAnswers: a plain read is one of an answer when its goroutine writes between the reads.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*evidence.Timeline)
		want   int
	}{
		{"as it is", func(*evidence.Timeline) {}, 1},
		{"it hardly writes", func(l *evidence.Timeline) { l.Sites[1].Top[0].Count = 400 }, 0},
		{"another one writes", func(l *evidence.Timeline) { l.Sites[1].Top[0].Goroutine = 2 }, 0},
		{"nobody is known to wait there", func(l *evidence.Timeline) { l.Sites[0].Top = nil }, 0},
	} {
		if got := diagnose(t, "hit_own_protocol", "", 0, tt.change); len(got) != tt.want {
			t.Errorf("%s: %d findings, want %d", tt.name, len(got), tt.want)
		}
	}
}

// TestSeverity: whatever it costs, it is named and not called a bug.
func TestSeverity(t *testing.T) {
	for _, name := range []string{"hit_http", "hit_database", "hit_own_protocol", "hit_task"} {
		for _, f := range diagnose(t, name, "", 0, nil) {
			if f.Severity != diagnosis.Info || f.Confidence > diagnosis.Likely || len(f.Against) == 0 {
				t.Errorf("%s: %s, %s, against it %q", name, f.Severity, f.Confidence, f.Against)
			}
		}
	}
}
