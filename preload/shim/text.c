/*
 * Texts and bytes, for want of a libc.
 */
#include "shim.h"

/**
 * copy() - copy bytes
 * @to: room for @n bytes, apart from @from
 * @from: bytes; may be NULL if there are none
 * @n: how many
 */
void copy(void *to, const void *from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	while (n--)
		*t++ = *f++;
}

/**
 * text_length() - length of a text
 * @text: ends with a NUL
 *
 * Return: bytes before the NUL
 */
size_t text_length(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	return n;
}

/**
 * optional_text() - a text that may be missing, as the wire has it
 * @text: ends with a NUL, or is NULL
 * @buffer: room for it
 * @size: bytes of @buffer
 *
 * Return: the part of @buffer that is used; nothing if the text is too long
 */
struct iovec optional_text(const char *text, char *buffer, size_t size)
{
	buffer[0] = text != NULL;
	if (!text)
		return (struct iovec){buffer, 1};

	size_t n = text_length(text) + 1;
	if (n > size - 1)
		return (struct iovec){buffer, 0};
	copy(buffer + 1, text, n);
	return (struct iovec){buffer, 1 + n};
}
