package promql

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/notifier"
)

const (
	maxNotifications = 10_000 // that may wait for one Alertmanager; beyond, the oldest are dropped and counted
	farewell         = 5 * time.Second
)

// A messenger sends alerts to Alertmanagers.
type messenger struct {
	*notifier.Manager
	last atomic.Int64 // when the last may begin to be sent, in nanoseconds; 0 while there is no end in sight
}

// newMessenger makes a messenger. It sends nothing before Run.
func newMessenger(reg prometheus.Registerer, log *slog.Logger) *messenger {
	m := &messenger{}
	m.Manager = notifier.NewManager(&notifier.Options{
		QueueCapacity:   maxNotifications,
		DrainOnShutdown: true,
		Registerer:      reg,
		Do:              m.do,
	}, model.UTF8Validation, log)
	return m
}

var errFarewell = errors.New("alert not sent: the program ends")

// do sends one batch. When the program ends, what still waits is sent as long as the Alertmanager is quick.
func (m *messenger) do(ctx context.Context, c *http.Client, r *http.Request) (*http.Response, error) {
	if last := m.last.Load(); last != 0 && time.Now().UnixNano() > last {
		return nil, errFarewell
	}
	return c.Do(r.WithContext(ctx))
}

// Stop has Run return once what waits is sent, or the time for farewells is over.
func (m *messenger) Stop() {
	m.last.Store(time.Now().Add(farewell).UnixNano())
	m.Manager.Stop()
}
