/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the programs and the gateway read of one another. gateway/src/net/kernel/layout.rs says the same; a test holds the two
 * together, by what a loaded program makes of packets.
 */
#pragma once

#include <linux/types.h>

/* The loader sets what the configuration says. */
#define SLOTS_DEFAULT 65536
#define RING_DEFAULT (1 << 24)

#define NO_SLOT 0xffffffff
#define OWN_MAX 4096
#define NAMES_MAX 65536
#define NAME_BYTES 256
#define DEVICES_MAX 65536
#define DEVICE_COUNTED 1 /* a program counts what leaves by it */
#define DEVICE_BELOW 2   /* what leaves by such a one leaves by it */

#define PIECE_BYTES 2048  /* of one copied piece */
#define PIECES_MAX 16     /* of one packet */
#define COPIED_MAX 32768  /* bytes copied of a flow for one ruling that asks for copies */
#define ISN_WINDOW 65536  /* how far a client may have read when it first repeats the server's number */

#define BANKS 3
#define BANK_PENDING 0
#define BANK_EXEMPT 1
#define BANK_CHARGED 2

#define KIND_FLOW 0      /* told apart by ports, one of which is led */
#define KIND_OTHER 1     /* all else of a subscriber: other ports, protocols without ports */
#define KIND_FRAGMENTS 2 /* all fragments of a subscriber: whose ports they have stands in one of them alone */

/* Flags of a slot. */
#define SYN 1
#define SYN_ACK 2
#define ESTABLISHED 4
#define FIN_UP 8
#define FIN_DOWN 16
#define RST 32
#define LOST 64      /* a piece did not reach the gateway */
#define REPLACED 128 /* its key leads elsewhere; without LIVE: it never counted anything */
#define LIVE 256

/* Bits of a ruling's `how`. */
#define COPIES 3
#define COPY_ALL 0          /* what the subscriber sends */
#define COPY_LONG_HEADERS 1 /* QUIC's long headers, both ways */
#define COPY_NOTHING 2
#define MARKS_UP 4
#define HAS_QUOTA 8

struct address {
	__u32 words[4]; /* in the order of the wire; IPv4 as ::ffff:a.b.c.d */
};

struct key {
	struct address subscriber, server;
	__u16 subscriber_port, server_port; /* in the order of the wire */
	__u8 protocol, kind, padding[2];
};

struct key4 {
	__u32 subscriber, server;
	__u16 subscriber_port, server_port;
	__u8 protocol, kind, padding[2];
};

struct entry {
	__u32 slot, generation;
};

struct ruling {
	__u8 bank, code_point, how, padding;
	__u32 mark; /* 0: left as it is */
};

/* The first cache line is all that most packets need. */
struct slot {
	__u64 bytes[BANKS][2]; /* [bank][0 up, 1 down]; ours */
	__u32 flags;           /* ours */
	__u32 generation;      /* of the flow that has the slot; the gateway's, changed while nobody has it */
	struct ruling ruling;  /* the gateway's, written as one word */
	struct key key;        /* ours, written before the slot is LIVE */
	__u32 client_isn;      /* ours */
	__u32 server;          /* ours: the server's first number until the connection is established, then what it has acknowledged */
	__u32 copied;          /* bytes; ours, and set back by the gateway */
	__u32 claim;           /* what is known of its name, for a gateway that starts again; the gateway's */
	__u64 quota;           /* when it was opened, until there is a ruling; then bytes of both directions in the exempt bank after
	                          which the rest is charged: the gateway's */
};

struct told {
	__u64 bytes[2];
};

struct name {
	__u8 text[NAME_BYTES];
};

#define PIECE_DOWN 0x8000 /* in `length`: the server sent it */

struct piece {
	__u32 slot, generation, sequence;
	__u16 offset, length;
	__u8 data[PIECE_BYTES];
};

struct control {
	__u64 beat;      /* when the gateway last looked, by CLOCK_MONOTONIC_COARSE in nanoseconds; the gateway's */
	__u64 patience;  /* nanoseconds after which nothing is exempt any more; the gateway's */
	__u64 own_marks; /* code points that mean "free", which nobody else may set: bit n for code point n; the gateway's */
	__u32 sleeping;  /* the gateway waits to be woken; set by it, cleared by the program that wakes it */
	__u32 share;     /* slots that one subscriber's address may have; the gateway's */
	__u64 told[2];   /* bytes without a slot that have an account; the gateway's, for one that starts again */
};

/* Of one processor. */
struct gate {
	__u64 seen[2];     /* bytes of all packets but those of this machine itself: in a slot, or overflow */
	__u64 overflow[2]; /* bytes that found no slot */
	__u64 own[2];      /* bytes to and from this machine itself, and what no router forwards */
	__u64 ring_full;   /* pieces that found no room */
	__u64 no_slot;     /* packets that found no slot */
};

/* An interface: numbers are those of one network namespace, and drops are told of in all of them. */
struct device {
	__u32 number;
	__u32 network; /* of the namespace: its inode */
};

/* Of one processor: what was dropped behind the count of what goes to subscribers. */
struct drops {
	__u64 bytes;
	__u64 packets;  /* of all kinds, also what is not counted */
	__u64 slotless; /* bytes of them that belong to no slot */
};
