#include "textflag.h"

// func interrupt80(nr, a, b, c, d, e, f uintptr) uintptr
//
// The 32-bit convention: number in AX, arguments in BX, CX, DX, SI, DI, BP. The
// kernel clears R8 to R11. Go wants BP back.
TEXT ·interrupt80(SB), NOSPLIT, $8-64
	MOVQ BP, save-8(SP)
	MOVQ nr+0(FP), AX
	MOVQ a+8(FP), BX
	MOVQ b+16(FP), CX
	MOVQ c+24(FP), DX
	MOVQ d+32(FP), SI
	MOVQ e+40(FP), DI
	MOVQ f+48(FP), R12
	MOVQ R12, BP
	INT  $0x80
	MOVQ save-8(SP), BP
	MOVQ AX, ret+56(FP)
	RET
