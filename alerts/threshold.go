package alerts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errNoThreshold = errors.New("the expression compares with no number outside of parentheses")

// threshold finds the number of the right-most comparison outside of parentheses. It reads only as much of PromQL as
// that needs: what is a string, a comment, a bracket or an operator. Whether an expression is right, promtool says.
func threshold(expr string) (float64, error) {
	after, depth := -1, 0
	for i := 0; i < len(expr); {
		n := 1
		switch c := expr[i]; c {
		case '"', '\'', '`':
			n = quoted(expr[i:])
		case '#':
			n = len(expr[i:])
			if end := strings.IndexByte(expr[i:], '\n'); end >= 0 {
				n = end
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case '<', '>', '=', '!':
			if i+1 < len(expr) && (expr[i+1] == '=' || expr[i+1] == '~') {
				n = 2
			}
			if depth == 0 {
				after = i + n
			}
		}
		i += n
	}
	if after < 0 {
		return 0, errNoThreshold
	}
	return literal(expr[after:])
}

// quoted is the length of the string with which s begins.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return i + 1
		case s[i] == '\\' && s[0] != '`':
			i++
		}
	}
	return len(s)
}

// literal reads the number with which the right side of a comparison begins. A number that is only part of a
// calculation would be a wrong threshold, so only a set operator or a comment may follow it.
func literal(s string) (float64, error) {
	words := strings.Fields(s)
	if len(words) > 0 && words[0] == "bool" {
		words = words[1:]
	}
	if len(words) == 0 {
		return 0, errNoThreshold
	}
	v, err := strconv.ParseFloat(words[0], 64)
	if err != nil {
		return 0, errNoThreshold
	}
	if len(words) == 1 || words[1] == "and" || words[1] == "or" || words[1] == "unless" || strings.HasPrefix(words[1], "#") {
		return v, nil
	}
	return 0, fmt.Errorf("the expression compares with a calculation that begins with %s: want one number", words[0])
}
