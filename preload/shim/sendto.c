/*
 * sendto(2).
 *
 * MSG_FASTOPEN is connect and send in one call (tcp(7)). The guard refuses the
 * flag, since what is connected must be connected by adit; here it becomes the
 * two calls that it stands for. Without it, an address means nothing to TCP.
 */
#include "shim.h"

/**
 * shim_sendto() - send
 * @fd: any descriptor
 * @data: what to send
 * @size: bytes of @data
 * @flags: MSG_…
 * @to: where to, or NULL
 * @length: bytes of @to
 *
 * TCP with MSG_FASTOPEN and @to	connected as by connect, then passed on
 *				without the two; EINPROGRESS as connect has it
 * others			passed on, where the guard refuses the flag
 *
 * Return: bytes that were sent, or a negative errno
 */
long shim_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
		 socklen_t length)
{
	if (flags & MSG_FASTOPEN && to && is_inet_stream(fd)) {
		long r = shim_connect(fd, to, length);
		if (r < 0)
			return r;
		flags &= ~MSG_FASTOPEN;
		to = NULL;
		length = 0;
	}

	int before = cancel_begin();
	long r = raw_sendto(fd, data, size, flags, to, length);
	cancel_end(before);
	return r;
}

EXPORT ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
		      socklen_t length)
{
	return libc_result(shim_sendto(fd, data, size, flags, to, length));
}
