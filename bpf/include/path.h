/* SPDX-License-Identifier: Apache-2.0 */
/* Paths as the kernel has them, written from their end to their beginning: as text, root first. */
#ifndef YAGURA_PATH_H
#define YAGURA_PATH_H

#include "helpers.h"

/* Where a walk stands. In memory rather than in registers the verifier knows nothing of it, so every turn of the loop
 * looks the same to it and is checked once. */
struct walk {
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct dentry *root_dentry;
	struct vfsmount *root_mnt;
	struct dentry *top; /* of mnt */
	u64 begin;  /* of the path in the buffer */
	u64 leaf;   /* length of the last component */
	u64 length; /* of the sections, for who puts an event together */
	u64 looks;  /* for mount points, that is: */
	u64 flags;  /* of all dentries on the way but those whose mounts it came out of */
	u64 crossed;
};

struct path_buffer {
	char bytes[PATH_MAX_BYTES + NAME_MAX_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct path_buffer);
} path_buffer SEC(".maps");

enum { PATH_ON, PATH_ROOT, PATH_END, PATH_CUT };

#define NAME_WORDS 4 /* of a name that is read by words; a longer one is copied by a helper */

/* The members of a dentry that a step needs: neighbours in every kernel, so one read gets them. */
struct dentry_head {
	struct dentry *parent;
	u32 hash, length;
	const unsigned char *name;
};

static __always_inline void read_dentry(struct dentry_head *h, struct dentry *dentry)
{
	u32 parent = bpf_core_field_offset(struct dentry, d_parent), name = bpf_core_field_offset(struct dentry, d_name.name);

	if (has_rdonly_cast()) {
		h->parent = typed(dentry)->d_parent;
		h->length = typed(dentry)->d_name.len;
		h->name = typed(dentry)->d_name.name;
		return;
	}
	if (name - parent == __builtin_offsetof(struct dentry_head, name)) {
		bpf_probe_read_kernel(h, sizeof(*h), (void *)dentry + parent);
		return;
	}
	h->parent = BPF_CORE_READ(dentry, d_parent);
	h->length = BPF_CORE_READ(dentry, d_name.len);
	h->name = BPF_CORE_READ(dentry, d_name.name);
}

/* Copies a dentry's name. Those of the kernel begin at a multiple of eight and are read by words there too, so that the last
 * word is all there. */
static __always_inline void copy_name(struct path_buffer *b, u64 begin, u32 length, const unsigned char *name)
{
	char *to = b->bytes + (begin & (PATH_MAX_BYTES - 1));

	if (!has_rdonly_cast() || length > NAME_WORDS * 8) {
		bpf_probe_read_kernel(to, length, name);
		return;
	}
	for (u32 at = 0; at < NAME_WORDS * 8; at += 8) {
		if (at >= length)
			break;
		u64 word = read_word(name + at), *there = (u64 *)(to + at);
		u32 left = length - at;
		*there = left < 8 ? low_bytes(word, left) | (*there & ~low_bytes(~0ull, left)) : word;
	}
}

static __always_inline void enter_mount(struct walk *w, struct vfsmount *mnt)
{
	w->mnt = mnt;
	w->top = FOLLOW(mnt, mnt_root);
}

/* One step up: over a mount point, or past one component, whose name goes before what is there. */
static __noinline int path_up(struct walk *w, struct path_buffer *b)
{
	struct dentry *dentry = w->dentry;
	struct dentry_head h = {};

	if (dentry == w->root_dentry && w->mnt == w->root_mnt)
		return PATH_ROOT;
	if (w->looks) {
		if (!w->crossed)
			w->flags |= FOLLOW(dentry, d_flags);
		w->crossed = 0;
	}
	if (dentry == w->top) {
		struct mount *m = (void *)w->mnt - bpf_core_field_offset(struct mount, mnt);
		struct mount *above = FOLLOW(m, mnt_parent);
		if (above == m)
			return PATH_ROOT; /* the top of the mount tree: outside of the task's root */
		w->dentry = FOLLOW(m, mnt_mountpoint);
		enter_mount(w, (void *)above + bpf_core_field_offset(struct mount, mnt));
		w->crossed = 1;
		return PATH_ON;
	}
	read_dentry(&h, dentry);
	u32 length = h.length & (NAME_MAX_BYTES - 1);
	u64 begin = w->begin;
	if (begin > PATH_MAX_BYTES || begin <= length)
		return PATH_CUT;
	if (begin == PATH_MAX_BYTES)
		w->leaf = length;
	begin -= length;
	copy_name(b, begin, length, h.name);
	w->dentry = h.parent;
	if (w->dentry != dentry)
		b->bytes[--begin & (PATH_MAX_BYTES - 1)] = '/';
	w->begin = begin;
	return w->dentry == dentry ? PATH_END : PATH_ON; /* no directory above: a memfd, or unreachable */
}

static __always_inline void look_for_mounts(struct walk *w, bool looks)
{
	w->looks = looks;
	if (looks)
		w->flags = w->crossed = 0;
}

/* Whether a walk has ended at its task's root, rather than at a top that no path leads to. */
static __always_inline bool at_root(struct walk *w)
{
	return w->dentry == w->root_dentry && w->mnt == w->root_mnt;
}

/* Whether a walk that has looked for mounts has come by a way that the path leads along, which none of them covers. */
static __always_inline bool is_open_way(struct walk *w)
{
	return at_root(w) && !(w->flags & DCACHE_MANAGED);
}

/* Writes the path at w to the end of the buffer, and returns where it begins; 0 if its head is missing, and then begin
 * is where the rest of it stands. */
static __always_inline u32 walk_path(struct walk *w, struct path_buffer *b, struct task_struct *task)
{
	int step = PATH_CUT;

	struct fs_struct *fs = FOLLOW(task, fs);
	w->root_dentry = FOLLOW(fs, root.dentry);
	w->root_mnt = FOLLOW(fs, root.mnt);
	w->begin = PATH_MAX_BYTES;
	w->leaf = 0;
	enter_mount(w, w->mnt);
	for (int i = 0; i < PATH_DEPTH; i++) {
		step = path_up(w, b);
		if (step != PATH_ON)
			break;
	}
	if (step == PATH_ROOT && w->begin == PATH_MAX_BYTES)
		b->bytes[--w->begin & (PATH_MAX_BYTES - 1)] = '/';
	return step == PATH_ROOT || step == PATH_END ? w->begin : 0;
}

#endif
