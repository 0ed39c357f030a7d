package alerts

import (
	"strings"
	"testing"
)

func TestThresholdIsTheRightMostComparisonOutsideOfParentheses(t *testing.T) {
	f := func(expr string, want float64) {
		t.Helper()
		if got, err := threshold(expr); err != nil || got != want {
			t.Errorf("threshold(%q) = %v, %v: want %v", expr, got, err, want)
		}
	}
	f("up == 0", 0)
	f("a / b < 0.03", 0.03)
	f("a > 0.6\nand on (job) (b > 0.9)", 0.6)
	f("a > 1 and b > 2", 2)
	f("(a > 5) > 90", 90)
	f("a > bool 5", 5)
	f("a > 1e3 unless b", 1000)
	f("a > -1.5", -1.5)
	f("a != 4", 4)
	f("a >= 7 # more than 8", 7)
	f("# a > 1\nb > 2", 2)
	f(`a{x="> 9", y=~"(", z!="1"} > 3`, 3)
	f("a{x='\\'> 9'} > 3", 3)
	f("a{x=`\\`} > 3", 3)
	f("predict_linear(a[6h], 24 * 3600) < 0 and (b < 0.4)", 0)
}

func TestThresholdRefusesWhatDashboardsCannotDraw(t *testing.T) {
	f := func(expr, want string) {
		t.Helper()
		if got, err := threshold(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("threshold(%q) = %v, %v: want %s", expr, got, err, want)
		}
	}
	f("vector(1)", "no number")
	f("(a > 1)", "no number")
	f("a > b", "no number")
	f("a >", "no number")
	f("a > bool", "no number")
	f("a > 2 * 1024", "begins with 2")
	f(`a > "`, "no number")
	f("", "no number")
}

func FuzzThreshold(f *testing.F) {
	for _, expr := range []string{`a{x="\"`, "a > 1 and (b > 2)", "a > bool", "# a", "a{x=`"} {
		f.Add(expr)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		_, err := threshold(expr)
		if !strings.ContainsAny(expr, "<>=!") && err == nil {
			t.Errorf("threshold(%q) finds a comparison", expr)
		}
	})
}
