/*
 * The part of the test program that asks for names.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

static void look(const char *node, const char *service, int family, int type, int protocol, int flags)
{
	struct addrinfo hints = {.ai_flags = flags, .ai_family = family, .ai_socktype = type,
				 .ai_protocol = protocol}, *list = NULL;
	int r = getaddrinfo(node, service, &hints, &list);

	printf("%s %s family %d type %d protocol %d flags %#x: %d\n", node ? node : "-",
	       service ? service : "-", family, type, protocol, flags, r);
	for (struct addrinfo *i = r ? NULL : list; i; i = i->ai_next) {
		memcpy(&address, i->ai_addr, i->ai_addrlen);
		length = i->ai_addrlen;
		printf("  family %d type %d protocol %d ", i->ai_family, i->ai_socktype, i->ai_protocol);
		/* musl says a canonical name where nobody asked for it. */
		if (flags & AI_CANONNAME)
			printf("canonical %s ", i->ai_canonname ? i->ai_canonname : "-");
		show("address", 1);
	}
	if (!r)
		freeaddrinfo(list);
}

/* What files and the texts themselves say, which is the same without adit. */
int local_names(void)
{
	static const struct {
		const char *node, *service;
		int family, type, protocol, flags;
	} rows[] = {
		{NULL, "80", 0, SOCK_STREAM, 0, AI_PASSIVE},
		{NULL, "80", 0, SOCK_STREAM, 0, 0},
		{NULL, NULL, 0, 0, 0, 0},
		{"localhost", "80", AF_INET, 0, 0, 0},
		{"localhost", "http", AF_INET, 0, 0, AI_CANONNAME},
		{"LOCALHOST", NULL, AF_INET, SOCK_STREAM, 0, 0},
		{"192.0.2.4", "domain", 0, 0, 0, 0},
		{"192.0.2.4", NULL, AF_INET6, SOCK_STREAM, 0, AI_V4MAPPED},
		{"foo", NULL, AF_INET, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"192.0.2.4", "http", 0, SOCK_STREAM, IPPROTO_UDP, 0},
		{"192.0.2.4", "http", 0, SOCK_RAW, 0, 0},
		{"192.0.2.4", "nosuch", 0, SOCK_STREAM, 0, 0},
		{"192.0.2.4", "nosuch", 0, SOCK_STREAM, 0, AI_NUMERICSERV},
		{"127.1", "80", 0, SOCK_STREAM, 0, AI_CANONNAME},
		{"0x7f.010", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"256", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"1.2.3.256", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"1_0.2.3.4", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"1.2.3.4.5", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"08.1", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"0b1.1", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"::ffff:192.0.2.4", "80", AF_INET6, SOCK_STREAM, 0, 0},
		{"localhost", "80", AF_INET6, SOCK_STREAM, 0, AI_V4MAPPED | AI_ALL | AI_NUMERICHOST},
		{"192.0.2.4", NULL, AF_INET, SOCK_RAW, IPPROTO_ICMP, 0},
		{"192.0.2.4", "http", 0, 0, IPPROTO_TCP, 0},
		{"192.0.2.4", "80", AF_UNIX, 0, 0, 0},
		{"192.0.2.4", "80", 0, SOCK_STREAM, 0, 0x100000},
		{"fe80::1%lo", "80", 0, SOCK_STREAM, 0, 0},
		{"fe80::1%7", "80", 0, SOCK_STREAM, 0, 0},
		{"fe80::1%nosuch", "80", 0, SOCK_STREAM, 0, AI_NUMERICHOST},
		{"::1", "ssh", AF_INET6, SOCK_STREAM, 0, 0},
		{"", "80", 0, SOCK_STREAM, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		look(rows[i].node, rows[i].service, rows[i].family, rows[i].type, rows[i].protocol,
		     rows[i].flags);
	return 0;
}

static void info(int flags, size_t host_size, size_t service_size)
{
	char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
	int r = getnameinfo((struct sockaddr *)&address, length, host, host_size, service,
			    service_size, flags);

	printf("name %d %s %s\n", r, host, service);
}

/* Names of an address: those of the file, its port's, and where they do not fit. */
int names(void)
{
	info(0, NI_MAXHOST, NI_MAXSERV);
	info(NI_NUMERICHOST | NI_NUMERICSERV, NI_MAXHOST, NI_MAXSERV);
	info(NI_NUMERICHOST | NI_DGRAM, NI_MAXHOST, NI_MAXSERV);
	info(NI_NAMEREQD, NI_MAXHOST, NI_MAXSERV);
	info(NI_NUMERICHOST, 2, NI_MAXSERV);
	info(NI_NUMERICHOST, 0, NI_MAXSERV);
	length = 3;
	info(0, NI_MAXHOST, NI_MAXSERV);
	return 0;
}

static void show_host(const struct hostent *h)
{
	char text[64];

	if (!h) {
		printf("h_errno %d\n", h_errno);
		return;
	}
	printf("%s family %d length %d", h->h_name, h->h_addrtype, h->h_length);
	for (int i = 0; h->h_addr_list[i]; i++)
		printf(" %s", inet_ntop(h->h_addrtype, h->h_addr_list[i], text, sizeof(text)));
	printf(" and %s\n", h->h_aliases[0] ? "aliases" : "no aliases");
}

int hosts(void)
{
	struct hostent host, *result;
	char buffer[1024];
	struct in_addr a;
	int h_error = 0;

	show_host(gethostbyname("many.test"));
	show_host(gethostbyname2("six.test", AF_INET6));
	show_host(gethostbyname("nowhere.test"));
	show_host(gethostbyname("short"));
	show_host(gethostbyname("127.0.0.1"));
	int r = gethostbyname_r("four.test", &host, buffer, 8, &result, &h_error);
	printf("small: %s %d\n", r == ERANGE ? "ERANGE" : error(r), result == NULL);
	r = gethostbyname_r("four.test", &host, buffer, sizeof(buffer), &result, &h_error);
	printf("large: %s\n", error(r));
	show_host(result);
	inet_pton(AF_INET, "10.9.0.1", &a);
	show_host(gethostbyaddr(&a, sizeof(a), AF_INET));
	inet_pton(AF_INET, "10.9.0.99", &a);
	show_host(gethostbyaddr(&a, sizeof(a), AF_INET));
	return 0;
}

int records(void)
{
	unsigned char answer[512], query[512];

	printf("query %d\n", res_query("www.test", 1, 15, answer, sizeof(answer)) > 12);
	printf("count %d\n", answer[7]);
	int r = res_query("nowhere.test", 1, 15, answer, sizeof(answer));
	printf("nowhere %d %d\n", r, h_errno);
	r = res_query("four.test", 1, 15, answer, sizeof(answer));
	printf("nothing %d %d\n", r, h_errno);
	printf("search %d\n", res_search("short", 1, 1, answer, sizeof(answer)) > 12);
	printf("longer than the room %d\n", res_query("www.test", 1, 15, answer, 20) > 20);
	r = res_mkquery(0, "www.test", 1, 15, NULL, 0, NULL, query, sizeof(query));
	printf("send %d\n", res_send(query, r, answer, sizeof(answer)) > 12);
	printf("domain %d\n", res_querydomain("www", "test", 1, 15, answer, sizeof(answer)) > 12);
	return 0;
}
