/* Prints what socket calls do: transcript ME4 ME6 [GROUP…]
 *
 * Every scenario runs in a process of its own, for at most a time, so that one
 * that hangs or dies costs only itself. */
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
int own;

enum { LONGEST = 20 }; /* seconds */

/* run_one - run one scenario for one net, and say so if it did not end well */
static void run_one(const char *group, const struct scenario *s, const struct net *n)
{
	pid_t child;
	int status;

	line("== %s/%s %s", group, s->name, n->name);
	child = fork();
	if (child == 0) {
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
	own = 10000 + (int)(now_ms() / 100 % 200) * 100;
	signal(SIGPIPE, SIG_DFL);
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
		for (const struct scenario *s = groups[g].list; s->name; s++)
			for (int i = 0; i < 3; i++)
				if (s->nets & 1u << i && wanted(groups[g].name, s->name, argv + 3))
					run_one(groups[g].name, s, &nets[i]);
	return 0;
}
