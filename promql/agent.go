package promql

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/util/compression"
)

// agentDir is where an agent keeps its log, beside the database of the same store when that was none.
const agentDir = "agent"

// dir is where the write-ahead log is.
func (s *Store) dir() string {
	if s.opts.Config.Agent {
		return filepath.Join(s.opts.Path, agentDir)
	}
	return s.opts.Path
}

// openAgent opens a log without a database: what is in it only waits to be sent.
func (s *Store) openAgent() error {
	o := agent.DefaultOptions()
	o.WALCompression = compression.Snappy
	o.StripeSize = 2048
	o.NoLockfile = true // lockDir holds the lock
	o.OutOfOrderTimeWindow = s.opts.Config.OutOfOrderWindow.Milliseconds()
	o.EnableSTAsZeroSample = true
	db, err := agent.Open(s.internals, s.registry, s.remote, s.dir(), o)
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("open store %s: %w: %w", s.opts.Path, ErrDiskFull, err)
	}
	if err != nil {
		return fmt.Errorf("open store %s: %w", s.opts.Path, err)
	}
	db.SetWriteNotified(s.post)
	s.local = db
	return nil
}

// agentServes are the parts of the API that need no samples.
var agentServes = []string{"metadata", "targets", "scrape_pools", "features", "notifications", "status/buildinfo", "status/runtimeinfo", "status/config", "status/flags"}

// whenStoring refuses what an agent cannot answer.
func (s *Store) whenStoring(next http.Handler) http.Handler {
	if !s.opts.Config.Agent {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/api/v1/")
		if slices.ContainsFunc(agentServes, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
			next.ServeHTTP(w, r)
			return
		}
		refuse(w, http.StatusUnprocessableEntity, "execution",
			"this store is an agent (store.agent): it keeps no samples and evaluates no rules; ask the receiver of its remote_write")
	})
}
