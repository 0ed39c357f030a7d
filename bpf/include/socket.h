/* SPDX-License-Identifier: Apache-2.0 */
/* From a descriptor to its socket, from a socket to who owns it, and what became of its connect. */
#ifndef YAGURA_SOCKET_H
#define YAGURA_SOCKET_H

#include "helpers.h"

/* Who a TCP socket works for. Interrupts act on sockets while anybody is current, so it is noted when the owner acts:
 * at connect and listen, and for an accepted one from its listener. */
enum owner_role { OWNER_UNKNOWN, OWNER_CONNECTED, OWNER_ACCEPTED };
struct owner {
	u32 slot, generation;
	u32 role, reserved; /* how the socket came to be */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);           /* address of the socket, forgotten when it is destroyed */
	__type(value, struct owner);
} owners SEC(".maps");

struct listen_key {
	u32 ns_net;
	u16 port, reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listen_key);
	__type(value, struct owner);
} listeners SEC(".maps");

/* Listening sockets, to look at their accept queues. */
struct listen_socket {
	struct owner owner;
	u32 port, drops; /* drops: how many of sk_drops are counted already */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64); /* address of the TCP socket, forgotten when it is destroyed */
	__type(value, struct listen_socket);
} listen_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct accept_key);
	__type(value, u64);
} accept_overflows SEC(".maps");

/* A connect from its first SYN to the end of the socket, so that the system call's result can be told from it. */
enum attempt_state {
	ATTEMPT_RUNNING,
	ATTEMPT_COUNTED,
	ATTEMPT_UNDECIDED, /* closed without an error: given up, or failed inside connect, which its result will say */
};
struct attempt {
	u64 ns;
	u32 state, reserved;
	struct owner owner;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct attempt);
} connect_attempts SEC(".maps");

static __always_inline struct listen_key listen_key_of(struct sock *sk)
{
	struct listen_key k = {
		.ns_net = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum),
		.port = BPF_CORE_READ(sk, __sk_common.skc_num),
	};
	return k;
}

static __always_inline u32 slot_generation_of(u32 slot)
{
	u32 *g = bpf_map_lookup_elem(&slot_generation, &slot);
	return g ? *g : 0;
}

static __always_inline struct owner owner_of_slot(u32 slot)
{
	struct owner o = {.slot = slot, .generation = slot_generation_of(slot)};
	return o;
}

/* The owner's slot, or 0 once that slot has been given to somebody else. */
static __always_inline u32 owner_slot(struct owner *o)
{
	if (!o || o->generation != slot_generation_of(o->slot))
		return 0;
	return o->slot;
}

static __always_inline bool is_inet(struct sock *sk)
{
	u16 family = FOLLOW(sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_tcp(struct sock *sk)
{
	return is_inet(sk) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

static __always_inline bool is_mptcp(struct sock *sk)
{
	return is_inet(sk) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP;
}

static __always_inline struct sock *file_to_sock(struct file *file)
{
	if ((FOLLOW(FOLLOW(file, f_inode), i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = FOLLOW(file, private_data);
	return socket ? FOLLOW(socket, sk) : NULL;
}

/* Walks the current task's own table, so dup, fork, SCM_RIGHTS and sockets older than the agent are all the same. */
static __always_inline struct file *fd_to_file(struct task_struct *current, u32 fd)
{
	struct file *file = NULL, **files = NULL;
	u32 limit = 0;

	if (has_current_task_btf()) {
		struct fdtable *table = current->files->fdt;
		limit = table->max_fds;
		files = table->fd;
	} else {
		struct fdtable *table = BPF_CORE_READ(current, files, fdt);
		limit = BPF_CORE_READ(table, max_fds);
		files = BPF_CORE_READ(table, fd);
	}
	if (fd >= limit)
		return NULL;
	if (has_rdonly_cast())
		return (void *)read_word(files + fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

static __always_inline struct sock *fd_to_sock(struct task_struct *current, u32 fd)
{
	struct file *file = fd_to_file(current, fd);

	return file ? file_to_sock(file) : NULL;
}

static __always_inline u32 connect_result_of(int error)
{
	switch (error) {
	case 111: /* ECONNREFUSED */
		return CONNECT_REFUSED;
	case 110: /* ETIMEDOUT */
		return CONNECT_TIMED_OUT;
	case 113: /* EHOSTUNREACH */
	case 112: /* EHOSTDOWN */
		return CONNECT_HOST_UNREACHABLE;
	case 101: /* ENETUNREACH */
	case 100: /* ENETDOWN */
		return CONNECT_NET_UNREACHABLE;
	case 104: /* ECONNRESET */
		return CONNECT_RESET;
	case 98: /* EADDRINUSE */
	case 99: /* EADDRNOTAVAIL */
		return CONNECT_ADDRESS_UNAVAILABLE;
	case 1:  /* EPERM */
	case 13: /* EACCES */
		return CONNECT_DENIED;
	}
	return CONNECT_OTHER;
}

static __always_inline void count_connect(u32 slot, u32 result)
{
	struct slot_counters *c = slot_counters(slot);
	if (c && result < CONNECT_RESULTS)
		increment(c->connects[result]);
}

/* Errors of connect that say how an attempt to reach somebody ended, rather than that it was a misuse, goes on, or was
 * told before: EFAULT, EINVAL, EBADF, ENOTSOCK, EAFNOSUPPORT, EISCONN, EALREADY, EINPROGRESS, EINTR, ERESTART*. */
static __always_inline bool is_connect_failure(long ret)
{
	switch (-ret) {
	case 1: case 11: case 12: case 13: case 98: case 99: case 100: case 101: case 103: case 104: case 105: case 110:
	case 111: case 112: case 113:
		return true;
	}
	return false;
}

/* A connect that never sent a SYN (no route, no free port, forbidden) changes no state: only its result tells. */
static __always_inline void connect_returned(struct task_struct *current, u32 fd, long ret)
{
	if (ret == -115 /* EINPROGRESS */ || ret == -114 /* EALREADY */)
		return;
	struct sock *sk = fd_to_sock(current, fd);
	if (!sk || !is_tcp(sk))
		return;
	u64 key = ADDR(sk);
	struct attempt *a = bpf_map_lookup_elem(&connect_attempts, &key);
	if (a && a->state == ATTEMPT_UNDECIDED) {
		count_connect(owner_slot(&a->owner), ret < 0 ? connect_result_of(-ret) : CONNECT_ABORTED);
		bpf_map_delete_elem(&connect_attempts, &key);
	} else if (a && a->state == ATTEMPT_COUNTED) {
		bpf_map_delete_elem(&connect_attempts, &key); /* this call returns what was counted already */
	} else if (!a && is_connect_failure(ret)) {
		count_connect(current_slot(), connect_result_of(-ret));
	}
}

/* ---- bytes ---- */

static __always_inline void add_slot_bytes(u32 slot, bool sent, u64 n)
{
	struct slot_counters *c = slot_counters(slot);
	if (!c)
		return;
	if (sent)
		c->transmit_bytes += n;
	else
		c->receive_bytes += n;
}

static __always_inline void add_bytes(struct sock *sk, bool sent, u64 n)
{
	if (sk && is_inet(sk))
		add_slot_bytes(current_slot(), sent, n);
}

/* What sendmmsg and recvmmsg say of each message: struct mmsghdr is a msghdr of 56 bytes and the length. */
#define MMSGHDR_SIZE 64
#define MMSGHDR_LENGTH 56
#define MMSG_MAX 64

static __always_inline u64 message_bytes(u64 vector, long messages)
{
	u64 sum = 0;
	for (int i = 0; i < MMSG_MAX && i < messages; i++) {
		u32 n = 0;
		bpf_probe_read_user(&n, sizeof(n), (void *)(vector + i * MMSGHDR_SIZE + MMSGHDR_LENGTH));
		sum += n;
	}
	return sum;
}

/* Kernels without sock_send_length count here; on the others this is what passes it by: tcp_splice_read. */
static __always_inline void count_socket_bytes(struct task_struct *current, u32 syscall, struct pt_regs *regs, long ret)
{
	if (syscall == SYS_SPLICE)
		add_bytes(fd_to_sock(current, regs_arg0(regs)), false, ret);
	if (!socket_bytes)
		return;
	switch (syscall) {
	case SYS_WRITE: case SYS_WRITEV: case SYS_SENDTO: case SYS_SENDMSG: case SYS_SENDFILE:
		add_bytes(fd_to_sock(current, regs_arg0(regs)), true, ret);
		break;
	case SYS_READ: case SYS_READV:
		add_bytes(fd_to_sock(current, regs_arg0(regs)), false, ret);
		break;
	case SYS_RECVMSG:
		if (!(regs_arg2(regs) & (MSG_PEEK | MSG_ERRQUEUE)))
			add_bytes(fd_to_sock(current, regs_arg0(regs)), false, ret);
		break;
	case SYS_RECVFROM:
		if (!(regs_arg3(regs) & (MSG_PEEK | MSG_ERRQUEUE)))
			add_bytes(fd_to_sock(current, regs_arg0(regs)), false, ret);
		break;
	case SYS_SENDMMSG:
		add_bytes(fd_to_sock(current, regs_arg0(regs)), true, message_bytes(regs_arg1(regs), ret));
		break;
	case SYS_RECVMMSG:
		if (!(regs_arg3(regs) & (MSG_PEEK | MSG_ERRQUEUE)))
			add_bytes(fd_to_sock(current, regs_arg0(regs)), false, message_bytes(regs_arg1(regs), ret));
		break;
	case SYS_SPLICE:
		add_bytes(fd_to_sock(current, regs_arg2(regs)), true, ret);
		break;
	}
}

#endif
