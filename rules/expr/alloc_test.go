//go:build !race

package expr

import "testing"

// The race detector keeps the compiler from putting closures on the stack, so this is only so without it.

// TestEvaluationAllocatesNothing does not run beside other tests, whose allocations would count.
func TestEvaluationAllocatesNothing(t *testing.T) {
	r := cat()
	for i, condition := range everyOperator() {
		test, want := compiled(t, condition), i%2 == 1
		got := false
		n := testing.AllocsPerRun(100, func() { got = test(r) })
		if n > 0 || got != want {
			t.Errorf("%s: %v allocations, want none; %v, want %v", shorten(condition, 80), n, got, want)
		}
	}
	rule := compiled(t, aRule)
	if n := testing.AllocsPerRun(100, func() { rule(r) }); n > 0 {
		t.Errorf("a rule: %v allocations, want none", n)
	}
}
