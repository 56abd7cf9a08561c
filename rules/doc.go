// Package rules is the registry of rules: [All] lists them literally, without init functions.
//
// Each folder beside this file holds one rule: its code, its documentation as data and its testdata. To add one, run
//
//	go run ./rules/internal/newrule lock-hog
//
// which makes the folder and rewrites what is generated from the folders: all.go (the registry) and docs/rules (the pages).
// `go generate ./rules` does the latter alone; tests fail when either is stale.
package rules

//go:generate go run ./internal/gen
//go:generate go run ./internal/docgen
