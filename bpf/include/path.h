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
	u64 begin;  /* of the path in the buffer */
	u64 length; /* of the sections, for who puts an event together */
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

enum { PATH_ON, PATH_END, PATH_CUT };

/* One step up: over a mount point, or past one component, whose name goes before what is there. */
static __noinline int path_up(struct walk *w, struct path_buffer *b)
{
	struct dentry *dentry = w->dentry;
	struct vfsmount *mnt = w->mnt;

	if (dentry == w->root_dentry && mnt == w->root_mnt)
		return PATH_END;
	if (dentry == BPF_CORE_READ(mnt, mnt_root)) {
		struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		struct mount *above = BPF_CORE_READ(m, mnt_parent);
		if (above == m)
			return PATH_END; /* the top of the mount tree: outside of the task's root */
		w->dentry = BPF_CORE_READ(m, mnt_mountpoint);
		w->mnt = (void *)above + bpf_core_field_offset(struct mount, mnt);
		return PATH_ON;
	}
	u32 length = BPF_CORE_READ(dentry, d_name.len) & (NAME_MAX_BYTES - 1);
	u64 begin = w->begin;
	if (begin > PATH_MAX_BYTES || begin < length + 1)
		return PATH_CUT;
	begin -= length;
	bpf_probe_read_kernel(b->bytes + (begin & (PATH_MAX_BYTES - 1)), length, BPF_CORE_READ(dentry, d_name.name));
	w->dentry = BPF_CORE_READ(dentry, d_parent);
	if (w->dentry != dentry)
		b->bytes[--begin & (PATH_MAX_BYTES - 1)] = '/';
	w->begin = begin;
	return w->dentry == dentry ? PATH_END : PATH_ON; /* no directory above: a memfd, or unreachable */
}

/* Writes the path at w to the end of the buffer, and returns where it begins; 0 if its head is missing, and then begin
 * is where the rest of it stands. */
static __always_inline u32 walk_path(struct walk *w, struct path_buffer *b, struct task_struct *task)
{
	int step = PATH_CUT;

	w->root_dentry = BPF_CORE_READ(task, fs, root.dentry);
	w->root_mnt = BPF_CORE_READ(task, fs, root.mnt);
	w->begin = PATH_MAX_BYTES;
	for (int i = 0; i < PATH_DEPTH; i++) {
		step = path_up(w, b);
		if (step != PATH_ON)
			break;
	}
	if (step == PATH_END && w->begin == PATH_MAX_BYTES)
		b->bytes[--w->begin & (PATH_MAX_BYTES - 1)] = '/';
	return step == PATH_END ? w->begin : 0;
}

#endif
