// Package objtype finds out what the objects of a dead Go process's heap are.
//
// The runtime knows the type of few of them: objects above 512 bytes carry it. The others are found by following typed pointers: from
// global variables (whose types the DWARF tells), from objects whose type is known, and from interfaces, which name the type of what is in
// them. The types themselves are the runtime's own descriptors (internal/abi/type.go, Go 1.22 to 1.26), which stripped programs have too.
// A type is believed when the object is of the allocation class that the type would get, and has pointers where the type has them.
//
// In objects that nothing typed leads to, two neighbouring pointers of which the first is a type's are taken for an interface, and a first
// word that is a function's entry for a closure: guesses, which are marked as such.
package objtype
