package requests

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// routes reads the table that the kernel's side is tested with, too: paths by the route that they fold into.
func routes(t testing.TB) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../../bpf/testdata/routes.txt")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	route := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		path, isPath := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || line[0] == '#':
		case isPath:
			table[route] = append(table[route], path)
		default:
			route = line
		}
	}
	return table
}

func TestRouteFoldsWhatVaries(t *testing.T) {
	t.Parallel()
	for want, paths := range routes(t) {
		if len(paths) == 0 {
			t.Errorf("%s has no path", want)
		}
		for _, path := range paths {
			// The kernel shows 64 bytes, which must tell as much as the whole.
			for _, seen := range []string{path, path[:min(len(path), pathBytes)]} {
				if got := Route(seen); got != want {
					t.Errorf("Route(%q) = %q, want %q", seen, got, want)
				}
			}
		}
	}
}

func TestRouteLeavesQueriesOut(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/login?password=hunter2":      "/login",
		"/login#token=hunter2":         "/login",
		"/login HTTP/1.1":              "/login",
		"/login\r\n":                   "/login",
		"/users/42?a=/b":               "/users/{id}",
		"":                             "",
		"?a=b":                         "",
		"users/42":                     "",
		"example.org:443":              "",
		"*":                            "*",
		"**":                           "",
		"/" + strings.Repeat("é", 100): "/*",
	} {
		if got := Route(path); got != want {
			t.Errorf("Route(%q) = %q, want %q", path, got, want)
		}
	}
}

// longestRoute is what twelve components of one byte and the rest of the path can become.
const longestRoute = pathBytes + pathComponents*len(oneOfMany) + len("/*")

func FuzzRoute(f *testing.F) {
	for route, paths := range routes(f) {
		f.Add(route)
		for _, path := range paths {
			f.Add(path)
		}
	}
	f.Add("/a?b=c")
	f.Add("/\xff/\x00")
	f.Fuzz(func(t *testing.T, path string) {
		route := Route(path)
		if again := Route(route); again != route {
			t.Errorf("Route(%q) = %q, and of that %q", path, route, again)
		}
		if len(route) > longestRoute {
			t.Errorf("Route(%q) has %d bytes, want at most %d", path, len(route), longestRoute)
		}
		if !utf8.ValidString(route) {
			t.Errorf("Route(%q) = %q is not UTF-8", path, route)
		}
		if strings.ContainsAny(route, "?#%@=;'\"() ") {
			t.Errorf("Route(%q) = %q has a query or a literal", path, route)
		}
		for component := range strings.SplitSeq(route, "/") {
			if component != oneOfMany && varies(component) {
				t.Errorf("Route(%q) = %q has %q, which varies", path, route, component)
			}
		}
	})
}
