package derive

import (
	"strings"

	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Debugger is the command that opens the evidence in a debugger, with the real paths where the case knows them: "dlv core
// ./server core.1234". tool is what stands before the paths. A case without a core, such as one from a log, gives "", and so does
// one whose executable has no debug information, without which a debugger has no variables to print.
func Debugger(c *evidence.Case, tool string) string {
	for _, g := range c.Gaps {
		if strings.Contains(g.Why, "no debug information") {
			return "" // it would show what the report shows
		}
	}
	for _, s := range c.Sources {
		if s.Format == "gocore" {
			exe := c.Process.Executable
			if exe == "" {
				exe = "EXECUTABLE"
			}
			return tool + " " + shellWord(exe) + " " + shellWord(s.Path)
		}
	}
	return ""
}

// shellWord quotes a path that a shell would take apart.
func shellWord(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n'\"\\$`;&|<>()*?[]{}!#~") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// NilVariables lists the variables of a frame that are nil, as "req (*main.request)".
func NilVariables(c *evidence.Case, goroutine int64, depth int) []string {
	var names []string
	for _, v := range c.Variables {
		if v.Goroutine == goroutine && v.Depth == depth && v.Value == "nil" {
			names = append(names, v.Name+" ("+v.Type+")")
		}
	}
	return names
}
