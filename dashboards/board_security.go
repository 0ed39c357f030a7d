package dashboards

func toRule() Link {
	return Link{Title: "This rule", Board: "yagura-rule", Set: map[string]string{"rule": "rule"}}
}

// security is what was detected, where, and whether more would have been.
func security() Board {
	return Board{
		UID: "yagura-security", Title: "Yagura / Security",
		Description: "What happened that should not, where and beside what, and whether Yagura would have seen more.",
		Tags:        []string{"security"}, From: "6h",
		Annotations: []Annotation{fileMarks()},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{Plain: true}, Queries: []Query{Q("security_hits_urgent", "").With("window", "$__range")}, Thresholds: Above("SecurityRuleHitCritical")},
				{View: Stat{Plain: true}, Queries: []Query{Q("security_hits_warning", "").With("window", "$__range")}, Thresholds: Above("SecurityTacticSeen")},
				{View: Stat{Plain: true}, Queries: []Query{Q("fim_unexpected_total", "").With("window", "$__range")}, Thresholds: Above("FIMOwnSetChanged", "FIMManyChanges"),
					Links: []Link{{Title: "Integrity of files", Board: "yagura-fim"}}},
				{View: Stat{Plain: true}, Queries: []Query{Q("posture_severe", "")}, Thresholds: Above("PostureCheckFails"), Links: []Link{{Title: "Posture", Board: "yagura-posture"}}},
				{View: Stat{}, Queries: []Query{Q("security_events_lost", "")}, Thresholds: Above("SecurityEventsLost")},
				{View: Stat{Plain: true}, Queries: []Query{Q("security_probes_refused", "")}, Thresholds: Above("SecurityProbesRefused"),
					Links: []Link{{Title: "Agent health", Board: "yagura-agent"}}},
			}},
			{Title: "Hits", Panels: []Panel{
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("security_hits", "{{priority}}")}},
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("security_tactics", "{{mitre_tactic}}")}},
				{View: Table{Sort: "Hits", Columns: []Column{
					{Field: "rule", Title: "Rule", Links: []Link{toRule()}}, {Field: "priority", Title: "Priority", Width: 120, Mappings: priorities()}, {Field: "A", Title: "Hits", Width: 140, Bar: true},
				}}, Width: 12, Height: 11, Queries: []Query{Q("security_hit_rules", "").With("window", "$__range")}},
				{View: Table{Sort: "Hits", Columns: []Column{
					{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container", Links: []Link{ToWorkload()}},
					{Field: "unit", Title: "Unit", Links: []Link{ToWorkload()}}, {Field: "rule", Title: "Rule", Links: []Link{toRule()}}, {Field: "A", Title: "Hits", Width: 100, Bar: true},
				}}, Width: 12, Height: 11, Queries: []Query{Q("security_hit_workloads", "").With("window", "$__range")}},
				{View: Table{Sort: "Hits", Columns: []Column{
					{Field: "rule", Title: "Rule", Links: []Link{toRule()}}, {Field: "priority", Title: "Priority", Width: 120, Mappings: priorities()}, {Field: "A", Title: "Hits", Width: 140},
				}}, Width: 12, Queries: []Query{Q("security_first_hits", "").With("window", "$__range")}},
				{View: TimeSeries{Bars: true}, Width: 12, Height: 9, Links: []Link{ToWorkload()}, Queries: []Query{
					Q("security_incident_hits", who+" {{rule}}").MayBeEmpty("only a workload that was hit and is not well has any")}, Thresholds: Above("SecurityIncident")},
				{View: TimeSeries{}, Width: 24, Links: []Link{ToWorkload()}, Queries: []Query{Q("security_incidents", who)}, Thresholds: Above("RequestErrorsHigh", "RequestsMostlyFail")},
			}},
			{Title: "Would more have been seen?", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("security_events", "{{kind}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("security_rule_time", "p50 {{instance}}").With("quantile", "0.5"), Q("security_rule_time", "p99 {{instance}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("security_rules_loaded", "rules")}, Thresholds: Below("SecurityNoRulesLoaded")},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("security_alerts_lost", "{{output}} {{reason}}")}, Thresholds: Above("SecurityAlertsLost")},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("security_hits_suppressed", "{{rule}}")}, Thresholds: Above("SecurityHitsNotTold"), Links: []Link{toRule()}},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("security_sessions", "{{type}}")}},
			}},
		},
	}
}

func priorities() []Mapping {
	return []Mapping{{"Emergency", "Emergency", "dark-red"}, {"Alert", "Alert", "dark-red"}, {"Critical", "Critical", "red"}, {"Error", "Error", "semi-dark-red"}, {"Warning", "Warning", "orange"},
		{"Notice", "Notice", "blue"}, {"Informational", "Informational", "text"}, {"Debug", "Debug", "text"}}
}
