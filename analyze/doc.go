// Package analyze turns files into one Case.
//
// [Formats] is the explicit table of readers. [Open] unpacks each file, lets every reader look at its first bytes, hands the
// file to the one that recognises it, and merges what all of them read: several files of one incident (a core and the log
// that the process wrote) become one Case.
//
//	c, err := analyze.Open(ctx, []string{"core.1234"}, format.Options{})
//	result, err := diagnosis.Run(ctx, c, rules.All(), diagnosis.Options{})
package analyze
