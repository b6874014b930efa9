/*
 * getnameinfo(3).
 */
#include "shim.h"

#define HOST_MAX 1025 /* NI_MAXHOST */

/**
 * give_text() - copy one of the texts of an answer to the program
 * @data: where it begins
 * @end: of the data
 * @to: where it goes, or NULL if it is not wanted
 * @size: bytes at @to
 *
 * Return: where the next text begins, or NULL if this one did not fit
 */
static const char *give_text(const char *data, const char *end, char *to, size_t size)
{
	size_t n = 0;

	while (data + n < end && data[n])
		n++;
	if (data + n == end)
		return NULL;
	n++;
	if (to && size) {
		if (n > size)
			return NULL;
		copy(to, data, n);
	}
	return data + n;
}

/**
 * shim_getnameinfo() - name of an address
 * @address: it
 * @length: bytes of @address
 * @host: room for the name
 * @host_size: bytes of it, 0 if it is not wanted
 * @service: room for the port's
 * @service_size: bytes of it, 0 if it is not wanted
 * @flags: NI_…
 *
 * inet addresses	asked
 * others		EAI_FAMILY
 * no room		EAI_OVERFLOW
 * no broker		EAI_AGAIN
 *
 * Return: 0 or one of EAI_…
 */
static int shim_getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
			    socklen_t host_size, char *service, socklen_t service_size, int flags)
{
	char room[HOST_MAX + 256];
	int want_host = host && host_size, want_service = service && service_size;
	struct question q = {
		.head = {.operation = WIRE_NAMEINFO, .argument = {flags, want_host, want_service}},
		.parts = {{(void *)(uintptr_t)address, length}},
		.socket = -1,
		.room = room,
		.size = sizeof(room),
	};

	if (!address || length > sizeof(struct sockaddr_storage))
		return EAI_FAMILY;
	int r = ask(&q, -1);
	if (r == ASK_LOST)
		return EAI_AGAIN;
	if (r < 0) {
		libc_result(r);
		return EAI_SYSTEM;
	}
	if (q.answer.error)
		return q.answer.error;

	const char *end = room + q.answer.length;
	const char *next = give_text(room, end, host, host_size);
	if (!next || !give_text(next, end, service, service_size))
		return EAI_OVERFLOW;
	return 0;
}

EXPORT int getnameinfo(const struct sockaddr *restrict address, socklen_t length,
		       char *restrict host, socklen_t host_size, char *restrict service,
		       socklen_t service_size, int flags)
{
	return shim_getnameinfo(address, length, host, host_size, service, service_size, flags);
}
