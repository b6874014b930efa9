/* calls COMMAND IP PORT [MORE]: see each command. */
#include "calls.h"

void die(const char *what)
{
	fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
	exit(1);
}

struct place place(const char *ip, const char *port)
{
	struct place p = { .len = sizeof(struct sockaddr_in) };
	struct sockaddr_in *four = (void *)&p.addr;
	struct sockaddr_in6 *six = (void *)&p.addr;

	if (inet_pton(AF_INET, ip, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(atoi(port));
		return p;
	}
	memset(&p, 0, sizeof p);
	p.len = sizeof *six;
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(atoi(port));
	if (inet_pton(AF_INET6, ip, &six->sin6_addr) != 1)
		die(ip);
	return p;
}

int stream(const struct place *p, int flags)
{
	int fd = socket(p->addr.ss_family, SOCK_STREAM | flags, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* echoes - whether the other end gives back what is sent */
int echoes(int fd)
{
	char b[4] = "";

	return send(fd, "ping", 4, MSG_NOSIGNAL) == 4 && recv(fd, b, 4, MSG_WAITALL) == 4 && !memcmp(b, "ping", 4);
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*run)(char **argv); } commands[] = {
		{ "dial", dial }, { "many", many }, { "threads", threads },
		{ "kinds", kinds }, { "cycles", cycles }, { "signals", signals }, { "storm", storm },
	};

	for (size_t i = 0; argc > 3 && i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argv + 2);
	fprintf(stderr, "usage: calls COMMAND IP PORT [MORE]\n");
	return 2;
}
