/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What flow.bpf.c calls in the kernel, so that clang alone compiles it. The numbers are those of `enum bpf_func_id` in
 * linux/bpf.h; bpf-helpers(7) is their manual.
 */
#pragma once

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
/*
 * Verified by itself, and not once more for each path that leads to it. Pointers are to memory of a known size, or none.
 */
#define APART __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))

/* How a map is described to the loader: by the types of members of a structure that is never filled. */
#define NUMBER(name, value) int (*name)[value]
#define TYPE(name, of) of *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 how) =
	(void *)BPF_FUNC_map_update_elem;
static long (*const map_pop)(void *map, void *value) = (void *)BPF_FUNC_map_pop_elem;
static void *(*const ring_reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*const ring_submit)(void *record, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static void (*const ring_discard)(void *record, __u64 flags) = (void *)BPF_FUNC_ringbuf_discard;
static long (*const packet_load)(const struct __sk_buff *packet, __u32 from, void *to, __u32 length) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*const packet_store)(struct __sk_buff *packet, __u32 to, const void *from, __u32 length, __u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
static long (*const packet_pull)(struct __sk_buff *packet, __u32 length) = (void *)BPF_FUNC_skb_pull_data;
static long (*const replace_checksum)(struct __sk_buff *packet, __u32 at, __u64 before, __u64 after, __u64 size) =
	(void *)BPF_FUNC_l3_csum_replace;
static long (*const kernel_read)(void *to, __u32 length, const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static __u64 (*const coarse_clock)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NETWORK16(value) __builtin_bswap16(value)
#define NETWORK32(value) __builtin_bswap32(value)
#else
#define NETWORK16(value) (value)
#define NETWORK32(value) (value)
#endif
