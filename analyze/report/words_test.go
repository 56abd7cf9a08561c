package report_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/gopostmortem/postmortem/analyze/report"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{report.Count(0), "0"}, {report.Count(999), "999"}, {report.Count(1017), "1,017"}, {report.Count(-1234567), "-1,234,567"},
		{report.Count(-1 << 63), "-9,223,372,036,854,775,808"},
		{report.Plural(1, "goroutine"), "1 goroutine"}, {report.Plural(1000, "goroutine"), "1,000 goroutines"},
		{report.Size(1023), "1023 B"}, {report.Size(1536), "1.5 KiB"}, {report.Size(3 << 30), "3.0 GiB"}, {report.Size(1<<64 - 1), "16.0 EiB"},
		{report.ShortFunction("example.com/app/hub.(*Hub).sweep"), "(*Hub).sweep"},
		{report.ShortFunction("example.com/app/ledger.Append"), "ledger.Append"}, {report.ShortFunction("main.main"), "main.main"},
		{report.ShortFunction("main.main.func1"), "main.func1"}, {report.ShortFunction("main.run.func1"), "main.run.func1"},
		{report.ShortFunction("main.(*Cache[example.com/a/b.Key,int]).Get"), "(*Cache[example.com/a/b.Key,int]).Get"},
		{report.ShortFunction("example.com/x.Map[...]"), "x.Map[...]"}, {report.ShortFunction(""), ""},
		{report.Place("/src/app/session.go", 88), "session.go:88"}, {report.Place(`C:\app\session.go`, 0), "session.go"}, {report.Place("", 3), ""},
		{report.FullPlace("/a/b.go", 3), "/a/b.go:3"}, {report.FullPlace("", 3), ""},
		{report.ShellQuote("core.1234"), "core.1234"}, {report.ShellQuote("a b"), "'a b'"}, {report.ShellQuote("it's"), `'it'\''s'`}, {report.ShellQuote(""), "''"},
		{report.Clip("short", 10), "short"}, {report.Clip("éééé", 3), "é... (6 more bytes)"},
		{report.Visible("plain"), "plain"}, {report.Visible("a\x1b[31mb"), `a\x1b[31mb`}, {report.Visible("a\nb\tc\x7f"), `a\nb\tc\x7f`},
		{report.Visible("a\u202eb\u009bc\xffd"), `a\u202eb\u009bc\xffd`}, {report.Visible("größe 日本"), "größe 日本"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestIsCommand(t *testing.T) {
	for step, want := range map[string]bool{"postmortem graph core.1": true, "go tool trace x": true, "Take a second capture": false,
		"go": false, "": false, "look at the logs": false} {
		if report.IsCommand(step) != want {
			t.Errorf("IsCommand(%q) is %v", step, !want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add(evil)
	f.Add("\u2028\u00a0\x00")
	f.Fuzz(func(t *testing.T, s string) {
		v := report.Visible(s)
		if !utf8.ValidString(v) {
			t.Fatalf("%q is not UTF-8", v)
		}
		if i := strings.IndexFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Fatalf("%q: byte %d is not printable", v, i)
		}
		if report.Visible(v) != v {
			t.Fatalf("%q is not stable", v)
		}
		if c := report.Clip(s, 10); len(c) > 10+40 {
			t.Fatalf("Clip leaves %d bytes", len(c))
		}
	})
}
