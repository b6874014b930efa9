#include "textflag.h"

// See entry_linux_amd64.s. rt_sigaction(2): x8 134, x0 signal, x1 new (0), x2
// old, x3 size of a set.
TEXT adit_entry(SB), NOSPLIT|NOFRAME, $0
	SUB  $64, RSP
	MOVD ZR, R19
	MOVD $1, R20

next:
	MOVD ZR, 16(RSP)
	MOVD $134, R8
	MOVD R20, R0
	MOVD ZR, R1
	ADD  $16, RSP, R2
	MOVD $8, R3
	SVC
	MOVD 16(RSP), R4
	CMP  $1, R4 // SIG_IGN
	BNE  other
	MOVD $1, R5
	LSL  R20, R5, R5
	ORR  R5, R19, R19

other:
	ADD  $1, R20, R20
	CMP  $32, R20
	BLT  next
	ORR  $1, R19, R19
	MOVD $·entryIgnored(SB), R4
	MOVD R19, (R4)
	ADD  $64, RSP
	JMP  _rt0_arm64_linux(SB)
