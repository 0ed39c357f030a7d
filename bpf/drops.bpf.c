//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that the kernel threw away, by its own reason. Interrupts do that while anybody is current: so per node. */
#include "include/helpers.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, u32);
	__type(value, u64);
} packet_drops SEC(".maps");

SEC("tp_btf/kfree_skb")
int packet_dropped(u64 *ctx)
{
	u32 reason = drop_hook_has_reason ? (u32)ctx[2] : 0;
	if (reason >= DROP_REASONS)
		reason = DROP_REASONS - 1;
	u64 *n = bpf_map_lookup_elem(&packet_drops, &reason);
	if (n)
		increment(*n); /* an interrupt may come between */
	return 0;
}
