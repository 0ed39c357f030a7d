package bpf

import (
	"fmt"
	"strings"
)

// A blindSpot is what somebody can do without a rule seeing it, or with a rule seeing it wrongly.
type blindSpot struct {
	what    string // that is not seen
	why     string
	instead string // what is seen
	feature string // row of KERNELS.md: the kernels that lack it have the blind spot; empty for all kernels
}

// blindSpots is every one that we know of. BLINDSPOTS.md is written from it.
var blindSpots = []blindSpot{
	{"A string that another thread changes while the call runs",
		"Strings of the caller are read when the call returns; what the kernel has copied is gone by then, and no hook that shows it can be had everywhere.",
		"Opens have the kernel's own path beside it (`Resolved`). A rule that asks for `yagura.arg.unstable` lets the first 256 bytes be compared at entry and exit; a string that is changed and changed back between looks the same.", ""},
	{"A string that is not in memory when the call returns", "Programs on tracepoints cannot wait for a page.",
		"The event is reported, with the string marked as a fault.", ""},
	{"Where a path leads that is unlinked, renamed, linked, made, or changed by its name",
		"The call leaves no descriptor behind, by which the kernel would know the object.",
		"The caller's spelling and the directory it starts at. The filter in the kernel keeps no such call back from rules for its path; from file integrity only what is sure to lead elsewhere, by directories that the kernel knows.", ""},
	{"That a file which file integrity watches is changed by another path of it, in a directory that nobody watches, if it is mounted alone (a bind mount of a single file); or if another thread changes the name or the working directory meanwhile",
		"The filter in the kernel goes by the file's own path. Other names of a file, and mounts of directories, are told: those have links, mounts below the top of their file system, or marks of fanotify.",
		"The change, by fanotify or by a scan; of the second the process, too, as fanotify tells its pid.", ""},
	{"What lies behind the 4095th byte of a path, the 128th of data and addresses, the 4096th of arguments or environment",
		"Events are bounded.", "The head, marked as cut; the kernel's own paths are cut at their head.", ""},
	{"Paths deeper than 64 components and mounts", "Loops are bounded.", "The tail, marked as cut.", ""},
	{"Data that 32-bit programs pass in vectors and messages, and flags of their clone3", "Their structs are laid out in another way.",
		"The call, its descriptor and its result.", ""},
	{"All but the first message of sendmmsg and recvmmsg, and all but the first vector of readv, writev, sendmsg and recvmsg",
		"One head of data is read per call.", "The first, and how much or how many there were.", ""},
	{"What is read and written through a mapping", "No call is made.", "mmap itself, with its descriptor and protection.", ""},
	{"Whether a socket was accepted, where TCP metrics are off", "A socket does not say which end it is; listening ones are followed by the hooks of TCP.",
		"accept says so itself.", ""},
	{"Where a symbolic link led by whose absolute name a process changed its working directory", "The call leaves no descriptor behind.",
		"`proc.cwd` is as the caller spelled it. Each relative path comes with where it starts, as the kernel knows it.", ""},
	{"Whether a program was run by execve or execveat, on x86", "The kernel overwrites the number of the call while it loads the program.",
		"The program that was run, as execve; an execveat that fails is told as what it is.", ""},
	{"io_uring operations", "The kernel does not tell a program which request a tracepoint is about before 6.0.",
		"io_uring_setup and io_uring_enter, as calls.", "rules_io_uring"},
	{"Data that io_uring reads and writes, and the addresses of its messages", "They are not kept until a request completes.",
		"The operation, its descriptor and its result.", ""},
	{"The result of an io_uring operation whose completion is not to be told (IOSQE_CQE_SKIP_SUCCESS)", "The kernel says nothing when it completes.",
		"The operation when it is submitted, with result 0 and without descriptor.", ""},
	{"io_uring operations whose completion finds no room in the completion queue", "The kernel tells of those by another hook, without the request.",
		"Nothing: a program has to leave its own queue full.", ""},
	{"Names of io_uring operations while over 1024 are on their way", "What is kept of requests is bounded; the oldest is forgotten.",
		"The operation, with its names marked as faults.", ""},
	{"Which of clone, fork, vfork and clone3 has made a process, and with which flags", "bpf_task_pt_regs came with 5.15.",
		"The process, as made by clone without flags; execveat as execve.", "syscalls_exit_group"},
	{"Calls of one processor while a program on a system call is preempted there", "Since 7.0 such programs can be preempted, and the kernel then leaves out the others on that processor.",
		"Nothing; `Agent.Missed` counts them.", "rules_not_preempted"},
	{"Strings that change during a call, where call_enter is refused", "It needs what call_exit needs.", "The strings at the end of the call.", "rules_unstable_texts"},
	{"System calls, where call_exit is refused", "The kernel's verifier does not allow it.", "Processes only.", "rules_system_calls"},
}

// blindSpotsText writes BLINDSPOTS.md, with what KERNELS.md says of each kernel.
func blindSpotsText(kernels string) string {
	var b strings.Builder
	b.WriteString("# What rules do not see\n\nWritten from blindspots_table_test.go and KERNELS.md by `go test ./bpf -run BlindSpots -update`; do not edit.\n\n" +
		"| not seen | why | what is seen | kernels |\n|---|---|---|---|\n")
	for _, s := range blindSpots {
		if on := kernelsWithout(kernels, s.feature); on != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.what, s.why, s.instead, on)
		}
	}
	return b.String()
}

// kernelsWithout lists the kernels of KERNELS.md that lack a feature; nothing if all have it.
func kernelsWithout(table, feature string) string {
	if feature == "" {
		return "all"
	}
	var columns, without []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "feature":
			columns = cells
		case cells[0] == "`"+feature+"`":
			for i, cell := range cells[1:] {
				if !strings.HasPrefix(cell, "yes") && i+1 < len(columns) {
					without = append(without, columns[i+1])
				}
			}
		}
	}
	return strings.Join(without, ", ")
}
