/*
 * What the shim makes of answers: the parts of it that call nobody, with an ask()
 * that answers from memory. Made with the sanitizers, and shown answers that adit
 * would never give. Speaks TAP.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../shim/getaddrinfo.c"
#include "../shim/gethost.c"
#include "../shim/getnameinfo.c"
#include "../shim/resolver.c"
#include "../shim/text.c"

/* What ask() answers, and what it was asked. */
static struct {
	int result;
	struct wire_answer head;
	unsigned char data[WIRE_ANSWER_MAX];
	size_t parts[2];
} told;

int ask(struct question *q, int interrupts)
{
	(void)interrupts;
	told.parts[0] = q->parts[0].iov_len;
	told.parts[1] = q->parts[1].iov_len;
	if (told.result)
		return told.result;
	if (told.head.length > q->size)
		return ASK_LOST; /* recvmsg would have cut it */
	memcpy(q->room, told.data, told.head.length);
	q->answer = told.head;
	return 0;
}

static int number, bad;

static void ok(const char *what, int good)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++number, what);
	bad += !good;
}

static void tell(int error, int value, const void *data, size_t n)
{
	told.result = 0;
	told.head = (struct wire_answer){error, value, (uint32_t)n};
	if (n)
		memcpy(told.data, data, n);
}

static void addrinfo(void)
{
	struct {
		char name[4];
		struct wire_address a[2];
	} data = {"www", {{AF_INET, SOCK_STREAM, IPPROTO_TCP, 16, {AF_INET}},
			  {AF_INET6, SOCK_STREAM, IPPROTO_TCP, 28, {AF_INET6}}}};
	struct addrinfo hints = {.ai_flags = AI_CANONNAME}, *list = NULL;

	tell(0, 0, &data, sizeof(data));
	int r = getaddrinfo("a", "b", &hints, &list);
	ok("two addresses", !r && list && list->ai_next && !list->ai_next->ai_next);
	ok("the first with the name", list && !strcmp(list->ai_canonname, "www"));
	ok("the second without", list && !list->ai_next->ai_canonname);
	ok("lengths", list && list->ai_addrlen == 16 && list->ai_next->ai_addrlen == 28);
	ok("flags as asked", list && list->ai_flags == AI_CANONNAME);

	/* A part of a list may be freed before the rest, as in glibc. */
	struct addrinfo *rest = list->ai_next;
	list->ai_next = NULL;
	freeaddrinfo(list);
	ok("a part is freed, the other is there", rest->ai_family == AF_INET6);
	freeaddrinfo(rest);

	tell(0, 0, &data, sizeof(data) - 1);
	ok("a cut list is none", getaddrinfo("a", "b", NULL, &list) == EAI_MEMORY);
	data.a[1].length = 29;
	tell(0, 0, &data, sizeof(data));
	ok("an address that is too long is none", getaddrinfo("a", "b", NULL, &list) == EAI_MEMORY);
	tell(0, 0, "www", 3);
	ok("a name without an end", getaddrinfo("a", "b", NULL, &list) == EAI_FAIL);
	tell(0, 0, "", 0);
	ok("nothing", getaddrinfo("a", "b", NULL, &list) == EAI_FAIL);
	told.result = ASK_LOST;
	ok("nobody", getaddrinfo("a", "b", NULL, &list) == EAI_AGAIN);

	char longest[2 * NODE_MAX];
	memset(longest, 'a', sizeof(longest));
	longest[NODE_MAX + 1] = 0;
	ok("too long a name", getaddrinfo(longest, NULL, NULL, &list) == EAI_NONAME);
	longest[NODE_MAX] = 0;
	ok("the longest", getaddrinfo(longest, NULL, NULL, &list) == EAI_AGAIN &&
				  told.parts[0] == NODE_MAX + 2 && told.parts[1] == 1);
	ok("too long a service", getaddrinfo("a", longest, NULL, &list) == EAI_SERVICE);
}

static void host(void)
{
	static const char data[] = "\x0a\x09\x00\x01\x0a\x09\x00\x02host\0alias";
	struct hostent h, *result;
	char *buffer;
	int h_error, fits = 0;

	/* Each size of a buffer, byte for byte, at an odd address: it fits or not, and
	 * the sanitizer sees to the rest. */
	for (size_t size = 0; size < 128; size++) {
		buffer = malloc(size + 1);
		tell(0, 2, data, sizeof(data));
		int r = gethostbyname_r("a", &h, buffer + 1, size, &result, &h_error);
		if (r == 0) {
			fits = fits ? fits : (int)size;
			if (strcmp(h.h_name, "host") || strcmp(h.h_aliases[0], "alias") ||
			    h.h_aliases[1] || h.h_addr_list[2] || h.h_addr_list[1][3] != 2)
				ok("a host is whole", 0);
		} else if (r != ERANGE || result || fits) {
			ok("a host that does not fit is none", 0);
		}
		free(buffer);
	}
	ok("a host fits where it has room, and nowhere else", fits > 0);

	/* The most that there may be: bytes, and names of them. */
	static char most[WIRE_ANSWER_MAX];
	for (size_t i = 5; i < sizeof(most); i++)
		most[i] = i % 16 ? 'a' : 0;
	most[sizeof(most) - 1] = 0;
	tell(0, 1, most, sizeof(most));
	ok("a host of many names has room", gethostbyname("a") != NULL);

	tell(0, 3, data, 12);
	buffer = malloc(512);
	errno = 0;
	ok("more addresses than there are", gethostbyname_r("a", &h, buffer, 512, &result, &h_error) == ERANGE && errno == ERANGE);
	tell(0, -1, data, sizeof(data));
	ok("fewer than none", gethostbyname_r("a", &h, buffer, 512, &result, &h_error) == ERANGE);
	tell(0, 1, data, 4);
	ok("no name", gethostbyname_r("a", &h, buffer, 512, &result, &h_error) == ERANGE);
	free(buffer);
}

static void name(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	char host[5], service[5];

	tell(0, 0, "host\0http", 10);
	ok("a name that just fits", !getnameinfo((struct sockaddr *)&a, sizeof(a), host, 5, service, 5, 0) &&
					    !strcmp(host, "host") && !strcmp(service, "http"));
	ok("one that does not", getnameinfo((struct sockaddr *)&a, sizeof(a), host, 4, service, 5, 0) == EAI_OVERFLOW);
	ok("one that is not wanted", !getnameinfo((struct sockaddr *)&a, sizeof(a), NULL, 0, service, 5, 0));
	tell(0, 0, "host", 5);
	ok("no service", getnameinfo((struct sockaddr *)&a, sizeof(a), host, 5, service, 5, 0) == EAI_OVERFLOW);
}

static void records(void)
{
	unsigned char answer[16];

	tell(0, 40, "0123456789abcdef", 16);
	ok("a message that is longer than its room", res_query("a", 1, 1, answer, 16) == 40);
	told.result = ASK_LOST;
	errno = 0;
	ok("no answer to a message", res_send(answer, 12, answer, 16) == -1 && errno == ETIMEDOUT);
	tell(0, 40, "0123456789abcdef", 16);
	ok("a room of less than nothing", res_query("a", 1, 1, answer, -1) == -1);
	char longest[2 * DOMAIN_MAX];
	memset(longest, 'a', sizeof(longest));
	longest[DOMAIN_MAX] = 0;
	tell(0, 0, "", 0);
	ok("the longest name in a domain", res_querydomain(longest, "b", 1, 1, answer, 16) == 0);
	ok("too long a domain", res_querydomain("b", longest, 1, 1, answer, 16) == 0 && told.parts[0] == 1);
}

/* Answers of any bytes: nothing is read or written where it must not be. */
static void anything(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	struct addrinfo *list;
	struct hostent h, *result;
	char *buffer;
	int h_error;

	srand(1);
	for (int round = 0; round < 20000; round++) {
		size_t n = (size_t)rand() % 300, size = (size_t)rand() % 300;
		for (size_t i = 0; i < n; i++)
			told.data[i] = (unsigned char)(rand() % 3 ? rand() % 4 : rand());
		tell(rand() % 8 ? 0 : rand() % 5, rand() % 8, NULL, 0);
		told.head.length = (uint32_t)n;
		if (getaddrinfo("a", NULL, NULL, &list) == 0)
			freeaddrinfo(list);
		buffer = malloc(size);
		gethostbyname2_r("a", rand() % 2 ? AF_INET : AF_INET6, &h, buffer, size, &result, &h_error);
		getnameinfo((struct sockaddr *)&a, sizeof(a), buffer, (socklen_t)size, NULL, 0, 0);
		res_query("a", 1, 1, (unsigned char *)buffer, (int)size);
		free(buffer);
	}
	ok("any bytes at all", 1);
}

int main(void)
{
	addrinfo();
	host();
	name();
	records();
	anything();
	printf("1..%d\n", number);
	return bad != 0;
}
