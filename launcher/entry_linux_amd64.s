#include "textflag.h"

// The entry point of the program when it is linked with -E adit_entry: asks the
// kernel which of the signals 1 to 31 are ignored, then goes on where Go's own
// entry point begins. The stack holds argc and argv as the kernel left them and
// is put back; every register that the ABI gives a meaning at entry (rdx) is
// zero on Linux and not used by the runtime.
//
// rt_sigaction(2): rax 13, rdi signal, rsi new (0), rdx old, r10 size of a set.
TEXT adit_entry(SB), NOSPLIT|NOFRAME, $0
	SUBQ $64, SP
	XORQ R12, R12
	MOVQ $1, R13

next:
	MOVQ $13, AX
	MOVQ R13, DI
	XORQ SI, SI
	LEAQ 16(SP), DX
	MOVQ $0, 16(SP)
	MOVQ $8, R10
	SYSCALL
	CMPQ 16(SP), $1 // SIG_IGN
	JNE  other
	MOVQ $1, R14
	MOVQ R13, CX
	SHLQ CX, R14
	ORQ  R14, R12

other:
	INCQ R13
	CMPQ R13, $32
	JLT  next
	ORQ  $1, R12
	MOVQ R12, ·entryIgnored(SB)
	ADDQ $64, SP
	JMP  _rt0_amd64_linux(SB)
