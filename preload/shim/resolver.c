/*
 * res_query(3), res_search(3), res_send(3) and their variants.
 *
 * By these a program asks for other things than addresses: mail exchangers,
 * services, keys. libc makes the question from what it has read in resolv.conf;
 * here it goes to the tunnel's nameservers whatever that says. The variants with a
 * state take nothing from it.
 *
 * glibc has had each of them under two names (__res_query before 2.34), and old
 * programs ask for the older one.
 */
#include "shim.h"

#define DOMAIN_MAX 512 /* a name of 255 bytes, each dot escaped */

/* Declared in resolv.h, which not every libc has. */
int res_query(const char *name, int class, int type, unsigned char *answer, int size);
int res_search(const char *name, int class, int type, unsigned char *answer, int size);
int res_querydomain(const char *name, const char *domain, int class, int type,
		    unsigned char *answer, int size);
int res_send(const unsigned char *query, int length, unsigned char *answer, int size);
int res_nquery(void *state, const char *name, int class, int type, unsigned char *answer, int size);
int res_nsearch(void *state, const char *name, int class, int type, unsigned char *answer,
		int size);
int res_nquerydomain(void *state, const char *name, const char *domain, int class, int type,
		     unsigned char *answer, int size);
int res_nsend(void *state, const unsigned char *query, int length, unsigned char *answer, int size);

/**
 * ask_resolver() - ask, and return as libc's functions do
 * @q: the question
 * @answer: room for the message
 * @size: bytes of it
 *
 * no broker	TRY_AGAIN
 *
 * Return: bytes of the message, of which @answer has as many as there is room
 *	for; or -1 with h_errno set
 */
static int ask_resolver(struct question *q, unsigned char *answer, int size)
{
	int h_error = TRY_AGAIN;

	q->head.argument[3] = size;
	q->socket = -1;
	q->room = answer;
	q->size = size < 0 ? 0 : (size_t)size;
	if (ask(q, -1) == 0) {
		if (!q->answer.error)
			return q->answer.value;
		h_error = q->answer.error;
	}
	if (__h_errno_location)
		*__h_errno_location() = h_error;
	return -1;
}

/**
 * shim_res_query() - ask for the records of a name
 * @operation: WIRE_RES_QUERY, or WIRE_RES_SEARCH to try the search domains too
 * @name: it
 * @class: of the records
 * @type: of the records
 * @answer: room for the message
 * @size: bytes of it
 *
 * all names	asked
 * too long	NO_RECOVERY
 *
 * Return: as ask_resolver()
 */
static int shim_res_query(uint32_t operation, const char *name, int class, int type,
			  unsigned char *answer, int size)
{
	char text[2 + 2 * DOMAIN_MAX];
	struct question q = {
		.head = {.operation = operation, .argument = {class, type}},
		.parts = {optional_text(name, text, sizeof(text))},
	};

	if (!q.parts[0].iov_len)
		q.parts[0] = optional_text(NULL, text, sizeof(text));
	return ask_resolver(&q, answer, size);
}

/**
 * shim_res_querydomain() - ask for the records of a name in a domain
 * @name: it
 * @domain: its domain, or NULL
 * @class: of the records
 * @type: of the records
 * @answer: room for the message
 * @size: bytes of it
 *
 * Return: as ask_resolver()
 */
static int shim_res_querydomain(const char *name, const char *domain, int class, int type,
				unsigned char *answer, int size)
{
	char whole[2 * DOMAIN_MAX];

	if (!domain)
		return shim_res_query(WIRE_RES_QUERY, name, class, type, answer, size);
	size_t n = text_length(name), d = text_length(domain);
	if (n > DOMAIN_MAX || d > DOMAIN_MAX - 2)
		return shim_res_query(WIRE_RES_QUERY, NULL, class, type, answer, size);
	copy(whole, name, n);
	whole[n] = '.';
	copy(whole + n + 1, domain, d + 1);
	return shim_res_query(WIRE_RES_QUERY, whole, class, type, answer, size);
}

/**
 * shim_res_send() - send a message of the program's own
 * @query: it
 * @length: bytes of it
 * @answer: room for the answer
 * @size: bytes of it
 *
 * all messages	asked
 * too long	TRY_AGAIN
 *
 * Return: as ask_resolver(), and here errno says why
 */
static int shim_res_send(const unsigned char *query, int length, unsigned char *answer, int size)
{
	struct question q = {
		.head.operation = WIRE_RES_SEND,
		.parts = {{(void *)(uintptr_t)query, length < 0 ? 0 : (size_t)length}},
	};
	int n = ask_resolver(&q, answer, size);

	return n < 0 ? (int)libc_result(-ETIMEDOUT) : n;
}

EXPORT int res_query(const char *name, int class, int type, unsigned char *answer, int size)
{
	return shim_res_query(WIRE_RES_QUERY, name, class, type, answer, size);
}

EXPORT int res_search(const char *name, int class, int type, unsigned char *answer, int size)
{
	return shim_res_query(WIRE_RES_SEARCH, name, class, type, answer, size);
}

EXPORT int res_querydomain(const char *name, const char *domain, int class, int type,
			   unsigned char *answer, int size)
{
	return shim_res_querydomain(name, domain, class, type, answer, size);
}

EXPORT int res_send(const unsigned char *query, int length, unsigned char *answer, int size)
{
	return shim_res_send(query, length, answer, size);
}

EXPORT int res_nquery(void *state, const char *name, int class, int type, unsigned char *answer,
		      int size)
{
	(void)state;
	return shim_res_query(WIRE_RES_QUERY, name, class, type, answer, size);
}

EXPORT int res_nsearch(void *state, const char *name, int class, int type, unsigned char *answer,
		       int size)
{
	(void)state;
	return shim_res_query(WIRE_RES_SEARCH, name, class, type, answer, size);
}

EXPORT int res_nquerydomain(void *state, const char *name, const char *domain, int class, int type,
			    unsigned char *answer, int size)
{
	(void)state;
	return shim_res_querydomain(name, domain, class, type, answer, size);
}

EXPORT int res_nsend(void *state, const unsigned char *query, int length, unsigned char *answer,
		     int size)
{
	(void)state;
	return shim_res_send(query, length, answer, size);
}

/* The names before glibc 2.34. */
#define OLD_NAME(of) EXPORT __attribute__((alias(#of))) __typeof__(of)

OLD_NAME(res_query) __res_query;
OLD_NAME(res_search) __res_search;
OLD_NAME(res_querydomain) __res_querydomain;
OLD_NAME(res_send) __res_send;
OLD_NAME(res_nquery) __res_nquery;
OLD_NAME(res_nsearch) __res_nsearch;
OLD_NAME(res_nquerydomain) __res_nquerydomain;
OLD_NAME(res_nsend) __res_nsend;
