package dashboards

// store is the embedded Prometheus: whether it keeps up, what it holds, and whether rules are evaluated and alerts sent.
func store() Board {
	const each, noAlertmanager, noRemote = "{{instance}}", "no Alertmanager may be configured", "no remote write may be configured"
	lately := func(q Query) Query { return q.With("window", "$__rate_interval") }
	return Board{
		UID: "yagura-store", Title: "Yagura / Prometheus store",
		Description: "The embedded Prometheus: whether it keeps up, what it holds, and whether rules are evaluated and alerts sent.",
		Tags:        []string{"meta"}, Source: "prometheus_tsdb_head_series",
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{Named: true}, Queries: []Query{Q("store_targets_up", "{{job}}")}, Thresholds: From("red", 1, "green")},
				{View: Stat{}, Queries: []Query{Q("store_series", each)}, Thresholds: Above("PrometheusSeriesHigh")},
				{View: Stat{}, Queries: []Query{Q("store_samples", each)}},
				{View: Stat{}, Queries: []Query{Q("store_size_total", each)}},
				{View: Stat{Plain: true}, Queries: []Query{Q("store_oldest", each)}},
				{View: Stat{}, Queries: []Query{Q("store_queries_running", each)}, Thresholds: Above("PrometheusQueriesQueue")},
			}},
			{Title: "Taking in", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_samples", each)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_scrape_duration", "{{job}} {{instance}}")}, Thresholds: Above("YaguraScrapeSlow")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_scrape_samples", "{{job}} {{instance}}")}, Thresholds: Above("YaguraScrapeLarge")},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{lately(Q("store_samples_refused", "{{kind}}")).MayBeEmpty("nothing may be refused")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_write_latency", "{{quantile}}").MayBeEmpty("the log is not synced while nothing closes it")}},
				{View: Table{Columns: []Column{{Field: "job", Title: "Job"}, {Field: "instance", Title: "Target that does not answer"}}}, Width: 8, Height: 8,
					Queries: []Query{Q("store_targets_down", "").MayBeEmpty("every target may answer")}},
			}},
			{Title: "Answering", Panels: []Panel{
				{View: TimeSeries{}, Queries: []Query{Q("store_queries", each)}},
				{View: TimeSeries{}, Queries: []Query{Q("store_query_duration", "{{slice}} {{quantile}}")}},
			}},
			{Title: "Holding", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_series", each)}, Thresholds: Above("PrometheusSeriesHigh")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_churn", each)}},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("store_size", "{{kind}}")}},
			}},
			{Title: "Rules and alerts", Folded: true, Panels: []Panel{
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{lately(Q("store_rules_failing", "{{rule_group}}")).MayBeEmpty("no rule may fail")}, Thresholds: Above("PrometheusRuleFails")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_rule_group_duration", "{{rule_group}}").MayBeEmpty("no rules may be loaded")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_rule_group_age", "{{rule_group}}").MayBeEmpty("no rules may be loaded")}},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{lately(Q("store_rule_groups_late", "{{rule_group}}")).MayBeEmpty("no group may be late")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_notifications", "{{alertmanager}}").MayBeEmpty(noAlertmanager)}},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{lately(Q("store_notifications_failed", "{{kind}} {{alertmanager}}")).MayBeEmpty(noAlertmanager)}},
				{View: Stat{}, Width: 8, Queries: []Query{Q("store_alertmanagers", each).MayBeEmpty(noAlertmanager)}, Thresholds: Below("PrometheusNoAlertmanager")},
				{View: BarGauge{}, Width: 16, Queries: []Query{Q("store_rules_loaded", "{{rule_group}}").MayBeEmpty("no rules may be loaded")}},
			}},
			{Title: "Disk and remote write", Folded: true, Panels: []Panel{
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{lately(Q("store_failures", "{{kind}}")).MayBeEmpty("nothing may have failed")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_blocks", each)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("store_exemplars", each)}},
				{View: TimeSeries{}, Width: 12, Queries: []Query{Q("store_remote_write_lag", "{{remote_name}}").MayBeEmpty(noRemote)}, Thresholds: Above("PrometheusRemoteWriteBehind")},
				{View: TimeSeries{Bars: true}, Width: 12, Queries: []Query{lately(Q("store_remote_write_failed", "{{remote_name}}")).MayBeEmpty(noRemote)}},
			}},
		},
	}
}
