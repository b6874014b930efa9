/*
 * Does the C compiler see the messages that wire.txt shows? Speaks TAP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire.h"

struct bytes {
	unsigned char at[4096];
	size_t length;
};

/* One message of the file. */
struct entry {
	char name[128], message[16];
	long operation, argument[4], error, value, family, type, protocol;
	struct bytes data, bytes;
};

static void parse_hex(const char *text, struct bytes *b)
{
	unsigned byte;

	for (b->length = 0; sscanf(text, " %2x", &byte) == 1; text += 2) {
		b->at[b->length++] = (unsigned char)byte;
		while (*text == ' ')
			text++;
	}
}

static void parse_line(char *line, struct entry *e)
{
	char *text = strchr(line, ':');

	if (!text)
		return;
	*text++ = 0;
	text += strspn(text, " ");
	text[strcspn(text, "\n")] = 0;
	if (!strcmp(line, "name"))
		snprintf(e->name, sizeof(e->name), "%s", text);
	else if (!strcmp(line, "message"))
		snprintf(e->message, sizeof(e->message), "%s", text);
	else if (!strcmp(line, "operation"))
		e->operation = atol(text);
	else if (!strcmp(line, "argument"))
		sscanf(text, "%ld %ld %ld %ld", &e->argument[0], &e->argument[1], &e->argument[2],
		       &e->argument[3]);
	else if (!strcmp(line, "error"))
		e->error = atol(text);
	else if (!strcmp(line, "value"))
		e->value = atol(text);
	else if (!strcmp(line, "family"))
		e->family = atol(text);
	else if (!strcmp(line, "type"))
		e->type = atol(text);
	else if (!strcmp(line, "protocol"))
		e->protocol = atol(text);
	else if (!strcmp(line, "data"))
		parse_hex(text, &e->data);
	else if (!strcmp(line, "bytes"))
		parse_hex(text, &e->bytes);
}

static void add(struct bytes *b, const void *from, size_t n)
{
	memcpy(b->at + b->length, from, n);
	b->length += n;
}

/* The message, by the structs. */
static struct bytes build(const struct entry *e)
{
	struct bytes b = {.length = 0};

	if (!strcmp(e->message, "question")) {
		struct wire_question q = {.operation = (uint32_t)e->operation,
					  .length = (uint32_t)e->data.length};
		for (int i = 0; i < 4; i++)
			q.argument[i] = (int32_t)e->argument[i];
		add(&b, &q, sizeof(q));
		add(&b, e->data.at, e->data.length);
	} else if (!strcmp(e->message, "answer")) {
		struct wire_answer a = {(int32_t)e->error, (int32_t)e->value,
					(uint32_t)e->data.length};
		add(&b, &a, sizeof(a));
		add(&b, e->data.at, e->data.length);
	} else {
		struct wire_address a = {.family = (int32_t)e->family,
					 .type = (int32_t)e->type,
					 .protocol = (int32_t)e->protocol,
					 .length = (uint32_t)e->data.length};
		memcpy(a.address, e->data.at, e->data.length);
		add(&b, &a, sizeof(a));
	}
	return b;
}

static int check(int number, const struct entry *e)
{
	struct bytes b = build(e);
	int good = b.length == e->bytes.length && !memcmp(b.at, e->bytes.at, b.length);

	printf("%sok %d - %s\n", good ? "" : "not ", number, e->name);
	return !good;
}

int main(int argc, char **argv)
{
	FILE *f = argc > 1 ? fopen(argv[1], "r") : NULL;
	char line[4096];
	static struct entry e, none;
	int number = 0, bad = 0;

	if (!f)
		return 2;
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#')
			continue;
		parse_line(line, &e);
		if (e.bytes.length) { /* the last line of each */
			bad += check(++number, &e);
			e = none;
		}
	}
	printf("1..%d\n", number);
	return bad != 0;
}
