/*
 * What the compiler takes for granted.
 *
 * It may turn a loop or an assignment into memcpy or memset. Those of libc would
 * do, but the less the shim asks of it, the better it goes with any. These are
 * hidden: the program keeps its own.
 */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	while (n--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	unsigned char *t = to;

	while (n--)
		*t++ = (unsigned char)byte;
	return to;
}
