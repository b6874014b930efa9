/*
 * What the shim and adit say to each other.
 *
 * A question is one message on an AF_UNIX datagram socket, to the abstract
 * address that stands in the shim (shim/name.c). With it go, as SCM_RIGHTS, one
 * end of a pair of AF_UNIX SOCK_SEQPACKET sockets, on which the answer comes
 * back, and then the socket that the question is about, if it is about one.
 *
 *	question	operation (4), argument (4 × 4), length (4), data (length)
 *	answer		error (4), value (4), length (4), data (length)
 *
 * All numbers are of this machine's byte order: nobody else reads them. There is
 * no version: the shim is part of the adit that it asks.
 *
 * preload/protocol.go describes the same bytes, and testdata/wire.txt shows them.
 */
#ifndef ADIT_WIRE_H
#define ADIT_WIRE_H

#include <stdint.h>

/* What is asked, with its arguments, its data and what the answer holds. Where
 * nothing else is said an error is an errno, 0 for success. */
enum wire_operation {
	/* The shim was loaded. There is no socket for an answer, and none. */
	WIRE_HELLO = 1,

	/* socket(2): family, type with its flags, protocol. The answer brings a
	 * descriptor. */
	WIRE_SOCKET = 2,

	/* connect(2), bind(2): a socket; the data is a struct sockaddr. */
	WIRE_CONNECT = 3,
	WIRE_BIND = 4,

	/* listen(2): a socket; the backlog. */
	WIRE_LISTEN = 5,

	/* getsockname(2), getpeername(2): a socket. The answer's data is a
	 * struct sockaddr. */
	WIRE_LOCAL_NAME = 6,
	WIRE_PEER_NAME = 7,

	/* getsockopt(2) of SO_ERROR: a socket. The answer's value is the option's. */
	WIRE_SOCKET_ERROR = 8,

	/* getaddrinfo(3): flags, family, type, protocol; the data is two
	 * optional texts, node and service. The error is one of EAI_…, the value
	 * an errno where that is EAI_SYSTEM; the answer's data is a text, the
	 * canonical name, empty if there is none, and then a struct wire_address
	 * for each result. */
	WIRE_ADDRINFO = 9,

	/* getnameinfo(3): flags, 1 if the host is wanted, 1 if the service is;
	 * the data is a struct sockaddr. The error is one of EAI_…; the answer's
	 * data is two texts. */
	WIRE_NAMEINFO = 10,

	/* gethostbyname2(3), gethostbyaddr(3): the family; the data is an
	 * optional text, or an address of 4 or 16 bytes. The error is one of
	 * h_errno's; the answer's value is the number of addresses, its data the
	 * addresses and then texts: the name and its aliases. */
	WIRE_HOST_BY_NAME = 11,
	WIRE_HOST_BY_ADDRESS = 12,

	/* res_query(3), res_search(3): class, type; the data is an optional
	 * text. res_send(3): the data is a DNS message. The error is one of
	 * h_errno's; the answer's data is a DNS message, cut where the room that
	 * the last argument tells of ends, its value the length of the whole. */
	WIRE_RES_QUERY = 13,
	WIRE_RES_SEARCH = 14,
	WIRE_RES_SEND = 15,
};

/* A text is its bytes and a NUL. An optional text has a byte before it that says
 * whether it is there, and is that byte alone if not: 0, or 1 and the text. */

/* How much data may follow a question and an answer. Only a DNS message may be
 * longer, and is as long as the one who asks has room. */
#define WIRE_QUESTION_MAX 2048
#define WIRE_ANSWER_MAX 8192

struct wire_question {
	uint32_t operation;
	int32_t argument[4];
	uint32_t length; /* bytes of data that follow */
};

struct wire_answer {
	int32_t error;
	int32_t value;
	uint32_t length; /* bytes of data that follow */
};

struct wire_address {
	int32_t family;
	int32_t type;
	int32_t protocol;
	uint32_t length;     /* bytes of address that are used */
	uint8_t address[28]; /* struct sockaddr_in or sockaddr_in6 */
};

_Static_assert(sizeof(struct wire_question) == 24, "holes in a question");
_Static_assert(sizeof(struct wire_answer) == 12, "holes in an answer");
_Static_assert(sizeof(struct wire_address) == 44, "holes in an address");

#endif
