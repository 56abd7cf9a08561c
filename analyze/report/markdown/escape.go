package markdown

import (
	"fmt"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/report"
)

// special are the characters that mean something to GitHub Flavored Markdown somewhere inside a line: emphasis, code, links,
// tables, HTML, entities, strikethrough, maths, mentions and issue numbers. Line starts are not a concern: every text stands
// behind something else on its line, or is guarded by inline's first word.
const special = "\\`*_[]<>|~&@#$^{}"

// inline makes a text safe inside a line or a table cell. Words are kept as they are where they mean nothing to Markdown, and
// become code where they do, which is also how a function name should look. Mentions and bare links are words like others: a
// panic text must not call people or lead them elsewhere.
func inline(s string) string {
	words := strings.Split(strings.TrimSpace(report.Visible(s)), " ") // four leading spaces would be a code block
	for i, w := range words {
		words[i] = word(w, i == 0)
	}
	return strings.Join(words, " ")
}

// word leaves punctuation around it outside of the code, so that a sentence still ends like one.
func word(w string, first bool) string {
	if !unsafeWord(w, first) {
		return w
	}
	from, to := core(w)
	if first && startsBlock(w) {
		from, to = 0, len(strings.TrimRight(w, ",.;:"))
	}
	if from >= to {
		return code(w)
	}
	return w[:from] + code(w[from:to]) + w[to:]
}

// core is what is left of a word without closing punctuation, and without a bracket whose other half stands elsewhere in the sentence.
func core(w string) (from, to int) {
	to = len(strings.TrimRight(w, ",.;:"))
	for open, shut := strings.Count(w, "("), strings.Count(w, ")"); open != shut; {
		switch {
		case shut > open && strings.HasSuffix(w[from:to], ")"):
			shut--
			to = len(strings.TrimRight(w[:to-1], ",.;:"))
		case open > shut && strings.HasPrefix(w[from:to], "("):
			open--
			from++
		default:
			return from, to
		}
	}
	return from, to
}

func unsafeWord(w string, first bool) bool {
	if strings.ContainsAny(w, special) || strings.Contains(w, "://") || strings.Contains(strings.ToLower(w), "www.") {
		return true
	}
	return first && startsBlock(w)
}

// startsBlock recognises words that begin a heading, a list, a rule or a setext underline at the start of a line.
func startsBlock(w string) bool {
	if strings.Trim(w, "-+=") == "" {
		return true
	}
	digits := strings.TrimLeft(w, "0123456789")
	return len(digits) < len(w) && (digits == "." || digits == ")")
}

// code is a code span. A text that would end the span or a table cell early is written as HTML with every character that is
// not a letter or a digit as an entity, which neither Markdown nor HTML reads as markup.
func code(s string) string {
	s = report.Visible(s)
	if s == "" {
		return ""
	}
	if !strings.ContainsAny(s, "`|\\") && !strings.HasPrefix(s, " ") && !strings.HasSuffix(s, " ") {
		return "`" + s + "`"
	}
	return "<code>" + entities(s) + "</code>"
}

// entities escapes a text for HTML that stands inside a line of Markdown.
func entities(s string) string { return escaped(s, "") }

// summary escapes a text for a block of HTML, which Markdown does not look into.
func summary(s string) string { return escaped(s, ".,:()/-*") }

func escaped(s, keep string) string {
	var b strings.Builder
	for _, r := range report.Visible(s) {
		if r > 0x7f || r == ' ' || strings.ContainsRune(keep, r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "&#%d;", r)
	}
	return b.String()
}

// fenced is a code block; its fence is longer than any run of backticks in it. The lines are made visible one by one, so that
// none can end the block.
func fenced(language string, lines []string) string {
	var b strings.Builder
	longest := 0
	for _, l := range lines {
		longest = max(longest, longestRun(l, '`'))
	}
	fence := strings.Repeat("`", max(3, longest+1))
	b.WriteString(fence + language + "\n")
	for _, l := range lines {
		b.WriteString(report.Visible(l) + "\n")
	}
	b.WriteString(fence + "\n")
	return b.String()
}

func longestRun(s string, c byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != c {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}
