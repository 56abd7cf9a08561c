package report

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Count writes a number with commas: 1,017.
func Count(n int) string {
	digits, sign := strconv.Itoa(n), ""
	if n < 0 {
		digits, sign = digits[1:], "-"
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Count64 is Count of a counter.
func Count64(n uint64) string { return Count(int(min(n, math.MaxInt))) }

// plural64 is Plural of a counter.
func plural64(n uint64, noun string) string { return Plural(int(min(n, math.MaxInt)), noun) }

// Plural writes a count and a noun: "1 goroutine", "1,017 goroutines".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(n) + " " + noun + "s"
}

// Seconds writes a duration in seconds as people say it: "3m20s".
func Seconds(n uint32) string { return (time.Duration(n) * time.Second).String() }

// Size writes a number of bytes with a binary unit: "1.5 GiB".
func Size(n uint64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatUint(n, 10) + " B"
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 5 {
		value, prefix = value/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix])
}

// ShortFunction drops what a person on call does not need of a function's name: the folders of its import path, and the package
// too where a receiver tells whose method it is. "example.com/app/hub.(*Hub).sweep" is "(*Hub).sweep".
func ShortFunction(function string) string {
	head, args := function, ""
	if bracket := strings.IndexByte(function, '['); bracket >= 0 { // type arguments hold slashes of their own
		head, args = function[:bracket], function[bracket:]
	}
	if paren := strings.Index(head, ".("); paren >= 0 {
		return head[paren+1:] + args
	}
	head = head[strings.LastIndexByte(head, '/')+1:]
	if strings.HasPrefix(head, "main.main.") { // a function literal of main
		head = strings.TrimPrefix(head, "main.")
	}
	return head + args
}

// Place is the file's base name and the line: "session.go:88". It is empty when the file is not known.
func Place(file string, line int) string {
	if file == "" {
		return ""
	}
	base := path.Base(strings.ReplaceAll(file, `\`, "/"))
	if line <= 0 {
		return base
	}
	return base + ":" + strconv.Itoa(line)
}

// FullPlace is the whole path and the line.
func FullPlace(file string, line int) string {
	if file == "" || line <= 0 {
		return file
	}
	return file + ":" + strconv.Itoa(line)
}

// Visible returns s with everything escaped that a terminal or a page would obey instead of showing: control characters (ESC
// among them), line breaks, characters that turn the direction of writing, bytes that are not UTF-8. The escapes are Go's.
// Texts of the program under examination reach people through this function only.
func Visible(s string) string {
	i := 0
	for i < len(s) && ' ' <= s[i] && s[i] < utf8.RuneSelf && s[i] != 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

// escapeInvalid writes the bytes that are not UTF-8 as \xNN and keeps everything else.
func escapeInvalid(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// Clip shortens s to at most limit bytes, between two characters, and says how much it left out.
func Clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s... (%s more bytes)", s[:cut], Count(len(s)-cut))
}

// ShellQuote quotes an argument for a POSIX shell when it needs it.
func ShellQuote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._/-+:@%,=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// programs are the first words of steps that are commands.
var programs = map[string]bool{"postmortem": true, "go": true, "dlv": true, "gdb": true, "gcore": true, "kill": true,
	"strace": true, "perf": true, "curl": true, "ulimit": true}

// IsCommand tells a step to type from a step to think about.
func IsCommand(step string) bool {
	first, _, more := strings.Cut(step, " ")
	return more && programs[first]
}
