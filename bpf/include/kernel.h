/* SPDX-License-Identifier: Apache-2.0 */
/* Every difference between the kernels we run on, and the commit or release that made it. */
#ifndef YAGURA_KERNEL_H
#define YAGURA_KERNEL_H

#include "types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* Kernel constants that BTF does not carry. */
#define TS_COMPAT 0x0002         /* x86 thread_info.status: this system call came by the 32-bit gate */
#define TIF_32BIT 22             /* arm64 thread_info.flags */
#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x4
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262
#define SOCK_STREAM 1
#define MSG_PEEK 0x2
#define MSG_ERRQUEUE 0x2000
#define SHUTDOWN_MASK 3
#define AT_FDCWD (-100)
#define CLONE_VM 0x100
#define CLONE_VFORK 0x4000
#define O_ACCMODE 3
#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_TMPFILE_BIT 020000000
#define FMODE_CREATED (1u << 20)
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define BTRFS_SUPER_MAGIC 0x9123683e
#define BTRFS_ROOT_INODE 256 /* of each subvolume */
#define INVALID_ID 0xffffffff
enum { PIDTYPE_PGID = 2, PIDTYPE_SID = 3 };
enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_FIN_WAIT1 = 4, TCP_CLOSE = 7, TCP_LAST_ACK = 9, TCP_LISTEN = 10 };

enum bpf_func_id___x { BPF_FUNC_get_current_task_btf___x = 42, BPF_FUNC_task_pt_regs___x = 43 };
#define has_current_task_btf() /* 3ca1032ab7ab, 5.11 */ \
	bpf_core_enum_value_exists(enum bpf_func_id___x, BPF_FUNC_get_current_task_btf___x)

/* The current task as a pointer that may be followed without helpers where the kernel can say so. */
#define current_task_btf() ((struct task_struct *)bpf_get_current_task_btf())
#define current_task_raw() ((struct task_struct *)bpf_get_current_task())

/* Any address of the kernel as a pointer that may be followed without helpers, where a fault gives 0: a35b9af4ec2c, 6.2.
 * Each helper call takes some 40 ns, of which a path and the state of a task need dozens. */
void *bpf_rdonly_cast(const void *address, u32 type) __ksym __weak;
#define has_rdonly_cast() (bpf_rdonly_cast != NULL)
#define typed(p) ((typeof(p))bpf_rdonly_cast(p, bpf_core_type_id_kernel(typeof(*(p)))))

/* BPF_CORE_READ of one member, in the cheapest way that the kernel has. */
#define FOLLOW(p, member)                                                                     \
	({                                                                                    \
		typeof(p) followed = (p);                                                     \
		has_rdonly_cast() ? typed(followed)->member : BPF_CORE_READ(followed, member); \
	})

/* The first n bytes of a word, up to 7; the others are 0. */
static __always_inline u64 low_bytes(u64 word, u32 n)
{
	return word & ~(~0ull << (n * 8 & 63));
}

/* Eight bytes of the kernel's memory. A timespec64 is a type of every kernel that begins with a number of that size. */
static __always_inline u64 read_word(const void *p)
{
	return typed((struct timespec64 *)p)->tv_sec;
}

/* Bits of d_flags by which another path may begin at a dentry: a mount, now or when somebody asks. They were macros, and
 * moved down by one when DCACHE_COOKIE went; of either layout bit 15 to 17 are these, or say that the dentry is dead. */
#define DCACHE_MANAGED 0x38000

/* kernel_cap_t was two u32, low half first, until f122a08b197d (6.3) made it one u64: on a little-endian machine the
 * same eight bytes. */
#define read_caps(cred, field)                                                     \
	({                                                                         \
		u64 caps = 0;                                                      \
		if (has_rdonly_cast())                                             \
			caps = read_word(&(cred)->field);                          \
		else                                                               \
			bpf_core_read(&caps, sizeof(caps), &(cred)->field);        \
		caps;                                                              \
	})

/* i_ctime became __i_ctime in 6.6 (13bc24457850) and two fields in 6.11 (3aa63a569c64); i_mtime followed in 6.7
 * (12cd44023651) and 6.11. */
/* Since multigrain timestamps (6.13) the top bit of i_ctime_nsec says that somebody has asked for it. */
#define I_CTIME_QUERIED (1u << 31)

struct inode___510 {
	struct timespec64 i_ctime, i_mtime;
} __attribute__((preserve_access_index));
struct inode___67 {
	struct timespec64 __i_ctime, __i_mtime;
} __attribute__((preserve_access_index));
struct inode___611 {
	s64 i_ctime_sec, i_mtime_sec;
	u32 i_ctime_nsec, i_mtime_nsec;
} __attribute__((preserve_access_index));

/* task_struct.state became __state in 5.14 (2f064a59a11f). */
struct task_struct___514 {
	unsigned int __state;
} __attribute__((preserve_access_index));
struct task_struct___510 {
	long state;
} __attribute__((preserve_access_index));

static __always_inline bool task_is_running(struct task_struct *task)
{
	struct task_struct___514 *new = (void *)task;
	struct task_struct___510 *old = (void *)task;

	if (bpf_core_field_exists(new->__state))
		return BPF_CORE_READ(new, __state) == 0;
	return BPF_CORE_READ(old, state) == 0;
}

/* request.rq_disk went in 5.17 (f3fa33acca9f); the queue has had its disk since 5.15 (d152c682f03c). */
struct request___510 {
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

static __always_inline struct gendisk *request_disk(struct request *rq)
{
	struct request___510 *old = (void *)rq;

	if (bpf_core_field_exists(old->rq_disk))
		return BPF_CORE_READ(old, rq_disk);
	return BPF_CORE_READ(rq, q, disk);
}

/* What a bio belongs to, where the kernel is built with CONFIG_BLK_CGROUP. */
#define has_bio_group() bpf_core_field_exists(((struct bio *)0)->bi_blkg)

#define NSEC_PER_SEC 1000000000ll

#define inode_time(inode, which)                                                                            \
	({                                                                                                  \
		s64 ns = 0;                                                                                 \
		struct inode___510 *old = (void *)(inode);                                                  \
		struct inode___67 *mid = (void *)(inode);                                                   \
		struct inode___611 *new = (void *)(inode);                                                  \
		if (bpf_core_field_exists(new->i_##which##_sec))                                            \
			ns = BPF_CORE_READ(new, i_##which##_sec) * NSEC_PER_SEC +                           \
			     (BPF_CORE_READ(new, i_##which##_nsec) & ~I_CTIME_QUERIED);                                          \
		else if (bpf_core_field_exists(mid->__i_##which))                                           \
			ns = BPF_CORE_READ(mid, __i_##which.tv_sec) * NSEC_PER_SEC +                        \
			     BPF_CORE_READ(mid, __i_##which.tv_nsec);                                       \
		else if (bpf_core_field_exists(old->i_##which))                                             \
			ns = BPF_CORE_READ(old, i_##which.tv_sec) * NSEC_PER_SEC +                          \
			     BPF_CORE_READ(old, i_##which.tv_nsec);                                         \
		ns;                                                                                         \
	})

/* System call number and arguments at sys_exit. x86 keeps all six; arm64 overwrites the first and keeps a copy. */
#if defined(__TARGET_ARCH_x86)
#define regs_syscall(regs) ((s32)(regs)->orig_ax)
#define regs_arg0(regs) ((regs)->di)
#define regs_arg2(regs) ((regs)->dx)
#define regs_arg1(regs) ((regs)->si)
#define regs_arg3(regs) ((regs)->r10)
#define regs_arg4(regs) ((regs)->r8)
#define regs_arg5(regs) ((regs)->r9)
#define compat_arg0(regs) ((u32)(regs)->bx)
#define follow_compat(task) ((task)->thread_info.status & TS_COMPAT)
#define read_compat(task) (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT)
#define SYS_EXECVE 59
#define SYS_EXIT 60
#define SYS_EXIT_GROUP 231
#define SYS_RT_SIGRETURN 15
#define SYS_CLONE 56
#define SYS_FORK 57
#define SYS_VFORK 58
#define SYS_READ 0
#define SYS_WRITE 1
#define SYS_SENDFILE 40
#define SYS_CONNECT 42
#define SYS_SENDTO 44
#define SYS_RECVFROM 45
#define SYS_SENDMSG 46
#define SYS_RECVMSG 47
#define SYS_READV 19
#define SYS_WRITEV 20
#define SYS_SPLICE 275
#define SYS_RECVMMSG 299
#define SYS_SENDMMSG 307
#elif defined(__TARGET_ARCH_arm64)
#define regs_syscall(regs) ((regs)->syscallno)
#define regs_arg0(regs) ((regs)->orig_x0)
#define regs_arg2(regs) ((regs)->regs[2])
#define regs_arg1(regs) ((regs)->regs[1])
#define regs_arg3(regs) ((regs)->regs[3])
#define regs_arg4(regs) ((regs)->regs[4])
#define regs_arg5(regs) ((regs)->regs[5])
#define compat_arg0(regs) ((u32)(regs)->orig_x0)
#define follow_compat(task) ((task)->thread_info.flags & (1ul << TIF_32BIT))
#define read_compat(task) (BPF_CORE_READ(task, thread_info.flags) & (1ul << TIF_32BIT))
#define SYS_EXECVE 221
#define SYS_EXIT 93
#define SYS_EXIT_GROUP 94
#define SYS_RT_SIGRETURN 139
#define SYS_CLONE 220
#define SYS_FORK -2 /* not on this machine */
#define SYS_VFORK -2
#define SYS_READ 63
#define SYS_WRITE 64
#define SYS_SENDFILE 71
#define SYS_CONNECT 203
#define SYS_SENDTO 206
#define SYS_RECVFROM 207
#define SYS_SENDMSG 211
#define SYS_RECVMSG 212
#define SYS_READV 65
#define SYS_WRITEV 66
#define SYS_SPLICE 76
#define SYS_RECVMMSG 243
#define SYS_SENDMMSG 269
#endif
#define SYS_CLONE3 435

static __always_inline struct task_struct *current_task(void)
{
	if (has_current_task_btf())
		return current_task_btf();
	return current_task_raw();
}

/* Whether the call that is ending came by the 32-bit gate. */
static __always_inline bool is_compat(struct task_struct *current)
{
	return has_current_task_btf() ? follow_compat(current) : read_compat(current);
}

#endif
