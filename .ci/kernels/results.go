package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/yagura-io/yagura/.ci/testjson"
)

// writeResults writes what the guest's tests said as go test -json would have, and the boot as one more test.
func (b *boot) writeResults(path string) error {
	pkg := "kernel " + b.column()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, frame := range b.frames {
		cmd := exec.Command("go", "tool", "test2json", "-p", pkg)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(frame.output), f, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("test2json: %w", err)
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return testjson.Append(path, b.verdict(pkg))
}

func (b *boot) verdict(pkg string) []testjson.Event {
	switch {
	case b.missing != "":
		return testjson.Verdict(pkg, "Boot", "skip", "kernel package vanished: "+b.missing)
	case b.err != nil:
		return testjson.Verdict(pkg, "Boot", "fail", b.err.Error())
	}
	return testjson.Verdict(pkg, "Boot", "pass", "")
}
