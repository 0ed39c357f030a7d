package dashboards

// posture is how well machines are configured.
func posture() Board {
	severities := []Mapping{{"critical", "critical", "dark-red"}, {"high", "high", "red"}, {"medium", "medium", "orange"}, {"low", "low", "blue"}}
	return Board{
		UID: "yagura-posture", Title: "Yagura / Posture",
		Description: "How well machines are configured by each standard, and what to mend first.",
		Tags:        []string{"security"}, From: "7d",
		Variables: []Variable{{Name: "framework", Label: "Standard", Metric: "yagura_posture_score", Description: "Standard with numbered controls."}},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{Plain: true}, Width: 5, Queries: []Query{Q("posture_severe", "")}, Thresholds: Above("PostureCheckFails")},
				{View: Stat{Plain: true}, Width: 5, Queries: []Query{Q("posture_passing", "")}},
				{View: Stat{Plain: true, Named: true}, Width: 5, Queries: []Query{Q("posture_waivers", "{{state}}")}},
				{View: Stat{Plain: true}, Width: 5, Queries: []Query{Q("posture_age", "{{instance}}")}, Thresholds: Above("PostureRunOverdue")},
				{View: Stat{Plain: true}, Width: 4, Queries: []Query{Q("posture_duration", "{{instance}}")}, Thresholds: Above("PostureRunSlow")},
				{View: BarGauge{}, Width: 12, Height: 10, Queries: []Query{Q("posture_scores", "{{framework}}")}},
				{View: BarGauge{}, Width: 12, Height: 10, Queries: []Query{Q("posture_coverage", "{{framework}}")}},
			}},
			{Title: "Failing", Panels: []Panel{
				{View: Table{Sort: "Objects", Columns: []Column{
					{Field: "instance", Title: "Machine"}, {Field: "check", Title: "Check"}, {Field: "severity", Title: "Severity", Width: 110, Mappings: severities}, {Field: "A", Title: "Objects", Width: 140, Bar: true},
				}}, Width: 14, Height: 14, Queries: []Query{Q("posture_failing", "")}},
				{View: BarGauge{}, Width: 5, Height: 7, Queries: []Query{Q("posture_failing_by_severity", "{{severity}}")}},
				{View: BarGauge{}, Width: 5, Height: 7, Queries: []Query{Q("posture_unassessed", "{{status}}")}},
				{View: Table{Sort: "Checks", Columns: []Column{
					{Field: "framework", Title: "Standard"}, {Field: "control", Title: "Control"}, {Field: "A", Title: "Checks", Bar: true},
				}}, Width: 12, Height: 11, Queries: []Query{Q("posture_failing_controls", "")}},
				{View: Table{Sort: "Changes", Columns: []Column{
					{Field: "instance", Title: "Machine"}, {Field: "check", Title: "Check"}, {Field: "severity", Title: "Severity", Mappings: severities}, {Field: "A", Title: "Changes"},
				}}, Width: 12, Height: 11, Queries: []Query{Q("posture_changes", "").With("window", "$__range").MayBeEmpty("verdicts change seldom")}},
			}},
			{Title: "Over time", Panels: []Panel{
				{View: TimeSeries{Table: true, Max: 100}, Queries: []Query{Q("posture_scores", "{{framework}}")}},
				{View: TimeSeries{Table: true, Max: 100}, Queries: []Query{Q("posture_weighted_scores", "{{framework}}")}},
				{View: TimeSeries{Stacked: true}, Width: 24, Queries: []Query{Q("posture_failing_by_severity", "{{severity}}")}},
			}},
		},
	}
}
