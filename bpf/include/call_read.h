/* SPDX-License-Identifier: Apache-2.0 */
/* What the arguments of a call led to, one section of its event after the other. */
#ifndef YAGURA_CALL_READ_H
#define YAGURA_CALL_READ_H

#include "call_match.h"
#include "call_names.h"
#include "socket.h"
#include "task.h"

static __always_inline u64 call_arg(struct call_scratch *s, s8 n)
{
	u32 i = (u8)n;

	return i < 6 ? s->e.args[i] : 0;
}

/* Where the next section goes; false if there is no room for one of up to PATH_MAX_BYTES. */
static __always_inline bool room_for_section(struct call_scratch *s, u32 *off)
{
	u64 at = s->walk.length;

	*off = at;
	return at < CALL_BYTES;
}

static __always_inline void add_section(struct call_scratch *s, u32 off, u32 section, u32 n)
{
	s->e.lengths[section & (SECTIONS - 1)] = n;
	s->walk.length = off + n;
}

/* A hash of the first 256 bytes of a text, which stands at off in data and is n bytes long; never 0. */
__noinline u64 text_hash(u32 off, u32 n)
{
	struct call_scratch *s = scratch();
	u64 hash = n + 1;

	if (!s || n > PATH_MAX_BYTES)
		return 0;
	__builtin_memset(s->head, 0, sizeof(s->head));
	bpf_probe_read_kernel(s->head, n < sizeof(s->head) ? n : sizeof(s->head), s->data + (off & (CALL_BYTES - 1)));
	for (u32 i = 0; i < sizeof(s->head) / 8; i++) {
		if (i * 8 >= n)
			break;
		hash = (hash ^ ((u64 *)s->head)[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
	}
	return hash ? hash : 1;
}

/* Appends a text. */
__noinline int add_text(u64 pointer, u32 section)
{
	struct call_scratch *s = scratch();
	u32 off;

	section &= 1;
	if (!s || !room_for_section(s, &off))
		return 0;
	u64 kept = s->strings[section];
	long n = kept ? bpf_probe_read_kernel_str(s->data + off, PATH_MAX_BYTES, (void *)kept)
		      : bpf_probe_read_user_str(s->data + off, PATH_MAX_BYTES, (void *)pointer);
	if (n < 0) {
		s->e.flags |= CALL_FAULT0 << section;
		return 0;
	}
	if (!n) { /* an empty string, without its NUL: so before 6.13 or so */
		s->data[off] = 0;
		n = 1;
	}
	if (n == PATH_MAX_BYTES)
		s->e.flags |= CALL_CUT0 << section;
	add_section(s, off, section, n);
	if (s->r.entry)
		s->hashes[section] = text_hash(off, n);
	return 0;
}

static __always_inline void add_texts(struct call_scratch *s)
{
	if (s->r.text0 >= 0)
		add_text(call_arg(s, s->r.text0), 0);
	if (s->r.text1 >= 0)
		add_text(call_arg(s, s->r.text1), 1);
}

/* Appends the path that the walk begins at, as the current task's root sees it. */
__noinline int add_path(u32 section, u32 cut)
{
	struct call_scratch *s = scratch();
	u32 off;

	if (!s)
		return 0;
	if (!room_for_section(s, &off)) {
		s->e.flags |= cut;
		return 0;
	}
	u32 begin = walk_path(&s->walk, &s->path, current_task_raw());
	if (!begin) {
		s->e.flags |= cut;
		begin = s->walk.begin;
	}
	u32 n = PATH_MAX_BYTES - (begin < PATH_MAX_BYTES ? begin : PATH_MAX_BYTES);
	if (n > PATH_MAX_BYTES)
		return 0;
	bpf_probe_read_kernel(s->data + off, n, s->path.bytes + (begin & (PATH_MAX_BYTES - 1)));
	add_section(s, off, section, n);
	return 0;
}

/* Appends where text 0 begins for text 1, which begins there, too. */
__noinline int repeat_dir(void)
{
	struct call_scratch *s = scratch();
	u32 off;

	if (!s || !room_for_section(s, &off))
		return 0;
	u64 n = s->e.lengths[SECTION_DIR0], from = off - n;
	if (n > PATH_MAX_BYTES)
		return 0;
	bpf_probe_read_kernel(s->data + off, n, s->data + (from & (CALL_BYTES - 1)));
	add_section(s, off, SECTION_DIR1, n);
	return 0;
}

/* Appends where a text begins that is a relative path. */
__noinline int add_dir(u32 text)
{
	struct call_scratch *s = scratch();
	struct task_struct *task = current_task_raw();

	if (!s)
		return 0;
	text &= 1;
	s8 source = text ? s->r.dir1 : s->r.dir0;
	u32 at = text ? s->e.lengths[SECTION_TEXT0] : 0;
	if (source == FROM_NOTHING || s->data[at & (CALL_BYTES - 1)] == '/')
		return 0;
	s32 fd = source == FROM_CWD ? AT_FDCWD : (s32)call_arg(s, source);
	if (fd == AT_FDCWD) {
		struct fs_struct *fs = FOLLOW(task, fs);
		s->walk.dentry = FOLLOW(fs, pwd.dentry);
		s->walk.mnt = FOLLOW(fs, pwd.mnt);
	} else {
		struct file *file = fd_to_file(current_task(), fd);
		if (!file)
			return 0;
		s->walk.dentry = FOLLOW(file, f_path.dentry);
		s->walk.mnt = FOLLOW(file, f_path.mnt);
	}
	struct place from = {s->walk.dentry, s->walk.mnt};
	if (text && from.dentry == s->from[0].dentry && from.mnt == s->from[0].mnt) {
		s->from[1] = from;
		return repeat_dir();
	}
	look_for_mounts(&s->walk, true);
	add_path(SECTION_DIR0 + text, CALL_DIR_CUT0 << text);
	look_for_mounts(&s->walk, false);
	if (is_open_way(&s->walk))
		s->from[text] = from;
	return 0;
}

static __always_inline void add_dirs(struct call_scratch *s)
{
	if (s->r.text0 >= 0)
		add_dir(0);
	if (s->r.text1 >= 0)
		add_dir(1);
}

/* Appends memory of the caller, or nothing if it cannot be read. */
__noinline int add_memory(u32 section, u64 pointer, u64 length)
{
	struct call_scratch *s = scratch();
	u32 n = length < CALL_DATA_BYTES ? length : CALL_DATA_BYTES, off;

	if (!s || !pointer || !n || !room_for_section(s, &off))
		return 0;
	barrier_var(n);
	if (n > CALL_DATA_BYTES || bpf_probe_read_user(s->data + off, n, (void *)pointer))
		return 0;
	add_section(s, off, section, n);
	return 0;
}

__noinline int add_string(u64 pointer)
{
	struct call_scratch *s = scratch();
	u32 off;

	if (!s || !room_for_section(s, &off))
		return 0;
	long n = bpf_probe_read_user_str(s->data + off, CALL_DATA_BYTES, (void *)pointer);
	if (n > 1)
		add_section(s, off, SECTION_DATA, n - 1);
	return 0;
}

__noinline int add_address(void)
{
	struct call_scratch *s = scratch();

	if (!s || s->r.address < 0)
		return 0;
	u64 length = call_arg(s, s->r.address + 1);
	if (length > 0xffff) { /* a pointer to the length */
		u32 there = 0;
		bpf_probe_read_user(&there, sizeof(there), (void *)length);
		length = there;
	}
	return add_memory(SECTION_ADDRESS, call_arg(s, s->r.address), length);
}

/* struct iovec and struct msghdr, of 64-bit programs. */
struct user_vector {
	u64 base, length;
};
struct user_message {
	u64 name;
	u32 name_length, reserved;
	u64 vector, vector_length;
};

__noinline int add_data(void)
{
	struct call_scratch *s = scratch();
	struct user_vector v = {};
	struct user_message m = {};

	if (!s || s->r.data < 0)
		return 0;
	u64 pointer = call_arg(s, s->r.data);
	s64 result = s->e.result;
	u8 form = s->r.data_form;
	if (form == DATA_STRING)
		return add_string(pointer);
	if (form == DATA_BY_LENGTH)
		return add_memory(SECTION_DATA, pointer, result > 0 ? result : call_arg(s, s->r.data + 1));
	if (form == DATA_BY_RESULT)
		return result > 0 ? add_memory(SECTION_DATA, pointer, result) : 0;
	if (s->e.flags & CALL_COMPAT)
		return 0; /* other structs */
	if (form == DATA_MESSAGES && result > 0) { /* of so many the first, with its length behind it */
		u32 length = 0;
		bpf_probe_read_user(&length, sizeof(length), (void *)(pointer + MMSGHDR_LENGTH));
		result = length;
	}
	if (form == DATA_MESSAGE || form == DATA_MESSAGES) {
		if (bpf_probe_read_user(&m, sizeof(m), (void *)pointer))
			return 0;
		add_memory(SECTION_ADDRESS, m.name, m.name_length);
		pointer = m.vector;
	}
	if (result <= 0 || bpf_probe_read_user(&v, sizeof(v), (void *)pointer))
		return 0;
	return add_memory(SECTION_DATA, v.base, result < (s64)v.length ? result : v.length);
}

/* ---- the descriptor ---- */

static __always_inline void add_unix_name(struct call_scratch *s, struct sock *sk)
{
	struct unix_sock *own = (void *)sk;
	struct unix_address *address = BPF_CORE_READ(own, addr);
	u32 off;

	if (!address) {
		own = (void *)BPF_CORE_READ(own, peer);
		address = own ? BPF_CORE_READ(own, addr) : NULL;
	}
	if (!address || !room_for_section(s, &off))
		return;
	u32 n = BPF_CORE_READ(address, len);
	n = n < ADDRESS_BYTES ? n : ADDRESS_BYTES;
	barrier_var(n);
	if (n <= ADDRESS_BYTES && !bpf_probe_read_kernel(s->data + off, n, address->name))
		add_section(s, off, SECTION_UNIX, n);
}

static __always_inline void add_ends(struct call_event *e, struct sock *sk)
{
	e->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	e->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (e->family == AF_INET) {
		BPF_CORE_READ_INTO((u32 *)e->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((u32 *)e->remote, sk, __sk_common.skc_daddr);
	} else if (bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		BPF_CORE_READ_INTO((struct in6_addr *)e->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)e->remote, sk, __sk_common.skc_v6_daddr);
	}
	if (e->sock_state == TCP_LISTEN) {
		e->flags |= CALL_SERVER;
		return;
	}
	struct listen_key listener = {.ns_net = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum), .port = e->local_port};
	if (e->protocol == IPPROTO_TCP && bpf_map_lookup_elem(&listeners, &listener))
		e->flags |= CALL_SERVER;
}

__noinline int add_socket(void)
{
	struct call_scratch *s = scratch();

	if (!s)
		return 0;
	struct sock *sk = (void *)s->sock;
	struct call_event *e = &s->e;
	e->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	e->sock_state = BPF_CORE_READ(sk, __sk_common.skc_state);
	e->sock_type = BPF_CORE_READ(sk, sk_type);
	e->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (e->family == AF_UNIX)
		add_unix_name(s, sk);
	else if (e->family == AF_INET || e->family == AF_INET6)
		add_ends(e, sk);
	return 0;
}

/* What else there is to say of an open file, once it is known that somebody wants it. */
__noinline int add_inode(void)
{
	struct call_scratch *s = scratch();

	if (!s)
		return 0;
	struct call_event *e = &s->e;
	struct file *file = (void *)s->file;
	struct inode *inode = FOLLOW(file, f_inode);
	struct super_block *super = FOLLOW(inode, i_sb);
	e->inode = FOLLOW(inode, i_ino);
	e->device = FOLLOW(super, s_dev);
	e->super_magic = FOLLOW(super, s_magic);
	e->file_flags = FOLLOW(file, f_flags);
	u32 layer = e->super_magic == OVERLAYFS_SUPER_MAGIC ? overlay_layer(inode) : 0;
	e->flags |= layer == TASK_EXE_UPPER ? CALL_FD_UPPER : layer ? CALL_FD_LOWER : 0;
	return 0;
}

/* What the descriptor is; leaves its path in the walk. Returns the terms that can go with it. */
__noinline u32 add_descriptor(void)
{
	struct call_scratch *s = scratch();

	if (!s || (s->r.fd == FROM_NOTHING && !s->file))
		return ALL_TERMS;
	struct call_event *e = &s->e;
	struct file *file = (void *)s->file;
	if (s->r.fd != FROM_NOTHING) {
		s64 fd = s->r.fd == FROM_RESULT ? e->result : (s32)call_arg(s, s->r.fd);
		if (fd < 0)
			return ALL_TERMS;
		e->fd = fd;
		file = file ? file : fd_to_file(current_task(), fd);
	}
	if (!file)
		return ALL_TERMS;
	struct inode *inode = FOLLOW(file, f_inode);
	e->mode = FOLLOW(inode, i_mode);
	if ((e->mode & S_IFMT) == S_IFSOCK) {
		s->sock = ADDR(file_to_sock(file));
		if (s->sock)
			add_socket();
		return family_terms(s, e->family);
	}
	if (FOLLOW(file, f_mode) & FMODE_CREATED)
		e->flags |= CALL_CREATED;
	s->file = ADDR(file);
	s->walk.dentry = FOLLOW(file, f_path.dentry);
	s->walk.mnt = FOLLOW(file, f_path.mnt);
	return family_terms(s, 0);
}

static __always_inline u32 open_flags_of(struct call_scratch *s)
{
	if (s->r.open_flags == FROM_CREAT)
		return O_CREAT | O_WRONLY | O_TRUNC;
	return s->r.open_flags == FROM_WORDS ? s->e.words[0] : call_arg(s, s->r.open_flags);
}

static __always_inline u32 open_mode_of(struct call_scratch *s)
{
	if (s->r.open_flags == FROM_CREAT)
		return s->e.args[1];
	return s->r.open_flags == FROM_WORDS ? s->e.words[1] : call_arg(s, s->r.open_flags + 1);
}

static __always_inline bool is_absolute(struct call_scratch *s, u32 off)
{
	return s->data[off & (CALL_BYTES - 1)] == '/';
}

/* The terms whose paths one of the call's is in, as it was passed or as the kernel resolves it. */
static __always_inline u32 terms_of_paths(struct call_scratch *s, u32 terms, u32 file_at, bool file)
{
	u32 found = s->r.anywhere, texts = 0, first = s->e.lengths[SECTION_TEXT0];

	if (s->r.names) /* whose terms are all of one sort */
		return found | terms_of_names(s, terms & ~found);
	if (s->e.flags & CALL_FILE_CUT || (!file && s->r.text0 < 0 && s->r.text1 < 0))
		return ALL_TERMS;
	if (file)
		found |= path_terms(file_at, s->e.lengths[SECTION_FILE], s->e.lengths[SECTION_FILE] - (u32)s->walk.leaf);
	if (terms & s->r.resolved & ~found && (!file || file_has_other_paths(s)))
		found |= s->r.resolved;
	if (!(terms & ~found))
		return found;
	if (s->r.text0 >= 0)
		texts |= text_terms(0, first) & (is_absolute(s, 0) ? ALL_TERMS : ~s->r.resolved);
	if (s->r.text1 >= 0)
		texts |= text_terms(first, s->e.lengths[SECTION_TEXT1]) & (is_absolute(s, first) ? ALL_TERMS : ~s->r.resolved);
	return found | texts;
}

/* Puts a call together, whose texts are there, as long as some term can still match. Returns the terms that can. */
__noinline u32 gather(u32 terms)
{
	struct call_scratch *s = scratch();

	if (!s)
		return 0;
	terms &= add_descriptor();
	if (s->r.open_flags != FROM_NOTHING)
		terms &= open_terms(s, open_flags_of(s), open_mode_of(s));
	if (!terms)
		return 0;
	bool file = s->walk.dentry != NULL;
	u32 file_at = s->walk.length;
	if (file) {
		add_path(SECTION_FILE, CALL_FILE_CUT);
		if (s->r.open_flags != FROM_NOTHING && !(s->e.flags & CALL_FILE_CUT))
			remember(file_at, s->e.lengths[SECTION_FILE], s->e.lengths[SECTION_FILE] - (u32)s->walk.leaf);
	}
	if (s->r.names)
		add_dirs(s);
	if (terms & ~s->r.anywhere) { /* some term asks for a path */
		terms &= terms_of_paths(s, terms, file_at, file);
		if (!terms)
			return 0;
	}
	if (file)
		add_inode();
	if (!s->r.names)
		add_dirs(s);
	add_address();
	add_data();
	return terms;
}

static __always_inline void fill_caller(struct call_event *e, struct task_struct *task)
{
	struct cred *cred = (struct cred *)FOLLOW(task, cred);
	struct pid *pid = FOLLOW(task, thread_pid);
	struct signal_struct *signal = FOLLOW(task, signal);

	e->euid = FOLLOW(cred, euid.val);
	e->egid = FOLLOW(cred, egid.val);
	e->cap_permitted = read_caps(cred, cap_permitted);
	e->cap_effective = read_caps(cred, cap_effective);
	e->cap_inheritable = read_caps(cred, cap_inheritable);
	e->login_uid = INVALID_ID;
	if (bpf_core_field_exists(task->loginuid)) /* CONFIG_AUDIT */
		e->login_uid = FOLLOW(task, loginuid.val);
	e->tty = read_tty(signal);
	e->vtid = read_virtual_id(pid, FOLLOW(pid, level));
	e->ppid = FOLLOW(FOLLOW(task, real_parent), tgid);
	if (has_rdonly_cast()) {
		u64 *comm = (u64 *)e->comm;
		comm[0] = read_word(task->comm);
		comm[1] = read_word(task->comm + 8);
	} else {
		bpf_probe_read_kernel(e->comm, sizeof(e->comm), &task->comm);
	}
}

static __always_inline void send_call(struct call_scratch *s)
{
	u64 length = s->walk.length;

	if (length > CALL_BYTES + PATH_MAX_BYTES)
		length = CALL_BYTES + PATH_MAX_BYTES;
	if (bpf_ringbuf_output(&events, &s->e, sizeof(s->e) + length, wake_flags()))
		count_loss(events[EVENT_SYSCALL]);
}

#endif
