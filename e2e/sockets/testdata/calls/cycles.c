/* The same again and again, and calls that are disturbed. */
#include "calls.h"

static int udp_too(const struct place *p)
{
	struct place any = *p;
	int fd = socket(p->addr.ss_family, SOCK_DGRAM, 0);

	if (fd < 0)
		return -1;
	sendto(fd, "x", 1, 0, (void *)&any.addr, any.len);
	return fd;
}

/* cycles IP PORT N DROPS: says "ready", waits for a line, then N times makes
 * sockets and lets go of them: never connected, connected, refused, pending, UDP.
 * Says "done" and waits for the end of its input. */
int cycles(char **argv)
{
	struct place p = place(argv[0], argv[1]), refuses = place(argv[0], "2000"), drops = place(argv[3], argv[1]);
	int fd;

	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 0;
	for (int i = 0; i < atoi(argv[2]); i++) {
		close(stream(&p, 0));
		fd = stream(&p, 0);
		if (connect(fd, (void *)&p.addr, p.len) || !echoes(fd))
			die("connect");
		close(fd);
		fd = stream(&p, 0);
		if (connect(fd, (void *)&refuses.addr, refuses.len) == 0 || errno != ECONNREFUSED)
			die("connect, refused");
		close(fd);
		fd = stream(&p, SOCK_NONBLOCK);
		connect(fd, (void *)&drops.addr, drops.len);
		close(fd);
		fd = udp_too(&p);
		if (fd >= 0)
			close(fd);
	}
	puts("done");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

static double begin;

/* handler - print at once: whoever reads it then lets the connection be made */
static void handler(int sig)
{
	char text[32];
	int ms = (int)((now() - begin) * 1000), n = snprintf(text, sizeof text, "handled %d.%03d\n", ms / 1000, ms % 1000);

	(void)sig;
	if (write(1, text, n) != n)
		_exit(3);
}

/* signals IP PORT MS [restart]: a blocking connect, with a signal after MS. Prints
 * when the handler ran, what connect returned, and when. */
int signals(char **argv)
{
	struct place p = place(argv[0], argv[1]);
	struct sigaction a = { .sa_handler = handler, .sa_flags = argv[3] ? SA_RESTART : 0 };
	int ms = atoi(argv[2]), fd = stream(&p, 0), err;
	struct itimerval t = { { 0, 0 }, { ms / 1000, ms % 1000 * 1000 } };

	sigaction(SIGALRM, &a, NULL);
	begin = now();
	setitimer(ITIMER_REAL, &t, NULL);
	err = connect(fd, (void *)&p.addr, p.len) ? errno : 0;
	printf("connect %s %.3f\n", err == EINTR ? "EINTR" : err ? strerror(err) : "0", now() - begin);
	return 0;
}
