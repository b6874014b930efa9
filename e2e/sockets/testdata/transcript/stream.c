/* Data on a TCP connection, and the ways in which it ends. */
#include "say.h"
#include <linux/sockios.h>

static void flags(const struct net *n)
{
	int fd = connected(n, ECHO);

	take("recv DONTWAIT", fd, 5, MSG_DONTWAIT);
	say("send", send_text(fd, "abcdefgh"));
	wait_for(fd, POLLIN, 5000);
	take("recv PEEK", fd, 3, MSG_PEEK);
	take("recv PEEK", fd, 8, MSG_PEEK | MSG_WAITALL);
	take("recv", fd, 3, 0);
	line("recv TRUNC = %zd", recv(fd, NULL, 2, MSG_TRUNC));
	take("recv WAITALL", fd, 3, MSG_WAITALL);
	take("recv DONTWAIT", fd, 3, MSG_DONTWAIT);
	take("recv ERRQUEUE", fd, 3, MSG_ERRQUEUE);
	take("recv OOB", fd, 3, MSG_OOB);
	say("send, nothing", send(fd, "", 0, 0));
	say("recv, no room", recv(fd, "", 0, MSG_DONTWAIT));
	say("send, bad pointer", send(fd, (void *)16, 5, MSG_NOSIGNAL));
	say("send MORE", send(fd, "ab", 2, MSG_MORE));
	say("send", send_text(fd, "cd"));
	take("recv WAITALL", fd, 4, MSG_WAITALL);
	close(fd);
}

/* Addresses do not matter to a stream: tcp(7). */
static void messages(const struct net *n)
{
	char a[4] = "", b[8] = "", control[256];
	struct where w = at(n->server, DEAF), from = { .len = sizeof from.room };
	struct iovec out[2] = { { "gather", 6 }, { "ed", 2 } }, in[2] = { { a, 3 }, { b, 5 } };
	struct msghdr m = { .msg_iov = out, .msg_iovlen = 2 };
	struct mmsghdr two[2] = { { .msg_hdr = m }, { .msg_hdr = m } };
	int fd = connected(n, ECHO);

	say("sendmsg", sendmsg(fd, &m, 0));
	m = (struct msghdr){ .msg_iov = in, .msg_iovlen = 2, .msg_name = &from.sa, .msg_namelen = sizeof from.room,
			     .msg_control = control, .msg_controllen = sizeof control };
	say("recvmsg", recvmsg(fd, &m, MSG_WAITALL));
	line("  \"%.3s\" \"%.5s\" name %u control %zu flags %x", a, b, m.msg_namelen, (size_t)m.msg_controllen, m.msg_flags);
	say("sendto, elsewhere", sendto(fd, "x", 1, MSG_NOSIGNAL, &w.sa, w.len));
	say("recvfrom", recvfrom(fd, a, 1, 0, &from.sa, &from.len));
	line("  name %u", from.len);
	say("sendmmsg", sendmmsg(fd, two, 2, 0));
	line("  %u %u", two[0].msg_len, two[1].msg_len);
	take("recv", fd, 16, MSG_WAITALL);
	say("writev", writev(fd, out, 2));
	say("readv", readv(fd, in, 2) > 0);
	say("write", write(fd, "w", 1));
	say("read", read(fd, a, 1));
	close(fd);
}

static void greeted(const struct net *n)
{
	int fd = connected(n, GREETS);

	wait_for(fd, POLLRDHUP, 5000);
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	take("recv", fd, 50, 0);
	take("recv", fd, 50, 0);
	say("send", send_text(fd, "still here"));
	say("shutdown", shutdown(fd, SHUT_WR));
	say("send", send_text(fd, "x"));
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	say("close", close(fd));
}

static void half_closed(const struct net *n)
{
	int fd = connected(n, COUNTS);

	say("send", send_text(fd, "twelve bytes"));
	say("shutdown WR", shutdown(fd, SHUT_WR));
	take("recv", fd, 50, MSG_WAITALL);
	close(fd);
	fd = connected(n, DEAF);
	say("shutdown WR", shutdown(fd, SHUT_WR));
	say("shutdown WR again", shutdown(fd, SHUT_WR));
	say("shutdown RDWR", shutdown(fd, SHUT_RDWR));
	close(fd);
	fd = connected(n, ECHO);
	say("shutdown RD", shutdown(fd, SHUT_RD));
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	take("recv", fd, 5, 0);
	say("send", send_text(fd, "x"));
	say("shutdown, how 3", shutdown(fd, 3));
	close(fd);
	fd = stream(n, 0);
	say("shutdown, not connected", shutdown(fd, SHUT_WR));
	close(fd);
}

static void reset_at_once(const struct net *n)
{
	int fd = connected(n, RESETS);

	wait_for(fd, POLLRDHUP, 5000);
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	pending_error("SO_ERROR", fd);
	pending_error("SO_ERROR", fd);
	take("recv", fd, 5, 0);
	say("send", send_text(fd, "x"));
	peer_name("getpeername", fd);
	close(fd);
	fd = connected(n, RESETS);
	wait_for(fd, POLLRDHUP, 5000);
	take("recv", fd, 5, 0);
	take("recv", fd, 5, 0);
	say("connect again", dial(fd, at(n->server, ECHO)));
	close(fd);
}

static void reset_later(const struct net *n)
{
	int fd = connected(n, RESETS_LATER);

	say("send", send_text(fd, "x"));
	take("recv", fd, 5, 0);
	take("recv", fd, 5, 0);
	say("send", send_text(fd, "x"));
	close(fd);
}

static void closed(const struct net *n)
{
	int fd = connected(n, CLOSES);

	take("recv", fd, 5, 0);
	say("send", send_text(fd, "nobody wants this"));
	wait_for(fd, POLLERR, 5000);
	say_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	say("send", send_text(fd, "x"));
	take("recv", fd, 5, 0);
	close(fd);
}

/* What the server sees of an end: of shutdown, close, close with data that was
 * not read, close with SO_LINGER 0, AF_UNSPEC, and of a process that dies. */
static void our_end(const struct net *n)
{
	struct linger zero = { 1, 0 };
	pid_t child;
	int fd;

	for (int i = 0; i < 6; i++) {
		fd = connected(n, ENDS);
		line("end %d", i);
		take("recv", fd, 6, MSG_WAITALL);
		switch (i) {
		case 0: say("shutdown", shutdown(fd, SHUT_WR)); take("recv", fd, 5, 0); break;
		case 1: say("close", close(fd)); break;
		case 2: say("send", send_text(fd, "more")); wait_for(fd, POLLIN, 5000); say("close", close(fd)); break;
		case 3: say("SO_LINGER", setsockopt(fd, SOL_SOCKET, SO_LINGER, &zero, sizeof zero)); say("close", close(fd)); break;
		case 4: say("connect AF_UNSPEC", dial(fd, at_family(AF_UNSPEC))); break;
		case 5:
			child = fork();
			if (child == 0)
				pause();
			close(fd);
			kill(child, SIGKILL);
			waitpid(child, NULL, 0);
		}
		how_ended(n);
	}
}

static void patience(const struct net *n)
{
	int fd = connected(n, ECHO);
	long long begin = now_ms();

	set_timeout(fd, SO_RCVTIMEO, 200);
	take("recv", fd, 5, 0);
	say_took(begin, 180, 3000);
	close(fd);
	fd = connected(n, LATE);
	begin = now_ms();
	say("send", send_text(fd, "x"));
	take("recv", fd, 50, 0);
	say_took(begin, 200, 4000);
	close(fd);
}

/* deafen - write until there is no more room; how much that is depends */
static long deafen(int fd)
{
	static char block[65536];
	long total = 0, k;

	while ((k = send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		total += k;
	return k < 0 && errno == EAGAIN ? total : k;
}

static void full(const struct net *n)
{
	int fd = connected(n, DEAF);
	long long begin;

	say_some("send until there is no room", deafen(fd));
	for (int i = 0; i < 10; i++) {
		int more = wait_for(fd, POLLOUT, 500); /* what is on its way makes some */

		if (deafen(fd) <= 0 && !more)
			break;
	}
	say_poll("poll", fd, POLLOUT, 100);
	set_timeout(fd, SO_SNDTIMEO, 200);
	begin = now_ms();
	say("send", send(fd, "x", 1, MSG_NOSIGNAL));
	say_took(begin, 180, 3000);
	close(fd);
}

static void counts(const struct net *n)
{
	int fd = connected(n, ECHO), k = -1;
	long long end = now_ms() + 3000;

	say("ioctl(SIOCINQ)", ioctl(fd, SIOCINQ, &k));
	line("  %d", k);
	say("send", send_text(fd, "seven b"));
	wait_for(fd, POLLIN, 5000);
	say("ioctl(FIONREAD)", ioctl(fd, FIONREAD, &k));
	line("  %d", k);
	do
		ioctl(fd, SIOCOUTQ, &k);
	while (k && now_ms() < end);
	say("ioctl(SIOCOUTQ)", ioctl(fd, SIOCOUTQ, &k));
	line("  %d", k);
	say("ioctl(SIOCATMARK)", ioctl(fd, SIOCATMARK, &k));
	line("  %d", k);
	say("ioctl(FIONREAD), bad pointer", ioctl(fd, FIONREAD, (void *)16));
	close(fd);
}

static void urgent(const struct net *n)
{
	int fd = connected(n, URGENT);

	say("send", send_text(fd, "x"));
	say_poll("poll PRI", fd, POLLPRI, 1500);
	take("recv OOB", fd, 5, MSG_OOB);
	say("send OOB", send(fd, "!", 1, MSG_OOB | MSG_NOSIGNAL));
	close(fd);
}

static void not_connected(const struct net *n)
{
	int fd = stream(n, 0);
	struct where w = at(n->server, ECHO);

	take("recv", fd, 5, 0);
	say("send", send_text(fd, "x"));
	say("sendto", sendto(fd, "x", 1, MSG_NOSIGNAL, &w.sa, w.len));
	say("read", read(fd, &w, 1));
	close(fd);
}

const struct scenario stream_scenarios[] = {
	{ "flags", BOTH, flags },
	{ "messages", BOTH, messages },
	{ "greeted", BOTH, greeted },
	{ "half-closed", BOTH, half_closed },
	{ "reset-at-once", BOTH, reset_at_once },
	{ "reset-later", BOTH, reset_later },
	{ "closed", BOTH, closed },
	{ "our-end", BOTH, our_end },
	{ "patience", V4, patience },
	{ "full", V4, full },
	{ "counts", BOTH, counts },
	{ "urgent", V4, urgent },
	{ "not-connected", BOTH, not_connected },
	{ 0 },
};
