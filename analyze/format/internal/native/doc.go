// Package native walks and names the C frames of the threads of a core.
//
// Frames come from call frame information (.eh_frame, else .debug_frame), interpreted here: the DWARF 5 standard, section
// 6.4, with the additions of the Linux Standard Base (.eh_frame, augmentations). Signal frames are recognised by their
// augmentation or by the code of the trampoline. Names come from .symtab, .dynsym, .gnu_debugdata (xz) and separate debug
// files found by build-id or .gnu_debuglink. A file is used only after elfcore has proved that it is the mapped one.
//
// Where the information ends, the walk ends: with the outermost frame, or with a Gap that names the module that is missing.
package native
