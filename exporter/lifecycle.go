package exporter

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/yagura-io/yagura/rules/event"
)

// LifecycleOptions are what the end points /-/healthy, /-/ready and /-/reload ask.
type LifecycleOptions struct {
	Ready  func() error                    // nil, or why not
	Reload func(ctx context.Context) error // nil if there is nothing to reload
}

// A Lifecycle answers whether the program lives and is ready, and reloads its configuration. Its metrics say how the
// last reload went; the load at the start counts as the first.
type Lifecycle struct {
	LifecycleOptions
	http.Handler

	reloading sync.Mutex
	mu        sync.Mutex
	ok        bool
	okSince   time.Time

	successful, timestamp *Family
}

// NewLifecycle returns the lifecycle of a program that has just read its configuration.
func NewLifecycle(o LifecycleOptions) *Lifecycle {
	l := &Lifecycle{
		LifecycleOptions: o, ok: true, okSince: time.Now(),
		successful: NewGauge("yagura_config_last_reload_successful",
			"1 if the configuration was last loaded without an error, else 0: the one before is still in use."),
		timestamp: NewGauge("yagura_config_last_reload_success_timestamp_seconds",
			"When the configuration was last loaded without an error, as Unix time."),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /-/healthy", l.healthy)
	mux.HandleFunc("GET /-/ready", l.ready)
	mux.HandleFunc("POST /-/reload", l.reload)
	mux.HandleFunc("PUT /-/reload", l.reload)
	// A page that somebody reads on this machine must not be able to reload.
	l.Handler = http.NewCrossOriginProtection().Handler(mux)
	return l
}

func (l *Lifecycle) healthy(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "Yagura is healthy.")
}

func (l *Lifecycle) ready(w http.ResponseWriter, _ *http.Request) {
	if l.Ready != nil {
		if err := l.Ready(); err != nil {
			http.Error(w, fmt.Sprintf("Yagura is not ready: %v", err), http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "Yagura is ready.")
}

func (l *Lifecycle) reload(w http.ResponseWriter, r *http.Request) {
	if err := l.ReloadNow(context.WithoutCancel(r.Context())); err != nil {
		http.Error(w, fmt.Sprintf("failed to reload the configuration: %v", err), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "The configuration is reloaded.")
}

// ReloadNow reloads and remembers how that went. SIGHUP calls it too. One reload runs at a time.
func (l *Lifecycle) ReloadNow(ctx context.Context) error {
	l.reloading.Lock()
	defer l.reloading.Unlock()
	var err error
	if l.Reload != nil {
		err = l.Reload(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ok = err == nil
	if l.ok {
		l.okSince = time.Now()
	}
	return err
}

// Entry returns the result of the last reload as a collector.
func (l *Lifecycle) Entry() Entry {
	return Entry{
		Name: "config", Help: "How the last reload of the configuration went.", Default: true,
		Collector: l, Families: []*Family{l.successful, l.timestamp},
	}
}

// Update makes a Lifecycle a Collector.
func (l *Lifecycle) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	l.mu.Lock()
	ok, since := l.ok, l.okSince
	l.mu.Unlock()
	l.successful.Begin()
	l.successful.Set(event.Workload{}, oneIf(ok))
	l.successful.Send(ch)
	l.timestamp.Begin()
	l.timestamp.Set(event.Workload{}, float64(since.UnixMilli())/1000)
	l.timestamp.Send(ch)
	return nil
}

// MountLanding adds the page at / of who has no store, and so no console. Every other path is answered with 404.
func MountLanding(mux *http.ServeMux, version string) error {
	links := []web.LandingLinks{
		{Address: "/metrics", Text: "Metrics", Description: "what is seen, as Prometheus scrapes it"},
		{Address: "/api/yagura/hits", Text: "Hits", Description: "what detection rules have found lately, the latest first"},
		{Address: "/api/yagura/fim", Text: "Files", Description: "changes of watched files, who made them, and whether they were expected, the latest first"},
		{Address: "/api/yagura/posture?status=fail", Text: "Posture", Description: "how the machine is configured: checks that fail, what they found, and how to mend it"},
		{Address: "/api/yagura/requests", Text: "Requests", Description: "slow and failed requests, the latest first"},
		{Address: "/api/yagura/connections", Text: "Connections", Description: "who speaks with whom now, and the processes behind it"},
		{Address: "/-/ready", Text: "Readiness", Description: "whether everything that was asked for runs"},
	}
	page, err := web.NewLandingPage(web.LandingConfig{
		Name:        "Yagura",
		Description: "Watches this machine from its kernel.",
		Version:     version,
		Links:       links,
		HeaderColor: "#2b4c5c",
		Profiling:   "false",
	})
	if err != nil {
		return fmt.Errorf("make the landing page: %w", err)
	}
	mux.Handle("/", page)
	return nil
}
