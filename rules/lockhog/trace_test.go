package lockhog

import (
	"strings"
	"testing"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/rules/ruletest"
)

// never are limits that keep all figures but one from firing.
func never(but string, limits map[string]float64) map[string]float64 {
	all := map[string]map[string]float64{"sustained": {"contended": 2}, "writers": {"writer-busy": 2}, "stall": {"stall-waiters": 1e6}, "window": {"window-share": 2},
		"brief": {"brief-share": 2}}
	if but == "brief" { // it stands on the same queue
		all["sustained"] = map[string]float64{"typical-wait": 1e6}
	}
	set := map[string]float64{}
	for figure, off := range all {
		for name, v := range off {
			if figure != but {
				set[name] = v
			}
		}
	}
	for name, v := range limits {
		set[name] = v
	}
	return set
}

// TestTraceLimits sets each limit just under and just over what a case has.
func TestTraceLimits(t *testing.T) {
	tests := []struct {
		name, figure, limit string
		under, over         float64
	}{
		{"hit_trace_file", "sustained", "trace-span", 9.9, 10.1},
		{"hit_trace_brief_send", "brief", "contended", 0.98, 1},
		{"hit_trace_brief_send", "brief", "mean-waiters", 13.9, 14.1},
		{"hit_trace_brief_send", "brief", "brief-share", 0.97, 0.99},
		{"hit_trace_file", "sustained", "contended", 0.95, 0.97},
		{"hit_trace_file", "sustained", "mean-waiters", 14.3, 14.5},
		{"hit_trace_file", "sustained", "min-waits", 480, 481},
		{"hit_trace_file", "sustained", "typical-wait", 200, 410},
		{"hit_trace_rwmutex", "writers", "writer-waits", 120, 121},
		{"hit_trace_rwmutex", "writers", "writer-wait", 25, 26},
		{"hit_trace_rwmutex", "writers", "writer-busy", 0.35, 0.37},
		{"hit_trace_stall", "stall", "stall-wait", 2099, 2101},
		{"hit_trace_stall", "stall", "stall-waiters", 50, 51},
		{"hit_trace_rebuild", "stall", "stall-typical", 100, 210},
		{"hit_trace_window", "window", "window-share", 0.33, 0.34},
		{"hit_trace_window", "window", "mean-waiters", 4.9, 5.1},
	}
	for _, tt := range tests {
		for value, want := range map[float64]int{tt.under: 1, tt.over: 0} {
			limits := never(tt.figure, map[string]float64{tt.limit: value})
			if tt.limit == "stall-wait" {
				limits["stall-typical"] = 1e6 // the other way to be a stall
			}
			if res := ruletest.Changed(t, Rule, tt.name, limits, nil); len(res.Findings) != want {
				t.Errorf("%s with %s=%g: %d findings, want %d", tt.name, tt.limit, value, len(res.Findings), want)
			}
		}
	}
}

// TestHoldLimits: what is too short is lock-hot's, longer for who computes than for who stands in a call.
func TestHoldLimits(t *testing.T) {
	for _, tt := range []struct {
		name, limit string
		value       float64
		want        int
	}{
		{"hit_trace_computes", "min-hold", 20, 1}, {"hit_trace_computes", "min-hold", 60, 0},
		{"hit_trace_short_sync", "min-stop", 0.3, 1}, {"hit_trace_short_sync", "min-stop", 0.9, 1}, // its places usually hold it for that long
		{"hit_trace_short_sync", "usual-stop", 0.9, 1}, {"hit_trace_brief_send", "usual-stop", 0.08, 1}, {"hit_trace_brief_send", "usual-stop", 0.12, 0},
		{"hit_trace_keeper", "min-hold", 1.5, 1}, {"hit_trace_keeper", "min-hold", 2.5, 0},
		{"hit_trace_short_sync", "min-hold", 60, 1}, {"hit_trace_computes", "min-stop", 60, 1},
	} {
		res := ruletest.Changed(t, Rule, tt.name, map[string]float64{tt.limit: tt.value}, nil)
		if len(res.Findings) != tt.want {
			t.Errorf("%s with %s=%g: %d findings, want %d", tt.name, tt.limit, tt.value, len(res.Findings), tt.want)
		}
		if tt.want == 0 && !strings.Contains(res.RuledOut[0].Why, "see lock-hot") {
			t.Errorf("%s with %s=%g is silent because %s", tt.name, tt.limit, tt.value, res.RuledOut[0].Why)
		}
	}
}

// TestSaturated: behind short waits of full processors there is no finding.
func TestSaturated(t *testing.T) {
	for value, want := range map[float64]int{0.87: 1, 0.85: 0} {
		res := ruletest.Changed(t, Rule, "miss_trace_saturated", map[string]float64{"processors-full": value}, nil)
		if len(res.Findings) != want {
			t.Errorf("with processors-full=%g: %d findings, want %d", value, len(res.Findings), want)
		}
	}
}

// TestBrief: short waits make a warning that is no more than likely, whatever the holds explain.
func TestBrief(t *testing.T) {
	for name, fix := range map[string]string{"hit_trace_brief_send": briefFix, "hit_trace_keeper": Rule.Doc.Fix} {
		res := ruletest.Changed(t, Rule, name, map[string]float64{"trace-critical-waiters": 1}, nil)
		if len(res.Findings) != 1 || res.Findings[0].Severity != diagnosis.Warning || res.Findings[0].Confidence != diagnosis.Likely || res.Findings[0].Fix != fix {
			t.Errorf("%s: %+v", name, res.Findings)
		}
	}
}

// TestTraceSeverity: critical is what outweighs the rest of the process.
func TestTraceSeverity(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits map[string]float64
		run    uint64
		want   diagnosis.Severity
	}{
		{"as it is", nil, 1e9, diagnosis.Critical},
		{"few waiters", map[string]float64{"trace-critical-waiters": 15}, 1e9, diagnosis.Warning},
		{"the process does other things", nil, 200e9, diagnosis.Warning},
		{"a smaller share will do", map[string]float64{"trace-critical-share": 0.4}, 200e9, diagnosis.Critical},
	} {
		res := ruletest.Changed(t, Rule, "hit_trace_file", tt.limits, func(line *evidence.Timeline) { line.RunNS = tt.run })
		if len(res.Findings) != 1 || res.Findings[0].Severity != tt.want {
			t.Errorf("%s: %+v, want %s", tt.name, res.Findings, tt.want)
		}
	}
}

// TestTraceConfidence takes away what a proof needs, one by one.
func TestTraceConfidence(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*evidence.Timeline)
		want   diagnosis.Confidence
	}{
		{"as it is", func(*evidence.Timeline) {}, diagnosis.Proved},
		{"events are missing", func(l *evidence.Timeline) { l.Lost = 1 }, diagnosis.Likely},
		{"names are missing", func(l *evidence.Timeline) { l.NoNames = true }, diagnosis.Likely},
		{"the holds do not fill the time", func(l *evidence.Timeline) { l.Releases[0].HoldNS /= 2 }, diagnosis.Likely},
		{"what was done is half known", func(l *evidence.Timeline) { l.Releases[0].Parts[0].NS /= 2 }, diagnosis.Likely},
		{"what was done is not known", func(l *evidence.Timeline) { l.Releases[0].Parts = nil }, diagnosis.Possible},
	} {
		res := ruletest.Changed(t, Rule, "hit_trace_file", nil, tt.change)
		if len(res.Findings) != 1 || res.Findings[0].Confidence != tt.want {
			t.Errorf("%s: %+v, want %s", tt.name, res.Findings, tt.want)
			continue
		}
		if f := res.Findings[0]; (f.Settle == "") != (tt.want >= diagnosis.Likely) {
			t.Errorf("%s: what would settle it is %q", tt.name, f.Settle)
		}
	}
}

// TestTraceSubject: one goroutine that lets go nearly always is the holder; otherwise the place is.
func TestTraceSubject(t *testing.T) {
	for _, tt := range []struct {
		share uint64
		want  string
	}{{480, "goroutine:20"}, {430, "release:0"}} {
		res := ruletest.Changed(t, Rule, "hit_trace_file", nil, func(l *evidence.Timeline) { l.Releases[0].Top[0].Count = tt.share })
		if got := res.Findings[0].Subject.String(); got != tt.want {
			t.Errorf("with %d of 480 wakes the subject is %s, want %s", tt.share, got, tt.want)
		}
	}
}

// TestTraceFix: a slow log, slow readers and a first use want other fixes than the rule's.
func TestTraceFix(t *testing.T) {
	for name, want := range map[string]string{"hit_trace_log": logFix, "hit_trace_rwmutex": readersFix, "info_trace_once": onceFix, "hit_trace_file": Rule.Doc.Fix} {
		if res := ruletest.Changed(t, Rule, name, nil, nil); len(res.Findings) != 1 || res.Findings[0].Fix != want {
			t.Errorf("%s has another fix: %+v", name, res.Findings)
		}
	}
}
