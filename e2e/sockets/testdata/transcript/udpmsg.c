/* UDP by messages: vectors, several at a time, flags, control data. */
#include "say.h"
#include <netinet/udp.h>

/* A message is all that recvmsg needs. */
struct message {
	struct msghdr h;
	struct iovec iov[2];
	struct where from;
	char data[2][512];
	union { struct cmsghdr align; char room[512]; } control;
};

static struct msghdr *message(struct message *m, size_t first, size_t second)
{
	memset(m, 0, sizeof *m);
	m->iov[0] = (struct iovec){ m->data[0], first };
	m->iov[1] = (struct iovec){ m->data[1], second };
	m->h = (struct msghdr){ .msg_name = &m->from.sa, .msg_namelen = sizeof m->from.room, .msg_iov = m->iov,
				.msg_iovlen = second ? 2 : 1, .msg_control = m->control.room,
				.msg_controllen = sizeof m->control.room };
	return &m->h;
}

/* say_control - print which control messages there are, and what they say */
static void say_control(struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		struct where w = { .len = 0 };
		int value = -1;

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			w = at("0.0.0.0", 0);
			w.in.sin_addr = ((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			w = at("::", 0);
			w.in6.sin6_addr = ((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr;
		} else if (c->cmsg_len == CMSG_LEN(1)) {
			value = *CMSG_DATA(c);
		} else if (c->cmsg_len == CMSG_LEN(4)) {
			memcpy(&value, CMSG_DATA(c), 4);
		}
		line("  control %d/%d, %zu bytes%s%s", c->cmsg_level, c->cmsg_type, (size_t)(c->cmsg_len - CMSG_LEN(0)),
		     w.len || value >= 0 ? ", " : "", w.len ? where_name(&w) : value < 0 ? "" : value ? "not zero" : "zero");
	}
}

static void say_message(const char *call, ssize_t r, struct message *m)
{
	if (r < 0) {
		say(call, r);
		return;
	}
	m->from.len = m->h.msg_namelen;
	line("%s = %zd \"%.40s\" \"%.40s\" flags %x", call, r, m->data[0], m->data[1], m->h.msg_flags);
	line("  from %s", where_name(&m->from));
	say_control(&m->h);
}

/* patient - a socket from which nothing is awaited for ever */
static int patient(const struct net *n)
{
	int fd = datagram(n, 0);

	set_timeout(fd, SO_RCVTIMEO, 2000);
	return fd;
}

static long echo(int fd, struct where w, const char *text)
{
	return sendto(fd, text, strlen(text), 0, &w.sa, w.len);
}

static void vectors(const struct net *n)
{
	struct where w = at(n->server, ECHO);
	struct iovec out[3] = { { "one", 3 }, { "", 0 }, { "two", 3 } };
	struct msghdr h = { .msg_name = &w.sa, .msg_namelen = w.len, .msg_iov = out, .msg_iovlen = 3 };
	struct message m;
	int fd = patient(n);

	say("sendmsg", sendmsg(fd, &h, 0));
	say_message("recvmsg", recvmsg(fd, message(&m, 4, 100), 0), &m);
	say("connect", dial(fd, w));
	h.msg_name = NULL, h.msg_namelen = 0;
	say("sendmsg, no name", sendmsg(fd, &h, 0));
	say_message("recvmsg", recvmsg(fd, message(&m, 100, 0), 0), &m);
	say("writev", writev(fd, out, 3));
	say("readv", readv(fd, (message(&m, 2, 20), m.iov), 2));
	h.msg_iovlen = 0;
	say("sendmsg, no vector", sendmsg(fd, &h, 0));
	say_message("recvmsg", recvmsg(fd, message(&m, 100, 0), 0), &m);
	h.msg_iovlen = 5000;
	say("sendmsg, 5000 vectors", sendmsg(fd, &h, 0));
	h.msg_iovlen = 1, h.msg_iov = (void *)16;
	say("sendmsg, bad vector", sendmsg(fd, &h, 0));
	say("sendmsg, no message", sendmsg(fd, NULL, 0));
	say("recvmsg, no message", recvmsg(fd, NULL, MSG_DONTWAIT));
	close(fd);
}

static void flags(const struct net *n)
{
	struct where w = at(n->server, ECHO);
	struct message m;
	char b[64];
	int fd = patient(n);

	say_message("recvmsg DONTWAIT", recvmsg(fd, message(&m, 10, 0), MSG_DONTWAIT), &m);
	echo(fd, w, "0123456789");
	say_message("recvmsg PEEK", recvmsg(fd, message(&m, 3, 0), MSG_PEEK), &m);
	say_message("recvmsg PEEK TRUNC", recvmsg(fd, message(&m, 3, 0), MSG_PEEK | MSG_TRUNC), &m);
	say_message("recvmsg, room for 4", recvmsg(fd, message(&m, 4, 0), 0), &m);
	say_message("recvmsg, the rest is gone", recvmsg(fd, message(&m, 4, 0), MSG_DONTWAIT), &m);
	echo(fd, w, "0123456789");
	wait_for(fd, POLLIN, 3000);
	say("recv, room for 4, TRUNC", recv(fd, b, 4, MSG_TRUNC));
	echo(fd, w, "0123456789");
	wait_for(fd, POLLIN, 3000);
	say("recv PEEK TRUNC, no room", recv(fd, b, 0, MSG_PEEK | MSG_TRUNC));
	say("read, room for 4", read(fd, b, 4));
	echo(fd, w, "0123456789");
	say("recv, no room", recv(fd, b, 0, 0));
	take("recv DONTWAIT", fd, 9, MSG_DONTWAIT);
	take("recv ERRQUEUE", fd, 9, MSG_ERRQUEUE);
	say("sendto MORE", sendto(fd, "ab", 2, MSG_MORE, &w.sa, w.len));
	say("sendto, the rest", echo(fd, w, "cd"));
	take("recv", fd, 9, 0);
	say("sendto CONFIRM", sendto(fd, "x", 1, MSG_CONFIRM, &w.sa, w.len));
	take("recv WAITALL", fd, 9, MSG_WAITALL);
	close(fd);
}

static void empty(const struct net *n)
{
	struct where w = at(n->server, ECHO), from = { .len = sizeof from.room };
	struct message m;
	char b[4];
	int fd = patient(n);

	say("sendto", echo(fd, w, ""));
	say_poll("poll", fd, POLLIN, 3000);
	say("recvfrom", recvfrom(fd, b, 4, 0, &from.sa, &from.len));
	line("  from %s", where_name(&from));
	dial(fd, w);
	say("send", send(fd, "", 0, 0));
	say_message("recvmsg", recvmsg(fd, message(&m, 10, 0), 0), &m);
	say("write", write(fd, "", 0));
	say_poll("poll", fd, POLLIN, 300);
	close(fd);
}

static void several(const struct net *n)
{
	struct where w = at(n->server, ECHO);
	struct iovec out[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } };
	struct mmsghdr s[3] = { 0 }, r[4] = { 0 };
	struct timespec second = { 1, 0 };
	struct message m[4];
	int fd = patient(n), got;

	for (int i = 0; i < 3; i++)
		s[i].msg_hdr = (struct msghdr){ .msg_name = &w.sa, .msg_namelen = w.len, .msg_iov = &out[i], .msg_iovlen = 1 };
	for (int i = 0; i < 4; i++)
		r[i].msg_hdr = *message(&m[i], 10, 0);
	say("sendmmsg", sendmmsg(fd, s, 3, 0));
	line("  %u %u %u", s[0].msg_len, s[1].msg_len, s[2].msg_len);
	echoes_are_back(n);
	usleep(300000);
	got = recvmmsg(fd, r, 4, MSG_WAITFORONE, &second);
	say("recvmmsg WAITFORONE", got);
	for (int i = 0; i < got; i++) {
		m[i].h = r[i].msg_hdr;
		say_message("  one", r[i].msg_len, &m[i]);
	}
	say("recvmmsg DONTWAIT", recvmmsg(fd, r, 4, MSG_DONTWAIT, NULL));
	s[1].msg_hdr.msg_name = (void *)16;
	say("sendmmsg, the second is bad", sendmmsg(fd, s, 3, 0));
	s[0].msg_hdr.msg_name = (void *)16;
	say("sendmmsg, the first is bad", sendmmsg(fd, s, 3, 0));
	say("sendmmsg, none", sendmmsg(fd, s, 0, 0));
	say("recvmmsg, none", recvmmsg(fd, r, 0, MSG_DONTWAIT, NULL));
	dial(fd, w);
	s[0].msg_hdr.msg_name = s[1].msg_hdr.msg_name = NULL;
	s[0].msg_hdr.msg_namelen = s[1].msg_hdr.msg_namelen = 0;
	say("sendmmsg, connected", sendmmsg(fd, s, 2, 0));
	close(fd);
}

/* send_with - send with one control message
 * @ones: fill with bytes of 1, as opposed to 0 */
static void send_with(const char *call, int fd, struct where w, int level, int type, size_t size, int ones)
{
	union { struct cmsghdr align; char room[128]; } c;
	struct iovec v = { "controlled", 10 };
	struct msghdr h = { .msg_name = &w.sa, .msg_namelen = w.len, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.room,
			    .msg_controllen = CMSG_SPACE(size) };
	struct cmsghdr *m = CMSG_FIRSTHDR(&h);

	memset(&c, 0, sizeof c);
	m->cmsg_level = level, m->cmsg_type = type, m->cmsg_len = CMSG_LEN(size);
	if (ones)
		*CMSG_DATA(m) = 1;
	if (say(call, sendmsg(fd, &h, 0)) > 0)
		take("  recv", fd, 20, 0);
}

static void control_sent(const struct net *n)
{
	struct where w = at(n->server, ECHO);
	int fd = patient(n), v6 = n->family == AF_INET6;

	if (v6) {
		send_with("TCLASS", fd, w, IPPROTO_IPV6, IPV6_TCLASS, 4, 1);
		send_with("HOPLIMIT", fd, w, IPPROTO_IPV6, IPV6_HOPLIMIT, 4, 1);
		send_with("PKTINFO, of zeroes", fd, w, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(struct in6_pktinfo), 0);
		send_with("TCLASS, too short", fd, w, IPPROTO_IPV6, IPV6_TCLASS, 1, 0);
	} else {
		send_with("TOS", fd, w, IPPROTO_IP, IP_TOS, 4, 1);
		send_with("TOS, one byte", fd, w, IPPROTO_IP, IP_TOS, 1, 1);
		send_with("TTL", fd, w, IPPROTO_IP, IP_TTL, 4, 1);
		send_with("PKTINFO, of zeroes", fd, w, IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo), 0);
		send_with("TTL of 0", fd, w, IPPROTO_IP, IP_TTL, 4, 0);
	}
	send_with("unknown of the socket's level", fd, w, SOL_SOCKET, 99, 4, 0);
	send_with("of a level that there is not", fd, w, 250, 1, 4, 0);
	close(fd);
}

static void control_received(const struct net *n)
{
	int fd = patient(n), v6 = n->family == AF_INET6;
	struct where w = at(n->server, ECHO);
	struct message m;

	if (v6) {
		say("RECVPKTINFO", set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
		say("RECVTCLASS", set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1));
		say("RECVHOPLIMIT", set_int(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
	} else {
		say("PKTINFO", set_int(fd, IPPROTO_IP, IP_PKTINFO, 1));
		say("RECVTOS", set_int(fd, IPPROTO_IP, IP_RECVTOS, 1));
		say("RECVTTL", set_int(fd, IPPROTO_IP, IP_RECVTTL, 1));
	}
	say("sendto", echo(fd, w, "informed"));
	say_message("recvmsg", recvmsg(fd, message(&m, 100, 0), 0), &m);
	say("sendto", echo(fd, w, "informed"));
	wait_for(fd, POLLIN, 3000);
	message(&m, 100, 0);
	m.h.msg_controllen = 4;
	say_message("recvmsg, little room for control", recvmsg(fd, &m.h, 0), &m);
	say("SO_TIMESTAMP", set_int(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
	say("sendto", echo(fd, w, "informed"));
	say_message("recvmsg", recvmsg(fd, message(&m, 100, 0), 0), &m);
	close(fd);
}

/* gathered - whether so many bytes come back, in datagrams of at most a size */
static void gathered(int fd, int bytes, int most)
{
	char b[2000];
	int total = 0, k, pieces = 0;

	while (total < bytes && (k = recv(fd, b, sizeof b, 0)) > 0 && k <= most)
		total += k, pieces++;
	line("  %d bytes in %d pieces", total, pieces);
}

static void segments(const struct net *n)
{
	static char b[4000];
	uint16_t size = 700;
	struct iovec v = { b, 2500 };
	union { struct cmsghdr align; char room[CMSG_SPACE(2)]; } c = { 0 };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.room, .msg_controllen = sizeof c.room };
	struct cmsghdr *m = CMSG_FIRSTHDR(&h);
	int fd = patient(n), value = -1;
	socklen_t len = sizeof value;

	dial(fd, at(n->server, ECHO));
	say("UDP_SEGMENT", set_int(fd, IPPROTO_UDP, UDP_SEGMENT, 1000));
	say("getsockopt(UDP_SEGMENT)", getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &len));
	line("  %d", value);
	say("send 2500", send(fd, b, 2500, 0));
	gathered(fd, 2500, 1000);
	m->cmsg_level = IPPROTO_UDP, m->cmsg_type = UDP_SEGMENT, m->cmsg_len = CMSG_LEN(2);
	memcpy(CMSG_DATA(m), &size, 2);
	say("sendmsg with UDP_SEGMENT", sendmsg(fd, &h, 0));
	gathered(fd, 2500, 700);
	size = 0;
	memcpy(CMSG_DATA(m), &size, 2);
	v.iov_len = 100;
	say("sendmsg with UDP_SEGMENT 0", sendmsg(fd, &h, 0) > 0);
	say("UDP_SEGMENT, too large", set_int(fd, IPPROTO_UDP, UDP_SEGMENT, 70000));
	say("UDP_SEGMENT, off", set_int(fd, IPPROTO_UDP, UDP_SEGMENT, 0));
	say("UDP_GRO", set_int(fd, IPPROTO_UDP, UDP_GRO, 1));
	close(fd);
}

static void burst(const struct net *n)
{
	char b[64], count = 100;
	int fd = patient(n), got = 0;

	dial(fd, at(n->server, BURST));
	say("send", send(fd, &count, 1, 0));
	set_timeout(fd, SO_RCVTIMEO, 1000);
	for (int i = 0; i < 100 && recv(fd, b, sizeof b, 0) > 0; i++)
		got += b[0] == (char)i;
	line("in order = %d", got);
	close(fd);
}

static void patience(const struct net *n)
{
	int fd = datagram(n, 0);
	struct where w = { .len = sizeof w.room };
	struct message m;
	long long begin = now_ms();
	char b[8];

	set_timeout(fd, SO_RCVTIMEO, 200);
	take("recv", fd, 5, 0);
	say_took(begin, 180, 3000);
	begin = now_ms();
	say("recvfrom", recvfrom(fd, b, 8, 0, &w.sa, &w.len));
	say_took(begin, 180, 3000);
	begin = now_ms();
	say_message("recvmsg", recvmsg(fd, message(&m, 10, 0), 0), &m);
	say_took(begin, 180, 3000);
	close(fd);
}

const struct scenario udpmsg_scenarios[] = {
	{ "vectors", ALL, vectors },
	{ "flags", BOTH, flags },
	{ "empty", BOTH, empty },
	{ "several", BOTH, several },
	{ "control-sent", BOTH, control_sent },
	{ "control-received", BOTH, control_received },
	{ "segments", BOTH, segments },
	{ "burst", BOTH, burst },
	{ "patience", V4, patience },
	{ 0 },
};
