/*
 * socket(2).
 *
 * The guard lets a process make sockets of two families only, AF_UNIX and
 * AF_NETLINK. An inet socket is made by adit, which binds it to lo before it hands
 * it over: whatever the program does to it, it leads nowhere else.
 */
#include "shim.h"

int socket(int family, int type, int protocol);

/**
 * shim_socket() - make a socket
 * @family: AF_…
 * @type: SOCK_…, with SOCK_CLOEXEC and SOCK_NONBLOCK
 * @protocol: of the family
 *
 * AF_INET, AF_INET6	asked: TCP is handed out, and for UDP of IPv6 something that
 *			leads nowhere; all else has the errno that the broker says
 * others		passed on to the kernel, where the guard may refuse
 * no broker		EACCES
 *
 * Return: a descriptor or a negative errno
 */
long shim_socket(int family, int type, int protocol)
{
	if (family != AF_INET && family != AF_INET6)
		return raw_socket(family, type, protocol);

	struct question q = {
		.head = {.operation = WIRE_SOCKET, .argument = {family, type, protocol}},
		.socket = -1,
		.cloexec = (type & SOCK_CLOEXEC) != 0,
	};
	int r = ask_socket(&q, -1, EACCES);
	if (r < 0)
		return r;
	/* Success without a descriptor: there was no number left for it. */
	return q.fd < 0 ? -EMFILE : q.fd;
}

EXPORT int socket(int family, int type, int protocol)
{
	return (int)libc_result(shim_socket(family, type, protocol));
}
