/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The kernel's part of a gateway at the edge: two programs at the subscribers' interface, one for each direction. Packets are
 * forwarded by the kernel as if nobody looked; the programs count them, copy the first bytes of a flow to the gateway, and set
 * the mark that its verdict orders. They never drop, delay or redirect a packet: every path ends with "next".
 *
 *   packet ── headers ── key ── hash map ── slot of a mapped array
 *                                            counters, flags      written here alone
 *                                            ruling, generation   written by the gateway alone
 *
 * So a verdict is one store and a reading is one load, and neither can overwrite the other. Bytes are counted in the bank that
 * the ruling names at that packet: a verdict that changes splits the count at a packet.
 *
 * Lengths are those of the wire: of a super-packet each segment has its own headers, and all of them count.
 */
#include "helpers.h"
#include "tables.h"

#define NEXT (-1) /* TC_ACT_UNSPEC: the next program, or the stack */

/* Bits of TCP's fourteenth octet (RFC 9293 section 3.1). */
#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

/* Bytes up and down of each slot that have an account: the gateway's alone. Here they outlive it. */
struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(map_flags, BPF_F_MMAPABLE);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, struct told);
} zk_told SEC(".maps");

/* Listed names by the number that stands in a slot's `claim`: the gateway's alone. */
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, NAMES_MAX);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, struct name);
} zk_names SEC(".maps");

/* Slots that nobody has; the gateway fills it. */
struct {
	NUMBER(type, BPF_MAP_TYPE_STACK);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(pinning, 1);
	TYPE(value, __u32);
} zk_free SEC(".maps");

/* First bytes of flows. */
struct {
	NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	NUMBER(max_entries, RING_DEFAULT);
	NUMBER(pinning, 1);
} zk_copies SEC(".maps");

/* Slots that each subscriber's address was given, counted here, and those it gave back, counted by the gateway. */
struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(pinning, 1);
	TYPE(key, struct address);
	TYPE(value, __u32);
} zk_opened SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_HASH);
	NUMBER(max_entries, SLOTS_DEFAULT);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(pinning, 1);
	TYPE(key, struct address);
	TYPE(value, __u32);
} zk_closed SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_ARRAY);
	NUMBER(max_entries, 1);
	NUMBER(map_flags, BPF_F_MMAPABLE);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, struct control);
} zk_control SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1);
	NUMBER(pinning, 1);
	TYPE(key, __u32);
	TYPE(value, struct gate);
} zk_gate SEC(".maps");

/* A packet as far as it was read. */
struct packet {
	struct key key;
	__u32 l2;           /* bytes before the IP header */
	__u32 payload;      /* where what TCP or UDP carry begins */
	__u32 bytes;        /* IP bytes on the wire, of all segments */
	__u32 sequence;     /* TCP only */
	__u32 acknowledged; /* TCP only */
	__u8 bits;          /* TCP's flags */
	__u8 octet;         /* type of service or traffic class */
	__u8 v6;
	__u8 is_cut; /* its header says more than it has: no router forwards it */
};

INLINE long lead(const struct packet *packet, const struct entry *entry, __u64 how)
{
	if (packet->v6)
		return map_update(&zk_flows6, &packet->key, entry, how);
	struct key4 key4 = short_key(&packet->key);
	return map_update(&zk_flows4, &key4, entry, how);
}

/* A slot for a new flow. With `replace` it takes the key of a flow that has ended, whose slot the gateway frees. */
APART __u32 open_slot(struct packet *packet, int replace)
{
	__u32 zero = 0, one = 1;
	struct entry entry;
	struct control *control = map_lookup(&zk_control, &zero);
	if (!packet || !control)
		return NO_SLOT;
	__u32 *opened = map_lookup(&zk_opened, &packet->key.subscriber);
	if (opened) {
		__u32 *closed = map_lookup(&zk_closed, &packet->key.subscriber);
		if ((__s32)(*opened - (closed ? *closed : 0) - control->share) >= 0)
			return NO_SLOT;
	}
	if (map_pop(&zk_free, &entry.slot))
		return NO_SLOT;
	struct slot *slot = map_lookup(&zk_slots, &entry.slot);
	if (!slot)
		return NO_SLOT;
	slot->key = packet->key;
	slot->quota = coarse_clock();
	entry.generation = slot->generation;
	__sync_fetch_and_or(&slot->flags, LIVE);
	if (lead(packet, &entry, replace ? BPF_EXIST : BPF_NOEXIST)) {
		/* Another processor was first, or the table is full: the gateway frees the slot. */
		slot->flags = REPLACED;
		struct entry *known = find(&packet->key, packet->v6);
		return known ? known->slot : NO_SLOT;
	}
	if (!opened && map_update(&zk_opened, &packet->key.subscriber, &one, BPF_NOEXIST))
		opened = map_lookup(&zk_opened, &packet->key.subscriber);
	if (opened)
		__sync_fetch_and_add(opened, 1);
	return entry.slot;
}

/*
 * Copies what was sent to the ring, in pieces: a stream's one behind the other, of datagrams in a super-packet each by itself,
 * as far as a piece holds it. The lower half of `how` is the length of one, the upper half the side.
 */
APART int copy(struct __sk_buff *skb, __u32 at, __u32 from, __u32 sequence, __u32 how)
{
	__u32 number = at, zero = 0, done = 0, copied = 0, length, step = how & 0xffff;
	struct slot *slot = map_lookup(&zk_slots, &number);
	struct control *control = map_lookup(&zk_control, &zero);
	if (!slot || !control || !skb || skb->len <= from)
		return 0;
	length = skb->len - from;
	for (int i = 0; i < PIECES_MAX && done < length; i++) {
		__u32 part = length - done;
		if (part > step)
			part = step;
		if (part > PIECE_BYTES)
			part = PIECE_BYTES;
		struct piece *piece = ring_reserve(&zk_copies, sizeof(*piece), 0);
		if (!piece) {
			struct gate *gate = map_lookup(&zk_gate, &zero);
			__sync_fetch_and_or(&slot->flags, LOST);
			if (gate)
				gate->ring_full++;
			return 0;
		}
		piece->slot = at;
		piece->generation = slot->generation;
		piece->sequence = sequence + done;
		piece->offset = done;
		piece->length = part | how >> 16;
		/* The compiler forgets what it knows of `part`, and the verifier sees its bounds. */
		asm volatile("" : "+r"(part));
		if (part < 1 || part > PIECE_BYTES || packet_load(skb, from + done, piece->data, part)) {
			ring_discard(piece, 0);
			__sync_fetch_and_or(&slot->flags, LOST);
			return 0;
		}
		/* An interrupt for each flow costs more than all the rest here: the gateway looks by itself while there is traffic. */
		__u64 wake = BPF_RB_NO_WAKEUP;
		if (control->sleeping) {
			control->sleeping = 0;
			wake = BPF_RB_FORCE_WAKEUP;
		}
		ring_submit(piece, wake);
		copied += part;
		done += step;
	}
	__sync_fetch_and_add(&slot->copied, copied);
	return 0;
}

/* Has the packet carry a code point; its congestion bits stay (RFC 3168 section 5). */
APART int set_code_point(struct __sk_buff *skb, __u32 l2, __u32 v6, __u32 octet, __u32 code_point)
{
	__u8 changed = (code_point << 2) | (octet & 3);
	if (!skb || changed == (__u8)octet)
		return 0;
	if (v6) {
		__u8 word[2];
		if (packet_load(skb, l2, word, 2))
			return 0;
		word[0] = (word[0] & 0xf0) | (changed >> 4);
		word[1] = (word[1] & 0x0f) | (changed << 4);
		/* No checksum of the header takes the difference up: that of the whole packet does. */
		packet_store(skb, l2, word, 2, BPF_F_RECOMPUTE_CSUM);
		return 0;
	}
	replace_checksum(skb, l2 + 10, NETWORK16((__u16)octet), NETWORK16((__u16)changed), 2);
	packet_store(skb, l2 + 1, &changed, 1, 0);
	return 0;
}

/* Reads the headers. 0: it is no packet of IP, or too short for one. */
APART int read_headers(struct __sk_buff *skb, struct packet *packet, int down)
{
	/* At most an Ethernet header, which the verifier wants to see. */
	if (!packet || packet->l2 > 14)
		return 0;
	__u32 length = skb->len, l2 = packet->l2;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	/* Headers that are not in the linear part are pulled; rare. */
	if (data + l2 + (packet->v6 ? 60 : 40) > end)
		packet_pull(skb, length < l2 + 120 ? length : l2 + 120);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;

	__u8 fragment = 0, protocol;
	__u32 at;
	struct key *key = &packet->key;
	if (packet->v6) {
		__u8 *ip = data + l2;
		if ((void *)(ip + 40) > end)
			return 0;
		struct address *source = (void *)(ip + 8), *target = (void *)(ip + 24);
		key->subscriber = down ? *target : *source;
		key->server = down ? *source : *target;
		protocol = ip[6];
		__u32 payload = (__u32)ip[4] << 8 | ip[5];
		/* A jumbogram's length stands elsewhere (RFC 2675). */
		packet->bytes = payload ? payload + 40 : length - l2;
		packet->octet = (__u8)(ip[0] << 4) | ip[1] >> 4;
		at = l2 + 40;
		for (int i = 0; i < EXTENSIONS_MAX; i++) {
			__u8 head[4];
			if (protocol != HOP_BY_HOP && protocol != ROUTING && protocol != DESTINATION_OPTIONS && protocol != FRAGMENT)
				break;
			if (packet_load(skb, at, head, 4))
				break;
			if (protocol == FRAGMENT) {
				/* An atomic fragment is whole (RFC 6946). */
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
		__u8 *ip = data + l2;
		if ((void *)(ip + 20) > end)
			return 0;
		__u32 source = *(__u32 *)(ip + 12), target = *(__u32 *)(ip + 16);
		key->subscriber.words[2] = key->server.words[2] = NETWORK32(0xffff);
		key->subscriber.words[3] = down ? target : source;
		key->server.words[3] = down ? source : target;
		protocol = ip[9];
		fragment = (((__u32)ip[6] << 8 | ip[7]) & 0x3fff) != 0;
		__u32 total = (__u32)ip[2] << 8 | ip[3];
		packet->bytes = total ? total : length - l2;
		packet->octet = ip[1];
		at = l2 + ((ip[0] & 15) << 2);
	}
	if (packet->bytes > length - l2) {
		packet->bytes = length - l2;
		packet->is_cut = 1;
		return 1;
	}
	key->protocol = protocol;
	packet->payload = at;
	if (fragment) {
		key->kind = KIND_FRAGMENTS;
		return 1;
	}
	key->kind = KIND_OTHER;
	if (protocol == TCP) {
		__u8 tcp[20];
		if (packet_load(skb, at, tcp, 20))
			return 1;
		__u16 from = *(__u16 *)tcp, to = *(__u16 *)(tcp + 2);
		key->subscriber_port = down ? to : from;
		key->server_port = down ? from : to;
		packet->sequence = NETWORK32(*(__u32 *)(tcp + 4));
		packet->acknowledged = NETWORK32(*(__u32 *)(tcp + 8));
		packet->bits = tcp[13];
		packet->payload += (tcp[12] >> 4) << 2;
	} else if (protocol == UDP) {
		__u16 ports[2];
		if (packet_load(skb, at, ports, 4))
			return 1;
		key->subscriber_port = down ? ports[1] : ports[0];
		key->server_port = down ? ports[0] : ports[1];
		packet->payload += 8;
	} else {
		return 1;
	}
	if (is_led(key))
		key->kind = KIND_FLOW;
	/* Segments of a super-packet that came, or will go out, as packets of their own: each has these headers. */
	__u32 segment = skb->gso_size, headers = packet->payload - l2;
	if (segment && packet->bytes > headers) {
		__u32 segments = (packet->bytes - headers + segment - 1) / segment;
		if (segments > 1)
			packet->bytes += (segments - 1) * headers;
	}
	return 1;
}

/*
 * What a segment says of its connection. It is established when the subscriber repeats the number that the server chose, which
 * nobody can who does not receive what the server sends.
 */
INLINE void note_segment(struct slot *slot, const struct packet *packet, const int down, const int has_payload, const int is_read)
{
	__u32 flags = slot->flags, more = 0;
	__u8 opening = packet->bits & (TCP_SYN | TCP_ACK);
	if (!(flags & ESTABLISHED)) {
		if (!down && opening == TCP_SYN) {
			slot->client_isn = packet->sequence;
			more |= SYN;
		} else if (down && opening == (TCP_SYN | TCP_ACK) && flags & SYN &&
			   packet->acknowledged == slot->client_isn + 1) {
			slot->server = packet->sequence;
			more |= SYN_ACK;
		} else if (!down && flags & SYN_ACK && packet->bits & TCP_ACK && !(packet->bits & TCP_SYN) &&
			   packet->acknowledged - slot->server - 1 < ISN_WINDOW) {
			slot->server = slot->client_isn + 1;
			more |= ESTABLISHED;
		}
	} else if (down && is_read && packet->bits & TCP_ACK && (__s32)(packet->acknowledged - slot->server) > 0) {
		slot->server = packet->acknowledged;
	}
	if (packet->bits & TCP_FIN)
		more |= down ? FIN_DOWN : FIN_UP;
	if (packet->bits & TCP_RST)
		more |= RST;
	else if (flags & RST && has_payload)
		/* It was somebody else's: the connection goes on. */
		__sync_fetch_and_and(&slot->flags, ~RST);
	if (more & ~flags)
		__sync_fetch_and_or(&slot->flags, more);
}

/*
 * Whether a segment shows that its ports have another connection than the one that has the key: a SYN after an end, or the
 * server's answer to a SYN that was not this connection's. A SYN by itself ends no connection that goes on (RFC 5961 section 4):
 * anybody can send one.
 */
INLINE int is_reopened(const struct slot *slot, const struct packet *packet, const int down)
{
	__u8 opening = packet->bits & (TCP_SYN | TCP_ACK);
	__u32 flags = slot->flags;
	if (!down)
		return opening == TCP_SYN && flags & (FIN_UP | FIN_DOWN | RST);
	return opening == (TCP_SYN | TCP_ACK) && flags & ESTABLISHED && packet->acknowledged != slot->client_isn + 1;
}

INLINE int carry(struct __sk_buff *skb, const int down, const __u32 l2)
{
	__u16 protocol = skb->protocol;
	if (protocol != NETWORK16(IPV4) && protocol != NETWORK16(IPV6))
		return NEXT;
	struct packet packet = { .l2 = l2, .v6 = protocol == NETWORK16(IPV6) };
	if (!read_headers(skb, &packet, down))
		return NEXT;
	__u32 zero = 0;
	struct gate *gate = map_lookup(&zk_gate, &zero);
	struct control *control = map_lookup(&zk_control, &zero);
	if (!gate || !control)
		return NEXT;

	if (packet.is_cut) {
		gate->own[down] += packet.bytes;
		return NEXT;
	}
	struct entry *known = 0;
	if (packet.key.kind == KIND_FLOW)
		known = find(&packet.key, packet.v6);
	if (!known) {
		/* Subscribers' traffic with this machine itself is nobody's to forward. */
		if (is_local(&packet.key, packet.v6) || map_lookup(&zk_own, &packet.key.server)) {
			gate->own[down] += packet.bytes;
			return NEXT;
		}
		if (packet.key.kind != KIND_FLOW) {
			__builtin_memset(&packet.key.server, 0, sizeof(packet.key.server));
			packet.key.subscriber_port = packet.key.server_port = 0;
			packet.key.protocol = 0;
			known = find(&packet.key, packet.v6);
		}
	}
	__u32 at, generation = 0;
	if (known) {
		at = known->slot;
		generation = known->generation;
	} else {
		at = open_slot(&packet, 0);
	}
	gate->seen[down] += packet.bytes;
	struct slot *slot = map_lookup(&zk_slots, &at);
	int is_tcp = packet.key.protocol == TCP;
	if (slot && known && is_tcp && is_reopened(slot, &packet, down)) {
		__sync_fetch_and_or(&slot->flags, REPLACED);
		known = 0;
		at = open_slot(&packet, 1);
		slot = map_lookup(&zk_slots, &at);
		if (slot && down) {
			/* The SYN that the server answers was counted with the connection before. */
			slot->client_isn = packet.acknowledged - 1;
			__sync_fetch_and_or(&slot->flags, SYN);
		}
	}
	/* An entry that was taken away in this moment may have been given to another flow already: its generation tells. */
	if (!slot || (known && slot->generation != generation)) {
		gate->overflow[down] += packet.bytes;
		gate->no_slot++;
		if (control->own_marks >> (packet.octet >> 2) & 1)
			set_code_point(skb, packet.l2, packet.v6, packet.octet, 0);
		return NEXT;
	}

	/* At once, so that it is of one piece. */
	__u64 word = *(volatile __u64 *)&slot->ruling;
	__u32 bank = word & 0xff, how = word >> 16 & 0xff, mark = word >> 32, code_point = word >> 8 & 63;
	__u32 copies = how & COPIES;
	int has_payload = packet.key.kind == KIND_FLOW && skb->len > packet.payload;
	if (is_tcp)
		note_segment(slot, &packet, down, has_payload, copies != COPY_NOTHING);
	if (!down && !(how & MARKS_UP))
		code_point = 0;
	if (bank == BANK_EXEMPT) {
		/* Nobody has looked for long: nothing is exempt, for nobody could take it back. */
		__u64 now = coarse_clock(), beat = *(volatile __u64 *)&control->beat;
		int is_stale = now > beat && now - beat > control->patience;
		if (is_stale || (how & HAS_QUOTA && slot->bytes[BANK_EXEMPT][0] + slot->bytes[BANK_EXEMPT][1] >= slot->quota)) {
			bank = BANK_CHARGED;
			code_point = 0;
			mark = 0;
		}
		/* Bounded for the verifier. */
		__sync_fetch_and_add(&slot->bytes[bank == BANK_EXEMPT ? BANK_EXEMPT : BANK_CHARGED][down], packet.bytes);
	} else {
		__sync_fetch_and_add(&slot->bytes[bank == BANK_PENDING ? BANK_PENDING : BANK_CHARGED][down], packet.bytes);
	}

	if (has_payload && slot->copied < COPIED_MAX &&
	    (copies == COPY_LONG_HEADERS || (!down && copies == COPY_ALL))) {
		__u8 first = 0x80;
		if (copies == COPY_LONG_HEADERS && packet_load(skb, packet.payload, &first, 1))
			first = 0;
		__u32 step = is_tcp ? PIECE_BYTES : skb->gso_size ? skb->gso_size : 0xffff;
		/* A SYN takes a number of its own; what it carries comes behind (RFC 7413). */
		if (first & 0x80)
			copy(skb, at, packet.payload, packet.sequence + (packet.bits & TCP_SYN ? 1 : 0),
			     (step & 0xffff) | (down ? PIECE_DOWN << 16 : 0));
	}
	if (code_point || control->own_marks >> (packet.octet >> 2) & 1)
		set_code_point(skb, packet.l2, packet.v6, packet.octet, code_point);
	if (mark)
		skb->mark = mark;
	return NEXT;
}

/* Devices with Ethernet headers, and those without (PPP, tunnels), by ARPHRD. */
SEC("classifier") int zk_up_ether(struct __sk_buff *skb) { return carry(skb, 0, 14); }
SEC("classifier") int zk_down_ether(struct __sk_buff *skb) { return carry(skb, 1, 14); }
SEC("classifier") int zk_up_bare(struct __sk_buff *skb) { return carry(skb, 0, 0); }
SEC("classifier") int zk_down_bare(struct __sk_buff *skb) { return carry(skb, 1, 0); }

/* The kernel lends its helpers to programs of this licence. */
char licence[] SEC("license") = "Dual MIT/GPL";
