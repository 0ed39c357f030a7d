package rules

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// Outputs says where hits are told of as alerts, besides being counted.
type Outputs struct {
	Stdout StdoutOutput `yaml:"stdout"`
	File   FileOutput   `yaml:"file"`
	Syslog SyslogOutput `yaml:"syslog"`
	HTTP   HTTPOutput   `yaml:"http"`
	Queue  int          `yaml:"queue"` // alerts that may wait at each output; beyond, the newest are dropped and counted
}

// StdoutOutput writes to the standard output.
type StdoutOutput struct {
	Enabled bool `yaml:"enabled"`
}

// FileOutput appends to a file. One that was moved away is opened anew within a second.
type FileOutput struct {
	Path string `yaml:"path"`
}

// SyslogOutput writes to the machine's own syslog, or to another one.
type SyslogOutput struct {
	Enabled bool   `yaml:"enabled"`
	Address string `yaml:"address"` // tcp://HOST:PORT, udp://HOST:PORT; empty: the machine's own
	Tag     string `yaml:"tag"`
}

// HTTPOutput posts each alert as JSON.
type HTTPOutput struct {
	URL     string            `yaml:"url"`
	CAFile  string            `yaml:"ca_file"`
	Headers map[string]string `yaml:"headers"`
	Token   string            `yaml:"token_file"` // a file whose content is sent as a bearer token
	Timeout time.Duration     `yaml:"timeout"`
}

// Validate refuses outputs that cannot be.
func (o Outputs) Validate() error {
	if o.Queue < 1 || o.Queue > 1_000_000 {
		return fmt.Errorf("rules: outputs: queue: %d: want 1 to 1,000,000", o.Queue)
	}
	if o.HTTP.URL != "" {
		if _, err := http.NewRequest(http.MethodPost, o.HTTP.URL, nil); err != nil {
			return fmt.Errorf("rules: outputs: http: url: %w", err)
		}
	}
	if o.Syslog.Address != "" {
		if _, _, err := splitAddress(o.Syslog.Address); err != nil {
			return fmt.Errorf("rules: outputs: syslog: address: %w", err)
		}
	}
	return nil
}

func splitAddress(address string) (network, host string, err error) {
	for _, network := range []string{"tcp", "udp"} {
		if len(address) > len(network)+3 && address[:len(network)+3] == network+"://" {
			return network, address[len(network)+3:], nil
		}
	}
	return "", "", fmt.Errorf("%q: want tcp://HOST:PORT or udp://HOST:PORT", address)
}

// A writer is one place that alerts go to. Write may wait; it is called from one goroutine.
type writer interface {
	Write(h *event.Hit, alert []byte) error
	Close() error
}

// Delivery tells of hits. Each output has a queue of its own, so that a slow one holds up no other.
type Delivery struct {
	queues []*queue
}

type queue struct {
	name                           string
	hits                           chan *event.Hit
	format                         *AlertFormat
	open                           func() (writer, error)
	log                            *slog.Logger
	told, dropped, failed, retried atomic.Uint64
}

// NewDelivery makes the outputs ready; nothing is opened before Run.
func NewDelivery(o Outputs, f AlertFormat, stdout io.Writer, log *slog.Logger) *Delivery {
	f.hostname, _ = os.Hostname()
	inJSON := f
	inJSON.JSON = true
	d := &Delivery{}
	add := func(name string, format AlertFormat, open func() (writer, error)) {
		d.queues = append(d.queues, &queue{name: name, hits: make(chan *event.Hit, o.Queue), format: &format, open: open, log: log.With("output", name)})
	}
	if o.Stdout.Enabled {
		add("stdout", f, func() (writer, error) { return streamWriter{stdout}, nil })
	}
	if o.File.Path != "" {
		add("file", f, func() (writer, error) { return openFile(o.File.Path) })
	}
	if o.Syslog.Enabled {
		add("syslog", f, func() (writer, error) { return openSyslog(o.Syslog) })
	}
	if o.HTTP.URL != "" {
		add("http", inJSON, func() (writer, error) { return openHTTP(o.HTTP) })
	}
	return d
}

// Tell puts a hit into every queue that has room, and counts it where there is none. It never waits.
func (d *Delivery) Tell(h *event.Hit) {
	for _, q := range d.queues {
		select {
		case q.hits <- h:
		default:
			q.dropped.Add(1)
		}
	}
}

// Stats says what has become of the alerts, by output.
func (d *Delivery) Stats() []event.Delivered {
	var all []event.Delivered
	for _, q := range d.queues {
		all = append(all, event.Delivered{Output: q.name, Told: q.told.Load(), Dropped: q.dropped.Load(), Failed: q.failed.Load(),
			Retried: q.retried.Load(), Waiting: uint64(len(q.hits)), Room: uint64(cap(q.hits))})
	}
	return all
}

// Run delivers until ctx is done, and then what still waits, for at most a few seconds.
func (d *Delivery) Run(ctx context.Context) error {
	done := make(chan struct{}, len(d.queues))
	for _, q := range d.queues {
		go func() {
			q.run(ctx)
			done <- struct{}{}
		}()
	}
	for range d.queues {
		<-done
	}
	return nil
}

const (
	lastWords  = 3 * time.Second // for what waits when the program ends
	retries    = 3
	firstPause = 200 * time.Millisecond
)

func (q *queue) run(ctx context.Context) {
	var w writer
	defer func() {
		if w != nil {
			_ = w.Close() // nothing more can be told
		}
	}()
	for {
		select {
		case h := <-q.hits:
			q.deliver(ctx, &w, h)
		case <-ctx.Done():
			q.drain(&w)
			return
		}
	}
}

func (q *queue) drain(w *writer) {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case h := <-q.hits:
			q.deliver(ctx, w, h)
		default:
			return
		}
	}
	q.failed.Add(uint64(len(q.hits)))
}

// deliver tries a few times, with growing pauses.
func (q *queue) deliver(ctx context.Context, w *writer, h *event.Hit) {
	alert, err := q.format.Append(nil, h)
	pause := firstPause
	for try := 0; err == nil; try++ {
		if err = q.attempt(w, h, alert); err == nil {
			q.told.Add(1)
			return
		}
		if try == retries {
			break
		}
		q.retried.Add(1)
		err = nil
		select {
		case <-time.After(pause):
			pause *= 4
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if q.failed.Add(1) == 1 {
		q.log.Error("an alert could not be told; the others that fail are counted only", "err", err)
	}
}

func (q *queue) attempt(w *writer, h *event.Hit, alert []byte) (err error) {
	if *w == nil {
		if *w, err = q.open(); err != nil {
			*w = nil
			return err
		}
	}
	if err = (*w).Write(h, alert); err != nil {
		_ = (*w).Close() // it is opened anew
		*w = nil
	}
	return err
}

type streamWriter struct{ io.Writer }

func (s streamWriter) Write(_ *event.Hit, alert []byte) error {
	_, err := s.Writer.Write(alert)
	return err
}

func (streamWriter) Close() error { return nil }

// fileWriter looks now and then whether its file is still the one of that name.
type fileWriter struct {
	*os.File
	path   string
	looked time.Time
}

func openFile(path string) (writer, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the file of alerts: %w", err)
	}
	return &fileWriter{f, path, time.Now()}, nil
}

func (f *fileWriter) Write(_ *event.Hit, alert []byte) error {
	if time.Since(f.looked) > time.Second {
		if err := f.follow(); err != nil {
			return err
		}
	}
	_, err := f.File.Write(alert)
	return err
}

func (f *fileWriter) follow() error {
	f.looked = time.Now()
	own, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Stat(f.path); err == nil && os.SameFile(own, named) {
		return nil
	}
	return errors.New("the file of alerts was moved away")
}

type syslogWriter struct{ *syslog.Writer }

func openSyslog(o SyslogOutput) (writer, error) {
	var network, address string
	if o.Address != "" {
		var err error
		if network, address, err = splitAddress(o.Address); err != nil {
			return nil, err
		}
	}
	tag := o.Tag
	if tag == "" {
		tag = "yagura"
	}
	w, err := syslog.Dial(network, address, syslog.LOG_AUTH|syslog.LOG_NOTICE, tag)
	if err != nil {
		return nil, fmt.Errorf("open syslog: %w", err)
	}
	return syslogWriter{w}, nil
}

// Write tells the alert with the rule's priority, which is syslog's severity.
func (s syslogWriter) Write(h *event.Hit, alert []byte) error {
	tell := [...]func(string) error{s.Emerg, s.Alert, s.Crit, s.Err, s.Warning, s.Notice, s.Info, s.Debug}
	return tell[min(int(h.Rule.Priority), len(tell)-1)](string(bytes.TrimSpace(alert)))
}

type httpWriter struct {
	HTTPOutput
	client *http.Client
}

func openHTTP(o HTTPOutput) (writer, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificates to trust: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: holds no certificate in PEM", o.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &httpWriter{o, &http.Client{Transport: transport, Timeout: o.Timeout}}, nil
}

func (p *httpWriter) Write(_ *event.Hit, alert []byte) error {
	req, err := http.NewRequest(http.MethodPost, p.URL, bytes.NewReader(alert))
	if err != nil {
		return fmt.Errorf("post an alert: %w", err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "yagura")
	for name, value := range p.Headers {
		req.Header.Set(name, value)
	}
	if p.Token != "" {
		token, err := os.ReadFile(p.Token)
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	}
	answer, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("post an alert: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)) // so that the connection is used again
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("post an alert: the server answered %s", answer.Status)
	}
	return nil
}

func (p *httpWriter) Close() error {
	p.client.CloseIdleConnections()
	return nil
}
