//go:build gc && !purego

#include "textflag.h"

// ChaCha20 (RFC 8439 §2.3) of 32 blocks at once. The 16 words of the state are
// 16 registers for the blocks of lanes 0..15, Z0..Z15, and 16 for lanes 16..31,
// Z16..Z31: a lane of word w is dword l of its register. Additions, exclusive
// ors and rotations take two cycles on Zen 5 of which four (two of the
// rotations) start in each: with the eight quarter rounds of two states there
// is always something to start, and there is no register left.

// Offsets into the type lanes.
#define COUNTER 0
#define NONCE1  128
#define NONCE2  256
#define REST    384
#define LEFT    448
#define SPILL   512

DATA constants<>+0(SB)/4, $0x61707865
DATA constants<>+4(SB)/4, $0x3320646e
DATA constants<>+8(SB)/4, $0x79622d32
DATA constants<>+12(SB)/4, $0x6b206574
GLOBL constants<>(SB), RODATA|NOPTR, $16

// STEP is a quarter of four quarter rounds: a += b; d ^= a; d <<<= n.
#define STEP(a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3, n) \
	VPADDD b0, a0, a0; VPADDD b1, a1, a1; VPADDD b2, a2, a2; VPADDD b3, a3, a3; \
	VPXORD a0, d0, d0; VPXORD a1, d1, d1; VPXORD a2, d2, d2; VPXORD a3, d3, d3; \
	VPROLD $n, d0, d0; VPROLD $n, d1, d1; VPROLD $n, d2, d2; VPROLD $n, d3, d3

// ROUNDS is ten double rounds of both states; it uses CX.
#define ROUNDS(again) \
	MOVL $10, CX; \
again: \
	STEP(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z12, Z13, Z14, Z15, 16); \
	STEP(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z28, Z29, Z30, Z31, 16); \
	STEP(Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z4, Z5, Z6, Z7, 12); \
	STEP(Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31, Z20, Z21, Z22, Z23, 12); \
	STEP(Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z12, Z13, Z14, Z15, 8); \
	STEP(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z28, Z29, Z30, Z31, 8); \
	STEP(Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z4, Z5, Z6, Z7, 7); \
	STEP(Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31, Z20, Z21, Z22, Z23, 7); \
	STEP(Z0, Z1, Z2, Z3, Z5, Z6, Z7, Z4, Z15, Z12, Z13, Z14, 16); \
	STEP(Z16, Z17, Z18, Z19, Z21, Z22, Z23, Z20, Z31, Z28, Z29, Z30, 16); \
	STEP(Z10, Z11, Z8, Z9, Z15, Z12, Z13, Z14, Z5, Z6, Z7, Z4, 12); \
	STEP(Z26, Z27, Z24, Z25, Z31, Z28, Z29, Z30, Z21, Z22, Z23, Z20, 12); \
	STEP(Z0, Z1, Z2, Z3, Z5, Z6, Z7, Z4, Z15, Z12, Z13, Z14, 8); \
	STEP(Z16, Z17, Z18, Z19, Z21, Z22, Z23, Z20, Z31, Z28, Z29, Z30, 8); \
	STEP(Z10, Z11, Z8, Z9, Z15, Z12, Z13, Z14, Z5, Z6, Z7, Z4, 7); \
	STEP(Z26, Z27, Z24, Z25, Z31, Z28, Z29, Z30, Z21, Z22, Z23, Z20, 7); \
	DECL CX; \
	JNZ  again

// WORD loads word w of both states, the same for all lanes.
#define WORD(m, x, y) VPBROADCASTD m, x; VMOVDQA32 x, y

// LOAD makes the states: constants, key (AX), counters and nonces (BX), of
// which the first four bytes are zero.
#define LOAD \
	WORD(constants<>+0(SB), Z0, Z16); WORD(constants<>+4(SB), Z1, Z17); \
	WORD(constants<>+8(SB), Z2, Z18); WORD(constants<>+12(SB), Z3, Z19); \
	WORD((AX), Z4, Z20); WORD(4(AX), Z5, Z21); WORD(8(AX), Z6, Z22); WORD(12(AX), Z7, Z23); \
	WORD(16(AX), Z8, Z24); WORD(20(AX), Z9, Z25); WORD(24(AX), Z10, Z26); WORD(28(AX), Z11, Z27); \
	VMOVDQU32 COUNTER(BX), Z12; VMOVDQU32 COUNTER+64(BX), Z28; \
	VPXORD    Z13, Z13, Z13; VPXORD Z29, Z29, Z29; \
	VMOVDQU32 NONCE1(BX), Z14; VMOVDQU32 NONCE1+64(BX), Z30; \
	VMOVDQU32 NONCE2(BX), Z15; VMOVDQU32 NONCE2+64(BX), Z31

// ADD adds what LOAD loaded; ADDHALF only its first eight words.
#define ADDW(m, x, y) VPADDD.BCST m, x, x; VPADDD.BCST m, y, y
#define ADDHALF \
	ADDW(constants<>+0(SB), Z0, Z16); ADDW(constants<>+4(SB), Z1, Z17); \
	ADDW(constants<>+8(SB), Z2, Z18); ADDW(constants<>+12(SB), Z3, Z19); \
	ADDW((AX), Z4, Z20); ADDW(4(AX), Z5, Z21); ADDW(8(AX), Z6, Z22); ADDW(12(AX), Z7, Z23)
#define ADD \
	ADDHALF; \
	ADDW(16(AX), Z8, Z24); ADDW(20(AX), Z9, Z25); ADDW(24(AX), Z10, Z26); ADDW(28(AX), Z11, Z27); \
	VPADDD COUNTER(BX), Z12, Z12; VPADDD COUNTER+64(BX), Z28, Z28; \
	VPADDD NONCE1(BX), Z14, Z14; VPADDD NONCE1+64(BX), Z30, Z30; \
	VPADDD NONCE2(BX), Z15, Z15; VPADDD NONCE2+64(BX), Z31, Z31

// TRANSPOSE turns Z0..Z15, each of which is a word of sixteen lanes, into
// sixteen lanes of 64 bytes each: in Z0..Z15, in order. It uses Z16..Z31.
#define PAIR32(a, b, lo, hi) VPUNPCKLDQ b, a, lo; VPUNPCKHDQ b, a, hi
#define PAIR64(a, b, lo, hi) VPUNPCKLQDQ b, a, lo; VPUNPCKHQDQ b, a, hi
#define PAIR128(a, b, lo, hi) VSHUFI32X4 $0x88, b, a, lo; VSHUFI32X4 $0xdd, b, a, hi
#define TRANSPOSE \
	PAIR32(Z0, Z1, Z16, Z17); PAIR32(Z2, Z3, Z18, Z19); \
	PAIR32(Z4, Z5, Z20, Z21); PAIR32(Z6, Z7, Z22, Z23); \
	PAIR32(Z8, Z9, Z24, Z25); PAIR32(Z10, Z11, Z26, Z27); \
	PAIR32(Z12, Z13, Z28, Z29); PAIR32(Z14, Z15, Z30, Z31); \
	PAIR64(Z16, Z18, Z0, Z1); PAIR64(Z17, Z19, Z2, Z3); \
	PAIR64(Z20, Z22, Z4, Z5); PAIR64(Z21, Z23, Z6, Z7); \
	PAIR64(Z24, Z26, Z8, Z9); PAIR64(Z25, Z27, Z10, Z11); \
	PAIR64(Z28, Z30, Z12, Z13); PAIR64(Z29, Z31, Z14, Z15); \
	PAIR128(Z0, Z4, Z16, Z20); PAIR128(Z1, Z5, Z17, Z21); \
	PAIR128(Z2, Z6, Z18, Z22); PAIR128(Z3, Z7, Z19, Z23); \
	PAIR128(Z8, Z12, Z24, Z28); PAIR128(Z9, Z13, Z25, Z29); \
	PAIR128(Z10, Z14, Z26, Z30); PAIR128(Z11, Z15, Z27, Z31); \
	PAIR128(Z16, Z24, Z0, Z8); PAIR128(Z17, Z25, Z1, Z9); \
	PAIR128(Z18, Z26, Z2, Z10); PAIR128(Z19, Z27, Z3, Z11); \
	PAIR128(Z20, Z28, Z4, Z12); PAIR128(Z21, Z29, Z5, Z13); \
	PAIR128(Z22, Z30, Z6, Z14); PAIR128(Z23, Z31, Z7, Z15)

// WHOLE encrypts 64 bytes of a lane: those R9 behind where its pointer, in the
// table at SI, points.
#define WHOLE(lane, z) \
	MOVQ      ((lane)*8)(SI), R8; \
	VPXORD    (R8)(R9*1), z, z; \
	VMOVDQU32 z, (R8)(R9*1)
#define WHOLES(lane) \
	WHOLE(lane+0, Z0); WHOLE(lane+1, Z1); WHOLE(lane+2, Z2); WHOLE(lane+3, Z3); \
	WHOLE(lane+4, Z4); WHOLE(lane+5, Z5); WHOLE(lane+6, Z6); WHOLE(lane+7, Z7); \
	WHOLE(lane+8, Z8); WHOLE(lane+9, Z9); WHOLE(lane+10, Z10); WHOLE(lane+11, Z11); \
	WHOLE(lane+12, Z12); WHOLE(lane+13, Z13); WHOLE(lane+14, Z14); WHOLE(lane+15, Z15)

// PART is the same for a lane of which only LEFT bytes, 0..64, are left: no
// other byte is read or written. R10 is all ones.
#define PART(lane, z, next) \
	MOVWLZX   (LEFT+lane*2)(BX), R11; \
	TESTL     R11, R11; \
	JZ        next; \
	MOVQ      ((lane)*8)(SI), R8; \
	BZHIQ     R11, R10, R11; \
	KMOVQ     R11, K1; \
	VMOVDQU8.Z (R8)(R9*1), K1, Z16; \
	VPXORD    Z16, z, z; \
	VMOVDQU8  z, K1, (R8)(R9*1); \
next:

// ZERO forgets what was in the registers, and saves whoever switches tasks from
// having to save them.
#define ZERO \
	VPXORD Z16, Z16, Z16; VPXORD Z17, Z17, Z17; VPXORD Z18, Z18, Z18; VPXORD Z19, Z19, Z19; \
	VPXORD Z20, Z20, Z20; VPXORD Z21, Z21, Z21; VPXORD Z22, Z22, Z22; VPXORD Z23, Z23, Z23; \
	VPXORD Z24, Z24, Z24; VPXORD Z25, Z25, Z25; VPXORD Z26, Z26, Z26; VPXORD Z27, Z27, Z27; \
	VPXORD Z28, Z28, Z28; VPXORD Z29, Z29, Z29; VPXORD Z30, Z30, Z30; VPXORD Z31, Z31, Z31; \
	VZEROALL

#define SPILLED(n, z) VMOVDQU32 z, (SPILL+n*64)(BX)
#define UNSPILL(n, z) VMOVDQU32 (SPILL+n*64)(BX), z

// func chachaXOR(key *[32]byte, l *lanes, at *[32]unsafe.Pointer, whole, steps, blocks uint64)
TEXT ·chachaXOR(SB), NOSPLIT, $0-48
	MOVQ key+0(FP), AX
	MOVQ l+8(FP), BX
	MOVQ at+16(FP), SI
	MOVQ whole+24(FP), DI
	MOVQ steps+32(FP), DX
	MOVQ blocks+40(FP), R12
	MOVQ $-1, R10
	XORL R9, R9

step:
	LOAD
	ROUNDS(again)
	ADD
	SPILLED(0, Z16); SPILLED(1, Z17); SPILLED(2, Z18); SPILLED(3, Z19)
	SPILLED(4, Z20); SPILLED(5, Z21); SPILLED(6, Z22); SPILLED(7, Z23)
	SPILLED(8, Z24); SPILLED(9, Z25); SPILLED(10, Z26); SPILLED(11, Z27)
	SPILLED(12, Z28); SPILLED(13, Z29); SPILLED(14, Z30); SPILLED(15, Z31)
	TRANSPOSE
	SUBQ $1, DI
	JLT  parts
	WHOLES(0)
	UNSPILL(0, Z0); UNSPILL(1, Z1); UNSPILL(2, Z2); UNSPILL(3, Z3)
	UNSPILL(4, Z4); UNSPILL(5, Z5); UNSPILL(6, Z6); UNSPILL(7, Z7)
	UNSPILL(8, Z8); UNSPILL(9, Z9); UNSPILL(10, Z10); UNSPILL(11, Z11)
	UNSPILL(12, Z12); UNSPILL(13, Z13); UNSPILL(14, Z14); UNSPILL(15, Z15)
	TRANSPOSE
	WHOLES(16)

next:
	// counter += blocks; rest -= 64 blocks, not below zero
	VPBROADCASTD R12, Z16
	VPADDD       COUNTER(BX), Z16, Z17
	VPADDD       COUNTER+64(BX), Z16, Z18
	VMOVDQU32    Z17, COUNTER(BX)
	VMOVDQU32    Z18, COUNTER+64(BX)
	MOVQ         R12, R8
	SHLQ         $6, R8
	ADDQ         R8, R9
	VPBROADCASTW R8, Z16
	VMOVDQU16    REST(BX), Z17
	VPSUBUSW     Z16, Z17, Z17
	VMOVDQU16    Z17, REST(BX)
	DECQ         DX
	JNZ          step
	VPXORD       Z0, Z0, Z0
	SPILLED(0, Z0); SPILLED(1, Z0); SPILLED(2, Z0); SPILLED(3, Z0)
	SPILLED(4, Z0); SPILLED(5, Z0); SPILLED(6, Z0); SPILLED(7, Z0)
	SPILLED(8, Z0); SPILLED(9, Z0); SPILLED(10, Z0); SPILLED(11, Z0)
	SPILLED(12, Z0); SPILLED(13, Z0); SPILLED(14, Z0); SPILLED(15, Z0)
	ZERO
	RET

parts:
	MOVL         $64, R8
	VPBROADCASTW R8, Z16
	VPMINUW      REST(BX), Z16, Z16
	VMOVDQU16    Z16, LEFT(BX)
	PART(0, Z0, a0)
	PART(1, Z1, a1)
	PART(2, Z2, a2)
	PART(3, Z3, a3)
	PART(4, Z4, a4)
	PART(5, Z5, a5)
	PART(6, Z6, a6)
	PART(7, Z7, a7)
	PART(8, Z8, a8)
	PART(9, Z9, a9)
	PART(10, Z10, a10)
	PART(11, Z11, a11)
	PART(12, Z12, a12)
	PART(13, Z13, a13)
	PART(14, Z14, a14)
	PART(15, Z15, a15)
	UNSPILL(0, Z0); UNSPILL(1, Z1); UNSPILL(2, Z2); UNSPILL(3, Z3)
	UNSPILL(4, Z4); UNSPILL(5, Z5); UNSPILL(6, Z6); UNSPILL(7, Z7)
	UNSPILL(8, Z8); UNSPILL(9, Z9); UNSPILL(10, Z10); UNSPILL(11, Z11)
	UNSPILL(12, Z12); UNSPILL(13, Z13); UNSPILL(14, Z14); UNSPILL(15, Z15)
	TRANSPOSE
	PART(16, Z0, b0)
	PART(17, Z1, b1)
	PART(18, Z2, b2)
	PART(19, Z3, b3)
	PART(20, Z4, b4)
	PART(21, Z5, b5)
	PART(22, Z6, b6)
	PART(23, Z7, b7)
	PART(24, Z8, b8)
	PART(25, Z9, b9)
	PART(26, Z10, b10)
	PART(27, Z11, b11)
	PART(28, Z12, b12)
	PART(29, Z13, b13)
	PART(30, Z14, b14)
	PART(31, Z15, b15)
	JMP next

#define STORED(n, z) VMOVDQU32 z, (n*64)(DI)
#define STOREALL \
	STORED(0, Z0); STORED(1, Z1); STORED(2, Z2); STORED(3, Z3); \
	STORED(4, Z4); STORED(5, Z5); STORED(6, Z6); STORED(7, Z7); \
	STORED(8, Z8); STORED(9, Z9); STORED(10, Z10); STORED(11, Z11); \
	STORED(12, Z12); STORED(13, Z13); STORED(14, Z14); STORED(15, Z15)

// func chachaStream(key *[32]byte, l *lanes, out *[32][64]byte)
TEXT ·chachaStream(SB), NOSPLIT, $0-24
	MOVQ key+0(FP), AX
	MOVQ l+8(FP), BX
	MOVQ out+16(FP), DI
	LOAD
	ROUNDS(again)
	ADD
	ADDQ $1024, DI // the second half keeps what TRANSPOSE has no place for
	STORED(0, Z16); STORED(1, Z17); STORED(2, Z18); STORED(3, Z19)
	STORED(4, Z20); STORED(5, Z21); STORED(6, Z22); STORED(7, Z23)
	STORED(8, Z24); STORED(9, Z25); STORED(10, Z26); STORED(11, Z27)
	STORED(12, Z28); STORED(13, Z29); STORED(14, Z30); STORED(15, Z31)
	SUBQ $1024, DI
	TRANSPOSE
	STOREALL
	ADDQ $1024, DI
	VMOVDQU32 0(DI), Z0; VMOVDQU32 64(DI), Z1; VMOVDQU32 128(DI), Z2; VMOVDQU32 192(DI), Z3
	VMOVDQU32 256(DI), Z4; VMOVDQU32 320(DI), Z5; VMOVDQU32 384(DI), Z6; VMOVDQU32 448(DI), Z7
	VMOVDQU32 512(DI), Z8; VMOVDQU32 576(DI), Z9; VMOVDQU32 640(DI), Z10; VMOVDQU32 704(DI), Z11
	VMOVDQU32 768(DI), Z12; VMOVDQU32 832(DI), Z13; VMOVDQU32 896(DI), Z14; VMOVDQU32 960(DI), Z15
	TRANSPOSE
	STOREALL
	ZERO
	RET

// func chachaKeys(key *[32]byte, l *lanes, out *[8][32]uint32)
TEXT ·chachaKeys(SB), NOSPLIT, $0-24
	MOVQ key+0(FP), AX
	MOVQ l+8(FP), BX
	MOVQ out+16(FP), DI
	LOAD
	ROUNDS(again)
	ADDHALF
	VMOVDQU32 Z0, 0(DI)
	VMOVDQU32 Z16, 64(DI)
	VMOVDQU32 Z1, 128(DI)
	VMOVDQU32 Z17, 192(DI)
	VMOVDQU32 Z2, 256(DI)
	VMOVDQU32 Z18, 320(DI)
	VMOVDQU32 Z3, 384(DI)
	VMOVDQU32 Z19, 448(DI)
	VMOVDQU32 Z4, 512(DI)
	VMOVDQU32 Z20, 576(DI)
	VMOVDQU32 Z5, 640(DI)
	VMOVDQU32 Z21, 704(DI)
	VMOVDQU32 Z6, 768(DI)
	VMOVDQU32 Z22, 832(DI)
	VMOVDQU32 Z7, 896(DI)
	VMOVDQU32 Z23, 960(DI)
	ZERO
	RET
