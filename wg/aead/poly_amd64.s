//go:build gc && !purego

#include "textflag.h"

// Poly1305 (RFC 8439 §2.5) of eight messages at once, each in a lane of its own
// and with a key of its own. A number below 2^130 is three limbs of 44, 44 and
// 42 bits; 20 r is kept beside r, because 2^132 is 20 modulo 2^130-5. A product
// of limbs is added to two sums, its lower 52 bits to one and what is above to
// the other: limbs may have 52 bits, sums 64. With a, b < 2^45 and 20 r < 2^49,
// twelve products are below 2^56 in the lower sums and 2^44 in the upper ones.

// Offsets into the type poly.
#define H      0
#define R1     192
#define R2     512
#define R3     832
#define R4     1152
#define P8     1472
#define P16    1792
#define P32    2112
#define REST   2432
#define LENGTH 2496

DATA limb<>+0(SB)/8, $0xfffffffffff  // 44 bits
DATA limb<>+8(SB)/8, $0x3ffffffffff  // 42 bits
DATA limb<>+16(SB)/8, $0x10000000000 // 2^128 in the third limb
DATA limb<>+24(SB)/8, $16
DATA limb<>+32(SB)/8, $32
DATA limb<>+40(SB)/8, $48
GLOBL limb<>(SB), RODATA|NOPTR, $48

// TRANSPOSE turns Z8..Z15, each of which is eight words of a message, into
// Z0..Z7, each of which is a word of eight messages.
#define PAIR64(a, b, lo, hi) VPUNPCKLQDQ b, a, lo; VPUNPCKHQDQ b, a, hi
#define PAIR128(a, b, lo, hi) VSHUFI64X2 $0x88, b, a, lo; VSHUFI64X2 $0xdd, b, a, hi
#define TRANSPOSE \
	PAIR64(Z8, Z9, Z0, Z1); PAIR64(Z10, Z11, Z2, Z3); \
	PAIR64(Z12, Z13, Z4, Z5); PAIR64(Z14, Z15, Z6, Z7); \
	PAIR128(Z0, Z2, Z8, Z10); PAIR128(Z4, Z6, Z12, Z14); \
	PAIR128(Z1, Z3, Z9, Z11); PAIR128(Z5, Z7, Z13, Z15); \
	PAIR128(Z8, Z12, Z0, Z4); PAIR128(Z10, Z14, Z2, Z6); \
	PAIR128(Z9, Z13, Z1, Z5); PAIR128(Z11, Z15, Z3, Z7)

// SPLIT makes limbs, Z8, Z9, Z10, of a block of 16 bytes. Z31 is 44 ones.
#define SPLIT(lo, hi) \
	VPANDQ      Z31, lo, Z8; \
	VPSHRDQ     $44, hi, lo, Z9; \
	VPANDQ      Z31, Z9, Z9; \
	VPSRLQ      $24, hi, Z10; \
	VPORQ.BCST  limb<>+16(SB), Z10, Z10

// FACTOR loads a power of r, Z11, Z12, Z13, and 20 times its upper limbs, Z14,
// Z15.
#define FACTOR(power) \
	VMOVDQU64 (power)(AX), Z11; \
	VMOVDQU64 (power+64)(AX), Z12; \
	VMOVDQU64 (power+128)(AX), Z13; \
	VMOVDQU64 (power+192)(AX), Z14; \
	VMOVDQU64 (power+256)(AX), Z15

// MUL adds limbs × factor to lower and upper sums.
#define MUL(l0, l1, l2, h0, h1, h2) \
	VPMADD52LUQ Z11, Z8, l0; VPMADD52HUQ Z11, Z8, h0; \
	VPMADD52LUQ Z12, Z8, l1; VPMADD52HUQ Z12, Z8, h1; \
	VPMADD52LUQ Z13, Z8, l2; VPMADD52HUQ Z13, Z8, h2; \
	VPMADD52LUQ Z15, Z9, l0; VPMADD52HUQ Z15, Z9, h0; \
	VPMADD52LUQ Z11, Z9, l1; VPMADD52HUQ Z11, Z9, h1; \
	VPMADD52LUQ Z12, Z9, l2; VPMADD52HUQ Z12, Z9, h2; \
	VPMADD52LUQ Z14, Z10, l0; VPMADD52HUQ Z14, Z10, h0; \
	VPMADD52LUQ Z15, Z10, l1; VPMADD52HUQ Z15, Z10, h1; \
	VPMADD52LUQ Z11, Z10, l2; VPMADD52HUQ Z11, Z10, h2

#define CLEAR(l0, l1, l2, h0, h1, h2) \
	VPXORQ l0, l0, l0; VPXORQ l1, l1, l1; VPXORQ l2, l2, l2; \
	VPXORQ h0, h0, h0; VPXORQ h1, h1, h1; VPXORQ h2, h2, h2

// CARRY makes limbs, d0 < 2^44, d1 < 2^45, d2 < 2^43, of the sums Z16..Z21: an
// upper sum counts 2^8 in the next limb, that of the last one 5 × 2^10 in the
// first. It uses Z8, Z9, Z10.
#define CARRY(d0, d1, d2) \
	VPSLLQ      $8, Z20, Z20; \
	VPSLLQ      $8, Z19, Z19; \
	VPADDQ      Z20, Z18, Z18; \
	VPSLLQ      $10, Z21, Z21; \
	VPSRLQ      $42, Z18, Z10; \
	VPADDQ      Z19, Z17, Z17; \
	VPADDQ      Z10, Z21, Z21; \
	VPSRLQ      $44, Z16, Z8; \
	VPSLLQ      $2, Z21, Z10; \
	VPANDQ      Z31, Z16, Z16; \
	VPADDQ      Z21, Z16, Z16; \
	VPADDQ      Z10, Z16, Z16; \
	VPSRLQ      $44, Z17, Z9; \
	VPANDQ      Z31, Z17, Z17; \
	VPADDQ      Z8, Z17, Z17; \
	VPANDQ.BCST limb<>+8(SB), Z18, Z18; \
	VPSRLQ      $44, Z16, Z8; \
	VPADDQ      Z9, Z18, d2; \
	VPANDQ      Z31, Z16, d0; \
	VPADDQ      Z8, Z17, d1

#define SUM(n, m) VPADDQ n, m, m

#define LOADH VMOVDQU64 H(AX), Z28; VMOVDQU64 H+64(AX), Z29; VMOVDQU64 H+128(AX), Z30
#define STOREH VMOVDQU64 Z28, H(AX); VMOVDQU64 Z29, H+64(AX); VMOVDQU64 Z30, H+128(AX)

#define POINTERS \
	MOVQ (BX), R8; MOVQ 8(BX), R9; MOVQ 16(BX), R10; MOVQ 24(BX), R11; \
	MOVQ 32(BX), R12; MOVQ 40(BX), R13; MOVQ 48(BX), SI; MOVQ 56(BX), DI

#define ZERO \
	VPXORQ Z16, Z16, Z16; VPXORQ Z17, Z17, Z17; VPXORQ Z18, Z18, Z18; VPXORQ Z19, Z19, Z19; \
	VPXORQ Z20, Z20, Z20; VPXORQ Z21, Z21, Z21; VPXORQ Z22, Z22, Z22; VPXORQ Z23, Z23, Z23; \
	VPXORQ Z24, Z24, Z24; VPXORQ Z25, Z25, Z25; VPXORQ Z26, Z26, Z26; VPXORQ Z27, Z27, Z27; \
	VPXORQ Z28, Z28, Z28; VPXORQ Z29, Z29, Z29; VPXORQ Z30, Z30, Z30; VPXORQ Z31, Z31, Z31; \
	VZEROALL

// POWER makes r^(n+1) of r^n, which is in Z8, Z9, Z10: FACTOR is r.
#define TIMES20(x, y) VPSLLQ $2, x, y; VPSLLQ $4, x, Z16; VPADDQ Z16, y, y
#define POWER(power) \
	CLEAR(Z16, Z17, Z18, Z19, Z20, Z21); \
	MUL(Z16, Z17, Z18, Z19, Z20, Z21); \
	CARRY(Z28, Z29, Z30); \
	VMOVDQU64 Z28, (power)(AX); \
	VMOVDQU64 Z29, (power+64)(AX); \
	VMOVDQU64 Z30, (power+128)(AX); \
	TIMES20(Z29, Z9); \
	VMOVDQU64 Z9, (power+192)(AX); \
	TIMES20(Z30, Z9); \
	VMOVDQU64 Z9, (power+256)(AX); \
	VMOVDQA64 Z28, Z8; \
	VMOVDQA64 Z29, Z9; \
	VMOVDQA64 Z30, Z10

// func polyPowers(p *poly)
TEXT ·polyPowers(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	VPBROADCASTQ limb<>+0(SB), Z31
	FACTOR(R1)
	VMOVDQA64 Z11, Z8
	VMOVDQA64 Z12, Z9
	VMOVDQA64 Z13, Z10
	POWER(R2)
	POWER(R3)
	POWER(R4)
	ZERO
	RET

// SQUARE makes r^2n of r^n.
#define SQUARE(from, to) \
	FACTOR(from); \
	VMOVDQA64 Z11, Z8; \
	VMOVDQA64 Z12, Z9; \
	VMOVDQA64 Z13, Z10; \
	POWER(to)

// func polySquares(p *poly)
TEXT ·polySquares(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	VPBROADCASTQ limb<>+0(SB), Z31
	SQUARE(R4, P8)
	SQUARE(P8, P16)
	SQUARE(P16, P32)
	ZERO
	RET

// FOUR multiplies the four blocks of each lane, words in Z8..Z15, with r^4, r^3,
// r^2 and r; the first only after something was added, maybe, to its limbs.
#define FIRST MUL(Z22, Z23, Z24, Z25, Z26, Z27)
#define FOUR \
	TRANSPOSE; \
	CLEAR(Z16, Z17, Z18, Z19, Z20, Z21); \
	CLEAR(Z22, Z23, Z24, Z25, Z26, Z27); \
	SPLIT(Z6, Z7); \
	FACTOR(R1); \
	MUL(Z16, Z17, Z18, Z19, Z20, Z21); \
	SPLIT(Z4, Z5); \
	FACTOR(R2); \
	MUL(Z22, Z23, Z24, Z25, Z26, Z27); \
	SPLIT(Z2, Z3); \
	FACTOR(R3); \
	MUL(Z16, Z17, Z18, Z19, Z20, Z21); \
	SPLIT(Z0, Z1); \
	FACTOR(R4)

// ADDUP makes limbs of both sets of sums.
#define ADDUP \
	SUM(Z22, Z16); SUM(Z23, Z17); SUM(Z24, Z18); \
	SUM(Z25, Z19); SUM(Z26, Z20); SUM(Z27, Z21); \
	CARRY(Z28, Z29, Z30)

// TIMES multiplies h with a power of r, into Z16..Z21.
#define TIMES(power) \
	VMOVDQA64 Z28, Z8; \
	VMOVDQA64 Z29, Z9; \
	VMOVDQA64 Z30, Z10; \
	FACTOR(power); \
	MUL(Z16, Z17, Z18, Z19, Z20, Z21)

// func polyStripe(p *poly, at *[8]unsafe.Pointer, first uint64, then unsafe.Pointer, n uint64)
TEXT ·polyStripe(SB), NOSPLIT, $0-40
	MOVQ p+0(FP), AX
	MOVQ at+8(FP), BX
	MOVQ first+16(FP), CX
	KMOVB CX, K1
	POINTERS
	MOVQ then+24(FP), BX
	MOVQ n+32(FP), CX
	VPBROADCASTQ limb<>+0(SB), Z31
	VMOVDQU64 (R8), Z8
	VMOVDQU64 (R9), Z9
	VMOVDQU64 (R10), Z10
	VMOVDQU64 (R11), Z11
	VMOVDQU64 (R12), Z12
	VMOVDQU64 (R13), Z13
	VMOVDQU64 (SI), Z14
	VMOVDQU64 (DI), Z15
	FOUR
	FIRST
	ADDUP
	VMOVDQA64.Z Z28, K1, Z28
	VMOVDQA64.Z Z29, K1, Z29
	VMOVDQA64.Z Z30, K1, Z30
	TESTQ CX, CX
	JZ    fold

stripe:
	VMOVDQU64 (BX), Z8
	VMOVDQU64 64(BX), Z9
	VMOVDQU64 128(BX), Z10
	VMOVDQU64 192(BX), Z11
	VMOVDQU64 256(BX), Z12
	VMOVDQU64 320(BX), Z13
	VMOVDQU64 384(BX), Z14
	VMOVDQU64 448(BX), Z15
	FOUR
	FIRST
	TIMES(P32)
	ADDUP
	ADDQ $512, BX
	DECQ CX
	JNZ  stripe

fold: // the lanes are powers of r^4 apart
	CLEAR(Z16, Z17, Z18, Z19, Z20, Z21)
	VSHUFI64X2 $0x4e, Z28, Z28, Z0
	VSHUFI64X2 $0x4e, Z29, Z29, Z1
	VSHUFI64X2 $0x4e, Z30, Z30, Z2
	TIMES(P16)
	CARRY(Z28, Z29, Z30)
	SUM(Z0, Z28)
	SUM(Z1, Z29)
	SUM(Z2, Z30)
	CLEAR(Z16, Z17, Z18, Z19, Z20, Z21)
	VSHUFI64X2 $0xb1, Z28, Z28, Z0
	VSHUFI64X2 $0xb1, Z29, Z29, Z1
	VSHUFI64X2 $0xb1, Z30, Z30, Z2
	TIMES(P8)
	CARRY(Z28, Z29, Z30)
	SUM(Z0, Z28)
	SUM(Z1, Z29)
	SUM(Z2, Z30)
	CLEAR(Z16, Z17, Z18, Z19, Z20, Z21)
	VPSHUFD $0x4e, Z28, Z0
	VPSHUFD $0x4e, Z29, Z1
	VPSHUFD $0x4e, Z30, Z2
	TIMES(R4)
	CARRY(Z28, Z29, Z30)
	SUM(Z0, Z28)
	SUM(Z1, Z29)
	SUM(Z2, Z30)
	STOREH
	ZERO
	RET

// func polyChunks(p *poly, at *[8]unsafe.Pointer, from, n uint64)
TEXT ·polyChunks(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), AX
	MOVQ at+8(FP), BX
	MOVQ from+16(FP), DX
	MOVQ n+24(FP), CX
	POINTERS
	VPBROADCASTQ limb<>+0(SB), Z31
	LOADH

chunk:
	VMOVDQU64 (R8)(DX*1), Z8
	VMOVDQU64 (R9)(DX*1), Z9
	VMOVDQU64 (R10)(DX*1), Z10
	VMOVDQU64 (R11)(DX*1), Z11
	VMOVDQU64 (R12)(DX*1), Z12
	VMOVDQU64 (R13)(DX*1), Z13
	VMOVDQU64 (SI)(DX*1), Z14
	VMOVDQU64 (DI)(DX*1), Z15
	FOUR
	SUM(Z28, Z8)
	SUM(Z29, Z9)
	SUM(Z30, Z10)
	FIRST
	ADDUP
	ADDQ $64, DX
	DECQ CX
	JNZ  chunk
	STOREH
	ZERO
	RET

// ABSORB takes the block that SPLIT made: h = (h + block) r, in lanes of K2.
#define ABSORB \
	SUM(Z28, Z8); SUM(Z29, Z9); SUM(Z30, Z10); \
	CLEAR(Z16, Z17, Z18, Z19, Z20, Z21); \
	MUL(Z16, Z17, Z18, Z19, Z20, Z21); \
	CARRY(Z16, Z17, Z18); \
	VMOVDQA64 Z16, K2, Z28; \
	VMOVDQA64 Z17, K2, Z29; \
	VMOVDQA64 Z18, K2, Z30

// TAIL loads the rest of a message, of which there are fewer than 64 bytes, and
// zeros.
#define TAIL(lane, at, z) \
	MOVQ        (REST+lane*8)(AX), CX; \
	BZHIQ       CX, DX, CX; \
	KMOVQ       CX, K1; \
	VMOVDQU8.Z  (at), K1, z

// func polyTail(p *poly, at *[8]unsafe.Pointer)
TEXT ·polyTail(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ at+8(FP), BX
	MOVQ $-1, DX
	POINTERS
	VPBROADCASTQ limb<>+0(SB), Z31
	LOADH
	VMOVDQU64 REST(AX), Z22
	VPTESTMQ Z22, Z22, K2
	KTESTB K2, K2
	JEQ  lengths
	TAIL(0, R8, Z8)
	TAIL(1, R9, Z9)
	TAIL(2, R10, Z10)
	TAIL(3, R11, Z11)
	TAIL(4, R12, Z12)
	TAIL(5, R13, Z13)
	TAIL(6, SI, Z14)
	TAIL(7, DI, Z15)
	TRANSPOSE
	FACTOR(R1)
	SPLIT(Z0, Z1)
	ABSORB
	VPCMPUQ.BCST $6, limb<>+24(SB), Z22, K2
	KTESTB K2, K2
	JEQ  lengths
	SPLIT(Z2, Z3)
	ABSORB
	VPCMPUQ.BCST $6, limb<>+32(SB), Z22, K2
	KTESTB K2, K2
	JEQ  lengths
	SPLIT(Z4, Z5)
	ABSORB
	VPCMPUQ.BCST $6, limb<>+40(SB), Z22, K2
	KTESTB K2, K2
	JEQ  lengths
	SPLIT(Z6, Z7)
	ABSORB

lengths:
	FACTOR(R1)
	VPXORQ Z0, Z0, Z0
	VMOVDQU64 LENGTH(AX), Z1
	KXNORB K2, K2, K2
	SPLIT(Z0, Z1)
	ABSORB
	STOREH
	ZERO
	RET
