/* Prints the bodies of URLs of the form http://HOST/PATH or http://[V6]/PATH:
 * getaddrinfo and plain sockets. Linked statically. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* connect_to - connect to port 80 of a host, address by address
 * @host: a name or an address
 * Return: a socket, or -1 */
static int connect_to(const char *host)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *a;
	int fd = -1, err = getaddrinfo(host, "80", &hints, &list);

	if (err) {
		fprintf(stderr, "%s: %s\n", host, gai_strerror(err));
		return -1;
	}
	for (a = list; a; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen))
			break;
		perror(host);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

/* fetch - print the body of one URL
 * Return: 0, or -1 */
static int fetch(const char *url)
{
	char host[256], request[1024], answer[65536], *body, *end;
	const char *rest = url + strlen("http://");
	size_t len = 0;
	ssize_t n;
	int fd;

	snprintf(host, sizeof host, "%s", rest[0] == '[' ? rest + 1 : rest);
	if (!(end = strpbrk(host, rest[0] == '[' ? "]" : "/")))
		return -1;
	*end = 0;
	rest = strchr(rest, '/');
	if ((fd = connect_to(host)) < 0)
		return -1;
	snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: e2e\r\n\r\n", rest);
	if (write(fd, request, strlen(request)) < 0)
		return -1;
	while (len < sizeof answer - 1 && (n = read(fd, answer + len, sizeof answer - 1 - len)) > 0)
		len += n;
	answer[len] = 0;
	close(fd);
	if (!(body = strstr(answer, "\r\n\r\n")))
		return -1;
	fputs(body + 4, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (fetch(argv[i]))
			return 1;
	return 0;
}
