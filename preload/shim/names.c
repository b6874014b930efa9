/*
 * getsockname(2) and getpeername(2).
 *
 * The kernel would tell of the two ends on lo. adit knows the ends in the tunnel.
 */
#include "shim.h"

/**
 * ask_name() - ask for one of the two names of a socket
 * @operation: WIRE_LOCAL_NAME or WIRE_PEER_NAME
 * @fd: an inet socket
 * @address: room for the name
 * @length: bytes of it; out: those of the name
 *
 * Return: 0 or a negative errno
 */
static long ask_name(uint32_t operation, int fd, struct sockaddr *address, socklen_t *length)
{
	struct sockaddr_storage name;
	struct question q = {
		.head.operation = operation,
		.socket = fd,
		.room = &name,
		.size = sizeof(name),
	};

	int r = ask_socket(&q, -1, ENOBUFS);
	if (r < 0)
		return r;
	return give_address(&name, q.answer.length, address, length);
}

/**
 * shim_getsockname() - the name of this end
 * @fd: any descriptor
 * @address: room for it
 * @length: bytes of @address; out: those of the name
 *
 * inet sockets		asked
 * others, no room	passed on
 * no broker		ENOBUFS
 *
 * Return: 0 or a negative errno
 */
long shim_getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
	if (!address || !length || !is_inet(fd))
		return raw_getsockname(fd, address, length);
	return ask_name(WIRE_LOCAL_NAME, fd, address, length);
}

/**
 * shim_getpeername() - the name of the other end
 * @fd: any descriptor
 * @address: room for it
 * @length: bytes of @address; out: those of the name
 *
 * As shim_getsockname().
 *
 * Return: 0 or a negative errno
 */
long shim_getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
	if (!address || !length || !is_inet(fd))
		return raw_getpeername(fd, address, length);
	return ask_name(WIRE_PEER_NAME, fd, address, length);
}

EXPORT int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict length)
{
	return (int)libc_result(shim_getsockname(fd, address, length));
}

EXPORT int getpeername(int fd, struct sockaddr *restrict address, socklen_t *restrict length)
{
	return (int)libc_result(shim_getpeername(fd, address, length));
}
