package promql

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
)

// What Prometheus itself does unless told otherwise.
const (
	outageTolerance = time.Hour        // of a gap over which alerts that were pending are still restored
	gracePeriod     = 10 * time.Minute // for an alert that was about to fire before a restart
	resendDelay     = time.Minute
	evaluations     = 4 // at once
)

// RuleFiles are rule files in memory, by name, for a store that keeps samples for that long.
type RuleFiles func(retention time.Duration) (map[string][]byte, error)

func (f RuleFiles) within(c Config) (map[string][]byte, error) {
	if f == nil {
		return nil, nil
	}
	return f(time.Duration(c.Retention))
}

// A ruleLoader gives the rule manager its files: those of the packs are in memory, the others on the disk.
type ruleLoader struct {
	packs atomic.Pointer[map[string][]byte]
	log   *slog.Logger
}

func newRuleLoader(packs map[string][]byte, log *slog.Logger) *ruleLoader {
	l := &ruleLoader{log: log}
	l.packs.Store(&packs)
	return l
}

// Load reads a rule file. Its errors begin with file, line and column.
func (l *ruleLoader) Load(file string, ignoreUnknown bool, names model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	text, packed := (*l.packs.Load())[file]
	if !packed {
		var err error
		if text, err = readBounded(file); err != nil {
			return nil, []error{err}
		}
	}
	groups, errs := rulefmt.Parse(text, ignoreUnknown, names, expressions, l.log)
	for i, err := range errs {
		errs[i] = located(file, err)
	}
	return groups, errs
}

// Parse parses an expression.
func (l *ruleLoader) Parse(expr string) (parser.Expr, error) { return expressions.ParseExpr(expr) }

// checkRules loads all rule files of a plan as the rule manager will.
func checkRules(p *plan, log *slog.Logger) error {
	l := newRuleLoader(p.packs, log)
	var all []error
	for _, file := range p.ruleFiles {
		_, errs := l.Load(file, false, p.merged.GlobalConfig.MetricNameValidationScheme)
		all = append(all, errs...)
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("load rules: %w", err)
	}
	return nil
}

// openRules makes the rule manager. It evaluates nothing before Run.
func (s *Store) openRules(log *slog.Logger) {
	s.loader = newRuleLoader(nil, log)
	s.rules = rules.NewManager(&rules.ManagerOptions{
		ExternalURL:     s.opts.ExternalURL,
		QueryFunc:       rules.EngineQueryFunc(s.engine, s.queryable),
		NotifyFunc:      rules.SendAlerts(s.notifier, s.opts.ExternalURL.String()),
		Appendable:      s.guard,
		Queryable:       s.local,
		Logger:          log,
		Registerer:      s.registry,
		OutageTolerance: outageTolerance,
		ForGracePeriod:  gracePeriod,
		ResendDelay:     resendDelay,
		GroupLoader:     s.loader,
		DefaultRuleQueryOffset: func() time.Duration {
			return time.Duration(s.plan.Load().merged.GlobalConfig.RuleQueryOffset)
		},
		MaxConcurrentEvals: evaluations,
		FeatureRegistry:    s.features,
		Parser:             expressions,
	})
}

// applyRules gives the rule manager the files of a plan. Groups that have not changed go on undisturbed.
func (s *Store) applyRules(p *plan) error {
	before := s.loader.packs.Swap(&p.packs)
	g := p.merged.GlobalConfig
	err := s.rules.Update(time.Duration(g.EvaluationInterval), p.ruleFiles, g.ExternalLabels, s.opts.ExternalURL.String(), nil)
	if err != nil {
		s.loader.packs.Store(before)
	}
	return err
}
