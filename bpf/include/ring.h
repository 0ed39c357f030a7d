/* SPDX-License-Identifier: Apache-2.0 */
/* What a request of io_uring asks for, as the kernel keeps it once it has copied it from the caller. */
#ifndef YAGURA_RING_H
#define YAGURA_RING_H

#include "calls.h"

#define REQ_F_FIXED_FILE (1u << 0)
#define REQ_F_CQE_SKIP (1u << 6) /* it is not told when the request succeeds */
#define IORING_CQE_F_MORE 2      /* the same request will complete again */

enum ring_op {
	RING_SENDMSG = 9,
	RING_ACCEPT = 13,
	RING_CONNECT = 16,
	RING_OPENAT = 18,
	RING_OPENAT2 = 28,
	RING_RENAMEAT = 35,
	RING_UNLINKAT = 36,
	RING_MKDIRAT = 37,
	RING_SYMLINKAT = 38,
	RING_LINKAT = 39,
	RING_SOCKET = 45,
	RING_LISTEN = 57,
	RING_OPS = 64, /* a power of two */
};

/* Dense number of the system call that an operation replaces, SYSCALL_OTHER for none. */
const volatile u16 ring_calls[RING_OPS] = {};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct io_cqe {
	s32 res;
	s32 fd;
};
struct io_kiocb {
	struct file *file; /* every command begins with it */
	u8 opcode;
	u64 flags;
	struct io_cqe cqe;
};
struct filename {
	const char *name;
	const char *uptr;
};
struct open_how {
	u64 flags, mode, resolve;
};
struct io_open {
	int dfd;
	u32 file_slot;
	struct filename *filename;
	struct open_how how;
};
/* Since 7.0 names are wrapped in a struct of their own (delayed_filename). */
struct delayed_filename {
	struct filename *__incomplete_filename;
};
struct io_open___70 {
	struct delayed_filename filename;
};
struct io_rename___70 {
	struct delayed_filename oldpath, newpath;
};
struct io_unlink___70 {
	struct delayed_filename filename;
};
struct io_mkdir___70 {
	struct delayed_filename filename;
};
struct io_link___70 {
	struct delayed_filename oldpath, newpath;
};
struct io_rename {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};
struct io_unlink {
	int dfd, flags;
	struct filename *filename;
};
struct io_mkdir {
	int dfd;
	u16 mode;
	struct filename *filename;
};
struct io_link {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};
struct io_connect {
	void *addr;
	int addr_len;
};
struct io_accept {
	void *addr;
	int flags;
	u32 file_slot;
};
struct io_socket {
	int domain, type, protocol;
	u32 file_slot;
};
struct io_listen {
	int backlog;
};
struct io_uring_cqe {
	s32 res;
	u32 flags;
};

#pragma clang attribute pop

#endif
