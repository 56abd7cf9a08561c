package derive

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// maxQuote bounds a panic value inside a sentence, in bytes. The report shows the whole value in its table of panics.
const maxQuote = 200

// Quote is a panic value or an error text for a sentence: its first line, cut when it is long.
func Quote(text string) string {
	line, rest, _ := strings.Cut(text, "\n")
	cut := strings.TrimSpace(rest) != ""
	if len(line) > maxQuote {
		line = line[:maxQuote]
		for !utf8.ValidString(line) && line != "" { // the cut may have gone through a character
			line = line[:len(line)-1]
		}
		cut = true
	}
	if cut {
		return line + " …"
	}
	return strings.TrimRight(line, ". ")
}

// Told lists what supports a crash by a panic: what the runtime said, the other panics of the chain, and who called it.
func (k *Crash) Told(c *evidence.Case, f *Frames, site CrashSite) []diagnosis.Reason {
	var reasons []diagnosis.Reason
	if text, ok := k.RootText(c); ok {
		root := evidence.Ref{Kind: evidence.RefPanic, ID: uint64(k.Chain[len(k.Chain)-1])}
		reasons = append(reasons, diagnosis.Reason{
			Text: fmt.Sprintf("%s was panicking with %q when the process died", k.Name(), Quote(text)),
			Refs: append([]evidence.Ref{root}, k.Refs()...),
		})
	} else {
		reasons = append(reasons, diagnosis.Reason{
			Text: k.Name() + " was in the runtime's panic function when the process died; the value is not in the evidence",
			Refs: k.Refs(),
		})
	}
	reasons = append(reasons, k.again(c)...)
	if text := k.CameFrom(c, f, site); text != "" {
		reasons = append(reasons, diagnosis.Reason{Text: text, Refs: []evidence.Ref{k.Subject()}})
	}
	return reasons
}

// again tells of the panics that came after the root cause, the oldest first.
func (k *Crash) again(c *evidence.Case) []diagnosis.Reason {
	var reasons []diagnosis.Reason
	for n := len(k.Chain) - 2; n >= 0; n-- {
		text := fmt.Sprintf("while its deferred functions ran, it panicked again with %q", Quote(c.Panics[k.Chain[n]].Text))
		if c.Panics[k.Chain[n+1]].Recovered {
			text = fmt.Sprintf("a deferred function recovered that and panicked again with %q", Quote(c.Panics[k.Chain[n]].Text))
		}
		if at, ok := k.siteOf(n); ok {
			text += " in " + Where(k.Line(at))
		}
		reasons = append(reasons, diagnosis.Reason{Text: text, Refs: []evidence.Ref{{Kind: evidence.RefPanic, ID: uint64(k.Chain[n])}}})
	}
	return reasons
}

// siteOf is the site of panic n of the chain. They can be paired only when as many sites as panics were found.
func (k *Crash) siteOf(n int) (CrashSite, bool) {
	if len(k.Sites) != len(k.Chain) {
		return CrashSite{}, false
	}
	return k.Sites[n], true
}

// WithLater puts the lines of the later panics behind the first of the locations.
func (k *Crash) WithLater(list []diagnosis.Location) []diagnosis.Location {
	if len(k.Sites) < 2 || len(list) == 0 {
		return list
	}
	out := []diagnosis.Location{list[0]}
	for _, site := range k.Sites[:len(k.Sites)-1] {
		out = append(out, diagnosis.Location{Role: diagnosis.RoleCrash, Frame: k.Line(site), Ref: k.Goroutine.Ref()})
	}
	return append(out, list[1:]...)
}

// Place says where a site is, for a claim: the user's line, the library function where it happened, and the one that the
// user's line had called when that is another.
func (k *Crash) Place(site CrashSite) string {
	if site.User < 0 || site.User == site.Exact {
		return "in " + Where(k.Line(site))
	}
	exact, called := k.Stack.At(site.Exact).Function, k.Stack.At(site.User-1).Function
	if exact != called {
		return fmt.Sprintf("in %s below %s, called by %s", Short(exact), Short(called), Where(k.Line(site)))
	}
	return fmt.Sprintf("in %s, called by %s", Short(exact), Where(k.Line(site)))
}
