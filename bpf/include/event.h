/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format: what the kernel programs write and only package bpf reads. Every struct is here once; bpf2go makes
 * the Go ones from them. Fields stand widest first, so that nothing is padded but by name. */
#ifndef YAGURA_EVENT_H
#define YAGURA_EVENT_H

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

#define PATH_MAX_BYTES 4096 /* of a path, before its head is cut */
#define NAME_MAX_BYTES 256  /* of one component of it, with its NUL */
#define ARGS_MAX_BYTES 4096 /* of an argument list, before its tail is cut */
#define PATH_DEPTH 64       /* components and mounts that one walk follows */

/* The numbers are event.Kind's. */
enum event_kind {
	EVENT_FORK = 1,
	EVENT_EXEC = 2,
	EVENT_EXIT = 3,
	EVENT_CGROUP_MAKE = 4,
	EVENT_CGROUP_REMOVE = 5,
	EVENT_KINDS = 6,
};

/* The bits are event.Flags'. */
enum task_flags {
	TASK_EXE_MEMFD = 1 << 0,
	TASK_EXE_UPPER = 1 << 1,
	TASK_EXE_LOWER = 1 << 2,
	TASK_EXE_UNLINKED = 1 << 3,
	TASK_PATH_TRUNCATED = 1 << 4,
	TASK_ARGS_TRUNCATED = 1 << 5,
	TASK_COMMAND_FAULT = 1 << 6,
	TASK_KERNEL_THREAD = 1 << 7,
};

/* Begins every event. */
struct header {
	u64 boot;      /* ns since boot */
	u64 cgroup_id; /* of the actor, in the tracked hierarchy */
	u64 start;     /* of the actor's process, ns since boot */
	u32 pid, tid, uid, gid;
	u16 kind, cpu;
	u32 reserved;
};

struct task_info {
	u64 start, cap_permitted, cap_effective, cap_inheritable;
	u64 cgroup_id, exe_inode, pidns_init_start;
	s64 exe_change, exe_modify; /* Unix ns */
	u32 pid, ppid, pgid, sid;
	u32 vpid, vpgid, vsid, tty;
	u32 uid, euid, suid, gid, egid, sgid;
	u32 login_uid, audit_session;
	u32 exe_device, flags;
	u32 ns_mount, ns_pid, ns_net, ns_user, ns_uts, ns_ipc, ns_cgroup;
	u32 reserved;
	char comm[16];
};

struct fork_event {
	struct header h;
	struct task_info task;
};

/* Followed by path_len bytes of path components, leaf first, each ended by a NUL, then args_len bytes of arguments. */
struct exec_event {
	struct header h;
	struct task_info task;
	u32 path_len, args_len;
};

struct exit_event {
	struct header h;
	u32 status, reserved;
};

/* Followed by path_len bytes of path, with a NUL. h is the task that did it. */
struct cgroup_event {
	struct header h;
	u64 id, parent;
	u32 slot, path_len;
};

/* ---- counters, read from maps ---- */

#define SYSCALL_SLOTS 640 /* dense syscall numbers: see syscalls_table.go */
#define SYSCALL_OTHER 639 /* what has no dense number */
#define LOG2_BUCKETS 40   /* powers of two in units of 2^-30 s: up to 512 s */

struct log2_hist {
	u64 buckets[LOG2_BUCKETS];
	u64 sum_ns;
};

enum exit_reason { EXIT_COMPLETED, EXIT_ERROR, EXIT_SIGNAL, EXIT_CORE_DUMP, EXIT_REASONS };

enum connect_result {
	CONNECT_OK,
	CONNECT_REFUSED,
	CONNECT_TIMED_OUT,
	CONNECT_HOST_UNREACHABLE,
	CONNECT_NET_UNREACHABLE,
	CONNECT_RESET,
	CONNECT_ADDRESS_UNAVAILABLE,
	CONNECT_DENIED,
	CONNECT_ABORTED,
	CONNECT_OTHER,
	CONNECT_RESULTS,
};

/* One per slot and CPU. */
struct slot_counters {
	u64 forks, execs;
	u64 exits[EXIT_REASONS];
	u64 connects[CONNECT_RESULTS];
	u64 accepts, listens;
	u64 retransmits;
	u64 resets_sent, resets_received;
	u64 transmit_bytes, receive_bytes;
	u64 oom_kills;
	struct log2_hist connect_duration;
	struct log2_hist round_trip; /* smoothed round-trip time, as sampled */
	struct log2_hist run_queue;  /* ready to run, and not running */
};

struct syscall_counters {
	u64 calls[SYSCALL_SLOTS];
};

struct error_key {
	u32 slot;
	u16 syscall, error;
};

struct latency_key {
	u32 slot, syscall;
};

/* How the last process of a slot ended, or its first one (1 in a pid namespace of its own), whose end is the others'. */
struct last_exit {
	u64 boot; /* ns since boot, 0: none has ended */
	u32 status;
	u16 oom, first;
};

struct signal_key {
	u32 slot, signal;
};

enum block_operation { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_OTHER, BLOCK_OPERATIONS };

/* device is major << 20 | minor of the whole disk. */
struct block_key {
	u32 slot, device, operation;
};

struct block_counters {
	struct log2_hist duration;
	u64 bytes, errors;
};

/* Connections that were established and waited to be accepted when there was no room for them. */
struct accept_key {
	u32 slot, port;
};

/* One listening socket as it is now: what the iterator accept_queues writes. */
struct accept_queue {
	u32 slot, port;
	u32 waiting, limit; /* connections */
};

#define DROP_REASONS 256 /* the last one is for all beyond */

/* What the kernel knows of a control group of the tracked hierarchy. */
enum cgroup_flags {
	CGROUP_INHERIT = 1 << 0,   /* it is a workload: what is made below it shares its slot */
	CGROUP_BORROWED = 1 << 1,  /* its slot belongs to a control group above */
	CGROUP_DEAD = 1 << 2,
};

struct cgroup_slot {
	u64 born; /* ns since boot, 0 if it is older than the agent */
	u64 died; /* ns since boot, 0 while it lives */
	u32 slot, flags;
};

/* Costs of our own bounds, one per CPU. */
struct losses {
	u64 events[EVENT_KINDS]; /* no room in the ring buffer */
	u64 slots;               /* a control group got slot 0 */
	u64 cgroups;             /* cgroup_slots is full */
	u64 errors;              /* syscall_errors is full: counted under SYSCALL_OTHER, errno 0, of slot 0 */
	u64 latencies;           /* syscall_latency is full */
	u64 attempts;            /* connect_attempts is full */
	u64 run_queue;           /* two waiting threads shared a place: one wait was not measured */
	u64 block;               /* block_inflight or block_io is full */
	u64 signals;             /* fatal_signals is full */
	u64 listeners;           /* listen_sockets or accept_overflows is full */
};

#pragma clang diagnostic pop

#endif
