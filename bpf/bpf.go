// Package bpf is what runs in the kernel, and the only Go that knows its byte layout: it decides what is attached,
// reads events and counters, and hands them on in the words of package event.
package bpf

//go:generate go run gen_syscalls.go
//go:generate go run gen_huffman.go
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types -type header -type task_info -type fork_event -type exec_event -type exit_event -type cgroup_event -type call_event -type call_program -type call_recipe -type call_switches -type path_prefix -type path_name -type slot_counters -type syscall_counters -type error_key -type latency_key -type log2_hist -type last_exit -type signal_key -type block_key -type block_counters -type accept_key -type accept_queue -type cgroup_slot -type losses -type l7_key -type l7_totals -type l7_sizes -type l7_options -type l7_sample -type l7_edge -type l7_edge_totals -type l7_connection -type l7_name yagura yagura.c -- -I/usr/include -O2 -g -Wall -Werror -Wno-unused-function -Wno-compare-distinct-pointer-types
