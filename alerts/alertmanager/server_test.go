package alertmanager

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A posted is what a webhook or Slack was sent.
type posted struct {
	Path          string
	Authorization string
	Body          []byte
}

// A mailed is a message that the mail server took.
type mailed struct {
	User, Password string
	From           string
	To             []string
	Subject        string
	Text, HTML     string
}

// A world is an Alertmanager and all that it talks to, on loopback.
type world struct {
	cmd   *exec.Cmd
	url   string
	hooks *httptest.Server
	smtp  net.Listener

	mu      sync.Mutex
	log     bytes.Buffer
	posts   []posted
	mails   []mailed
	broken  []error // what went wrong in a server
	serving sync.WaitGroup
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) said(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.log.String(), text)
}

// always and never are what business hours are replaced by.
const (
	businessHours = "weekdays: [monday:friday]\n        times: [{start_time: 08:00, end_time: 18:00}]"
	nightHours    = "times: [{start_time: 22:00, end_time: 24:00}, {start_time: 00:00, end_time: 06:00}]"
	always        = "times: [{start_time: 00:00, end_time: 24:00}]"
	never         = "years: ['1999']"
)

// start runs Alertmanager with the shipped configuration, but for addresses, for where the secrets are, for TLS to the mail
// server, for hours, and for how long it waits: a test has no five minutes.
func start(t *testing.T, business, nights string) *world {
	t.Helper()
	w := &world{}
	w.hooks = httptest.NewServer(http.HandlerFunc(w.post))
	t.Cleanup(w.hooks.Close)
	var err error
	if w.smtp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	w.serving.Go(w.takeMail)
	t.Cleanup(func() {
		w.smtp.Close()
		w.serving.Wait()
	})
	secrets := t.TempDir()
	for name, text := range map[string]string{"slack-url": w.hooks.URL + "/slack", "smtp-password": "of the mail", "pager-token": "of the pager", "deadman-token": "of the deadman"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := written(t, changed(t, "/etc/alertmanager/secrets", secrets, "http://127.0.0.1:9099", w.hooks.URL, "localhost:587", w.smtp.Addr().String()+"\n  smtp_require_tls: false",
		"- "+businessHours, "- "+business, "- "+nightHours, "- "+nights,
		"group_wait: 30s", "group_wait: 1s", "group_wait: 10s", "group_wait: 1s", "group_wait: 5s", "group_wait: 1s", "group_wait: 10m", "group_wait: 1s",
		"group_interval: 5m", "group_interval: 1s", "group_interval: 1m", "group_interval: 1s", "group_interval: 1h", "group_interval: 1s"))
	w.launch(t, config)
	return w
}

var listening = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

func (w *world) launch(t *testing.T, config string) {
	t.Helper()
	path, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Skip("needs prometheus-alertmanager, of Debian's package of that name")
	}
	w.cmd = exec.Command(path, "--config.file="+config, "--storage.path="+t.TempDir(), "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=",
		"--web.external-url=http://alertmanager.example", "--web.route-prefix=/", "--log.level=debug")
	w.cmd.Stdout, w.cmd.Stderr = w, w
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = w.cmd.Wait() // it is told to end
		close(ended)
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = w.cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("Alertmanager said:\n%s", w.log.String())
		}
		http.DefaultClient.CloseIdleConnections()
	})
	eventually(t, "Alertmanager listens", func() bool {
		select {
		case <-ended:
			t.Fatal("Alertmanager has ended")
		default:
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		found := listening.FindSubmatch(w.log.Bytes())
		if found != nil {
			w.url = "http://" + string(found[1])
		}
		return found != nil
	})
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("after a minute it is not so that %s", what)
}

// post takes what webhooks and Slack are sent.
func (w *world) post(to http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.broken = append(w.broken, err)
	}
	w.posts = append(w.posts, posted{r.URL.Path, r.Header.Get("Authorization"), body})
	_, _ = to.Write([]byte("ok")) // as Slack answers
}

// takeMail is a mail server that wants a password.
func (w *world) takeMail() {
	for {
		c, err := w.smtp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = w.talk(c)
			c.Close()
		}
		if err != nil {
			w.mu.Lock()
			w.broken = append(w.broken, fmt.Errorf("mail server: %w", err))
			w.mu.Unlock()
		}
	}
}

// talk speaks as much SMTP as Alertmanager does.
func (w *world) talk(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	in, m := bufio.NewReader(c), mailed{}
	say := func(line string) { fmt.Fprintf(c, "%s\r\n", line) }
	say("220 here")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-here")
			say("250 AUTH PLAIN")
		case "AUTH":
			plain, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			parts := strings.Split(string(plain), "\x00")
			if err != nil || len(parts) != 3 {
				return fmt.Errorf("AUTH %s", rest)
			}
			m.User, m.Password = parts[1], parts[2]
			say("235 well")
		case "MAIL", "RCPT":
			say("250 well")
		case "DATA":
			say("354 go on")
			if err := m.read(in); err != nil {
				return err
			}
			w.mu.Lock()
			w.mails = append(w.mails, m)
			w.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return nil
		default:
			say("502 no")
		}
	}
}

// read reads a message with a part of text and a part of HTML.
func (m *mailed) read(in *bufio.Reader) error {
	var text bytes.Buffer
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
	message, err := mail.ReadMessage(&text)
	if err != nil {
		return err
	}
	if m.Subject, err = new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject")); err != nil {
		return err
	}
	m.From, m.To = message.Header.Get("From"), []string{message.Header.Get("To")}
	_, parameters, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	for parts := multipart.NewReader(message.Body, parameters["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			return err
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			m.HTML = string(body)
		} else {
			m.Text = strings.ReplaceAll(string(body), "\r\n", "\n")
		}
	}
}

// An alert is one as Prometheus sends it.
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
	StartsAt     *time.Time        `json:"startsAt,omitempty"`
	EndsAt       *time.Time        `json:"endsAt,omitempty"`
}

// labelled is an alert with labels, given as name=value.
func labelled(pairs ...string) alert {
	a := alert{Labels: map[string]string{}, Annotations: map[string]string{"summary": "s", "description": "d"}}
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		a.Labels[name] = value
	}
	return a
}

// send gives alerts to Alertmanager.
func (w *world) send(t *testing.T, alerts ...alert) {
	t.Helper()
	body, err := json.Marshal(alerts)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(w.url+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(response.Body)
		t.Fatalf("post alerts: %s: %s", response.Status, answer)
	}
}

// inhibited says which of the alerts that Alertmanager has are inhibited, by alertname and severity.
func (w *world) inhibited(t *testing.T) map[string]bool {
	t.Helper()
	response, err := http.Get(w.url + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var list []struct {
		Labels map[string]string
		Status struct{ InhibitedBy []string }
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, a := range list {
		all[a.Labels["alertname"]+" "+a.Labels["severity"]] = len(a.Status.InhibitedBy) > 0
	}
	return all
}

// A webhook is what a webhook is sent.
type webhook struct {
	Version, Status, Receiver string
	GroupLabels, CommonLabels map[string]string
	ExternalURL               string
	Alerts                    []struct {
		Status, GeneratorURL string
		Labels, Annotations  map[string]string
	}
}

// hook returns what a path was sent, once it was.
func (w *world) hook(t *testing.T, path, status string) (webhook, posted) {
	t.Helper()
	var hook webhook
	var got posted
	eventually(t, path+" is sent something "+status, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.posts {
			if p.Path != path {
				continue
			}
			hook = webhook{}
			if err := json.Unmarshal(p.Body, &hook); err != nil {
				t.Fatalf("%s: %v: %s", path, err, p.Body)
			}
			if got = p; hook.Status == status {
				return true
			}
		}
		return false
	})
	return hook, got
}

// A slack is what Slack is sent.
type slack struct {
	Channel     string
	Attachments []struct {
		Title, Text, Fallback, Color, Footer string
		TitleLink                            string `json:"title_link"`
	}
}

// slack returns the first message to a channel whose title begins so, once it is there.
func (w *world) slack(t *testing.T, channel, title string) slack {
	t.Helper()
	var found slack
	eventually(t, "Slack's "+channel+" is told "+title, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.posts {
			var s slack
			if p.Path == "/slack" && json.Unmarshal(p.Body, &s) == nil && s.Channel == channel && len(s.Attachments) == 1 && strings.HasPrefix(s.Attachments[0].Title, title) {
				found = s
				return true
			}
		}
		return false
	})
	return found
}

// mail returns the first message to somebody, once it is there.
func (w *world) mail(t *testing.T, to string) mailed {
	t.Helper()
	var found mailed
	eventually(t, to+" gets a mail", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, m := range w.mails {
			if m.To[0] == to {
				found = m
				return true
			}
		}
		return false
	})
	return found
}
