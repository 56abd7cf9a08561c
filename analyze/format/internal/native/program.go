package native

import "fmt"

// ruleKind says how a register of the caller is found (DWARF 5, 6.4.1).
type ruleKind uint8

const (
	sameValue ruleKind = iota // also for registers the program does not mention
	undefined
	offset    // at CFA + n
	valOffset // is CFA + n
	register  // in another register
	expr      // at the address an expression gives
	valExpr   // is what an expression gives
)

// rule is one cell of the table.
type rule struct {
	kind ruleKind
	n    int64 // offset, or number of the register
	expr []byte
}

// row is the table at one address.
type row struct {
	cfaReg  uint64
	cfaOff  int64
	cfaExpr []byte // instead of cfaReg and cfaOff when not nil
	regs    [numRegs]rule
	signed  bool // arm64: the return address is signed (pointer authentication)
}

// Call frame instructions (DWARF 5, table 7.29; LSB and vendor additions below).
const (
	cfaAdvance = 0x40 // high two bits, with the delta in the low six
	cfaOffset  = 0x80
	cfaRestore = 0xc0

	cfaNop            = 0x00
	cfaSetLoc         = 0x01
	cfaAdvance1       = 0x02
	cfaAdvance2       = 0x03
	cfaAdvance4       = 0x04
	cfaOffsetExt      = 0x05
	cfaRestoreExt     = 0x06
	cfaUndefined      = 0x07
	cfaSameValue      = 0x08
	cfaRegister       = 0x09
	cfaRemember       = 0x0a
	cfaRestoreState   = 0x0b
	cfaDef            = 0x0c
	cfaDefRegister    = 0x0d
	cfaDefOffset      = 0x0e
	cfaDefExpr        = 0x0f
	cfaExpr           = 0x10
	cfaOffsetExtSF    = 0x11
	cfaDefSF          = 0x12
	cfaDefOffsetSF    = 0x13
	cfaValOffset      = 0x14
	cfaValOffsetSF    = 0x15
	cfaValExpr        = 0x16
	cfaNegateRAWithPC = 0x2c // DW_CFA_AARCH64_negate_ra_state_with_pc
	cfaNegateRA       = 0x2d // DW_CFA_AARCH64_negate_ra_state; DW_CFA_GNU_window_save on SPARC
	cfaArgsSize       = 0x2e // DW_CFA_GNU_args_size
	cfaNegOffsetExt   = 0x2f // DW_CFA_GNU_negative_offset_extended
)

// maxRemembered bounds the stack of remember_state; compilers use two levels.
const maxRemembered = 32

// machine runs call frame instructions up to an address.
type machine struct {
	fde     *fde
	loc     uint64
	target  uint64
	row     row
	initial row // after the CIE's program, for restore
	stack   []row
}

// rowAt runs the programs of the CIE and of the FDE up to target, an address without bias.
func (d *fde) rowAt(target uint64) (*row, error) {
	m := &machine{fde: d, loc: d.lo, target: target}
	if err := m.run(d.cie.program, 0); err != nil {
		return nil, err
	}
	m.initial, m.loc = m.row, d.lo
	if err := m.run(d.program, d.at); err != nil {
		return nil, err
	}
	return &m.row, nil
}

// run executes instructions until they pass the target.
func (m *machine) run(program []byte, at uint64) error {
	r := &reader{b: program}
	for r.left() > 0 && m.loc <= m.target {
		op := r.u8()
		var err error
		switch op & 0xc0 {
		case cfaAdvance:
			m.advance(uint64(op & 0x3f))
		case cfaOffset:
			m.set(uint64(op&0x3f), rule{kind: offset, n: int64(r.uleb()) * m.fde.cie.dataAlign})
		case cfaRestore:
			m.restore(uint64(op & 0x3f))
		default:
			err = m.extended(op, r, at)
		}
		if err != nil {
			return err
		}
		if r.bad {
			return fmt.Errorf("%w: instruction %#x is cut off", errCFI, op)
		}
	}
	return nil
}

// advance moves on; the row holds for the addresses before.
func (m *machine) advance(delta uint64) { m.loc += delta * m.fde.cie.codeAlign }

// set sets the rule of a register; vector registers are not followed.
func (m *machine) set(reg uint64, r rule) {
	if reg < numRegs {
		m.row.regs[reg] = r
	}
}

// restore gives a register the rule that the CIE had for it.
func (m *machine) restore(reg uint64) {
	if reg < numRegs {
		m.row.regs[reg] = m.initial.regs[reg]
	}
}

// extended executes an instruction that has a byte of its own.
func (m *machine) extended(op uint8, r *reader, at uint64) error {
	switch op {
	case cfaNop:
	case cfaSetLoc:
		loc, ok := r.pointer(m.fde.cie.fdeEnc, at, 0)
		if !ok {
			return fmt.Errorf("%w: set_loc in encoding %#x", errCFI, m.fde.cie.fdeEnc)
		}
		m.loc = loc
	case cfaAdvance1:
		m.advance(uint64(r.u8()))
	case cfaAdvance2:
		m.advance(uint64(r.u16()))
	case cfaAdvance4:
		m.advance(uint64(r.u32()))
	case cfaRemember:
		if len(m.stack) == maxRemembered {
			return fmt.Errorf("%w: more than %d remembered states", errCFI, maxRemembered)
		}
		m.stack = append(m.stack, m.row)
	case cfaRestoreState:
		if len(m.stack) == 0 {
			return fmt.Errorf("%w: restore_state without remember_state", errCFI)
		}
		m.row, m.stack = m.stack[len(m.stack)-1], m.stack[:len(m.stack)-1]
	case cfaNegateRA, cfaNegateRAWithPC:
		m.row.signed = !m.row.signed
	case cfaArgsSize:
		r.uleb()
	case cfaDef, cfaDefRegister, cfaDefOffset, cfaDefExpr, cfaDefSF, cfaDefOffsetSF:
		m.define(op, r)
	default:
		return m.registerRule(op, r)
	}
	return nil
}

// define executes the instructions that define the CFA.
func (m *machine) define(op uint8, r *reader) {
	scale := m.fde.cie.dataAlign
	switch op {
	case cfaDef:
		m.row.cfaReg, m.row.cfaOff, m.row.cfaExpr = r.uleb(), int64(r.uleb()), nil
	case cfaDefSF:
		m.row.cfaReg, m.row.cfaOff, m.row.cfaExpr = r.uleb(), r.sleb()*scale, nil
	case cfaDefRegister:
		m.row.cfaReg, m.row.cfaExpr = r.uleb(), nil
	case cfaDefOffset:
		m.row.cfaOff = int64(r.uleb())
	case cfaDefOffsetSF:
		m.row.cfaOff = r.sleb() * scale
	case cfaDefExpr:
		m.row.cfaExpr = nonNil(r.take(r.uleb()))
	}
}

// nonNil keeps an empty expression apart from none.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// registerRule executes the instructions that give a register its rule; the register comes first in all of them.
func (m *machine) registerRule(op uint8, r *reader) error {
	scale := m.fde.cie.dataAlign
	reg := r.uleb()
	switch op {
	case cfaOffsetExt:
		m.set(reg, rule{kind: offset, n: int64(r.uleb()) * scale})
	case cfaOffsetExtSF:
		m.set(reg, rule{kind: offset, n: r.sleb() * scale})
	case cfaNegOffsetExt:
		m.set(reg, rule{kind: offset, n: -int64(r.uleb()) * scale})
	case cfaValOffset:
		m.set(reg, rule{kind: valOffset, n: int64(r.uleb()) * scale})
	case cfaValOffsetSF:
		m.set(reg, rule{kind: valOffset, n: r.sleb() * scale})
	case cfaRestoreExt:
		m.restore(reg)
	case cfaUndefined:
		m.set(reg, rule{kind: undefined})
	case cfaSameValue:
		m.set(reg, rule{})
	case cfaRegister:
		m.set(reg, rule{kind: register, n: int64(r.uleb())})
	case cfaExpr:
		m.set(reg, rule{kind: expr, expr: r.take(r.uleb())})
	case cfaValExpr:
		m.set(reg, rule{kind: valExpr, expr: r.take(r.uleb())})
	default:
		return fmt.Errorf("%w: unknown instruction %#x", errCFI, op)
	}
	return nil
}
