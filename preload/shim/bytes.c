/*
 * What the compiler takes for granted.
 *
 * It may turn a loop or an assignment into memcpy or memset. Those of libc would
 * do, but the less the shim asks of it, the better it goes with any. These are
 * hidden: the program keeps its own.
 */
#include <stddef.h>

/* In a loop, keeps the compiler from seeing that it is memcpy or memset, and
 * making the function call itself. */
#define NOT_AN_IDIOM() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	while (n--) {
		*t++ = *f++;
		NOT_AN_IDIOM();
	}
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	unsigned char *t = to;

	while (n--) {
		*t++ = (unsigned char)byte;
		NOT_AN_IDIOM();
	}
	return to;
}
