package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kernelRoots are the types of the kernel's signal frame. The compiler leaves no trace of them in DWARF, because the
// runtime has no variable of these types: it only converts pointers.
var kernelRoots = []string{"ucontext", "sigcontext"}

// kernelProgram makes a program that holds the toolchain's own declarations of these types (runtime/defs_linux_*.go) and
// a variable of each, so that its DWARF has them, as main.ucontext and so on.
func (b *builder) kernelProgram(arch string) (string, error) {
	root, err := b.run(b.dir, variant{arch: arch}, "env", "GOROOT")
	if err != nil {
		return "", err
	}
	d := &declarations{fset: token.NewFileSet(), specs: map[string]*ast.GenDecl{}}
	names := []string{"defs_linux_" + arch + ".go", "os_linux_" + arch + ".go"}
	for _, name := range names {
		if err := d.read(filepath.Join(root, "src", "runtime", name)); err != nil {
			return "", err
		}
	}
	return d.program(kernelRoots)
}

// declarations are types and constants of source files by name.
type declarations struct {
	fset  *token.FileSet
	specs map[string]*ast.GenDecl
}

func (d *declarations) read(file string) error {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(d.fset, file, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, decl := range parsed.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.TYPE && group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				d.specs[spec.Name.Name] = group
			case *ast.ValueSpec:
				d.specs[spec.Names[0].Name] = group
			}
		}
	}
	return nil
}

// program writes the declarations that the roots need.
func (d *declarations) program(roots []string) (string, error) {
	var text bytes.Buffer
	text.WriteString("package main\n\nimport \"unsafe\"\n\n")
	done := map[*ast.GenDecl]bool{}
	for queue := slices.Clone(roots); len(queue) > 0; queue = queue[1:] {
		group := d.specs[queue[0]]
		if group == nil || done[group] {
			continue
		}
		done[group] = true
		if err := printer.Fprint(&text, d.fset, group); err != nil {
			return "", err
		}
		text.WriteString("\n\n")
		ast.Inspect(group, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				queue = append(queue, id.Name)
			}
			return true
		})
	}
	text.WriteString("func main() {\n\tprintln(unsafe.Sizeof(0))\n")
	for _, name := range roots {
		if d.specs[name] == nil {
			return "", fmt.Errorf("the runtime declares no type %s", name)
		}
		fmt.Fprintf(&text, "\tprintln(x%s)\n", name)
	}
	text.WriteString("}\n\n")
	for _, name := range roots {
		fmt.Fprintf(&text, "var x%s = new(%s)\n", name, name)
	}
	return text.String(), nil
}

// kernelTypes are the names that the DWARF of kernelProgram has.
func kernelTypes() []string {
	list := make([]string, len(kernelRoots))
	for i, name := range kernelRoots {
		list[i] = "main." + name
	}
	return list
}

// isSource reports whether a program of a variant is text of its own and not the name of one of the probes.
func isSource(program string) bool { return strings.HasPrefix(program, "package ") }
