// Package elfcore reads ELF core files of Linux on amd64 and arm64. It knows no language.
//
// It answers three questions: which threads, mappings and signal does the core describe (Core);
// what did the memory hold, and where does each byte come from (Memory); and which files on this
// machine are the ones that were mapped (Module, Image, Verification). A byte is answered only
// when the core holds it or when a file that was proved to be the mapped one holds it. A page
// that nobody holds is absent and is never answered with zeroes or with another file's bytes.
//
// Four producers were looked at, each with Go programs (static, PIE, cgo) of Go 1.26:
//
//   - The kernel (fs/binfmt_elf.c). Headers first, then the notes, then the memory. Of a mapped ELF
//     image only the first page is dumped; pages that were not dumped have p_filesz < p_memsz.
//   - gcore of gdb 13. Notes last. Read-only mappings of files are not written as segments at all
//     and show up in NT_FILE only; NT_FILE has a page size of 1.
//   - delve 1.27. Segments at odd offsets, notes and program headers last, note names are empty,
//     there is no NT_FILE and no NT_SIGINFO; files are dumped in full.
//   - qemu-user 7.2. No NT_FILE and no NT_SIGINFO; text is not dumped, read-only data is.
//
// A damaged core gives a partial result with Gaps. Only input that is no core at all is an error.
package elfcore
