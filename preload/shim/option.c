/*
 * getsockopt(2).
 *
 * One option is adit's: why a connection that was being made failed. The kernel
 * knows only of the one on lo.
 */
#include "shim.h"

/**
 * shim_getsockopt() - read an option of a socket
 * @fd: any descriptor
 * @level: SOL_…
 * @name: of the option
 * @value: room for it
 * @length: bytes of @value; out: those of the option
 *
 * SO_ERROR of TCP	asked, and cleared by that
 * others		passed on
 * no broker		the kernel's
 *
 * Return: 0 or a negative errno
 */
long shim_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	if (level != SOL_SOCKET || name != SO_ERROR || !value || !length || (int)*length < 0 ||
	    !is_inet_stream(fd))
		return raw_getsockopt(fd, level, name, value, length);

	struct question q = {.head.operation = WIRE_SOCKET_ERROR, .socket = fd};
	if (ask(&q, -1) != 0 || q.answer.error != 0)
		return raw_getsockopt(fd, level, name, value, length);
	if (*length > sizeof(q.answer.value))
		*length = sizeof(q.answer.value);
	copy(value, &q.answer.value, *length);
	return 0;
}

EXPORT int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length)
{
	return (int)libc_result(shim_getsockopt(fd, level, name, value, length));
}
