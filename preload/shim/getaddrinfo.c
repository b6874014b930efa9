/*
 * getaddrinfo(3) and freeaddrinfo(3).
 *
 * libc's own resolver does not go through the symbols that the shim stands
 * before, so the whole function has to be replaced. Everything about it is decided
 * by adit; here its answer becomes the list that the program walks along.
 *
 * The list is made as glibc makes it: a piece of memory for each result with its
 * address behind it, and one for the canonical name. So programs may free parts
 * of a list, tools that look for leaks understand it, and a list that glibc has
 * made itself, for who asked it by dlsym(3), may be given to freeaddrinfo() too.
 */
#include "shim.h"

#define NODE_MAX 1024
#define SERVICE_MAX 256

struct result {
	struct addrinfo info;
	struct sockaddr_storage address;
};

/**
 * new_result() - one element of the list
 * @from: of the answer
 * @flags: that the program asked with, which glibc repeats
 *
 * Return: what free() takes, or NULL
 */
static struct addrinfo *new_result(const struct wire_address *from, int flags)
{
	struct result *r = malloc ? malloc(sizeof(*r)) : NULL;

	if (!r)
		return NULL;
	r->info = (struct addrinfo){
		.ai_flags = flags,
		.ai_family = from->family,
		.ai_socktype = from->type,
		.ai_protocol = from->protocol,
		.ai_addrlen = from->length,
		.ai_addr = (struct sockaddr *)&r->address,
	};
	copy(&r->address, from->address, sizeof(from->address));
	return &r->info;
}

/**
 * new_text() - a text of its own
 * @text: ends with a NUL
 *
 * Return: what free() takes, or NULL
 */
static char *new_text(const char *text)
{
	size_t n = text_length(text) + 1;
	char *t = malloc ? malloc(n) : NULL;

	if (t)
		copy(t, text, n);
	return t;
}

/**
 * make_list() - the list, of an answer's data
 * @data: the canonical name, then as many struct wire_address as there is room for
 * @size: bytes of @data
 * @flags: that the program asked with
 * @list: is the list
 *
 * Return: 0 or one of EAI_…
 */
static int make_list(const char *data, size_t size, int flags, struct addrinfo **list)
{
	struct addrinfo *first = NULL, **next = &first;
	size_t at = 0;

	while (at < size && data[at])
		at++;
	if (at == size)
		return EAI_FAIL;
	for (at++; size - at >= sizeof(struct wire_address); at += sizeof(struct wire_address)) {
		struct wire_address address;

		copy(&address, data + at, sizeof(address));
		if (address.length > sizeof(address.address))
			break;
		*next = new_result(&address, flags);
		if (!*next)
			break;
		next = &(*next)->ai_next;
	}
	if (first && data[0])
		first->ai_canonname = new_text(data);
	if (!first || at != size || (data[0] && !first->ai_canonname)) {
		freeaddrinfo(first);
		return EAI_MEMORY;
	}
	*list = first;
	return 0;
}

/**
 * shim_getaddrinfo() - addresses of a name
 * @node: name, or NULL
 * @service: name or number of a port, or NULL
 * @hints: what kind of addresses, or NULL
 * @list: is the list, where there is one
 *
 * all names	asked
 * too long	EAI_NONAME, EAI_SERVICE
 * no broker	EAI_AGAIN
 *
 * Return: 0 or one of EAI_…
 */
static int shim_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
			    struct addrinfo **list)
{
	/* Without hints, glibc's default. */
	struct addrinfo none = {.ai_flags = AI_V4MAPPED | AI_ADDRCONFIG};
	char node_buffer[2 + NODE_MAX], service_buffer[2 + SERVICE_MAX], room[WIRE_ANSWER_MAX];

	if (!hints)
		hints = &none;
	struct question q = {
		.head = {.operation = WIRE_ADDRINFO,
			 .argument = {hints->ai_flags, hints->ai_family, hints->ai_socktype,
				      hints->ai_protocol}},
		.parts = {optional_text(node, node_buffer, sizeof(node_buffer)),
			  optional_text(service, service_buffer, sizeof(service_buffer))},
		.socket = -1,
		.room = room,
		.size = sizeof(room),
	};
	if (!q.parts[0].iov_len)
		return EAI_NONAME;
	if (!q.parts[1].iov_len)
		return EAI_SERVICE;

	int r = ask(&q, -1);
	if (r == ASK_LOST)
		return EAI_AGAIN;
	if (r < 0) {
		libc_result(r);
		return EAI_SYSTEM;
	}
	if (q.answer.error)
		return q.answer.error;
	return make_list(room, q.answer.length, hints->ai_flags, list);
}

EXPORT int getaddrinfo(const char *restrict node, const char *restrict service,
		       const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	return shim_getaddrinfo(node, service, hints, list);
}

EXPORT void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(list->ai_canonname);
		free(list);
		list = next;
	}
}
