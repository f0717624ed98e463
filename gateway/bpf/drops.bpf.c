/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Whose packets the queues behind flow.bpf.c drop. What goes to a subscriber is counted as it is given to the interface: a shaper
 * or a full queue there drops packets that were counted. The kernel tells of each packet that it drops, and why; those that an
 * interface's queue dropped are read once more, and their bytes are kept beside the count of their slot, for the gateway to take off.
 *
 * An object of its own: it wants the types of the kernel that runs (BTF), and a kernel that has none forwards and counts all the same.
 * Where a drop interrupts this very program on its processor, the kernel does not call it again: that drop stays counted as carried.
 */
#include "helpers.h"
#include "tables.h"

/* What is read of the kernel's own structures; the loader puts in where their members stand (CO-RE). */
#define KERNEL __attribute__((preserve_access_index))

struct ns_common { unsigned int inum; } KERNEL;
struct net { struct ns_common ns; } KERNEL;
typedef struct { struct net *net; } possible_net_t;
struct net_device { int ifindex; possible_net_t nd_net; } KERNEL;
struct skb_shared_info { unsigned short gso_size; } KERNEL;
struct sk_buff {
	struct net_device *dev;
	unsigned int len, data_len, end;
	__u16 protocol, network_header;
	unsigned char *head, *data;
} KERNEL;

/* Names alone count here: their numbers are those of the kernel that runs. */
enum skb_drop_reason {
	SKB_DROP_REASON_QDISC_DROP = 1,
	SKB_DROP_REASON_QDISC_OVERLIMIT,
	SKB_DROP_REASON_QDISC_CONGESTED,
	SKB_DROP_REASON_CAKE_FLOOD,
	SKB_DROP_REASON_FQ_BAND_LIMIT,
	SKB_DROP_REASON_FQ_HORIZON_LIMIT,
	SKB_DROP_REASON_FQ_FLOW_LIMIT,
	SKB_DROP_REASON_DUALPI2_STEP_DROP,
	SKB_DROP_REASON_QUEUE_PURGE,
	SKB_DROP_REASON_TC_EGRESS,
	SKB_DROP_REASON_FULL_RING,
};

#define ENUMERATOR(name, what) __builtin_preserve_enum_value(*(enum skb_drop_reason *)name, what)
#define IS(reason, name) (ENUMERATOR(name, 0) && (reason) == ENUMERATOR(name, 1))

/* The first bytes of an IP header and of a transport header. */
#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define TCP_BYTES 20

/* Where a program counts what goes to subscribers, and what stands below that: the gateway fills it. */
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, DEVICES_MAX);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(pinning, 1);
	TYPE(key, struct device);
	TYPE(value, __u8);
} zk_devices SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, struct drops);
} zk_drops SEC(".maps");

/*
 * Which process's program counts. No program can be put into another's place here, so for a moment two are there, and only the one
 * whose number stands here counts.
 */
struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 1);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, __u64);
} zk_turn SEC(".maps");

/* The number of this one; the loader sets it. */
volatile const __u64 own_turn = 0;

/*
 * Whether the packet was dropped behind the count. Queues came to say more of why over the years; a filter at egress stands behind
 * ours, and what one in front of it drops is taken off all the same: less is claimed than passed, never more.
 */
INLINE int is_behind(__u32 reason)
{
	return IS(reason, SKB_DROP_REASON_QDISC_DROP) || IS(reason, SKB_DROP_REASON_QDISC_OVERLIMIT) ||
	       IS(reason, SKB_DROP_REASON_QDISC_CONGESTED) || IS(reason, SKB_DROP_REASON_CAKE_FLOOD) ||
	       IS(reason, SKB_DROP_REASON_FQ_BAND_LIMIT) || IS(reason, SKB_DROP_REASON_FQ_HORIZON_LIMIT) ||
	       IS(reason, SKB_DROP_REASON_FQ_FLOW_LIMIT) || IS(reason, SKB_DROP_REASON_DUALPI2_STEP_DROP) ||
	       IS(reason, SKB_DROP_REASON_QUEUE_PURGE) || IS(reason, SKB_DROP_REASON_TC_EGRESS) ||
	       IS(reason, SKB_DROP_REASON_FULL_RING);
}

/* A packet while it is read: addresses of the kernel, which are read by copying. */
struct dropped {
	struct key key;
	__u64 network, end; /* its first byte of IP, and the end of what lies in one piece */
	__u32 bytes;        /* as flow.bpf.c counted it */
	__u32 length;       /* what it has from there on */
};

/* Copies what stands `at` bytes behind the beginning of the packet's IP header; whether it is there. */
#define COPY(to, size, packet, at) \
	((packet)->network + (at) + (size) <= (packet)->end && !kernel_read(to, size, (void *)((packet)->network + (at))))

/* The same as read_headers() of flow.bpf.c. 0: it counted nothing there. */
INLINE int read_dropped(struct sk_buff *skb, struct dropped *packet, const int v6)
{
	__u8 ip[IPV6_BYTES], fragment = 0, protocol;
	__u32 at, payload;
	struct key *key = &packet->key;
	if (v6) {
		if (!COPY(ip, IPV6_BYTES, packet, 0))
			return 0;
		__builtin_memcpy(&key->server, ip + 8, sizeof(key->server));
		__builtin_memcpy(&key->subscriber, ip + 24, sizeof(key->subscriber));
		protocol = ip[6];
		payload = (__u32)ip[4] << 8 | ip[5];
		packet->bytes = payload ? payload + IPV6_BYTES : packet->length;
		at = IPV6_BYTES;
		for (int i = 0; i < EXTENSIONS_MAX; i++) {
			__u8 head[4];
			if (protocol != HOP_BY_HOP && protocol != ROUTING && protocol != DESTINATION_OPTIONS && protocol != FRAGMENT)
				break;
			if (!COPY(head, sizeof(head), packet, at))
				break;
			if (protocol == FRAGMENT) {
				if ((head[2] << 8 | head[3]) & 0xfff9) {
					fragment = 1;
					break;
				}
				at += 8;
			} else {
				at += ((__u32)head[1] + 1) << 3;
			}
			protocol = head[0];
		}
	} else {
		if (!COPY(ip, IPV4_BYTES, packet, 0))
			return 0;
		key->subscriber.words[2] = key->server.words[2] = NETWORK32(0xffff);
		__builtin_memcpy(&key->server.words[3], ip + 12, 4);
		__builtin_memcpy(&key->subscriber.words[3], ip + 16, 4);
		protocol = ip[9];
		fragment = (((__u32)ip[6] << 8 | ip[7]) & 0x3fff) != 0;
		payload = (__u32)ip[2] << 8 | ip[3];
		packet->bytes = payload ? payload : packet->length;
		at = (ip[0] & 15) << 2;
	}
	if (packet->bytes > packet->length)
		return 0;
	key->protocol = protocol;
	if (fragment) {
		key->kind = KIND_FRAGMENTS;
		return 1;
	}
	key->kind = KIND_OTHER;
	__u8 head[TCP_BYTES];
	if (protocol == TCP) {
		if (!COPY(head, TCP_BYTES, packet, at))
			return 1;
		at += (head[12] >> 4) << 2;
	} else if (protocol == UDP) {
		if (!COPY(head, 4, packet, at))
			return 1;
		at += 8;
	} else {
		return 1;
	}
	__builtin_memcpy(&key->server_port, head, 2);
	__builtin_memcpy(&key->subscriber_port, head + 2, 2);
	if (is_led(key))
		key->kind = KIND_FLOW;
	/* A super-packet whose segments were not made yet: each would have had these headers. */
	struct skb_shared_info *shared = (void *)(skb->head + skb->end);
	unsigned short segment = 0;
	if (kernel_read(&segment, sizeof(segment), &shared->gso_size))
		return 1;
	if (segment && packet->bytes > at) {
		__u32 segments = (packet->bytes - at + segment - 1) / segment;
		if (segments > 1)
			packet->bytes += (segments - 1) * at;
	}
	return 1;
}

/* Takes a packet that was dropped off its slot's count. */
INLINE void take_off(struct drops *drops, struct dropped *packet, const int v6, __u8 place)
{
	struct key *key = &packet->key;
	struct entry *known = 0;
	if (key->kind == KIND_FLOW)
		known = find(key, v6);
	if (!known) {
		if (is_local(key, v6) || map_lookup(&zk_own, &key->server))
			return;
		if (key->kind != KIND_FLOW) {
			__builtin_memset(&key->server, 0, sizeof(key->server));
			key->subscriber_port = key->server_port = 0;
			key->protocol = 0;
			known = find(key, v6);
		}
	}
	/* What leaves by another device above it, and has no slot, was counted nowhere. */
	if (!known && place != DEVICE_COUNTED)
		return;
	drops->bytes += packet->bytes;
	if (known) {
		__u32 at = known->slot, generation = known->generation;
		struct slot *slot = map_lookup(&zk_slots, &at);
		__u64 *dropped = map_lookup(&zk_dropped, &at);
		/*
		 * A connection that took the ports of one before it is made to bear what is dropped of that from then on: the two are of one
		 * subscriber and one server, and the sum of both stays right.
		 */
		if (slot && dropped && slot->generation == generation) {
			__sync_fetch_and_add(dropped, packet->bytes);
			return;
		}
	}
	drops->slotless += packet->bytes;
}

SEC("tp_btf/kfree_skb") int zk_drop(__u64 *arguments)
{
	struct sk_buff *skb = (void *)arguments[0];
	if (!is_behind((__u32)arguments[2]))
		return 0;
	struct net_device *device = skb->dev;
	if (!device)
		return 0;
	struct device at = { .number = device->ifindex, .network = device->nd_net.net->ns.inum };
	__u8 *place = map_lookup(&zk_devices, &at);
	if (!place)
		return 0;
	__u32 zero = 0;
	__u64 *turn = map_lookup(&zk_turn, &zero);
	struct drops *drops = map_lookup(&zk_drops, &zero);
	if (!drops || !turn || *turn != own_turn)
		return 0;
	if (*place == DEVICE_COUNTED)
		drops->packets++;
	__u16 protocol = skb->protocol;
	if (protocol != NETWORK16(IPV4) && protocol != NETWORK16(IPV6))
		return 0;
	struct dropped packet = {};
	__u64 head = (__u64)skb->head, data = (__u64)skb->data;
	packet.network = head + skb->network_header;
	packet.end = data + skb->len - skb->data_len;
	packet.length = data + skb->len - packet.network;
	if (protocol == NETWORK16(IPV6)) {
		if (read_dropped(skb, &packet, 1))
			take_off(drops, &packet, 1, *place);
	} else if (read_dropped(skb, &packet, 0)) {
		take_off(drops, &packet, 0, *place);
	}
	return 0;
}

/* The kernel lends its helpers to programs of this licence. */
char licence[] SEC("license") = "Dual MIT/GPL";
