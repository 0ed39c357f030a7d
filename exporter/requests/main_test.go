package requests

import (
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

// The main thread stays the main goroutine's: one that went into a name space of its own would never end, and /proc would tell of
// the whole process what is so of it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
