// Package report turns a diagnosis.Result into an ordered [Document].
//
// The Document knows no syntax: its fields stand in the order in which a report tells them, its texts are raw, and what comes
// from the program under examination (panic values, function names, paths) is left as it was read. Each style under this folder
// writes one syntax and escapes for it; [Visible] is what they share for characters that a terminal or a page would obey.
//
// The Document is also the JSON contract: the report of style jsonreport is its encoding and nothing else, so that a saved
// report can be read back and written in any other style without loss. The field names in the struct tags are therefore frozen:
// fields are added, never renamed or retyped, and every one may be absent. docs/report.schema.json describes them.
//
// Rules of trust that [Build] keeps: every reason of a finding carries references that resolve in the Case (one that does not
// becomes a Gap), every reference resolves in the Document too (Rows, Stacks), the same Result gives the same Document, values of
// the environment are never part of it, and the arguments of the process only when asked for.
package report
