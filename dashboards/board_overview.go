package dashboards

// overview answers whether all is well, and leads to where it is not.
func overview() Board {
	return Board{
		UID: "yagura-overview", Title: "Yagura / Overview",
		Description: "Is all well? Alerts, detections, changed files, the machine and its services, each with a way to the board that knows more.",
		Annotations: []Annotation{hitMarks(), fileMarks()},
		Rows: []Row{
			{Panels: []Panel{
				{Title: "Critical alerts", View: Stat{}, Queries: []Query{Q("alerts_firing_count", "").With("severity", "critical")}, Thresholds: From("green", 1, "red")},
				{Title: "Warnings", View: Stat{}, Queries: []Query{Q("alerts_firing_count", "").With("severity", "warning")}, Thresholds: From("green", 1, "orange")},
				{Title: "Urgent detections", View: Stat{Plain: true}, Queries: []Query{Q("security_hits_urgent", "").With("window", "$__range")},
					Thresholds: From("green", 1, "red"), Links: []Link{{Title: "Security", Board: "yagura-security"}}},
				{Title: "Unexpected file changes", View: Stat{Plain: true}, Queries: []Query{Q("fim_unexpected_total", "").With("window", "$__range")},
					Thresholds: From("green", 1, "orange"), Links: []Link{{Title: "Files", Board: "yagura-fim"}}},
				{Title: "Worst saturation", View: Stat{Plain: true, Named: true}, Queries: []Query{Q("container_saturation_top", who+" {{resource}}").With("top", "1")},
					Links: []Link{ToWorkload()}},
				{Title: "Most failed requests", View: Stat{Plain: true, Named: true}, Queries: []Query{Q("service_errors_top", who+" {{protocol}}").With("top", "1")},
					Thresholds: Above("RequestErrorsHigh", "RequestsMostlyFail"), Links: []Link{ToWorkload()}},
			}},
			{Title: "What fires", Panels: []Panel{
				{View: Table{Columns: []Column{
					{Field: "severity", Title: "Severity", Width: 90}, {Field: "alertname", Title: "Alert"}, {Field: "component", Title: "About", Width: 110},
					{Field: "instance", Title: "Machine", Width: 130}, {Field: "namespace", Title: "Namespace", Width: 110}, {Field: "pod", Title: "Pod"},
					{Field: "container", Title: "Container", Links: []Link{ToWorkload()}}, {Field: "unit", Title: "Unit"}, {Field: "rule", Title: "Rule"},
				}}, Width: 14, Queries: []Query{Q("alerts_firing", "").MayBeEmpty("no alert may fire")}},
				{View: TimeSeries{Stacked: true, Bars: true}, Width: 10, Height: 9, Queries: []Query{Q("changes_counted", "{{what}}").With("window", "$__rate_interval")}},
			}},
			{Title: "Machine", Panels: []Panel{
				{View: TimeSeries{Max: 1}, Width: 6, Queries: []Query{Q("node_cpu_busy", "{{instance}}")}, Links: []Link{{Title: "Node", Board: "yagura-node"}}},
				{View: TimeSeries{Max: 1}, Width: 6, Queries: []Query{Q("node_memory_left", "{{instance}}")}, Thresholds: Below("NodeMemoryLow"), Links: []Link{{Title: "Node", Board: "yagura-node"}}},
				{View: TimeSeries{Max: 1}, Width: 6, Queries: []Query{Q("node_filesystem_least_left", "{{instance}}")},
					Thresholds: Below("NodeFilesystemAlmostFull", "NodeFilesystemFull"), Links: []Link{{Title: "Node", Board: "yagura-node"}}},
				{View: TimeSeries{}, Width: 6, Queries: []Query{Q("network_traffic", who)}, Links: []Link{{Title: "Network", Board: "yagura-network"}, ToWorkload()}},
			}},
			{Title: "Services", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("service_requests_top", who+" {{protocol}}")}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("service_errors_top", who+" {{protocol}}")},
					Thresholds: Above("RequestErrorsHigh", "RequestsMostlyFail"), Links: []Link{ToWorkload()}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("service_latency_top", who+" {{protocol}}")}, Links: []Link{ToWorkload()}},
			}},
			{Title: "Workloads", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("container_cpu_top", who)}, Links: []Link{ToWorkload(), {Title: "Containers", Board: "yagura-containers"}}},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("container_memory_top", who)}, Links: []Link{ToWorkload(), {Title: "Containers", Board: "yagura-containers"}}},
				{View: BarGauge{}, Queries: []Query{Q("container_saturation_top", who+" {{resource}}")}, Links: []Link{ToWorkload()}},
			}},
			{Title: "Is it watched?", Folded: true, Panels: []Panel{
				{View: BarGauge{}, Queries: []Query{Q("posture_scores", "{{framework}}")}, Links: []Link{{Title: "Posture", Board: "yagura-posture"}}},
				{View: TimeSeries{Bars: true, Stacked: true}, Width: 8, Queries: []Query{Q("security_hits", "{{priority}}")}, Links: []Link{{Title: "Security", Board: "yagura-security"}}},
				{View: StateTimeline{}, Width: 8, Queries: []Query{Q("agent_up", "{{instance}}")}, Mappings: YesNo("answers", "green", "does not answer", "red"),
					Links: []Link{{Title: "Agent", Board: "yagura-agent"}}},
			}},
		},
	}
}
