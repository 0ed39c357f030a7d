//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that a rule may match, with what their arguments led to. What to read of each call and which of its calls
 * can match at all is in call_recipes, made from the loaded rules; everything else stays in the kernel. Runs as a tail
 * call of the dispatcher on sys_exit, so that a kernel that refuses it still counts. */
#include "include/helpers.h"
#include "include/socket.h"
#include "include/path.h"
#include "include/task.h"
#include "include/calls.h"

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

/* One event while it is put together. What the programs need of it between helpers is in memory, of which the verifier
 * knows nothing and so checks each loop once. */
struct call_scratch {
	struct walk walk;
	struct path_prefix prefix;
	struct path_name name;
	char tail[NAME_KEY_BYTES];
	char head[CLEAN_BYTES + 16];
	struct call_event e;
	char data[CALL_BYTES + PATH_MAX_BYTES + NAME_MAX_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct call_scratch);
} call_scratch SEC(".maps");

static __always_inline u64 call_arg(struct call_scratch *s, s8 n)
{
	u32 i = (u8)n;

	return i < 6 ? s->e.args[i] : 0;
}

static __always_inline void read_args(struct call_event *e, struct pt_regs *regs, bool compat)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		e->args[0] = (u32)regs->bx;
		e->args[1] = (u32)regs->cx;
		e->args[2] = (u32)regs->dx;
		e->args[3] = (u32)regs->si;
		e->args[4] = (u32)regs->di;
		e->args[5] = (u32)regs->bp;
		return;
	}
#endif
	e->args[0] = regs_arg0(regs);
	e->args[1] = regs_arg1(regs);
	e->args[2] = regs_arg2(regs);
	e->args[3] = regs_arg3(regs);
	e->args[4] = regs_arg4(regs);
	e->args[5] = regs_arg5(regs);
}

/* ---- what a call can match ---- */

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* The high bit of each byte of w that is c; bits above a true one may be set too, which only lets more pass. */
static __always_inline u64 bytes_equal(u64 w, u8 c)
{
	u64 x = w ^ (ONES * c);
	return (x - ONES) & ~x & HIGHS;
}

/* Whether the path in head, n bytes with its NUL, has an empty component, . or .., or ends in a slash. Each word's first six bytes are
 * looked at, with the two behind them. */
static __noinline int is_unclean(struct call_scratch *s, u32 n)
{
	for (u32 i = 0; i < CLEAN_BYTES / 6; i++) {
		if (i * 6 >= n)
			break;
		u64 w = *(u64 *)(s->head + i * 6);
		u64 slash = bytes_equal(w, '/'), dot = bytes_equal(w, '.'), end = bytes_equal(w, 0);
		if (slash & (slash >> 8 | end >> 8 | (dot >> 8 & (slash | dot | end) >> 16)))
			return 1;
	}
	return 0;
}

/* The terms that an absolute path of n bytes, at off in data, satisfies. */
static __noinline u32 path_terms(struct call_scratch *s, u32 off, u32 n)
{
	u32 terms = 0;

	off &= CALL_BYTES - 1;
	if (n < 1 || n > PATH_MAX_BYTES)
		return ~0u;
	const char *path = s->data + off;
	s->prefix.bits = sizeof(s->prefix) * 8 - 32;
	s->prefix.type = s->name.type = s->e.type;
	u32 length = n < PATH_KEY_BYTES ? n : PATH_KEY_BYTES;
	__builtin_memset(s->prefix.path, 0, sizeof(s->prefix.path));
	bpf_probe_read_kernel(s->prefix.path, length, path);
	u32 *found = bpf_map_lookup_elem(&path_prefixes, &s->prefix);
	if (found)
		terms = *found;

	/* The last component: what follows the last slash of the last bytes. */
	u32 take = n < NAME_KEY_BYTES ? n : NAME_KEY_BYTES;
	__builtin_memset(s->tail, 0, sizeof(s->tail));
	bpf_probe_read_kernel(s->tail, take, path + n - take);
	u32 start = 0;
	for (u32 i = 0; i < NAME_KEY_BYTES; i++)
		if (s->tail[i] == '/')
			start = i + 1;
	if (!start || start >= NAME_KEY_BYTES)
		return n > NAME_KEY_BYTES && !start ? ~0u : terms; /* a longer name than the key */
	__builtin_memset(s->name.name, 0, sizeof(s->name.name));
	bpf_probe_read_kernel_str(s->name.name, NAME_KEY_BYTES, s->tail + start);
	found = bpf_map_lookup_elem(&path_names, &s->name);
	return found ? terms | *found : terms;
}

/* The same for a text as the caller passed it: every term if it is not a plain absolute path. */
static __noinline u32 text_terms(struct call_scratch *s, u32 off, u32 n)
{
	off &= CALL_BYTES - 1;
	if (n < 2 || n > CLEAN_BYTES)
		return ~0u;
	bpf_probe_read_kernel(s->head, sizeof(s->head), s->data + off);
	if (s->head[0] != '/' || is_unclean(s, n))
		return ~0u;
	return path_terms(s, off, n - 1);
}

static __always_inline u32 open_terms(struct call_scratch *s, struct call_recipe *r, u32 flags, u32 mode)
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
	return r->opens[how];
}

static __always_inline u32 family_terms(struct call_recipe *r, u32 family)
{
	return r->families[family == AF_UNIX ? 1 : family == AF_INET ? 2 : family == AF_INET6 ? 3 : 0];
}

/* ---- what a call led to ---- */

/* Where the next section goes. Never beyond CALL_BYTES, after which there is room for one more. */
static __always_inline u32 end_of(struct call_scratch *s)
{
	u64 off = s->walk.length;
	return off < CALL_BYTES ? off : CALL_BYTES - 1;
}

static __always_inline void add_section(struct call_scratch *s, u32 section, u32 n)
{
	s->e.lengths[section] = n;
	s->walk.length = end_of(s) + n;
}

static __noinline int add_text(struct call_scratch *s, u64 pointer, u32 section)
{
	u32 off = end_of(s);

	section &= 1;
	long n = bpf_probe_read_user_str(s->data + off, PATH_MAX_BYTES, (void *)pointer);
	if (n <= 0) {
		s->e.flags |= CALL_FAULT0 << section;
		return 0;
	}
	if (n == PATH_MAX_BYTES)
		s->e.flags |= CALL_CUT0 << section;
	add_section(s, section, n);
	return s->data[off & (CALL_BYTES - 1)] == '/';
}

/* Appends the path that the walk begins at, as the current task's root sees it. */
static __noinline int add_path(struct call_scratch *s, u32 section, u32 cut)
{
	u32 zero = 0;
	struct path_buffer *b = bpf_map_lookup_elem(&path_buffer, &zero);
	if (!b || section >= SECTIONS)
		return 0;
	u32 begin = walk_path(&s->walk, b, current_task_raw());
	if (!begin) {
		s->e.flags |= cut;
		begin = s->walk.begin;
	}
	u32 n = PATH_MAX_BYTES - (begin < PATH_MAX_BYTES ? begin : PATH_MAX_BYTES);
	u32 off = end_of(s);
	if (n > PATH_MAX_BYTES)
		return 0;
	bpf_probe_read_kernel(s->data + off, n, b->bytes + (begin & (PATH_MAX_BYTES - 1)));
	add_section(s, section, n);
	return 0;
}

static __always_inline void add_dir(struct call_scratch *s, s8 source, u32 section, u32 cut)
{
	struct task_struct *task = current_task_raw();

	if (source == FROM_NOTHING)
		return;
	s32 fd = source == FROM_CWD ? AT_FDCWD : (s32)call_arg(s, source);
	if (fd == AT_FDCWD) {
		s->walk.dentry = BPF_CORE_READ(task, fs, pwd.dentry);
		s->walk.mnt = BPF_CORE_READ(task, fs, pwd.mnt);
	} else {
		struct file *file = fd_to_file(fd);
		if (!file)
			return;
		s->walk.dentry = BPF_CORE_READ(file, f_path.dentry);
		s->walk.mnt = BPF_CORE_READ(file, f_path.mnt);
	}
	add_path(s, section, cut);
}

static __noinline int add_address(struct call_scratch *s, u64 pointer, u64 length)
{
	u32 n = length < ADDRESS_BYTES ? length : ADDRESS_BYTES;
	u32 off = end_of(s);

	if (!pointer || bpf_probe_read_user(s->data + off, n & 0xff, (void *)pointer))
		return 0;
	add_section(s, SECTION_ADDRESS, n & 0xff);
	return 0;
}

static __noinline int add_data(struct call_scratch *s, u64 pointer, u64 length)
{
	u32 n = length < CALL_DATA_BYTES ? length : CALL_DATA_BYTES;
	u32 off = end_of(s);

	if (!pointer || !n || bpf_probe_read_user(s->data + off, n & 0xff, (void *)pointer))
		return 0;
	add_section(s, SECTION_DATA, n & 0xff);
	return 0;
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

static __noinline int add_buffers(struct call_scratch *s, struct call_recipe *r)
{
	struct user_vector v = {};
	struct user_message m = {};
	u64 pointer = call_arg(s, r->data);
	s64 result = s->e.result;

	if (r->address >= 0) {
		u64 length = call_arg(s, r->address + 1);
		if (length > 0xffff) { /* a pointer to the length */
			u32 there = 0;
			bpf_probe_read_user(&there, sizeof(there), (void *)length);
			length = there;
		}
		add_address(s, call_arg(s, r->address), length);
	}
	switch (r->data_form) {
	case DATA_BY_RESULT:
		if (result > 0)
			add_data(s, pointer, result);
		break;
	case DATA_BY_LENGTH:
		add_data(s, pointer, result > 0 ? result : call_arg(s, r->data + 1));
		break;
	case DATA_MESSAGE:
		if (bpf_probe_read_user(&m, sizeof(m), (void *)pointer))
			break;
		add_address(s, m.name, m.name_length);
		pointer = m.vector;
		/* fall through */
	case DATA_VECTOR:
		if (result > 0 && !bpf_probe_read_user(&v, sizeof(v), (void *)pointer))
			add_data(s, v.base, result < (s64)v.length ? result : v.length);
		break;
	}
	return 0;
}

static __always_inline void fill_caller(struct call_event *e, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);

	e->euid = BPF_CORE_READ(cred, euid.val);
	e->egid = BPF_CORE_READ(cred, egid.val);
	e->cap_permitted = read_caps(cred, cap_permitted);
	e->cap_effective = read_caps(cred, cap_effective);
	e->cap_inheritable = read_caps(cred, cap_inheritable);
	e->login_uid = INVALID_ID;
	if (bpf_core_field_exists(task->loginuid)) /* CONFIG_AUDIT */
		e->login_uid = BPF_CORE_READ(task, loginuid.val);
	e->tty = read_tty(signal);
	e->vtid = read_virtual_id(pid, BPF_CORE_READ(pid, level));
	e->ppid = BPF_CORE_READ(task, real_parent, tgid);
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), &task->comm);
}

static __always_inline void add_unix_name(struct call_scratch *s, struct sock *sk)
{
	struct unix_sock *own = (void *)sk;
	struct unix_address *address = BPF_CORE_READ(own, addr);

	if (!address) {
		own = (void *)BPF_CORE_READ(own, peer);
		address = own ? BPF_CORE_READ(own, addr) : NULL;
	}
	if (!address)
		return;
	u32 n = BPF_CORE_READ(address, len);
	u32 off = end_of(s);
	n = n < ADDRESS_BYTES ? n : ADDRESS_BYTES;
	if (!bpf_probe_read_kernel(s->data + off, n & 0xff, address->name))
		add_section(s, SECTION_UNIX, n & 0xff);
}

static __noinline int add_socket(struct call_scratch *s, struct sock *sk)
{
	struct call_event *e = &s->e;

	e->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	e->sock_state = BPF_CORE_READ(sk, __sk_common.skc_state);
	e->sock_type = BPF_CORE_READ(sk, sk_type);
	e->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (e->family == AF_UNIX) {
		add_unix_name(s, sk);
		return 0;
	}
	if (e->family != AF_INET && e->family != AF_INET6)
		return 0;
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
		return 0;
	}
	struct listen_key listener = {.ns_net = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum), .port = e->local_port};
	e->flags |= e->protocol == IPPROTO_TCP && bpf_map_lookup_elem(&listeners, &listener) ? CALL_SERVER : 0;
	return 0;
}

/* What the descriptor is. Says with which terms that can go. */
static __noinline u32 add_descriptor(struct call_scratch *s, struct call_recipe *r)
{
	struct call_event *e = &s->e;

	if (r->fd == FROM_NOTHING)
		return ~0u;
	s64 fd = r->fd == FROM_RESULT ? e->result : (s32)call_arg(s, r->fd);
	if (fd < 0)
		return ~0u;
	e->fd = fd;
	struct file *file = fd_to_file(fd);
	if (!file)
		return ~0u;
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	e->mode = BPF_CORE_READ(inode, i_mode);
	if ((e->mode & S_IFMT) == S_IFSOCK) {
		struct sock *sk = file_to_sock(file);
		if (sk)
			add_socket(s, sk);
		return family_terms(r, e->family);
	}
	e->inode = BPF_CORE_READ(inode, i_ino);
	e->device = BPF_CORE_READ(inode, i_sb, s_dev);
	e->super_magic = BPF_CORE_READ(inode, i_sb, s_magic);
	e->file_flags = BPF_CORE_READ(file, f_flags);
	if (BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
		e->flags |= CALL_CREATED;
	u32 layer = overlay_layer(inode);
	e->flags |= layer == TASK_EXE_UPPER ? CALL_FD_UPPER : layer ? CALL_FD_LOWER : 0;
	s->walk.dentry = BPF_CORE_READ(file, f_path.dentry);
	s->walk.mnt = BPF_CORE_READ(file, f_path.mnt);
	return ~0u;
}

static __always_inline u32 open_flags_of(struct call_scratch *s, struct call_recipe *r)
{
	if (r->open_flags == FROM_CREAT)
		return O_CREAT | O_WRONLY | O_TRUNC;
	return r->open_flags == FROM_WORDS ? s->e.words[0] : call_arg(s, r->open_flags);
}

static __always_inline u32 open_mode_of(struct call_scratch *s, struct call_recipe *r)
{
	if (r->open_flags == FROM_CREAT)
		return s->e.args[1];
	return r->open_flags == FROM_WORDS ? s->e.words[1] : call_arg(s, r->open_flags + 1);
}

/* Puts texts and file of a call together as long as some term can still match. Returns the terms that can. */
static __noinline u32 gather(struct call_scratch *s, struct call_recipe *r, u32 terms)
{
	struct call_event *e = &s->e;
	bool file = false;

	if (r->words >= 0 && r->word_bytes)
		bpf_probe_read_user(e->words, r->word_bytes & 31, (void *)call_arg(s, r->words));
	s->walk.dentry = NULL;
	/* The sections must stand in their order: texts first. */
	bool absolute0 = true, absolute1 = true;
	if (r->text0 >= 0)
		absolute0 = add_text(s, call_arg(s, r->text0), 0);
	if (r->text1 >= 0)
		absolute1 = add_text(s, call_arg(s, r->text1), 1);
	u32 texts = s->walk.length;
	terms &= add_descriptor(s, r);
	if (r->open_flags != FROM_NOTHING)
		terms &= open_terms(s, r, open_flags_of(s, r), open_mode_of(s, r));
	file = s->walk.dentry != NULL;
	if (!terms)
		return 0;
	if (file)
		add_path(s, SECTION_FILE, CALL_FILE_CUT);
	if (terms & ~r->anywhere) { /* some term asks for a path */
		u32 at = 0, found = r->anywhere;
		if (r->text0 >= 0)
			found |= text_terms(s, 0, e->lengths[SECTION_TEXT0]);
		if (r->text1 >= 0)
			found |= text_terms(s, e->lengths[SECTION_TEXT0], e->lengths[SECTION_TEXT1]);
		at = texts + e->lengths[SECTION_UNIX];
		if (file)
			found |= e->flags & CALL_FILE_CUT ? ~0u : path_terms(s, at, e->lengths[SECTION_FILE]);
		if (r->text0 < 0 && r->text1 < 0 && !file)
			found = ~0u;
		terms &= found;
		if (!terms)
			return 0;
	}
	if (!absolute0)
		add_dir(s, r->dir0, SECTION_DIR0, CALL_DIR_CUT0);
	if (!absolute1)
		add_dir(s, r->dir1, SECTION_DIR1, CALL_DIR_CUT1);
	add_buffers(s, r);
	return terms;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *current = current_task();
	u32 zero = 0;
	struct call_scratch *s = bpf_map_lookup_elem(&call_scratch, &zero);
	bool compat = is_compat(current);
	u32 syscall = dense_syscall(current, regs_syscall(regs));
	struct call_recipe *r = bpf_map_lookup_elem(&call_recipes, &syscall);

	if (!s || !r)
		return 0;
	u32 terms = result_terms(r, ret);
	if (!terms)
		return 0;
	__builtin_memset(&s->e, 0, sizeof(s->e));
	s->walk.length = 0;
	s->e.result = ret;
	s->e.type = r->type;
	s->e.fd = -1;
	s->e.flags = compat ? CALL_COMPAT : 0;
	read_args(&s->e, regs, compat);
	if (!gather(s, r, terms)) {
		count_loss(filtered);
		return 0;
	}
	fill_header(&s->e.h, EVENT_SYSCALL, current);
	fill_caller(&s->e, current);
	u64 length = s->walk.length;
	if (length > CALL_BYTES + PATH_MAX_BYTES)
		length = CALL_BYTES + PATH_MAX_BYTES;
	if (bpf_ringbuf_output(&events, &s->e, sizeof(s->e) + length, wake_flags()))
		count_loss(events[EVENT_SYSCALL]);
	return 0;
}
