/* What every scenario of the transcript uses: where things are, and how a call
 * and its result become a line. Nothing is printed that may differ from run to
 * run: addresses have names, ports that the system chose are PORT. */
#ifndef SAY_H
#define SAY_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Ports of the server; the test has the same list. */
enum {
	ECHO = 7,         /* gives back what comes; TCP and UDP */
	REFUSES = 2000,   /* nobody listens */
	RESETS = 2001,    /* resets a connection as soon as it is there */
	RESETS_LATER = 2002, /* resets it after the first byte */
	GREETS = 2003,    /* says "hello", then nothing more, and listens to the end */
	CLOSES = 2004,    /* closes it at once */
	COUNTS = 2005,    /* at the end of what comes, says how much that was */
	DEAF = 2006,      /* never reads */
	LATE = 2007,      /* answers the first byte after 0.3 s */
	URGENT = 2008,    /* sends an urgent byte between two others, after the first byte */
	ENDS = 2011,      /* how the last connection here ended is told by HOW_ENDED */
	HOW_ENDED = 2012,
	TWICE = 2013,     /* UDP: answers once by itself and once from port 2014 */
	BURST = 2015,     /* UDP: answers with as many datagrams as the first byte says */
};

/* A net is one way to speak of the same machines. */
struct net {
	const char *name;
	int family;
	const char *server, *me, *lo, *any;
	const char *drops;  /* packets to it vanish */
	const char *nobody; /* a router says that there is no such host */
	const char *far;    /* no route leads there */
};

/* A scenario that is ALONE uses a service of the server that has one client. */
enum { V4 = 1, V6 = 2, MAPPED = 4, BOTH = V4 | V6, ALL = V4 | V6 | MAPPED, ALONE = 8 };

/* A scenario is run once for each of its nets, in a process of its own. */
struct scenario {
	const char *name;
	unsigned nets;
	void (*run)(const struct net *n);
};

/* A where is an address as system calls take it. */
struct where {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage room;
	};
	socklen_t len;
};

extern const char *me4, *me6;
extern char run_name[8]; /* of this run alone, as long as any other's */
extern int full_port; /* its queue is full; who asks at the gate is let in, after 0.6 s */
extern int gate_port; /* each client has both for itself: see the test */
/* own and the 99 above are ports that scenarios choose for themselves; others in
 * every run, as a port is not free at once. */
extern int own;

void line(const char *format, ...) __attribute__((format(printf, 1, 2)));
long say(const char *call, long result);
long say_some(const char *call, long result);
void say_bytes(const char *call, long result, const char *bytes);
void say_name(const char *call, long result, const struct where *w);
void say_events(const char *call, int n, unsigned events);
void say_took(long long since, int from, int to);
const char *error_name(int err);
const char *events_name(unsigned events);
const char *where_name(const struct where *w);
const char *ip_name(const char *ip);
long long now_ms(void);

struct where at(const char *ip, int port);
struct where at_family(int family);
int stream(const struct net *n, int flags);
int datagram(const struct net *n, int flags);
int connected(const struct net *n, int port);
int dial(int fd, struct where w);
int listener(const struct net *n, const char *ip, int port);
int port_of(int fd);
void own_name(const char *call, int fd);
void peer_name(const char *call, int fd);
int pending_error(const char *call, int fd);
void wait_until_over(int fd);
short wait_for(int fd, short events, int ms);
void say_poll(const char *call, int fd, short events, int ms);
int set_int(int fd, int level, int name, int value);
void set_timeout(int fd, int name, int ms);
void set_blocking(int fd, int blocks);
long send_text(int fd, const char *text);
void take(const char *call, int fd, size_t size, int flags);
void echoes_are_back(const struct net *n);
void open_gate(const struct net *n);
void gate_is_closed(const struct net *n);
void how_ended(const struct net *n);

#endif
