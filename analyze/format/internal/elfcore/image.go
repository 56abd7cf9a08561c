package elfcore

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
)

// Identity is what tells one build of a file from another.
type Identity struct {
	Machine    elf.Machine
	GNUBuildID []byte // note "GNU" type 3 (NT_GNU_BUILD_ID); nil when there is none
	GoBuildID  string // note "Go" type 4 (cmd/link/internal/ld/elf.go, ELF_NOTE_GOBUILDID_TAG); "" when there is none
}

// Known reports whether there is any id.
func (id Identity) Known() bool { return len(id.GNUBuildID) > 0 || id.GoBuildID != "" }

// String names the ids for a message.
func (id Identity) String() string {
	switch {
	case len(id.GNUBuildID) > 0 && id.GoBuildID != "":
		return fmt.Sprintf("build-id %s, Go build id %s", hex.EncodeToString(id.GNUBuildID), id.GoBuildID)
	case len(id.GNUBuildID) > 0:
		return "build-id " + hex.EncodeToString(id.GNUBuildID)
	case id.GoBuildID != "":
		return "Go build id " + id.GoBuildID
	}
	return "no build id"
}

// Note types of identities, and bounds on what is taken for one: a SHA-512 would have 64 bytes, Go's ids have
// four parts of 20 characters.
const (
	ntGNUBuildID  = 3
	ntGoBuildID   = 4
	maxGNUBuildID = 64
	maxGoBuildID  = 256
)

// addNotes takes the ids from the bytes of a note segment or section.
func (id *Identity) addNotes(data []byte) {
	_ = eachNote(data, func(n note) bool { // a broken note ends the walk, and what came before it counts
		switch {
		case n.name == "GNU" && n.typ == ntGNUBuildID && len(n.desc) <= maxGNUBuildID && id.GNUBuildID == nil:
			id.GNUBuildID = bytes.Clone(n.desc)
		case n.name == "Go" && n.typ == ntGoBuildID && len(n.desc) <= maxGoBuildID && id.GoBuildID == "":
			id.GoBuildID = cstring(n.desc)
		}
		return true
	})
}

// Image is an open executable or shared library. It is only a candidate until VerifyAgainst has proved it.
type Image struct {
	Path string
	Size int64

	header header
	phdrs  []phdr
	data   []byte
	unmap  func() error
	id     Identity
	debug  bool
}

// OpenImage maps the file at path. The error is an *Error.
func OpenImage(path string) (*Image, error) {
	fail := func(doing string, err error) (*Image, error) {
		return nil, &Error{Path: path, Offset: -1, Doing: doing, Err: err}
	}
	// The kind is looked at first: opening a named pipe would wait for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return fail("opening the image", err)
	}
	if !info.Mode().IsRegular() {
		return fail("opening the image", fmt.Errorf("not a regular file: %v", info.Mode().Type()))
	}
	if info.Size() == 0 {
		return fail("opening the image", ErrEmpty)
	}
	f, err := os.Open(path)
	if err != nil {
		return fail("opening the image", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading, and the mapping stays
	data, unmap, err := mapFile(f, info.Size())
	if err != nil {
		return fail("opening the image", err)
	}
	img, err := newImage(path, data)
	if err != nil {
		_ = unmap() // the first error is the one to tell
		return fail("reading the image", err)
	}
	img.unmap = unmap
	return img, nil
}

// ImageFromBytes reads an image that is not a file of its own, such as the vDSO or what .gnu_debugdata holds; path is used
// in messages. The error is an *Error.
func ImageFromBytes(path string, data []byte) (*Image, error) {
	img, err := newImage(path, data)
	if err != nil {
		return nil, &Error{Path: path, Offset: -1, Doing: "reading the image", Err: err}
	}
	return img, nil
}

// newImage reads the headers of an image.
func newImage(path string, data []byte) (*Image, error) {
	h, err := parseHeader(data)
	if err != nil {
		return nil, err
	}
	if h.typ != elf.ET_EXEC && h.typ != elf.ET_DYN {
		return nil, fmt.Errorf("%w: %v", ErrNotImage, h.typ)
	}
	phdrs, _, err := programHeaders(data, h)
	if err != nil {
		return nil, err
	}
	if len(phdrs) > maxImagePhdrs {
		return nil, fmt.Errorf("%w: %d program headers, at most %d are read", ErrUnsupported, len(phdrs), maxImagePhdrs)
	}
	img := &Image{Path: path, Size: int64(len(data)), header: h, phdrs: phdrs, data: data}
	img.identify()
	return img, nil
}

// identify reads the ids, from program headers or else from sections, and tells a debug file from a real one.
func (img *Image) identify() {
	img.id.Machine = img.header.machine
	for _, p := range img.phdrs {
		if p.typ == elf.PT_NOTE {
			b, _ := slice(img.data, p.off, p.filesz)
			img.id.addNotes(b)
		}
	}
	f, err := img.ELF()
	if err != nil {
		return // section headers are not needed to run a file, so their absence says nothing
	}
	for _, s := range f.Sections {
		const code = elf.SHF_ALLOC | elf.SHF_EXECINSTR
		if s.Flags&code == code && s.Type == elf.SHT_NOBITS {
			img.debug = true // eu-strip and objcopy --only-keep-debug leave code sections without bytes
		}
		if s.Type == elf.SHT_NOTE && !img.id.Known() {
			b, _ := slice(img.data, s.Offset, s.FileSize)
			img.id.addNotes(b)
		}
	}
}

// Identify returns the ids of the file.
func (img *Image) Identify() Identity { return img.id }

// DebugOnly reports whether the file holds symbols and no code (a separate debug file).
func (img *Image) DebugOnly() bool { return img.debug }

// Data gives the bytes of the file; they must not be written to, nor used after Close.
func (img *Image) Data() []byte { return img.data }

// Entry gives the entry point as the file has it, without bias.
func (img *Image) Entry() uint64 { return img.header.entry }

// ELF opens the file with debug/elf, for its sections and symbols.
func (img *Image) ELF() (*elf.File, error) {
	f, err := elf.NewFile(bytes.NewReader(img.data))
	if err != nil {
		return nil, &Error{Path: img.Path, Offset: -1, Doing: "reading the sections", Err: err}
	}
	return f, nil
}

// Program gives the bytes of the first program header of type typ and its address without bias.
func (img *Image) Program(typ elf.ProgType) (data []byte, vaddr uint64, ok bool) {
	for _, p := range img.phdrs {
		if p.typ == typ {
			data, _ = slice(img.data, p.off, p.filesz)
			return data, p.vaddr, true
		}
	}
	return nil, 0, false
}

// Segments lists the PT_LOAD program headers, with addresses without bias.
func (img *Image) Segments() []Segment {
	var out []Segment
	for _, p := range img.phdrs {
		if p.typ == elf.PT_LOAD {
			out = append(out, Segment{Addr: p.vaddr, MemSize: p.memsz, FileOffset: p.off, FileSize: p.filesz, Flags: p.flags})
		}
	}
	return out
}

// Close unmaps the file.
func (img *Image) Close() error {
	if img.unmap == nil {
		return nil
	}
	err := img.unmap()
	img.unmap, img.data = nil, nil
	if err != nil {
		return &Error{Path: img.Path, Offset: -1, Doing: "unmapping the image", Err: err}
	}
	return nil
}
