package dashboards

// serviceMap is who asks whom.
func serviceMap() Board {
	const edge = "{{client}} to {{server}} ({{protocol}})"
	return Board{
		UID: "yagura-map", Title: "Yagura / Service map",
		Description: "Who asks whom, how often and how well, and what of it cannot be read.",
		Tags:        []string{"workloads"},
		Variables: []Variable{
			{Name: "client", Label: "Client", Metric: "yagura_service_edge_requests_total", Description: "Who asks."},
			{Name: "server", Label: "Server", Metric: "yagura_service_edge_requests_total", By: []string{"client"}, Description: "Who answers."},
		},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{}, Width: 6, Queries: []Query{Q("edge_count", "")}},
				{View: Stat{}, Width: 6, Queries: []Query{Q("edge_error_share", "")}, Thresholds: Above("DependencyFails")},
				{View: Stat{Plain: true}, Width: 6, Queries: []Query{Q("edge_folded", "").With("window", "$__range")}, Thresholds: From("green", 1, "orange")},
				{View: Stat{Plain: true, Named: true}, Width: 6, Queries: []Query{Q("edge_coverage", "{{state}}")}},
				{View: NodeGraph{Unit: "req/s"}, Queries: []Query{Q("edge_map", ""), Q("edge_map_errors", "")}},
			}},
			{Title: "Edges", Panels: []Panel{
				{Title: "Edges", View: Table{Sort: "Requests", Columns: []Column{
					{Field: "client", Title: "Client"},
					{Field: "server", Title: "Server"},
					{Field: "protocol", Title: "Protocol", Width: 110},
					{Field: "port", Title: "Port", Width: 80},
					{Field: "A", Title: "Requests", Unit: "requests_per_second", Bar: true},
					{Field: "B", Title: "Failed", Unit: "requests_per_second"},
					{Field: "C", Title: "Bytes", Unit: "bytes_per_second"},
				}}, Height: 12, Queries: []Query{Q("edge_requests", ""), Q("edge_errors", ""), Q("edge_bytes", "")},
					Links: []Link{{Title: "Only this edge", Board: "yagura-map", Set: map[string]string{"client": "client", "server": "server"}}}},
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("edge_request_rate", "{{protocol}}")}},
				{View: TimeSeries{}, Queries: []Query{Q("edge_error_ratio", edge)}, Thresholds: Above("DependencyFails")},
				{View: TimeSeries{}, Queries: []Query{Q("edge_requests", edge)}},
				{View: TimeSeries{}, Queries: []Query{Q("edge_bytes", edge)}},
			}},
			{Title: "What is new, and what cannot be read", Panels: []Panel{
				{View: Table{Sort: "Requests", Columns: []Column{
					{Field: "client", Title: "Client"}, {Field: "server", Title: "Server"}, {Field: "protocol", Title: "Protocol"}, {Field: "port", Title: "Port"},
					{Field: "A", Title: "Requests", Unit: "requests_per_second"},
				}}, Width: 12, Queries: []Query{Q("edge_new", "")}},
				{View: Table{Sort: "Processes", Columns: []Column{
					{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container"}, {Field: "unit", Title: "Unit"},
					{Field: "state", Title: "State"}, {Field: "A", Title: "Processes"},
				}}, Width: 12, Queries: []Query{Q("edge_unread", "").MayBeEmpty("nobody may use TLS or io_uring")}, Links: []Link{ToWorkload()}},
			}},
		},
	}
}
