/* What the files of the program share. */
#include <netinet/in.h>

extern char *canary;
extern struct sockaddr_in to[4];
extern int targets;

void no(void);
int around(const char *what, char **argv);
