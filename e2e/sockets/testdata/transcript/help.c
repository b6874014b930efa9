/* Steps that many scenarios share. */
#include "say.h"

/* at - an address; ip may be of either family */
struct where at(const char *ip, int port)
{
	struct where w = { .len = sizeof w.in };

	w.in.sin_family = AF_INET;
	w.in.sin_port = htons(port);
	if (strchr(ip, ':')) {
		w.len = sizeof w.in6;
		w.in6.sin6_family = AF_INET6;
		inet_pton(AF_INET6, ip, &w.in6.sin6_addr);
	} else {
		inet_pton(AF_INET, ip, &w.in.sin_addr);
	}
	return w;
}

/* at_family - an address that is nothing but its family, of full length */
struct where at_family(int family)
{
	struct where w = { .len = sizeof w.in };

	w.sa.sa_family = family;
	return w;
}

int stream(const struct net *n, int flags)
{
	return socket(n->family, SOCK_STREAM | flags, 0);
}

int datagram(const struct net *n, int flags)
{
	return socket(n->family, SOCK_DGRAM | flags, 0);
}

int dial(int fd, struct where w)
{
	return connect(fd, &w.sa, w.len);
}

/* connected - a stream to a port of the server; says so only if it fails */
int connected(const struct net *n, int port)
{
	int fd = stream(n, 0);

	if (fd < 0 || dial(fd, at(n->server, port)) < 0)
		say("connect for what follows", -1);
	return fd;
}

/* listener - a stream socket that listens */
int listener(const struct net *n, const char *ip, int port)
{
	struct where w = at(ip, port);
	int fd = stream(n, 0);

	if (fd < 0 || bind(fd, &w.sa, w.len) < 0 || listen(fd, 8) < 0)
		say("listen for what follows", -1);
	return fd;
}

int port_of(int fd)
{
	struct where w = { .len = sizeof w.room };

	if (getsockname(fd, &w.sa, &w.len) < 0)
		return -1;
	return ntohs(w.sa.sa_family == AF_INET ? w.in.sin_port : w.in6.sin6_port);
}

void own_name(const char *call, int fd)
{
	struct where w = { .len = sizeof w.room };
	int r = getsockname(fd, &w.sa, &w.len);

	say_name(call, r, &w);
}

void peer_name(const char *call, int fd)
{
	struct where w = { .len = sizeof w.room };
	int r = getpeername(fd, &w.sa, &w.len);

	say_name(call, r, &w);
}

/* pending_error - print and return what SO_ERROR holds */
int pending_error(const char *call, int fd)
{
	int err = -1;
	socklen_t len = sizeof err;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		say(call, -1);
	else
		line("%s = %s", call, error_name(err));
	return err;
}

/* wait_for - wait until one of the events is there
 * Return: those that are, 0 if none came in time */
short wait_for(int fd, short events, int ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, ms) > 0 ? p.revents : 0;
}

/* wait_until_over - wait until a connection was refused, or has ended in another
 * way, with the last of its events */
void wait_until_over(int fd)
{
	for (long long end = now_ms() + 5000; !(wait_for(fd, POLLRDHUP, 5000) & POLLRDHUP) && now_ms() < end;)
		usleep(1000);
}

/* say_poll - wait, and print what is there. An error comes in steps, of which
 * the last is meant. */
void say_poll(const char *call, int fd, short events, int ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n = poll(&p, 1, ms);

	for (int i = 0; i < 30 && n > 0 && p.revents & (POLLERR | POLLHUP) && !(p.revents & POLLRDHUP); i++) {
		if (i > 1 && !(events & POLLRDHUP))
			break;
		usleep(10000);
		n = poll(&p, 1, 0);
	}
	say_events(call, n, p.revents);
}

int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

/* set_timeout - SO_RCVTIMEO or SO_SNDTIMEO */
void set_timeout(int fd, int name, int ms)
{
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };

	if (setsockopt(fd, SOL_SOCKET, name, &t, sizeof t) < 0)
		say("setsockopt of a timeout", -1);
}

void set_blocking(int fd, int blocks)
{
	int flags = fcntl(fd, F_GETFL);

	if (fcntl(fd, F_SETFL, blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) < 0)
		say("fcntl of O_NONBLOCK", -1);
}

long send_text(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* take - receive and print */
void take(const char *call, int fd, size_t size, int flags)
{
	char b[256];

	say_bytes(call, recv(fd, b, size < sizeof b ? size : sizeof b, flags), b);
}

/* echoes_are_back - wait until what other sockets have sent to ECHO may be back: it
 * answers in turn, so one that is asked later is answered later */
void echoes_are_back(const struct net *n)
{
	struct where w = at(n->server, ECHO);
	int fd = datagram(n, 0);

	if (sendto(fd, "and now?", 8, 0, &w.sa, w.len) == 8)
		wait_for(fd, POLLIN, 3000);
	close(fd);
}

/* ask_gate - say one byte to the gate, and wait for the answer */
static void ask_gate(const struct net *n, const char *order)
{
	char b;
	int fd = connected(n, gate_port);

	if (send(fd, order, 1, MSG_NOSIGNAL) != 1 || recv(fd, &b, 1, 0) != 1)
		say("ask the gate", -1);
	close(fd);
}

/* open_gate - have the server let in one of those who wait in the full queue, in a moment.
 * When this returns the queue is still full. */
void open_gate(const struct net *n)
{
	ask_gate(n, "o");
}

/* gate_is_closed - wait until the queue is full, whoever was let in before */
void gate_is_closed(const struct net *n)
{
	ask_gate(n, "w");
}

/* how_ended - print what the server saw of the last connection to ENDS */
void how_ended(const struct net *n)
{
	char b[64];
	int fd = connected(n, HOW_ENDED);
	ssize_t got = recv(fd, b, sizeof b, MSG_WAITALL);

	say_bytes("  the server saw", got, b);
	close(fd);
}
