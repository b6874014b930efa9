/* Lines of the transcript. */
#include "say.h"
#include <stdarg.h>

static const struct { int number; const char *name; } errors[] = {
#define E(x) { x, #x }
	E(EPERM), E(ENOENT), E(ESRCH), E(EINTR), E(EIO), E(EBADF), E(ECHILD), E(EAGAIN), E(ENOMEM), E(EACCES),
	E(EFAULT), E(EEXIST), E(ENODEV), E(ENOTDIR), E(EINVAL), E(EMFILE), E(ENOTTY), E(ESPIPE), E(EPIPE),
	E(EDOM), E(ENOSYS), E(ENOKEY), E(ENOTSOCK), E(EDESTADDRREQ), E(EMSGSIZE), E(EPROTOTYPE), E(ENOPROTOOPT),
	E(EPROTONOSUPPORT), E(ESOCKTNOSUPPORT), E(EOPNOTSUPP), E(EPFNOSUPPORT), E(EAFNOSUPPORT),
	E(EADDRINUSE), E(EADDRNOTAVAIL), E(ENETDOWN), E(ENETUNREACH), E(ENETRESET), E(ECONNABORTED),
	E(ECONNRESET), E(ENOBUFS), E(EISCONN), E(ENOTCONN), E(ESHUTDOWN), E(ETIMEDOUT), E(ECONNREFUSED),
	E(EHOSTDOWN), E(EHOSTUNREACH), E(EALREADY), E(EINPROGRESS), E(ENODATA), E(ENXIO), E(ELOOP), E(EBUSY), E(EROFS),
#undef E
};

/* error_name - the name of an errno, "0" of none */
const char *error_name(int err)
{
	static char other[16];

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].number == err)
			return errors[i].name;
	snprintf(other, sizeof other, "%d", err);
	return other;
}

/* line - print one line at once: processes and threads share the output */
void line(const char *format, ...)
{
	char text[1024];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof text - 1, format, args);
	va_end(args);
	if (n > (int)sizeof text - 2)
		n = sizeof text - 2;
	text[n++] = '\n';
	if (write(1, text, n) != n)
		_exit(3);
}

/* say - print a call and what it returned, which is returned, with errno as it
 * was */
long say(const char *call, long result)
{
	int err = errno;

	if (result < 0)
		line("%s = -1 %s", call, error_name(err));
	else
		line("%s = %ld", call, result);
	errno = err;
	return result;
}

/* say_some - the same for a count that depends on chance */
long say_some(const char *call, long result)
{
	if (result <= 0)
		return say(call, result);
	line("%s = some", call);
	return result;
}

/* say_bytes - the same with the bytes that were received */
void say_bytes(const char *call, long result, const char *bytes)
{
	char text[96];
	long n = 0;

	if (result < 0) {
		say(call, result);
		return;
	}
	for (; n < result && n < (long)sizeof text - 1; n++)
		text[n] = bytes[n] >= ' ' && bytes[n] <= '~' ? bytes[n] : '.';
	text[n] = 0;
	line("%s = %ld \"%s\"%s", call, result, text, n < result ? "…" : "");
}

/* ip_name - an address in words that are the same in every run */
const char *ip_name(const char *ip)
{
	static char mapped[INET6_ADDRSTRLEN + 8];

	if (!strcmp(ip, me4))
		return "ME4";
	if (!strcmp(ip, me6))
		return "ME6";
	if (!strcmp(ip, "10.9.0.1"))
		return "SERVER4";
	if (!strcmp(ip, "fd09::1"))
		return "SERVER6";
	if (!strncmp(ip, "::ffff:", 7)) {
		snprintf(mapped, sizeof mapped, "::ffff:%s", ip_name(ip + 7));
		return mapped;
	}
	return ip;
}

/* unix_name - of an abstract name what is behind the run's own */
static const char *unix_name(const struct where *w)
{
	if (w->len <= 2)
		return "";
	if (w->un.sun_path[0])
		return w->un.sun_path;
	return w->un.sun_path + 1 + (strncmp(w->un.sun_path + 1, run_name, strlen(run_name)) ? 0 : strlen(run_name));
}

/* where_name - an address with its length, in words that are the same in every
 * run */
const char *where_name(const struct where *w)
{
	static char text[200];
	char ip[INET6_ADDRSTRLEN] = "", port[16] = "PORT";
	int number;

	if (w->len < sizeof w->sa.sa_family) {
		snprintf(text, sizeof text, "nothing/%u", w->len);
		return text;
	}
	switch (w->sa.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &w->in.sin_addr, ip, sizeof ip);
		number = ntohs(w->in.sin_port);
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &w->in6.sin6_addr, ip, sizeof ip);
		number = ntohs(w->in6.sin6_port);
		break;
	case AF_UNIX:
		snprintf(text, sizeof text, "unix \"%s%s\"/%u", w->len > 2 && !w->un.sun_path[0] ? "@" : "", unix_name(w), w->len);
		return text;
	default:
		snprintf(text, sizeof text, "family %d/%u", w->sa.sa_family, w->len);
		return text;
	}
	if (number == full_port)
		snprintf(port, sizeof port, "FULL");
	else if (number < 10000)
		snprintf(port, sizeof port, "%d", number);
	else if (number >= own && number < own + 100)
		snprintf(port, sizeof port, "OWN+%d", number - own);
	snprintf(text, sizeof text, "%s %s/%u", ip_name(ip), port, w->len);
	return text;
}

/* say_name - print a call that returned an address */
void say_name(const char *call, long result, const struct where *w)
{
	if (result < 0)
		say(call, result);
	else
		line("%s = %ld %s", call, result, where_name(w));
}

/* events_name - the names of poll(2)'s and epoll(7)'s events, which have the
 * same bits */
const char *events_name(unsigned events)
{
	static const struct { unsigned bit; const char *name; } bits[] = {
		{ POLLIN, "IN" }, { POLLPRI, "PRI" }, { POLLOUT, "OUT" }, { POLLERR, "ERR" },
		{ POLLHUP, "HUP" }, { POLLNVAL, "NVAL" }, { 0x2000, "RDHUP" },
	};
	static char text[64];

	text[0] = 0;
	for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
		if (events & bits[i].bit) {
			strcat(text, text[0] ? "|" : "");
			strcat(text, bits[i].name);
		}
	return text[0] ? text : "nothing";
}

void say_events(const char *call, int n, unsigned events)
{
	if (n < 0)
		say(call, n);
	else
		line("%s = %d %s", call, n, n ? events_name(events) : "nothing");
}

long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* say_took - print whether the time since then was as expected, from..to ms */
void say_took(long long since, int from, int to)
{
	long long ms = now_ms() - since;

	if (ms >= from && ms <= to)
		line("  that took %d to %d ms", from, to);
	else
		line("  that took %lld ms, not %d to %d", ms, from, to);
}
