//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* TCP: who connects, listens and accepts, how it ends, what is sent again, and how many bytes pass. */
#include "include/socket.h"

/* ---- connections ---- */

static __always_inline void connect_started(struct sock *sk)
{
	u64 key = ADDR(sk);
	struct attempt *old = bpf_map_lookup_elem(&connect_attempts, &key);
	if (old && old->state == ATTEMPT_UNDECIDED)
		count_connect(owner_slot(&old->owner), CONNECT_ABORTED);
	struct attempt a = {.ns = bpf_ktime_get_ns(), .state = ATTEMPT_RUNNING, .owner = owner_of_slot(current_slot())};
	a.owner.role = OWNER_CONNECTED;
	if (bpf_map_update_elem(&connect_attempts, &key, &a, BPF_ANY))
		count_loss(attempts);
	bpf_map_update_elem(&owners, &key, &a.owner, BPF_ANY);
}

static __always_inline void connect_done(struct attempt *a)
{
	u32 slot = owner_slot(&a->owner);
	struct slot_counters *c = slot_counters(slot);
	if (!c)
		return;
	a->state = ATTEMPT_COUNTED;
	increment(c->connects[CONNECT_OK]);
	observe(&c->connect_duration, bpf_ktime_get_ns() - a->ns);
}

/* Without an error either the caller gave it up, which shows as a shutdown where it was by close, or connect itself
 * failed after the state had changed (no free port), which only its result can tell. */
static __always_inline void connect_ended(struct sock *sk, struct attempt *a)
{
	int error = BPF_CORE_READ(sk, sk_err);
	u8 shutdown = BPF_CORE_READ(sk, sk_shutdown);

	if (error) {
		a->state = ATTEMPT_COUNTED;
		count_connect(owner_slot(&a->owner), connect_result_of(error));
	} else if ((shutdown & SHUTDOWN_MASK) == SHUTDOWN_MASK) {
		a->state = ATTEMPT_COUNTED;
		count_connect(owner_slot(&a->owner), CONNECT_ABORTED);
	} else {
		a->state = ATTEMPT_UNDECIDED;
	}
}

/* The TCP socket whose queue fills: MPTCP, which every Go server uses by default, keeps one inside. */
static __always_inline struct sock *queueing_sock(struct sock *sk)
{
	struct mptcp_sock *m = (void *)sk;

	if (!is_mptcp(sk))
		return sk;
	return bpf_core_field_exists(m->first) ? BPF_CORE_READ(m, first) : NULL;
}

static __always_inline void add_queue(struct sock *sk, struct owner *o)
{
	struct listen_socket l = {
		.owner = *o,
		.port = BPF_CORE_READ(sk, __sk_common.skc_num),
		.drops = BPF_CORE_READ(sk, sk_drops.counter),
	};
	u64 key = ADDR(sk);
	if (bpf_map_update_elem(&listen_sockets, &key, &l, BPF_ANY))
		count_loss(listeners);
}

/* Counts what a listening socket has refused since it was last looked at. sk_drops of a listener is what the kernel
 * counts as TcpExtListenDrops, nearly always because its queue was full. */
static __always_inline void count_overflows(struct sock *sk, struct listen_socket *l)
{
	struct accept_key key = {.slot = owner_slot(&l->owner), .port = l->port};
	u32 drops = BPF_CORE_READ(sk, sk_drops.counter);
	u64 more = drops - l->drops;

	if (drops == l->drops)
		return;
	l->drops = drops;
	u64 *n = find_or_add(&accept_overflows, &key, &(u64){0});
	if (n)
		__sync_fetch_and_add(n, more);
	else
		count_loss(listeners);
}

/* The queues as they are now. It walks our own table of listening sockets, so it sees every network namespace. */
SEC("iter/bpf_map_elem")
int accept_queues(struct bpf_iter__bpf_map_elem *ctx)
{
	u64 *key = ctx->key;
	struct listen_socket *l = ctx->value;
	if (!key || !l)
		return 0;
	struct sock *sk = (void *)(unsigned long)*key;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0; /* it is closing on another processor */
	count_overflows(sk, l);
	struct accept_queue q = {
		.slot = owner_slot(&l->owner),
		.port = l->port,
		.waiting = BPF_CORE_READ(sk, sk_ack_backlog),
		.limit = BPF_CORE_READ(sk, sk_max_ack_backlog),
	};
	bpf_seq_write(ctx->meta->seq, &q, sizeof(q));
	return 0;
}

static __always_inline void listen_ended(struct sock *sk)
{
	u64 key = ADDR(sk);
	struct listen_socket *l = bpf_map_lookup_elem(&listen_sockets, &key);
	if (!l)
		return;
	count_overflows(sk, l);
	bpf_map_delete_elem(&listen_sockets, &key);
}

static __always_inline void add_listener(struct sock *sk, struct owner *o)
{
	struct listen_key k = listen_key_of(sk);
	u64 key = ADDR(sk);
	bpf_map_update_elem(&listeners, &k, o, BPF_ANY);
	bpf_map_update_elem(&owners, &key, o, BPF_ANY);
}

static __always_inline void listen_started(struct sock *sk)
{
	struct owner o = owner_of_slot(current_slot());
	struct slot_counters *c = slot_counters(o.slot);
	if (c)
		increment(c->listens);
	add_listener(sk, &o);
	add_queue(sk, &o);
}

/* A handshake that a listener completed. It works for the listener's owner, whoever is current. */
static __always_inline void accepted(struct sock *sk)
{
	struct listen_key k = listen_key_of(sk);
	u64 key = ADDR(sk);
	struct owner *o = bpf_map_lookup_elem(&listeners, &k);
	struct slot_counters *c = slot_counters(owner_slot(o));
	if (c)
		increment(c->accepts);
	if (o) {
		struct owner copy = *o;
		copy.role = OWNER_ACCEPTED;
		bpf_map_update_elem(&owners, &key, &copy, BPF_ANY);
	}
}

/* The kernel keeps the smoothed round-trip time in eighths of a microsecond. */
static __always_inline void sample_round_trip(struct slot_counters *c, struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;
	u32 eighths = BPF_CORE_READ(tcp, srtt_us);
	if (c && eighths)
		observe(&c->round_trip, (u64)eighths * 125);
}

/* Each connection is sampled when it ends, however short it was. */
static __always_inline void connection_ends(struct sock *sk)
{
	u64 key = ADDR(sk);
	sample_round_trip(slot_counters(owner_slot(bpf_map_lookup_elem(&owners, &key))), sk);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int from, int to)
{
	if (!is_tcp(sk))
		return 0;
	u64 key = ADDR(sk);
	struct attempt *a = bpf_map_lookup_elem(&connect_attempts, &key);
	if (to == TCP_SYN_SENT)
		connect_started(sk);
	else if (to == TCP_LISTEN)
		listen_started(sk);
	else if (to == TCP_ESTABLISHED && a && a->state == ATTEMPT_RUNNING)
		connect_done(a);
	else if (to == TCP_ESTABLISHED && from == TCP_SYN_RECV)
		accepted(sk);
	else if (to == TCP_CLOSE && a && a->state == ATTEMPT_RUNNING)
		connect_ended(sk, a);
	if (from == TCP_ESTABLISHED)
		connection_ends(sk);
	else if (from == TCP_LISTEN)
		listen_ended(sk);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroyed, struct sock *sk)
{
	u64 key = ADDR(sk);
	struct attempt *a = bpf_map_lookup_elem(&connect_attempts, &key);
	if (a && a->state == ATTEMPT_UNDECIDED)
		count_connect(owner_slot(&a->owner), CONNECT_ABORTED);
	bpf_map_delete_elem(&connect_attempts, &key);
	bpf_map_delete_elem(&owners, &key);
	return 0;
}

static __always_inline struct slot_counters *counters_of_sock(const struct sock *sk)
{
	u64 key = ADDR(sk);
	return slot_counters(owner_slot(bpf_map_lookup_elem(&owners, &key)));
}

/* In segments, as the kernel's own TcpRetransSegs counts them. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_retransmit, const struct sock *sk, const struct sk_buff *skb)
{
	struct slot_counters *c = counters_of_sock(sk);
	struct tcp_skb_cb *cb = (void *)&skb->cb;
	u16 segments = 0;
	if (!c)
		return 0;
	bpf_core_read(&segments, sizeof(segments), &cb->tcp_gso_segs);
	__sync_fetch_and_add(&c->retransmits, segments ? segments : 1);
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_reset_sent, const struct sock *sk)
{
	struct slot_counters *c = counters_of_sock(sk);
	if (c)
		increment(c->resets_sent);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_reset_received, const struct sock *sk)
{
	struct slot_counters *c = counters_of_sock(sk);
	if (c)
		increment(c->resets_received);
	return 0;
}

/* ---- bytes: these fire inside sock_sendmsg and sock_recvmsg, so write, sendfile and io_uring pass here too (6e6eda44b939,
 * 6.3; sendfile since 6.5, 2dc334f1a63a) ---- */

#define ROUND_TRIP_EVERY 16 /* messages that are sent or received on this CPU */

/* On the path of every packet's worth of data: no helper but the look-ups. sk is followed directly, which the verifier allows
 * for an argument of the hook; kernels that have these hooks have bpf_get_current_task_btf too. */
static __always_inline void count_length(struct sock *sk, bool sent, int n)
{
	struct task_struct *current = current_task_btf();
	u16 family = sk->__sk_common.skc_family;

	if (n <= 0 || (family != AF_INET && family != AF_INET6) || current->tgid == self_tgid)
		return;
	u32 zero = 0, slot = slot_of_task(current);
	add_slot_bytes(slot, sent, n);
	struct last_seen *last = bpf_map_lookup_elem(&last_seen, &zero);
	if (last && sk->sk_protocol == IPPROTO_TCP && last->segments++ % ROUND_TRIP_EVERY == 0)
		sample_round_trip(slot_counters(slot), sk);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(socket_sent, struct sock *sk, int ret, int flags)
{
	count_length(sk, true, ret);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(socket_received, struct sock *sk, int ret, int flags)
{
	if (!(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		count_length(sk, false, ret);
	return 0;
}

/* ---- what was there before us ---- */

/* Rings are files of no file system, and so known by their names: "[io_uring]". */
static __always_inline void note_ring(struct task_struct *task, struct file *file)
{
	struct qstr name = BPF_CORE_READ(file, f_path.dentry, d_name);
	u32 process = BPF_CORE_READ(task, tgid);
	char text[8] = {};
	u8 one = 1;

	if (name.len != 10 || bpf_probe_read_kernel(text, sizeof(text), name.name))
		return;
	if (!__builtin_memcmp(text, "[io_urin", sizeof(text)))
		bpf_map_update_elem(&ring_users, &process, &one, BPF_ANY);
}

SEC("iter/task_file")
int sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	if (!task || !file)
		return 0;
	struct sock *sk = file_to_sock(file);
	if (!sk)
		note_ring(task, file);
	/* A listener for MPTCP, as every Go server is by default, has the port of the TCP one that the kernel keeps inside. */
	if (!sk || !(is_tcp(sk) || is_mptcp(sk)))
		return 0;
	u64 key = ADDR(sk);
	struct owner *known = bpf_map_lookup_elem(&owners, &key);
	if (known && known->slot)
		return 0; /* the first task that has it keeps it; slot 0 says only that the owner had no slot yet */
	struct owner o = owner_of_slot(cgroup_to_slot(task_cgroup_id(task)));
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN) {
		struct listen_key k = listen_key_of(sk);
		struct sock *queue = queueing_sock(sk);
		bpf_map_update_elem(&listeners, &k, &o, BPF_ANY);
		if (queue)
			add_queue(queue, &o);
	}
	bpf_map_update_elem(&owners, &key, &o, BPF_ANY);
	return 0;
}

/* ---- connect alone, for when nobody asks for system calls: a hook of its own costs every other call 40 to 52 ns, the
 * dispatcher more ---- */

SEC("tracepoint/syscalls/sys_exit_connect")
int connect_exit(void *ctx)
{
	struct {
		u64 common;
		s64 nr;
		s64 ret;
	} args = {};
	bpf_probe_read_kernel(&args, sizeof(args), ctx);
	struct pt_regs *regs = (void *)bpf_task_pt_regs(current_task_btf());
	if (!is_self())
		connect_returned(current_task_btf(), regs_arg0(regs), args.ret);
	return 0;
}
