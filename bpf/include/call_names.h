/* SPDX-License-Identifier: Apache-2.0 */
/* Where the names lead of calls that leave no descriptor behind by which the kernel would know the object: as far as it can be
 * told for sure, so that what is not watched need not be told.
 *
 * A name without a slash is in the directory that it starts at, which is known. A longer one may lead anywhere, by symbolic
 * links. But if there is a directory whose path, as the kernel has it, is what was spelled, and no mount on the way covers
 * it, then the spelling leads there: a directory has no two entries of one name. Such directories, and files, come from what
 * was opened before. They are looked at anew each time, and may be gone or moved, and even their memory another's: then
 * their path is another one. */
#ifndef YAGURA_CALL_NAMES_H
#define YAGURA_CALL_NAMES_H

#include "call_match.h"

#define PLACES 1024 /* a power of two */

/* What was opened: by their paths, directories that files are in, and files. Of two that are written at a time the parts may
 * be mixed, which has no path. */
struct place places[2][PLACES] SEC(".data.places") = {};

/* Where to look for the path of n bytes at off in data: by its last ones. */
static __always_inline struct place *place_of(struct call_scratch *s, u32 is_file, u32 off, u32 n)
{
	off &= CALL_BYTES - 1;
	u64 hash = *(u64 *)(s->data + off), last = n - 8;

	barrier_var(last); /* the verifier wants to see the bound */
	if (n < 8)
		hash = low_bytes(hash, n);
	else if (last < CLEAN_BYTES)
		hash = *(u64 *)(s->data + off + last);
	return &places[is_file & 1][(hash + n) * 0x9e3779b97f4a7c15ull >> 40 & (PLACES - 1)];
}

static __always_inline void keep_place(struct place *at, struct dentry *dentry, struct vfsmount *mnt)
{
	if (at->dentry != dentry || at->mnt != mnt) { /* else other processors could not keep their copy */
		at->dentry = dentry;
		at->mnt = mnt;
	}
}

/* Keeps what was opened, and the directory it is in, for who names it later. Its path has n bytes at off in data. */
__noinline int remember(u32 off, u32 n, u32 leaf)
{
	struct call_scratch *s = scratch();

	if (!s || !n || n > CLEAN_BYTES || leaf > n)
		return 0;
	struct file *file = (void *)s->file;
	struct dentry *dentry = FOLLOW(file, f_path.dentry);
	struct vfsmount *mnt = FOLLOW(file, f_path.mnt);
	keep_place(place_of(s, 1, off, n), dentry, mnt);
	keep_place(place_of(s, 0, off, leaf > 1 ? leaf - 1 : 1), FOLLOW(dentry, d_parent), mnt);
	return 0;
}

/* Whether an object can be reached by another path than its own: by a mount of what lies below the top of its file system, or
 * from another root than the task's. A subvolume is a file system to its users. What another path may be watched by has
 * fanotify's mark. */
static __always_inline bool has_other_paths(struct call_scratch *s, struct dentry *dentry, struct vfsmount *mnt)
{
	struct dentry *top = FOLLOW(mnt, mnt_root);
	struct super_block *super = FOLLOW(mnt, mnt_sb);
	struct inode *inode = FOLLOW(dentry, d_inode);

	if (top != FOLLOW(super, s_root)) {
		struct inode *above = FOLLOW(top, d_inode);
		if (FOLLOW(super, s_magic) != BTRFS_SUPER_MAGIC || FOLLOW(above, i_ino) != BTRFS_ROOT_INODE)
			return true;
	}
	struct vfsmount *root = s->walk.root_mnt;
	return s->walk.root_dentry != FOLLOW(root, mnt_root) || FOLLOW(inode, i_fsnotify_mask);
}

static __always_inline bool has_other_names(struct inode *inode)
{
	return (FOLLOW(inode, i_mode) & S_IFMT) == S_IFREG && FOLLOW(inode, i_nlink) > 1;
}

/* The same of an open file, whose walk is over. */
static __always_inline bool file_has_other_paths(struct call_scratch *s)
{
	struct file *file = (void *)s->file;
	struct dentry *dentry = FOLLOW(file, f_path.dentry);
	struct inode *inode = FOLLOW(file, f_inode);
	u32 type = s->e.mode & S_IFMT;

	if (type != S_IFREG && type != S_IFDIR)
		return false; /* nobody watches what is done to those while they are open */
	if (!at_root(&s->walk))
		return FOLLOW(inode, i_nlink); /* from a handle, or unmounted; without a name it never had one, or has none any more */
	return has_other_names(inode) || FOLLOW(inode, i_fsnotify_mask) ||
	       has_other_paths(s, FOLLOW(dentry, d_parent), FOLLOW(file, f_path.mnt));
}

/* Whether the walk's path, which begins at begin, is that of n bytes at off in data. */
static __always_inline bool is_path(struct call_scratch *s, u32 begin, u32 off, u32 n)
{
	if (PATH_MAX_BYTES - begin != n)
		return false;
	for (u32 at = 0; at < CLEAN_BYTES; at += 8) {
		if (at >= n)
			return true;
		u64 differs = *(u64 *)(s->data + (off & (CALL_BYTES - 1)) + at) ^ *(u64 *)(s->path.bytes + ((begin + at) & (PATH_MAX_BYTES - 1)));
		if (n - at < 8 ? low_bytes(differs, n - at) : differs)
			return false;
	}
	return n <= CLEAN_BYTES;
}

/* Whether the path of n bytes at off in data leads to what was opened by it, which is a file or a directory that one is in.
 * Leaves it in s->found. */
__noinline u32 leads_to(u32 is_file, u32 off, u32 n)
{
	struct call_scratch *s = scratch();

	if (!s || !n || n > CLEAN_BYTES)
		return 0;
	s->found = *place_of(s, is_file, off, n);
	struct dentry *dentry = s->found.dentry;
	struct inode *inode = FOLLOW(dentry, d_inode);
	u32 type = FOLLOW(inode, i_mode) & S_IFMT;
	if (type != S_IFDIR && type != S_IFREG)
		return 0;
	s->walk.dentry = dentry;
	s->walk.mnt = s->found.mnt;
	if (!FOLLOW(dentry, d_hash.pprev) && dentry != FOLLOW(s->walk.mnt, mnt_root))
		return 0; /* removed */
	look_for_mounts(&s->walk, true);
	u32 begin = walk_path(&s->walk, &s->path, current_task_raw());
	look_for_mounts(&s->walk, false);
	return begin && is_open_way(&s->walk) && is_path(s, begin, off, n);
}

/* Whether the directory of n bytes at off in data is the one that led to s->found a moment ago. */
static __always_inline bool leads_there_too(struct call_scratch *s, u32 off, u32 n)
{
	if (n != s->found_bytes || off == s->found_at) /* another one has been written there since */
		return false;
	for (u32 at = 0; at < CLEAN_BYTES; at += 8) {
		if (at >= n)
			return true;
		u64 differs = *(u64 *)(s->data + (off & (CALL_BYTES - 1)) + at) ^ *(u64 *)(s->data + (s->found_at & (CALL_BYTES - 1)) + at);
		if (n - at < 8 ? low_bytes(differs, n - at) : differs)
			return false;
	}
	return false;
}

/* Whether a file that was opened is in a directory that is known, by the name of n bytes at off in data; where that is cheaper
 * to tell than whether its path leads to it. Leaves it in s->found. */
static __always_inline bool is_child(struct call_scratch *s, struct place *at, struct place *dir, u32 off, u32 n)
{
	struct dentry_head h = {};

	if (!has_rdonly_cast() || !at->dentry || at->mnt != dir->mnt || n > NAME_WORDS * 8)
		return false;
	struct dentry *dentry = at->dentry;
	struct inode *inode = FOLLOW(dentry, d_inode);
	u32 type = FOLLOW(inode, i_mode) & S_IFMT;
	read_dentry(&h, dentry);
	if (h.parent != dir->dentry || h.length != n || !FOLLOW(dentry, d_hash.pprev) || FOLLOW(dentry, d_flags) & DCACHE_MANAGED ||
	    (type != S_IFDIR && type != S_IFREG))
		return false;
	for (u32 i = 0; i < NAME_WORDS * 8; i += 8) {
		if (i >= n)
			break;
		u64 differs = *(u64 *)(s->data + (off & (CALL_BYTES - 1)) + i) ^ read_word(h.name + i);
		if (n - i < 8 ? low_bytes(differs, n - i) : differs)
			return false;
	}
	s->found.dentry = dentry;
	s->found.mnt = dir->mnt;
	return true;
}

/* Writes the path that a text's name starts at, and the name behind it, to where nothing else stands. The name is at at, n bytes
 * with its NUL. Returns how long both are without that, 0 if they are not known. */
__noinline u32 join(u32 text, u32 at, u32 n)
{
	struct call_scratch *s = scratch();

	if (!s)
		return 0;
	text &= 1;
	u64 dir = s->e.lengths[SECTION_DIR0 + text], to = s->walk.length;
	u64 from = to - (text ? 0 : s->e.lengths[SECTION_DIR1]) - dir;
	if (!dir || n > CLEAN_BYTES || dir + n >= CLEAN_BYTES || to >= CALL_BYTES || !s->from[text].dentry || s->e.flags & CALL_DIR_CUT0 << text)
		return 0;
	to &= CALL_BYTES - 1;
	from &= CALL_BYTES - 1;
	for (u32 i = 0; i < CLEAN_BYTES; i += 8) {
		if (i >= dir)
			break;
		*(u64 *)(s->data + to + i) = *(u64 *)(s->data + from + i);
	}
	u64 name = to + dir;
	barrier_var(name);
	if (name > CALL_BYTES + CLEAN_BYTES)
		return 0;
	if (dir > 1) {
		s->data[name++] = '/';
		dir++;
	}
	barrier_var(name); /* the verifier wants to see the bounds */
	barrier_var(n);
	if (name > CALL_BYTES + CLEAN_BYTES)
		return 0;
	bpf_probe_read_kernel(s->data + name, n & 0xff, s->data + (at & (CALL_BYTES - 1)));
	return dir + n - 1;
}

/* The terms whose paths are wanted that a text may be in: all that want one if it is not sure where it leads. */
__noinline u32 terms_of_name(u32 text)
{
	struct call_scratch *s = scratch();

	if (!s)
		return ALL_TERMS;
	text &= 1;
	u32 off = text ? s->e.lengths[SECTION_TEXT0] : 0, n = s->e.lengths[SECTION_TEXT0 + text];
	if (n < 2 || n > CLEAN_BYTES)
		return ALL_TERMS;
	bool absolute = s->data[off & (CALL_BYTES - 1)] == '/';
	u32 start = 0;
	if (absolute) {
		n--;
	} else {
		u32 length = join(text, off, n);
		if (!length)
			return ALL_TERMS;
		start = length - n + 1;
		off = s->walk.length;
		n = length;
	}
	u32 leaf = clean_leaf(off, n + 1);
	if (!leaf)
		return ALL_TERMS;
	u32 above = leaf > 1 ? leaf - 1 : 1; /* bytes of the directory's path */
	struct place dir = s->from[text];
	if (s->r.names & CALL_NAME_FOLLOWED) {
		bool child = !absolute && leaf == start && is_child(s, place_of(s, 1, off, n), &dir, off + leaf, n - leaf);
		if (!child && !leads_to(1, off, n))
			return ALL_TERMS;
		dir = s->found;
		struct inode *inode = FOLLOW(dir.dentry, d_inode);
		if (has_other_names(inode) || FOLLOW(inode, i_fsnotify_mask))
			return ALL_TERMS;
		dir.dentry = FOLLOW(dir.dentry, d_parent);
	} else if (absolute || leaf != start) {
		if (!leads_there_too(s, off, above) && !leads_to(0, off, above))
			return ALL_TERMS;
		dir = s->found;
		s->found_at = off;
		s->found_bytes = above;
	}
	return has_other_paths(s, dir.dentry, dir.mnt) ? ALL_TERMS : path_terms(off, n, leaf);
}

/* The terms that one of a call's names may be in, of those that are asked for. */
static __always_inline u32 terms_of_names(struct call_scratch *s, u32 terms)
{
	u32 found = s->r.names & CALL_NAME0 ? terms_of_name(0) : 0;

	if (terms & ~found && s->r.names & CALL_NAME1)
		found |= terms_of_name(1);
	return found;
}

#endif
