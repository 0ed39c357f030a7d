/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel keeps of a task behind several pointers. */
#ifndef YAGURA_TASK_H
#define YAGURA_TASK_H

#include "helpers.h"

static __always_inline u32 read_id(struct pid *pid)
{
	return pid ? BPF_CORE_READ(pid, numbers[0].nr) : 0;
}

/* The number of pid as the name space with this level sees it. */
static __always_inline u32 read_virtual_id(struct pid *pid, u32 level)
{
	if (!pid || level > 32)
		return 0;
	void *numbers = (void *)pid + bpf_core_field_offset(struct pid, numbers);
	return FOLLOW((struct upid *)(numbers + level * bpf_core_type_size(struct upid)), nr);
}

static __always_inline struct pid_namespace *read_pid_namespace(struct pid *pid, u32 level)
{
	struct pid_namespace *ns = NULL;
	if (!pid || level > 32)
		return NULL;
	void *numbers = (void *)pid + bpf_core_field_offset(struct pid, numbers);
	bpf_probe_read_kernel(&ns, sizeof(ns),
			      numbers + level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, ns));
	return ns;
}

/* The device number of the controlling terminal, 0 for none. */
static __always_inline u32 read_tty(struct signal_struct *signal)
{
	struct tty_struct *tty = FOLLOW(signal, tty);

	if (!tty)
		return 0;
	u32 minor = BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index);
	/* As /proc/PID/stat encodes it: minor's low byte, major, minor's rest. */
	return (minor & 0xff) | BPF_CORE_READ(tty, driver, major) << 8 | (minor & ~0xff) << 12;
}

/* overlayfs keeps the dentry of the written copy right behind the inode it shows (struct ovl_inode, since 4.13; not a
 * BTF field where overlay is a module, so the layout is tested on every kernel of the list). */
static __always_inline u32 overlay_layer(struct inode *inode)
{
	struct dentry *upper = NULL;
	if (BPF_CORE_READ(inode, i_sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return 0;
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	if (upper && BPF_CORE_READ(upper, d_inode))
		return TASK_EXE_UPPER;
	return TASK_EXE_LOWER;
}

#endif
