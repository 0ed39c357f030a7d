package image

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxGlob bounds the text of a glob, in bytes.
const maxGlob = 4096

// A glob is a pattern of absolute paths: * and ? stand within a name, ** for any number of directories, [a-z] for one
// letter and {a,b} for one of several texts. A backslash takes what follows literally.
type glob struct {
	text           string
	directory      string         // of text, as far as it has nothing but letters that stand for themselves; ends with a slash
	rest           string         // of text behind that
	prefix, suffix string         // that every path has, so that most are told from it quickly
	expression     *regexp.Regexp // nil if prefix is all of it
}

func newGlob(text string) (*glob, error) {
	switch {
	case len(text) > maxGlob:
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), maxGlob)
	case !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "**/"):
		return nil, fmt.Errorf("%q: want a path that begins with / or **/", text)
	}
	if strings.HasPrefix(text, "**/") {
		text = "/" + text
	}
	g := &glob{text: text}
	e := globReader{rest: text}
	if err := e.read(); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	g.prefix, g.suffix = e.prefix.String(), e.suffix.String()
	g.directory, g.rest = g.prefix[:strings.LastIndexByte(g.prefix, '/')+1], e.tail
	if !e.meta {
		return g, nil
	}
	var err error
	if g.expression, err = regexp.Compile(`\A(?s:` + e.expression.String() + `)\z`); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return g, nil
}

func (g *glob) match(path string) bool {
	if g.expression == nil {
		return path == g.prefix
	}
	return strings.HasPrefix(path, g.prefix) && strings.HasSuffix(path, g.suffix) && g.expression.MatchString(path)
}

// in returns the same glob where its directory is another one; g itself if that has a name that no glob can have.
func (g *glob) in(directory string) *glob {
	if other, err := newGlob(literally.Replace(strings.TrimSuffix(directory, "/")) + "/" + g.rest); err == nil {
		return other
	}
	return g
}

// literally turns a path into a glob.
var literally = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "{", `\{`, "}", `\}`, ",", `\,`)

// A globReader turns a glob into a regular expression, which needs no more than linear time.
type globReader struct {
	rest           string
	expression     strings.Builder
	prefix, suffix strings.Builder // before the first and behind the last letter that is not literal
	tail           string          // of the glob, behind the last slash before the first letter that is not literal
	meta           bool
	open           bool // within braces
}

func (e *globReader) read() error {
	begins := false // a name does here
	for len(e.rest) > 0 {
		c, rest := e.rest[0], e.rest[1:]
		atName := begins
		begins = c == '/'
		switch {
		case c == '/' && !e.meta:
			e.tail = rest
			e.literal("/")
		case c == '\\':
			if rest == "" {
				return errors.New("a backslash at the end")
			}
			e.literal(rest[:1])
			rest = rest[1:]
		case atName && strings.HasPrefix(e.rest, "**/"):
			e.special("(?:.*/)?")
			rest, begins = e.rest[len("**/"):], true
			if strings.HasPrefix(rest, "**") {
				return errors.New("** twice in a row")
			}
		case atName && e.rest == "**":
			e.special(".+")
			rest = ""
		case strings.HasPrefix(e.rest, "**"):
			return errors.New("** with something beside it: want it to be a whole name")
		case c == '*':
			e.special("[^/]*")
		case c == '?':
			e.special("[^/]")
		case c == '[':
			end := strings.IndexByte(rest, ']')
			if end <= 0 || strings.ContainsAny(rest[:end], `/[\`) {
				return errors.New("a [ without its ], or with / or [ or a backslash within")
			}
			class := rest[:end]
			if class[0] == '!' || class[0] == '^' {
				class = "^/" + class[1:]
			}
			e.special("[" + class + "]")
			rest = rest[end+1:]
		case c == '{':
			if e.open {
				return errors.New("a { within another")
			}
			e.open = true
			e.special("(?:")
		case c == '}' && e.open:
			e.open = false
			e.special(")")
		case c == ',' && e.open:
			e.special("|")
		default:
			e.literal(e.rest[:1])
		}
		e.rest = rest
	}
	if e.open {
		return errors.New("a { without its }")
	}
	return nil
}

func (e *globReader) special(expression string) {
	e.expression.WriteString(expression)
	e.meta = true
	e.suffix.Reset()
}

func (e *globReader) literal(c string) {
	if c[0] < 0x80 {
		e.expression.WriteString(regexp.QuoteMeta(c))
	} else {
		e.expression.WriteString(c) // a part of a letter: the whole of it is written byte by byte
	}
	switch {
	case e.open:
	case e.meta:
		e.suffix.WriteString(c)
	default:
		e.prefix.WriteString(c)
	}
}
