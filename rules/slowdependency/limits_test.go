package slowdependency

import (
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

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
			if got := ruletest.Changed(t, Rule, tt.name, map[string]float64{tt.limit: value}, nil).Findings; len(got) != want {
				t.Errorf("%s with %s=%g: %d findings, want %d", tt.name, tt.limit, value, len(got), want)
			}
		}
	}
}

// TestShortWakes: a request wakes up once when it is written. Such moments neither hide the long waits nor count as such.
func TestShortWakes(t *testing.T) {
	short := func(l *evidence.Timeline) {
		for range 400 {
			l.Sites[0].Hist.Add(20_000)
		}
		l.Sites[0].Count += 400
	}
	found := ruletest.Changed(t, Rule, "hit_http", nil, short).Findings
	if len(found) != 1 {
		t.Fatalf("%d findings", len(found))
	}
	again := ruletest.Changed(t, Rule, "hit_http", map[string]float64{"min-waits": 201}, short).Findings
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
		if got := ruletest.Changed(t, Rule, "hit_own_protocol", nil, tt.change).Findings; len(got) != tt.want {
			t.Errorf("%s: %d findings, want %d", tt.name, len(got), tt.want)
		}
	}
}

// TestSeverity: whatever it costs, it is named and not called a bug.
func TestSeverity(t *testing.T) {
	for _, name := range []string{"hit_http", "hit_database", "hit_own_protocol", "hit_task"} {
		for _, f := range ruletest.Changed(t, Rule, name, nil, nil).Findings {
			if f.Severity != diagnosis.Info || f.Confidence > diagnosis.Likely || len(f.Against) == 0 {
				t.Errorf("%s: %s, %s, against it %q", name, f.Severity, f.Confidence, f.Against)
			}
		}
	}
}
