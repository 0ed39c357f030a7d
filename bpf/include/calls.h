/* SPDX-License-Identifier: Apache-2.0 */
/* Which system calls rules can match: asked on every call by the dispatcher, before anything is read. */
#ifndef YAGURA_CALLS_H
#define YAGURA_CALLS_H

#include "helpers.h"

#define CALL_BYTES 16384 /* of the sections of an event, but for the last one; a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SYSCALL_SLOTS);
	__type(key, u32);
	__type(value, struct call_recipe);
} call_recipes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} call_programs SEC(".maps");

/* The terms that allow this result. */
static __always_inline u32 result_terms(struct call_recipe *r, s64 result)
{
	return result < 0 ? r->results[0] : result ? r->results[2] : r->results[1];
}

#endif
