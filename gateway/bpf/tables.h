/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What both objects, flow.bpf.c and drops.bpf.c, know of flows: the tables that lead to a slot, and what tells a packet's flow apart.
 */
#pragma once

#include "helpers.h"
#include "layout.h"

#define IPV4 0x0800
#define IPV6 0x86dd
#define TCP 6
#define UDP 17

/* Extension headers of IPv6 that are stepped over (RFC 8200 section 4.1); with more it is a flow without ports. */
#define EXTENSIONS_MAX 8
#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define DESTINATION_OPTIONS 60

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(pinning, 1);
	TYPE(key, struct key4);
	TYPE(value, struct entry);
} zk_flows4 SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(pinning, 1);
	TYPE(key, struct key);
	TYPE(value, struct entry);
} zk_flows6 SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(map_flags, BPF_F_MMAPABLE);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, struct slot);
} zk_slots SEC(".maps");

/* Bytes of each slot that were dropped behind the count: drops.bpf.c's, and here where that cannot be loaded. */
struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(map_flags, BPF_F_MMAPABLE);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, __u64);
} zk_dropped SEC(".maps");

/* Ports of services that are led: a bit each, first TCP's, then UDP's. */
#define PORT_WORDS 1024
struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 2 * PORT_WORDS);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, __u64);
} zk_ports SEC(".maps");

/* Addresses of this machine: what goes there is not forwarded, and counted elsewhere. */
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, OWN_MAX);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(pinning, 1);
	TYPE(key, struct address);
	TYPE(value, __u8);
} zk_own SEC(".maps");

/* The keys of IPv4 are shorter, and fit a quarter of a cache line. */
INLINE struct key4 short_key(const struct key *key)
{
	struct key4 key4 = {
		.subscriber = key->subscriber.words[3],
		.server = key->server.words[3],
		.subscriber_port = key->subscriber_port,
		.server_port = key->server_port,
		.protocol = key->protocol,
		.kind = key->kind,
	};
	return key4;
}

INLINE struct entry *find(const struct key *key, int v6)
{
	if (v6)
		return map_lookup(&zk_flows6, key);
	struct key4 key4 = short_key(key);
	return map_lookup(&zk_flows4, &key4);
}

/* Whether no router forwards it: multicast, link-local, broadcast. */
INLINE int is_local(const struct key *key, int v6)
{
	__u32 first = NETWORK32(v6 ? key->server.words[0] : key->server.words[3]);
	if (v6)
		return first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6;
	return first >> 28 >= 14 || first >> 16 == 0xa9fe;
}

INLINE int is_led(const struct key *key)
{
	__u32 port = NETWORK16(key->server_port);
	__u32 word = port >> 6;
	if (key->protocol == UDP)
		word += PORT_WORDS;
	__u64 *bits = map_lookup(&zk_ports, &word);
	return bits && *bits >> (port & 63) & 1;
}
