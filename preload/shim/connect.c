/*
 * connect(2).
 *
 * adit connects the program's own socket, which it is sent: the descriptor, what
 * watches it (epoll) and its options stay. It does so for every family, because
 * the guard, which cannot look into an address, has to refuse them all.
 */
#include "shim.h"

/**
 * shim_connect() - connect a socket
 * @fd: any descriptor
 * @address: where to
 * @length: bytes of @address
 *
 * no address, or one longer than any	the kernel's errno: EFAULT, EINVAL
 * all families		asked; waits as the socket would, and ends with EINTR
 *			as it would
 * no broker		ENETUNREACH
 *
 * Return: 0 or a negative errno
 */
long shim_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	if (length > sizeof(struct sockaddr_storage))
		return -EINVAL;
	if (!address && length)
		return -EFAULT;

	struct question q = {
		.head.operation = WIRE_CONNECT,
		.parts = {{(void *)(uintptr_t)address, length}},
		.socket = fd,
		.cancels = 1,
	};
	return ask_socket(&q, fd, ENETUNREACH);
}

EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	return (int)libc_result(shim_connect(fd, address, length));
}
