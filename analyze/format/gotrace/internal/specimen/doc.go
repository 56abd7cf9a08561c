// Package specimen gives tests execution traces: of programs run by any toolchain, and of the text form in which Go's own tests are
// written. Only tests import it.
package specimen
