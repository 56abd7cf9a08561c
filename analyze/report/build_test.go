package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
	"github.com/gopostmortem/postmortem/analyze/report"
)

var update = flag.Bool("update", false, "write the golden documents, from which the tests of the styles start")

// encode is the encoding of the style jsonreport; its own test holds that the two agree.
func encode(t *testing.T, doc *report.Document) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// golden compares a document with the one that is kept.
func golden(t *testing.T, name string, doc *report.Document) {
	t.Helper()
	got := encode(t, doc)
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and read the difference\n%s", path, got)
	}
}

func TestGolden(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			golden(t, s.name, report.Build(s.make(), s.meta))
		})
	}
}

// The same input gives the same bytes, also when everything is built anew.
func TestSameInputSameBytes(t *testing.T) {
	for _, s := range samples() {
		first := encode(t, report.Build(s.make(), s.meta))
		for range 3 {
			if again := encode(t, report.Build(s.make(), s.meta)); !bytes.Equal(first, again) {
				t.Fatalf("%s: two builds differ", s.name)
			}
		}
	}
}

// Every reference that is printed resolves twice: in the Case, and inside the report.
func TestReferencesResolve(t *testing.T) {
	for _, s := range samples() {
		res := s.make()
		if faults := report.Faults(res); len(faults) > 0 {
			t.Errorf("%s: %v", s.name, faults)
		}
		doc := report.Build(res, s.meta)
		rows, stacks := map[string]bool{}, map[uint32]bool{}
		for _, r := range doc.Rows {
			rows[r.Ref] = true
			if ref, err := evidence.ParseRef(r.Ref); err != nil || !res.Case.Resolve(ref) {
				t.Errorf("%s: row %q does not resolve (%v)", s.name, r.Ref, err)
			}
			if r.Text == "" {
				t.Errorf("%s: row %q says nothing", s.name, r.Ref)
			}
		}
		for _, g := range doc.Stacks {
			stacks[g.ID] = true
		}
		for _, r := range doc.Rows {
			if r.Stack != 0 && !stacks[r.Stack] {
				t.Errorf("%s: stack %d of %s is not in the report", s.name, r.Stack, r.Ref)
			}
		}
		for _, ref := range citations(doc) {
			if !rows[ref] {
				t.Errorf("%s: %q is cited and has no row", s.name, ref)
			}
		}
	}
}

// citations are all references that a reader may want to follow.
func citations(doc *report.Document) []string {
	var refs []string
	for _, f := range doc.Findings {
		refs = append(refs, f.Subject)
		for _, e := range append(f.Because, f.Against...) {
			refs = append(refs, e.Refs...)
		}
		for _, l := range f.Locations {
			refs = append(refs, l.Ref)
		}
		if f.Victims != nil {
			refs = append(refs, f.Victims.Sample...)
		}
	}
	for _, s := range doc.Impact {
		refs = append(refs, s.Refs...)
	}
	for _, e := range doc.Timeline {
		refs = append(refs, e.Refs...)
	}
	for _, n := range doc.Waits.Nodes {
		refs = append(refs, n.Ref)
	}
	var cited []string
	for _, r := range refs {
		if r != "" {
			cited = append(cited, r)
		}
	}
	return cited
}

// The encoding is complete: a Document that was saved and read is the one that was built, so every style writes the same.
func TestEncodingIsComplete(t *testing.T) {
	for _, s := range samples() {
		built := report.Build(s.make(), s.meta)
		var read report.Document
		if err := json.Unmarshal(encode(t, built), &read); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(built, &read); diff != "" {
			t.Errorf("%s: built and read differ:\n%s", s.name, diff)
		}
	}
}

// A rule that cites nothing, or what is not there, is shown up in the gaps and by Faults.
func TestBrokenCitations(t *testing.T) {
	res := healthy()
	res.Findings = []diagnosis.Finding{
		{Rule: "lock-hog", Claim: "x", Severity: diagnosis.Critical, Confidence: diagnosis.Likely},
		{Rule: "busy-yield", Claim: " ", Severity: diagnosis.Info, Confidence: diagnosis.Likely, Subject: evidence.GoroutineRef(4040),
			Because: []diagnosis.Reason{{Text: "no rows"}, {Text: "wrong row", Refs: []evidence.Ref{evidence.ThreadRef(4041)}}},
			Against: []diagnosis.Reason{{Text: "wrong", Refs: []evidence.Ref{{Kind: evidence.RefPanic, ID: 7}}}},
			Victims: []evidence.Ref{evidence.SyncRef(0x4042)}}}
	doc := report.Build(res, meta())
	text := string(encode(t, doc))
	for _, want := range []string{"F1 (lock-hog) cites no evidence", "has no claim", "reason 1 names no row", "thread:4041", "panic:7",
		"goroutine:4040", "sync:0x4042"} {
		if !strings.Contains(text, want) {
			t.Errorf("no gap says %q", want)
		}
	}
	for _, ref := range citations(doc) {
		if strings.Contains(ref, "404") || ref == "panic:7" {
			t.Errorf("the reference %s leads nowhere and is printed", ref)
		}
	}
	if len(report.Faults(res)) != len(doc.Gaps) {
		t.Errorf("%d faults, %d gaps", len(report.Faults(res)), len(doc.Gaps))
	}
}

// Secrets do not leave unless asked for, and values of the environment never do.
func TestSecrets(t *testing.T) {
	for _, show := range []bool{false, true} {
		m := meta()
		m.ShowArgs = show
		text := string(encode(t, report.Build(lockHog(), m)))
		for secret, may := range map[string]bool{"SECRET-ARG": show, "SECRET-ENV": false, "SECRET-LDFLAGS": false} {
			if got := strings.Contains(text, secret); got != may {
				t.Errorf("ShowArgs %v: %s printed: %v", show, secret, got)
			}
		}
		if got := strings.Contains(text, `"TOKEN"`); got != show {
			t.Errorf("ShowArgs %v: names of the environment printed: %v", show, got)
		}
	}
}

func TestEvidenceIsNumberedOverTheWholeReport(t *testing.T) {
	doc := report.Build(lockHog(), meta())
	var ids []string
	for _, f := range doc.Findings {
		for _, e := range append(f.Because, f.Against...) {
			ids = append(ids, e.ID)
		}
	}
	if got := strings.Join(ids, " "); got != "E1 E2 E3 E4 E5" {
		t.Errorf("evidence is numbered %s", got)
	}
	hog := doc.Findings[0]
	if got := hog.Because[0]; len(got.Refs) != 20 || got.More != 106 {
		t.Errorf("%d references and %d more, want 20 and 106", len(got.Refs), got.More)
	}
	if hog.Victims.Count != 125 || len(hog.Victims.Sample) != 20 {
		t.Errorf("victims %d, sample %d", hog.Victims.Count, len(hog.Victims.Sample))
	}
	if want := "postmortem stacks --ref hold:0 core.1234"; hog.Because[1].Show != want {
		t.Errorf("show is %q, want %q", hog.Because[1].Show, want)
	}
}

func TestTextsAreBounded(t *testing.T) {
	res := crash()
	res.Findings[0].Claim = strings.Repeat("long ", 1_000_000)
	res.Findings[0].Because[0].Text = strings.Repeat("é", 1_000_000)
	doc := report.Build(res, meta())
	if n := len(encode(t, doc)); n > 60_000 {
		t.Errorf("the report has %d bytes", n)
	}
	if !strings.Contains(doc.Verdict.Sentence, "more bytes") || len(doc.Verdict.Sentence) > 600 {
		t.Errorf("the sentence does not say that it was cut: %.200q", doc.Verdict.Sentence)
	}
}

func TestCommandsQuotePaths(t *testing.T) {
	doc := report.Build(hostile(), meta())
	show := doc.Findings[0].Because[0].Show
	if !strings.HasPrefix(show, `postmortem stacks --ref panic:0 'core '\''`) {
		t.Errorf("the path is not quoted: %q", show)
	}
}
