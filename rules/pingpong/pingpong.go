// Package pingpong recognises TODO.
package pingpong

import (
	"github.com/gopostmortem/postmortem/analyze/diagnosis"
	"github.com/gopostmortem/postmortem/analyze/diagnosis/derive"
	"github.com/gopostmortem/postmortem/analyze/evidence"
)

// Rule is ping-pong.
var Rule = &diagnosis.Rule{
	Name:  "ping-pong",
	Class: "lock-hog", // TODO: one of diagnosis.Classes
	Doc: &diagnosis.Doc{
		Title:   "TODO: one line, without a full stop",
		Sees:    "TODO: what it recognises, in which evidence, and how",
		Hurts:   "TODO: why it matters",
		Confirm: "TODO: what a reader can do to be sure",
		Fix:     "TODO: what to change",
		Not:     "TODO: the healthy look-alike, and why the rule stays silent on it",
		Since:   "0.1.0",
	},
	Needs: []evidence.Kinds{evidence.KindGoroutines},
	Uses:  []diagnosis.Dependency{derive.OfFrames},
	Run:   run,
}

func run(p *diagnosis.Pass) error {
	p.Silent("no goroutine does what this rule looks for")
	return nil
}
