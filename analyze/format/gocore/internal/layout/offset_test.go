package layout

import (
	"encoding/hex"
	"testing"
)

func TestAddressOffset(t *testing.T) {
	for _, c := range []struct {
		code       string
		offset     int64
		locked, ok bool
	}{
		{"f00fb15918", 0x18, true, true},          // LOCK CMPXCHGL BX, 0x18(CX)
		{"f00fc15a20", 0x20, true, true},          // LOCK XADDL BX, 0x20(DX)
		{"f00fb111", 0, true, true},               // LOCK CMPXCHGL DX, (CX)
		{"f0410fb1901c010000", 0x11c, true, true}, // LOCK CMPXCHGL DX, 0x11c(R8)
		{"488d4820", 0x20, false, true},           // LEAQ 0x20(AX), CX
		{"488d8880000000", 0x80, false, true},     // LEAQ 0x80(AX), CX
		{"488d542410", 0, false, false},           // LEAQ 0x10(SP), DX: of the stack
		{"488d0d24550300", 0, false, false},       // LEAQ 0x35524(IP), CX
		{"488d0cc8", 0, false, false},             // LEAQ (AX)(CX*8), CX: an element, not a field
		{"4883c018", 0x18, false, true},           // ADDQ $0x18, AX
		{"4881c000010000", 0x100, false, true},    // ADDQ $0x100, AX
		{"4883e818", 0, false, false},             // SUBQ $0x18, AX
		{"488b4818", 0, false, false},             // MOVQ 0x18(AX), CX: a load
		{"90", 0, false, false},                   // NOP
		{"488d", 0, false, false},                 // cut
		{"", 0, false, false},
	} {
		code, err := hex.DecodeString(c.code)
		if err != nil {
			t.Fatal(err)
		}
		offset, locked, ok := AddressOffset(code)
		if ok != c.ok || ok && (offset != c.offset || locked != c.locked) {
			t.Errorf("%s: %#x, locked %t, ok %t; want %#x, %t, %t", c.code, offset, locked, ok, c.offset, c.locked, c.ok)
		}
	}
}
