package dashboards

// databases is databases and brokers, as they and their clients see them.
func databases() Board {
	return Board{
		UID: "yagura-databases", Title: "Yagura / Databases and queues",
		Description: "Databases and brokers: what is asked of them, by whom, how long it takes and how it fails.",
		Tags:        []string{"workloads"},
		Variables:   Workload(),
		Annotations: []Annotation{fileMarks()},
		Rows: []Row{
			{Panels: []Panel{
				{View: Stat{Named: true}, Width: 8, Queries: []Query{Q("database_operations", "{{db_system_name}}")}},
				{View: Stat{Named: true}, Width: 8, Queries: []Query{Q("database_error_ratio", "{{db_system_name}}")}, Thresholds: Above("DatabaseErrorsHigh")},
				{Title: "95th percentile", View: Stat{Named: true}, Width: 8, Queries: []Query{Q("database_latency", "{{db_system_name}}")}, Thresholds: Above("DatabaseSlow")},
			}},
			{Title: "Databases", Panels: []Panel{
				{View: TimeSeries{Table: true}, Width: 8, Queries: []Query{Q("database_operations", "{{db_system_name}}")}},
				{View: TimeSeries{Exemplars: true, Table: true}, Width: 8, Queries: []Query{
					Q("database_latency", "p50 {{db_system_name}}").With("quantile", "0.5"), Q("database_latency", "p95 {{db_system_name}}"),
					Q("database_latency", "p99 {{db_system_name}}").With("quantile", "0.99")}, Thresholds: Above("DatabaseSlow")},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("database_errors", "{{db_system_name}} {{error_type}}")}},
				{View: Table{Sort: "Operations", Columns: []Column{
					{Field: "namespace", Title: "Namespace"}, {Field: "pod", Title: "Pod"}, {Field: "container", Title: "Container"}, {Field: "unit", Title: "Unit"},
					{Field: "db_system_name", Title: "Database"}, {Field: "db_operation_name", Title: "Operation"},
					{Field: "A", Title: "Operations", Unit: "operations_per_second", Bar: true},
					{Field: "B", Title: "Failed", Unit: "operations_per_second"},
					{Field: "C", Title: "95th percentile", Unit: "seconds"},
				}}, Height: 11, Queries: []Query{Q("database_operation_rate", ""), Q("database_operation_errors", ""), Q("database_operation_latency", "")},
					Links: []Link{ToWorkload()}},
				{View: TimeSeries{Stacked: true}, Queries: []Query{Q("database_time", "{{db_system_name}} {{db_operation_name}}")}},
				{View: Heatmap{}, Queries: []Query{Q("database_latency_buckets", "{{le}}")}},
			}},
			{Title: "Clients of databases", Panels: []Panel{
				{View: TimeSeries{}, Width: 8, Queries: []Query{Q("database_client_operations", who+" {{db_system_name}}")}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{}, Width: 8, Thresholds: Above("DatabaseSlow"), Queries: []Query{Q("database_client_latency", who+" {{db_system_name}}")}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{Stacked: true}, Width: 8, Queries: []Query{Q("database_client_errors", who+" {{db_system_name}}")}, Links: []Link{ToWorkload()}},
			}},
			{Title: "Brokers", Panels: []Panel{
				{View: TimeSeries{}, Width: 12, Queries: []Query{Q("queue_operations", "{{messaging_system}} {{messaging_operation_name}}")}},
				{View: TimeSeries{}, Width: 12, Queries: []Query{Q("queue_latency", "{{messaging_system}} {{messaging_operation_name}}")}},
				{View: TimeSeries{}, Width: 12, Queries: []Query{Q("queue_client_operations", who+" {{messaging_system}}")}, Links: []Link{ToWorkload()}},
				{View: TimeSeries{}, Width: 12, Queries: []Query{Q("queue_client_error_ratio", who+" {{messaging_system}}")}, Links: []Link{ToWorkload()}, Thresholds: Above("MessagingErrorsHigh")},
				{View: TimeSeries{Stacked: true}, Width: 24, Queries: []Query{
					Q("queue_errors", "{{messaging_system}} {{messaging_operation_name}} {{error_type}}").MayBeEmpty("brokers seldom fail")}},
			}},
		},
	}
}
