package main

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gopostmortem/postmortem/analyze/format/gocore/internal/layout"
)

// facts reads constants from DWARF, and the texts of wait reasons and statuses from the toolchain's runtime.
func (b *builder) facts(s *layout.Source) error {
	constants, err := constantsOf(s.Programs[0].Program)
	if err != nil {
		return err
	}
	root, err := b.run(b.dir, variant{arch: s.Arch}, "env", "GOROOT")
	if err != nil {
		return err
	}
	runtime := filepath.Join(root, "src", "runtime")
	if s.WaitReasons, err = waitReasons(filepath.Join(runtime, "runtime2.go")); err != nil {
		return err
	}
	if s.Statuses, err = statuses(filepath.Join(runtime, "traceback.go"), constants); err != nil {
		return err
	}
	s.Constants = kept(constants)
	return nil
}

// kept gives the constants that tables hold.
func kept(constants map[string]int64) map[string]int64 {
	chosen := map[string]int64{}
	for name, value := range constants {
		for _, prefix := range keptConstants {
			if strings.HasPrefix(name, prefix) {
				chosen[name] = value
			}
		}
	}
	return chosen
}

// keptOf gives the constants of programs for a table.
func keptOf(programs []layout.TypeSource) (map[string]int64, error) {
	constants, err := constantsOf(programs[0].Program)
	return kept(constants), err
}

// constantsOf reads every constant of a program from its DWARF.
func constantsOf(f *elf.File) (map[string]int64, error) {
	d, err := f.DWARF()
	if err != nil {
		return nil, err
	}
	found := map[string]int64{}
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			return nil, err
		}
		if e == nil {
			return found, nil
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if value, ok := e.Val(dwarf.AttrConstValue).(int64); ok && e.Tag == dwarf.TagConstant {
			found[name] = value
		}
	}
}

// namedStrings reads the composite literal of a variable such as waitReasonStrings: constant name -> text.
func namedStrings(file, variable string) (map[string]string, *ast.File, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	found := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != variable || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.CompositeLit)
		if !ok {
			return true
		}
		for _, element := range literal.Elts {
			addPair(found, element)
		}
		return false
	})
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("%s: no variable %s with constants and texts", file, variable)
	}
	return found, parsed, nil
}

// addPair takes `name: "text"`.
func addPair(to map[string]string, element ast.Expr) {
	pair, ok := element.(*ast.KeyValueExpr)
	if !ok {
		return
	}
	key, isName := pair.Key.(*ast.Ident)
	value, isText := pair.Value.(*ast.BasicLit)
	if !isName || !isText {
		return
	}
	if text, err := strconv.Unquote(value.Value); err == nil {
		to[key.Name] = text
	}
}

// waitReasons gives the texts by number. The constants of the type waitReason count up from waitReasonZero in one
// declaration, which gives their numbers.
func waitReasons(file string) ([]string, error) {
	texts, parsed, err := namedStrings(file, "waitReasonStrings")
	if err != nil {
		return nil, err
	}
	var ordered []string
	for _, name := range countedFrom(parsed, "waitReasonZero") {
		text, ok := texts[name]
		if !ok {
			return nil, fmt.Errorf("%s: constant %s has no text in waitReasonStrings", file, name)
		}
		ordered = append(ordered, text)
	}
	if len(ordered) != len(texts) {
		return nil, fmt.Errorf("%s: %d wait reasons, but %d texts", file, len(ordered), len(texts))
	}
	return ordered, nil
}

// countedFrom lists the names of the constant declaration that begins with first.
func countedFrom(file *ast.File, first string) []string {
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST || decl.Specs[0].(*ast.ValueSpec).Names[0].Name != first {
			continue
		}
		var names []string
		for _, s := range decl.Specs {
			names = append(names, s.(*ast.ValueSpec).Names[0].Name)
		}
		return names
	}
	return nil
}

// statuses gives the runtime's words for goroutine statuses by their number.
func statuses(file string, constants map[string]int64) (map[uint32]string, error) {
	texts, _, err := namedStrings(file, "gStatusStrings")
	if err != nil {
		return nil, err
	}
	found := map[uint32]string{}
	for name, text := range texts {
		value, ok := constants["runtime."+name]
		if !ok {
			return nil, fmt.Errorf("%s: constant %s is not in DWARF", file, name)
		}
		found[uint32(value)] = text
	}
	return found, nil
}
