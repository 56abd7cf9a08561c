// Package evidence is the data model of one incident.
//
// Readers turn files into a [Case] by way of a [Builder]; rules read the Case; reports print what the rules found. The
// package imports the standard library only, so that a library user who wants to look at a Case compiles nothing else.
//
// Tables are interned and columnar: a stack is stored once, and a goroutine is a row of columns that names its stack. Rules
// look at [Case.Groups] (distinct stacks with counts), so their cost grows with what is different and not with how often it
// occurs. A row is addressed by a [Ref] ("goroutine:42"), which is also what findings cite and what the JSON report holds.
//
// What could not be read is a [Gap]. How a value was obtained is a [Trust].
package evidence
