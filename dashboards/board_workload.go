package dashboards

// workload is one workload: rate, errors and duration, what it lacks, what it depends on, and what happened in it.
func workload() Board {
	const quantiles = "quantile"
	latency := func(name string) []Query {
		return []Query{Q(name, "p50 "+who).With(quantiles, "0.5"), Q(name, "p95 "+who).With(quantiles, "0.95"), Q(name, "p99 "+who).With(quantiles, "0.99")}
	}
	return Board{
		UID: "yagura-workload", Title: "Yagura / Workload",
		Description: "One workload: what is asked of it and how well it answers, what it lacks, what it depends on, and what was detected in it.",
		Tags:        []string{"workloads"},
		Variables:   Workload(),
		Annotations: []Annotation{hitMarks(), fileMarks()},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{}, Queries: []Query{Q("workload_requests", who)}},
				{View: Stat{}, Queries: []Query{Q("workload_error_ratio", who)}, Thresholds: Above("RequestErrorsHigh", "RequestsMostlyFail"),
					Links: []Link{ToBoard("Its objectives", "yagura-slo")}},
				{Title: "95th percentile", View: Stat{}, Queries: []Query{Q("workload_latency", who)}, Thresholds: Above("RequestLatencyHigh")},
				{View: Gauge{}, Height: 4, Queries: []Query{Q("workload_saturation", "{{resource}}")}, Thresholds: Above("WorkloadCPUStarved", "WorkloadMemoryNearLimit")},
				{View: Stat{}, Queries: []Query{Q("workload_restarts", who).With("window", "$__range")}, Thresholds: Above("WorkloadCrashLoops")},
				{View: Stat{Plain: true}, Queries: []Query{Q("workload_rule_hits", "{{rule}}").With("window", "$__range")}, Thresholds: Above("SecurityHitNewInWorkload"),
					Links: []Link{{Title: "Security", Board: "yagura-security"}}},
			}},
			{Title: "Rate, errors, duration", Panels: []Panel{
				{View: TimeSeries{Table: true}, Width: 8, Queries: []Query{Q("workload_requests", who)}},
				{View: TimeSeries{Table: true}, Width: 8, Queries: []Query{Q("workload_error_ratio", who)}, Thresholds: Above("RequestErrorsHigh", "RequestsMostlyFail")},
				{View: TimeSeries{Exemplars: true, Table: true}, Width: 8, Queries: latency("workload_latency"), Thresholds: Above("RequestLatencyHigh", "RequestTailLatencyHigh")},
				{View: Heatmap{}, Queries: []Query{Q("workload_latency_buckets", "{{le}}")}},
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("workload_errors_by_type", "{{error_type}}")}},
				{View: Table{Sort: "Requests", Columns: []Column{
					{Field: "http_request_method", Title: "Method", Width: 90},
					{Field: "http_route", Title: "Route"},
					{Field: "A", Title: "Requests", Unit: "requests_per_second", Bar: true},
					{Field: "B", Title: "Failed", Unit: "requests_per_second"},
					{Field: "C", Title: "95th percentile", Unit: "seconds"},
				}}, Queries: []Query{Q("workload_routes", ""), Q("workload_route_errors", ""), Q("workload_route_latency", "")}},
			}},
			{Title: "Saturation", Panels: []Panel{
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("workload_saturation", "{{resource}}")}, Thresholds: Above("WorkloadCPUStarved", "WorkloadMemoryNearLimit")},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("workload_cpu", who),
					Q("workload_cpu_limit", "limit "+who)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("workload_memory", who),
					Q("workload_memory_limit", "limit "+who)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("workload_run_queue_latency", "p99 "+who)}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("workload_cpu_throttled", who)}, Thresholds: Above("WorkloadCPUThrottled")},
				{View: TimeSeries{Max: 1}, Width: 8, Queries: []Query{Q("workload_descriptors", who)}, Thresholds: Above("WorkloadDescriptorsNearLimit")},
				{View: TimeSeries{}, Queries: []Query{Q("workload_network_bytes", "{{direction}}")}},
				{View: TimeSeries{}, Queries: []Query{Q("workload_block_bytes", "{{operation}}")}},
			}},
			{Title: "What it depends on", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("workload_calls", who)}, Links: []Link{ToBoard("Its databases", "yagura-databases")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("workload_call_error_ratio", who)}, Thresholds: Above("UpstreamErrorsHigh")},
				{View: TimeSeries{}, Width: 8, Queries: latency("workload_call_latency")},
				{View: TimeSeries{}, Queries: []Query{Q("network_connects", "{{result}}")}, Links: []Link{ToBoard("Its network", "yagura-network")}},
				{View: BarGauge{}, Width: 12, Queries: []Query{Q("edge_coverage", "{{state}}")}},
			}},
			{Title: "What happened", Panels: []Panel{
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("workload_rule_hits", "{{rule}}")}},
				{View: TimeSeries{Bars: true, Stacked: true}, Queries: []Query{Q("workload_fim_changes", "{{watch}} {{kind}} by {{actor}}")}},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("workload_exits", "{{reason}}")}},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("workload_restarts", who)}, Thresholds: Above("WorkloadCrashLoops")},
				{View: TimeSeries{Bars: true}, Width: 8, Queries: []Query{Q("workload_oom_kills", who)}, Thresholds: Above("WorkloadOOMKilled")},
				{View: Table{Columns: []Column{
					{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container"},
					{Field: "unit", Title: "Unit"}, {Field: "reason", Title: "Why it ended"},
				}}, Width: 10, Height: 7, Queries: []Query{Q("workload_last_exit", "")}},
				{View: Table{Columns: []Column{
					{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container"}, {Field: "image", Title: "Image"},
					{Field: "runtime", Title: "Runtime"}, {Field: "owner_kind", Title: "Owner"}, {Field: "owner_name", Title: "Name of the owner"},
				}}, Width: 14, Height: 7, Queries: []Query{Q("workload_info", "")}},
			}},
		},
	}
}

// hitMarks and fileMarks put detections and unexpected changes of files on the graphs of a board.
func hitMarks() Annotation {
	return Annotation{Name: "Rule hits", Query: "rule_hits_marks", Title: "{{rule}}", Text: "{{priority}}", Tags: "priority", Color: "purple"}
}

func fileMarks() Annotation {
	return Annotation{Name: "Changes of files", Query: "fim_unexpected_marks", Title: "{{watch}}: {{kind}}", Text: "not expected", Tags: "watch,kind", Color: "yellow"}
}
