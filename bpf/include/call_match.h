/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a call can match: the terms that its path, flags and socket satisfy. */
#ifndef YAGURA_CALL_MATCH_H
#define YAGURA_CALL_MATCH_H

#include "calls.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct path_prefix);
	__type(value, u32); /* terms that the prefix satisfies */
} path_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct path_name);
	__type(value, u32);
} path_names SEC(".maps");

#define ALL_TERMS (~0u)
#define ONES 0x0101010101010101ull
#define LOWS 0x7f7f7f7f7f7f7f7full

/* The high bit of each byte of w that is c. */
static __always_inline u64 bytes_equal(u64 w, u8 c)
{
	u64 x = w ^ (ONES * c);
	return ~(((x & LOWS) + LOWS) | x | LOWS);
}

/* Whether the path in head, n bytes with its NUL, has an empty component, . or .., or ends in a slash. Each word's first
 * six bytes are looked at, with the two behind them. */
__noinline int is_unclean(u32 n)
{
	struct call_scratch *s = scratch();

	for (u32 i = 0; s && i < CLEAN_BYTES / 6; i++) {
		if (i * 6 >= n)
			break;
		u64 w = *(u64 *)(s->head + i * 6);
		u64 slash = bytes_equal(w, '/'), dot = bytes_equal(w, '.'), end = bytes_equal(w, 0);
		if (slash & (slash >> 8 | end >> 8 | (dot >> 8 & (slash | dot | end) >> 16)))
			return 1;
	}
	return 0;
}

/* Where the last component in tail begins; 0 if there is no slash in it. */
__noinline int last_component(void)
{
	struct call_scratch *s = scratch();
	int start = 0;

	for (int i = 0; s && i < NAME_KEY_BYTES; i++)
		if (s->tail[i] == '/')
			start = i + 1;
	return start;
}

/* The terms that the last component of a path of n bytes satisfies. */
__noinline u32 name_terms(u32 off, u32 n)
{
	struct call_scratch *s = scratch();
	u32 take = n < NAME_KEY_BYTES ? n : NAME_KEY_BYTES;

	if (!s || n > PATH_MAX_BYTES)
		return ALL_TERMS;
	__builtin_memset(s->tail, 0, sizeof(s->tail));
	bpf_probe_read_kernel(s->tail, take, s->data + (off & (CALL_BYTES - 1)) + n - take);
	u32 start = last_component();
	if (!start && n > NAME_KEY_BYTES)
		return ALL_TERMS; /* a longer name than the key */
	if (!start || start >= NAME_KEY_BYTES)
		return 0; /* none */
	s->name.type = s->e.type;
	__builtin_memset(s->name.name, 0, sizeof(s->name.name));
	bpf_probe_read_kernel_str(s->name.name, NAME_KEY_BYTES, s->tail + start);
	u32 *found = bpf_map_lookup_elem(&path_names, &s->name);
	return found ? *found : 0;
}

/* The terms that an absolute path of n bytes without a NUL, at off in data, satisfies. */
__noinline u32 path_terms(u32 off, u32 n)
{
	struct call_scratch *s = scratch();
	u32 terms = 0;

	if (!s || n < 1 || n > PATH_MAX_BYTES)
		return ALL_TERMS;
	if (s->r.keys & CALL_KEY_PREFIX) {
		s->prefix.bits = sizeof(s->prefix) * 8 - 32;
		s->prefix.type = s->e.type;
		u32 length = n < PATH_KEY_BYTES ? n : PATH_KEY_BYTES;
		__builtin_memset(s->prefix.path, 0, sizeof(s->prefix.path));
		bpf_probe_read_kernel(s->prefix.path, length, s->data + (off & (CALL_BYTES - 1)));
		u32 *found = bpf_map_lookup_elem(&path_prefixes, &s->prefix);
		if (found)
			terms = *found;
	}
	if (s->r.keys & CALL_KEY_NAME)
		terms |= name_terms(off, n);
	return terms;
}

/* The same for a text as the caller passed it, n bytes with its NUL: every term if it is not a plain absolute path. */
__noinline u32 text_terms(u32 off, u32 n)
{
	struct call_scratch *s = scratch();

	if (!s || n < 2 || n > CLEAN_BYTES)
		return ALL_TERMS;
	bpf_probe_read_kernel(s->head, sizeof(s->head), s->data + (off & (CALL_BYTES - 1)));
	if (s->head[0] != '/' || is_unclean(n))
		return ALL_TERMS;
	return path_terms(off, n - 1);
}

static __always_inline u32 open_terms(struct call_scratch *s, u32 flags, u32 mode)
{
	u32 how = 0, access = flags & O_ACCMODE;

	if (access == O_RDONLY || access == O_RDWR)
		how |= 1;
	if (access == O_WRONLY || access == O_RDWR)
		how |= 2;
	if (flags & (O_CREAT | O_TMPFILE_BIT) && mode & 0111)
		how |= 4;
	if (s->e.flags & CALL_CREATED)
		how |= 8;
	barrier_var(how); /* the verifier wants to see the bound */
	return s->r.opens[how & 15];
}

static __always_inline u32 family_terms(struct call_scratch *s, u32 family)
{
	return s->r.families[family == AF_UNIX ? 1 : family == AF_INET ? 2 : family == AF_INET6 ? 3 : 0];
}

#endif
