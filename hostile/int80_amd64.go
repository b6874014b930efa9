package hostile

// interrupt80 makes a system call by the interrupt of 32-bit programs.
func interrupt80(nr, a, b, c, d, e, f uintptr) uintptr
