/*
 * Asking the broker.
 *
 * The guard (preload/guard.go) refuses connect(2) of every family, so the shim
 * cannot connect to the broker. It does not need to: an unbound datagram socket
 * may send to any address. With the question goes one end of a pair of sockets,
 * and on the other end comes the answer. The kernel tells the broker who asks.
 *
 *	program				broker
 *	socketpair  a ── b
 *	datagram: question [b, socket] ──► who is it? may it? do it
 *	close b
 *	recvmsg a ◄── answer [descriptor]  send on b
 *	close a				close b
 *
 * Nothing is kept between two questions, neither in memory nor as a descriptor.
 * So a question may come from any thread, from a signal handler, between fork,
 * vfork and exec, and after a program has closed descriptors that it does not
 * know. When the broker is gone there is no such address, or b is closed and
 * recvmsg tells of the end: the shim never waits for nobody.
 *
 * A pair of datagram sockets would do without the third socket, but the end of
 * the other side is not told on one.
 */
#include <fcntl.h>
#include <sys/time.h>
#include <sys/un.h>

#include "shim.h"

/* A control message with two descriptors, aligned as one must be. */
union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(2 * sizeof(int))];
};

/**
 * broker_address() - the address that name.c holds a part of
 * @address: is filled in
 *
 * Return: bytes of @address that are used
 */
static socklen_t broker_address(struct sockaddr_un *address)
{
	address->sun_family = AF_UNIX;
	address->sun_path[0] = 0; /* abstract: not a file, unix(7) */
	for (int i = 0; i < BROKER_NAME_LENGTH; i++)
		address->sun_path[1 + i] = broker_name[i];
	return offsetof(struct sockaddr_un, sun_path) + 1 + BROKER_NAME_LENGTH;
}

/**
 * send_question() - send it, with the descriptors
 * @q: the question
 * @end: of the pair, for the answer; -1 if none is wanted
 * @flags: of sendmsg(2)
 *
 * Return: 0, a negative errno that is the caller's fault, or ASK_LOST
 */
static int send_question(struct question *q, int end, int flags)
{
	struct sockaddr_un address;
	union control control;
	struct iovec parts[3] = {{&q->head, sizeof(q->head)}, q->parts[0], q->parts[1]};
	struct msghdr message = {
		.msg_name = &address,
		.msg_namelen = broker_address(&address),
		.msg_iov = parts,
		.msg_iovlen = 3,
	};
	int fds[2] = {end, q->socket};
	size_t n = end < 0 ? 0 : q->socket < 0 ? 1 : 2;

	q->head.length = (uint32_t)(q->parts[0].iov_len + q->parts[1].iov_len);
	if (n > 0) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
		copy(CMSG_DATA(&control.header), fds, n * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
	}

	int sender = (int)raw_socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sender < 0)
		return sender;
	long r;
	do {
		r = raw_sendmsg(sender, &message, flags | MSG_NOSIGNAL);
	} while (r == -EINTR); /* waited for a place in the queue, which is short */
	raw_close(sender);
	if (r == -EBADF || r == -EFAULT)
		return (int)r; /* the program's socket or address is none */
	return r < 0 ? ASK_LOST : 0;
}

/**
 * take_descriptor() - the descriptor that came with an answer
 * @message: as recvmsg(2) left it
 *
 * Return: a descriptor, or -1
 */
static int take_descriptor(struct msghdr *message)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(message);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		copy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/**
 * receive_answer() - wait for the answer
 * @q: the question
 * @end: of the pair, ours
 * @interrupts: a blocking socket, in whose name we wait: a signal ends the wait;
 *	-1 or a non-blocking one: a signal does not
 *
 * The kernel itself restarts recvmsg(2) where it would restart connect(2).
 *
 * Return: 0, -EINTR, or ASK_LOST
 */
static int receive_answer(struct question *q, int end, int interrupts)
{
	union control control;
	struct iovec parts[2] = {{&q->answer, sizeof(q->answer)}, {q->room, q->size}};
	struct msghdr message;
	long n;

	for (;;) {
		message = (struct msghdr){
			.msg_iov = parts,
			.msg_iovlen = 2,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		n = raw_recvmsg(end, &message, q->cloexec ? MSG_CMSG_CLOEXEC : 0);
		if (n != -EINTR)
			break;
		if (interrupts < 0 || raw_fcntl(interrupts, F_GETFL, 0) & O_NONBLOCK)
			continue;
		return -EINTR;
	}
	if (n < 0)
		return ASK_LOST;
	q->fd = take_descriptor(&message);
	if ((size_t)n < sizeof(q->answer) || message.msg_flags & MSG_TRUNC ||
	    q->answer.length != (size_t)n - sizeof(q->answer))
		return ASK_LOST;
	return 0;
}

/**
 * limit() - let a signal end the wait as it would end connect(2)
 * @end: of the pair, ours
 * @interrupts: see receive_answer()
 *
 * A call that has a limit is not restarted after a signal (signal(7)). The broker
 * sees to the limit itself; that of the pair is too long to matter.
 */
static void limit(int end, int interrupts)
{
	struct timeval time = {0, 0};
	socklen_t length = sizeof(time);

	if (interrupts < 0 ||
	    raw_getsockopt(interrupts, SOL_SOCKET, SO_SNDTIMEO, &time, &length) < 0 ||
	    (time.tv_sec == 0 && time.tv_usec == 0))
		return;
	time.tv_sec = 1 << 30;
	raw_setsockopt(end, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
}

/**
 * lowest() - give a descriptor the lowest number that is free
 * @fd: a descriptor
 * @cloexec: whether it is closed on exec
 *
 * socket(2) returns the lowest number, and there are programs that count on it.
 * While the answer came, the pair had it.
 *
 * Return: a descriptor; @fd is closed if it is another
 */
static int lowest(int fd, int cloexec)
{
	long other = raw_fcntl(fd, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);

	if (other < 0)
		return fd;
	if (other > fd) {
		raw_close((int)other);
		return fd;
	}
	raw_close(fd);
	return (int)other;
}

/**
 * ask() - ask the broker and wait for its answer
 * @q: the question; its answer, room and fd are filled in
 * @interrupts: a socket, see receive_answer(), or -1
 *
 * Return: 0, a negative errno, or ASK_LOST
 */
int ask(struct question *q, int interrupts)
{
	int pair[2], before = 0;

	q->fd = -1;
	/* One that is not open would be while we ask: an end of the pair. */
	if (q->socket >= 0 && raw_fcntl(q->socket, F_GETFD, 0) < 0)
		return -EBADF;
	if (q->cancels)
		cancel_here();
	long r = raw_socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
	if (r < 0)
		return (int)r;
	limit(pair[0], interrupts);
	r = send_question(q, pair[1], 0);
	raw_close(pair[1]);
	if (r == 0) {
		if (q->cancels)
			before = cancel_begin();
		r = receive_answer(q, pair[0], interrupts);
		if (q->cancels)
			cancel_end(before);
	}
	raw_close(pair[0]);
	if (q->fd >= 0 && (r != 0 || q->answer.error != 0)) {
		raw_close(q->fd);
		q->fd = -1;
	}
	if (q->fd >= 0)
		q->fd = lowest(q->fd, q->cloexec);
	return (int)r;
}

/**
 * ask_socket() - ask what a system call on a socket asks
 * @q: the question
 * @interrupts: a socket, see receive_answer(), or -1
 * @lost: errno when there is no broker
 *
 * Return: 0 or a negative errno
 */
int ask_socket(struct question *q, int interrupts, int lost)
{
	int r = ask(q, interrupts);

	if (r == 0)
		return -q->answer.error;
	return r == ASK_LOST ? -lost : r;
}

/**
 * hello() - tell adit that the shim was loaded
 *
 * Without it a program that does not load the shim, where glibc prints a line and
 * musl says nothing, would be no different from one that makes no connections. It
 * does not wait: what is started later than the broker has ended starts, too.
 */
__attribute__((constructor)) static void hello(void)
{
	struct question q = {.head.operation = WIRE_HELLO, .socket = -1};

	send_question(&q, -1, MSG_DONTWAIT);
}
