//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/* All families in one object, so that they share their maps and knobs; each program is still loaded by itself. */
#include "cgroup.bpf.c"
#include "process.bpf.c"
#include "syscalls.bpf.c"
#include "calls.bpf.c"
#include "ring.bpf.c"
#include "l7.bpf.c"
#include "tls.bpf.c"
#include "l7_dns.bpf.c"
#include "tcp.bpf.c"
#include "sched.bpf.c"
#include "block.bpf.c"
#include "drops.bpf.c"
#include "bench.bpf.c"

char LICENSE[] SEC("license") = "GPL";

/* Otherwise only behind local pointers, which BTF forgets; bpf2go looks types up there. */
const struct header *header_type __attribute__((unused));
const struct fork_event *fork_event_type __attribute__((unused));
const struct exec_event *exec_event_type __attribute__((unused));
const struct exit_event *exit_event_type __attribute__((unused));
const struct call_event *call_event_type __attribute__((unused));
const struct cgroup_event *cgroup_event_type __attribute__((unused));
const struct accept_queue *accept_queue_type __attribute__((unused));
const enum call_program *call_program_type __attribute__((unused));
const struct l7_sample *l7_sample_type __attribute__((unused));
const struct l7_connection *l7_connection_type __attribute__((unused));
const struct l7_options *l7_options_type __attribute__((unused));
const struct l7_totals *l7_totals_type __attribute__((unused));
const struct l7_name *l7_name_type __attribute__((unused));
const struct l7_key *l7_key_type __attribute__((unused));
const struct l7_edge *l7_edge_type __attribute__((unused));
const struct l7_edge_totals *l7_edge_totals_type __attribute__((unused));
