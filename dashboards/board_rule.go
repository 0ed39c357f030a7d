package dashboards

// rule is one rule of detection.
func rule() Board {
	return Board{
		UID: "yagura-rule", Title: "Yagura / Rule",
		Description: "One rule: where it was hit, how often, and what the workloads that it hit did beside.",
		Tags:        []string{"security"}, From: "6h",
		Variables: []Variable{{Name: "rule", Label: "Rule", Metric: "yagura_rule_hits_total", Single: true, Description: "Name of the rule."}},
		Annotations: []Annotation{
			{Name: "Hits", Query: "rule_hits_marks", Title: "{{rule}}", Color: "purple"},
			fileMarks(),
		},
		Rows: []Row{
			{Panels: []Panel{
				{Title: "Hits in this time", View: Stat{Plain: true}, Width: 6, Queries: []Query{Q("rule_hits", "{{instance}}").With("window", "$__range")}, Thresholds: Above("SecurityRuleHitBurst")},
				{View: Stat{Plain: true}, Width: 6, Queries: []Query{Q("rule_suppressed", "{{rule}}").With("window", "$__range")}, Thresholds: Above("SecurityHitsNotTold")},
				{View: Stat{}, Width: 6, Queries: []Query{Q("rule_share", "")}},
				{Title: "Workloads that were hit", View: Stat{Plain: true}, Width: 6, Queries: []Query{Q("rule_workload_count", "").With("window", "$__range")}},
				{View: Table{Columns: []Column{
					{Field: "rule", Title: "Rule"}, {Field: "priority", Title: "Priority", Mappings: priorities()}, {Field: "source", Title: "Source"}, {Field: "mitre_tactic", Title: "Tactic"},
					{Field: "mitre_technique", Title: "Technique"}, {Field: "nist", Title: "NIST SP 800-190"}, {Field: "pci", Title: "PCI DSS"}, {Field: "maturity", Title: "Maturity"},
				}}, Height: 6, Queries: []Query{Q("rule_tags", "")}},
			}},
			{Title: "Hits", Panels: []Panel{
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("rule_hits", "{{instance}} {{rule}}")}},
				{View: Table{Sort: "Hits", Columns: []Column{
					{Field: "instance", Title: "Machine"}, {Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container"}, {Field: "unit", Title: "Unit"},
					{Field: "A", Title: "Hits", Width: 140, Bar: true},
				}}, Width: 12, Height: 8, Links: []Link{ToWorkload()}, Queries: []Query{Q("rule_workloads", "").With("window", "$__range")}},
			}},
			{Title: "What the workloads that were hit did", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Links: []Link{ToWorkload()}, Queries: []Query{Q("rule_workload_execs", who)}},
				{View: TimeSeries{}, Width: 8, Links: []Link{ToWorkload()}, Queries: []Query{Q("rule_workload_network", "{{direction}} "+who)}},
				{View: TimeSeries{}, Width: 8, Links: []Link{ToWorkload()}, Queries: []Query{Q("rule_workload_cpu", who).MayBeEmpty("a workload that was hit may have used no CPU that is counted: on cgroup v1 a unit of the memory hierarchy only")}},
			}},
		},
	}
}
