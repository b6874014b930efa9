/*
 * gethostbyname(3), gethostbyaddr(3) and their variants.
 *
 * One function asks and fills the buffer that a caller of the _r variants brings;
 * the others have one of their own, as libc's have.
 */
#include "shim.h"

#define NAME_MAX_BYTES 1024

/* What h_errno is besides the reasons why there is no host: netdb.h of glibc calls
 * them NETDB_INTERNAL and NETDB_SUCCESS. */
#define SEE_ERRNO -1
#define FOUND 0

/* Of those without a buffer, with room for any answer and pointers to all that may be
 * in it. Like libc's, it is not for two threads at once. */
static char own_buffer[2 * WIRE_ANSWER_MAX];
static struct hostent own_host;

/**
 * struct room - what is left of a caller's buffer
 * @next: first free byte
 * @left: bytes from there on
 */
struct room {
	char *next;
	size_t left;
};

/**
 * take() - take bytes of a buffer
 * @r: the buffer
 * @size: bytes that are wanted
 * @align: a power of two, which the address is to be a multiple of
 *
 * Return: the bytes, or NULL if there are not as many
 */
static void *take(struct room *r, size_t size, size_t align)
{
	size_t pad = -(uintptr_t)r->next & (align - 1);
	char *taken = r->next + pad;

	if (r->left < pad || r->left - pad < size)
		return NULL;
	r->next = taken + size;
	r->left -= pad + size;
	return taken;
}

/**
 * count_texts() - how many texts there are
 * @data: texts, each with its NUL
 * @size: bytes of @data
 *
 * Return: their number
 */
static size_t count_texts(const char *data, size_t size)
{
	size_t n = 0;

	while (size--)
		n += !*data++;
	return n;
}

/**
 * fill() - make a struct hostent of an answer
 * @q: the question, answered: addresses, then texts
 * @family: of the addresses
 * @host: is filled in
 * @r: room for what it points to
 *
 * Return: 0, or ERANGE if the room is too small
 */
static int fill(const struct question *q, int family, struct hostent *host, struct room *r)
{
	size_t length = family == AF_INET ? 4 : 16, n = (size_t)q->answer.value;

	if (q->answer.value < 0 || n > q->answer.length / length)
		return ERANGE;
	size_t texts_size = q->answer.length - n * length;
	size_t texts = count_texts((const char *)q->room + n * length, texts_size);
	char **addresses = take(r, (n + 1) * sizeof(char *), sizeof(char *));
	char **aliases = take(r, (texts + 1) * sizeof(char *), sizeof(char *));
	char *data = take(r, q->answer.length, 4);

	if (!addresses || !aliases || !data || !texts)
		return ERANGE;
	copy(data, q->room, q->answer.length);
	for (size_t i = 0; i < n; i++, data += length)
		addresses[i] = data;
	addresses[n] = NULL;
	host->h_name = data;
	for (size_t i = 1; i < texts; i++) {
		data += text_length(data) + 1;
		aliases[i - 1] = data;
	}
	aliases[texts - 1] = NULL;
	host->h_aliases = aliases;
	host->h_addrtype = family;
	host->h_length = (int)length;
	host->h_addr_list = addresses;
	return 0;
}

/**
 * look_up() - ask, and make a struct hostent of the answer
 * @q: the question
 * @family: of the addresses
 * @host: is filled in
 * @r: room for what it points to
 * @h_error: what h_errno is to be
 *
 * no broker	TRY_AGAIN
 *
 * Return: 0 with the host or without one, or the errno that libc's _r functions
 *	return
 */
static int look_up(struct question *q, int family, struct hostent *host, struct room *r,
		   struct hostent **result, int *h_error)
{
	char room[WIRE_ANSWER_MAX];

	*result = NULL;
	q->socket = -1;
	q->room = room;
	q->size = sizeof(room);
	int e = ask(q, -1);
	if (e != 0) {
		*h_error = TRY_AGAIN;
		return EAGAIN;
	}
	if (q->answer.error) {
		*h_error = q->answer.error;
		return q->answer.error == TRY_AGAIN ? EAGAIN : 0;
	}
	e = fill(q, family, host, r);
	if (e) {
		*h_error = SEE_ERRNO;
		return e;
	}
	*result = host;
	*h_error = FOUND;
	return 0;
}

/**
 * shim_gethostbyname() - addresses of a name
 * @name: it
 * @family: of the addresses
 * @host: is filled in
 * @buffer: room for what it points to
 * @size: bytes of @buffer
 * @result: @host, or NULL
 * @h_error: what h_errno is to be
 *
 * Return: as look_up()
 */
static int shim_gethostbyname(const char *name, int family, struct hostent *host, char *buffer,
			      size_t size, struct hostent **result, int *h_error)
{
	char text[2 + NAME_MAX_BYTES];
	struct room r = {buffer, size};
	struct question q = {
		.head = {.operation = WIRE_HOST_BY_NAME, .argument = {family}},
		.parts = {optional_text(name, text, sizeof(text))},
	};

	if (!q.parts[0].iov_len) {
		*result = NULL;
		*h_error = HOST_NOT_FOUND;
		return 0;
	}
	return look_up(&q, family, host, &r, result, h_error);
}

/**
 * shim_gethostbyaddr() - name of an address
 * @address: it, in network order
 * @length: bytes of @address
 * @family: of the address
 * @host: is filled in
 * @buffer: room for what it points to
 * @size: bytes of @buffer
 * @result: @host, or NULL
 * @h_error: what h_errno is to be
 *
 * Return: as look_up()
 */
static int shim_gethostbyaddr(const void *address, socklen_t length, int family,
			      struct hostent *host, char *buffer, size_t size,
			      struct hostent **result, int *h_error)
{
	struct room r = {buffer, size};
	struct question q = {
		.head = {.operation = WIRE_HOST_BY_ADDRESS, .argument = {family}},
		.parts = {{(void *)(uintptr_t)address, length}},
	};

	if (length > 16) {
		*result = NULL;
		*h_error = NO_RECOVERY;
		return EINVAL;
	}
	return look_up(&q, family, host, &r, result, h_error);
}

/**
 * with_errno() - what the _r functions return, which glibc's leave in errno too
 * @e: an errno, or 0
 *
 * Return: @e
 */
static int with_errno(int e)
{
	if (e)
		libc_result(-e);
	return e;
}

/**
 * set_h_errno() - say why there is no host
 * @h_error: one of h_errno's
 */
static void set_h_errno(int h_error)
{
	if (__h_errno_location)
		*__h_errno_location() = h_error;
}

EXPORT struct hostent *gethostbyname2(const char *name, int family)
{
	struct hostent *result;
	int h_error;

	shim_gethostbyname(name, family, &own_host, own_buffer, sizeof(own_buffer), &result,
			   &h_error);
	if (!result)
		set_h_errno(h_error);
	return result;
}

EXPORT struct hostent *gethostbyname(const char *name)
{
	return gethostbyname2(name, AF_INET);
}

EXPORT struct hostent *gethostbyaddr(const void *address, socklen_t length, int family)
{
	struct hostent *result;
	int h_error;

	shim_gethostbyaddr(address, length, family, &own_host, own_buffer, sizeof(own_buffer),
			   &result, &h_error);
	if (!result)
		set_h_errno(h_error);
	return result;
}

EXPORT int gethostbyname2_r(const char *restrict name, int family, struct hostent *restrict host,
			    char *restrict buffer, size_t size, struct hostent **restrict result,
			    int *restrict h_error)
{
	return with_errno(shim_gethostbyname(name, family, host, buffer, size, result, h_error));
}

EXPORT int gethostbyname_r(const char *restrict name, struct hostent *restrict host,
			   char *restrict buffer, size_t size, struct hostent **restrict result,
			   int *restrict h_error)
{
	return with_errno(shim_gethostbyname(name, AF_INET, host, buffer, size, result, h_error));
}

EXPORT int gethostbyaddr_r(const void *restrict address, socklen_t length, int family,
			   struct hostent *restrict host, char *restrict buffer, size_t size,
			   struct hostent **restrict result, int *restrict h_error)
{
	return with_errno(shim_gethostbyaddr(address, length, family, host, buffer, size, result,
					     h_error));
}
