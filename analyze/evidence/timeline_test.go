package evidence

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// timelineBuilder makes a Case whose Timeline has rows in every table and a value in every field.
func timelineBuilder() *Builder {
	b := fullBuilder()
	f := &filling{n: 1000}
	frame := b.Frame(Frame{Function: "main.work", File: "/src/work.go", Line: 7})
	stack := b.Stack([]FrameID{frame}, StackNote{})
	t := filled[Timeline](f)
	t.GC = filled[GCWork](f)
	t.Slices = []Slice{filled[Slice](f), filled[Slice](f)}
	for range 2 {
		s := filled[Site](f)
		s.Stack, s.Top = stack, []Share{filled[Share](f), filled[Share](f)}
		t.Sites = append(t.Sites, s)
	}
	for i := range 2 {
		r := filled[Release](f)
		r.Site, r.Stack, r.Top = i, stack, []Share{filled[Share](f)}
		for range 2 {
			p := filled[HoldPart](f)
			p.Stack = stack
			r.Parts = append(r.Parts, p)
		}
		t.Releases = append(t.Releases, r)
	}
	spawn := filled[Spawn](f)
	spawn.Stack, spawn.Start = stack, frame
	t.Spawns = []Spawn{{System: true}, spawn}
	actor := filled[Actor](f)
	actor.Spawn = 1
	t.Actors = []Actor{actor}
	pair := filled[Pair](f)
	pair.SiteA, pair.SiteB = 0, 1
	t.Pairs = []Pair{pair}
	episode := filled[Episode](f)
	episode.Stack = stack
	t.Episodes = []Episode{episode, {}}
	kind := filled[ActivityKind](f)
	kind.Stack = stack
	t.Kinds = []ActivityKind{kind}
	for range 2 {
		a := filled[Activity](f)
		leg := filled[Leg](f)
		a.Kind, leg.Stack = 0, stack
		a.Path = []Leg{leg, {}}
		t.Activities = append(t.Activities, a)
	}
	b.Timeline(t)
	return b
}

func TestTimelineRoundTrip(t *testing.T) {
	c := timelineBuilder().Finish()
	text := textOf(t, c)
	again, err := fromText(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if got := textOf(t, again); got != text {
		t.Errorf("written again it is\n%s\nwant\n%s", got, text)
	}
	want, got := reflect.ValueOf(*c.Timeline), reflect.ValueOf(*again.Timeline)
	for i := range want.NumField() {
		if !reflect.DeepEqual(want.Field(i).Interface(), got.Field(i).Interface()) {
			t.Errorf("%s: %+v, want %+v", want.Type().Field(i).Name, got.Field(i), want.Field(i))
		}
	}
	if !c.Kinds().Has(KindTimeline) || !again.Kinds().Has(KindTimeline) {
		t.Errorf("kinds %v and %v", c.Kinds(), again.Kinds())
	}
}

// TestTimelineWriting holds that writing does not touch the Case, though one visit both writes and reads.
func TestTimelineWriting(t *testing.T) {
	c, fresh := timelineBuilder().Finish(), timelineBuilder().Finish()
	textOf(t, c)
	if !reflect.DeepEqual(c.Timeline, fresh.Timeline) {
		t.Errorf("writing changed the Timeline:\n%+v\nwas\n%+v", c.Timeline, fresh.Timeline)
	}
}

// rowsElsewhere are fields that are records of their own.
var rowsElsewhere = map[string]bool{"Timeline.GC": true, "Timeline.Slices": true, "Timeline.Sites": true, "Timeline.Releases": true,
	"Timeline.Spawns": true, "Timeline.Actors": true, "Timeline.Pairs": true, "Timeline.Episodes": true, "Timeline.Activities": true,
	"Timeline.Kinds": true, "Site.Top": true, "Release.Top": true, "Release.Parts": true, "Activity.Path": true}

// TestTimelineFields holds the records to the structs: a field that is added and not written would be lost in a saved Case.
func TestTimelineFields(t *testing.T) {
	for _, r := range []record{new(Timeline), new(GCWork), new(Slice), new(Site), new(Share), new(Release), new(HoldPart), new(Spawn),
		new(Actor), new(Pair), new(Episode), new(Activity), new(ActivityKind), new(Leg)} {
		r.visit(&filling{})
		v := reflect.ValueOf(r).Elem()
		for i := range v.NumField() {
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			if v.Field(i).IsZero() != rowsElsewhere[name] {
				t.Errorf("%s: part of the record %v, its own record %v", name, !v.Field(i).IsZero(), rowsElsewhere[name])
			}
		}
	}
}

func TestTimelineErrors(t *testing.T) {
	const head = "case 1\ntimeline form=x\n"
	many := strings.TrimSuffix(strings.Repeat("1,", MaxSlices+1), ",")
	for name, test := range map[string]struct {
		text, part string
		line       int
	}{
		"slice alone":         {"case 1\nslice run=1\n", "timeline record must stand above", 2},
		"gcwork alone":        {"case 1\ngcwork cycles=1\n", "timeline record must stand above", 2},
		"leg alone":           {"case 1\nleg ns=1\n", "timeline record must stand above", 2},
		"share of nothing":    {head + "share goroutine=1\n", "must stand above", 3},
		"holdpart of nothing": {head + "holdpart ns=1\n", "must stand above", 3},
		"leg of nothing":      {head + "leg ns=1\n", "must stand above", 3},
		"site's stack":        {head + "site stack=7\n", "stack 7 has no record", 3},
		"release's site":      {head + "site\nrelease site=1\n", "field site: 1 has no record", 4},
		"negative site":       {head + "site\nrelease site=-1\n", "field site: -1 has no record", 4},
		"release's stack":     {head + "site\nrelease stack=9\n", "stack 9 has no record", 4},
		"holdpart's stack":    {head + "site\nrelease\nholdpart stack=9\n", "stack 9 has no record", 5},
		"spawn's stack":       {head + "spawn stack=9\n", "stack 9 has no record", 3},
		"spawn's start":       {head + "spawn start=9\n", "start 9 has no record", 3},
		"actor's spawn":       {head + "actor spawn=0\n", "field spawn: 0 has no record", 3},
		"pair's site":         {head + "site\npair sitea=0 siteb=1\n", "field siteb: 1 has no record", 4},
		"episode's stack":     {head + "episode stack=9\n", "stack 9 has no record", 3},
		"episode's kind":      {head + "episode kind=party\n", `unknown value "party"`, 3},
		"activity's kind":     {head + "activity kind=0\n", "field kind: 0 has no record", 3},
		"kind's stack":        {head + "activitykind stack=9\n", "stack 9 has no record", 3},
		"leg's stack":         {head + "activitykind\nactivity\nleg stack=9\n", "stack 9 has no record", 5},
		"negative counter":    {head + "site count=-1\n", "out of range", 3},
		"counter too large":   {head + "site count=9223372036854775808\n", "field count", 3},
		"many buckets":        {head + "site hist=" + many + "\n", "at most 44", 3},
		"many slices of load": {head + "site load=" + many + "\n", "at most 128", 3},
		"many slices":         {head + strings.Repeat("slice run=1\n", MaxSlices+1), "more than 128", 3 + MaxSlices},
		"load too large":      {head + "actor load=4294967296\n", "field load", 3},
		"load empty":          {head + "spawn births=\n", "field births", 3},
		"unknown field":       {head + "slice c=1\n", `unknown field "c"`, 3},
	} {
		_, err := fromText(test.text)
		var fault *TextError
		if !errors.As(err, &fault) || fault.Line != test.line || !strings.Contains(err.Error(), test.part) {
			t.Errorf("%s: error %v, want line %d and %q", name, err, test.line, test.part)
		}
	}
}

// TestTimelineOwners: rows of rows go to the row above them, whichever table it stands in.
func TestTimelineOwners(t *testing.T) {
	c, err := fromText("case 1\ntimeline form=x\nsite kind=block\nshare goroutine=1 count=1\nrelease site=0\nshare goroutine=2 count=2\nholdpart ns=5\n" +
		"site kind=ready\nshare goroutine=3 count=3\nactivitykind name=a\nactivity kind=0\nleg ns=1\nactivity kind=0\nleg ns=2\nleg ns=3\n")
	if err != nil {
		t.Fatal(err)
	}
	l := c.Timeline
	got := fmt.Sprint(l.Sites[0].Top, l.Releases[0].Top, len(l.Releases[0].Parts), l.Sites[1].Top, len(l.Activities[0].Path), len(l.Activities[1].Path))
	if want := "[{1 1}] [{2 2}] 1 [{3 3}] 1 2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTimelineRefs(t *testing.T) {
	c := timelineBuilder().Finish()
	actor := c.Timeline.Actors[0].Goroutine
	for ref, want := range map[string]bool{
		"timeline": true, "site:1": true, "site:2": false, "release:1": true, "release:2": false, "spawn:1": true, "spawn:2": false,
		"pair:0": true, "pair:1": false, "episode:1": true, "episode:2": false, "activity:1": true, "activity:2": false,
		"goroutine:" + fmt.Sprint(actor): true, "goroutine:999999": false, "site:18446744073709551615": false,
	} {
		r, err := ParseRef(ref)
		if err != nil || r.String() != ref {
			t.Errorf("%s is read as %s (%v)", ref, r, err)
		}
		if c.Resolve(r) != want {
			t.Errorf("%s resolves: %v, want %v", ref, !want, want)
		}
	}
	moment := fullBuilder().Finish() // without a Timeline none of them exists
	for _, r := range []Ref{{Kind: RefTimeline}, SiteRef(0), ReleaseRef(0), SpawnRef(0), EpisodeRef(0), {Kind: RefPair}, {Kind: RefActivity}} {
		if moment.Resolve(r) {
			t.Errorf("%s resolves in a Case of one moment", r)
		}
	}
	if _, err := ParseRef("timeline:1"); err == nil {
		t.Error("timeline:1 is a reference")
	}
}

// TestFirstTimeline: the first source that tells what happened has the word.
func TestFirstTimeline(t *testing.T) {
	b := NewBuilder()
	b.Timeline(Timeline{Form: "first"})
	if err := ReadText(strings.NewReader("case 1\ntimeline form=second\n"), b); err != nil {
		t.Fatal(err)
	}
	if got := b.Finish().Timeline.Form; got != "first" {
		t.Errorf("the Timeline is %q", got)
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Total() != 0 {
		t.Error("nothing was counted")
	}
	for i, ns := range map[int]int64{0: 0, 1: 1, 2: 3, 3: 4, 10: 1023, 11: 1024, 43: math.MaxInt64} {
		one := Histogram{}
		one.Add(ns)
		if one[i] != 1 {
			t.Errorf("%d ns is counted in %v, want %d", ns, one, i)
		}
	}
	h.Add(-5) // a clock that ran backwards
	if h[0] != 1 {
		t.Errorf("a negative duration is counted in %v", h)
	}
}

// TestQuantile holds the estimate to exact quantiles: it lies in the same power of two.
func TestQuantile(t *testing.T) {
	var h Histogram
	var all []int64
	for i := range int64(5000) {
		ns := (i*i*7919)%2_000_003 + 1
		h.Add(ns)
		all = append(all, ns)
	}
	slices.Sort(all)
	last := int64(0)
	for _, q := range []float64{0.01, 0.25, 0.5, 0.9, 0.99, 1} {
		exact, got := all[int(math.Ceil(q*float64(len(all))))-1], h.Quantile(q)
		if got*2 < exact || exact*2 < got || got < last {
			t.Errorf("quantile %g is %d, want about %d and not below %d", q, got, exact, last)
		}
		last = got
		if top := h.QuantileUpTo(q, uint64(all[len(all)-1])); top > all[len(all)-1] || top*2 < exact || exact*2 < top {
			t.Errorf("quantile %g is %d, want about %d and at most %d", q, top, exact, all[len(all)-1])
		}
	}
	if got, want := h.QuantileUpTo(0.5, 0), h.Quantile(0.5); got != want {
		t.Errorf("with a longest that is not known: %d, want %d", got, want)
	}
	var one Histogram
	one.Add(2_055_000_000)
	if got := one.QuantileUpTo(0.5, 2_055_000_000); got != 2_055_000_000 {
		t.Errorf("the median of one duration is %d", got)
	}
	if h.Total() != 5000 {
		t.Errorf("%d durations", h.Total())
	}
	zero := Histogram{}
	zero.Add(0)
	if zero.Quantile(0.99) != 0 {
		t.Errorf("durations of nothing have the quantile %d", zero.Quantile(0.99))
	}
	var below Histogram
	for _, ns := range []int64{0, 1, 15, 16, 31, 32} {
		below.Add(ns)
	}
	if got := below.Below(16); got != 3 {
		t.Errorf("%d are certainly below 16", got)
	}
	if got := below.Below(20); got != 3 {
		t.Errorf("%d are certainly below 20: those of its own power of two are not", got)
	}
}

func TestRates(t *testing.T) {
	l := Timeline{SpanNS: 2e9, Actors: []Actor{{Goroutine: 7, RunNS: 5}}}
	if l.Rate(10) != 5 || l.ShareOf(1e9) != 0.5 {
		t.Errorf("rate %g, share %g", l.Rate(10), l.ShareOf(1e9))
	}
	var empty Timeline
	if empty.Rate(10) != 0 || empty.ShareOf(10) != 0 {
		t.Error("a Timeline without a span has rates")
	}
	if a, ok := l.Actor(7); !ok || a.RunNS != 5 {
		t.Errorf("actor %+v, %v", a, ok)
	}
	if _, ok := l.Actor(8); ok {
		t.Error("goroutine 8 is an actor")
	}
}

// TestTimelineNames: every kind has a name of its own, and a number of a later version has one too.
func TestTimelineNames(t *testing.T) {
	seen := map[string]bool{}
	for k := SiteBlock; k <= SiteAssist; k++ {
		seen[k.String()] = true
	}
	for s := ActRunning; s <= ActBlocked; s++ {
		seen["state "+s.String()] = true
	}
	for k := EpisodeGC; k <= EpisodeRun; k++ {
		seen["episode "+k.String()] = true
	}
	if len(seen) != 7+4+4 {
		t.Errorf("%d names: %v", len(seen), seen)
	}
	if SiteKind(200).String() == "" || ActState(200).String() == "" || EpisodeKind(200).String() == "" {
		t.Error("an unknown kind has no name")
	}
}
