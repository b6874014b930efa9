#include "textflag.h"

// Both functions add 32-bit words, widened to 64 bits, in sixteen lanes: no
// carry is ever lost, since a lane would need 2^32 words to overflow. In
// registers: Y4..Y7 are the sums of the even and odd words of each half of 64
// bytes, Y15 is zero.

#define CLEAR \
	VPXOR Y4, Y4, Y4; \
	VPXOR Y5, Y5, Y5; \
	VPXOR Y6, Y6, Y6; \
	VPXOR Y7, Y7, Y7; \
	VPXOR Y15, Y15, Y15

// ADD adds the words of r to even and odd; a is scratch.
#define ADD(r, a, even, odd) \
	VPBLENDD $0xAA, Y15, r, a; \
	VPSRLQ   $32, r, r; \
	VPADDQ   a, even, even; \
	VPADDQ   r, odd, odd

// TOTAL brings all lanes together in AX.
#define TOTAL \
	VPADDQ       Y5, Y4, Y4; \
	VPADDQ       Y7, Y6, Y6; \
	VPADDQ       Y6, Y4, Y4; \
	VEXTRACTI128 $1, Y4, X5; \
	VPADDQ       X5, X4, X4; \
	VPSRLDQ      $8, X4, X5; \
	VPADDQ       X5, X4, X4; \
	VMOVQ        X4, AX; \
	VZEROUPPER

// func sumAVX2(b *byte, n int) uint64
TEXT ·sumAVX2(SB), NOSPLIT, $0-24
	MOVQ b+0(FP), SI
	MOVQ n+8(FP), CX
	CLEAR

sum64:
	CMPQ    CX, $64
	JLT     sum32
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1
	ADD(Y0, Y2, Y4, Y5)
	ADD(Y1, Y3, Y6, Y7)
	ADDQ    $64, SI
	SUBQ    $64, CX
	JMP     sum64

sum32:
	TESTQ   CX, CX
	JZ      sumEnd
	VMOVDQU (SI), Y0
	ADD(Y0, Y2, Y4, Y5)

sumEnd:
	TOTAL
	MOVQ AX, ret+16(FP)
	RET

// func copySumAVX2(dst, src *byte, n int) uint64
TEXT ·copySumAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	CLEAR

copy64:
	CMPQ    CX, $64
	JLT     copy32
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	ADD(Y0, Y2, Y4, Y5)
	ADD(Y1, Y3, Y6, Y7)
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $64, CX
	JMP     copy64

copy32:
	TESTQ   CX, CX
	JZ      copyEnd
	VMOVDQU (SI), Y0
	VMOVDQU Y0, (DI)
	ADD(Y0, Y2, Y4, Y5)

copyEnd:
	TOTAL
	MOVQ AX, ret+24(FP)
	RET
