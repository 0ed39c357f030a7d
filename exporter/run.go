package exporter

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/oklog/run"
	"github.com/prometheus/exporter-toolkit/web"
)

// Parts are what a program runs at once: until all of them have stopped, which they are told to do when the first does.
// The zero value has none.
type Parts struct{ parts []func(context.Context) error }

// Add adds parts; each runs until its context is done or it fails.
func (p *Parts) Add(parts ...func(context.Context) error) { p.parts = append(p.parts, parts...) }

// Listen opens the addresses of flags as Listen does, and adds the server that answers there by handler.
func (p *Parts) Listen(flags *web.FlagConfig, handler http.Handler, log *slog.Logger) error {
	server, err := Listen(flags, handler, log)
	if err == nil {
		p.Add(server.Run)
	}
	return err
}

// Run runs them all, and returns what the first one that stopped returned.
func (p *Parts) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g run.Group
	for _, part := range p.parts {
		g.Add(func() error { return part(ctx) }, func(error) { cancel() })
	}
	return g.Run()
}
