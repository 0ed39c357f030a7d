//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: one event when one is made, runs another image, or ends; and a walk over those that are already there. */
#include "include/helpers.h"
#include "include/path.h"
#include "include/task.h"
#include "include/calls.h"

/* Room for the longest event, with slack so that the verifier sees every write end inside. */
struct exec_scratch {
	struct walk walk;
	struct exec_event e;
	char data[4 * PATH_MAX_BYTES + NAME_MAX_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct exec_scratch);
} exec_scratch SEC(".maps");

/* Processes whose end was already told: two last threads may each see that no thread is left. */
struct exit_key {
	u64 start;
	u32 pid, reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct exit_key);
	__type(value, u8);
} exits_told SEC(".maps");

static __always_inline void fill_ids(struct task_info *t, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct pid *group = BPF_CORE_READ(signal, pids[PIDTYPE_PGID]);
	struct pid *session = BPF_CORE_READ(signal, pids[PIDTYPE_SID]);
	u32 level = BPF_CORE_READ(pid, level);
	struct pid_namespace *ns = read_pid_namespace(pid, level);

	t->pid = BPF_CORE_READ(task, tgid);
	t->ppid = BPF_CORE_READ(task, real_parent, tgid);
	t->pgid = read_id(group);
	t->sid = read_id(session);
	t->vpid = read_virtual_id(pid, level);
	t->vpgid = read_virtual_id(group, level);
	t->vsid = read_virtual_id(session, level);
	t->start = BPF_CORE_READ(task, group_leader, start_boottime);
	t->ns_pid = ns ? BPF_CORE_READ(ns, ns.inum) : 0;
	t->pidns_init_start = ns ? BPF_CORE_READ(ns, child_reaper, start_boottime) : 0;
	t->tty = read_tty(signal);
}

static __always_inline void fill_credentials(struct task_info *t, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);

	t->uid = BPF_CORE_READ(cred, uid.val);
	t->euid = BPF_CORE_READ(cred, euid.val);
	t->suid = BPF_CORE_READ(cred, suid.val);
	t->gid = BPF_CORE_READ(cred, gid.val);
	t->egid = BPF_CORE_READ(cred, egid.val);
	t->sgid = BPF_CORE_READ(cred, sgid.val);
	t->cap_permitted = read_caps(cred, cap_permitted);
	t->cap_effective = read_caps(cred, cap_effective);
	t->cap_inheritable = read_caps(cred, cap_inheritable);
	t->ns_user = BPF_CORE_READ(cred, user_ns, ns.inum);
	t->login_uid = t->audit_session = INVALID_ID;
	if (bpf_core_field_exists(task->loginuid)) /* CONFIG_AUDIT */
		t->login_uid = BPF_CORE_READ(task, loginuid.val);
	if (bpf_core_field_exists(task->sessionid))
		t->audit_session = BPF_CORE_READ(task, sessionid);
}

static __always_inline void fill_namespaces(struct task_info *t, struct task_struct *task)
{
	struct nsproxy *ns = BPF_CORE_READ(task, nsproxy);

	t->ns_mount = t->ns_net = t->ns_uts = t->ns_ipc = t->ns_cgroup = 0;
	if (!ns) /* a task that is ending has none */
		return;
	t->ns_mount = BPF_CORE_READ(ns, mnt_ns, ns.inum);
	t->ns_net = BPF_CORE_READ(ns, net_ns, ns.inum);
	t->ns_uts = BPF_CORE_READ(ns, uts_ns, ns.inum);
	t->ns_ipc = BPF_CORE_READ(ns, ipc_ns, ns.inum);
	t->ns_cgroup = BPF_CORE_READ(ns, cgroup_ns, ns.inum);
}

static __always_inline u32 memfd_flag(struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	char name[8] = {};
	if (BPF_CORE_READ(dentry, d_parent) != dentry)
		return 0; /* a file of a directory, whatever it is called */
	bpf_probe_read_kernel(name, 6, BPF_CORE_READ(dentry, d_name.name));
	return name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':'
		       ? TASK_EXE_MEMFD
		       : 0;
}

static __always_inline void fill_executable(struct task_info *t, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	t->exe_inode = BPF_CORE_READ(inode, i_ino);
	t->exe_device = BPF_CORE_READ(inode, i_sb, s_dev);
	t->exe_change = inode_time(inode, ctime);
	t->exe_modify = inode_time(inode, mtime);
	t->flags |= overlay_layer(inode) | memfd_flag(file);
	if (BPF_CORE_READ(inode, i_nlink) == 0)
		t->flags |= TASK_EXE_UNLINKED;
}

static __always_inline void fill_task(struct task_info *t, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = mm ? BPF_CORE_READ(mm, exe_file) : NULL;

	t->reserved = t->flags = 0;
	t->exe_inode = t->exe_device = t->exe_change = t->exe_modify = 0;
	fill_ids(t, task);
	fill_credentials(t, task);
	fill_namespaces(t, task);
	t->cgroup_id = task_cgroup_id(task);
	bpf_probe_read_kernel(t->comm, sizeof(t->comm), &task->comm);
	if (exe)
		fill_executable(t, exe);
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		t->flags |= TASK_KERNEL_THREAD;
}

/* Appends the path at the walk, as the current task's root sees it, to the event. Returns its length. */
static __noinline u32 append_path(struct exec_scratch *s, u32 cut)
{
	u32 zero = 0;
	struct path_buffer *b = bpf_map_lookup_elem(&path_buffer, &zero);
	u64 off = s->walk.length;

	if (!b || off > 3 * PATH_MAX_BYTES)
		return 0;
	u32 begin = walk_path(&s->walk, b, current_task_raw());
	if (!begin) {
		s->e.task.flags |= cut;
		begin = s->walk.begin;
	}
	u32 n = PATH_MAX_BYTES - (begin < PATH_MAX_BYTES ? begin : PATH_MAX_BYTES);
	if (n > PATH_MAX_BYTES)
		return 0;
	bpf_probe_read_kernel(s->data + off, n, b->bytes + (begin & (PATH_MAX_BYTES - 1)));
	s->walk.length = off + n;
	return n;
}

/* Appends user memory between two addresses. Returns its length. */
static __noinline u32 append_strings(struct exec_scratch *s, u64 start, u64 end)
{
	u64 n = end - start, off = s->walk.length;

	if (n > ARGS_MAX_BYTES) {
		n = ARGS_MAX_BYTES;
		s->e.task.flags |= TASK_ARGS_TRUNCATED;
	}
	if (n == 0 || off > 3 * PATH_MAX_BYTES)
		return 0;
	if (bpf_probe_read_user(s->data + off, n, (void *)start)) {
		s->e.task.flags |= TASK_COMMAND_FAULT;
		return 0;
	}
	s->walk.length = off + n;
	return n;
}

static __always_inline void count_process(u32 slot, int what, int n)
{
	struct slot_counters *c = slot_counters(slot);
	if (!c)
		return;
	if (what == EVENT_FORK)
		c->forks++;
	else if (what == EVENT_EXEC)
		c->execs++;
	else if (what == EVENT_EXIT && n >= 0 && n < EXIT_REASONS)
		c->exits[n]++;
}

/* Which call makes a process, and how. */
static __always_inline void fill_clone(struct fork_event *e)
{
	e->clone_flags = 0;
	e->reserved = 0;
	e->syscall = executing_dense();
	if (e->syscall < 0)
		return;
	struct pt_regs *regs = (void *)bpf_task_pt_regs(current_task_btf());
	if (e->syscall == SYS_CLONE)
		e->clone_flags = is_compat(current_task_btf()) ? compat_arg0(regs) : regs_arg0(regs);
	else if (e->syscall == SYS_VFORK)
		e->clone_flags = CLONE_VM | CLONE_VFORK;
	else if (e->syscall == SYS_CLONE3 && !is_compat(current_task_btf()))
		bpf_probe_read_user(&e->clone_flags, sizeof(e->clone_flags), (void *)regs_arg0(regs));
}

/* Runs in the parent, once the child is complete but has not run. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0; /* a thread */
	count_process(cgroup_to_slot(task_cgroup_id(child)), EVENT_FORK, 0);
	struct fork_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_loss(events[EVENT_FORK]);
		return 0;
	}
	fill_header(&e->h, EVENT_FORK, parent);
	fill_task(&e->task, child);
	fill_clone(e);
	bpf_ringbuf_submit(e, wake_flags());
	return 0;
}

/* Runs after the point of no return, with the new image in place. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	u32 zero = 0;

	count_process(current_slot(), EVENT_EXEC, 0);
	struct exec_scratch *s = bpf_map_lookup_elem(&exec_scratch, &zero);
	if (!s)
		return 0;
	struct task_struct *current = current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = BPF_CORE_READ(bprm, file);
	fill_header(&s->e.h, EVENT_EXEC, current);
	fill_task(&s->e.task, task);
	s->walk.dentry = BPF_CORE_READ(exe, f_path.dentry);
	s->walk.mnt = BPF_CORE_READ(exe, f_path.mnt);
	s->walk.length = 0;
	s->e.path_len = append_path(s, TASK_PATH_TRUNCATED);
	s->e.args_len = append_strings(s, BPF_CORE_READ(mm, arg_start), BPF_CORE_READ(mm, arg_end));
	s->e.env_len = 0;
	if (switches.env)
		s->e.env_len = append_strings(s, BPF_CORE_READ(mm, env_start), BPF_CORE_READ(mm, env_end));
	s->walk.dentry = BPF_CORE_READ(current, fs, pwd.dentry);
	s->walk.mnt = BPF_CORE_READ(current, fs, pwd.mnt);
	s->e.cwd_len = append_path(s, 0);
	s->e.syscall = executing_dense();
	s->e.reserved = 0;
	u64 length = s->walk.length;
	if (length > 4 * PATH_MAX_BYTES)
		return 0;
	if (bpf_ringbuf_output(&events, &s->e, sizeof(s->e) + length, wake_flags()))
		count_loss(events[EVENT_EXEC]);
	return 0;
}

static __always_inline int exit_reason(u32 status)
{
	if (status & 0x80)
		return EXIT_CORE_DUMP;
	if (status & 0x7f)
		return EXIT_SIGNAL;
	return status ? EXIT_ERROR : EXIT_COMPLETED;
}

/* Processes that a signal has ended, by signal, while the kernel side runs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct signal_key);
	__type(value, u64);
} fatal_signals SEC(".maps");

/* The out-of-memory killer marks its victims with oom_mm, and they keep it until they are gone: here it is their own
 * control group that is charged, and the number is that of oom_kill in memory.events. */
static __always_inline void count_death(u32 slot, struct signal_struct *signal, u32 number, bool oom)
{
	struct slot_counters *c = slot_counters(slot);
	if (c && oom)
		increment(c->oom_kills);
	if (!number)
		return;
	struct signal_key key = {.slot = slot, .signal = number};
	u64 *n = find_or_add(&fatal_signals, &key, &(u64){0});
	if (n)
		increment(*n);
	else
		count_loss(signals);
}

static __always_inline bool is_first_of_namespace(struct task_struct *leader)
{
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);

	return level > 0 && read_virtual_id(pid, level) == 1;
}

static __always_inline void note_exit(u32 slot, struct task_struct *leader, u32 status, bool oom)
{
	struct last_exit *e = bpf_map_lookup_elem(&last_exits, &slot);
	bool first = is_first_of_namespace(leader);

	if (!e || (e->first && !first))
		return;
	e->status = status;
	e->oom = oom;
	e->first = first;
	e->boot = bpf_ktime_get_boot_ns();
}

/* Runs once per thread; signal->live is 0 when the last one is going, which two may see at once. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	u8 one = 1;

	if (BPF_CORE_READ(signal, live.counter))
		return 0;
	struct exit_key key = {.start = BPF_CORE_READ(leader, start_boottime), .pid = BPF_CORE_READ(task, tgid)};
	bpf_map_delete_elem(&ring_users, &key.pid);
	/* An int: before 6.4 (d7ba4cc900bf) the upper half of the register is not part of the result. */
	int told = bpf_map_update_elem(&exits_told, &key, &one, BPF_NOEXIST);
	if (told == -17 /* EEXIST */)
		return 0;
	u32 status = BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT ? BPF_CORE_READ(signal, group_exit_code)
								       : BPF_CORE_READ(leader, exit_code);
	u32 slot = current_slot();
	count_process(slot, EVENT_EXIT, exit_reason(status));
	bool oom = BPF_CORE_READ(signal, oom_mm) != NULL;
	count_death(slot, signal, status & 0x7f, oom);
	note_exit(slot, leader, status, oom);
	struct exit_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count_loss(events[EVENT_EXIT]);
		return 0;
	}
	fill_header(&e->h, EVENT_EXIT, current_task());
	e->status = status;
	e->reserved = 0;
	bpf_ringbuf_submit(e, wake_flags());
	return 0;
}

/* Walks the processes that are there already: one task_info each. */
SEC("iter/task")
int processes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_info t = {};

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	fill_task(&t, task);
	bpf_seq_write(ctx->meta->seq, &t, sizeof(t));
	return 0;
}
