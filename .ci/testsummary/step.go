package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/yagura-io/yagura/.ci/testjson"
)

// runStep runs a command that is no Go test and writes its end as one, so that there is one list of results.
func runStep(name, out string, command []string) int {
	if len(command) == 0 || out == "" {
		fmt.Fprintln(os.Stderr, "testsummary: a step needs -out and a command")
		return 2
	}
	var text bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout = io.MultiWriter(os.Stdout, &text)
	cmd.Stderr = cmd.Stdout
	err := cmd.Run()
	if writeErr := writeStep(name, out, text.String(), err); writeErr != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", writeErr)
		return 2
	}
	if err != nil {
		return 1
	}
	return 0
}

func writeStep(name, out, text string, err error) error {
	outcome := "pass"
	if err != nil {
		outcome = "fail"
		text += err.Error() + "\n"
	}
	os.Remove(out)
	return testjson.Append(out, testjson.Verdict("check", name, outcome, text))
}
