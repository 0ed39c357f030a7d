package image

import (
	"strings"
	"testing"
)

func TestGlobs(t *testing.T) {
	for _, test := range []struct {
		glob    string
		yes, no string
	}{
		{"/etc/passwd", "/etc/passwd", "/etc/passwd- /etc/passw /usr/etc/passwd"},
		{"/etc/*", "/etc/passwd /etc/.pwd", "/etc /etc/ssh/config"},
		{"/etc/*.d", "/etc/a.d /etc/.d", "/etc/a.d/b /etc/ad"},
		{"/etc/?", "/etc/a", "/etc/ab /etc/"},
		{"/etc/**", "/etc/a /etc/a/b/c", "/etc /etcetera"},
		{"/**/x", "/x /a/x /a/b/x", "/ax /a/b/xx"},
		{"**/x", "/x /a/x /a/b/x", "/ax"},
		{"/a/**/b", "/a/b /a/c/b /a/c/d/b", "/a/cb /b /a/b/c"},
		{"/a/**/*.{jks,p12}", "/a/x.jks /a/b/.p12", "/a/x.jk /a/x.jks/y"},
		{"/{bin,sbin}/su", "/bin/su /sbin/su", "/usr/bin/su /{bin,sbin}/su"},
		{"/{,usr/}bin/su", "/bin/su /usr/bin/su", "/usr/su"},
		{"/a[0-9]", "/a5", "/a /aa"},
		{"/a[!0-9]b", "/axb", "/a5b /a/b"},
		{"/a[^0-9]b", "/axb", "/a5b /a/b"},
		{`/a\*\{\\`, `/a*{\`, "/ab{"},
		{"/ä/*é", "/ä/xé", "/a/xé"},
		{"/a.b+c(d)$", "/a.b+c(d)$", "/axb+c(d)$"},
		{"/*/\xc3\xa9", "/a/é", "/a/e"},
		{"/**", "/a /a/b", "/"},
		{"/a//b", "/a//b", "/a/b"},
	} {
		g, err := newGlob(test.glob)
		if err != nil {
			t.Errorf("%s: %v", test.glob, err)
			continue
		}
		for _, path := range strings.Fields(test.yes) {
			if !g.match(path) {
				t.Errorf("%s does not match %s", test.glob, path)
			}
		}
		for _, path := range strings.Fields(test.no) {
			if g.match(path) {
				t.Errorf("%s matches %s", test.glob, path)
			}
		}
	}
	if g, _ := newGlob("/a/*"); !g.match("/a/\xff\n") {
		t.Errorf("/a/* does not match a name that is no text")
	}
}

func TestGlobsThatAreNone(t *testing.T) {
	for glob, want := range map[string]string{
		"":                              `"": want a path that begins with / or **/`,
		"etc/passwd":                    `"etc/passwd": want a path that begins with / or **/`,
		"*.key":                         `"*.key": want a path that begins with / or **/`,
		"/a**":                          `"/a**": ** with something beside it: want it to be a whole name`,
		"/**a":                          `"/**a": ** with something beside it: want it to be a whole name`,
		"/***":                          `"/***": ** with something beside it: want it to be a whole name`,
		"/**/**":                        `"/**/**": ** twice in a row`,
		"/**/**/a":                      `"/**/**/a": ** twice in a row`,
		"/[a":                           `"/[a": a [ without its ], or with / or [ or a backslash within`,
		"/[]":                           `"/[]": a [ without its ], or with / or [ or a backslash within`,
		"/[z-a]":                        "invalid character class range",
		"/{a":                           `"/{a": a { without its }`,
		"/{a,{b}}":                      `"/{a,{b}}": a { within another`,
		`/a\`:                           `"/a\\": a backslash at the end`,
		"/" + strings.Repeat("x", 4096): "4097 bytes: want at most 4096",
	} {
		if _, err := newGlob(glob); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", glob, err, want)
		}
	}
}

func TestGlobsMoveToAnotherDirectory(t *testing.T) {
	for _, test := range [][3]string{
		{"/bin/sh", "/usr/bin", "/usr/bin/sh"},
		{"/bin/*", "/usr/bin", "/usr/bin/x"},
		{"/lib/**/x.so", "/usr/lib", "/usr/lib/a/b/x.so"},
		{"/bin/{a,b}", "/o*/{x}", "/o*/{x}/b"},
		{"/a", "/", "/a"},
		{"/*", "/b", "/b/x"},
	} {
		g, err := newGlob(test[0])
		if err != nil {
			t.Fatal(err)
		}
		if moved := g.in(test[1]); !moved.match(test[2]) {
			t.Errorf("%s in %s is %s, which does not match %s", test[0], test[1], moved.text, test[2])
		}
	}
}
