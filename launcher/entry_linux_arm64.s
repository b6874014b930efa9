#include "textflag.h"

// See entry_linux_amd64.s. prlimit64(2): x8 261, x0 pid (0), x1 limit, x2 new (0),
// x3 old. rt_sigaction(2): x8 134, x0 signal, x1 new (0), x2 old, x3 size of a
// set. write(2): x8 64, x0 descriptor, x1 text, x2 length. exit_group(2): x8 94,
// x0 status.
TEXT adit_entry(SB), NOSPLIT|NOFRAME, $0
	SUB  $64, RSP
	MOVD $-1, R4
	MOVD R4, 16(RSP) // no limit, should the call be refused
	MOVD $261, R8
	MOVD ZR, R0
	MOVD $9, R1      // RLIMIT_AS
	MOVD ZR, R2
	ADD  $16, RSP, R3
	SVC
	MOVD 16(RSP), R4
	MOVD ·entryLeastSpace(SB), R5
	CMP  R5, R4
	BLO  space
	MOVD $-1, R4
	MOVD R4, 16(RSP)
	MOVD $261, R8
	MOVD ZR, R0
	MOVD $2, R1      // RLIMIT_DATA
	MOVD ZR, R2
	ADD  $16, RSP, R3
	SVC
	MOVD 16(RSP), R4
	MOVD ·entryLeastData(SB), R5
	CMP  R5, R4
	BLO  data
	MOVD $-1, R4
	MOVD R4, 24(RSP)
	MOVD $261, R8
	MOVD ZR, R0
	MOVD $7, R1      // RLIMIT_NOFILE
	MOVD ZR, R2
	ADD  $16, RSP, R3
	SVC
	MOVD 24(RSP), R4 // the hard one: package os raises the other
	MOVD ·entryLeastFiles(SB), R5
	CMP  R5, R4
	BLO  files
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

space:
	MOVD $·entryNoSpace(SB), R4
	JMP  refuse

data:
	MOVD $·entryNoData(SB), R4
	JMP  refuse

files:
	MOVD $·entryNoFiles(SB), R4

refuse:
	MOVD 0(R4), R1
	MOVD 8(R4), R2
	MOVD $64, R8
	MOVD $2, R0
	SVC
	MOVD $94, R8
	MOVD $125, R0
	SVC
