package bpf

// Calls that this machine does not have: they fail.
const sysOpen, sysCreat, sysMkdir = 999, 999, 999
