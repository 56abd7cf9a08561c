// Package ruletest tests rules: over hand-made evidence ([Cases]) and over real programs that fell ill ([Fixtures]).
//
// # Cases
//
// A file testdata/*.case is the text form of a Case. What the rule must say about it stands in its comments:
//
//	# want: main.(*Ledger).Append ledger.go:42 critical likely
//	# claim: 125 goroutines
//	# also: waiter main.handle server.go:17
//	# because: it has waited for 3 s
//	# against: may have changed
//
// want names the function, file:line, severity and confidence of one finding; the function and the file are compared with
// the first location of the finding, the file by its end. A finding without a location is wanted as `# want: - warning
// possible`. claim (a part of the claim's text), also (role, function and file:line of another location), because and
// against (parts of a reason, and of what speaks against it) may follow a want any number of times. A near miss says
//
//	# want: nothing
//	# silent: no lock has more than 2 waiters
//
// where silent, a part of the reason the rule gives for its silence, may be left out. A limit is set with
// `# limit: lock-hog.min-waiters=2`. Findings that are not wanted fail the test, and so does a rule without both a hit and a
// near miss.
//
// # Fixtures
//
// See [Fixtures]: the truth stands in the programs of fixtures/go, as `// want rule` on the guilty line, and for their execution traces
// as `// want-trace rule`.
package ruletest
