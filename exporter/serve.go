package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
)

// A Server is the HTTP server of the program, already listening.
type Server struct {
	http      http.Server
	flags     *web.FlagConfig
	listeners []net.Listener
	log       *slog.Logger
}

// Listen opens the addresses of the flags, so that a port in use is told before anything else is done, and before the
// capability for a low one is given up.
func Listen(flags *web.FlagConfig, handler http.Handler, log *slog.Logger) (*Server, error) {
	s := &Server{flags: flags, log: log, http: http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}}
	if err := web.Validate(*flags.WebConfigFile); err != nil {
		return nil, fmt.Errorf("read --web.config.file: %w", err)
	}
	if flags.WebSystemdSocket != nil && *flags.WebSystemdSocket {
		return s, nil // systemd has them
	}
	for _, address := range *flags.WebListenAddresses {
		if strings.HasPrefix(address, "vsock://") {
			return s, s.close() // which the toolkit opens itself
		}
		l, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%s is in use: another Yagura? Give a free one by --web.listen-address", address)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen: %w", err), s.close())
		}
		s.listeners = append(s.listeners, l)
		if *flags.WebConfigFile == "" && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			log.Warn("everybody who reaches this address can read it: give TLS and users by --web.config.file", "address", address)
		}
	}
	return s, nil
}

// Run serves until ctx is done, and lets the requests of the moment end.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := s.http.Shutdown(grace); err != nil {
			s.log.Warn("requests cut off", "err", err)
		}
	})
	defer stop()
	serve := func() error { return web.ServeMultiple(s.listeners, &s.http, s.flags, s.log) }
	if len(s.listeners) == 0 {
		serve = func() error { return web.ListenAndServe(&s.http, s.flags, s.log) }
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) close() (err error) {
	for _, l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	s.listeners = nil
	return err
}

// ReloadOnHangup reloads on SIGHUP until its context is done. A configuration that does not load changes nothing.
func (l *Lifecycle) ReloadOnHangup(log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error { return l.reloadOnHangup(ctx, log) }
}

func (l *Lifecycle) reloadOnHangup(ctx context.Context, log *slog.Logger) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
		}
		if err := l.ReloadNow(ctx); err != nil {
			log.Error("configuration not reloaded: the one before stays", "err", err)
		} else {
			log.Info("configuration reloaded")
		}
	}
}
