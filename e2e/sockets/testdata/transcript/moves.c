/* Other ways to put data into a socket, and to take it out. */
#include "say.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

/* file - a memory file with a text */
static int file(const char *text)
{
	int fd = memfd_create("transcript", 0);

	if (write(fd, text, strlen(text)) < 0)
		say("write for what follows", -1);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void sending_files(const struct net *n)
{
	int fd = connected(n, ECHO), f = file("a file of some length");

	say("sendfile", sendfile(fd, f, NULL, 100));
	take("recv", fd, 21, MSG_WAITALL);
	say("sendfile, at its end", sendfile(fd, f, NULL, 100));
	close(fd), close(f);
}

static void splicing(const struct net *n)
{
	int fd = connected(n, ECHO), p[2];
	char b[16] = "";

	say("pipe", pipe(p));
	say("write", write(p[1], "spliced", 7));
	say("splice into it", splice(p[0], NULL, fd, NULL, 7, 0));
	wait_for(fd, POLLIN, 3000);
	say("splice out of it", splice(fd, NULL, p[1], NULL, 7, 0));
	say_bytes("read", read(p[0], b, 7), b);
	set_blocking(fd, 0);
	say("splice, nothing there", splice(fd, NULL, p[1], NULL, 7, SPLICE_F_NONBLOCK));
	close(fd), close(p[0]), close(p[1]);
}

static void without_copying(const struct net *n)
{
	static char block[20000];
	char b[256], control[256];
	struct iovec v = { b, sizeof b };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int fd = connected(n, COUNTS);

	say("SO_ZEROCOPY", set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
	say("send", send(fd, block, sizeof block, MSG_ZEROCOPY));
	wait_for(fd, POLLERR, 3000);
	say("recvmsg ERRQUEUE", recvmsg(fd, &m, MSG_ERRQUEUE));
	line("  flags %x, control %d", m.msg_flags, m.msg_controllen > 0);
	pending_error("SO_ERROR", fd);
	shutdown(fd, SHUT_WR);
	take("recv", fd, 50, MSG_WAITALL);
	close(fd);
}

/* The first bytes go with the connection: tcp(7), MSG_FASTOPEN. */
static void fast_open(const struct net *n)
{
	struct where w = at(n->server, COUNTS);
	struct iovec v = { "by message", 10 };
	struct msghdr m = { .msg_name = &w.sa, .msg_namelen = w.len, .msg_iov = &v, .msg_iovlen = 1 };
	int fd = stream(n, 0);

	say("sendto FASTOPEN", sendto(fd, "at once", 7, MSG_FASTOPEN | MSG_NOSIGNAL, &w.sa, w.len));
	peer_name("getpeername", fd);
	say("shutdown", shutdown(fd, SHUT_WR));
	take("recv", fd, 50, MSG_WAITALL);
	close(fd);
	fd = stream(n, 0);
	say("sendmsg FASTOPEN", sendmsg(fd, &m, MSG_FASTOPEN | MSG_NOSIGNAL));
	say("shutdown", shutdown(fd, SHUT_WR));
	take("recv", fd, 50, MSG_WAITALL);
	close(fd);
	fd = stream(n, SOCK_NONBLOCK);
	say("sendto FASTOPEN, nonblocking", sendto(fd, "at once", 7, MSG_FASTOPEN | MSG_NOSIGNAL, &w.sa, w.len));
	say_poll("poll OUT", fd, POLLOUT, 5000);
	pending_error("SO_ERROR", fd);
	close(fd);
	fd = stream(n, 0);
	w = at(n->server, REFUSES);
	say("sendto FASTOPEN, refused", sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, &w.sa, w.len));
	close(fd);
	fd = stream(n, 0);
	say("send FASTOPEN, no address", send(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL));
	close(fd);
}

const struct scenario moves_scenarios[] = {
	{ "sendfile", BOTH, sending_files },
	{ "splice", BOTH, splicing },
	{ "zerocopy", V4, without_copying },
	{ "fast-open", BOTH, fast_open },
	{ 0 },
};
