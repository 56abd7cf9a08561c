package markdown

import (
	"regexp"
	"strings"
	"testing"
)

func TestInline(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, 42 of 1,017.":     "plain text, 42 of 1,017.",
		"in (*Session).Close.":         "in `(*Session).Close`.",
		"(pending in a.(*B).c)":        "(pending in `a.(*B).c`)",
		"said (*B).c), then":           "said `(*B).c`), then",
		"by (a_b":                      "by (`a_b`",
		"a|b":                          "<code>a&#124;b</code>",
		"back`tick":                    "<code>back&#96;tick</code>",
		`a\|b`:                         "<code>a&#92;&#124;b</code>",
		"@team: look":                  "`@team`: look",
		"see https://evil.example now": "see `https://evil.example` now",
		"WWW.evil.example":             "`WWW.evil.example`",
		"- item":                       "`-` item",
		"--- rule":                     "`---` rule",
		"1. item":                      "`1`. item",
		"12) item":                     "`12)` item",
		"    four spaces":              "four spaces",
		"#1 heading":                   "`#1` heading",
		"sync:0xc000012345 is held":    "sync:0xc000012345 is held",
		"new\nline":                    `new\nline`,
		"main.main at main.go:12":      "main.main at main.go:12",
		"*":                            "`*`",
		"":                             "",
	} {
		if in == "new\nline" {
			want = "<code>new&#92;nline</code>"
		}
		if got := inline(in); got != want {
			t.Errorf("inline(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFence(t *testing.T) {
	got := fenced("text", []string{"```", "`````", "end\n```"})
	if want := "``````text\n```\n`````\nend\\n```\n``````\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var safe = regexp.MustCompile("`[^`|\\\\]+`|<code>[^<>`|]*</code>")

func FuzzInline(f *testing.F) {
	f.Add("a`b|c <script> @x [y](z) \\ `` \x1b[0m")
	f.Add("``` | ~~~")
	f.Fuzz(func(t *testing.T, s string) {
		rest := safe.ReplaceAllString(inline(s), "")
		if strings.ContainsAny(rest, "`|<>[]\\@*_~$\n\x1b") || strings.Contains(rest, "://") {
			t.Fatalf("%q leaves %q outside of code", s, rest)
		}
	})
}
