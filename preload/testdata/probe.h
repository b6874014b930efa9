/*
 * What the files of the test program share.
 */
#ifndef PROBE_H
#define PROBE_H

#include <sys/socket.h>

/* The address that the arguments name, or that was told last. */
extern struct sockaddr_storage address;
extern socklen_t length;

const char *error(int e);
void show(const char *what, int port);

/* Subcommands, by the files that they are in. */
int local_names(void);
int names(void);
int hosts(void);
int records(void);
int guard(void);
int cancel(void);

#endif
