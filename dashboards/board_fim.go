package dashboards

// integrity is which files have changed.
func integrity() Board {
	return Board{
		UID: "yagura-fim", Title: "Yagura / Integrity of files",
		Description: "Which watched files have changed, who did it, and whether the watch can be trusted.",
		Tags:        []string{"security"}, From: "24h",
		Annotations: []Annotation{fileMarks()},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{Plain: true}, Queries: []Query{Q("fim_unexpected_total", "").With("window", "$__range")}, Thresholds: Above("FIMOwnSetChanged", "FIMManyChanges")},
				{View: Stat{Named: true}, Queries: []Query{Q("fim_drifted", "{{watch}}")}, Thresholds: Above("FIMDriftNotAccepted")},
				{View: Stat{Plain: true}, Queries: []Query{Q("fim_intact", "{{instance}}")}, Thresholds: Below("FIMBaselineTampered"), Mappings: YesNo("intact", "green", "changed", "red")},
				{View: Stat{Plain: true}, Queries: []Query{Q("fim_scan_age", "{{instance}}")}, Thresholds: Above("FIMScanOverdue")},
				{View: Stat{Plain: true}, Queries: []Query{Q("fim_unread", "{{instance}}")}, Thresholds: Above("FIMUnreadFiles")},
				{View: Stat{Plain: true}, Queries: []Query{Q("fim_unreconciled", "{{instance}}")}, Thresholds: Above("FIMLossesUnreconciled")},
			}},
			{Title: "Changes", Panels: []Panel{
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("fim_unexpected", "{{watch}} {{kind}}")}},
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("fim_expected", "{{watch}}")}},
				{View: Table{Sort: "Changes", Columns: []Column{
					{Field: "watch", Title: "Set"}, {Field: "kind", Title: "Kind"}, {Field: "expected", Title: "Expected", Mappings: []Mapping{{"true", "expected", "green"}, {"false", "not expected", "orange"}}},
					{Field: "A", Title: "Changes", Bar: true},
				}}, Width: 10, Height: 10, Queries: []Query{Q("fim_changes", "").With("window", "$__range")}},
				{View: Table{Sort: "Changes", Columns: []Column{
					{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container"}, {Field: "unit", Title: "Unit"},
					{Field: "actor", Title: "Actor", Mappings: []Mapping{{"user", "user", "orange"}, {"unknown", "unknown", "red"}, {"package", "package", "green"}, {"maintenance", "maintenance", "green"}, {"runtime", "runtime", "green"}}},
					{Field: "watch", Title: "Set"}, {Field: "kind", Title: "Kind"}, {Field: "A", Title: "Changes", Bar: true},
				}}, Width: 14, Height: 10, Links: []Link{ToWorkload()}, Queries: []Query{Q("fim_actors", "").With("window", "$__range")}},
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("fim_drifted", "{{watch}}")}},
				{View: TimeSeries{}, Queries: []Query{Q("fim_files", "{{watch}}")}},
			}},
			{Title: "The watch itself", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("fim_waiting", "{{instance}}")}, Thresholds: Above("FIMBacklog")},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("fim_overflows", "{{instance}}")}, Thresholds: Above("FIMOverflows")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("fim_scan_duration", "{{instance}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("fim_held", "{{instance}}")}, Thresholds: Above("FIMChangesHeld")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("fim_baseline_age", "{{instance}}")}},
				{View: StateTimeline{}, Width: 8, Queries: []Query{Q("fim_intact", "{{instance}}")}, Thresholds: Below("FIMBaselineTampered"), Mappings: YesNo("intact", "green", "changed", "red")},
			}},
		},
	}
}
