package promql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
)

// QueryOptions say what to ask, whom, and how to show the answer.
type QueryOptions struct {
	URL        string // of this program or of any Prometheus, http://127.0.0.1:9248
	Expr       string
	Time       time.Time // now if zero
	Start, End time.Time // a range query if Start is set; End is then now if zero
	Step       time.Duration
	Format     Format
	Notes      io.Writer // warnings of the API and "no data" go here; may be nil
	HTTPClientConfig
}

// HTTPClientConfig is how to reach a server behind TLS and basic authentication. Secrets are only read from files.
type HTTPClientConfig struct {
	User               string
	PasswordFile       string
	CAFile             string
	InsecureSkipVerify bool
}

// steps is how many points a range query has if the user names no step.
const steps = 60

// Query asks the API at o.URL and writes the answer to w.
func Query(ctx context.Context, w io.Writer, o QueryOptions) error {
	if o.Notes == nil {
		o.Notes = io.Discard
	}
	show, err := o.Format.writer()
	if err != nil {
		return err
	}
	if strings.TrimSpace(o.Expr) == "" {
		return errors.New("query: no expression given")
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	reply, err := o.ask(ctx, c)
	if err != nil {
		return err
	}
	value, err := reply.value()
	if err != nil {
		return fmt.Errorf("query %s: read answer: %w", o.URL, err)
	}
	for _, note := range append(reply.Warnings, reply.Infos...) {
		fmt.Fprintln(o.Notes, clean(note))
	}
	if empty(value) {
		fmt.Fprintln(o.Notes, "no data")
	}
	return show(w, value)
}

// An answer is what the API sends, good or bad.
type answer struct {
	Status    string   `json:"status"`
	ErrorType string   `json:"errorType"`
	Error     string   `json:"error"`
	Warnings  []string `json:"warnings"`
	Infos     []string `json:"infos"`
	Data      struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

// ask sends the query and reads the answer; an answer that is an error becomes one.
func (o QueryOptions) ask(ctx context.Context, c *http.Client) (answer, error) {
	endpoint, form := o.request()
	var reply answer
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(o.URL, "/")+endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return reply, fmt.Errorf("query %s: %w", o.URL, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := c.Do(r)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // the rest of it is in our own words
	}
	if err != nil {
		return reply, fmt.Errorf("query %s: %w", o.URL, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return reply, fmt.Errorf("query %s: read answer: %w", o.URL, err)
	}
	unread := json.Unmarshal(body, &reply)
	if unread == nil && reply.Status == "success" {
		return reply, nil
	}
	return reply, o.explain(response.StatusCode, reply, body)
}

// request says where to ask, and what.
func (o QueryOptions) request() (string, url.Values) {
	form := url.Values{"query": {o.Expr}}
	if o.Start.IsZero() {
		if !o.Time.IsZero() {
			form.Set("time", seconds(o.Time))
		}
		return "/api/v1/query", form
	}
	if o.End.IsZero() {
		o.End = time.Now()
	}
	if o.Step == 0 {
		step := math.Ceil(o.End.Sub(o.Start).Seconds() / steps)
		o.Step = time.Duration(max(step, 1)) * time.Second
	}
	form.Set("start", seconds(o.Start))
	form.Set("end", seconds(o.End))
	form.Set("step", strconv.FormatFloat(o.Step.Seconds(), 'f', -1, 64))
	return "/api/v1/query_range", form
}

func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64)
}

// value decodes the result by its type.
func (a answer) value() (model.Value, error) {
	switch a.Data.Type {
	case "vector":
		var v model.Vector
		err := json.Unmarshal(a.Data.Result, &v)
		return v, err
	case "matrix":
		var v model.Matrix
		err := json.Unmarshal(a.Data.Result, &v)
		return v, err
	case "scalar":
		v := new(model.Scalar)
		err := json.Unmarshal(a.Data.Result, v)
		return v, err
	case "string":
		v := new(model.String)
		err := json.Unmarshal(a.Data.Result, v)
		return v, err
	}
	return nil, fmt.Errorf("unknown type of result %q", a.Data.Type)
}

// client makes the HTTP client that o asks for.
func (o QueryOptions) client() (*http.Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("read URL: %w", err)
	}
	if u.User != nil {
		return nil, errors.New("read URL: give the user and a password file, not a password in the URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("read URL %q: not of the form http://host:port", o.URL)
	}
	c := promconfig.DefaultHTTPClientConfig
	c.TLSConfig = promconfig.TLSConfig{CAFile: o.CAFile, InsecureSkipVerify: o.InsecureSkipVerify}
	if o.User != "" || o.PasswordFile != "" {
		c.BasicAuth = &promconfig.BasicAuth{Username: o.User, PasswordFile: o.PasswordFile}
	}
	hc, err := promconfig.NewClientFromConfig(c, "query")
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", o.URL, err)
	}
	return hc, nil
}

// explain turns an answer that is none into an error. One of the language shows where in the expression it lies.
func (o QueryOptions) explain(code int, reply answer, body []byte) error {
	switch {
	case reply.ErrorType == "bad_data", reply.ErrorType == "execution":
		return errors.New(pointed(o.Expr, reply.Error))
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fmt.Errorf("query %s: the server wants a user and a password", o.URL)
	case code == http.StatusNotFound:
		return fmt.Errorf("query %s: no Prometheus API there; is the store on (--store.path)?", o.URL)
	case reply.Error != "":
		return fmt.Errorf("query %s: %s: %s", o.URL, clean(reply.ErrorType), clean(reply.Error))
	}
	return fmt.Errorf("query %s: not an answer of Prometheus: %d %s: %s", o.URL, code, http.StatusText(code), cut(string(body)))
}

// cut keeps the first line of an answer that was not meant for us.
func cut(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return clean(line[:min(len(line), 200)])
}

// position finds line and column at the start of a parse error.
var position = regexp.MustCompile(`(\d+):(\d+): parse error: `)

// pointed puts a caret under the place in expr that the message names.
func pointed(expr, message string) string {
	message = clean(strings.TrimPrefix(message, `invalid parameter "query": `))
	at := position.FindStringSubmatch(message)
	if at == nil {
		return message
	}
	row, _ := strconv.Atoi(at[1])
	column, _ := strconv.Atoi(at[2])
	lines := strings.Split(expr, "\n")
	if row < 1 || row > len(lines) || column < 1 || column > len(lines[row-1])+1 {
		return message
	}
	line := lines[row-1]
	return message + "\n  " + line + "\n  " + indent(line[:column-1]) + "^"
}

// indent returns blanks as wide as text, with its tabs.
func indent(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// clean makes text safe for a terminal: a label's value may hold whatever a program called itself.
func clean(text string) string {
	printable := func(r rune) bool { return strconv.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(text, func(r rune) bool { return !printable(r) }) < 0 {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}
