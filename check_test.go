package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// checkScript is `yagura check FILE…`, as a user gives it.
const checkScript = `
exec yagura check good
stdout '^1 configuration of Alertmanager, 1 configuration of Prometheus, 1 rule file: 0 errors, 0 warnings, 1 to know$'
! stderr .

! exec yagura check bad.yaml
stdout '^bad.yaml:5:20: warning: rate\(\) over 30s: .* \(rate-window\)$'
stdout '^bad.yaml:9:21: error: unclosed left parenthesis \(promql\)$'
stdout '^1 rule file: 1 error, 1 warning, 0 to know$'
stderr '^yagura: 1 error in 1 file$'

exec yagura check --scrape-interval=5s --without=promql bad.yaml
! exec yagura check --strict --without=promql bad.yaml
! exec yagura check --format=github bad.yaml
stdout '^::error file=bad.yaml,line=9,col=21,title=promql::'
! exec yagura check --format=sarif bad.yaml
stdout '"version": "2.1.0"'

exec yagura check --list
stdout '^rate-gauge +error +'
exec yagura check
stdout '^the defaults: ok$'
! exec yagura check nothing.yaml
stderr 'nothing.yaml'

-- good/rules.yaml --
groups:
  - name: shop
    rules:
      - alert: ShopDown
        expr: up{job="shop"} == 0
        for: 5m
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.instance }} is down"}
-- good/prometheus.yml --
global: {scrape_interval: 15s}
rule_files: [rules.yaml]
-- good/alertmanager.yml --
route: {receiver: all}
receivers: [{name: all}]
-- good/deployment.yaml --
kind: Deployment
-- bad.yaml --
groups:
  - name: g
    rules:
      - alert: Hits
        expr: rate(hits_total[30s]) > 0
        labels: {severity: warning}
        annotations: {summary: s}
      - alert: Typo
        expr: sum(up
        labels: {severity: warning}
        annotations: {summary: s}
`

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "files.txtar"), checkScript)
	testscript.Run(t, testscript.Params{Dir: dir})
}
