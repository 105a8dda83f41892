// A program that answers what Knative's own autoscaler decides: it reads questions from standard input, one in a line, and writes a line for each
// to standard output. tests/conformance/autoscaler draws them and compares the answers. A trace is what happens to one revision, and is answered
// by what is decided at each tick; a scene is one PodAutoscaler, and is answered by what its reconciliation does.
//
// It is built with the tag faketime, by which Go's runtime has a clock that stands still while anybody works, and goes on to the next timer
// when all sleep. So Knative's unmodified packages see the time of the trace, wherever they look for it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"knative.dev/pkg/system"
)

// longest is the length of the longest line, in bytes.
const longest = 64 << 20

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(plain(syscall.Stderr), "error:", err)
		os.Exit(1)
	}
}

// plain is a file of its own for what a descriptor writes to: to the descriptors 1 and 2 a runtime of this kind writes the time as well.
func plain(descriptor int) *os.File {
	copy, err := syscall.Dup(descriptor)
	if err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(copy), "plain")
}

func run() error {
	// Knative looks for its configuration there.
	if err := os.Setenv(system.NamespaceEnvKey, "knative-serving"); err != nil {
		return err
	}
	answers := json.NewEncoder(plain(syscall.Stdout))
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longest)
	for lines.Scan() {
		var question question
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			return fmt.Errorf("a question that cannot be read: %w", err)
		}
		answer, err := question.answer()
		if err != nil {
			return err
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// question is what stands in a line: one of these.
type question struct {
	Trace *trace `json:"trace"`
	Scene *scene `json:"scene"`
}

func (q *question) answer() (any, error) {
	switch {
	case q.Trace != nil:
		return answerTo(q.Trace)
	case q.Scene != nil:
		return reconcile(q.Scene)
	default:
		return nil, errors.New("a line that asks nothing")
	}
}
