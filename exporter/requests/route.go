package requests

import "strings"

// What is told apart of a path. The kernel folds in the same way (l7_path_hash in bpf/include/l7_name.h); both are tested
// with bpf/testdata/routes.txt.
const (
	pathBytes      = 64 // that the kernel shows
	pathComponents = 12
	wordBytes      = 40 // of a component that is a word
)

const oneOfMany = "{id}"

// Route returns the path of a request without what varies in it, of few values by construction: components that are
// numbers, identifiers, hashes, addresses and the like are {id}, and * stands for what is behind the twelfth component, and
// for the component that the 64th byte belongs to with what is behind it. A query is left out. Text that is no path has no
// route: "". Route(Route(path)) is Route(path).
func Route(path string) string {
	if end := strings.IndexFunc(path, func(r rune) bool { return r <= ' ' || r == '?' || r == '#' }); end >= 0 {
		path = path[:end]
	}
	if path == "*" {
		return path
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return ""
	}
	var route strings.Builder
	end := 0 // of the component; {id} counts as one byte, the least that it stands for, so that no route is cut further
	for n := 0; ; n++ {
		component, behind, more := strings.Cut(rest, "/")
		end += 1 + len(component)
		if component == oneOfMany {
			end -= len(oneOfMany) - 1
		}
		route.WriteByte('/')
		if end >= pathBytes || n == pathComponents {
			route.WriteByte('*')
			return route.String()
		}
		if varies(component) {
			component = oneOfMany
		}
		route.WriteString(component)
		if !more {
			return route.String()
		}
		rest = behind
	}
}

// varies reports whether a component is one of many. What has a digit does, if it has no letter, three digits, 16 bytes, a
// digit behind punctuation (order-5), or two groups of digits in 9 bytes; v1, s3, oauth2, v1beta1 and 2.0 do not, where a
// full stop counts as a letter. So does what is longer than a word, or has bytes that routes do not have: @ % = ( and so on.
func varies(component string) bool {
	var digits, groups, letters int
	isBehindPunctuation := false
	before := byte('/')
	for _, c := range []byte(component) {
		switch {
		case isDigit(c):
			digits++
			if !isDigit(before) {
				groups++
			}
			isBehindPunctuation = isBehindPunctuation || !isDigit(before) && !isLetter(before) && before != '/'
		case isLetter(c):
			letters++
		case strings.IndexByte("*+,-:_$", c) < 0:
			return true
		}
		before = c
	}
	if len(component) > wordBytes {
		return true
	}
	return digits > 0 && (letters == 0 || digits >= 3 || len(component) >= 16 || isBehindPunctuation || groups >= 2 && len(component) >= 9)
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '.' }
