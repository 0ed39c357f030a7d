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
#define SYSCALL_SLOTS 640 /* dense syscall numbers: see syscalls_table.go */
#define SYSCALL_OTHER 639 /* what has no dense number */
#define PATH_DEPTH 64       /* components and mounts that one walk follows */

/* The numbers are event.Kind's. */
enum event_kind {
	EVENT_FORK = 1,
	EVENT_EXEC = 2,
	EVENT_EXIT = 3,
	EVENT_CGROUP_MAKE = 4,
	EVENT_CGROUP_REMOVE = 5,
	EVENT_SYSCALL = 6,
	EVENT_KINDS = 7,
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
	u64 clone_flags;
	s32 syscall; /* dense number of the call that did it, -1 if it is not known */
	u32 reserved;
};

/* Followed by path_len bytes of path components, leaf first, each ended by a NUL, then args_len bytes of arguments,
 * env_len bytes of environment and cwd_len bytes of the working directory. */
struct exec_event {
	struct header h;
	struct task_info task;
	u32 path_len, args_len, env_len, cwd_len;
	s32 syscall; /* dense number of the call that did it, -1 if it is not known */
	u32 reserved;
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

/* ---- system calls that a rule may match ---- */

#define ENV_MAX_BYTES 4096
#define CALL_DATA_BYTES 128 /* of what was read or written */
#define ADDRESS_BYTES 128   /* of a socket address: sizeof(struct sockaddr_storage) */
#define PATH_KEY_BYTES 64   /* of a path that a prefix is looked for in */
#define NAME_KEY_BYTES 32   /* of a path's last component */
#define CLEAN_BYTES 240     /* of a path that is looked through for components like . and .. */

/* The sections that follow a call_event, in this order. */
enum call_section {
	SECTION_TEXT0,   /* with its NUL */
	SECTION_TEXT1,
	SECTION_UNIX,    /* name of a unix socket: what struct sockaddr_un holds */
	SECTION_FILE,    /* path of the descriptor's file */
	SECTION_DIR0,    /* where text 0 starts if it is relative */
	SECTION_DIR1,
	SECTION_ADDRESS, /* struct sockaddr */
	SECTION_DATA,
	SECTIONS, /* a power of two */
};

/* Two bits for each text, and two more. */
enum call_flags {
	CALL_FAULT0 = 1 << 0,
	CALL_FAULT1 = 1 << 1,
	CALL_CUT0 = 1 << 2,
	CALL_CUT1 = 1 << 3,
	CALL_FILE_CUT = 1 << 4,
	CALL_DIR_CUT0 = 1 << 5,
	CALL_DIR_CUT1 = 1 << 6,
	CALL_CREATED = 1 << 7,   /* the file was made by this open */
	CALL_FD_UPPER = 1 << 8,  /* it lies on the upper layer of an overlay */
	CALL_FD_LOWER = 1 << 9,
	CALL_UNSTABLE = 1 << 10, /* a text was another one when the call began */
	CALL_RING = 1 << 11,     /* an operation of io_uring */
	CALL_SERVER = 1 << 12,   /* the socket was accepted, or listens */
	CALL_COMPAT = 1 << 13,
};

struct call_event {
	struct header h;
	s64 result;
	u64 args[6];
	u64 words[4];
	u64 cap_permitted, cap_effective, cap_inheritable;
	u64 inode;
	u64 super_magic;
	u32 euid, egid, login_uid, tty, vtid, ppid;
	u32 flags;
	s32 fd; /* -1: none */
	u32 device, mode, file_flags;
	u16 type; /* event.Type */
	u16 family, sock_type, protocol, local_port, remote_port; /* ports in host order */
	u8 sock_state, reserved[7];
	u8 local[16], remote[16];
	u32 lengths[SECTIONS];
	char comm[16];
};

/* Where an argument stands that is none of 0 to 5. */
enum call_source { FROM_RESULT = -1, FROM_NOTHING = -2, FROM_CWD = -3, FROM_WORDS = -4, FROM_CREAT = -5 };

enum data_form { DATA_NONE, DATA_BY_RESULT, DATA_BY_LENGTH, DATA_VECTOR, DATA_MESSAGE, DATA_STRING, DATA_MESSAGES };

/* Which keys are there for paths of this type. */
enum call_keys { CALL_KEY_PREFIX = 1 << 0, CALL_KEY_NAME = 1 << 1 };

/* Which texts name what a call changes, and whether that is what a symbolic link leads to that is named. */
enum call_names { CALL_NAME0 = 1 << 0, CALL_NAME1 = 1 << 1, CALL_NAME_FOLLOWED = 1 << 2 };

/* What to read of a call and which of its calls rules can match. A rule's condition is a sum of terms, of which the
 * kernel knows up to 32 a call by their bits: what cannot satisfy any stays here. */
struct call_recipe {
	u32 results[3];  /* terms that allow an error, zero, and more */
	u32 opens[16];   /* by what open was asked: read 1, write 2, execute 4, created 8 */
	u32 families[4]; /* by the socket's: another one or none, unix, inet, inet6 */
	u32 anywhere;    /* terms that want no path */
	u32 resolved;    /* terms that want the kernel's own path, where it is sure of it */
	u32 wanted;      /* all terms; 0: nobody asks for this call */
	u16 type;
	s8 fd, text0, text1, dir0, dir1;
	s8 open_flags;   /* argument that holds them */
	s8 data, address, words;
	u8 data_form, word_bytes;
	u8 keys;  /* enum call_keys */
	u8 entry; /* say whether a text was another one when the call began */
	u8 names; /* enum call_names, of calls that leave no descriptor of it behind */
	u16 paths; /* type under which the paths are kept */
	u16 reserved;
};

/* What the programs ask before anything else. */
struct call_switches {
	u8 results[SYSCALL_SLOTS]; /* by call, the signs of results that rules ask for: error 1, zero 2, more 4 */
	u8 entry[SYSCALL_SLOTS];   /* calls whose texts are looked at when they begin */
	u8 env;                    /* rules ask for the environment of what is run */
	u8 reserved[7];
};

struct path_prefix {
	u32 bits; /* of what follows */
	u16 type, reserved;
	char path[PATH_KEY_BYTES];
};

struct path_name {
	u16 type, reserved;
	char name[NAME_KEY_BYTES];
};

/* ---- counters, read from maps ---- */

#define LOG2_BUCKETS 40   /* powers of two: of durations in units of 2^-30 s, up to 512 s; of sizes in bytes */

struct log2_hist {
	u64 buckets[LOG2_BUCKETS];
	u64 sum; /* ns, or bytes */
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
	u64 filtered;            /* no loss: calls of a wanted type that no rule can match */
};

/* ---- layer 7 ---- */

enum l7_protocol {
	L7_UNKNOWN,
	L7_TCP, /* none of the others: exchanges, from the first byte one way to the first byte back */
	L7_TLS,
	L7_HTTP,
	L7_HTTP2,
	L7_GRPC,
	L7_POSTGRES,
	L7_MYSQL,
	L7_REDIS,
	L7_MEMCACHED,
	L7_MONGO,
	L7_KAFKA,
	L7_AMQP,
	L7_NATS,
	L7_DNS,
	L7_PROTOCOLS,
};

enum l7_role { L7_CLIENT, L7_SERVER, L7_ROLES };

/* How a request ended. */
enum l7_end {
	L7_OK,
	L7_FAILED,  /* the answer says so: the status has the code, where the protocol has one */
	L7_CLOSED,  /* the connection ended before the answer did */
	L7_CANCELLED, /* given up by who asked or who answers: RST_STREAM, CancelRequest */
	L7_ONE_WAY, /* nothing answers to it by design: its duration is 0 */
	L7_ENDS,
};

enum http_method {
	HTTP_OTHER, HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_CONNECT, HTTP_OPTIONS, HTTP_TRACE, HTTP_PATCH,
	HTTP_METHODS,
};

/* Why bytes of a known protocol made no request or response. */
enum l7_reason {
	L7_NO_REQUEST,   /* an answer to what was asked before the connection was seen */
	L7_LOST_FRAMING, /* where a message ends is not known: taken up again when the direction changes */
	L7_QUEUE_MERGED, /* more kinds of requests waited than are told apart: counted as the last one's */
	L7_NO_ROOM,      /* the table of connections, streams or totals is full: counted under `other` or not at all */
	L7_HEADER_TABLE, /* HPACK: refers to what was sent before the connection was seen, or is too long */
	L7_REASONS,
};

#define L7_NATIVE_SCHEMA 3    /* of the native histogram: 2^3 buckets for each power of two */
#define L7_NATIVE_LOW (-20)   /* the first bucket takes all up to 2^-20 s */
#define L7_NATIVE_POWERS 27   /* powers of two: up to 128 s */
#define L7_NATIVE_BUCKETS (L7_NATIVE_POWERS * 8 + 2)
#define L7_BOUNDS 10          /* classic bounds */
#define L7_NONE 0             /* name: there is none */
#define L7_OTHER 1            /* name: beyond those that are told apart */
#define L7_TEXT 64            /* bytes of a name: route, operation, method */

struct l7_key {
	u32 slot, name; /* name: hash of what the request is called, L7_NONE or L7_OTHER */
	u16 status;     /* HTTP status, gRPC status, SQLSTATE class as two letters, MySQL error, rcode, Kafka error */
	u8 protocol, role, method, end;
	u8 reserved[2];
};

/* A name that is told apart. */
struct l7_name {
	u32 slot, name;
	u8 protocol, role, reserved[6];
};

struct l7_totals {
	u64 sum_ns;
	u64 classic[L7_BOUNDS + 1];      /* not cumulative; the last one is +Inf's */
	u64 native[L7_NATIVE_BUCKETS];   /* [i]: up to 2^(L7_NATIVE_LOW + i/8) s */
};

/* Sizes of bodies: of requests and of responses. */
struct l7_sizes {
	struct log2_hist of[2];
};

/* What may be changed while programs run. */
struct l7_options {
	u64 slow_ns;             /* requests that take longer are samples */
	u64 bounds[L7_BOUNDS];   /* classic bounds in ns, ascending */
	u32 names[16];           /* by protocol: how many names are told apart by slot and role */
	u32 samples;             /* at most so many a second and CPU; 0 for none */
	u32 every;               /* one request in so many is a sample though it is neither slow nor failed; 0 for none */
	u32 dns_names;           /* whether DNS answers are told, for names of addresses */
	u32 sizes;               /* whether sizes of bodies are counted */
};

enum l7_sample_kind {
	L7_SAMPLE_NAME = 1 << 0,    /* the first of its name */
	L7_SAMPLE_SLOW = 1 << 1,
	L7_SAMPLE_FAILED = 1 << 2,
	L7_SAMPLE_REGULAR = 1 << 3,
	L7_SAMPLE_ANSWER = 1 << 4,  /* a DNS message, in payload */
};

/* One request as user space is told of it: never a body, a query string or a literal. */
struct l7_sample {
	u64 boot, duration; /* ns: since boot at its end; from begin to end */
	u32 slot, generation, pid, name;
	u16 status, kind, family, local_port, remote_port, text_length;
	u8 protocol, role, method, end;
	u8 traced, reserved[7];
	u8 local[16], remote[16];
	char trace[32];      /* of a traceparent, where traced */
	char text[L7_TEXT];  /* what the request is called, as it stands on the wire */
};

#define L7_ANSWER 512
struct l7_answer {
	struct l7_sample sample;
	u8 payload[L7_ANSWER];
};

/* Who spoke with whom: the ends of connections that have ended are added up here. */
struct l7_edge {
	u32 slot, peer_slot; /* peer_slot: 0 if it is not of this machine, or not known */
	u8 address[16];      /* of the peer, where it has no slot */
	u16 port, family;    /* port of the server */
	u8 protocol, role, reserved[2];
};

struct l7_edge_totals {
	u64 connections, requests, failures, sent, received;
};

/* A connection as it is now: what the iterator l7_connections writes. */
struct l7_connection {
	struct l7_edge edge;
	struct l7_edge_totals totals;
	u64 born;            /* ns since boot, of what is known of it */
	u32 pid, ns_net;     /* pid: whose call was the last */
	u16 local_port, remote_port;
	u8 local[16];
	u8 tls, joined, reserved[2]; /* joined: seen from its middle on */
};

#pragma clang diagnostic pop

#endif
