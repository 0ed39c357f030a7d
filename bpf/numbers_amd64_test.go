package bpf

import "golang.org/x/sys/unix"

// Calls that newer machines do not have any more.
const sysOpen, sysCreat, sysMkdir = unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_MKDIR
