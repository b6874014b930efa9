/* Prints what socket calls do: transcript ME4 ME6 [GROUP…]
 *
 * Every scenario runs in a process of its own, for at most a time, so that one
 * that hangs or dies costs only itself. Most of them wait: some run at once, and
 * what they print is kept until it is their turn. */
#include "say.h"

#define GROUPS(X) X(connect) X(events) X(stream) X(moves) X(names) X(loopback) X(udp) X(udpmsg) X(udploop) \
	X(options) X(descriptors) X(signals) X(unixes) X(families)

#define DECLARE(g) extern const struct scenario g##_scenarios[];
GROUPS(DECLARE)

static const struct { const char *name; const struct scenario *list; } groups[] = {
#define ENTRY(g) { #g, g##_scenarios },
	GROUPS(ENTRY)
};

const char *me4, *me6;
char run_name[8];
int own, full_port, gate_port;

enum {
	LONGEST = 20, /* seconds that a scenario may take */
	AT_ONCE = 4,
	MANY = 512, /* more than there are */
};

/* A job is a scenario with its nets, which are run one after the other: they use
 * the same ports. */
struct job {
	const char *group;
	const struct scenario *scenario;
	unsigned nets;
	pid_t pid;
	int out; /* what it has printed */
	int done;
};

static struct job jobs[MANY];
static int njobs;

/* The services of the server that serve one at a time. */
static pthread_mutex_t *turn;

static void take_turn(void)
{
	if (pthread_mutex_lock(turn) == EOWNERDEAD)
		pthread_mutex_consistent(turn);
}

/* make_turn - a lock for all processes, that is free when its owner has died */
static void make_turn(void)
{
	pthread_mutexattr_t a;

	turn = mmap(NULL, sizeof *turn, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(turn, &a);
}

/* run_one - run one scenario for one net, and say so if it did not end well */
static void run_one(const char *group, const struct scenario *s, const struct net *n)
{
	pid_t child;
	int status;

	line("== %s/%s %s", group, s->name, n->name);
	child = fork();
	if (child == 0) {
		if (s->nets & ALONE)
			take_turn();
		alarm(LONGEST);
		s->run(n);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		say("run", -1);
	else if (WIFSIGNALED(status))
		line("(ended by signal %d)", WTERMSIG(status));
	else if (status)
		line("(ended with status %d)", WEXITSTATUS(status));
}

/* start - start a job. It has no descriptors but the usual ones: their numbers are
 * printed. */
static void start(struct job *j, const struct net *nets)
{
	int out = memfd_create("transcript", MFD_CLOEXEC);

	fcntl(out, F_SETFL, O_APPEND); /* of a memfd the offset is not one for all who write */
	j->pid = out < 0 ? -1 : fork();
	if (j->pid < 0) {
		perror("transcript");
		exit(1);
	}
	j->out = out;
	if (j->pid)
		return;
	dup2(out, 1);
	for (int i = 0; i < njobs; i++)
		if (jobs[i].out)
			close(jobs[i].out);
	for (int i = 0; i < 3; i++)
		if (j->nets & 1u << i)
			run_one(j->group, j->scenario, &nets[i]);
	_exit(0);
}

/* print - copy to the output what a job has printed */
static void print(struct job *j)
{
	char b[4096];
	ssize_t n;

	lseek(j->out, 0, SEEK_SET);
	while ((n = read(j->out, b, sizeof b)) > 0)
		if (write(1, b, n) != n)
			exit(3);
	close(j->out);
	j->out = 0;
}

/* run_all - run the jobs, and print them in their order */
static void run_all(const struct net *nets)
{
	int started = 0, ended = 0, printed = 0;

	while (printed < njobs) {
		pid_t child;

		while (started < njobs && started - ended < AT_ONCE)
			start(&jobs[started++], nets);
		child = waitpid(-1, NULL, 0);
		for (int i = 0; i < started; i++)
			if (child > 0 && jobs[i].pid == child) {
				jobs[i].done = 1;
				ended++;
			}
		for (; printed < njobs && jobs[printed].done; printed++)
			print(&jobs[printed]);
	}
}

/* wanted - whether a scenario of a group that was chosen is: "group" is all of
 * it, "group/scenario" is one */
static int wanted(const char *group, const char *scenario, char **names)
{
	size_t n = strlen(group);

	if (!*names)
		return 1;
	for (; *names; names++) {
		if (strncmp(*names, group, n))
			continue;
		if (!(*names)[n] || ((*names)[n] == '/' && !strcmp(*names + n + 1, scenario)))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	char mapped_me[INET6_ADDRSTRLEN + 8];
	struct net nets[] = {
		{ "v4", AF_INET, "10.9.0.1", 0, "127.0.0.1", "0.0.0.0", "10.9.0.66", "10.9.0.67", "203.0.113.1" },
		{ "v6", AF_INET6, "fd09::1", 0, "::1", "::", "fd09::66", "fd09::67", "2001:db8:99::1" },
		{ "mapped", AF_INET6, "::ffff:10.9.0.1", mapped_me, "::ffff:127.0.0.1", "::ffff:0.0.0.0",
		  "::ffff:10.9.0.66", "::ffff:10.9.0.67", "::ffff:203.0.113.1" },
	};

	if (argc < 3) {
		fprintf(stderr, "usage: transcript ME4 ME6 [GROUP[/SCENARIO]…]\n");
		return 2;
	}
	nets[0].me = me4 = argv[1];
	nets[1].me = me6 = argv[2];
	snprintf(mapped_me, sizeof mapped_me, "::ffff:%s", me4);
	full_port = 3000 + 2 * atoi(strrchr(me4, '.') + 1);
	gate_port = full_port + 1;
	snprintf(run_name, sizeof run_name, "run%d", full_port);
	own = 10000 + (int)(now_ms() / 100 % 59) * 100;
	signal(SIGPIPE, SIG_DFL);
	make_turn();
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
		for (const struct scenario *s = groups[g].list; s->name; s++)
			if (wanted(groups[g].name, s->name, argv + 3) && njobs < MANY)
				jobs[njobs++] = (struct job){ .group = groups[g].name, .scenario = s, .nets = s->nets };
	run_all(nets);
	return 0;
}
