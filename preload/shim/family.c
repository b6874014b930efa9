/*
 * What kind of socket a descriptor is, and addresses given back.
 *
 * The kernel is asked each time. A table of the descriptors that the shim handed
 * out would have to follow every dup, close, fork and exec.
 */
#include "shim.h"

static int option(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	if (raw_getsockopt(fd, SOL_SOCKET, name, &value, &length) < 0)
		return -1;
	return value;
}

/**
 * is_inet() - whether a descriptor is an IPv4 or IPv6 socket
 * @fd: any descriptor
 *
 * Return: 1 if it is, 0 if it is another's or none
 */
int is_inet(int fd)
{
	int domain = option(fd, SO_DOMAIN);

	return domain == AF_INET || domain == AF_INET6;
}

/**
 * is_inet_stream() - whether a descriptor is a TCP socket
 * @fd: any descriptor
 *
 * Return: 1 if it is, 0 if not
 */
int is_inet_stream(int fd)
{
	return is_inet(fd) && option(fd, SO_TYPE) == SOCK_STREAM;
}

/**
 * give_address() - give a caller an address as the kernel does
 * @from: struct sockaddr of the broker's
 * @n: its bytes
 * @to: where the caller wants it
 * @length: in: bytes at @to; out: what they should have been
 *
 * Return: 0, or -EINVAL if @length is negative, as in the kernel
 */
long give_address(const void *from, size_t n, struct sockaddr *to, socklen_t *length)
{
	if ((int)*length < 0)
		return -EINVAL;
	copy(to, from, n < *length ? n : *length);
	*length = (socklen_t)n;
	return 0;
}
