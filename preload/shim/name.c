/*
 * Where the broker is.
 *
 * adit adds nothing to the environment that the shim could read. It writes a copy
 * of the shim for each run, with the broker's name in place of the letters below
 * (preload/embed.go). A shim that nobody wrote a name into finds no broker, and
 * so the program no network.
 */
#include "shim.h"

/* volatile, so that no compiler knows what it holds. */
const volatile char broker_name[BROKER_NAME_LENGTH] = {'A', 'D', 'I', 'T', '-', 'B', 'R', 'O',
						       'K', 'E', 'R', '-', 'N', 'A', 'M', 'E'};
