#include "textflag.h"

// The entry point of the program when it is linked with -E adit_entry: asks the
// kernel which of the signals 1 to 31 are ignored, then goes on where Go's own
// entry point begins. The stack holds argc and argv as the kernel left them and
// is put back; every register that the ABI gives a meaning at entry (rdx) is
// zero on Linux and not used by the runtime.
//
// Before that it looks at three limits (entry.go): Go's runtime dies
// of them with a trace of itself.
//
// prlimit64(2): rax 302, rdi pid (0), rsi limit, rdx new (0), r10 old.
// rt_sigaction(2): rax 13, rdi signal, rsi new (0), rdx old, r10 size of a set.
// write(2): rax 1, rdi descriptor, rsi text, rdx length. exit_group(2): rax 231,
// rdi status.
TEXT adit_entry(SB), NOSPLIT|NOFRAME, $0
	SUBQ $64, SP
	MOVQ $-1, 16(SP) // no limit, should the call be refused
	MOVQ $302, AX
	XORQ DI, DI
	MOVQ $9, SI      // RLIMIT_AS
	XORQ DX, DX
	LEAQ 16(SP), R10
	SYSCALL
	MOVQ 16(SP), R14
	CMPQ R14, ·entryLeastSpace(SB)
	JCS  space
	MOVQ $-1, 16(SP)
	MOVQ $302, AX
	XORQ DI, DI
	MOVQ $2, SI      // RLIMIT_DATA
	XORQ DX, DX
	LEAQ 16(SP), R10
	SYSCALL
	MOVQ 16(SP), R14
	CMPQ R14, ·entryLeastData(SB)
	JCS  data
	MOVQ $-1, 24(SP)
	MOVQ $302, AX
	XORQ DI, DI
	MOVQ $7, SI      // RLIMIT_NOFILE
	XORQ DX, DX
	LEAQ 16(SP), R10
	SYSCALL
	MOVQ 24(SP), R14 // the hard one: package os raises the other
	CMPQ R14, ·entryLeastFiles(SB)
	JCS  files
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
	XORQ DX, DX
	JMP  _rt0_amd64_linux(SB)

space:
	MOVQ ·entryNoSpace+0(SB), SI
	MOVQ ·entryNoSpace+8(SB), DX
	JMP  refuse

data:
	MOVQ ·entryNoData+0(SB), SI
	MOVQ ·entryNoData+8(SB), DX
	JMP  refuse

files:
	MOVQ ·entryNoFiles+0(SB), SI
	MOVQ ·entryNoFiles+8(SB), DX

refuse:
	MOVQ $1, AX
	MOVQ $2, DI
	SYSCALL
	MOVQ $231, AX
	MOVQ $125, DI
	SYSCALL
