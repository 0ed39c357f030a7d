package dashboards

// objectives is whether promises are kept.
func objectives() Board {
	const who = "{{slo}} " + who
	const rare = "the rules of long windows run every two minutes"
	const spend = "Burn rate, "
	burn := func(title, span, alert, other string) Panel {
		return Panel{Title: spend + title, View: TimeSeries{}, Width: 12, Thresholds: Above(alert), Links: []Link{ToWorkload()},
			Queries: []Query{Q("slo_burn_rate", span+" "+who).With("span", span).MayBeEmpty(rare), Q("slo_burn_rate", other+" "+who).With("span", other).MayBeEmpty(rare)}}
	}
	return Board{
		UID: "yagura-slo", Title: "Yagura / Objectives",
		Description: "Whether the promises of alerts.slos are kept: what is left of each error budget, and how fast it is spent. From the recording rules of the alert pack slo.",
		Tags:        []string{"workloads"}, From: "24h",
		Variables: append([]Variable{{Name: "slo", Label: "Objective", Metric: "slo:objective:ratio", Alone: true, Description: "Objective, as it is called in alerts.slos."}}, Workload()...),
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{Plain: true}, Width: 4, Height: 8, Queries: []Query{Q("slo_missed", "")}, Thresholds: From("green", 1, "red")},
				{View: Table{Columns: []Column{{Field: "slo", Title: "Objective"}, {Field: "window", Title: "For"}, {Field: "A", Title: "Promise", Unit: "ratio"}}}, Width: 8, Height: 8, Queries: []Query{Q("slo_promises", "")}},
				{View: BarGauge{}, Width: 12, Height: 8, Queries: []Query{Q("slo_budget_remaining", who).MayBeEmpty(rare)}, Thresholds: Below("SLOErrorBudgetExhausted")},
			}},
			{Panels: []Panel{{Title: "Where objectives come from", View: Text{Markdown: "Objectives are those of `alerts: slos:` in `yagura.yaml`, or those that Yagura ships. " +
				"A page comes when both spans of a burn rate are above its line, the longer one because it matters and the shorter one because it goes on. " +
				"The store of Yagura records these series by itself; another Prometheus loads `alerts/slo.yaml`."}}}},
			{Title: "How fast budgets are spent", Panels: []Panel{
				burn("hours", "1h", "SLOErrorBudgetBurn14x", "5m"),
				burn("a quarter of a day", "6h", "SLOErrorBudgetBurn6x", "30m"),
				burn("a day", "1d", "SLOErrorBudgetBurn3x", "2h"),
				burn("three days", "3d", "SLOErrorBudgetBurn1x", "6h"),
			}},
			{Title: "What was asked, and what went wrong", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Links: []Link{ToWorkload()}, Queries: []Query{Q("slo_requests", who)}},
				{View: TimeSeries{}, Width: 8, Links: []Link{ToWorkload()}, Queries: []Query{Q("slo_errors", who)}},
				{View: TimeSeries{}, Width: 8, Links: []Link{ToWorkload()}, Queries: []Query{Q("slo_error_ratio", who)}},
				{View: TimeSeries{Signed: true, Max: 1}, Width: 24, Links: []Link{ToWorkload()}, Queries: []Query{Q("slo_budget_remaining", who).MayBeEmpty(rare)}, Thresholds: Below("SLOErrorBudgetExhausted")},
			}},
		},
	}
}
