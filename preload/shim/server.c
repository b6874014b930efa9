/*
 * bind(2), listen(2), accept(2).
 *
 * What a program listens on is bound by adit to an address of its own on lo; the
 * program is told the one that it asked for. A connection is accepted by the
 * program itself, which then waits, and is woken by signals, as ever. Only who it
 * comes from has to be asked.
 */
#include "shim.h"

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

/**
 * shim_bind() - give a socket an address
 * @fd: any descriptor
 * @address: it
 * @length: bytes of @address
 *
 * inet sockets		asked
 * others		passed on
 * no broker		EADDRNOTAVAIL
 *
 * Return: 0 or a negative errno
 */
long shim_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	if (!address || length > sizeof(struct sockaddr_storage) || !is_inet(fd))
		return raw_bind(fd, address, length);

	struct question q = {
		.head.operation = WIRE_BIND,
		.parts = {{(void *)(uintptr_t)address, length}},
		.socket = fd,
	};
	return ask_socket(&q, -1, EADDRNOTAVAIL);
}

/**
 * shim_listen() - be ready for connections
 * @fd: any descriptor
 * @backlog: how many may wait
 *
 * all sockets		asked: by itself the program may not, or a TCP socket could
 *			listen where adit has not bound it
 * no broker		EADDRINUSE
 *
 * Return: 0 or a negative errno
 */
long shim_listen(int fd, int backlog)
{
	struct question q = {
		.head = {.operation = WIRE_LISTEN, .argument = {backlog}},
		.socket = fd,
	};
	return ask_socket(&q, -1, EADDRINUSE);
}

/**
 * shim_accept4() - accept a connection
 * @fd: any descriptor
 * @address: room for the address of the other end, or NULL
 * @length: bytes of it
 * @flags: SOCK_CLOEXEC, SOCK_NONBLOCK
 *
 * all sockets		passed on
 * TCP with @address	then asked for the other end; where that fails, the
 *			connection is there, and the address the kernel's
 *
 * Return: a descriptor or a negative errno
 */
long shim_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	socklen_t room = address && length ? *length : 0;
	int before = cancel_begin();
	long r = raw_accept4(fd, address, length, flags);
	cancel_end(before);

	if (r >= 0 && address && length && is_inet(fd)) {
		socklen_t kernels = *length;

		*length = room;
		if (shim_getpeername((int)r, address, length) < 0)
			*length = kernels;
	}
	return r;
}

EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	return (int)libc_result(shim_bind(fd, address, length));
}

EXPORT int listen(int fd, int backlog)
{
	return (int)libc_result(shim_listen(fd, backlog));
}

EXPORT int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict length)
{
	return (int)libc_result(shim_accept4(fd, address, length, 0));
}

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	return (int)libc_result(shim_accept4(fd, address, length, flags));
}
