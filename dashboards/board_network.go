package dashboards

// network is names and connections.
func network() Board {
	return Board{
		UID: "yagura-network", Title: "Yagura / DNS and network",
		Description: "What is looked up, who cannot connect, and what is lost on the way.",
		Tags:        []string{"network"},
		Variables:   Workload(),
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{}, Width: 6, Queries: []Query{Q("dns_error_ratio", "")}},
				{Title: "DNS, 95th percentile", View: Stat{}, Width: 6, Queries: []Query{Q("dns_latency", "{{instance}}")}},
				{View: Stat{}, Width: 6, Queries: []Query{Q("network_connect_failure_ratio", "")}},
				{Title: "Round trip, 95th percentile", View: Stat{}, Width: 6, Queries: []Query{Q("network_rtt", "{{instance}}")}},
			}},
			{Title: "DNS", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("dns_lookups", who)}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("dns_errors", "{{error_type}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("dns_latency", "p50 {{instance}}").With("quantile", "0.5"), Q("dns_latency", "p95 {{instance}}"),
					Q("dns_latency", "p99 {{instance}}").With("quantile", "0.99")}},
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("dns_served", "{{error_type}}")}},
				{View: Table{Sort: "Lookups", Columns: []Column{{Field: "dns_question_name", Title: "Name"}, {Field: "A", Title: "Lookups", Bar: true}}}, Width: 12, Height: 8,
					Queries: []Query{Q("dns_names", "").MayBeEmpty("requests.dns_names is off by default")}},
			}},
			{Title: "Connections", Panels: []Panel{
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("network_connects", "{{result}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_connect_latency", "p50 {{instance}}").With("quantile", "0.5"), Q("network_connect_latency", "p95 {{instance}}"),
					Q("network_connect_latency", "p99 {{instance}}").With("quantile", "0.99")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_accepts", who)}, Links: []Link{ToWorkload()}},
				{View: Table{Sort: "Failed", Columns: []Column{
					{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container"}, {Field: "unit", Title: "Unit"},
					{Field: "result", Title: "How it failed"}, {Field: "A", Title: "Failed", Bar: true},
				}}, Queries: []Query{Q("network_connect_failures", "")}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{Max: 1}, Queries: []Query{Q("network_accept_queue", who+" {{port}}")}, Thresholds: Above("WorkloadAcceptQueueFull"), Links: []Link{ToWorkload()}},
				{View: TimeSeries{Bars: true}, Queries: []Query{Q("network_accept_overflows", who+" {{port}}")}, Thresholds: Above("WorkloadAcceptQueueOverflows"), Links: []Link{ToWorkload()}},
			}},
			{Title: "Traffic and losses", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_traffic", who)}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_rtt", "p50 {{instance}}").With("quantile", "0.5"), Q("network_rtt", "p95 {{instance}}"),
					Q("network_rtt", "p99 {{instance}}").With("quantile", "0.99")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_exchanges", "p95 {{role}}").MayBeEmpty("only connections of protocols that Yagura does not know are told so")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_retransmits", who)}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_resets", "{{direction}}")}},
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("network_drops", "{{reason}}")}},
			}},
		},
	}
}
