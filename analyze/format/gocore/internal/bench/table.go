package main

import "fmt"
func table(r []result) string { return fmt.Sprint(r) }
func page(r []result) string { return "" }
func misses(r []result) []string { return nil }
