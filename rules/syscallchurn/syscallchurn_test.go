package syscallchurn

import (
	"testing"

	"github.com/gopostmortem/postmortem/rules/ruletest"
)

func TestCases(t *testing.T) { ruletest.Cases(t, Rule) }
